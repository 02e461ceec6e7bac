"""Shipped code where it is executed: the right version of it, whatever the worker ran before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core import ArtifactStore, MapContext, Unit, execute_unit, open_store, ship_code
from zenml.core.engine import _shipped
from zenml.core.errors import ConfigurationError, SourceError, StoreError, ZenMLError
from zenml.core.testing import wait_until

#: Where units that run at the same time meet: they are of several versions of one module.
meeting: dict[str, Any] = {}

Ship = Callable[[dict[str, str]], MapContext]


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "zenml" / "code"


@pytest.fixture(autouse=True)
def process(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has executed nothing yet; afterwards nothing of what it executed is left."""
    monkeypatch.setattr(_shipped, "_codes", {})
    meeting.clear()
    yield
    assert [entry for entry in sys.path if entry.startswith(str(cache))] == []
    files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
    assert [name for name, file in files.items() if file.startswith(str(cache))] == []


@pytest.fixture
def ship(cache: Path, store: ArtifactStore, tmp_path: Path) -> Ship:
    """Ships a version of a repository: its files, and their import root."""
    store.prepare()
    before = Path.cwd()
    made = iter(range(100))

    def call(files: dict[str, str], roots: Sequence[str] = (".",)) -> MapContext:
        folder = tmp_path / "versions" / str(next(made))
        (folder / ".zenml").mkdir(parents=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        os.chdir(folder)
        try:
            return ship_code(
                MapContext(
                    store=store.url,
                    scope=f"units/{folder.name}",
                    step="tested",
                    import_roots=tuple(str(folder / root) for root in roots),
                )
            )
        finally:
            os.chdir(before)

    return call


def unit(function: str, payload: Any = None) -> Unit:
    return Unit(function, payload, "code")


ANSWER = "def run(payload, files):\n    return {!r}\n"
MET = """
from tests_meeting import meeting

def run(payload, files):
    meeting["running"].append({version!r})
    meeting["both"].wait(timeout=payload)
    return {version!r}
"""


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tests_meeting")
    module.meeting = meeting  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_meeting", module)
    meeting["running"] = []


class TestVersions:
    def test_each_unit_runs_the_code_that_it_was_shipped_with(self, ship: Ship) -> None:
        first, second = (ship({"ours.py": ANSWER.format(n)}) for n in ("first", "second"))

        found = [
            execute_unit(unit("ours:run", number), context)
            for number, context in enumerate([first, second, first, second, second, first])
        ]

        assert found == ["first", "second", "first", "second", "second", "first"]

    def test_so_does_what_it_imports_late_and_out_of_packages(self, ship: Ship) -> None:
        def files(text: str) -> dict[str, str]:
            return {
                "ours.py": "def run(payload, files):\n"
                "    from ours_package.inner import part\n"
                "    import ours_space.deep.module as module\n"
                "    return [part.NAME, module.NAME]\n",
                "ours_package/__init__.py": "",
                "ours_package/inner/__init__.py": "",
                "ours_package/inner/part.py": f"NAME = {text!r}\n",
                "ours_space/deep/module.py": f"NAME = {text!r}\n",  # a namespace
            }

        contexts = [ship(files("old")), ship(files("new"))]

        for _ in range(2):
            found = [execute_unit(unit("ours:run"), context) for context in contexts]
            assert found == [["old", "old"], ["new", "new"]]

    def test_what_the_new_version_no_longer_has_is_not_there(self, ship: Ship) -> None:
        run = "def run(payload, files):\n    import ours_gone\n    return ours_gone.__name__\n"
        old = ship({"ours.py": run, "ours_gone.py": ""})
        new = ship({"ours.py": run})

        assert execute_unit(unit("ours:run"), old) == "ours_gone"
        with pytest.raises(ModuleNotFoundError, match="ours_gone"):
            execute_unit(unit("ours:run"), new)

    def test_folders_that_code_adds_to_the_path_go_with_it(self, ship: Ship) -> None:
        def files(text: str) -> dict[str, str]:
            return {
                "ours.py": "import os, sys\n"
                "sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))\n"
                "import ours_lib\n"
                "def run(payload, files):\n"
                "    import ours_late\n"
                "    return [ours_lib.NAME, ours_late.NAME]\n",
                "lib/ours_lib.py": f"NAME = {text!r}\n",
                "lib/ours_late.py": f"NAME = {text!r}\n",
            }

        contexts = [ship(files("old")), ship(files("new"))]

        for number in range(2):
            for context, text in zip(contexts, ("old", "new"), strict=True):
                assert execute_unit(unit("ours:run", number), context) == [text, text]

    def test_what_a_module_holds_is_kept_from_unit_to_unit(self, ship: Ship) -> None:
        # A model that is loaded once, for instance.
        count = "seen = []\ndef run(payload, files):\n    seen.append(payload)\n    return seen\n"
        context = ship({"ours.py": count})

        found = [execute_unit(unit("ours:run", number), context) for number in range(3)]

        assert found == [[0], [0, 1], [0, 1, 2]]

    def test_code_that_registers_itself_with_a_library_does_so_again_after_another_version(
        self, ship: Ship, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = types.ModuleType("some_library")
        library.registered = None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "some_library", library)
        code = (
            "import some_library\nsome_library.registered = {!r}\n"
            "def run(payload, files):\n    return some_library.registered\n"
        )
        contexts = [ship({"ours.py": code.format(text)}) for text in ("old", "new")]

        for number in range(2):
            found = [execute_unit(unit("ours:run", number), context) for context in contexts]
            assert found == ["old", "new"]

    def test_two_import_roots_of_one_version(self, ship: Ship) -> None:
        files = {"a/ours.py": ANSWER.format("a"), "b/ours.py": ANSWER.format("b")}

        found = [
            execute_unit(unit("ours:run", name), ship(files, roots=[name])) for name in ("a", "b")
        ]

        assert found == ["a", "b"]


class TestWhatTheWorkerHasItself:
    def test_a_module_of_the_same_name_is_not_run_and_is_there_afterwards(
        self, ship: Ship, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "installed" / "mine_too").mkdir(parents=True)
        (tmp_path / "installed" / "mine.py").write_text(ANSWER.format("the worker's"))
        (tmp_path / "installed" / "mine_too" / "part.py").write_text("NAME = 'the worker\\'s'\n")
        monkeypatch.syspath_prepend(str(tmp_path / "installed"))
        import mine  # type: ignore[import-not-found]
        from mine_too import part  # type: ignore[import-not-found]

        code = "from mine_too import part\ndef run(payload, files):\n    return part.NAME\n"
        context = ship({"mine.py": code, "mine_too/part.py": "NAME = 'shipped'\n"})

        assert execute_unit(unit("mine:run"), context) == "shipped"

        assert sys.modules["mine"] is mine
        assert sys.modules["mine_too.part"] is part is sys.modules["mine_too"].part

    def test_a_script_of_the_same_name_is_not_run(self, ship: Ship, tmp_path: Path) -> None:
        context = ship({"ours.py": ANSWER.format("shipped")})
        script = tmp_path / "elsewhere" / "ours.py"
        script.parent.mkdir()
        script.write_text(
            "import sys, msgspec\n"
            "from zenml.core import MapContext, Unit, execute_unit\n"
            "def run(payload, files):\n    return 'the script'\n"
            "context = msgspec.json.decode(sys.argv[1], type=MapContext)\n"
            "print(execute_unit(Unit('ours:run', 1, 'code'), context))\n"
        )

        done = subprocess.run(
            [sys.executable, script, msgspec.json.encode(context)],
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout == "shipped\n", done.stderr

    def test_units_that_were_not_shipped_run_what_they_always_ran(
        self, ship: Ship, store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "local").mkdir()
        (tmp_path / "local" / "local_and_shipped.py").write_text(ANSWER.format("local"))
        monkeypatch.syspath_prepend(str(tmp_path / "local"))
        shipped = ship({"local_and_shipped.py": ANSWER.format("shipped")})
        local = MapContext(
            store=store.url, scope="units/l", step="s", import_roots=(str(tmp_path / "local"),)
        )

        found = [
            execute_unit(unit("local_and_shipped:run", number), context)
            for number, context in enumerate([shipped, local, shipped, local])
        ]

        assert found == ["shipped", "local", "shipped", "local"]
        del sys.modules["local_and_shipped"]

    def test_an_environment_that_lacks_what_the_code_needs_is_reported_before_the_code_runs(
        self, ship: Ship
    ) -> None:
        context = ship({"ours.py": "raise RuntimeError('imported')\n"})
        requires = {"msgspec": "0.0.1", "no-such-distribution": "1.0", "pluggy": "0.1"}

        with pytest.raises(ConfigurationError) as refused:
            execute_unit(unit("ours:run"), msgspec.structs.replace(context, requires=requires))

        assert [problem.path for problem in refused.value.problems] == sorted(requires)
        assert "pip install 'no-such-distribution==1.0'" in str(refused.value)

    def test_code_that_cannot_be_imported_leaves_nothing(self, ship: Ship) -> None:
        context = ship({"ours.py": "import ours_part\n1 / 0\n", "ours_part.py": ""})

        for _ in range(2):
            with pytest.raises(SourceError, match="ZeroDivisionError"):
                execute_unit(unit("ours:run"), context)


@pytest.mark.usefixtures("meet")
class TestAtTheSameTime:
    def test_units_of_one_version_run_together(self, ship: Ship) -> None:
        context = ship({"ours.py": MET.format(version="one")})
        meeting["both"] = threading.Barrier(2)

        with ThreadPoolExecutor(2) as threads:
            found = [
                threads.submit(execute_unit, unit("ours:run", 10 + n), context) for n in range(2)
            ]

        assert [future.result() for future in found] == ["one", "one"]

    def test_units_of_different_versions_wait_for_each_other(self, ship: Ship) -> None:
        contexts = [ship({"ours.py": MET.format(version=n)}) for n in ("one", "two", "three")]
        meeting["both"] = threading.Barrier(2)

        with ThreadPoolExecutor(8) as threads:
            found = [
                threads.submit(execute_unit, unit("ours:run", 0.02 + n / 1e6), contexts[n % 3])
                for n in range(9)
            ]

        # No unit ever met one of another version; whoever met nobody came to the end of its time.
        kinds = {type(future.exception()) for future in found}
        assert kinds <= {threading.BrokenBarrierError, type(None)}
        answers = [
            (future.result(), n % 3) for n, future in enumerate(found) if not future.exception()
        ]
        assert all(("one", "two", "three")[n] == answer for answer, n in answers)

    def test_nobody_is_overtaken_for_ever(self, ship: Ship) -> None:
        one, two = (ship({"ours.py": MET.format(version=n)}) for n in ("one", "two"))
        meeting["both"] = threading.Event()
        done: list[str] = []

        def run(context: MapContext, number: int) -> None:
            done.append(execute_unit(unit("ours:run", 10 + number), context))

        threads = []
        for number, context in enumerate([one, two, one, one]):
            threads.append(threading.Thread(target=run, args=[context, number]))
            threads[-1].start()
            if number == 0:
                wait_until(lambda: meeting["running"] == ["one"])
            else:
                wait_until(lambda: len(_shipped._turns._waiting) == number)  # noqa: B023
        assert meeting["running"] == ["one"]
        meeting["both"].set()
        for thread in threads:
            thread.join(timeout=30)

        assert meeting["running"] == ["one", "two", "one", "one"]
        assert sorted(done) == ["one", "one", "one", "two"]

    def test_a_unit_that_would_wait_for_itself_is_told(self, ship: Ship) -> None:
        inner = ship({"ours.py": ANSWER.format("inner")})
        outer = ship(
            {
                "ours_outer.py": "import msgspec\n"
                "from zenml.core import MapContext, Unit, execute_unit\n"
                "def run(payload, files):\n"
                "    context = msgspec.json.decode(payload, type=MapContext)\n"
                "    return execute_unit(Unit('ours:run', 1, 'code'), context)\n"
            }
        )

        with pytest.raises(ZenMLError, match="a unit of other code"):
            execute_unit(unit("ours_outer:run", msgspec.json.encode(inner).decode()), outer)

        assert execute_unit(unit("ours:run", 2), inner) == "inner"


class TestUnpacking:
    WORKER = (
        "import sys, msgspec\n"
        "from zenml.core import MapContext, Unit, execute_unit\n"
        "context = msgspec.json.decode(sys.argv[1], type=MapContext)\n"
        "print(execute_unit(Unit('ours:run', sys.argv[2], 'code'), context))\n"
    )

    def start(self, context: MapContext, number: int, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", self.WORKER, msgspec.json.encode(context), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
            text=True,
        )

    def test_many_workers_share_one_folder(self, ship: Ship, cache: Path) -> None:
        files = {f"data/{number}.txt": "x" * 1000 for number in range(200)}
        context = ship({"ours.py": ANSWER.format("done"), **files})

        workers = [self.start(context, number) for number in range(6)]

        said = [worker.communicate(timeout=60) for worker in workers]
        assert said == [("done\n", "")] * 6
        assert os.listdir(cache) == [context.code]

    def test_what_a_worker_left_that_was_killed_half_way_is_in_nobodys_way(
        self, ship: Ship, cache: Path
    ) -> None:
        context = ship({"ours.py": ANSWER.format("done")})
        half = cache / f".{context.code}.123-abc.partial"
        half.mkdir(parents=True)
        (half / "ours.py").write_text("half of")
        os.utime(half, (0, 0))

        assert execute_unit(unit("ours:run"), context) == "done"

        assert os.listdir(cache) == [context.code]

    def test_code_that_was_changed_in_the_folder_is_made_anew(
        self, ship: Ship, cache: Path
    ) -> None:
        context = ship({"ours.py": ANSWER.format("done")})
        assert self.start(context, 1).communicate()[0] == "done\n"
        assert context.code is not None
        (cache / context.code / "ours.py").write_text(ANSWER.format("changed"))

        assert self.start(context, 2).communicate() == ("done\n", "")

        assert os.listdir(cache) == [context.code]

    def test_code_that_somebody_removes_is_unpacked_again(self, ship: Ship, cache: Path) -> None:
        context = ship({"ours.py": ANSWER.format("done")})
        execute_unit(unit("ours:run", 1), context)
        assert context.code is not None
        (cache / context.code).rename(cache / "gone")

        assert execute_unit(unit("ours:run", 2), context) == "done"

    def test_an_archive_that_is_not_the_code_is_refused(
        self, ship: Ship, store: ArtifactStore
    ) -> None:
        context = ship({"ours.py": ANSWER.format("done")})
        other = ship({"ours.py": ANSWER.format("other")})
        store.write(f"code/{context.code}.tar.gz", store.read(f"code/{other.code}.tar.gz"))

        with pytest.raises(StoreError, match="bundle"):
            execute_unit(unit("ours:run"), context)

    def test_a_user_without_a_home_has_a_folder_of_its_own(
        self, ship: Ship, tmp_path: Path
    ) -> None:
        context = ship({"ours.py": ANSWER.format("done")})
        (tmp_path / "tmp").mkdir()
        variables = {
            "XDG_CACHE_HOME": "/proc/nothing",
            "HOME": "/proc/nothing",
            "TMPDIR": str(tmp_path / "tmp"),
        }

        assert self.start(context, 1, **variables).communicate() == ("done\n", "")

        [made] = (tmp_path / "tmp").glob("zenml-*")
        assert made.stat().st_mode & 0o077 == 0

    def test_a_folder_that_anybody_may_write_to_is_not_used(self, ship: Ship, cache: Path) -> None:
        context = ship({"ours.py": ANSWER.format("done")})
        cache.mkdir(parents=True)
        cache.chmod(0o777)

        assert execute_unit(unit("ours:run"), context) == "done"

        assert list(cache.iterdir()) == []


def test_stores_are_opened_where_the_unit_runs(ship: Ship, store: ArtifactStore) -> None:
    context = ship({"ours.py": ANSWER.format("done")})

    execute_unit(unit("ours:run"), context)

    assert open_store(context.store).read(f"{context.scope}/{unit('ours:run').digest}.json")
