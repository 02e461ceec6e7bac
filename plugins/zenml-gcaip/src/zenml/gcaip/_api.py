"""Vertex AI and Cloud Logging, through Google's own client; what their refusals mean."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Iterator
from typing import Any, Final

from zenml.gcaip._options import VertexOptions

__all__ = ["SECONDS", "ask", "connect", "location", "logging_session", "logging_url"]

#: Seconds that one request may take.
SECONDS: Final = 60.0

#: What Vertex AI says of quotas of machines and GPUs, which asking again does not help; requests
#: that come too fast have other words.
_QUOTA = re.compile(
    r"quota metrics? exceed|custom_model_training|quota.*(gpu|cpu|accelerator)", re.IGNORECASE
)

_PLACE = re.compile(
    r"(not (supported|available|valid)|unsupported|invalid).*(region|location)", re.IGNORECASE
)

_lock = threading.Lock()


def location(options: VertexOptions) -> str:
    """What all jobs of a project in a region are below."""
    return f"projects/{options.project}/locations/{options.region}"


def connect(options: VertexOptions) -> Any:
    """The client of Vertex AI, one for each way to it in this process.

    Raises:
        BackendError: there are no credentials.
    """
    endpoint = options.api_endpoint or f"https://{options.region}-aiplatform.googleapis.com"
    with _lock:
        return _client(endpoint, options.impersonate_service_account)


def logging_session(options: VertexOptions) -> Any:
    """A session of requests to Cloud Logging; raises as ``connect`` does."""
    with _lock:
        return _session(logging_url(options), options.impersonate_service_account)


def logging_url(options: VertexOptions) -> str:
    """Where Cloud Logging is."""
    return options.logging_endpoint or "https://logging.googleapis.com"


@functools.lru_cache(maxsize=8)
def _client(endpoint: str, account: str | None) -> Any:
    # Not `google.cloud.aiplatform`, which imports for seconds.
    from google.cloud.aiplatform_v1.services.job_service import JobServiceClient

    return JobServiceClient(
        credentials=_credentials(endpoint, account),
        transport="rest",
        client_options={"api_endpoint": endpoint},
    )


@functools.lru_cache(maxsize=8)
def _session(endpoint: str, account: str | None) -> Any:
    from google.auth.transport.requests import AuthorizedSession

    return AuthorizedSession(_credentials(endpoint, account))


def _credentials(endpoint: str, account: str | None) -> Any:
    from zenml.gcp import find_credentials

    found, _ = find_credentials(impersonate_service_account=account, api_endpoint=endpoint)
    return found


@contextlib.contextmanager
def ask(options: VertexOptions, what: str, *, waiting: bool = False) -> Iterator[None]:
    """Turn what Google's libraries raise into errors that say what to do.

    Args:
        options: Whom is asked.
        what: For what.
        waiting: Whether the work goes on without the answer: then credentials that have run out
            are no reason to give it up.

    Raises:
        ConnectionError, TimeoutError: it may be answered later.
        BackendError: it will not be.
    """
    from google.api_core import exceptions as api
    from requests import exceptions as http

    from zenml.gcp import asking

    with asking(what, quota=_QUOTA, remedy=lambda *told: _remedy(options, *told), waiting=waiting):
        try:
            yield
        except (http.Timeout, api.DeadlineExceeded, api.GatewayTimeout) as error:
            raise TimeoutError(f"{what}: no answer in time: {error}") from None


def _remedy(options: VertexOptions, status: int, said: str, off: bool) -> str | None:
    if status == 429:
        return (
            "have the quota raised (console, 'IAM & Admin', 'Quotas'), wait until other jobs have "
            "ended, or take another gpu_type= or region=; SPOT and FLEX_START have quotas of "
            "their own"
        )
    if off:
        service = "logging" if "logging.googleapis" in said else "aiplatform"
        return f"gcloud services enable {service}.googleapis.com --project {options.project}"
    if status == 403:
        return "'zenml backend permissions' prints the role that is needed"
    if status == 404:
        return f"check project= and region=: gcloud projects describe {options.project}"
    if status == 400 and _PLACE.search(said):
        return "take another gpu_type=, machine_type= or region="
    if status == 400:
        return "correct the backend's parameters; 'zenml plan --render' shows what is sent"
    return None
