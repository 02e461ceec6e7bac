"""What came of a unit, as plain data: how results and exceptions travel without ``pickle``."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import msgspec

from zenml.core import errors
from zenml.core._canonical import from_json
from zenml.core.contracts._units import MapContext, Unit
from zenml.core.engine._units import execute_unit
from zenml.core.errors import StoreError
from zenml.core.stores._open import open_store

__all__ = ["Answer", "answer_unit"]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a unit: plain data, made by ``answer_unit`` to be sent to the client.

    Attributes:
        value: What the unit returned.
        error: The exception's class, if it raised.
        kind: The nearest class of ``zenml.core.errors`` that this is derived from, if there is one.
        message: What the exception says.
        where: Place, for errors that know one.
        remedy: What to do, for errors that know that.
        problems: Path, message and remedy of each, for errors that list them.
        trace: The traceback from the unit's function on, as text.
    """

    value: Any = None
    error: str = ""
    kind: str = ""
    message: str = ""
    where: str | None = None
    remedy: str | None = None
    problems: tuple[errors.Problem, ...] = ()
    trace: str = ""

    def result(self) -> Any:
        """What the unit returned. Raises ``exception()`` if it raised."""
        error = self.exception()
        if error is not None:
            raise error
        return self.value

    def exception(self) -> errors.ZenMLError | None:
        """What the unit raised, as a client raises it; None if it returned.

        An error of ``zenml.core.errors``, or of a class derived from one, is that error. Any other
        is a ``UnitFailedError`` with the same words and the worker's traceback.
        """
        if not self.error:
            return None
        kind = getattr(errors, self.kind, None)
        if kind is None:
            text = f"{self.error}: {self.message}\n{self.trace.rstrip()}"
            return errors.UnitFailedError(text)
        if issubclass(kind, errors.ConfigurationError):
            made: errors.ZenMLError = kind(self.message, self.problems)
            made.where = self.where
            return made
        if kind.__init__ is not errors.ZenMLError.__init__:
            kind = errors.RunError
        found: errors.ZenMLError = kind(self.message, where=self.where, remedy=self.remedy)
        return found


def answer_unit(unit: Unit, context: MapContext) -> Answer:
    """Execute a unit as ``execute_unit`` does, for a client that is elsewhere; raises nothing.

    A unit whose result is remembered is not executed again: a worker that takes the place of one
    that died goes on where that one was.
    """
    try:
        return _remembered(unit, context) or Answer(execute_unit(unit, context))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        return _answer_of(error)


def _remembered(unit: Unit, context: MapContext) -> Answer | None:
    try:
        data = open_store(context.store).read(f"{context.scope}/{unit.digest}.json")
        return Answer(from_json(data)["result"])
    except (ValueError, KeyError, TypeError, StoreError):
        return None  # unreadable is the same as unfinished


def _answer_of(error: BaseException) -> Answer:
    kind = next((c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__), "")
    message = _text(error)
    problems: Sequence[errors.Problem] = ()
    if isinstance(error, errors.ConfigurationError):
        message, problems = error.subject, error.problems
    return Answer(
        error=type(error).__qualname__,
        kind=kind,
        message=message,
        where=getattr(error, "where", None) if kind else None,
        remedy=getattr(error, "remedy", None) if kind else None,
        problems=tuple(problems),
        trace=_trace(error),
    )


def _trace(error: BaseException) -> str:
    """The traceback from the unit's function on: who called it is the same every time."""
    frames = error.__traceback__
    while frames is not None and str(frames.tb_frame.f_globals["__name__"]).startswith("zenml."):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or error.__traceback__)
    return _storable("".join(lines))


def _text(error: BaseException) -> str:
    try:
        text = str(getattr(error, "message", None) or error)
    except Exception as second:  # noqa: BLE001 - an exception that cannot be shown is still one
        text = f"(its message cannot be shown: {type(second).__name__})"
    return _storable(text)


def _storable(text: str) -> str:
    """Text that JSON can hold: an exception may say what UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
