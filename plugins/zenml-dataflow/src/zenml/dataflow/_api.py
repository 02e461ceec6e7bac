"""Dataflow through Google's own client; what its refusals mean."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Iterator
from typing import Any, Final

from zenml.core import open_store
from zenml.dataflow._options import DataflowOptions

__all__ = ["SECONDS", "Clients", "ask", "connect", "see_folder"]

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


def see_folder(options: DataflowOptions, url: str) -> None:
    """Ask whether a folder in Cloud Storage can be read; whether written to, only a job tells.

    Raises:
        StoreError: it cannot, or there is no such bucket.
    """
    account = options.impersonate_service_account
    query = f"?impersonate_service_account={account}" if account else ""
    open_store(url.rstrip("/") + query).prepare()


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
    from zenml.gcp import asking

    with asking(what, quota=_QUOTA, remedy=lambda *told: _remedy(options, *told), waiting=waiting):
        yield


def _remedy(options: DataflowOptions, status: int, _: str, off: bool) -> str | None:
    if status == 429:
        return (
            "wait until other jobs have ended, take another region=, or have the quota raised "
            "(console, 'IAM & Admin', 'Quotas')"
        )
    if off:
        return f"gcloud services enable dataflow.googleapis.com --project {options.project}"
    if status == 403:
        return "'zenml backend permissions' prints the roles that are needed"
    if status == 404:
        return f"check project= and region=: gcloud projects describe {options.project}"
    return "correct the backend's parameters" if status == 400 else None
