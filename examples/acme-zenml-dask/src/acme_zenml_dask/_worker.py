"""What Dask workers call: orders and answers are JSON, so that no code is ever unpickled."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import msgspec

from zenml.core import MapContext, Unit, errors, execute_unit

__all__ = ["Answer", "Order", "error_of", "execute"]

#: Modules whose frames tell a user nothing.
_MACHINERY = ("acme_zenml_dask.", "zenml.")


class UnitFailedError(errors.RunError):
    """A unit raised on a worker an exception that is not one of ZenML's.

    Its text ends with the worker's traceback.
    """


class Order(msgspec.Struct, frozen=True):
    """A unit to execute."""

    unit: Unit
    context: MapContext


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a unit.

    Attributes:
        result: What it returned.
        error: The exception's class, if it raised.
        kind: The nearest class of ``zenml.core.errors`` that this is derived from, if there is one.
        message: What the exception says.
        where: Place, for errors that know one.
        remedy: What to do, for errors that know that.
        problems: Path, message and remedy of each, for errors that list them.
        trace: The traceback, as text.
    """

    result: object = None
    error: str = ""
    kind: str = ""
    message: str = ""
    where: str | None = None
    remedy: str | None = None
    problems: Sequence[errors.Problem] = ()
    trace: str = ""


def execute(order: bytes) -> bytes:
    """Execute the unit of an ``Order``; returns an ``Answer``. Raises nothing."""
    try:
        told = msgspec.json.decode(order, type=Order)
        answer = Answer(execute_unit(told.unit, told.context))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
        answer = _answer_of(error)
    return msgspec.json.encode(answer)


def error_of(answer: Answer) -> errors.ZenMLError:
    """The error that a worker met, as the client raises it."""
    kind = getattr(errors, answer.kind, None)
    if kind is None:
        return UnitFailedError(f"{answer.error}: {answer.message}\n{answer.trace.rstrip()}")
    if issubclass(kind, errors.ConfigurationError):
        made: errors.ZenMLError = kind(answer.message, answer.problems)
        made.where = answer.where
        return made
    if kind.__init__ is not errors.ZenMLError.__init__:
        kind = errors.RunError
    found: errors.ZenMLError = kind(answer.message, where=answer.where, remedy=answer.remedy)
    return found


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
        problems=problems,
        trace=_trace(error),
    )


def _trace(error: BaseException) -> str:
    """The traceback from the unit's function on: who called it is the same every time."""
    frames = error.__traceback__
    while frames is not None and str(frames.tb_frame.f_globals["__name__"]).startswith(_MACHINERY):
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
