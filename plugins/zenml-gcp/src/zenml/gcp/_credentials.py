"""Who we are to Google Cloud: the one place where google-auth is asked."""

from __future__ import annotations

from typing import Any

from zenml.core.errors import BackendError

__all__ = ["LOG_IN", "find_credentials"]

#: What the account may do is for IAM to say; narrower scopes would only say it twice.
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

#: What to do where nobody is known.
LOG_IN = "log in with 'gcloud auth application-default login'"


def find_credentials(
    *,
    project: str | None = None,
    impersonate_service_account: str | None = None,
    api_endpoint: str | None = None,
) -> tuple[Any, str | None]:
    """Credentials of google-auth, and the project that they come with, by the standard chain.

    The chain is application default credentials: the file that ``GOOGLE_APPLICATION_CREDENTIALS``
    names (a key, or workload identity federation), a user's login, the machine's own account.

    Args:
        project: Goes before the project of the environment.
        impersonate_service_account: Act as this account, which ours may make tokens for.
        api_endpoint: Where requests go. Plain HTTP is an emulator's, which is told no secret: the
            credentials are anonymous.

    Raises:
        BackendError: there are none, or what there is cannot be read; says how to log in.
    """
    if api_endpoint is not None and api_endpoint.startswith("http://"):
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials(), project
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, found = google.auth.default(scopes=_SCOPES)
    except GoogleAuthError as error:
        raise BackendError(
            "no credentials for Google Cloud can be found, or those that are found cannot be used",
            where=str(error).partition("\n")[0],
            remedy=f"{LOG_IN}, name a file with GOOGLE_APPLICATION_CREDENTIALS, or run on Google "
            "Cloud with a service account",
        ) from None
    if impersonate_service_account is not None:
        from google.auth.impersonated_credentials import Credentials

        credentials = Credentials(
            source_credentials=credentials,
            target_principal=impersonate_service_account,
            target_scopes=_SCOPES,
        )
    return credentials, project or found
