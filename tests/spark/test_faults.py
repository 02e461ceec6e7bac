"""What goes wrong on a cluster, and on the way to it: typed, in time, and nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness import Standalone

from zenml.core import MapContext, Unit, open_store
from zenml.core.errors import RunError, UnitFailedError
from zenml.core.testing import Project, nothing_left_behind, wait_until
from zenml.spark import ProcessingSparkBackend

UNITS = """
import os, time
from zenml.core import open_store

def square(payload, files):
    return payload * payload

def poison(payload, files):
    if payload == 5:
        raise ValueError(f"{payload} is poison")
    return payload

def die(payload, files):
    os.kill(os.getpid(), 9)

def variable(payload, files):
    return os.environ.get(payload)

def slow(payload, files):
    open_store(payload["store"]).write(f"{payload['marks']}/{payload['number']}", b"")
    time.sleep(payload["seconds"])
    return payload["number"]

def held(payload, files):
    # The first that comes to it hangs; whoever comes later does not.
    first = open_store(payload["store"]).write_if_absent(f"{payload['marks']}/first", b"")
    if payload["number"] == 0 and first:
        time.sleep(600)
    return payload["number"]
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    (folder / ".zenml").mkdir(parents=True)
    (folder / "units_on_spark.py").write_text(UNITS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def context(repository: Path, tmp_path: Path) -> MapContext:
    store = open_store((tmp_path / "store").as_uri())
    store.prepare()
    return MapContext(
        store=store.url, scope="units/key", step="tested", import_roots=(str(repository),)
    )


@pytest.fixture
def options(standalone: Standalone) -> dict[str, Any]:
    """Parameters of a backend on the cluster."""
    return standalone.options


@pytest.fixture
def workers(standalone: Standalone) -> Iterator[None]:
    """Starts again what a test has killed."""
    yield
    standalone.restore()


@pytest.fixture(autouse=True)
def nothing_left_on_the_cluster(standalone: Standalone, workers: None) -> Iterator[None]:
    with nothing_left_behind(timeout=60):
        yield
    wait_until(
        lambda: not standalone.applications() and not standalone.executors(),
        timeout=60,
        what="the end of all applications",
    )


def units(name: str, payloads: Any) -> list[Unit]:
    return [Unit(f"units_on_spark:{name}", payload, "code") for payload in payloads]


def slow(context: MapContext, count: int, seconds: float, name: str = "slow") -> list[Unit]:
    given = {"store": context.store, "marks": "marks", "seconds": seconds}
    return units(name, [{"number": number, **given} for number in range(count)])


def begun(context: MapContext) -> int:
    return len([*open_store(context.store).list("marks/")])


def mapped(backend: ProcessingSparkBackend, given: list[Unit], context: MapContext) -> list[Any]:
    found = sorted(backend.map(given, context))
    assert [number for number, _ in found] == [*range(len(given))]
    return [result for _, result in found]


@contextlib.contextmanager
def when_begun(context: MapContext, act: Any) -> Iterator[list[BaseException]]:
    """Do something as soon as a unit has begun; gives what that has raised."""
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            wait_until(lambda: begun(context), timeout=120, what="the first unit's beginning")
            act()
        except BaseException as error:  # noqa: BLE001 - looked at below
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield raised
    thread.join(timeout=120)
    assert raised == []


# -- workers that go -----------------------------------------------------------------------------


def test_an_executor_that_is_killed_is_followed_by_another(
    standalone: Standalone, options: dict[str, Any], context: MapContext
) -> None:
    backend = ProcessingSparkBackend(**options)
    with when_begun(context, lambda: os.kill(standalone.executors()[0], signal.SIGKILL)):
        assert mapped(backend, slow(context, 12, 0.5), context) == [*range(12)]


def test_a_machine_that_goes_is_done_without(
    standalone: Standalone, options: dict[str, Any], context: MapContext
) -> None:
    backend = ProcessingSparkBackend(**options)
    with when_begun(context, lambda: standalone.kill("worker-2")):
        assert mapped(backend, slow(context, 12, 0.5), context) == [*range(12)]


def test_a_unit_that_always_ends_its_worker_is_told(
    options: dict[str, Any], context: MapContext
) -> None:
    backend = ProcessingSparkBackend(**options, max_failures=2)

    with pytest.raises(RunError, match="a unit of work ended its worker process 2 times") as raised:
        mapped(backend, units("die", [1]), context)

    assert "step 'tested'" in str(raised.value.where)


def test_what_is_executed_twice_counts_once(options: dict[str, Any], context: MapContext) -> None:
    speculation = {
        "spark.speculation": "true",
        "spark.speculation.interval": "100ms",
        "spark.speculation.quantile": "0.5",
        "spark.speculation.multiplier": "1.1",
    }
    options["conf"] = {**options["conf"], **speculation}
    backend = ProcessingSparkBackend(**options, units_per_task=1)

    assert mapped(backend, slow(context, 6, 0, "held"), context) == [*range(6)]


# -- what a unit raises --------------------------------------------------------------------------


def test_a_units_own_error_comes_with_its_traceback(
    options: dict[str, Any], context: MapContext
) -> None:
    with pytest.raises(UnitFailedError) as raised:
        mapped(ProcessingSparkBackend(**options), units("poison", range(9)), context)

    first, *_, last = str(raised.value).splitlines()
    assert first == last == "ValueError: 5 is poison"
    assert "in poison" in str(raised.value)
    assert "pyspark" not in str(raised.value)


# -- who ends it elsewhere -----------------------------------------------------------------------


def test_an_application_that_somebody_kills_is_cancelled(
    standalone: Standalone, options: dict[str, Any], context: MapContext
) -> None:
    def kill() -> None:
        [application] = standalone.applications()
        standalone.kill_application(application["id"])

    with when_begun(context, kill), pytest.raises(RunError) as raised:
        mapped(ProcessingSparkBackend(**options), slow(context, 4, 60), context)

    assert raised.value.cause == "CANCELLED", raised.value


def test_a_job_that_somebody_kills_is_cancelled(
    standalone: Standalone, options: dict[str, Any], context: MapContext
) -> None:
    def kill() -> None:
        [application] = standalone.applications()
        standalone.kill_job(application["id"])

    options["conf"] = {**options["conf"], "spark.ui.port": "0"}
    with when_begun(context, kill), pytest.raises(RunError) as raised:
        mapped(ProcessingSparkBackend(**options), slow(context, 4, 60), context)

    assert raised.value.cause == "CANCELLED", raised.value


def test_a_driver_that_is_killed_is_missed(options: dict[str, Any], context: MapContext) -> None:
    def kill() -> None:
        [driver] = children_with("zenml.spark._driver")
        os.kill(driver, signal.SIGKILL)

    with when_begun(context, kill), pytest.raises(RunError, match="signal SIGKILL") as raised:
        mapped(ProcessingSparkBackend(**options), slow(context, 4, 60), context)

    assert raised.value.cause == "LOST"


def test_nothing_outlives_a_client_that_is_killed(
    options: dict[str, Any], context: MapContext, tmp_path: Path
) -> None:
    told = json.dumps({"options": options, "units": msgspec.to_builtins(slow(context, 4, 60))})
    script = f"""
import json, msgspec
from zenml.core import MapContext, Unit
from zenml.spark import ProcessingSparkBackend
told = json.loads({told!r})
context = msgspec.json.decode({msgspec.json.encode(context)!r}, type=MapContext)
list(ProcessingSparkBackend(**told["options"]).map(
    msgspec.convert(told["units"], list[Unit]), context))
"""
    (tmp_path / "tmp").mkdir()
    # Where the code is: what runs elsewhere gets the repository.
    project = Project(Path.cwd(), {"client.py": script})
    client = project.start("client.py", variables={"TMPDIR": str(tmp_path / "tmp")})
    try:
        wait_until(lambda: begun(context) or client.poll() is not None, timeout=120)
        assert client.poll() is None, client.communicate()[1]
    finally:
        os.kill(client.pid, signal.SIGKILL)
        client.communicate()

    wait_until(lambda: not [*(tmp_path / "tmp").iterdir()], timeout=60, what="the end of its files")


# -- what cannot begin ---------------------------------------------------------------------------


def test_what_finds_no_room_is_given_up(options: dict[str, Any], context: MapContext) -> None:
    options["conf"] = {**options["conf"], "spark.executor.memory": "512g"}
    backend = ProcessingSparkBackend(**options, pending_timeout=3)

    with pytest.raises(RunError, match="no task ran within 3 s") as raised:
        mapped(backend, units("square", [1]), context)

    assert raised.value.cause == "UNSCHEDULABLE"
    assert "spark.executor.memory" in str(raised.value)


def test_workers_without_this_distribution_are_told(
    options: dict[str, Any], context: MapContext, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    backend = ProcessingSparkBackend(**{**options, "python": str(tmp_path / "bare/bin/python")})

    with pytest.raises(RunError, match="Spark's workers have no zenml-spark") as raised:
        mapped(backend, units("square", [1]), context)

    assert raised.value.cause == "CONFIG"
    assert [found.ok for found in backend.check()] == [True, True, True, False]


def test_a_python_that_is_not_there_is_told(options: dict[str, Any], context: MapContext) -> None:
    backend = ProcessingSparkBackend(**{**options, "python": "/no/such/python"})

    with pytest.raises(RunError, match=r"cannot start Python: .*/no/such/python") as raised:
        mapped(backend, units("square", [1]), context)

    assert raised.value.cause == "CONFIG"


def test_a_cluster_is_looked_at(options: dict[str, Any]) -> None:
    java, pyspark, master, workers = ProcessingSparkBackend(**options).check()

    assert java.ok, java
    assert pyspark.ok, pyspark
    assert (master.ok, master.detail) == (True, options["master"])
    assert (workers.ok, workers.detail) == (True, "2 tasks at once")


def test_without_java_nothing_begins(
    context: MapContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    backend = ProcessingSparkBackend(master="local[1]")

    with pytest.raises(RunError, match="Spark's JVM does not start") as raised:
        mapped(backend, units("square", [1]), context)

    assert raised.value.cause == "CONFIG"
    java, *_ = backend.check()
    assert not java.ok


def children_with(argument: str) -> list[int]:
    """Ids of the children of this process whose command line names something."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            found += [pid] if argument.encode() in line else []
    return found
