"""Clocks that jump: ``time.time`` and ``datetime.now`` go by what the run's folder says.

Imported by every process of the campaign's environment as it starts, before anything asks for the
time. What the kernel writes, such as the age of a file, goes by the true time: it is another
machine's clock.
"""

from __future__ import annotations

import datetime as dt
import faulthandler
import json
import os
import signal
import time

from campaign_kit.journal import FOLDER, role

_time = time.time


def _ahead() -> float:
    """Seconds by which this process's clock is ahead."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return 0.0
    try:
        with open(f"{folder}/clock.json", encoding="utf-8") as file:
            return float(json.load(file).get(role(), 0.0))
    except FileNotFoundError:
        return 0.0


class _DateTime(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _DateTime:
        return super().now(tz) + dt.timedelta(seconds=_ahead())


def install() -> None:
    """Have the clock of this process be one that can jump."""
    time.time = lambda: _time() + _ahead()
    dt.datetime = _DateTime  # type: ignore[misc]
    # A run that hangs is asked where.
    faulthandler.register(signal.SIGUSR1, all_threads=True)


install()
