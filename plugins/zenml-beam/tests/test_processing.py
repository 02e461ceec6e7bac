"""What is special about Beam: pipelines that fail, workers that die, engines that are elsewhere."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from zenml.beam import ProcessingBeamBackend, pipeline_for
from zenml.core import MapContext, PlacedOrder, Unit, open_store
from zenml.core.errors import ConfigurationError, RunError, UnitFailedError
from zenml.core.testing import nothing_left_behind, wait_until

#: Beam's workers, each a process of its own.
PROCESSES = {"experiments": ["use_loopback_process_worker=True"]}

Units = Callable[..., list[Unit]]


def mapped(backend: ProcessingBeamBackend, given: list[Unit], context: MapContext) -> list[Any]:
    return [result for _, result in sorted(backend.map(given, context))]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, from when it listens on."""
    process = subprocess.Popen(command, start_new_session=True, **options)

    def listens() -> bool:
        assert process.poll() is None, f"{command} has ended"
        with socket.socket() as tried:
            return tried.connect_ex(("localhost", port)) == 0

    try:
        wait_until(listens, timeout=60, what=f"{command}")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Server(NamedTuple):
    """A job service that runs."""

    endpoint: str
    process: subprocess.Popen[bytes]


#: What Prism calls the first job that it is given.
JOB = "job-001"


@contextlib.contextmanager
def job_service(endpoint: str) -> Iterator[beam_job_api_pb2_grpc.JobServiceStub]:
    with grpc.insecure_channel(endpoint) as channel:
        yield beam_job_api_pb2_grpc.JobServiceStub(channel)


def state_of(endpoint: str) -> str:
    with job_service(endpoint) as service:
        found = service.GetState(beam_job_api_pb2.GetJobStateRequest(job_id=JOB))
    return str(beam_job_api_pb2.JobState.Enum.Name(found.state))


@pytest.fixture
def on_prism(prism: str) -> ProcessingBeamBackend:
    """On Prism, whose workers are processes."""
    options = {"prism_location": prism, **PROCESSES}
    return ProcessingBeamBackend(runner="PrismRunner", options=options)


class TestParameters:
    @pytest.mark.parametrize(
        ("parameters", "words"),
        [
            ({"runner": "DirectRunner"}, "runner"),
            ({"runner": "PrismRunner"}, "options.prism_location: expected the path of Prism's"),
            ({"runner": "PortableRunner"}, "options.job_endpoint: expected the address"),
            ({"options": {"runner": "PrismRunner"}}, "say it as runner="),
            ({"options": {"--job_name": "a"}}, "options.--job_name"),
            ({"units_per_task": 0}, "units_per_task"),
            ({"retries": -1}, "retries"),
        ],
    )
    def test_a_wrong_one_is_named(self, parameters: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            ProcessingBeamBackend(**parameters)

        assert words in str(raised.value)

    def test_nothing_of_beam_is_imported_with_the_backend(self) -> None:
        code = "import sys, zenml.beam.plugin as p; from zenml.beam import ProcessingBeamBackend"
        code += "\nProcessingBeamBackend(); assert not {'apache_beam', 'grpc'} & {*sys.modules}"
        done = subprocess.run([sys.executable, "-c", code], check=False)

        assert done.returncode == 0


class TestCheck:
    def test_prism_has_to_be_a_program(self, tmp_path: Path) -> None:
        file = tmp_path / "prism"
        options = {"prism_location": str(file)}
        backend = ProcessingBeamBackend(runner="PrismRunner", options=options)

        [_, absent] = backend.check()
        file.touch()
        [_, no_program] = backend.check()
        file.chmod(0o755)
        [_, program] = backend.check()

        assert "is not there" in absent.detail
        assert "go install" in str(absent.remedy)
        assert "cannot be executed" in no_program.detail
        assert [absent.ok, no_program.ok, program.ok] == [False, False, True]

    def test_a_map_without_it_is_not_begun(
        self, context: MapContext, units: Units, tmp_path: Path
    ) -> None:
        options = {"prism_location": str(tmp_path / "prism")}
        backend = ProcessingBeamBackend(runner="PrismRunner", options=options)

        with pytest.raises(RunError, match=r"Prism '.*/prism' is not there") as raised:
            mapped(backend, units("square", [1]), context)

        assert raised.value.cause == "CONFIG"
        assert str(raised.value.remedy).startswith("go install")
        assert str(raised.value.where) == "step 'tested' (PrismRunner)"

    def test_beams_own_runners_need_nothing(self) -> None:
        assert [found.ok for found in ProcessingBeamBackend().check()] == [True]


class TestPipeline:
    def test_it_is_as_large_for_many_units_as_for_one(self, context: MapContext) -> None:
        store = "gs://bucket/artifacts"
        sizes = []
        for count in (1, 1_000_000):
            pipeline = beam.Pipeline(runner="FnApiRunner")
            pipeline_for(pipeline, store, "units/k/orders/d/order.json", "d" * 64, count)
            sizes.append(pipeline.to_runner_api().ByteSize())

        assert abs(sizes[1] - sizes[0]) < 100
        assert sizes[1] < 50_000

    def test_what_units_raise_ends_no_worker_and_is_in_the_store(
        self, context: MapContext, units: Units
    ) -> None:
        given = units("square", [1, 2]) + units("raises", [3])
        store = open_store(context.store)
        placed = PlacedOrder(store, context, given, 1)
        order = placed.order
        pipeline = beam.Pipeline(runner="FnApiRunner")
        pipeline_for(pipeline, context.store, order.key, order.digest, placed.count)

        result = pipeline.run()

        assert result.wait_until_finish() == "DONE"
        counted = {
            counter.key.metric.name: counter.result
            for counter in result.metrics().query()["counters"]
        }
        assert counted["raised"] == 1
        with pytest.raises(UnitFailedError, match="too hot"):
            list(placed.results())

    def test_workers_that_do_not_reach_the_store_have_the_engine_try_again(
        self, context: MapContext, units: Units, tmp_path: Path
    ) -> None:
        placed = PlacedOrder(open_store(context.store), context, units("square", [2]), 1)
        order = placed.order
        (tmp_path / "store").rename(tmp_path / "away")
        pipeline = beam.Pipeline(runner="FnApiRunner")
        pipeline_for(pipeline, context.store, order.key, order.digest, placed.count)

        with pytest.raises(RuntimeError, match="StoreUnavailableError"):
            pipeline.run()


class TestWorkers:
    def test_one_that_is_killed_each_time_ends_the_map(
        self, context: MapContext, units: Units
    ) -> None:
        backend = ProcessingBeamBackend(retries=1)

        with nothing_left_behind(), pytest.raises(RunError) as raised:
            mapped(backend, units("killed", range(6)), context)

        assert "ended its worker process 2 times (signal SIGKILL)" in raised.value.message
        assert str(raised.value.where) == "units_on_beam:killed in step 'tested'"

    def test_one_that_is_killed_each_time_ends_the_map_on_prism(
        self, on_prism: ProcessingBeamBackend, context: MapContext, units: Units
    ) -> None:
        backend = on_prism.replace(retries=1)

        with nothing_left_behind(), pytest.raises(RunError) as raised:
            mapped(backend, units("killed", range(6)), context)

        assert "ended its worker process" in raised.value.message
        assert "worker disconnected" in raised.value.message

    def test_one_that_ends_itself_is_told_by_its_exit_code(
        self, context: MapContext, units: Units
    ) -> None:
        with pytest.raises(RunError, match=r"ended its worker process once \(exit code 3\)"):
            mapped(ProcessingBeamBackend(retries=0), units("leaves", [1]), context)

    def test_what_was_done_before_one_dies_is_handed_out(
        self, context: MapContext, units: Units
    ) -> None:
        backend = ProcessingBeamBackend(retries=0)
        given = units("square", range(20)) + units("leaves", [1])

        found: list[tuple[int, Any]] = []
        with pytest.raises(RunError):
            found.extend(backend.map(given, context))

        # Every unit that had returned by then is handed out before the error.
        results = [
            entry.key
            for entry in open_store(context.store).list(f"{context.scope}/orders/")
            if not entry.key.endswith("/order.json")
        ]
        assert len(found) == len(results)

    def test_they_may_print_more_than_a_pipe_holds(
        self, on_prism: ProcessingBeamBackend, context: MapContext, units: Units
    ) -> None:
        assert mapped(on_prism, units("loud", range(4)), context) == [*range(4)]


class TestStore:
    def test_one_that_a_unit_never_reaches_ends_the_map(
        self, context: MapContext, units: Units
    ) -> None:
        with pytest.raises(RunError, match="its own store is away") as raised:
            mapped(ProcessingBeamBackend(retries=1), units("away", [1]), context)

        assert raised.value.cause == "INFRA"

    def test_one_that_is_away_for_a_while_is_waited_for(
        self, context: MapContext, units: Units, tmp_path: Path
    ) -> None:
        away, store = tmp_path / "away", tmp_path / "store"
        payload = {"store": str(store), "away": str(away), "mark": str(tmp_path / "mark")}
        found: list[Any] = []

        def read() -> None:
            found.extend(mapped(ProcessingBeamBackend(), units("hides", [payload]), context))

        reader = threading.Thread(target=read)
        reader.start()
        wait_until(away.exists, timeout=60)
        away.rename(store)
        reader.join(timeout=60)

        assert found == [1]


class TestJobService:
    """Prism stands for any engine with a job service: it is there before a map, and stays."""

    @pytest.fixture
    def service(self, prism: str) -> Iterator[Server]:
        port = free_port()
        command = [prism, f"--job_port={port}", "--serve_http=false", "--log_level=error"]
        with running(command, port) as process:
            yield Server(f"localhost:{port}", process)

    @pytest.fixture
    def endpoint(self, service: Server) -> str:
        return service.endpoint

    @pytest.fixture
    def pool(self, tmp_path: Path) -> Iterator[str]:
        """Where worker processes are started, in a folder that is not the client's."""
        port = free_port()
        main = "apache_beam.runners.worker.worker_pool_main"
        command = [sys.executable, "-m", main, f"--service_port={port}"]
        home = tmp_path / "elsewhere"
        home.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        variables = {"XDG_CACHE_HOME": str(home), "PATH": path}
        with running(command, port, cwd=home, env={**os.environ, **variables}):
            yield f"localhost:{port}"

    def backend(self, endpoint: str, pool: str) -> ProcessingBeamBackend:
        options = {
            "job_endpoint": endpoint,
            "environment_type": "EXTERNAL",
            "environment_config": pool,
        }
        return ProcessingBeamBackend(runner="PortableRunner", options=options, retries=0)

    def test_its_workers_get_the_code_from_the_store(
        self, endpoint: str, pool: str, context: MapContext, units: Units
    ) -> None:
        backend = self.backend(endpoint, pool)

        assert mapped(backend, units("square", range(5)), context) == [0, 1, 4, 9, 16]

        assert [*open_store(context.store).list("code/")]
        assert all(found.ok for found in backend.check())

    def test_closing_the_iterator_cancels_the_job(
        self, endpoint: str, pool: str, context: MapContext, units: Units, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"
        iterator = self.backend(endpoint, pool).map(
            [*units("square", [2]), *units("wait", [str(mark)])], context
        )
        assert next(iterator) == (0, 4)
        wait_until(mark.exists, timeout=60)

        iterator.close()

        assert state_of(endpoint) in ("CANCELLING", "CANCELLED")

    def test_a_job_that_somebody_else_cancels_ends_the_map(
        self, endpoint: str, pool: str, context: MapContext, units: Units, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"
        backend = self.backend(endpoint, pool)

        def cancel() -> None:
            wait_until(mark.exists, timeout=60)
            with job_service(endpoint) as service:
                service.Cancel(beam_job_api_pb2.CancelJobRequest(job_id=JOB))

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(RunError, match="somebody has cancelled the Beam pipeline") as raised:
            mapped(backend, units("wait", [str(mark)]), context)
        canceller.join()

        assert raised.value.cause == "CANCELLED"

    def test_one_that_dies_amid_the_work_is_missed(
        self, service: Server, pool: str, context: MapContext, units: Units, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"

        def kill() -> None:
            wait_until(mark.exists, timeout=60)
            service.process.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with nothing_left_behind(), pytest.raises(RunError, match="the Beam pipeline failed once"):
            mapped(self.backend(service.endpoint, pool), units("wait", [str(mark)]), context)
        killer.join()

    def test_one_that_is_not_there_is_named(self, context: MapContext, units: Units) -> None:
        endpoint = f"localhost:{free_port()}"
        backend = self.backend(endpoint, "localhost:1")

        with pytest.raises(RunError, match=f"job service '{endpoint}' does not answer") as raised:
            mapped(backend, units("square", [1]), context)

        assert raised.value.cause == "INFRA"
        assert str(raised.value.remedy).startswith("start it, or correct the job_endpoint")
        [_, found] = backend.check()
        assert not found.ok
