"""Tracebacks without our own frames, which tell a user nothing."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from zenml.core.errors import ZenMLError

__all__ = ["own_frames", "shortened"]

_Error = TypeVar("_Error", bound=ZenMLError)


def own_frames(found: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of modules of ``zenml``; None if no other is in it."""
    kept = []
    while found is not None:
        if not str(found.tb_frame.f_globals.get("__name__")).startswith("zenml."):
            kept.append(found)
        found = found.tb_next
    made: TracebackType | None = None
    for one in reversed(kept):
        made = TracebackType(made, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return made


def shortened(error: _Error) -> _Error:
    """An error of ours, about to leave a public method: without the frames between.

    The text of the error says everything; thirty lines of the engine's frames would push it off the
    screen. What caused it keeps the frames of the user's code.
    """
    cause = error.__cause__
    while cause is not None:
        kept = None if isinstance(cause, ZenMLError) else own_frames(cause.__traceback__)
        # An exception without a frame of the user's is a fault of ours, unless we raised it on
        # purpose or it made us do so: such a one stays whole.
        if kept is not None or isinstance(cause, ZenMLError) or cause is not error.__cause__:
            cause.__traceback__ = kept
        cause = cause.__cause__
    return error.with_traceback(None)
