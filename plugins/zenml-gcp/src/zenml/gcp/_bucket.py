"""A bucket, as the official client sees it, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from zenml.core.errors import (
    BackendError,
    IntegrityError,
    ObjectNotFoundError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from zenml.gcp._credentials import LOG_IN, find_credentials
from zenml.gcp._location import Location

__all__ = ["connect", "damaged", "patience", "translated"]

#: Seconds to connect, and without a byte, after which a request counts as failed.
_CONNECT, _READ = 10.0, 60.0

#: As many requests at once as there are threads; a connection more costs less than waiting.
_CONNECTIONS = 64

#: Addresses of uploads that can be resumed let anybody write there, and stand in messages.
_QUERIES = re.compile(r"\?[^\s'\")]*")


def connect(location: Location) -> Any:
    """The bucket of a location: a ``google.cloud.storage.Bucket``, with connections of its own.

    Raises:
        StoreError: there are no credentials.
    """
    from google.cloud.storage import Client
    from requests.adapters import HTTPAdapter

    endpoint = location.api_endpoint or os.environ.get("STORAGE_EMULATOR_HOST")
    if endpoint is not None and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    try:
        credentials, project = find_credentials(
            impersonate_service_account=location.impersonate_service_account,
            api_endpoint=endpoint,
        )
    except BackendError as error:
        raise StoreError(error.message, where=error.where, remedy=error.remedy) from None
    options = {"api_endpoint": endpoint} if endpoint else None
    # Objects are in buckets, and buckets in no project that we would have to know.
    client = Client(project=project or "none", credentials=credentials, client_options=options)
    for scheme in ("http://", "https://"):
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))  # noqa: SLF001 - as Google's guide does it
    client._http.hooks["response"].append(_read_refusal)  # noqa: SLF001
    # It would look up the bucket, in threads of its own, for traces that nobody asked for.
    client._bucket_metadata_cache = None  # noqa: SLF001
    return client.bucket(location.bucket, user_project=location.user_project)


def _read_refusal(response: Any, **_: Any) -> None:
    """Read the body of an answer that is none, while a broken connection is still tried again.

    The client leaves it for later, and where it tries again it never gives the connection back.
    """
    if response.status_code >= 400:
        _ = response.content


def patience(location: Location) -> dict[str, Any]:
    """What every request is given: for how long it is tried again, and when it has failed."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    pauses = DEFAULT_RETRY.with_delay(initial=0.2, maximum=16.0, multiplier=2.0)
    return {
        "retry": pauses.with_timeout(location.deadline),
        "timeout": (_CONNECT, max(1.0, min(_READ, location.deadline))),
    }


@contextlib.contextmanager
def translated(location: Location, key: str, *, writing: bool = False) -> Iterator[None]:
    """Only StoreErrors leave a store, and no address of an upload or token with them."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    where = f"{key} in {location.url}" if key else location.url
    try:
        yield
    except DataCorruption:
        raise damaged(where) from None
    except RetryError as error:
        raise _translation(error.cause or error, location, where, writing=writing) from None
    except (
        GoogleAPICallError,
        GoogleAuthError,
        HTTPError,
        InvalidResponse,
        OSError,
        RequestException,
        ValueError,  # an answer that is no JSON
    ) as error:
        raise _translation(error, location, where, writing=writing) from None


def damaged(where: str) -> IntegrityError:
    """The error for bytes that are not those that were sent."""
    return IntegrityError(
        "the bytes that came are not those that are stored: their crc32c differs",
        where=where,
        remedy="run again; if it stays so, a proxy on the way changes what passes through it",
    )


def _translation(
    error: BaseException, location: Location, where: str, *, writing: bool
) -> StoreError:
    from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

    if isinstance(error, OSError) and error.filename is not None:
        said = f"{error.filename}: {error.strerror}"
        return StoreError(f"a local file cannot be read: {said}", where=where)
    status, said = _status(error), _said(error)
    bucket = f"gs://{location.bucket}"
    if isinstance(error, RefreshError) and not error.retryable:
        return StoreError(
            f"Google Cloud does not take these credentials, or no longer: {said}",
            where=where,
            remedy=f"{LOG_IN}, or mend what GOOGLE_APPLICATION_CREDENTIALS names",
        )
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return StoreError(f"no token can be had: {said}", where=where, remedy=LOG_IN)
    if status == 404 and "bucket does not exist" in said:
        return StoreUnavailableError(
            f"there is no bucket {bucket}",
            where=where,
            remedy=f"make it: 'gcloud storage buckets create {bucket} --location=REGION "
            "--uniform-bucket-level-access'",
        )
    if status == 404:
        return ObjectNotFoundError("the artifact store has no such object", where=where)
    if status == 400 and "requester pays" in said:
        return StoreError(
            "the bucket has whoever asks pay, and no project is named that does",
            where=where,
            remedy="name one in the URL: ?user_project=PROJECT",
        )
    if status == 401:
        return StoreError(
            f"Google Cloud does not know who asks: {said}", where=where, remedy=LOG_IN
        )
    if status == 403:
        kind = StoreReadOnlyError if writing else StoreError
        return kind(
            f"Cloud Storage does not allow it: {said}",
            where=where,
            remedy=f"'gcloud storage buckets add-iam-policy-binding {bucket} --member=… "
            "--role=roles/storage.objectUser' lets an account read and write; with user_project, "
            "it needs roles/serviceusage.serviceUsageConsumer in that project as well",
        )
    if status is not None and 400 <= status < 500 and status not in (408, 429):
        return StoreError(f"Cloud Storage refuses the request ({status}): {said}", where=where)
    return StoreUnavailableError(
        f"Cloud Storage cannot be reached, or fails: {said}",
        where=where,
        remedy="look at the network, and at status.cloud.google.com, and run again: finished steps "
        "are kept",
    )


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there was an answer."""
    code = getattr(error, "code", None)
    if code is None:
        code = getattr(getattr(error, "response", None), "status_code", None)
    return None if code is None else int(code)


def _said(error: BaseException) -> str:
    """What the service says, or else the client, in one line and without secrets."""
    response = getattr(error, "response", None)
    try:
        text = response.json()["error"]["message"]  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        text = getattr(response, "text", None) or str(error) or type(error).__name__
    return _QUERIES.sub("", " ".join(str(text).split()))[:300]
