"""Watches that go on, whatever becomes of a connection."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest

from zenml.core.testing import nothing_left_behind, wait_until
from zenml.k8s import OrchestratorKubernetesBackend, _watching
from zenml.k8s._api import Api, ApiError, connect
from zenml.k8s._watching import Watcher


class Cluster:
    """Two collections, their lists, and the streams that are open."""

    def __init__(self) -> None:
        self.jobs = [a_job("a")]
        self.version = 100
        self.streams: list[queue.Queue[Any]] = []
        self.others: list[queue.Queue[Any]] = []
        self.refusals: list[Any] = []

    def answer(self, asked: Any) -> Any:
        if "/jobs" not in asked.path:
            return self._stream(self.others) if "watch" in asked.query else listed([], 1)
        if self.refusals:
            return self.refusals.pop(0)
        if "watch" in asked.query:
            return self._stream(self.streams)
        return listed(self.jobs, self.version)

    def _stream(self, streams: list[queue.Queue[Any]]) -> queue.Queue[Any]:
        streams.append(queue.Queue())
        return streams[-1]

    def change(self, kind: str, name: str, version: int, **status: Any) -> None:
        self.streams[-1].put({"type": kind, "object": a_job(name, version, **status)})


def listed(items: list[Any], version: int) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": items}


def a_job(name: str, version: int = 1, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "resourceVersion": str(version)}
    return {"metadata": metadata, "status": status}


@pytest.fixture
def cluster(server: Any) -> Cluster:
    made = Cluster()
    server.answer = made.answer
    return made


@pytest.fixture
def api(cluster: Cluster, kubeconfig: str) -> Api:
    return connect(OrchestratorKubernetesBackend(kubernetes_config_path=kubeconfig))


@pytest.fixture
def watcher(api: Api) -> Iterator[Watcher]:
    made = Watcher(api, "ml", "a=b")
    yield made
    made.stop()


def names(watcher: Watcher, *wanted: str) -> set[str]:
    return {name for name in wanted if watcher.look(name).job is not None}


def test_what_is_listed_and_what_changes_is_seen(cluster: Cluster, watcher: Watcher) -> None:
    wait_until(lambda: len(cluster.streams) == 1)
    cluster.change("ADDED", "b", 101)
    wait_until(lambda: names(watcher, "a", "b", "c") == {"a", "b"})
    cluster.change("ADDED", "c", 101)
    cluster.change("MODIFIED", "a", 102, active=1)
    cluster.change("DELETED", "b", 103)
    wait_until(lambda: names(watcher, "b", "c") == {"c"})
    found = watcher.look("a").job
    assert found is not None
    assert found["active"] == 1


@pytest.mark.parametrize("end", [None, "break"])
def test_a_stream_that_ends_is_taken_up_where_it_was(
    cluster: Cluster, server: Any, watcher: Watcher, end: Any
) -> None:
    wait_until(lambda: len(cluster.streams) == 1)
    cluster.change("MODIFIED", "a", 150)
    bookmark = {"metadata": {"resourceVersion": "160"}}
    cluster.streams[-1].put({"type": "BOOKMARK", "object": bookmark})
    cluster.streams[-1].put(end)
    wait_until(lambda: len(cluster.streams) == 2)
    cluster.change("ADDED", "b", 170)
    wait_until(lambda: names(watcher, "a", "b") == {"a", "b"})
    watches = [one for one in server.asked("GET", "/jobs") if "watch" in one.query]
    assert [one.query["resourceVersion"] for one in watches] == ["100", "160"]
    assert all(one.query["allowWatchBookmarks"] == "true" for one in watches)
    assert all(one.query["labelSelector"] == "a=b" for one in watches)
    assert len(server.asked("GET", "/jobs")) == 3, "listed once"


@pytest.mark.parametrize("how", ["answer", "event"])
def test_a_version_that_is_too_old_means_a_new_list(
    cluster: Cluster, watcher: Watcher, how: str
) -> None:
    wait_until(lambda: len(cluster.streams) == 1)
    assert names(watcher, "a", "b") == {"a"}
    cluster.jobs, cluster.version = [a_job("b")], 900
    gone = {"code": 410, "reason": "Expired", "message": "too old resource version"}
    if how == "answer":
        cluster.refusals.append((410, gone))
        cluster.streams[-1].put(None)
    else:
        cluster.streams[-1].put({"type": "ERROR", "object": gone})
    # What is not listed any more is gone, though nobody said so.
    wait_until(lambda: names(watcher, "a", "b") == {"b"})


def test_a_server_that_is_away_for_a_moment_is_not_noticed(
    cluster: Cluster, watcher: Watcher
) -> None:
    wait_until(lambda: len(cluster.streams) == 1)
    cluster.refusals = [(503, {"message": "starting"}), (429, {"message": "slow down"})]
    cluster.streams[-1].put("break")
    wait_until(lambda: len(cluster.streams) == 2)
    cluster.change("ADDED", "b", 101)
    wait_until(lambda: names(watcher, "b") == {"b"})


def test_a_server_that_stays_away_is_told(
    cluster: Cluster, server: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: len(cluster.streams) == 1)
    server.answer = lambda _: (503, {"message": "gone fishing"})
    cluster.streams[-1].put("break")
    wait_until(lambda: len(server.asked("GET", "/jobs")) > 3)
    assert watcher.look("a", patience=60.0).job is not None  # what was heard last still counts
    with pytest.raises(ConnectionError, match="gone fishing"):
        watcher.look("a", patience=0.05)


def test_a_refusal_is_told_at_once(cluster: Cluster, api: Api, server: Any) -> None:
    server.answer = lambda _: (403, {"reason": "Forbidden", "message": "may not list jobs"})
    watcher = Watcher(api, "ml", "a=b")
    begun = time.monotonic()
    with pytest.raises(ApiError, match="may not list jobs"):
        watcher.look("a")
    assert time.monotonic() - begun < 10
    watcher.stop()


def test_a_connection_that_is_silent_counts_as_dead(
    cluster: Cluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watching, "_SILENCE", 0.3)
    watcher = Watcher(api, "ml", "a=b")
    wait_until(lambda: len(cluster.streams) >= 3)
    watcher.stop()


def test_nobody_is_asked_when_nobody_looks(
    cluster: Cluster, api: Api, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watching, "_IDLE", 0.5)
    watcher = Watcher(api, "ml", "a=b")
    watcher.look("a")
    wait_until(lambda: len(cluster.streams) == 1)
    time.sleep(0.6)
    cluster.streams[-1].put(None)
    wait_until(lambda: not watcher.alive)


def test_nothing_is_left_of_a_watch_whose_jobs_are_done_with(cluster: Cluster, api: Api) -> None:
    with nothing_left_behind():
        made = Watcher(api, "ml", "a=b")
        made.look("a")
        made.look("b")
        wait_until(lambda: len(cluster.streams) == 1)
        made.forget("a")
        assert made.alive
        wait_until(lambda: len(cluster.others) == 1)
        made.forget("b")
        assert not made.alive
        for stream in (*cluster.streams, *cluster.others):  # the server's own threads
            stream.put(None)


def test_looking_asks_nobody(cluster: Cluster, server: Any, watcher: Watcher) -> None:
    wait_until(lambda: len(cluster.streams) == 1)
    watcher.look("a")
    wait_until(lambda: len(server.asked("GET", "/pods")) == 2)
    before = len(server.requests)
    for _ in range(1_000):
        watcher.look("a")
    assert len(server.requests) == before
