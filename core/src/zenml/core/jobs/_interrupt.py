"""Ctrl-C in two stages: the first one asks, the second one forces."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AGAIN", "Interrupt"]

#: What the first Ctrl-C is answered with, after what is being cancelled.
AGAIN = "press Ctrl-C again to force"


class Interrupt:
    """While it is entered, the first Ctrl-C is noted, and each further one raises as usual.

    So nothing that must not be cut in half is: a submission that was begun is finished, and what it
    started is known. Elsewhere than in the main thread, or where somebody has a handler of their
    own, nothing is changed, and ``KeyboardInterrupt`` comes at once.

    Args:
        told: Called when the first one comes.

    Attributes:
        asked: Whether it has come.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self.asked = False
        self._told = told
        self._before: Any = None

    def __enter__(self) -> Self:
        self.asked = False
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        try:
            self._told()
        except RuntimeError:
            # The stream is being written to just now, by this very thread: another one can wait.
            threading.Thread(target=self._tell_later, daemon=True).start()
        except OSError:
            pass  # nobody reads it any more; the cancelling itself goes on

    def _tell_later(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):
            self._told()
