"""The life of a job, whatever fails meanwhile, and whoever waits for it."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from zenml.core import ArtifactStore
from zenml.core._canonical import canonical
from zenml.core.errors import (
    BackendError,
    ConfigurationError,
    IntegrityError,
    Problem,
    RunCancelledError,
    StoreUnavailableError,
)
from zenml.core.jobs import (
    JobFailedError,
    JobRun,
    _watch,
    cancel_requested,
    read_request,
    request_cancel,
)
from zenml.core.jobs._attempts import job_name
from zenml.core.jobs._log import read_log
from zenml.core.jobs._task import read_outcome
from zenml.core.testing import wait_until

Client = Callable[..., JobRun]


def cause(job: JobRun, attempt: int = 1) -> str:
    outcome = read_outcome(job.store, f"{job.folder}/{attempt}")
    assert outcome is not None
    assert outcome.failure is not None
    return outcome.failure.cause


def attempts(job: JobRun) -> int:
    found = job.store.list(f"{job.folder}/")
    return sum(1 for item in found if item.key.endswith("/task.json"))


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class TestRetries:
    def test_each_cause_has_a_budget_of_its_own(self, client: Client, service: Any) -> None:
        service.fates = ["LOST", "PREEMPTED", "INFRA", "PREEMPTED", "succeeded"]
        client().wait()
        assert service.count("submit") == 5

    def test_what_an_earlier_client_used_up_stays_used_up(
        self, client: Client, service: Any
    ) -> None:
        service.fates = ["LOST"]
        client().start()
        with pytest.raises(JobFailedError):
            client(retries={"LOST": 0}).wait()
        service.fates = ["LOST", "succeeded"]
        with pytest.raises(JobFailedError, match="LOST"):
            client(retries={"LOST": 1}).wait()
        with pytest.raises(JobFailedError, match="LOST"):
            client(retries={"LOST": 1}).wait()
        assert attempts(client()) == 2

    def test_a_client_that_vanished_between_attempts_is_replaced(
        self, client: Client, service: Any
    ) -> None:
        service.fates = ["PREEMPTED", "PREEMPTED", "succeeded"]
        client().start()
        client().wait()
        assert service.count("submit") == 3

    def test_clients_that_try_again_at_once_share_one_attempt(
        self, client: Client, service: Any
    ) -> None:
        service.fates = ["INFRA", "running"]
        clients = [client(retry_delay=0.2) for _ in range(3)]
        threads = [threading.Thread(target=one.wait) for one in clients]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(service.jobs) == 2)
        service.end(list(service.jobs)[1], "succeeded")
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert attempts(clients[0]) == 2
        assert service.phases == {}

    def test_the_first_handle_that_was_stored_is_everybodys(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        job = client()

        def another_was_first() -> None:
            store.write(f"{job.folder}/1/handle.json", canonical({"job": "theirs"}))

        service.troubles["answer"] = [another_was_first]
        assert job.start().job == "theirs"

    def test_a_task_is_not_replaced_by_a_client_that_would_put_it_differently(
        self, client: Client, store: ArtifactStore
    ) -> None:
        first, second = client(), client(timeout=9.0)
        told = first.job(1)
        assert second.job(1).digest == told.digest

    def test_the_run_is_open_again_while_another_attempt_is_due(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        job = client()
        key = f"runs/{job.request.task.run}/outcome.json"
        store.write(key, b"{}")  # the engine of the attempt that fails wrote it
        service.fates = ["INFRA", "succeeded"]
        seen = []
        service.troubles["answer"] = [lambda: None, lambda: seen.append(store.exists(key))]
        job.wait()
        assert seen == [False]


class TestAServiceThatFailsForAWhile:
    def test_a_submission_is_repeated_under_the_same_name(
        self, client: Client, service: Any
    ) -> None:
        told: list[str] = []
        service.fates = ["succeeded"]
        # The first does not get through; the second does, and its answer does not.
        service.troubles["submit"] = [ConnectionError("no route")]
        service.troubles["answer"] = [TimeoutError("no answer")]
        client(told).wait()
        assert len(service.jobs) == 1
        assert [line.rpartition("; ")[0].rpartition(": ")[2] for line in told] == [
            "no route",
            "no answer",
        ]

    def test_one_that_stays_away_fails_the_attempt_and_closes_it(
        self, client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenml.core.jobs._patience.PAUSES", (0.0,))
        service.troubles["submit"] = [ConnectionError("no route")] * 2
        job = client(retries={"INFRA": 0})
        with pytest.raises(JobFailedError, match="could not be submitted: no route"):
            job.wait()
        assert cause(job) == "INFRA"

    def test_a_refusal_is_not_repeated_and_says_what_to_do(
        self, client: Client, service: Any
    ) -> None:
        service.troubles["submit"] = [BackendError("no such namespace", remedy="make it")]
        job = client()
        with pytest.raises(JobFailedError, match=r"no such namespace\n(.|\n)*make it"):
            job.wait()
        assert (cause(job), service.count("submit")) == ("CONFIG", 0)

    def test_every_problem_of_a_refusal_is_told(self, client: Client, service: Any) -> None:
        problems = [Problem("memory", "too much"), Problem("gpu", "none there")]
        service.troubles["submit"] = [ConfigurationError("refused", problems)]
        with pytest.raises(JobFailedError, match=r"memory: too much\n *gpu: none there"):
            client().start()

    def test_tidying_up_is_repeated(self, client: Client, service: Any) -> None:
        told: list[str] = []
        service.fates = ["succeeded"]
        service.troubles["cleanup"] = [ConnectionError("away")] * 2
        client(told).wait()
        assert not service.phases
        assert "tidying up after it failed for now: away; trying again in 1 s" in told[-1]

    @pytest.mark.parametrize("error", [ConnectionError("away"), RuntimeError("a bug")])
    def test_a_success_that_cannot_be_tidied_up_after_is_a_success(
        self, client: Client, service: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenml.core.jobs._lifecycle._BRIEFLY", (0.0,))
        told: list[str] = []
        service.fates = ["succeeded"]
        service.troubles["cleanup"] = [error] * 2
        client(told).wait()
        assert str(error) in told[-1]
        assert "zenml gc" in told[-1]

    def test_an_ended_job_is_tidied_up_by_the_next_client(
        self, client: Client, service: Any
    ) -> None:
        service.fates = ["succeeded"]
        service.troubles["cleanup"] = [RuntimeError("a bug")]
        client().wait()
        assert service.phases
        client().wait()
        assert not service.phases
        client().wait()
        assert service.count("cleanup") == 1

    def test_a_cancellation_is_repeated_until_it_gets_through(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        job = client()
        job.start()
        request_cancel(store, job.request.task.run)
        service.troubles["cancel"] = [ConnectionError("away")] * 2
        with pytest.raises(RunCancelledError):
            job.wait()
        assert service.count("cancel") == 1
        assert not service.running

    @pytest.mark.parametrize("fate", ["PREEMPTED", "silent"])
    def test_a_job_that_was_cancelled_with_the_service_ends_the_run(
        self, client: Client, service: Any, store: ArtifactStore, fate: str
    ) -> None:
        """Its runner only knows that it was asked to end, if it has a word at all."""
        job = client()
        name = job.start().job
        service.causes[name] = "CANCELLED"
        service.end(name, fate)
        with pytest.raises(RunCancelledError):
            job.wait()
        assert service.count("submit") == 1
        assert cancel_requested(store, job.request.task.run)

    def test_a_job_that_has_had_its_time_with_the_service_is_not_tried_again(
        self, client: Client, service: Any
    ) -> None:
        job = client()
        name = job.start().job
        service.causes[name] = "TIMEOUT"
        service.end(name, "PREEMPTED")
        with pytest.raises(JobFailedError, match="TIMEOUT"):
            job.wait()
        assert service.count("submit") == 1

    def test_what_to_do_about_it_is_what_the_service_says(
        self, client: Client, service: Any
    ) -> None:
        job = client()
        name = job.start().job
        service.causes[name], service.remedies[name] = "IMAGE", "pull another one"
        service.end(name, "silent")
        with pytest.raises(JobFailedError, match="IMAGE") as caught:
            job.wait()
        assert caught.value.remedy == "pull another one"

    def test_a_look_that_fails_says_nothing_about_the_job(
        self, client: Client, service: Any
    ) -> None:
        service.fates = ["running"]
        service.troubles["poll"] = [
            ConnectionError("away"),
            TimeoutError("slow"),
            StoreUnavailableError("the store too"),
            lambda: service.end(next(iter(service.jobs)), "succeeded"),
        ]
        client().wait()

    def test_one_that_never_answers_again_is_given_up(
        self, client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenml.core.jobs._watch._UNANSWERED_FOR", 0.3)
        service.troubles["poll"] = [ConnectionError("away")] * 50
        job = client(retries={"LOST": 0})
        with pytest.raises(JobFailedError, match="does not answer: away"):
            job.wait()

    def test_a_store_that_refuses_the_handle_leaves_no_job_that_nobody_can_find(
        self, client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenml.core.jobs._patience.PAUSES", (0.0,))
        job = client()
        write = job.store.write_if_absent

        def refuse(key: str, data: bytes) -> bool:
            if key.endswith("/handle.json"):
                raise StoreUnavailableError("the disk is gone")
            return write(key, data)

        monkeypatch.setattr(job.store, "write_if_absent", refuse)
        with pytest.raises(JobFailedError, match="the disk is gone"):
            client(retries={"INFRA": 0}).wait()
        assert len(service.jobs) == 1
        assert not service.running
        assert service.count("cleanup") == 1

    def test_a_submission_whose_answer_was_lost_is_found_and_ended_before_the_next(
        self, client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenml.core.jobs._patience.PAUSES", (0.0,))
        job = client(retries={"INFRA": 1})
        service.troubles["answer"] = [ConnectionError("lost")] * 2
        service.fates = ["running", "succeeded"]
        job.wait()
        first, second = service.jobs
        asked = [verb for verb in service.asked if verb.split()[0] in ("submit", "cancel")]
        assert asked == [f"submit {first}"] * 2 + [f"cancel {first}", f"submit {second}"]
        assert service.phases == {}


class TestCtrlC:
    def test_the_first_asks_and_waits_for_the_end(self, client: Client, service: Any) -> None:
        told: list[str] = []
        job = client(told)
        service.troubles["poll"] = [ctrl_c]
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        assert "press Ctrl-C again to force" in told[0]
        assert service.graces == [3.0]
        assert cause(job) == "CANCELLED"
        assert not service.phases

    def test_the_second_forces_and_leaves(self, client: Client, service: Any) -> None:
        job = client()
        service.troubles["poll"] = [ctrl_c]
        service.troubles["cancel"] = [ctrl_c]  # while the service takes its time
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        assert service.graces == [0.0]
        assert cause(job) == "CANCELLED"
        assert not service.running

    @pytest.mark.parametrize("when", ["submit", "answer"])
    @pytest.mark.parametrize("do", ["start", "wait"])
    def test_during_a_submission_it_leaves_no_job_that_nobody_knows(
        self, client: Client, service: Any, when: str, do: str
    ) -> None:
        job = client()
        service.troubles[when] = [ctrl_c]
        with pytest.raises(KeyboardInterrupt):
            getattr(job, do)()
        assert cause(job) == "CANCELLED"
        assert not service.running

    def test_forced_during_a_submission_it_ends_what_was_started(
        self, client: Client, service: Any
    ) -> None:
        job = client()
        service.troubles["answer"] = [lambda: (ctrl_c(), ctrl_c())]
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        assert cause(job) == "CANCELLED"
        assert (service.count("submit"), service.count("find")) == (1, 1)
        assert not service.running

    def test_forced_during_a_submission_it_closes_what_cannot_be_looked_for(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        job = client()
        service.troubles["answer"] = [lambda: (ctrl_c(), ctrl_c())]
        service.troubles["find"] = [ConnectionError("away")] * 5
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        # Its handle never came, so its runner has to find out by itself, and can.
        assert job.handle(1) is None
        assert cause(job) == "CANCELLED"
        assert cancel_requested(store, job.request.task.run)

    def test_while_a_retry_is_due_it_starts_no_other_attempt(
        self, client: Client, service: Any
    ) -> None:
        told: list[str] = []
        job = client(told, retry_delay=60.0)
        service.fates = ["PREEMPTED"]
        threading.Thread(
            target=lambda: (wait_until(lambda: any("again in" in line for line in told)), ctrl_c())
        ).start()
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        assert attempts(job) == 1

    def test_afterwards_it_is_what_it_was_before(self, client: Client, service: Any) -> None:
        before = signal.getsignal(signal.SIGINT)
        service.fates = ["succeeded"]
        client().wait()
        assert signal.getsignal(signal.SIGINT) is before


class TestCancelling:
    def test_a_run_that_was_cancelled_submits_nothing_more(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        job = client()
        request_cancel(store, job.request.task.run)
        with pytest.raises(RunCancelledError):
            job.wait()
        assert service.count("submit") == 0
        assert cause(job) == "CANCELLED"

    def test_a_service_that_does_not_listen_is_not_waited_for_for_ever(
        self, client: Client, service: Any, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zenml.core.jobs._watch.CANCEL_TAKES", -2.5)
        told: list[str] = []
        job = client(told)
        job.start()
        request_cancel(store, job.request.task.run)
        service.troubles["cancel"] = [RuntimeError("not now")]
        with pytest.raises(RunCancelledError):
            job.wait()
        assert "not now" in told[1]
        assert "has not ended yet; 'zenml gc'" in told[-1]
        assert service.running

    def test_a_job_that_is_being_cancelled_is_looked_at_no_more_often(
        self, client: Client, service: Any
    ) -> None:
        job = client()
        job.start()
        job._cancelled = lambda: True
        service.troubles["cancel"] = [RuntimeError("not now")]
        looks: list[float] = []
        service.troubles["poll"] = [lambda: looks.append(time.monotonic())] * 4
        service.troubles["poll"] += [lambda: service.end(next(iter(service.jobs)), "CANCELLED")]
        with pytest.raises(RunCancelledError):
            job.wait()
        pauses = [after - before for before, after in itertools.pairwise(looks)]
        assert min(pauses) > 0.05


class TestDamagedRecords:
    """An object of which half has become visible."""

    def test_a_handle_is_stored_again_by_the_submission_that_gives_the_same_job(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        handle = client().start()
        key = f"{client().folder}/1/handle.json"
        store.write(key, store.read(key)[:9])
        service.troubles["poll"] = [lambda: service.end(handle.job, "succeeded")]

        client().wait()

        assert len(service.jobs) == 1
        assert client().handle(1) == handle
        assert service.count("cleanup") == 1

    def test_an_outcome_counts_as_none_and_is_replaced(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        handle = client().start()
        service.end(handle.job, "succeeded")
        key = f"{client().folder}/1/outcome.json"
        store.write(key, store.read(key)[:9])
        service.phases[handle.job] = "gone"
        service.fates = ["succeeded"]

        client().wait()

        assert cause(client()) == "LOST"
        assert attempts(client()) == 2

    def test_a_request_is_a_typed_error(
        self, client: Client, service: Any, store: ArtifactStore
    ) -> None:
        client().start()
        store.write(f"{client().folder}/request.json", b'{"kind":')

        with pytest.raises(IntegrityError, match="run the pipeline again"):
            read_request(store, client().folder)


class TestTheLogOfAServiceThatIsAllThereIs:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_watch, "_OUTCOME_DELAY", 0.0)

    def lose(self, client: Client, service: Any, *lines: str) -> JobRun:
        """A job whose runner never came so far."""
        service.fates = ["silent"]
        job = client(retries={"LOST": 0})
        name = job_name(job.request.task.run, None, 1)
        service.printed[name] = [*lines]
        with pytest.raises(JobFailedError, match="LOST"):
            job.wait()
        assert service.asked[-1].startswith("cleanup")
        return job

    def test_it_is_kept_before_the_job_is_tidied_up(self, client: Client, service: Any) -> None:
        job = self.lose(client, service, "one", "two", "No module named 'zenml'")
        [(_, text)] = read_log(job.store, f"{job.folder}/1")
        assert text == "one\ntwo\nNo module named 'zenml'\n"

    def test_it_is_kept_without_secrets(
        self, client: Client, service: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "sesame open")
        job = self.lose(client, service, "with sesame open it works")
        assert [text for _, text in read_log(job.store, f"{job.folder}/1")] == [
            "with [redacted] it works\n"
        ]

    def test_a_runners_own_log_goes_before_it(self, client: Client, service: Any) -> None:
        job = client()
        key = f"{job.folder}/1/log-00000001.txt"
        job.store.write(key, b"the runner's\n")
        job = self.lose(client, service, "the service's")
        assert [found for found, _ in read_log(job.store, f"{job.folder}/1")] == [key]

    def test_a_service_that_cannot_give_it_fails_nothing(
        self, client: Client, service: Any
    ) -> None:
        service.troubles["logs"] = [RuntimeError("a bug")]
        job = self.lose(client, service, "one")
        assert list(read_log(job.store, f"{job.folder}/1")) == []
