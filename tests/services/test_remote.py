"""Clean environments, and commands in them: what stand-ins run what they are sent in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import remote

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def python() -> str:
    return remote.environment().python


def written(file: Path) -> str:
    """What is in a file once something is."""
    deadline = time.monotonic() + 20
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"nothing is written to {file.name}"
        time.sleep(0.02)
    return file.read_text()


def is_gone(pid: int) -> bool:
    """Whether a process ends, in a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_an_environment_holds_the_wheels_of_this_checkout_and_what_they_need(
    python: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    code = (
        "from importlib.metadata import distributions\n"
        "import zenml.core\n"
        "print(zenml.core.__file__, *sorted(d.name for d in distributions()))\n"
    )
    assert remote.start([python, "-c", code], {}, cwd=tmp_path, output=output).wait(60) == 0
    place, *names = output.read_text().split()
    assert Path(place).is_relative_to(Path(python).parents[1])
    assert {"zenml-core", "msgspec", "pluggy"} <= set(names)
    assert not {"pytest", "zenml-local", "polars", "hatchling"} & set(names)


def test_an_environment_is_made_once() -> None:
    began = time.monotonic()
    assert remote.environment() == remote.environment()
    assert time.monotonic() - began < 5


def test_a_copy_can_be_changed_without_the_original(python: str, tmp_path: Path) -> None:
    copy = remote.environment().copy(tmp_path / "copy")
    [wheel] = (Path(python).parents[2] / "wheels").glob("zenml_local-*.whl")
    copy.install("--no-deps", str(wheel))
    code = "import zenml.local"
    assert remote.start([copy.python, "-c", code], {}, cwd=tmp_path).wait(60) == 0
    assert remote.start([python, "-c", code], {}, cwd=tmp_path).wait(60) == 1


def test_a_command_has_the_variables_that_it_is_given_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENTS_OWN", "secret")
    output = tmp_path / "output"
    process = remote.start(["/usr/bin/env"], {"GIVEN": "1"}, cwd=tmp_path, output=output)
    assert process.wait(20) == 0
    assert output.read_text() == "GIVEN=1\n"


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("kill -KILL $$", 128 + signal.SIGKILL), ("echo \u00e9 >&2", 0)],
)
def test_an_exit_code_is_passed_on(tmp_path: Path, script: str, code: int) -> None:
    assert remote.start(["/bin/sh", "-c", script], {}, cwd=tmp_path).wait(20) == code


def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert remote.start(["/nowhere/python"], {}, cwd=tmp_path, output=output).wait(20) == 127
    assert "/nowhere/python" in output.read_text()


def test_a_command_is_asked_to_stop_and_then_killed(tmp_path: Path) -> None:
    polite = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    for script, code in ((polite, 5), (deaf, 128 + signal.SIGKILL)):
        output = tmp_path / "output"
        output.unlink(missing_ok=True)
        process = remote.start(
            ["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, cwd=tmp_path, output=output
        )
        written(output)
        assert process.stop(grace=1) == code


def test_what_a_command_leaves_in_another_session_ends_with_it(tmp_path: Path) -> None:
    output = tmp_path / "output"
    code = (
        "import subprocess\n"
        "print(subprocess.Popen(['/bin/sleep', '600'], start_new_session=True).pid, flush=True)"
    )
    remote.start([sys.executable, "-c", code], {}, cwd=tmp_path, output=output).wait(20)
    assert is_gone(int(output.read_text()))


def test_a_command_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    code = (
        "import sys, threading, time\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "from pathlib import Path\n"
        "from harness import remote\n"
        "def start():\n"
        "    remote.start(['/bin/sh', '-c', 'echo $$; sleep 600 & wait'],"
        " {'PATH': '/usr/bin:/bin'}, cwd=Path('.'), output=Path('output'))\n"
        # From a thread that ends, as a server's threads do.
        "thread = threading.Thread(target=start); thread.start(); thread.join()\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as starter:
        try:
            pid = int(written(output))
            time.sleep(0.2)
            os.kill(pid, 0)
        finally:
            starter.kill()
    assert is_gone(pid)
