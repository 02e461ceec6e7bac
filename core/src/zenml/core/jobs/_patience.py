"""Trying again what met a store or a service that cannot be reached for now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from zenml.core.errors import StoreUnavailableError

__all__ = ["PAUSES", "TRANSIENT", "patiently"]

#: What passes.
TRANSIENT: Final = (StoreUnavailableError, ConnectionError, TimeoutError)

#: Seconds between tries of what met one of them, unless somebody has less time.
PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)

_Result = TypeVar("_Result")


def patiently(
    work: Callable[[], _Result],
    pauses: Iterable[float] | None = None,
    *,
    failed: Callable[[Exception, float], None] = lambda *_: None,
    pause: Callable[[float], None] = time.sleep,
) -> _Result:
    """Do what may meet a store or a service that cannot be reached for now.

    Args:
        work: May be done again.
        pauses: Seconds between the tries; by default ``PAUSES``.
        failed: Told of each failure that passes, and in how many seconds it is tried again.
        pause: Waits for that long.

    Raises:
        Exception: what the last try met, or what does not pass.
    """
    for seconds in PAUSES if pauses is None else pauses:
        try:
            return work()
        except TRANSIENT as error:
            failed(error, seconds)
        pause(seconds)
    return work()
