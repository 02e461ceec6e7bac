"""Jobs: what every backend that uses a remote service has in common."""

from zenml.core.jobs._attempts import (
    CancelLook,
    JobRequest,
    cancel_requested,
    job_folders,
    read_request,
    request_cancel,
)
from zenml.core.jobs._lifecycle import JobFailedError, JobRun

__all__ = [
    "CancelLook",
    "JobFailedError",
    "JobRequest",
    "JobRun",
    "cancel_requested",
    "job_folders",
    "read_request",
    "request_cancel",
]
