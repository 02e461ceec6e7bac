"""The runner: what stands between a remote service and a task, wherever that is."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.core.jobs._task import EXIT_CODES, PROTOCOL, JobOutcome, Task

    __all__ = ["EXIT_CODES", "PROTOCOL", "JobOutcome", "Task"]
else:
    # The child, which imports much the same, is to be started before any of it is imported.
    __getattr__, __dir__, __all__ = attach(
        __name__,
        dict.fromkeys(("EXIT_CODES", "PROTOCOL", "JobOutcome", "Task"), "zenml.core.jobs._task"),
    )
