"""Shares of a whole: what splits get of rows and of categories."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from zenml.core.errors import Problem

__all__ = ["check_shares", "cuts"]


def cuts(shares: Sequence[float], count: int) -> list[int]:
    """Where ``count`` things are cut, by shares; each cut is rounded to the nearest, once."""
    from fractions import Fraction

    exact = [Fraction(share) for share in shares]
    total = sum(exact)
    return [
        math.floor(sum(exact[: place + 1]) / total * count + Fraction(1, 2))
        for place in range(len(exact))
    ]


def check_shares(parameter: str, shares: Mapping[str, float]) -> Iterator[Problem]:
    """Everything that is wrong with the shares of splits."""
    if len(shares) < 2:
        yield Problem(parameter, f"expected at least two splits, found {len(shares)}")
    wrong = False
    for name, share in shares.items():
        if not name:
            yield Problem(parameter, "a split has no name")
        if not (math.isfinite(share) and share > 0):
            wrong = True
            yield Problem(f"{parameter}.{name}", f"expected a share above 0, found {share}")
    total = math.fsum(shares.values()) if not wrong else 1.0
    if shares and abs(total - 1.0) > 1e-6:
        scaled = ", ".join(f"'{name}': {share / total:.6g}" for name, share in shares.items())
        message = f"the shares are {total:.6g} in sum, not 1"
        yield Problem(parameter, message, f"did you mean {{{scaled}}}?")
