"""Maps: how units are divided, what is asked of the cluster, and what ends them."""

from __future__ import annotations

import gc
import json
import queue
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Files, MapContext, Unit, WorkOrder, execute_unit, open_store
from zenml.core.errors import (
    BackendError,
    ConfigurationError,
    DataError,
    RunError,
    UnitFailedError,
)
from zenml.k8s import ProcessingKubernetesBackend, worker
from zenml.k8s._indexes import AGAIN, RAISED, REFUSED, divided, indexes_in
from zenml.k8s._map import manifest_of
from zenml.k8s._watching import Watcher

#: What units were given, once for each time that one was executed.
executed: list[Any] = []


def double(payload: Any, files: Files) -> Any:
    executed.append(payload)
    return payload * 2


def wrong(payload: Any, files: Files) -> Any:
    raise DataError("a row is wrong", where="rows.csv:3", remedy="mend it")


def odd(payload: Any, files: Files) -> Any:
    raise ValueError(f"{payload} is odd")


def units(count: int, name: str = "double") -> list[Unit]:
    return [Unit(f"{__name__}:{name}", number, "code") for number in range(count)]


@pytest.fixture
def context(tmp_path: Path) -> MapContext:
    executed.clear()
    store = open_store((tmp_path / "store").as_uri())
    store.prepare()
    return MapContext(store=store.url, scope=f"units/{'a' * 64}", step="Größe!", run="20260102-run")


# -- orders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "parallelism", "per_pod", "sizes"),
    [
        (1, 8, None, {1: 1}),
        (64, 8, None, {1: 64}),
        (65, 8, None, {2: 32, 1: 1}),
        (10_000, 8, None, {157: 63, 109: 1}),
        (5, 2, 1, {1: 5}),
        (5, 2, 2, {2: 2, 1: 1}),
        (5, 2, 9, {5: 1}),
    ],
)
def test_units_are_divided_among_indexes(
    count: int, parallelism: int, per_pod: int | None, sizes: dict[int, int]
) -> None:
    groups = divided(units(count), parallelism, per_pod)
    assert Counter(map(len, groups)) == sizes
    assert [unit for group in groups for unit in group] == units(count)


@pytest.mark.parametrize(
    ("text", "indexes"), [("", []), ("0", [0]), ("1-3,7", [1, 2, 3, 7]), ("0,2-3", [0, 2, 3])]
)
def test_completed_indexes_are_read(text: str, indexes: list[int]) -> None:
    assert [*indexes_in(text)] == indexes


# -- manifests -----------------------------------------------------------------------------------


def test_the_manifest(context: MapContext) -> None:
    backend = ProcessingKubernetesBackend(
        namespace="ml",
        image="registry/zenml:1",
        memory="2Gi",
        parallelism=4,
        units_per_pod=2,
        timeout=3600,
        volumes=[{"mount_path": "/store", "claim": "shared"}],
    )
    context = MapContext(
        store="file:///store", scope=context.scope, step="Größe!", run="20260102-r"
    )
    order = WorkOrder(open_store(context.store), context.scope, "0" * 64)
    found = json.dumps(manifest_of(backend, order, context, 13), indent=2, ensure_ascii=False)
    path = Path(__file__).parent / "golden" / "processing.json"
    if not path.exists():
        path.write_text(found + "\n", encoding="utf-8")
        pytest.fail(f"{path.name} is written anew: read it, and run again")
    assert found + "\n" == path.read_text(encoding="utf-8")


class TestManifests:
    def made(self, context: MapContext, count: int = 5, **options: Any) -> Any:
        backend = ProcessingKubernetesBackend(**options)
        order = WorkOrder(open_store(context.store), context.scope, "0" * 64)
        return manifest_of(backend, order, context, count)

    def test_the_name_is_the_same_for_the_same_work(self, context: MapContext) -> None:
        def name(**options: Any) -> Any:
            return self.made(context, **options)["metadata"]["name"]

        assert name() == name() == name(extra_labels={"team": "a"})
        assert len({name(), name(memory="1Gi"), name(parallelism=3), name(image="x:1")}) == 4

    def test_host_names_that_are_made_of_it_are_not_too_long(self, context: MapContext) -> None:
        prefix = "x" * 29
        name = self.made(context, count=100_000, job_prefix=prefix)["metadata"]["name"]
        assert len(f"{name}-99999") <= 63

    def test_it_is_found_without_a_run_too(self, context: MapContext) -> None:
        context = MapContext(store=context.store, scope=context.scope, step="s")
        labels = self.made(context)["metadata"]["labels"]
        assert len(labels["zenml.io/run"]) <= 63

    def test_it_has_no_more_pods_than_indexes(self, context: MapContext) -> None:
        assert self.made(context, count=3)["spec"]["parallelism"] == 3

    @pytest.mark.parametrize(
        "given",
        [{"parallelism": 0}, {"units_per_pod": 0}, {"backoff_limit_per_index": -1}, {"timeout": 0}],
    )
    def test_parameters_are_checked(self, given: Any) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(given))):
            ProcessingKubernetesBackend(**given)


# -- workers -------------------------------------------------------------------------------------


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str], int], int]:
    """Runs a worker, here, as a pod would by its command."""

    def run(command: list[str], index: int) -> int:
        monkeypatch.setattr("sys.argv", command[2:])
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        return worker.main()

    return run


class TestWorkers:
    def command(self, context: MapContext, name: str = "double", **changes: str) -> list[str]:
        order = WorkOrder.put(open_store(context.store), context, [units(3, name)])
        told = {"store": context.store, "order": order.key, "digest": order.digest, **changes}
        arguments = [word for name, value in told.items() for word in (f"--{name}", value)]
        return ["python", "-m", "zenml.k8s.worker", *arguments]

    def order(self, command: list[str], context: MapContext) -> WorkOrder:
        return WorkOrder(open_store(context.store), context.scope, command[-1])

    def test_they_leave_results(self, work: Any, context: MapContext) -> None:
        command = self.command(context)
        assert work(command, 0) == 0
        assert self.order(command, context).results(0) == [0, 2, 4]

    def test_what_is_done_is_not_done_again(self, work: Any, context: MapContext) -> None:
        execute_unit(units(3)[1], context)
        assert work(self.command(context), 0) == 0
        assert executed == [1, 0, 2]

    def test_an_exception_is_left_and_ends_them(self, work: Any, context: MapContext) -> None:
        command = self.command(context, "wrong")
        assert work(command, 0) == RAISED
        error = self.order(command, context).error(0)
        assert isinstance(error, DataError)
        assert (error.where, error.remedy) == ("rows.csv:3", "mend it")
        assert self.order(command, context).results(0) is None

    def test_another_order_is_refused(
        self, work: Any, context: MapContext, capfd: pytest.CaptureFixture[str]
    ) -> None:
        command = self.command(context)
        order = self.order(command, context)
        order.store.write(order.key, b"[{}]")
        assert work(command, 0) == REFUSED
        assert "not the one that was given" in capfd.readouterr().err

    def test_a_store_that_is_not_there_is_refused(
        self, work: Any, context: MapContext, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        elsewhere = (tmp_path / "elsewhere").as_uri()
        assert work(self.command(context, store=elsewhere), 0) == REFUSED
        assert "elsewhere" in capfd.readouterr().err


# -- maps ----------------------------------------------------------------------------------------


class Cluster:
    """A namespace of a server. The pods of its Jobs execute their units as soon as they are made.

    Attributes:
        status_of: Gives the status of the pod of an index, where it is to be another one.
    """

    def __init__(self, work: Callable[[list[str], int], int]) -> None:
        self.jobs: dict[str, Any] = {}
        self.pods: dict[str, Any] = {}
        self.events: list[Any] = []
        self._told: dict[str, list[Any]] = {"jobs": [], "pods": []}
        self.status_of: Callable[[int], Any] = lambda _: None
        self._work = work
        self._streams: dict[str, list[queue.Queue[Any]]] = {"jobs": [], "pods": []}
        self._number = 0
        self._lock = threading.RLock()

    def answer(self, asked: Any) -> Any:
        with self._lock:
            kind, _, name = asked.path.partition("/namespaces/ml/")[2].partition("/")
            if kind == "events":
                return {"metadata": {}, "items": self.events}
            found = self.jobs if kind == "jobs" else self.pods
            if asked.method == "POST":
                return self._make(asked.body)
            if asked.method == "DELETE":
                gone = found.pop(name, None)
                if gone is not None:
                    self._tell(kind, "DELETED", gone)
                return {}
            if "watch" in asked.query:
                stream = queue.Queue[Any]()
                self._streams[kind].append(stream)
                for event in self._told[kind][int(asked.query["resourceVersion"]) :]:
                    stream.put(event)
                return stream
            if name:
                return found.get(name, (404, {}))
            version = str(len(self._told[kind]))
            return {"metadata": {"resourceVersion": version}, "items": list(found.values())}

    def _make(self, manifest: Any) -> Any:
        name = manifest["metadata"]["name"]
        if name in self.jobs:
            return (409, {"reason": "AlreadyExists"})
        self._number += 1
        manifest["metadata"]["uid"] = f"uid-{self._number}"
        self.change_job(manifest, active=1)
        for index in range(manifest["spec"]["completions"]):
            self.start_pod(manifest, index)
        return manifest

    def start_pod(self, job: Any, index: int) -> None:
        command = job["spec"]["template"]["spec"]["containers"][0]["command"]
        status = self.status_of(index) or ended(self._work(command, index))
        name = f"{job['metadata']['name']}-{index}-x"
        labels = {
            "batch.kubernetes.io/job-name": job["metadata"]["name"],
            "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
        }
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
        metadata = {"name": name, "uid": name, "labels": labels, "annotations": annotations}
        self.pods[name] = {"metadata": metadata, "status": status}
        self._tell("pods", "ADDED", self.pods[name])

    def change_job(self, job: Any, **status: Any) -> None:
        self.jobs[job["metadata"]["name"]] = job
        job["status"] = status
        self._tell("jobs", "MODIFIED", job)

    def _tell(self, kind: str, change: str, item: Any) -> None:
        item["metadata"]["resourceVersion"] = str(len(self._told[kind]) + 1)
        self._told[kind].append({"type": change, "object": json.loads(json.dumps(item))})
        for stream in self._streams[kind]:
            stream.put(self._told[kind][-1])


def ended(code: int, reason: str = "") -> Any:
    state = {"terminated": {"exitCode": code, "reason": reason or ("Error" if code else "")}}
    containers = [{"name": "zenml", "state": state}]
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": containers}


RUNNING = {"phase": "Running"}


def waiting(reason: str, message: str) -> Any:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "zenml", "state": state}]}


@pytest.fixture
def cluster(server: Any, work: Any) -> Cluster:
    made = Cluster(work)
    server.answer = made.answer
    return made


@pytest.fixture
def backend(kubeconfig: str, cluster: Cluster) -> ProcessingKubernetesBackend:
    return ProcessingKubernetesBackend(kubernetes_config_path=kubeconfig)


def failed_as(**condition: str) -> Any:
    return [{"type": "Failed", "status": "True", **condition}]


class TestMaps:
    @pytest.mark.parametrize("count", [1, 10, 500])
    def test_the_cluster_is_asked_for_as_much_for_many_units_as_for_few(
        self, backend: Any, server: Any, cluster: Cluster, context: MapContext, count: int
    ) -> None:
        found = dict(backend.map(units(count), context))
        assert found == {number: 2 * number for number in range(count)}
        asked = Counter(
            (one.method, one.path.rpartition("/")[2], "watch" in one.query)
            for one in server.requests
            if one.method != "DELETE"
        )
        assert asked == {
            ("GET", "jobs", False): 1,
            ("GET", "pods", False): 1,
            ("GET", "jobs", True): 1,
            ("GET", "pods", True): 1,
            ("POST", "jobs", False): 1,
        }
        assert len(server.asked("DELETE")) == 1
        assert cluster.jobs == {}

    def test_equal_units_are_executed_once(self, backend: Any, context: MapContext) -> None:
        found = dict(backend.map([*units(2), *units(2)], context))
        assert found == {0: 0, 1: 2, 2: 0, 3: 2}
        assert sorted(executed) == [0, 1]

    def test_what_the_status_says_counts_as_well_as_pods(
        self, backend: Any, cluster: Cluster, context: MapContext
    ) -> None:
        cluster.status_of = lambda _: RUNNING
        iterator = backend.map(units(3), context)

        def complete() -> None:
            while not cluster.jobs:
                threading.Event().wait(0.01)
            [job] = cluster.jobs.values()
            order = order_of(job, context)
            for index in range(3):
                order.execute(index)
            cluster.change_job(job, completedIndexes="0,2")

        thread = threading.Thread(target=complete)
        thread.start()
        assert [next(iterator), next(iterator)] == [(0, 0), (2, 4)]
        thread.join()
        iterator.close()

    @pytest.mark.parametrize(("name", "kind"), [("wrong", DataError), ("odd", UnitFailedError)])
    def test_a_units_exception_is_raised_and_the_job_removed(
        self, backend: Any, cluster: Cluster, context: MapContext, name: str, kind: type
    ) -> None:
        before = set(threading.enumerate())
        with pytest.raises(kind, match=r"row is wrong|0 is odd"):
            list(backend.map(units(1, name), context))
        assert cluster.jobs == {}
        begun = {thread.name for thread in set(threading.enumerate()) - before}
        assert "zenml-k8s-watch" not in begun

    def test_closing_removes_the_job_and_the_pods_that_run(
        self, backend: Any, cluster: Cluster, server: Any, context: MapContext
    ) -> None:
        cluster.status_of = lambda index: None if index == 1 else RUNNING
        iterator = backend.map(units(3), context)
        assert next(iterator) == (1, 2)
        iterator.close()
        assert cluster.jobs == {}
        # That which has ended goes with its Job.
        assert [name.split("-")[-2] for name in cluster.pods] == ["1"]
        assert len(server.asked("DELETE")) == 3

    def test_a_job_that_an_earlier_client_began_is_found(
        self, backend: Any, cluster: Cluster, server: Any, context: MapContext
    ) -> None:
        # Its client died after some of the results, which the second one does not ask for again.
        order = WorkOrder.put(
            open_store(context.store), _without_run(context), divided(units(4), 8, None)
        )
        job = manifest_of(backend, order, context, 4)
        cluster._make(job)
        server.requests.clear()

        assert dict(backend.map(units(4)[1:], context)) == {0: 2, 1: 4, 2: 6}
        assert server.asked("POST") == []
        assert cluster.jobs == {}

    def test_one_that_another_client_has_seen_to_its_end_is_done(
        self, backend: Any, cluster: Cluster, context: MapContext
    ) -> None:
        cluster.status_of = lambda index: RUNNING if index else None
        results = backend.map(units(3), context)
        assert next(results) == (0, 0)
        _, job = cluster.jobs.popitem()
        order = order_of(job, context)
        order.execute(1)
        order.execute(2)
        cluster._tell("jobs", "DELETED", job)
        assert [*results] == [(1, 2), (2, 4)]

    def test_one_that_had_failed_is_begun_again(
        self, backend: Any, cluster: Cluster, server: Any, context: MapContext
    ) -> None:
        order = WorkOrder.put(
            open_store(context.store), _without_run(context), divided(units(2), 8, None)
        )
        job = manifest_of(backend, order, context, 2)
        cluster.status_of = lambda _: ended(RAISED)
        cluster._make(job)
        cluster.change_job(job, conditions=failed_as(reason="PodFailurePolicy"))
        cluster.status_of = lambda _: None

        assert dict(backend.map(units(2), context)) == {0: 0, 1: 2}
        assert len(server.asked("POST")) == 1

    def test_pods_with_more_memory_are_not_those_of_an_earlier_client(
        self, backend: Any, cluster: Cluster, server: Any, context: MapContext
    ) -> None:
        order = WorkOrder.put(
            open_store(context.store), _without_run(context), divided(units(2), 8, None)
        )
        cluster._make(manifest_of(backend, order, context, 2))

        assert len(dict(backend.replace(memory="1Gi").map(units(2), context))) == 2
        assert len(server.asked("POST")) == 1
        assert len(cluster.jobs) == 1


def order_of(job: Any, context: MapContext) -> WorkOrder:
    digest = job["metadata"]["annotations"]["zenml.io/digest"]
    return WorkOrder(open_store(context.store), context.scope, digest)


def _without_run(context: MapContext) -> MapContext:
    return MapContext(store=context.store, scope=context.scope, step=context.step)


class TestFailures:
    """What ends a map besides its units."""

    def failure(self, backend: Any, context: MapContext, count: int = 1) -> RunError:
        with pytest.raises(RunError) as caught:
            list(backend.map(units(count), context))
        return caught.value

    @pytest.fixture
    def fails(self, cluster: Cluster) -> Callable[..., None]:
        """Has the Job fail after its pods have."""

        def fail(status: Any, reason: str = "FailedIndexes") -> None:
            make = cluster._make
            cluster.status_of = lambda _: status

            def and_fail(manifest: Any) -> Any:
                made = make(manifest)
                found = failed_as(reason=reason, message="")
                cluster.change_job(manifest, conditions=found, failedIndexes="0")
                return made

            cluster._make = and_fail  # type: ignore[method-assign]

        return fail

    @pytest.mark.parametrize(
        ("status", "reason", "cause", "words"),
        [
            (ended(137, "OOMKilled"), "FailedIndexes", "OOM", "more memory than it may"),
            (ended(137), "FailedIndexes", None, "ended its worker process .*signal SIGKILL"),
            (ended(9), "FailedIndexes", None, "ended its worker process .*exit code 9"),
            (ended(AGAIN), "FailedIndexes", "INFRA", "cannot reach the store"),
            (RUNNING, "DeadlineExceeded", "TIMEOUT", "longer than it may"),
        ],
    )
    def test_a_job_that_failed_says_why(
        self,
        backend: Any,
        fails: Any,
        context: MapContext,
        status: Any,
        reason: str,
        cause: str | None,
        words: str,
    ) -> None:
        fails(status, reason)
        with pytest.raises(RunError, match=words) as caught:
            list(backend.map(units(1), context))
        assert caught.value.cause == cause
        assert "'Größe!'" in str(caught.value.where)

    def test_an_image_that_is_not_there_is_not_waited_for(
        self, backend: Any, cluster: Cluster, context: MapContext
    ) -> None:
        cluster.status_of = lambda _: waiting("ErrImageNeverPull", "not present")
        error = self.failure(backend, context, 3)
        assert error.cause == "IMAGE"
        assert "zenml image build" in str(error.remedy)
        assert cluster.jobs == {}

    def test_a_place_is_waited_for_until_it_is_late(
        self, backend: Any, cluster: Cluster, context: MapContext
    ) -> None:
        condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}
        cluster.status_of = lambda _: {"phase": "Pending", "conditions": [condition]}
        error = self.failure(backend.replace(pending_timeout=0.3), context)
        assert error.cause == "UNSCHEDULABLE"
        assert "0/1 nodes" in error.message

    def test_a_job_that_is_deleted_is_missed(
        self, backend: Any, cluster: Cluster, context: MapContext
    ) -> None:
        cluster.status_of = lambda _: RUNNING
        iterator = backend.map(units(1), context)

        def delete() -> None:
            while not cluster.jobs:
                threading.Event().wait(0.01)
            threading.Event().wait(1.0)
            _, job = cluster.jobs.popitem()
            cluster._tell("jobs", "DELETED", job)

        thread = threading.Thread(target=delete)
        thread.start()
        with pytest.raises(RunError, match="was deleted") as caught:
            next(iterator)
        thread.join()
        assert caught.value.cause == "LOST"

    def test_a_pod_that_claims_success_and_left_nothing_is_none(
        self, backend: Any, cluster: Cluster, context: MapContext
    ) -> None:
        cluster.status_of = lambda _: ended(0)
        assert "exit code 0" in self.failure(backend, context).message

    def test_a_job_that_is_refused_is_not_looked_for(
        self, backend: Any, server: Any, cluster: Cluster, context: MapContext
    ) -> None:
        answer = cluster.answer

        def refuse(asked: Any) -> Any:
            refusal = (403, {"reason": "Forbidden", "message": "exceeded quota: q"})
            return refusal if asked.method == "POST" else answer(asked)

        server.answer = refuse
        with pytest.raises(BackendError, match="exceeded quota"):
            list(backend.map(units(1), context))
        assert server.asked("DELETE") == []

    def test_a_watch_that_was_given_up_is_begun_again(
        self, backend: Any, server: Any, cluster: Cluster, context: MapContext
    ) -> None:
        iterator = backend.map(units(3), context)
        assert next(iterator) == (0, 0)
        for watch in [one for one in gc.get_objects() if isinstance(one, Watcher)]:
            watch.stop()
        assert [*iterator] == [(1, 2), (2, 4)]

    def test_credentials_that_are_no_good_are_told_at_once(
        self, backend: Any, server: Any, context: MapContext
    ) -> None:
        server.answer = lambda _: (401, {"reason": "Unauthorized", "message": "Unauthorized"})
        with pytest.raises(BackendError, match="does not know who asks"):
            list(backend.map(units(1), context))

    def test_no_units_are_no_job(self, backend: Any, server: Any, context: MapContext) -> None:
        assert list(backend.map([], context)) == []
        assert server.requests == []
