"""Every error that ZenML raises on purpose.

::

    ZenMLError
    ├── ConfigurationError          what was written down is wrong; lists every problem at once
    │   └── PlanError               a pipeline or a stored plan cannot become a plan
    ├── PipelineImmutableError      a pipeline that has run was changed
    ├── BackendError
    │   ├── BackendNotFoundError    nothing installed or connected has that name
    │   └── BackendUnavailableError known, but broken, disabled, conflicting or incompatible
    ├── SourceError
    │   ├── SourceNotImportableError  a step lives where no other process could find it
    │   └── SourceChangedError      the code is not the code that the plan was made from
    ├── StoreError
    │   ├── ObjectNotFoundError     no object has that key
    │   ├── StoreFullError          no space, or the quota is used up
    │   ├── StoreReadOnlyError      the store refuses writes
    │   ├── StoreUnavailableError   the store cannot be reached, or vanished
    │   └── IntegrityError          stored bytes are not the bytes that were recorded
    ├── DataError                   rows, columns or files that a step cannot use
    └── RunError
        ├── StepFailedError         a step of the run failed; carries the user's own exception
        ├── UnitFailedError         a unit of work raised, where its exception cannot travel from
        └── RunCancelledError       somebody cancelled the run

An error says what happened, where, and what to do about it: ``str(error)`` has a line for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = [
    "BackendError",
    "BackendNotFoundError",
    "BackendUnavailableError",
    "ConfigurationError",
    "DataError",
    "IntegrityError",
    "ObjectNotFoundError",
    "PipelineImmutableError",
    "PlanError",
    "Problem",
    "RunCancelledError",
    "RunError",
    "SourceChangedError",
    "SourceError",
    "SourceNotImportableError",
    "StepFailedError",
    "StoreError",
    "StoreFullError",
    "StoreReadOnlyError",
    "StoreUnavailableError",
    "UnitFailedError",
    "ZenMLError",
]


class ZenMLError(Exception):
    """Base class of every error that ZenML raises on purpose.

    Args:
        message: What happened, in one sentence.
        where: The place: a path in a plan, a file and row, a key in a store.
        remedy: What to do about it, with the command to copy where there is one.
    """

    def __init__(
        self, message: str, *, where: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, where, remedy)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments would otherwise be lost when the error crosses a process pool.
        return (_rebuild, (type(self), self.__dict__))

    def __str__(self) -> str:
        lines = [self.message]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  what to do: {self.remedy}")
        return "\n".join(lines)


def _rebuild(kind: type[ZenMLError], state: dict[str, object]) -> ZenMLError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    return error


class Problem(NamedTuple):
    """One thing that is wrong in a configuration.

    Attributes:
        path: Where, as a dotted path: ``steps.split.backend.region``.
        message: What is wrong: what was expected and what was found.
        remedy: How to mend it, where that is known (often the nearest valid name).
    """

    path: str
    message: str
    remedy: str | None = None

    def within(self, prefix: str) -> Problem:
        """The same problem, seen from the object that holds the one it was found in."""
        path = f"{prefix}.{self.path}" if self.path and prefix else prefix or self.path
        return self._replace(path=path)

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.remedy})" if self.remedy else text


class ConfigurationError(ZenMLError):
    """What was written down is wrong. ``problems`` lists everything that is, not only the first."""

    #: A terminal holds about this many lines beside a short traceback; the rest is counted.
    _SHOWN = 14

    def __init__(self, subject: str, problems: Iterable[Problem]) -> None:
        self.subject = subject
        self.problems: Sequence[Problem] = tuple(problems)
        count = len(self.problems)
        super().__init__(f"{subject}: {count} problem{'s' if count != 1 else ''}")

    def __str__(self) -> str:
        lines = [f"{self.message}"]
        lines += [f"  {problem}" for problem in self.problems[: self._SHOWN]]
        if len(self.problems) > self._SHOWN:
            lines.append(f"  … and {len(self.problems) - self._SHOWN} more")
        return "\n".join(lines)


class PlanError(ConfigurationError):
    """A pipeline or a stored plan cannot become a valid plan."""


class PipelineImmutableError(ZenMLError):
    """A pipeline that has run was changed; ``copy(new_name)`` gives one that may be."""


class BackendError(ZenMLError):
    """Something about a backend, before it was asked to run anything."""


class BackendNotFoundError(BackendError):
    """No installed plugin offers that type, or the repository has no connection of that name."""


class BackendUnavailableError(BackendError):
    """The type is known, but its plugin is broken, disabled, conflicting or incompatible."""


class SourceError(ZenMLError):
    """The code of a step cannot be found, read or loaded."""


class SourceNotImportableError(SourceError):
    """A step lives where no other process finds it: a notebook, a REPL, inside a function."""


class SourceChangedError(SourceError):
    """The code found is not the code that the plan was made from."""


class StoreError(ZenMLError):
    """An artifact store could not do what was asked."""


class ObjectNotFoundError(StoreError):
    """The store holds no object with that key."""


class StoreFullError(StoreError):
    """No space left, or the quota is used up. What was committed before is safe."""


class StoreReadOnlyError(StoreError):
    """The store refuses writes."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached, or vanished while it was in use."""


class IntegrityError(StoreError):
    """Stored bytes are not the bytes that were recorded; they were not used."""


class DataError(ZenMLError):
    """Rows, columns or files that a step cannot use."""


class RunError(ZenMLError):
    """A run did not succeed.

    Attributes:
        cause: Why, as the record of the run is to say it, if whoever raises it knows: a ``Cause``
            such as ``OOM``. Set after the error is made.
    """

    cause: str | None = None


class StepFailedError(RunError):
    """A step of a run failed.

    Attributes:
        step: The step's name.
        run_id: The run it belongs to.
        traceback_text: The user's own traceback, as text, also when it happened elsewhere.
    """

    def __init__(
        self,
        message: str,
        *,
        step: str,
        run_id: str,
        traceback_text: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, where=f"step '{step}' of run {run_id}", remedy=remedy)
        self.step = step
        self.run_id = run_id
        self.traceback_text = traceback_text


class UnitFailedError(RunError):
    """A unit of work raised in another process an exception that is not one of these.

    Its text is the exception's, and ends with the worker's traceback.
    """


class RunCancelledError(RunError):
    """Somebody cancelled the run."""
