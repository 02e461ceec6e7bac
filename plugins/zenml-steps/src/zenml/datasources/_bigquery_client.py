"""BigQuery's client: what it is told always, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import TimeoutError as LateError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from zenml.core.errors import DataError

if TYPE_CHECKING:
    from google.cloud import bigquery

    from zenml.datasources.bigquery import BigQueryDatasource

__all__ = ["REQUEST", "connected", "last_change", "retry", "table_of", "where"]

#: Seconds for one request; fewer are not advised, since BigQuery holds some for long.
REQUEST: Final = 120.0
#: Seconds after which a call that BigQuery does not answer, or answers as busy, is given up.
_DEADLINE: Final = 300.0


def table_of(source: BigQueryDatasource) -> str:
    """The full name of the table."""
    return f"{source.query_project}.{source.query_dataset}.{source.query_table}"


def where(source: BigQueryDatasource) -> str:
    """Where the rows are, for messages."""
    if source.query_table is not None:
        return f"BigQuery, table '{table_of(source)}'"
    return f"BigQuery, query in project '{source.query_project}'"


def retry() -> Any:
    """Which calls are made again, and for how long."""
    from google.cloud import bigquery

    return bigquery.DEFAULT_RETRY.with_timeout(_DEADLINE)


@contextmanager
def connected(source: BigQueryDatasource) -> Iterator[bigquery.Client]:
    """A client. Raises ``DataError`` for whatever goes wrong while it is used."""
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import bigquery
        from requests.exceptions import RequestException
    except ImportError as error:
        raise DataError(
            f"a library is missing: {error.name or error}",
            remedy="pip install 'zenml-steps[bigquery]'",
        ) from error
    try:
        project = source.dest_project or source.query_project
        with bigquery.Client(project=project, location=source.location) as client:
            yield client
    except (GoogleAPIError, GoogleAuthError, RequestException, LateError) as error:
        raise _refusal(error, source) from error


def _refusal(error: Exception, source: BigQueryDatasource) -> DataError:
    """What the client raised, as one error."""
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        error = error.cause
    details = (getattr(error, "errors", None) or [{}])[0]
    reason = details.get("reason")
    said = details.get("message") or getattr(error, "message", None) or next(iter(error.args), "")
    said = str(said or type(error).__name__).strip().partition("\n")[0]
    pays = source.dest_project or source.query_project
    if isinstance(error, auth.DefaultCredentialsError):
        message = "there are no credentials for Google Cloud"
        remedy = (
            "gcloud auth application-default login; for a service account, name the file of its "
            "key in GOOGLE_APPLICATION_CREDENTIALS, or run on a machine that has one"
        )
    elif isinstance(error, (auth.OAuthError, auth.RefreshError, api.Unauthorized)):
        message = f"the credentials are not accepted: {said}"
        remedy = "gcloud auth application-default login, or renew the key of the service account"
    elif reason in ("quotaExceeded", "rateLimitExceeded") or isinstance(error, api.TooManyRequests):
        message = f"a quota is exceeded: {said}"
        remedy = f"wait, or have the quota of project '{pays}' raised"
    elif isinstance(error, api.Forbidden):
        message = f"access is denied: {said}"
        remedy = (
            f"give the account the roles BigQuery Job User in project '{pays}' and BigQuery Data "
            "Viewer on the tables"
        )
    elif isinstance(error, api.NotFound):
        message = f"there is no such thing: {said}"
        remedy = (
            "check project, dataset and table, and pass location='…' if they are in one that is "
            "neither US nor EU"
        )
    elif isinstance(error, api.ClientError):
        message = f"BigQuery refuses: {said}"
        remedy = "check the query and the names; columns=[…] and query_limit make a result smaller"
    else:
        message = f"BigQuery cannot be reached, or fails: {said}"
        remedy = "check the network where the step runs, and try again"
    return DataError(message, where=where(source), remedy=remedy)


def last_change(source: BigQueryDatasource) -> dict[str, Any] | None:
    """What differs once the table changes; None if nothing says that it has not."""
    with connected(source) as client:
        from google.cloud.bigquery import DatasetReference

        name = DatasetReference(source.query_project, source.query_dataset).table(
            source.query_table
        )
        table = client.get_table(name, retry=retry(), timeout=REQUEST)
        if table.table_type != "TABLE" or table.streaming_buffer is not None:
            return None
        # The entity tag is not promised to change with the rows.
        return {
            "created": table.created.isoformat(),
            "modified": table.modified.isoformat(),
            "rows": table.num_rows,
            "bytes": table.num_bytes,
        }
