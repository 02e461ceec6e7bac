"""Jobs: what every backend that uses a remote service has in common."""

from zenml.core.jobs._lifecycle import (
    JobFailedError,
    JobRequest,
    JobRun,
    cancel_requested,
    job_folders,
    request_cancel,
)

__all__ = [
    "JobFailedError",
    "JobRequest",
    "JobRun",
    "cancel_requested",
    "job_folders",
    "request_cancel",
]
