"""The indexes of a map: how units are divided among them, and how pods say what became of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from zenml.core import Unit

__all__ = ["AGAIN", "RAISED", "REFUSED", "divided", "indexes_in"]

#: Exit codes of workers, which those of the runner are like: a unit raised, and said what; the work
#: cannot be begun, now or later; the store did not answer.
RAISED: Final = 64
REFUSED: Final = 65
AGAIN: Final = 70


def divided(
    units: Sequence[Unit], parallelism: int, units_per_pod: int | None
) -> list[Sequence[Unit]]:
    """The units of each index.

    By default there are eight times as many indexes as pods at once: few enough that starting pods
    does not take longer than the work, enough that the last ones do not wait for one of them.
    """
    size = units_per_pod or -(-len(units) // (8 * parallelism))
    return [units[first : first + size] for first in range(0, len(units), size)]


def indexes_in(text: str) -> Iterator[int]:
    """Indexes as the status of a Job has them: ``1-3,7``."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
