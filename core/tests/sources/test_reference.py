"""Naming what a step is made of, and loading it by that name."""

from __future__ import annotations

import code
import functools
import importlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from zenml.core import step
from zenml.core.errors import SourceError, SourceNotImportableError
from zenml.core.sources import import_roots, load, reference, run_until_pipeline


def function(payload: Any, files: Any) -> Any:
    return payload


class Outer:
    class Inner:
        pass

    def method(self) -> None: ...


@step
def decorated() -> int:
    return 1


renamed = step(kind="training")(decorated.function)


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Imports and path as they were."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    before, main = set(sys.modules), sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
    for name in set(sys.modules) - before:
        del sys.modules[name]


class TestReference:
    @pytest.mark.parametrize("found", [function, Outer, Outer.Inner, decorated])
    def test_what_a_module_defines_is_named_and_loaded_again(self, found: Any) -> None:
        assert load(reference(found)) is found

    def test_what_a_function_defines_is_refused(self) -> None:
        class Local:
            pass

        with pytest.raises(SourceNotImportableError, match="inside a function") as caught:
            reference(Local)

        assert "top level" in str(caught.value.remedy)

    def test_a_lambda_is_refused(self) -> None:
        with pytest.raises(SourceNotImportableError, match="inside a function"):
            reference(lambda: 1)

    def test_a_partial_function_is_refused(self) -> None:
        with pytest.raises(SourceNotImportableError, match="has no name"):
            reference(functools.partial(function, 1))

    def test_a_bound_method_is_refused(self) -> None:
        with pytest.raises(SourceNotImportableError, match="is not the object"):
            reference(Outer().method)

    def test_a_second_step_of_one_function_is_refused(self) -> None:
        # Its name names the first: what was planned would not be what ran.
        with pytest.raises(SourceNotImportableError, match=r"'decorated' .* is not the object"):
            reference(renamed)

    def test_what_an_interpreter_defines_is_refused_and_told_what_to_do(self) -> None:
        session: dict[str, Any] = {"__name__": "__console__"}
        code.InteractiveInterpreter(session).runsource("def work(): return 1", symbol="exec")

        with pytest.raises(SourceNotImportableError, match="interactive session") as caught:
            reference(session["work"])

        assert "from steps import work" in str(caught.value.remedy)


class TestImportRoots:
    def test_a_module_of_a_package_is_imported_from_above_the_package(self, tmp_path: Path) -> None:
        self._write(tmp_path, "package_a/__init__.py", "package_a/inner.py")
        sys.path.insert(0, str(tmp_path))

        assert import_roots(importlib.import_module("package_a.inner").Thing) == [str(tmp_path)]

    def test_a_module_of_a_namespace_package_too(self, tmp_path: Path) -> None:
        self._write(tmp_path, "space_a/inner.py")
        sys.path.insert(0, str(tmp_path))

        assert import_roots(importlib.import_module("space_a.inner").Thing) == [str(tmp_path)]

    def test_a_package_is_imported_from_above_itself(self, tmp_path: Path) -> None:
        self._write(tmp_path, "package_b/__init__.py")
        sys.path.insert(0, str(tmp_path))

        assert import_roots(importlib.import_module("package_b").Thing) == [str(tmp_path)]

    @staticmethod
    def _write(folder: Path, *names: str) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("class Thing: pass\n")


class TestLoad:
    def test_a_module_is_found_in_the_given_roots(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere.py").write_text("A = 1\n")

        assert load("elsewhere:A", [str(tmp_path)]) == 1

    def test_a_module_that_is_not_there_says_where_it_was_looked_for(self) -> None:
        with pytest.raises(SourceError, match="No module named 'nowhere'") as caught:
            load("nowhere:A")

        assert "from the folder that the module is in" in str(caught.value.remedy)

    def test_no_thread_sees_half_a_module(self, tmp_path: Path) -> None:
        # Long enough for the other threads to get their turns before the name is bound.
        (tmp_path / "halves.py").write_text("for _ in range(1_000_000): pass\nA = 1\n")
        barrier = threading.Barrier(8)

        def find(_: int) -> Any:
            barrier.wait()
            return load("halves:A", [str(tmp_path)])

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(find, range(8))) == [1] * 8

    def test_a_name_that_is_not_there_says_in_which_file(self, tmp_path: Path) -> None:
        (tmp_path / "without.py").write_text("A = 1\n")

        with pytest.raises(SourceError, match="has no 'B'") as caught:
            load("without:B", [str(tmp_path)])

        assert caught.value.where == str(tmp_path / "without.py")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def broken(:\n", "SyntaxError"),
            ("1 / 0\n", "ZeroDivisionError"),
            ("from os import nothing_such\n", "ImportError"),
            ("raise SystemExit(3)\n", "SystemExit: 3"),
        ],
        ids=["syntax", "error", "import", "exit"],
    )
    def test_a_module_that_cannot_be_imported_says_why_and_at_which_line(
        self, tmp_path: Path, text: str, said: str
    ) -> None:
        (tmp_path / "cannot.py").write_text("\n" + text)

        with pytest.raises(SourceError, match=said) as caught:
            load("cannot:A", [str(tmp_path)])

        assert caught.value.where == f"{tmp_path / 'cannot.py'}:2"
        assert "cannot" not in sys.modules

    def test_a_script_is_imported_up_to_the_line_that_runs_its_pipeline(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "unguarded.py").write_text(
            "from zenml.pipelines import Pipeline\nA = 1\nPipeline('p').run()\nB = 2\n"
        )

        assert load("unguarded:A", [str(tmp_path)]) == 1
        with pytest.raises(SourceError, match="has no 'B'") as caught:
            load("unguarded:B", [str(tmp_path)])
        assert "__main__" in str(caught.value.remedy)


class TestRunUntilPipeline:
    def test_it_stops_where_the_pipeline_would_run(self, tmp_path: Path) -> None:
        (tmp_path / "train.py").write_text(
            "import sys\nfrom zenml.pipelines import Pipeline\n"
            "Pipeline(sys.argv[1]).run(artifact_store='there')\n"
            "raise AssertionError('went on')\n"
        )

        found = run_until_pipeline(str(tmp_path / "train.py"), ["a name"])

        assert found is not None
        assert found[0].name == "a name"
        assert found[1]["artifact_store"] == "there"

    def test_a_script_without_a_pipeline_gives_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "train.py").write_text("A = 1\n")

        assert run_until_pipeline(str(tmp_path / "train.py")) is None

    def test_a_script_that_ends_itself_well_gives_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "train.py").write_text("raise SystemExit(0)\n")

        assert run_until_pipeline(str(tmp_path / "train.py")) is None

    def test_a_script_keeps_its_exit_code(self, tmp_path: Path) -> None:
        (tmp_path / "train.py").write_text("raise SystemExit(3)\n")

        with pytest.raises(SystemExit) as caught:
            run_until_pipeline(str(tmp_path / "train.py"))

        assert caught.value.code == 3

    def test_the_script_is_compiled_as_python_would(self, tmp_path: Path) -> None:
        # The module that runs it has future imports; they are not the script's.
        (tmp_path / "train.py").write_text(
            "def f(a: int): ...\nassert f.__annotations__ == {'a': int}, f.__annotations__\n"
        )

        assert run_until_pipeline(str(tmp_path / "train.py")) is None

    @pytest.mark.parametrize("content", [b"def (:\n", b"\xff\xfe", b"a\0b"])
    def test_what_is_not_python_names_the_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "train.py").write_bytes(content)

        with pytest.raises(SourceError, match="cannot be read") as caught:
            run_until_pipeline(str(tmp_path / "train.py"))

        assert caught.value.where == str(tmp_path / "train.py")
