"""The runner as a remote service starts it: one command, and the artifact store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core._canonical import canonical, sha256
from zenml.core.jobs._log import Redactor
from zenml.core.jobs._task import EXIT_CODES, PROTOCOL, Task, read_outcome
from zenml.core.runner._child import UNTOLD, main
from zenml.core.stores import LocalArtifactStore
from zenml.core.testing import wait_until

FOLDER = "runs/r/jobs/plan/1"


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    made = LocalArtifactStore(str(tmp_path / "store"))
    made.prepare()
    return made


def start(
    store: LocalArtifactStore,
    task: dict[str, Any],
    digest: str | None = None,
    *,
    inside: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    data = canonical(task)
    store.write(f"{FOLDER}/task.json", data)
    where = ("--store", store.url, "--task", f"{FOLDER}/task.json")
    return subprocess.run(
        [
            *(*inside, sys.executable, "-m", "zenml.core.runner", *where),
            *("--digest", digest or sha256(data)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def task(**changes: Any) -> dict[str, Any]:
    return {"protocol": PROTOCOL, "core": "0.1.0", "run": "r", "plan": "0" * 64, **changes}


def test_a_task_that_is_not_the_one_submitted_is_not_run(store):
    done = start(store, task(), digest="0" * 64)
    assert done.returncode == EXIT_CODES["CONFIG"]
    assert "not the one that was submitted" in done.stderr
    assert read_outcome(store, FOLDER) is None


def test_a_client_of_another_protocol_is_told_what_to_install(store):
    done = start(store, task(protocol=99, core="9.9.9", something_new=True))
    assert done.returncode == EXIT_CODES["CONFIG"]
    outcome = read_outcome(store, FOLDER)
    assert outcome is not None
    assert outcome.failure is not None
    assert outcome.failure.cause == "CONFIG"
    assert "install zenml-core==9.9.9" in outcome.failure.message


def test_a_plan_that_is_not_there_is_an_outcome_and_not_a_crash(store):
    done = start(store, task())
    outcome = read_outcome(store, FOLDER)
    assert outcome is not None
    assert outcome.failure is not None
    assert (outcome.failure.cause, done.returncode) == ("INFRA", EXIT_CODES["INFRA"])


def failure(store: LocalArtifactStore) -> Any:
    outcome = read_outcome(store, FOLDER)
    assert outcome is not None
    return outcome.failure


def test_the_first_process_of_a_container_can_be_a_runner(store):
    # Process 1 is also the parent of those whose own has ended.
    inside = ("unshare", "--map-root-user", "--pid", "--fork")
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("no process can be given a name space of its own here")
    start(store, task(), inside=inside)
    assert failure(store).type == "ObjectNotFoundError"  # it came as far as looking for the plan


def test_a_plan_that_is_damaged_is_nobodys_code(store):
    store.write(f"plans/{'0' * 64}.json", b'{"pipeline":')
    assert start(store, task()).returncode == EXIT_CODES["INFRA"]
    assert failure(store).type == "IntegrityError"


def test_code_that_is_damaged_goes_so_that_it_is_sent_again(store):
    store.write(f"code/{'0' * 64}.tar.gz", b"half of it")
    assert start(store, task(code="0" * 64)).returncode == EXIT_CODES["INFRA"]
    assert failure(store).type == "IntegrityError"
    assert list(store.list("code/")) == []


def test_work_that_cannot_say_how_it_ended_is_no_error_of_the_user(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = main(store.url, msgspec.convert(task(), Task), 1, "missing/report", str(tmp_path))
    assert said == UNTOLD
    # What the work's process does before anything else.
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif '--child' in sys.orig_argv:\n    os._exit({UNTOLD})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert start(store, task()).returncode == EXIT_CODES["INFRA"]
    assert failure(store).cause == "INFRA"


def test_an_attempt_that_is_started_twice_has_one_outcome(store):
    first = start(store, task(protocol=99))
    before = read_outcome(store, FOLDER)
    second = start(store, task(protocol=99))
    assert second.returncode == first.returncode
    assert read_outcome(store, FOLDER) == before


def test_work_that_does_not_listen_has_the_tasks_own_grace_and_no_more(store, tmp_path):
    marker = tmp_path / "marker"
    # What the work's process does before anything else.
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, signal, sys, time\n"
        "if '--child' in sys.orig_argv:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"    pathlib.Path({str(marker)!r}).touch()\n"
        "    time.sleep(600)\n"
    )
    data = canonical(task(grace=0.5))
    store.write(f"{FOLDER}/task.json", data)
    where = ("--store", store.url, "--task", f"{FOLDER}/task.json", "--digest", sha256(data))
    runner = subprocess.Popen(
        [sys.executable, "-m", "zenml.core.runner", *where],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
    )
    wait_until(marker.exists)
    runner.terminate()
    begun = time.monotonic()
    assert runner.wait(timeout=60) == EXIT_CODES["PREEMPTED"]
    assert 0.4 < time.monotonic() - begun < 8


def test_what_a_killed_job_leaves_is_in_its_scratch_folder(store, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif '--child' in sys.orig_argv:\n    time.sleep(600)\n"
    )
    data = canonical(task())
    store.write(f"{FOLDER}/task.json", data)
    where = ("--store", store.url, "--task", f"{FOLDER}/task.json", "--digest", sha256(data))
    places = {"PYTHONPATH": str(tmp_path), "ZENML_SCRATCH": str(scratch), "TMPDIR": str(tmp_path)}
    runner = subprocess.Popen(
        [sys.executable, "-m", "zenml.core.runner", *where],
        env={**os.environ, **places},
        stdin=subprocess.DEVNULL,
    )
    wait_until(lambda: list(scratch.iterdir()))
    runner.kill()
    runner.wait()

    assert len(list(scratch.iterdir())) == 1
    assert list(tmp_path.glob("zenml-job-*")) == []


def test_values_of_secret_looking_variables_are_taken_out_of_lines(tmp_path):
    (tmp_path / "key").touch()
    redact = Redactor(
        {
            "DB_PASSWORD": "correct horse",
            "API_TOKEN": "correct horse battery",
            "TOKEN_FILE": str(tmp_path / "key"),
            "PASSWORD": "short",
            "SHELL": "a-shell-of-mine",
        }
    )
    line = f"correct horse battery, correct horse, short, {tmp_path / 'key'}, a-shell-of-mine"
    expected = f"[redacted], [redacted], short, {tmp_path / 'key'}, a-shell-of-mine"
    assert redact(line) == expected
