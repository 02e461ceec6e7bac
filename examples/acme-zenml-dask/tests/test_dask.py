"""What is special about Dask: clusters that vanish, workers that die, code that is edited."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from acme_zenml_dask import ProcessingDaskBackend
from distributed import LocalCluster

from zenml.core import MapContext, Unit, open_store
from zenml.core.errors import (
    ConfigurationError,
    DataError,
    RunError,
    ZenMLError,
)
from zenml.core.testing import Project, nothing_left_behind, wait_until

UNITS = """
import os, time
from pathlib import Path
from zenml.core.errors import ConfigurationError, DataError, Problem, StepFailedError

class TooHot(DataError):
    pass

def square(payload, files):
    return payload * payload

def answer(payload, files):
    return "old"

def own(payload, files):
    raise TooHot("too hot", where="oven", remedy="open it")

def several(payload, files):
    raise ConfigurationError("the oven", [Problem("heat", "too much", "less"), Problem("", "door")])

def failed(payload, files):
    raise StepFailedError("failed", step="oven", run_id="1")

def explode(payload, files):
    raise OSError(5, "burnt \\udcff")

def pid(payload, files):
    time.sleep(0.2)
    return os.getpid()

def killed(payload, files):
    if payload["number"] == 3:
        os.kill(os.getpid(), 9)
    time.sleep(0.05)
    return payload["number"]

def wait(payload, files):
    Path(payload).touch()
    time.sleep(600)
"""

LACKS = """
from importlib import metadata

def version(name, real=metadata.version):
    if name == "acme-zenml-dask":
        raise metadata.PackageNotFoundError(name)
    return real(name)

metadata.version = version
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "repository"
    (folder / ".zenml").mkdir(parents=True)
    (folder / "units_on_dask.py").write_text(UNITS)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def context(repository: Path, tmp_path: Path) -> MapContext:
    store = open_store(str(tmp_path / "store"))
    store.prepare()
    return MapContext(
        store=store.url, scope="units/key", step="tested", import_roots=(str(repository),)
    )


@pytest.fixture
def backend(cluster: LocalCluster) -> ProcessingDaskBackend:
    return ProcessingDaskBackend(address=cluster.scheduler_address)


def units(name: str, payloads: Any) -> list[Unit]:
    return [Unit(f"units_on_dask:{name}", payload, "code") for payload in payloads]


def mapped(backend: ProcessingDaskBackend, given: list[Unit], context: MapContext) -> list[Any]:
    return [result for _, result in sorted(backend.map(given, context))]


def in_time(call: Callable[[], Any], seconds: float) -> Any:
    begun = time.monotonic()
    try:
        return call()
    finally:
        assert time.monotonic() - begun < seconds


class TestCode:
    def test_workers_that_ran_a_version_run_the_edited_one(
        self, backend: ProcessingDaskBackend, context: MapContext, repository: Path
    ) -> None:
        # More units than workers, so that each has imported the first version.
        assert {*mapped(backend, units("answer", range(8)), context)} == {"old"}
        text = UNITS.replace('"old"', '"new"')
        (repository / "units_on_dask.py").write_text(text)

        assert {*mapped(backend, units("answer", range(8, 16)), context)} == {"new"}

        (repository / "units_on_dask.py").write_text(UNITS)
        assert {*mapped(backend, units("answer", range(16, 24)), context)} == {"old"}

    def test_code_outside_of_the_repository_is_refused(
        self, backend: ProcessingDaskBackend, context: MapContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = Path(context.import_roots[0]).parent / "elsewhere"
        (elsewhere / ".zenml").mkdir(parents=True)
        monkeypatch.chdir(elsewhere)

        with pytest.raises(ConfigurationError, match="the code cannot be sent elsewhere"):
            mapped(backend, units("square", [1]), context)

    def test_on_a_cluster_of_its_own_no_code_is_sent(self, context: MapContext) -> None:
        assert mapped(ProcessingDaskBackend(), units("square", [3]), context) == [9]
        assert [*open_store(context.store).list("code/")] == []


class TestErrors:
    def test_one_that_is_derived_from_an_error_of_zenml_is_that_error(
        self, backend: ProcessingDaskBackend, context: MapContext
    ) -> None:
        with pytest.raises(DataError) as raised:
            mapped(backend, units("own", [1]), context)

        error = raised.value
        assert (error.message, error.where, error.remedy) == ("too hot", "oven", "open it")

    def test_one_with_several_problems_has_them_all(
        self, backend: ProcessingDaskBackend, context: MapContext
    ) -> None:
        with pytest.raises(ConfigurationError) as raised:
            mapped(backend, units("several", [1]), context)

        assert str(raised.value).splitlines() == [
            "the oven: 2 problems",
            "  heat: too much (less)",
            "  door",
        ]

    def test_one_that_is_made_of_more_is_what_it_is_derived_from(
        self, backend: ProcessingDaskBackend, context: MapContext
    ) -> None:
        with pytest.raises(RunError, match="failed"):
            mapped(backend, units("failed", [1]), context)

    def test_any_other_comes_with_the_workers_traceback(
        self, backend: ProcessingDaskBackend, context: MapContext
    ) -> None:
        with pytest.raises(ZenMLError) as raised:
            mapped(backend, units("explode", [1]), context)

        first, *_, last = str(raised.value).splitlines()
        assert first == "OSError: [Errno 5] burnt \\udcff"
        assert last == "OSError: [Errno 5] burnt \\udcff"
        assert "in explode" in str(raised.value)
        assert "_worker.py" not in str(raised.value)

    def test_workers_without_this_distribution_are_named(
        self, context: MapContext, tmp_path: Path, start_cluster: Callable[..., LocalCluster]
    ) -> None:
        # What a worker says that lacks it. One that was sent a unit all the same would go down.
        preload = tmp_path / "lacks.py"
        preload.write_text(LACKS)
        with start_cluster(n_workers=1, preload=[str(preload)]) as lacking:
            before = [*lacking.scheduler.workers]
            backend = ProcessingDaskBackend(address=lacking.scheduler_address)

            with pytest.raises(RunError, match="is not installed where these Dask") as raised:
                mapped(backend, units("square", [1]), context)

            assert "pip install acme-zenml-dask==" in str(raised.value)
            assert [found.ok for found in backend.check()] == [True, True, False]
            assert [*lacking.scheduler.workers] == before


class TestWorkers:
    def test_the_unit_that_ends_its_worker_is_named_and_no_other(self, context: MapContext) -> None:
        # Its neighbours are under way in the same process.
        backend = ProcessingDaskBackend(workers=1, threads_per_worker=4)
        payloads = [{"number": number} for number in range(8)]

        with pytest.raises(RunError, match="ended its worker process each time") as raised:
            mapped(backend, units("killed", payloads), context)

        assert "units_on_dask:killed in step 'tested'" in str(raised.value.where)

    def test_all_are_used(self, backend: ProcessingDaskBackend, context: MapContext) -> None:
        assert len({*mapped(backend, units("pid", range(6)), context)}) == 2

    def test_one_that_comes_late_is_waited_for(
        self, context: MapContext, start_cluster: Callable[..., LocalCluster]
    ) -> None:
        with start_cluster(n_workers=0) as empty:
            backend = ProcessingDaskBackend(address=empty.scheduler_address)
            iterator = backend.map(units("square", range(3)), context)
            empty.scale(1)

            assert sorted(iterator) == [(0, 0), (1, 1), (2, 4)]

    def test_none_are_waited_for_as_long_as_was_said(
        self, context: MapContext, start_cluster: Callable[..., LocalCluster]
    ) -> None:
        with start_cluster(n_workers=0) as empty:
            backend = ProcessingDaskBackend(address=empty.scheduler_address, timeout=1)

            with nothing_left_behind(), pytest.raises(RunError) as raised:
                in_time(lambda: mapped(backend, units("square", [1]), context), 20)

            assert "the Dask cluster has no workers, for 1 seconds" in str(raised.value)
            assert [found.ok for found in backend.check()] == [True, False]


class TestSchedulers:
    def test_one_that_is_not_there_is_named_in_time(self, context: MapContext) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            backend = ProcessingDaskBackend(address=address, timeout=1)

            with nothing_left_behind(), pytest.raises(RunError, match="no Dask") as raised:
                in_time(lambda: mapped(backend, units("square", [1]), context), 20)

        assert raised.value.where == address
        [found] = backend.check()
        assert (found.ok, found.name) == (False, "scheduler")

    @pytest.mark.parametrize("address", ["nowhere", "ftp://nowhere:1", ""])
    def test_an_address_that_is_none_is_named(self, context: MapContext, address: str) -> None:
        backend = ProcessingDaskBackend(address=address, timeout=2)

        with nothing_left_behind(), pytest.raises(RunError, match="no Dask scheduler answers"):
            in_time(lambda: mapped(backend, units("square", [1]), context), 20)

    def test_one_that_vanishes_amid_the_work_is_missed(
        self, context: MapContext, tmp_path: Path
    ) -> None:
        mark, file = tmp_path / "begun", tmp_path / "scheduler.json"
        scheduler = run_dask("scheduler", file, "--port=0", "--dashboard-address=127.0.0.1:0")
        wait_until(file.exists, timeout=60)
        worker = run_dask("worker", file, "--nthreads=1", "--no-nanny", "--no-dashboard")
        address = json.loads(file.read_text())["address"]
        backend = ProcessingDaskBackend(address=address, timeout=3)
        said: list[BaseException] = []

        def read() -> None:
            try:
                list(backend.map(units("wait", [str(mark)]), context))
            except BaseException as error:  # noqa: BLE001 - looked at below
                said.append(error)

        reader = threading.Thread(target=read, daemon=True)
        try:
            wait_until(lambda: all(found.ok for found in backend.check()), timeout=60)
            reader.start()
            wait_until(mark.exists, timeout=60)
            scheduler.kill()
            reader.join(timeout=90)
        finally:
            for process in (scheduler, worker):
                process.kill()
                process.wait()

        assert [type(error) for error in said] == [RunError]
        assert said[0].where == address


class TestOwnCluster:
    def test_a_script_without_a_guard_runs_once(self, tmp_path: Path) -> None:
        script = """
from acme_zenml_dask import ProcessingDaskBackend
from zenml.pipelines import Pipeline, StepContext, step

print("the script runs")

def square(payload, files):
    return payload * payload

@step
def squares(context: StepContext) -> list:
    return context.map(square, range(5))

pipeline = Pipeline("squares")
pipeline.add_step(squares(), name="squares")
print(pipeline.run(backends={"processing": ProcessingDaskBackend()}).load("squares"))
"""
        project = Project(tmp_path, {"train.py": script})

        done = project.run("train.py")

        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["the script runs", "[0, 1, 4, 9, 16]"]

    def test_it_ends_when_its_client_is_killed(
        self, context: MapContext, repository: Path, tmp_path: Path
    ) -> None:
        mark = tmp_path / "begun"
        script = f"""
import msgspec
from acme_zenml_dask import ProcessingDaskBackend
from zenml.core import MapContext, Unit
context = msgspec.json.decode({msgspec.json.encode(context)!r}, type=MapContext)
list(ProcessingDaskBackend().map([Unit("units_on_dask:wait", {str(mark)!r}, "code")], context))
"""
        (tmp_path / "tmp").mkdir()
        project = Project(tmp_path / "client", {"client.py": script})
        client = project.start("client.py", variables={"TMPDIR": str(tmp_path / "tmp")})
        try:
            wait_until(mark.exists, timeout=60)
            [scratch] = (tmp_path / "tmp").glob("zenml-dask-*")
            using = processes_with(str(scratch))
            assert using
        finally:
            os.kill(client.pid, signal.SIGKILL)
            client.communicate()

        wait_until(lambda: not processes_with(str(scratch)), what="the end of the cluster")
        wait_until(lambda: not scratch.exists(), what="the end of its folder")

    def test_one_that_cannot_start_says_so(
        self,
        context: MapContext,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__PRELOAD", "no_such_module")

        with nothing_left_behind(), pytest.raises(RunError, match="did not start"):
            mapped(ProcessingDaskBackend(timeout=20), units("square", [1]), context)

    def test_it_is_looked_at(self) -> None:
        with nothing_left_behind():
            [found] = ProcessingDaskBackend().check()

        assert found.ok, found


def run_dask(what: str, file: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a part of a cluster by hand."""
    module = f"distributed.cli.dask_{what}"
    command = [sys.executable, "-m", module, "--host=127.0.0.1", f"--scheduler-file={file}"]
    return subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL, cwd=file.parent)


def processes_with(argument: str) -> list[str]:
    """Ids of the processes whose command line names something (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument in file.read_text("utf-8", "replace"):
                found.append(file.parent.name)
    return found
