"""What Google's libraries raise, as errors that say whether to ask again, or what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import Pattern
from typing import Any

from zenml.core.errors import BackendError

__all__ = ["asking"]

#: What to do about a refusal: the HTTP status, its words, and whether the service is switched off.
Remedy = Callable[[int, str, bool], "str | None"]

_LOG_IN = "gcloud auth application-default login"


@contextmanager
def asking(
    what: str,
    *,
    quota: Pattern[str],
    remedy: Remedy,
    waiting: bool = False,
) -> Iterator[None]:
    """Turn what Google's libraries raise into errors of zenml; for plugins.

    Args:
        what: Is asked for.
        quota: What a 429 says that asking again does not help; one without is a request too many.
        remedy: What to do about a refusal that asking again does not help; see ``Remedy``. It is
            not asked about 401.
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
        raise BackendError(said, remedy=_LOG_IN) from None
    except api.GoogleAPICallError as error:
        raise _refusal(what, error, quota, remedy, waiting=waiting) from None


def _refusal(
    what: str,
    error: Any,
    quota: Pattern[str],
    remedy: Remedy,
    *,
    waiting: bool,
) -> Exception:
    said, status = " ".join(str(error.message).split()), int(error.code or 0)
    if status >= 500 or (status == 429 and not quota.search(said)):
        return ConnectionError(f"{what}: {status} {said}")
    if status == 401 and waiting:
        return ConnectionError(f"the credentials for {what} have run out: {said}; log in again")
    off = status == 403 and ("SERVICE_DISABLED" in str(error) or "has not been used" in said)
    found = _LOG_IN if status == 401 else remedy(status, said, off)
    return BackendError(f"Google Cloud refuses {what}: {said}", remedy=found)
