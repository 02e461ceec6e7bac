"""The runner: what stands between a remote service and a task, wherever that is."""

from zenml.core.jobs._task import EXIT_CODES, PROTOCOL, JobOutcome, Task

__all__ = ["EXIT_CODES", "PROTOCOL", "JobOutcome", "Task"]
