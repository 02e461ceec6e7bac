"""What a job printed, as Cloud Logging has it: read on from where anybody stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from zenml.core import LogPage
from zenml.gcaip._api import SECONDS, logging_session, logging_url
from zenml.gcaip._options import VertexOptions

__all__ = ["read_log"]

#: Entries that are asked for at once: the most that there are.
_PAGE: Final = 1000

#: Seconds that an entry may come later than another with a later time.
_LATE: Final = 10.0


class _Cursor(NamedTuple):
    """Where a log was read to.

    Attributes:
        time: That of the latest entry.
        seen: Which entries of the last seconds before it were read: by second, short digests.
    """

    time: str = ""
    seen: dict[str, list[str]] = {}  # noqa: RUF012 - never changed


def read_log(options: VertexOptions, job_id: str, cursor: str) -> LogPage:
    """The next lines of a job's log; none if there are no more for now."""
    position = _Cursor(*json.loads(cursor)) if cursor else _Cursor()
    filters = ['resource.type="ml_job"', f'resource.labels.job_id="{job_id}"']
    if position.time:
        begin = _parsed(position.time) - timedelta(seconds=_LATE)
        filters.append(f'timestamp>="{begin:%Y-%m-%dT%H:%M:%S.%fZ}"')
    query: dict[str, Any] = {
        "resourceNames": [f"projects/{options.project}"],
        "filter": " AND ".join(filters),
        "orderBy": "timestamp asc",
        "pageSize": _PAGE,
    }
    known = {mark for marks in position.seen.values() for mark in marks}
    while True:
        answer = _ask(options, query)
        entries = [entry for entry in answer.get("entries", ()) if _mark(entry) not in known]
        if entries:
            lines = [line for entry in entries for line in _lines_of(entry)]
            return LogPage(tuple(lines), json.dumps(_after(position, entries)))
        if "nextPageToken" not in answer:
            return LogPage((), cursor)
        # A page may be empty, or hold only what was read before.
        query["pageToken"] = answer["nextPageToken"]


def _after(position: _Cursor, entries: list[dict[str, Any]]) -> _Cursor:
    times = [entry["timestamp"] for entry in entries]
    last = max([*times, *filter(None, [position.time])], key=_parsed)
    # Seconds as text are in the order of time.
    oldest = f"{_parsed(last) - timedelta(seconds=_LATE + 1):%Y-%m-%dT%H:%M:%S}"
    seen = {second: [*marks] for second, marks in position.seen.items() if second >= oldest}
    for entry in entries:
        second = entry["timestamp"][: len(oldest)]
        if second >= oldest:
            seen.setdefault(second, []).append(_mark(entry))
    return _Cursor(last, seen)


def _ask(options: VertexOptions, query: Mapping[str, Any]) -> dict[str, Any]:
    from google.api_core.exceptions import from_http_response

    url = f"{logging_url(options)}/v2/entries:list"
    response = logging_session(options).post(url, json=query, timeout=SECONDS)
    if response.status_code != 200:
        raise from_http_response(response)
    found: dict[str, Any] = response.json()
    return found


def _lines_of(entry: Mapping[str, Any]) -> list[str]:
    payload = entry.get("jsonPayload")
    text = entry.get("textPayload")
    if text is None and isinstance(payload, dict):
        text = payload.get("message")
    if text is None:
        text = json.dumps(payload or entry.get("protoPayload") or {}, ensure_ascii=False)
    return str(text).splitlines() or [""]


def _mark(entry: Mapping[str, Any]) -> str:
    named = f"{entry['timestamp']} {entry.get('insertId', '')}"
    return hashlib.sha256(named.encode()).hexdigest()[:10]


def _parsed(time: str) -> datetime:
    # Google gives up to nine digits of a second, and Python 3.10 reads three or six.
    whole, _, fraction = time.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
