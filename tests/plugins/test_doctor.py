"""``zenml doctor``: every backend in a process of its own, so that whatever it does is a row."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugins.conftest import Installation


OURS = "zenml-core zenml-local zenml-steps"


def diagnose(
    installation: Installation, disabled: str = OURS, **variables: str
) -> dict[str, dict[str, Any]]:
    """Rows of the doctor by name; what is of this project is left out, which saves its imports."""
    variables["ZENML_DISABLE_PLUGINS"] = disabled
    done = installation.zenml("doctor", "--json", "--timeout", "20", **variables)
    rows = json.loads(done.stdout)
    assert done.returncode == (0 if all(row["ok"] for row in rows) else 1), done.stderr
    assert "Traceback" not in done.stderr
    for row in rows:
        assert row["ok"] or (row["cause"] and row["remedy"]), row
    return {row["name"]: row for row in rows if not row["distribution"].startswith("zenml-")}


def test_what_is_well_is_well(installation: Installation) -> None:
    installation.backend("acme")

    row = diagnose(installation)["acme"]

    assert (row["kind"], row["distribution"], row["ok"]) == ("orchestrator", "acme", True)
    assert row["seconds"] > 0


def test_what_is_of_this_project_is_well(installation: Installation) -> None:
    done = installation.zenml("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    assert "BROKEN" not in done.stdout


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            f"import os; os.kill(os.getpid(), {signal.SIGSEGV:d})",
            "crashed the interpreter (SIGSEGV)",
        ),
        ("import os; os.abort()", "crashed the interpreter (SIGABRT)"),
        ("import ctypes; ctypes.string_at(0)", "crashed the interpreter (SIGSEGV)"),
        ("import os; os._exit(0)", "ended the process with exit code 0"),
        (
            "import os, sys; sys.stderr.write('oh no\\n'); sys.stderr.flush(); os._exit(7)",
            "7: oh no",
        ),
        ("import sys; sys.exit(0)", "it called sys.exit(0)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\xfe'); 1 / 0", "ZeroDivisionError"),
        ("print('loaded ItsBackend', flush=True); raise OSError('a lie')", "OSError: a lie"),
        ("import no_such_sdk", "No module named 'no_such_sdk'"),
        ("def broken(:", "SyntaxError"),
        ("", "has no attribute 'ItsBackend'"),
        ("ItsBackend = 5", "ItsBackend is a int, not a subclass of Backend"),
        ("class ItsBackend: pass", "not a subclass of Backend"),
        (
            "from zenml.core import TrainingBackend as ItsBackend",
            "of kind training, not orchestrator",
        ),
        ("import sys; sys.modules['json'] = None; sys.stdout.close(); 1 / 0", "ZeroDivisionError"),
    ],
)
def test_whatever_an_import_does_is_a_row(
    installation: Installation, source: str, cause: str
) -> None:
    installation.backend("acme", source)
    installation.backend("works")

    found = diagnose(installation)

    assert found["works"]["ok"]
    assert not found["acme"]["ok"]
    assert cause in found["acme"]["cause"]
    assert "ZENML_DISABLE_PLUGINS=acme" in found["acme"]["remedy"]


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended, or whoever inherited it has not yet taken note of that."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return
        if state[0] in "ZX":
            return
        os.sched_yield()
    pytest.fail(f"process {pid} is still there")


HANGS = """
import os, subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(__file__).with_suffix(".pids").write_text(f"{os.getpid()} {child.pid}")
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_an_import_that_hangs_is_a_row_and_leaves_no_process_behind(
    installation: Installation,
) -> None:
    installation.backend("acme", HANGS + "import time; time.sleep(600)")
    installation.backend("works")

    done = installation.zenml("doctor", "--timeout", "3", ZENML_DISABLE_PLUGINS=OURS)

    assert done.returncode == 1
    assert "importing acme_backend:ItsBackend did not end within 3 s" in done.stdout
    for pid in (installation.site / "acme_backend.pids").read_text(encoding="utf-8").split():
        wait_for_end(int(pid))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_an_import_that_leaves_a_process_behind_does_not_hold_the_doctor_up(
    installation: Installation,
) -> None:
    working = (
        "from zenml.core import OrchestratorBackend\n"
        "class ItsBackend(OrchestratorBackend):\n    def run(self, work): ...\n"
    )
    installation.backend("acme", HANGS + working)

    assert diagnose(installation)["acme"]["ok"]
    for pid in (installation.site / "acme_backend.pids").read_text(encoding="utf-8").split():
        wait_for_end(int(pid))


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            f"import os; os.kill(os.getpid(), {signal.SIGSEGV:d})",
            "crashed the interpreter (SIGSEGV)",
        ),
        ("import os; os._exit(0)", "ended the process with exit code 0"),
        (
            (
                "import os\nfrom zenml.core.plugins import hookimpl\n"
                "@hookimpl\ndef zenml_trainers(): os.abort()\n"
            ),
            "crashed the interpreter (SIGABRT)",
        ),
    ],
)
def test_a_plugin_that_takes_every_command_down_is_found_and_the_rest_examined(
    installation: Installation, source: str, cause: str
) -> None:
    installation.backend("works")
    installation.plugin("acme", source)
    assert installation.zenml("backend", "list").stdout == "", "this is what a user sees first"

    found = diagnose(installation)

    assert found["works"]["ok"]
    assert not found["acme"]["ok"]
    assert cause in found["acme"]["cause"]
    assert "set ZENML_DISABLE_PLUGINS=acme:acme" in found["acme"]["remedy"]
    assert installation.rows(ZENML_DISABLE_PLUGINS="acme:acme")["works"]["status"] == "available"


def test_a_plugin_that_hangs_is_found_and_the_rest_examined(installation: Installation) -> None:
    installation.backend("works")
    installation.plugin("acme", "import time; time.sleep(600)")

    done = installation.zenml("doctor", "--timeout", "3", ZENML_DISABLE_PLUGINS=OURS)

    assert done.returncode == 1
    assert "plugin acme: asking it what it offers did not end within 3 s" in done.stdout
    assert "orchestrator  works" in done.stdout


def test_what_the_registry_says_is_said_again(installation: Installation) -> None:
    installation.plugin("raises", "raise OSError('no disk')")
    installation.plugin("off", "raise AssertionError")
    installation.backend("newer", api=9)
    installation.plugin(
        "store",
        "from zenml.core.plugins import StoreSpec, hookimpl\n"
        "@hookimpl\ndef zenml_artifact_stores():\n"
        "    yield StoreSpec(scheme='old', target='a:B', api=0)\n"
        "    yield StoreSpec(scheme='odd', target='json:JSONDecoder')\n",
    )

    found = diagnose(installation, f"{OURS} off")

    assert {name: row["ok"] for name, row in found.items()} == {
        "raises": False,
        "off": True,
        "newer": False,
        "old": False,
        "odd": False,
    }
    assert "no disk" in found["raises"]["cause"]
    assert "plugin API 0" in found["old"]["cause"]
    assert "not a subclass of ArtifactStore" in found["odd"]["cause"]


def test_a_module_in_the_current_folder_changes_nothing(installation: Installation) -> None:
    installation.backend("acme")
    for name in ("json", "msgspec", "acme_backend"):
        (installation.project / f"{name}.py").write_text("raise AssertionError", encoding="utf-8")

    assert diagnose(installation)["acme"]["ok"]
