"""The backends whose jobs are processes: what a service does to a job, met on one machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import msgspec
import pytest

from zenml.core import Handle, Job, JobState
from zenml.core.errors import BackendError, ConfigurationError
from zenml.core.testing import wait_until
from zenml.local import OrchestratorSubprocessBackend, TrainingSubprocessBackend
from zenml.local._subprocess import _claimed

#: More memory than any machine has, and how it is told.
TOO_MUCH = "65536TiB"


def job(name: str = "zenml-a-1", *, step: str | None = None, **requires: str) -> Job:
    return Job(
        name=name,
        run="run",
        pipeline="p",
        step=step,
        attempt=1,
        store="file:///store",
        folder="runs/run/jobs/plan/1",
        digest="0" * 64,
        requires=requires,
    )


class Machine:
    """A machine of a user: a home, interpreters of the user's making, and jobs that end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.begun = folder / "begun"
        self._handles: list[Handle] = []

    def program(self, code: str, name: str = "python") -> str:
        """An executable that runs ``code`` whatever it is told, and notes that it did."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noted = (
            f"import os, sys, time\nwith open({str(self.begun)!r}, 'a') as file:\n"
            "    file.write(f'{os.getpid()}\\n')\n"
        )
        path.write_text(f"#!{sys.executable} -S\n{noted}{code}\n")
        path.chmod(0o755)
        return str(path)

    def backend(self, code: str = "time.sleep(600)", **parameters: Any) -> Any:
        parameters.setdefault("work_folder", str(self.jobs))
        if "python" not in parameters:
            parameters["python"] = self.program(code)
        return OrchestratorSubprocessBackend(**parameters)

    def submit(self, backend: Any, of: Job | None = None) -> Handle:
        handle: Handle = backend.submit(of or job())
        self._handles.append(handle)
        return handle

    def beginnings(self) -> list[int]:
        """The process ids of every job that began."""
        return [int(line) for line in self.begun.read_text().split()] if self.begun.exists() else []

    def close(self) -> None:
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(handle.data["pid"], signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    made = Machine(tmp_path)
    yield made
    made.close()


def until(backend: Any, handle: Handle, phase: str) -> JobState:
    """How a job stands as soon as it is in that phase."""

    def reached() -> JobState | None:
        state: JobState = backend.poll(handle)
        return state if state.phase == phase else None

    found: JobState = wait_until(reached, what=f"the phase {phase}")
    return found


def log(backend: Any, handle: Handle) -> str:
    return "\n".join(backend.logs(handle).lines)


class TestParameters:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"memory": "512MB"}, "memory: expected a whole number and KiB, MiB, GiB or TiB"),
            ({"memory": "1.5GiB"}, "such as '512MiB', found '1.5GiB'"),
            ({"memory": "-1GiB"}, "found '-1GiB'"),
            ({"memory": "512"}, "found '512'"),
            ({"memory": "0GiB"}, "expected at least 64MiB, which a job itself takes"),
            ({"max_jobs": 0}, "max_jobs: expected int >= 1"),
            ({"requirements": ["polars"]}, "requirements: needs virtual_environment=True"),
            (
                {"virtual_environment": True, "requirements": ["-r more.txt"]},
                "requirements: expected a requirement such as 'polars>=2', found '-r more.txt'",
            ),
            (
                {"virtual_environment": True, "requirements": ["./a-1-py3-none-any.whl"]},
                "requirements: expected the whole path of a file",
            ),
        ],
    )
    def test_a_wrong_one_is_named(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            OrchestratorSubprocessBackend(**given)

        assert said in str(caught.value)

    def test_a_password_in_a_requirement_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            OrchestratorSubprocessBackend(
                virtual_environment=True, requirements=["a @ https://me:hunter2@host/a.whl"]
            )

        assert "holds a user or password" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("text", ["512MiB", "512Mi", "512 MiB", "524288KiB", "524288Ki"])
    def test_memory_is_read_as_people_and_kubernetes_write_it(
        self, machine: Machine, text: str
    ) -> None:
        assert machine.backend(memory=text).render(job())["memory"] == 512 << 20


class TestRendering:
    def test_it_says_what_is_started_where_and_within_which_limits(self, machine: Machine) -> None:
        backend = machine.backend(environment={"A": "1"}, memory="1GiB", max_jobs=2)

        assert backend.render(job()) == {
            "command": [str(machine.folder / "python"), *job().command()[1:]],
            "folder": str(machine.jobs / "zenml-a-1"),
            "environment": {"ZENML_SCRATCH": str(machine.jobs / "zenml-a-1"), "A": "1"},
            "virtual_environment": None,
            "memory": 1 << 30,
            "slots": {"folder": str(machine.jobs / ".slots"), "kind": "plan", "count": 2},
            "pending_timeout": 1800.0,
        }
        assert not machine.jobs.exists()

    def test_it_is_exactly_what_the_process_gets(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", "/nowhere")
        code = "import json; print(json.dumps([sys.argv, os.getcwd(), dict(os.environ)]))"
        backend = machine.backend(code, environment={"A": "1"})
        handle = machine.submit(backend)
        until(backend, handle, "succeeded")

        command, folder, environment = json.loads(log(backend, handle))
        assert {"command": command, "folder": folder} == {
            name: backend.render(job())[name] for name in ("command", "folder")
        }
        assert environment["A"] == "1"
        assert (
            environment["ZENML_SCRATCH"] == folder
        )  # which goes with the job, also a killed one's
        assert "PYTHONPATH" not in environment

    def test_a_relative_interpreter_is_the_clients(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(machine.folder)

        rendered = machine.backend(python="env/bin/python", work_folder="work").render(job())

        assert rendered["command"][0] == str(machine.folder / "env" / "bin" / "python")
        assert rendered["folder"] == str(machine.folder / "work" / "zenml-a-1")


class TestFolders:
    def test_jobs_are_kept_in_the_users_cache(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = OrchestratorSubprocessBackend()
        home = machine.folder / "home" / ".cache" / "zenml" / "jobs"
        assert backend.render(job())["folder"] == str(home / "zenml-a-1")

        monkeypatch.setenv("XDG_CACHE_HOME", str(machine.folder / "cache"))

        cache = machine.folder / "cache" / "zenml" / "jobs"
        assert backend.render(job())["folder"] == str(cache / "zenml-a-1")

    def test_a_user_without_a_home_is_told_what_to_set(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nobody(user: int) -> Any:
            raise KeyError(user)

        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", nobody)

        with pytest.raises(BackendError, match="no home folder") as caught:
            OrchestratorSubprocessBackend().submit(job())
        assert "set HOME or XDG_CACHE_HOME" in str(caught.value)
        assert machine.submit(machine.backend()).job == "zenml-a-1"

    def test_a_folder_that_cannot_be_made_is_named(self, machine: Machine) -> None:
        machine.jobs.write_text("a file")

        with pytest.raises(BackendError, match="cannot be started in its folder") as caught:
            machine.backend().submit(job())
        assert str(machine.jobs / "zenml-a-1") in str(caught.value)
        assert "give work_folder=" in str(caught.value)

    @pytest.mark.parametrize("name", ["spec", "handle"])
    def test_of_a_job_that_cannot_be_started_in_it_nothing_is_left(
        self, machine: Machine, name: str
    ) -> None:
        folder = machine.jobs / "zenml-a-1"
        (folder / name).mkdir(parents=True)  # where a file has to be put

        with pytest.raises(BackendError, match="cannot be started in its folder"):
            machine.backend().submit(job())

        assert list(machine.jobs.iterdir()) == []

    def test_how_a_job_ended_is_known_though_it_has_filled_the_disk(self, machine: Machine) -> None:
        machine.jobs.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(machine.jobs)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not permitted here")
        try:
            fill = "try:\n    open('all', 'wb').write(bytes(1 << 20))\nexcept OSError: os._exit(3)"
            backend = machine.backend(fill)
            handle = machine.submit(backend)
            wait_until(lambda: "exit code 3" in backend.poll(handle).message)
        finally:
            subprocess.run(["umount", "--lazy", str(machine.jobs)], check=True)

    def test_a_process_that_never_comes_to_its_end_goes_with_it(self, machine: Machine) -> None:
        backend = machine.backend()
        handle = machine.submit(backend)
        wait_until(machine.beginnings)
        os.kill(handle.data["pid"], signal.SIGSTOP)

        backend.cleanup(handle)

        wait_until(lambda: not Path(f"/proc/{handle.data['pid']}").exists())
        assert list(machine.jobs.iterdir()) == []


class TestFinding:
    def test_a_job_whose_handle_was_lost_is_found_by_its_name(self, machine: Machine) -> None:
        backend = machine.backend()
        handle = machine.submit(backend)
        assert backend.find(job()) == handle
        backend.cancel(handle, 0.0)
        assert backend.find(job()) == handle
        backend.cleanup(handle)
        assert backend.find(job()) is None
        assert len(machine.beginnings()) <= 1

    def test_what_was_never_submitted_is_not_found(self, machine: Machine) -> None:
        assert machine.backend().find(job()) is None
        assert not machine.jobs.exists()

    def test_a_folder_in_which_nothing_was_started_is_tidied_up(self, machine: Machine) -> None:
        """A client that is killed before it starts the process leaves a folder with its claim."""
        backend, folder = machine.backend(), machine.jobs / job().name
        folder.mkdir(parents=True)
        (folder / "claim").touch()
        handle = backend.find(job())
        assert folder.exists()
        assert backend.poll(handle).ended
        backend.cancel(handle, 0.0)
        backend.cleanup(handle)
        assert not folder.exists()
        assert backend.find(job()) is None

    def test_a_job_that_is_being_started_is_waited_for(self, machine: Machine) -> None:
        backend, folder = machine.backend(), machine.jobs / job().name
        with ThreadPoolExecutor() as pool:
            with _claimed(folder):
                found = pool.submit(backend.find, job())
                assert not wait([found], timeout=0.2).done
                (folder / "handle").write_text(json.dumps({"folder": "f"}))
            assert found.result().data == {"folder": "f"}


class TestSubmitting:
    def test_one_name_twice_is_one_job(self, machine: Machine) -> None:
        backend = machine.backend()

        assert machine.submit(backend) == machine.submit(backend)
        wait_until(machine.beginnings)
        assert len(machine.beginnings()) == 1

    def test_so_it_is_from_several_processes_at_once(self, machine: Machine) -> None:
        backend = machine.backend()
        script = (
            "import json, sys, msgspec\n"
            "from zenml.core import Job\n"
            "from zenml.local import OrchestratorSubprocessBackend\n"
            "backend = OrchestratorSubprocessBackend(**json.loads(sys.argv[1]))\n"
            "handle = backend.submit(msgspec.json.decode(sys.argv[2], type=Job))\n"
            "print(msgspec.json.encode(handle).decode())\n"
        )
        arguments = [json.dumps(backend.parameters()), msgspec.json.encode(job()).decode()]
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        handles = {client.communicate(timeout=60)[0] for client in clients}
        assert len(handles) == 1
        handle = msgspec.json.decode(handles.pop(), type=Handle)
        # Every client has ended, and the job goes on; its handle is good here as well.
        assert until(backend, handle, "running").phase == "running"
        assert machine.submit(backend) == handle
        wait_until(machine.beginnings)
        assert machine.beginnings() == [handle.data["pid"]]

    def test_who_starts_a_job_keeps_others_from_starting_it_and_no_longer(
        self, machine: Machine
    ) -> None:
        backend = machine.backend()
        folder = machine.jobs / "zenml-a-1"
        folder.mkdir(parents=True)
        with open(folder / "claim", "w") as claim, ThreadPoolExecutor(1) as pool:
            fcntl.flock(claim, fcntl.LOCK_EX)
            waiting = pool.submit(machine.submit, backend)
            with pytest.raises(TimeoutError):
                wait_until(waiting.done, timeout=0.3)
            assert not (folder / "handle").exists()
            # As its end does, however that comes about.
            claim.close()
            assert waiting.result(timeout=30).job == "zenml-a-1"
        wait_until(machine.beginnings)
        assert len(machine.beginnings()) == 1

    def test_a_name_can_be_submitted_again_after_its_folder_was_tidied_up(
        self, machine: Machine
    ) -> None:
        backend = machine.backend("print(1)")
        first = machine.submit(backend)
        until(backend, first, "succeeded")
        backend.cleanup(first)

        second = machine.submit(backend)

        assert second != first
        until(backend, second, "succeeded")


class TestEnds:
    @pytest.mark.parametrize(
        ("code", "phase", "cause", "message"),
        [
            ("pass", "succeeded", None, ""),
            (
                "print('why'); sys.exit(3)",
                "failed",
                None,
                "the process ended with exit code 3: why",
            ),
            ("os.kill(os.getpid(), 9)", "failed", None, "the process was ended by SIGKILL"),
            (
                "os.kill(os.getpid(), 15)",
                "failed",
                "PREEMPTED",
                "the process was ended by SIGTERM",
            ),
            (
                "sys.exit(\"No module named 'zenml'\")",
                "failed",
                "IMAGE",
                "the process ended with exit code 1: No module named 'zenml'",
            ),
        ],
    )
    def test_each_is_told_as_it_is(
        self, machine: Machine, code: str, phase: str, cause: str | None, message: str
    ) -> None:
        backend = machine.backend(code)
        handle = machine.submit(backend)

        wait_until(lambda: (machine.jobs / "zenml-a-1" / "code").read_text() != "null")

        state = backend.poll(handle)
        assert (state.phase, state.cause, state.message) == (phase, cause, message)

    def test_an_interpreter_that_is_not_there_is_an_image_that_is_not_there(
        self, machine: Machine
    ) -> None:
        backend = machine.backend(python="/nowhere/python")

        state = until(backend, machine.submit(backend), "failed")

        assert state.cause == "IMAGE"
        said = "the interpreter /nowhere/python cannot be started: No such file or directory"
        assert state.message == said
        assert state.remedy == "give python= the path of one"

    def test_one_that_is_no_program_neither(self, machine: Machine) -> None:
        path = machine.folder / "text"
        path.write_text("no program")
        backend = machine.backend(python=str(path))

        state = until(backend, machine.submit(backend), "failed")

        assert state.cause == "IMAGE"
        assert state.message.endswith("cannot be started: Permission denied")

    def test_an_end_that_nobody_saw_is_not_taken_for_a_job_that_never_was(
        self, machine: Machine
    ) -> None:
        backend = machine.backend()
        handle = machine.submit(backend)
        until(backend, handle, "running")
        folder = machine.jobs / "zenml-a-1"
        # What a client that had ended before would not have written.
        (folder / "code").unlink()
        (folder / "code").mkdir()
        os.killpg(handle.data["pid"], signal.SIGKILL)

        state = until(backend, handle, "failed")

        assert state.cause is None
        assert state.message == "the process ended, and nobody saw how"

    def test_a_job_that_nobody_knows_is_gone(self, machine: Machine) -> None:
        backend = machine.backend("print('x')")
        unknown = Handle(
            job="x", data={"folder": str(machine.jobs / "x"), "pid": 1 << 22, "born": "1"}
        )
        handle = machine.submit(backend)
        until(backend, handle, "succeeded")
        for _ in range(2):
            backend.cleanup(handle)
            backend.cleanup(unknown)

        assert backend.poll(handle).phase == backend.poll(unknown).phase == "gone"
        assert backend.logs(handle, "7").cursor == "7"
        backend.cancel(handle, 0)
        assert list(machine.jobs.iterdir()) == []

    def test_a_job_of_another_machine_is_out_of_reach_and_not_gone(self, machine: Machine) -> None:
        backend = machine.backend()
        handle = machine.submit(backend)
        there = msgspec.structs.replace(handle, data={**handle.data, "machine": "another"})

        for look in (backend.poll, backend.logs, backend.cleanup):
            with pytest.raises(ConnectionError, match="of the machine another"):
                look(there)
        with pytest.raises(ConnectionError, match="of the machine another"):
            backend.cancel(there, 0)
        until(backend, handle, "running")

    def test_a_log_is_read_on_from_a_cursor(self, machine: Machine) -> None:
        go = machine.folder / "go"
        backend = machine.backend(
            f"print('one', 'tw', sep='\\n', end='', flush=True)\n"
            f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
            "print('o')"
        )
        handle = machine.submit(backend)
        first = wait_until(lambda: (page := backend.logs(handle)).lines and page)
        go.touch()
        until(backend, handle, "succeeded")
        second = backend.logs(handle, first.cursor)

        assert (first.lines, second.lines) == (("one",), ("two",))
        assert backend.logs(handle, second.cursor).lines == ()

    def test_no_line_of_a_log_is_held_back_for_ever(self, machine: Machine) -> None:
        backend = machine.backend("print('x' * (3 << 20), end='\\nlast')")
        handle = machine.submit(backend)
        until(backend, handle, "succeeded")
        found, cursor = [], ""
        while (page := backend.logs(handle, cursor)).lines:
            found += page.lines
            cursor = page.cursor

        assert "".join(found) == "x" * (3 << 20) + "last"


class TestMemory:
    def test_it_is_the_processes_limit(self, machine: Machine) -> None:
        backend = machine.backend(
            "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])", memory="256MiB"
        )
        handle = machine.submit(backend)
        until(backend, handle, "succeeded")

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = 256 << 20 if hard == resource.RLIM_INFINITY else min(hard, 256 << 20)
        assert log(backend, handle) == str(most)

    def test_more_than_the_machine_has_will_never_be_and_is_told_at_once(
        self, machine: Machine
    ) -> None:
        backend = machine.backend(memory=TOO_MUCH)
        handle = machine.submit(backend)

        state = wait_until(lambda: (found := backend.poll(handle)).hopeless and found)

        assert (state.phase, state.cause) == ("pending", "UNSCHEDULABLE")
        words = r"asks for 65536 TiB of memory; this machine has [0-9.]+ [MGT]iB"
        assert re.fullmatch(words, state.message)
        assert state.remedy
        backend.cancel(handle, 0)
        assert until(backend, handle, "failed").cause == "PREEMPTED"
        assert machine.beginnings() == []

    def test_the_check_says_so_too(self, machine: Machine) -> None:
        backend = machine.backend(memory=TOO_MUCH, python=sys.executable)

        assert [(line.name, line.ok) for line in backend.check()] == [
            ("runner", True),
            ("memory", False),
        ]


class TestTurns:
    def test_no_more_jobs_run_at_once_than_may(self, machine: Machine) -> None:
        backend = machine.backend(max_jobs=1)
        first = machine.submit(backend, job("zenml-a-1"))
        until(backend, first, "running")
        second = machine.submit(backend, job("zenml-b-1"))

        state = wait_until(lambda: (found := backend.poll(second)).message and found)

        assert state.phase == "pending"
        said = "waits for the end of zenml-a-1: at most 1 may run at once (max_jobs)"
        assert state.message == said
        assert not state.hopeless
        # However it ends, its place is free.
        os.killpg(first.data["pid"], signal.SIGKILL)
        until(backend, second, "running")
        wait_until(lambda: len(machine.beginnings()) == 2)
        # It is the process that waited.
        assert machine.beginnings() == [first.data["pid"], second.data["pid"]]

    def test_a_plan_does_not_take_the_place_of_the_trainer_that_it_waits_for(
        self, machine: Machine
    ) -> None:
        backend = machine.backend(max_jobs=1)
        shared = TrainingSubprocessBackend.fields()
        given = {name: value for name, value in backend.parameters().items() if name in shared}
        trainer = TrainingSubprocessBackend(**given)
        until(backend, machine.submit(backend), "running")

        handle = machine.submit(trainer, job("zenml-a-train-1", step="train"))

        until(trainer, handle, "running")

    def test_one_that_waits_can_be_cancelled(self, machine: Machine) -> None:
        backend = machine.backend(max_jobs=1)
        until(backend, machine.submit(backend), "running")
        waiting = machine.submit(backend, job("zenml-b-1"))
        wait_until(lambda: backend.poll(waiting).message)

        backend.cancel(waiting, 0)

        state = until(backend, waiting, "failed")
        assert state.cause == "PREEMPTED"
        assert state.message == "the process was ended by SIGTERM before it began"
        assert len(machine.beginnings()) == 1

    def test_one_that_is_killed_as_it_waits_is_not_lost(self, machine: Machine) -> None:
        backend = machine.backend(max_jobs=1)
        until(backend, machine.submit(backend), "running")
        waiting = machine.submit(backend, job("zenml-b-1"))
        wait_until(lambda: backend.poll(waiting).message)
        os.kill(waiting.data["pid"], signal.SIGKILL)

        assert until(backend, waiting, "failed").cause == "PREEMPTED"

    def test_places_that_cannot_be_kept_are_the_services_failure(self, machine: Machine) -> None:
        machine.jobs.mkdir()
        (machine.jobs / ".slots").write_text("a file")
        backend = machine.backend(max_jobs=1)

        state = until(backend, machine.submit(backend), "failed")

        assert state.cause == "INFRA"
        assert "the job cannot begin: " in state.message


#: Stands for ``python -m venv``, for pip, and for the runner: it makes what it is told to make.
MAKER = """
os.makedirs(os.path.join(sys.argv[-1], "bin"))
os.symlink({inner!r}, os.path.join(sys.argv[-1], "bin", "python"))
"""
INNER = """
if "pip" in sys.argv:
    print("installing", *sys.argv[sys.argv.index("--progress-bar=off") + 1:], flush=True)
    {pip}
else:
    print("running", flush=True)
    time.sleep(600)
"""


class TestVirtualEnvironments:
    @pytest.fixture(autouse=True)
    def _without_uv(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(machine.folder / "nothing"))

    def made_by(self, machine: Machine, pip: str = "pass", **parameters: Any) -> Any:
        inner = machine.program(INNER.format(pip=pip), "inner")
        python = machine.program(MAKER.format(inner=inner), "maker")
        return machine.backend(python=python, virtual_environment=True, **parameters)

    def test_its_folder_and_commands_are_rendered(self, machine: Machine) -> None:
        backend = self.made_by(machine, requirements=["further>=3"])

        rendered = backend.render(job(**{"zenml-core": "1.0", "b": "2"}))

        made = rendered["virtual_environment"]
        cache = machine.folder / "home" / ".cache" / "zenml" / "environments"
        assert Path(made["folder"]).parent == cache
        assert made["requirements"] == ["b==2", "zenml-core==1.0", "further>=3"]
        assert made["commands"][0][1:] == ["-I", "-m", "venv", made["folder"]]
        assert made["commands"][1][-3:] == made["requirements"]
        assert rendered["command"][0] == made["folder"] + "/bin/python"
        assert rendered["environment"]["VIRTUAL_ENV"] == made["folder"]
        assert not cache.exists()

    def test_what_decides_its_content_decides_where_it_is(self, machine: Machine) -> None:
        wheel = machine.folder / "a-1-py3-none-any.whl"
        wheel.write_bytes(b"1")

        backend = self.made_by(machine)

        def folder(*requirements: str, **requires: str) -> str:
            rendered = backend.replace(requirements=requirements).render(job(**requires))
            found: str = rendered["virtual_environment"]["folder"]
            return found

        assert folder("a", "b") == folder("b", "a")
        assert len({folder(), folder("a"), folder("a==1"), folder(b="1"), folder(b="2")}) == 5
        before = [folder(str(wheel)), folder(f"a @ {wheel.as_uri()}"), folder(f"{wheel}[x]")]
        wheel.write_bytes(b"2")
        after = [folder(str(wheel)), folder(f"a @ {wheel.as_uri()}"), folder(f"{wheel}[x]")]
        assert len({*before, *after}) == 6
        earlier = folder()
        (machine.folder / "maker").write_text("another version of the interpreter")
        assert folder() != earlier

    def test_a_folder_is_no_requirement(self, machine: Machine) -> None:
        backend = self.made_by(machine, requirements=[str(machine.folder)])

        with pytest.raises(BackendError, match="a folder cannot be required"):
            backend.render(job())

    def test_jobs_at_once_have_it_made_once_and_later_ones_use_it(self, machine: Machine) -> None:
        backend = self.made_by(machine, "time.sleep(0.3)")
        handles = [
            machine.submit(backend, job(f"zenml-{name}-1", a="1")) for name in ("a", "b", "c")
        ]
        for handle in handles:
            until(backend, handle, "running")
        later = machine.submit(backend, job("zenml-d-1", a="1"))
        until(backend, later, "running")

        logs = [
            wait_until(lambda h=handle: "running" in (text := log(backend, h)) and text)
            for handle in [*handles, later]
        ]
        assert sum("installing a==1" in text for text in logs) == 1
        assert len(list((machine.folder / "home/.cache/zenml/environments").glob("*/bin"))) == 1

    def test_it_goes_first_where_programs_are_looked_for(self, machine: Machine) -> None:
        backend = self.made_by(machine, requirements=[])
        (machine.folder / "inner").write_text(
            f"#!{sys.executable} -S\nimport os\nprint(os.environ['PATH'])\n"
        )
        handle = machine.submit(backend)
        until(backend, handle, "succeeded")

        folder = backend.render(job())["virtual_environment"]["folder"]
        assert log(backend, handle).split(os.pathsep)[0] == f"{folder}/bin"

    def test_what_is_waited_for_is_told(self, machine: Machine) -> None:
        go = machine.folder / "go"
        backend = self.made_by(machine, f"while not os.path.exists({str(go)!r}): time.sleep(0.01)")
        first = machine.submit(backend, job("zenml-a-1", a="1", b="2"))
        made = wait_until(lambda: (found := backend.poll(first)).message and found)
        second = machine.submit(backend, job("zenml-b-1", a="1", b="2"))
        waits = wait_until(lambda: (found := backend.poll(second)).message and found)

        assert (made.phase, made.message) == ("pending", "installs a==1, b==2")
        assert waits.phase == "pending"
        assert waits.message == "waits for another job, which makes the same environment"
        go.touch()
        until(backend, first, "running")
        until(backend, second, "running")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_one_that_was_given_up_half_way_is_made_anew(
        self, machine: Machine, number: int
    ) -> None:
        stop = machine.folder / "stop"
        stop.touch()
        backend = self.made_by(machine, f"while os.path.exists({str(stop)!r}): time.sleep(0.01)")
        first = machine.submit(backend, job(a="1"))
        wait_until(lambda: "installing" in log(backend, first))
        folder = Path(backend.render(job(a="1"))["virtual_environment"]["folder"])
        (folder / "half").touch()
        # SIGKILL to one process leaves the installer, which keeps the folder until it ends.
        (os.killpg if number == signal.SIGTERM else os.kill)(first.data["pid"], number)
        assert until(backend, first, "failed").cause == "PREEMPTED"
        second = machine.submit(backend, job("zenml-b-1", a="1"))
        wait_until(lambda: backend.poll(second).message)
        stop.unlink()

        until(backend, second, "running")

        assert "installing a==1" in log(backend, second)
        assert not (folder / "half").exists()

    @pytest.mark.parametrize(
        "words", ["ERROR: no such thing\n[notice] a newer pip", "error: no\n  cause: such thing"]
    )
    def test_an_installer_that_fails_is_an_image_that_cannot_be_had(
        self, machine: Machine, words: str
    ) -> None:
        backend = self.made_by(machine, f"print({words!r}); sys.exit(1)")
        said = "ERROR: no such thing" if "ERROR" in words else "error: no cause: such thing"
        handle = machine.submit(backend, job(a="1"))

        state = until(backend, handle, "failed")

        assert state.cause == "IMAGE"
        folder = backend.render(job(a="1"))["virtual_environment"]["folder"]
        assert state.message == f"the environment cannot be made: {said} (see {folder}.log)"
        assert log(backend, handle).splitlines()[0] == "installing a==1"
        backend.cleanup(handle)
        assert Path(f"{folder}.log").read_text() == f"installing a==1\n{words}\n"

    def test_so_is_an_interpreter_that_is_not_there(self, machine: Machine) -> None:
        backend = machine.backend(python="/nowhere/python", virtual_environment=True)

        state = until(backend, machine.submit(backend, job(a="1")), "failed")

        assert state.cause == "IMAGE"
        assert "the interpreter /nowhere/python cannot be started" in state.message

    def test_so_is_a_cache_that_cannot_be_written(self, machine: Machine) -> None:
        (machine.folder / "home").write_text("a file")
        backend = self.made_by(machine)

        state = until(backend, machine.submit(backend, job(a="1")), "failed")

        assert state.cause == "IMAGE"
        assert state.remedy is not None
        assert "XDG_CACHE_HOME" in state.remedy


def wheel(folder: Path, name: str, version: str, **modules: str) -> Path:
    """A wheel as a build would have left it."""
    folder.mkdir(exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    info = f"{stem}.dist-info"
    files = {
        **{f"{module.replace('.', '/')}.py": text for module, text in modules.items()},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


RUNNER = """
import json, sys
from importlib import metadata
print(json.dumps([sys.prefix, sorted(d.name for d in metadata.distributions())]))
"""


@pytest.fixture
def _only_these_wheels(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels in a folder, and no index beside them."""
    wheels = machine.folder / "wheels"
    wheel(wheels, "zenml-core", "9.1", **{"zenml.core.runner": RUNNER})
    wheel(wheels, "zenml-core", "9.2")
    wheel(wheels, "beside", "1.0")
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(wheels))


@pytest.mark.usefixtures("_only_these_wheels")
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_job_finds_what_it_requires_and_nothing_of_the_clients(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, installer: str
) -> None:
    uv = shutil.which("uv")
    if installer == "uv" and uv is None:
        pytest.skip("uv is not installed")
    monkeypatch.setenv("PATH", os.path.dirname(uv or "") if installer == "uv" else os.devnull)
    monkeypatch.setenv("UV_OFFLINE", "1")
    beside = (machine.folder / "wheels" / "beside-1.0-py3-none-any.whl").as_uri()
    backend = machine.backend(
        python=sys.executable, virtual_environment=True, requirements=[f"beside @ {beside}"]
    )
    # What the plan recorded and what the user says may be about one distribution.
    wanted = job(**{"zenml-core": "9.1", "beside": "1.0"})
    handle = machine.submit(backend, wanted)

    found = until(backend, handle, "succeeded")

    assert found.cause is None
    prefix, names = json.loads(backend.logs(handle).lines[-1])
    assert prefix == backend.render(wanted)["virtual_environment"]["folder"]
    assert {"zenml-core", "beside"} <= set(names) <= {"zenml-core", "beside", "pip", "setuptools"}


@pytest.mark.usefixtures("_only_these_wheels")
def test_a_version_that_is_nowhere_ends_the_job_with_what_pip_says(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    backend = machine.backend(python=sys.executable, virtual_environment=True)
    handle = machine.submit(backend, job(**{"zenml-core": "9.3"}))

    state = until(backend, handle, "failed")

    assert state.cause == "IMAGE"
    assert "No matching distribution found for zenml-core==9.3" in state.message
    assert "from versions: 9.1, 9.2" in log(backend, handle)
