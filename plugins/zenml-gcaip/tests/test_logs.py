"""A log, read on from where anybody stopped: nothing lost, nothing twice."""

from __future__ import annotations

import re
from typing import Any

import pytest

from zenml.core import Handle

NAME = "projects/123/locations/europe-west1/customJobs/7"
HANDLE = Handle(job="zenml-1", data={"name": NAME})


class Log:
    """Cloud Logging with the entries of one job, as many on a page as it likes."""

    def __init__(self, server: Any, page: int) -> None:
        self.entries: list[dict[str, Any]] = []
        self.page = page
        server.answer = self.answer

    def add(self, second: float, text: str, **payload: Any) -> None:
        stamp = f"2026-01-02T03:04:{second:09.6f}Z"
        named = {"timestamp": stamp, "insertId": f"id-{len(self.entries):04d}"}
        self.entries.append({**named, **(payload or {"jsonPayload": {"message": text}})})

    def answer(self, asked: Any) -> Any:
        if asked.method == "GET":
            return {"name": NAME, "state": 3}
        assert asked.path == "/v2/entries:list"
        assert asked.body["resourceNames"] == ["projects/my-project"]
        assert 'resource.labels.job_id="7"' in asked.body["filter"]
        begin = re.search(r'timestamp>="([^"]+)"', asked.body["filter"])
        found = sorted(self.entries, key=lambda one: (one["timestamp"], one["insertId"]))
        found = [one for one in found if begin is None or one["timestamp"] >= begin[1]]
        token = asked.body.get("pageToken")
        if token is None:
            # As the service may: an empty page, and more behind it.
            return {"nextPageToken": "0"}
        rest = found[int(token) :]
        answer: dict[str, Any] = {"entries": rest[: self.page]}
        if len(rest) > self.page:
            answer["nextPageToken"] = str(int(token) + self.page)
        return answer


def read(backend: Any, cursor: str = "") -> tuple[list[str], str]:
    lines: list[str] = []
    while True:
        page = backend.logs(HANDLE, cursor)
        lines += page.lines
        if not page.lines:
            return lines, page.cursor
        cursor = page.cursor


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_every_line_comes_once(backend, server, page):
    log = Log(server, page)
    for number in range(20):
        log.add(number // 4, f"line {number:02d}")  # four at the same time
    assert read(backend)[0] == [f"line {number:02d}" for number in range(20)]


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_what_comes_later_is_read_on_from_the_cursor(backend, server, page):
    log = Log(server, page)
    for number in range(5):
        log.add(number, f"line {number}")
    _, cursor = read(backend)
    assert read(backend, cursor) == ([], cursor)
    log.add(4, "at the same time")
    log.add(30, "much later")
    lines, cursor = read(backend, cursor)
    assert lines == ["at the same time", "much later"]
    assert read(backend, cursor)[0] == []


def test_a_line_that_comes_late_is_not_lost(backend, server):
    log = Log(server, 1000)
    log.add(10, "first")
    log.add(12, "second")
    _, cursor = read(backend)
    log.add(11, "between them")
    lines, cursor = read(backend, cursor)
    assert lines == ["between them"]
    log.add(12.5, "after")
    assert read(backend, cursor)[0] == ["after"]


def test_a_cursor_does_not_grow_with_the_log(backend, server):
    log = Log(server, 1000)
    for number in range(50):
        log.add(number, "x")
    _, cursor = read(backend)
    assert len(cursor) < 600


def test_whatever_an_entry_holds_is_a_line(backend, server):
    log = Log(server, 1000)
    log.add(1, "", textPayload="the service itself\nin two lines")
    log.add(2, "", jsonPayload={"level": "INFO"})
    log.add(3, "", textPayload="")
    assert read(backend)[0] == ["the service itself", "in two lines", '{"level": "INFO"}', ""]


def test_what_may_not_be_read_says_what_to_do(backend, server):
    def answer(asked: Any) -> Any:
        if asked.method == "GET":
            return {"name": NAME, "state": 3}
        return 403, {"error": {"code": 403, "message": "logging.logEntries.list denied"}}

    server.answer = answer
    with pytest.raises(Exception, match="zenml backend permissions"):
        backend.logs(HANDLE)
