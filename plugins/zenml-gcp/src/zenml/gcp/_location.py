"""What the URL of a store in Cloud Storage says: a bucket, a folder of it, and how to use it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from zenml.core import check_key
from zenml.core.errors import StoreError

__all__ = ["Location"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ENDPOINT = re.compile(r"https?://[\w.-]+(:\d+)?")
_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_ACCOUNT = re.compile(r"[\w.-]+@[\w.-]+")
_PROJECT = re.compile(r"[\w.:-]+")

_REMEDY: Final = (
    "write gs://BUCKET/FOLDER, and behind that, where they are needed, ?NAME=VALUE&NAME=VALUE "
    "with user_project, kms_key_name, impersonate_service_account, api_endpoint, deadline"
)


class Location(NamedTuple):
    """The parts of a URL ``gs://bucket/folder?name=value``.

    Attributes:
        bucket: Its name.
        folder: What all names of objects begin with: empty, or ending with a slash.
        user_project: The project that pays for requests, where the bucket wants the caller to.
        kms_key_name: Encrypt what is written with this key of Cloud KMS.
        impersonate_service_account: Act as this account.
        api_endpoint: Where the service is, if it is not at the public place.
        deadline: Seconds for which a request that fails is tried again.
    """

    bucket: str
    folder: str
    user_project: str | None = None
    kms_key_name: str | None = None
    impersonate_service_account: str | None = None
    api_endpoint: str | None = None
    deadline: float = 120.0

    @classmethod
    def parse(cls, url: str) -> Location:
        """Read a URL. Raises ``StoreError`` with all that is wrong in it."""
        path, _, query = url.partition("?")
        bucket, _, folder = path.partition("://")[2].partition("/")
        folder = folder.rstrip("/")
        problems = []
        if not _BUCKET.fullmatch(bucket):
            problems.append(f"'{bucket}' is not the name of a bucket")
        if folder:
            try:
                check_key(folder)
            except StoreError:
                problems.append(f"'{folder}' is not a folder that a store can be in")
        options: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in _OPTIONS:
                problems.append(f"there is no option '{name}'")
            elif name in options:
                problems.append(f"'{name}' is given twice")
            elif not _OPTIONS[name].fullmatch(value):
                problems.append(f"'{value}' is no {name}")
            else:
                options[name] = value
        if problems:
            raise StoreError(
                "this is not the URL of a store in Cloud Storage: " + "; ".join(problems),
                where=url,
                remedy=_REMEDY,
            )
        deadline = float(options.pop("deadline", cls._field_defaults["deadline"]))
        return cls(bucket, f"{folder}/" if folder else "", deadline=deadline, **options)

    @property
    def url(self) -> str:
        """The URL, with its options in one order; those that have their default are left out."""
        given = {
            name: f"{value:g}" if name == "deadline" else value
            for name, value in zip(self._fields, self, strict=True)
            if name in _OPTIONS and value != self._field_defaults[name]
        }
        path = f"gs://{self.bucket}/{self.folder}".rstrip("/")
        return f"{path}?{urlencode(given, safe='/:@')}" if given else path


#: Each option, and what its value looks like.
_OPTIONS: Final = {
    "user_project": _PROJECT,
    "kms_key_name": _KEY,
    "impersonate_service_account": _ACCOUNT,
    "api_endpoint": _ENDPOINT,
    "deadline": re.compile(r"\d+(\.\d+)?"),
}
