"""Dataflow through Google's own client; what its refusals mean."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Iterator
from typing import Any, Final

from zenml.core.errors import BackendError
from zenml.dataflow._options import DataflowOptions

__all__ = ["SECONDS", "Clients", "ask", "connect", "refusal"]

#: Seconds that one request may take.
SECONDS: Final = 60.0

#: What is said of quotas that other jobs use; requests that come too fast have other words.
_QUOTA = re.compile(r"quota|cannot run any more jobs|concurrent", re.IGNORECASE)

_lock = threading.Lock()


class Clients:
    """The clients of Dataflow's API: jobs, and what is said of them."""

    def __init__(self, endpoint: str | None, account: str | None) -> None:
        from google.cloud import dataflow_v1beta3

        from zenml.gcp import find_credentials

        found, _ = find_credentials(impersonate_service_account=account, api_endpoint=endpoint)
        where = {"api_endpoint": endpoint or "https://dataflow.googleapis.com"}
        told: Any = {"credentials": found, "transport": "rest", "client_options": where}
        self.jobs = dataflow_v1beta3.JobsV1Beta3Client(**told)
        self.messages = dataflow_v1beta3.MessagesV1Beta3Client(**told)
        self.types = dataflow_v1beta3.types


def connect(options: DataflowOptions) -> Clients:
    """The clients, one for each way to Dataflow in this process.

    Raises:
        BackendError: there are no credentials.
    """
    with _lock:
        return _clients(options.api_endpoint, options.impersonate_service_account)


@functools.lru_cache(maxsize=8)
def _clients(endpoint: str | None, account: str | None) -> Clients:
    return Clients(endpoint, account)


@contextlib.contextmanager
def ask(options: DataflowOptions, what: str, *, waiting: bool = False) -> Iterator[None]:
    """Turn what Google's libraries raise into errors that say what to do.

    Args:
        options: Whom is asked.
        what: For what.
        waiting: Whether the work goes on without the answer: then credentials that have run out
            are no reason to give it up.

    Raises:
        ConnectionError: it may be answered later.
        BackendError: it will not be.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from requests import exceptions as http

    try:
        yield
    except (http.RequestException, auth.TransportError, api.RetryError) as error:
        raise ConnectionError(f"{what}: {error}") from None
    except auth.GoogleAuthError as error:
        said = f"the credentials for {what} are not good (any more): {error}"
        if waiting:
            raise ConnectionError(f"{said}; log in again") from None
        remedy = "gcloud auth application-default login"
        raise BackendError(said, remedy=remedy) from None
    except api.GoogleAPICallError as error:
        raise refusal(options, what, error, waiting=waiting) from None


def refusal(
    options: DataflowOptions, what: str, error: Any, *, waiting: bool = False
) -> ConnectionError | BackendError:
    """What an answer of Google's means that is not the one that was asked for."""
    said, status = " ".join(str(error.message).split()), int(error.code or 0)
    if status >= 500 or (status == 429 and not _QUOTA.search(said)):
        return ConnectionError(f"{what}: {status} {said}")
    if status == 401 and waiting:
        return ConnectionError(f"the credentials for {what} have run out: {said}; log in again")
    remedy: str | None = None
    if status == 401:
        remedy = "gcloud auth application-default login"
    elif status == 429:
        remedy = (
            "wait until other jobs have ended, take another region=, or have the quota raised "
            "(console, 'IAM & Admin', 'Quotas')"
        )
    elif status == 403 and ("SERVICE_DISABLED" in str(error) or "has not been used" in said):
        remedy = f"gcloud services enable dataflow.googleapis.com --project {options.project}"
    elif status == 403:
        remedy = "'zenml backend permissions' prints the roles that are needed"
    elif status == 404:
        remedy = f"check project= and region=: gcloud projects describe {options.project}"
    elif status == 400:
        remedy = "correct the backend's parameters"
    return BackendError(f"Google Cloud refuses {what}: {said}", remedy=remedy)
