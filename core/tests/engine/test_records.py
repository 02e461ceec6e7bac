"""The record of a run: what can be read of it, whatever happened to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from zenml.core import ArtifactStore, Run
from zenml.core.engine._records import (
    LOST_AFTER,
    RunLog,
    RunStarted,
    StepRecord,
    new_run_id,
    now,
    read_events,
    run_ids,
)
from zenml.core.errors import IntegrityError, RunError
from zenml.core.testing import nothing_left_behind, wait_until
from zenml.pipelines import step
from zenml.repo import Repository

ran: list[str] = []

FIELDS = {
    "run": "r",
    "pipeline": "p",
    "plan": "0" * 64,
    "orchestrator": "local",
    "started": "2026-01-01T00:00:00.000000Z",
    "host": "h",
}


@pytest.fixture(autouse=True)
def forget() -> None:
    ran.clear()


@step
def one() -> int:
    ran.append("one")
    return 1


@step
def increment(value: int) -> int:
    ran.append("increment")
    return value + 1


def two_steps(new_pipeline: Any, name: str = "tested") -> Any:
    pipeline = new_pipeline(name)
    pipeline.add_step(one())
    pipeline.add_step(increment(), inputs={"value": "one"})
    return pipeline


def started(run_id: str, **changes: Any) -> RunStarted:
    told = {
        "run": run_id,
        "pipeline": "p",
        "plan": "0" * 64,
        "orchestrator": "local",
        "started": now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }
    return RunStarted(**{**told, **changes})


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestIds:
    def test_ids_sort_by_the_time_at_which_they_were_made(self) -> None:
        ids = [new_run_id() for _ in range(2000)]

        stamps = [run_id.rpartition("-")[0] for run_id in ids]
        assert stamps == sorted(stamps)
        assert len(set(ids)) == len(ids)
        made = datetime.strptime(stamps[0], "%Y%m%d-%H%M%S-%f").replace(tzinfo=timezone.utc)
        assert abs((datetime.now(timezone.utc) - made).total_seconds()) < 60

    def test_runs_are_listed_oldest_first_and_from_any_of_them_on(
        self, store: ArtifactStore
    ) -> None:
        store.prepare()
        ids = [f"20260101-00000{second}-000000-aaaaaa" for second in range(5)]
        for run_id in reversed(ids):
            log = RunLog(store, run_id)
            log.begin(started(run_id))
            log.append(StepRecord(step="s", status="running"))
            log.flush()

        assert list(run_ids(store)) == ids
        assert list(run_ids(store, after=ids[1])) == ids[2:]
        assert list(run_ids(store, after=ids[-1])) == []


class TestStatus:
    def test_a_run_of_a_living_process_is_running(self, store: ArtifactStore) -> None:
        store.prepare()
        RunLog(store, "r").begin(started("r"))

        assert Run("r", store).status == "running"

    def test_a_run_whose_process_ended_without_an_outcome_is_lost_at_once(
        self, store: ArtifactStore
    ) -> None:
        store.prepare()
        RunLog(store, "r").begin(started("r", pid=ended_process()))

        assert Run("r", store).status == "lost"

    def test_a_process_whose_end_nobody_has_looked_at_has_ended(self, store: ArtifactStore) -> None:
        # A container without an init never looks.
        store.prepare()
        process = subprocess.Popen([sys.executable, "-c", ""])
        RunLog(store, "r").begin(started("r", pid=process.pid))

        wait_until(lambda: Run("r", store).status == "lost")

        process.wait()

    @pytest.mark.parametrize(("age", "status"), [(0, "running"), (LOST_AFTER + 60, "lost")])
    def test_elsewhere_the_signs_of_life_decide(self, store: Any, age: float, status: str) -> None:
        store.prepare()
        RunLog(store, "r").begin(started("r", host="elsewhere", pid=1))
        path = store.local_path("runs/r/run.json")
        then = datetime.now(timezone.utc).timestamp() - age
        os.utime(path, (then, then))

        assert Run("r", store).status == status

    def test_a_heartbeat_is_a_sign_of_life(self, store: Any) -> None:
        store.prepare()
        RunLog(store, "r").begin(started("r", host="elsewhere", pid=1))
        os.utime(store.local_path("runs/r/run.json"), (1, 1))
        store.write("runs/r/alive.json", b"{}")

        assert Run("r", store).status == "running"

    @pytest.mark.parametrize("pid", [0, -1, 10**30])
    def test_no_number_in_a_record_can_do_harm(self, store: ArtifactStore, pid: int) -> None:
        store.prepare()
        text = json.dumps({**FIELDS, "pid": pid, "host": socket.gethostname()})
        store.write("runs/r/run.json", text.encode())

        assert Run("r", store).status in ("running", "lost")

    def test_a_run_that_is_not_there_is_a_typed_error(self, store: ArtifactStore) -> None:
        store.prepare()
        with pytest.raises(RunError, match="zenml run list"):
            _ = Run("nothing", store).status


class TestLog:
    def test_events_come_back_in_order_over_many_batches(self, store: ArtifactStore) -> None:
        store.prepare()
        log = RunLog(store, "r")
        for number in range(1500):
            log.append(StepRecord(step=f"s{number}", status="running"))
        log.flush()

        assert [event.step for event in read_events(store, "r")] == [
            f"s{number}" for number in range(1500)
        ]
        assert len(list(store.list("runs/r/log/"))) < 10

    def test_the_heartbeat_ends_with_the_run(self, new_pipeline: Any) -> None:
        with nothing_left_behind():
            two_steps(new_pipeline).run()


class TestDamage:
    """Parts of a record were cut off or overwritten; results are never affected."""

    @pytest.mark.parametrize("content", [b"", b"[", b"\xff\xff", b'[{"step": 1}]', b"{}"])
    def test_a_damaged_log_loses_its_events_and_nothing_else(
        self, new_pipeline: Any, store: ArtifactStore, zenml: Callable[..., Any], content: bytes
    ) -> None:
        run = two_steps(new_pipeline).run()
        [batch] = [found.key for found in store.list(f"runs/{run.id}/log/")]
        store.write(batch, content)

        assert run.status == "succeeded"
        assert run.steps == {}
        for command in (
            ["run", "list"],
            ["run", "show", run.id],
            ["repo", "reindex"],
            ["gc"],
        ):
            assert zenml(*command).code == 0, command
        assert zenml("explain", run.id, "one").code == 1
        again = two_steps(new_pipeline).run()
        assert ran == ["one", "increment"]
        assert {record.status for record in again.steps.values()} == {"cached"}

    def test_a_damaged_outcome_is_no_success(
        self, new_pipeline: Any, store: ArtifactStore, zenml: Callable[..., Any]
    ) -> None:
        run = two_steps(new_pipeline).run()
        store.write(f"runs/{run.id}/outcome.json", b"")

        assert run.status == "running"  # this process still lives
        assert "running" in zenml("run", "show", run.id).out
        assert zenml("repo", "reindex").code == 0
        assert " running " in zenml("run", "list").out

    def test_a_damaged_beginning_hides_that_run_and_no_other(
        self, new_pipeline: Any, store: ArtifactStore, zenml: Callable[..., Any]
    ) -> None:
        run = two_steps(new_pipeline).run()
        other = two_steps(new_pipeline).run()
        store.write(f"runs/{run.id}/run.json", b'{"run": ')

        assert zenml("repo", "reindex").out.startswith("indexed 1 runs")
        listed = zenml("run", "list").out
        assert other.id in listed
        assert run.id not in listed
        said = zenml("run", "show", run.id)
        assert said.code == 1
        assert "damaged" in said.err
        assert zenml("gc").code == 0

    def test_a_damaged_plan_is_a_typed_error(
        self, new_pipeline: Any, store: ArtifactStore, zenml: Callable[..., Any]
    ) -> None:
        first = two_steps(new_pipeline).run()
        store.write(f"plans/{first.started.plan}.json", b"{")

        with pytest.raises(IntegrityError, match="damaged"):
            _ = first.plan
        said = zenml("explain", first.id, "one")
        assert said.code == 1
        assert "damaged" in said.err

        two_steps(new_pipeline).run()
        assert first.plan.pipeline == "tested"


class TestCommandLine:
    def test_runs_are_listed_and_shown(self, new_pipeline: Any, zenml: Callable[..., Any]) -> None:
        assert zenml("run", "list").out == "no run yet\n"
        first = two_steps(new_pipeline, "one pipeline").run()
        second = two_steps(new_pipeline, "another").run()

        lines = zenml("run", "list").out.splitlines()
        assert [line.split()[0] for line in lines] == ["RUN", second.id, first.id]
        assert lines[1].split()[1:5] == ["another", "succeeded", "2", "2"]
        assert len(zenml("run", "list", "--limit", "1").out.splitlines()) == 2
        only = json.loads(zenml("run", "list", "--pipeline", "one pipeline", "--json").out)
        assert [row["run"] for row in only] == [first.id]

        for text in ("last", second.id, second.id[-6:]):
            shown = zenml("run", "show", text)
            assert shown.out.startswith(f"run {second.id} of pipeline 'another': succeeded")
        as_json = json.loads(zenml("run", "show", first.id, "--json").out)
        assert as_json["status"] == "succeeded"
        assert [record["step"] for record in as_json["steps"]] == ["one", "increment"]

    def test_a_run_that_is_not_there_or_not_unique_is_said(
        self, new_pipeline: Any, zenml: Callable[..., Any]
    ) -> None:
        zenml("run", "list")
        said = zenml("run", "show", "last")
        assert (said.code, "there is no run 'last'" in said.err) == (1, True)
        two_steps(new_pipeline).run()
        two_steps(new_pipeline).run()

        assert "several runs match '20'" in zenml("run", "show", "20").err

    def test_a_very_long_name_is_carried_through(
        self, new_pipeline: Any, zenml: Callable[..., Any]
    ) -> None:
        name = "nom très long / ../ % " * 228
        run = two_steps(new_pipeline, name[:5000]).run()

        assert run.started.pipeline == name[:5000]
        assert run.id in zenml("run", "list").out
        assert zenml("run", "show", "last").code == 0
        assert zenml("explain", "last", "one").code == 0
        listed = json.loads(zenml("run", "list", "--json").out)
        assert listed[0]["pipeline"] == name[:5000]

    def test_listing_and_showing_write_nothing_into_the_store(
        self, new_pipeline: Any, zenml: Callable[..., Any], store: ArtifactStore
    ) -> None:
        run = two_steps(new_pipeline).run()
        before = sorted(store.list(""))

        for command in (
            ["run", "list"],
            ["run", "show", "last"],
            ["artifact", "list"],
            ["artifact", "get", run.steps["one"].outputs["output"][:12]],
            ["explain", "last", "one"],
            ["gc"],
        ):
            assert zenml(*command).code == 0

        assert sorted(store.list("")) == before


def test_the_repository_around_is_used(new_pipeline: Any, store: ArtifactStore) -> None:
    run = two_steps(new_pipeline).run()

    assert run.store.url == store.url
    assert Repository.get_instance().artifact_store.exists(f"runs/{run.id}/outcome.json")
