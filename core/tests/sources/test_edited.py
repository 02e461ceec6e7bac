"""What runs is what the files say when it is imported, and a session that runs older code says so.

Whole processes that write compiled files. An edit leaves the size and the time of a file as they
were, as one within a second can: Python takes what it compiled of the old text for current.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

OLD, NEW = "A = 'old'\n", "A = 'new'\n"

#: Where a helper is, and what reaches it: ``steps:work``, or the reference that is given.
LAYOUTS: dict[str, tuple[str, dict[str, str], str]] = {
    "a helper": (
        "helper.py",
        {"steps.py": "import helper\ndef work(): return helper.A\n"},
        "steps:work",
    ),
    "the step's own module": (
        "steps.py",
        {},
        "steps:A",
    ),
    "a helper of a helper": (
        "deeper.py",
        {
            "steps.py": "from helper import A\ndef work(): return A\n",
            "helper.py": "from deeper import A\n",
        },
        "steps:work",
    ),
    "a helper that is imported inside the function": (
        "helper.py",
        {"steps.py": "def work():\n    import helper\n    return helper.A\n"},
        "steps:work",
    ),
    "a helper that is imported by its name as text": (
        "helper.py",
        {"steps.py": "import importlib\ndef work(): return importlib.import_module('helper').A\n"},
        "steps:work",
    ),
    "a module of the same package": (
        "package/helper.py",
        {
            "package/__init__.py": "",
            "package/steps.py": "from package.helper import A\ndef work(): return A\n",
        },
        "package.steps:work",
    ),
    "a package itself": (
        "package/__init__.py",
        {"package/steps.py": "import package\ndef work(): return package.A\n"},
        "package.steps:work",
    ),
    "a relative import": (
        "package/inner/helper.py",
        {
            "package/__init__.py": "",
            "package/inner/__init__.py": "",
            "package/steps.py": "from .inner.helper import A\ndef work(): return A\n",
        },
        "package.steps:work",
    ),
    "a namespace package": (
        "space/inner/helper.py",
        {"steps.py": "from space.inner.helper import A\ndef work(): return A\n"},
        "steps:work",
    ),
    "a relative import in a namespace package": (
        "space/helper.py",
        {"space/steps.py": "from .helper import A\ndef work(): return A\n"},
        "space.steps:work",
    ),
}

LOAD = """
    from zenml.core.sources import load
    found = load(sys.argv[1])
    print(found() if callable(found) else found)
"""


class Folder:
    """A folder of a user's files. Its processes write compiled files, whoever runs the tests."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
            os.utime(file, (1e9, 1e9))

    def start(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONSAFEPATH")
        environment = {k: v for k, v in os.environ.items() if k not in unwanted}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def run(self, code: str, *arguments: str, **variables: str) -> str:
        """What a session in the folder prints."""
        script = f"import os, sys\n{textwrap.dedent(code)}"
        answer = self.start("-c", script, *arguments, **variables)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    def compiled(self) -> list[str]:
        return sorted(path.name.partition(".")[0] for path in self.path.rglob("*.pyc"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class TestWhatRuns:
    @pytest.mark.parametrize("before", ["python", "us"])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_it_is_the_source(self, folder: Folder, layout: str, before: str) -> None:
        helper, files, reference = LAYOUTS[layout]
        folder.write({**files, helper: OLD})
        if before == "python":
            module, _, name = reference.partition(":")
            plain = f"import {module} as m; print(m.{name}() if callable(m.{name}) else m.{name})"
            assert folder.run(plain) == "old"
        else:
            assert folder.run(LOAD, reference) == "old"
        compiled = folder.compiled()
        assert Path(helper).stem in compiled
        folder.write({helper: NEW})

        assert folder.run(LOAD, reference) == "new"
        assert folder.compiled() == compiled

    def test_an_edit_back_is_an_edit(self, folder: Folder) -> None:
        folder.write({"steps.py": "import helper\ndef work(): return helper.A\n"})
        for text in (OLD, NEW, OLD):
            folder.write({"helper.py": text})
            assert folder.run(LOAD, "steps:work") == text.split("'")[1]

    def test_it_is_so_for_python_without_us(self, folder: Folder) -> None:
        folder.write({"steps.py": "import helper\ndef work(): return helper.A\n", "helper.py": OLD})
        assert folder.run(LOAD, "steps:work") == "old"
        folder.write({"helper.py": NEW})

        assert folder.run("import helper; print(helper.A)") == "new"

    def test_it_is_so_in_every_thread(self, folder: Folder) -> None:
        folder.write(
            {"steps.py": "def work():\n    import helper\n    return helper.A\n", "helper.py": OLD}
        )
        folder.run("import helper")
        folder.write({"helper.py": NEW})

        assert (
            folder.run(
                """
                from concurrent.futures import ThreadPoolExecutor
                from zenml.core.sources import load
                with ThreadPoolExecutor(8) as pool:
                    print({*pool.map(lambda _: load("steps:work")(), range(64))})
                """
            )
            == "{'new'}"
        )

    def test_processes_that_compile_at_once_do_not_mix(self, folder: Folder) -> None:
        folder.write(
            {
                "steps.py": "import helper\ndef work(): return helper.A\n",
                "helper.py": OLD,
                "many.py": f"""
                    import subprocess, sys
                    child = [sys.executable, "-c", {"import sys" + textwrap.dedent(LOAD)!r}]
                    children = [
                        subprocess.Popen([*child, "steps:work"], stdout=subprocess.PIPE, text=True)
                        for _ in range(4)
                    ]
                    print({{child.communicate()[0].strip() for child in children}})
                """,
            }
        )
        assert folder.start("many.py").stdout == "{'old'}\n"
        folder.write({"helper.py": NEW})

        assert folder.start("many.py").stdout == "{'new'}\n"

    def test_it_is_so_for_a_folder_that_comes_later(self, folder: Folder) -> None:
        folder.write({"lib/steps.py": "from helper import A\n", "lib/helper.py": OLD})
        later = """
            from zenml.core.sources import load
            print(load("steps:A", [os.path.abspath("lib")]))
        """
        folder.run("sys.path.append('lib'); import steps")
        folder.write({"lib/helper.py": NEW})

        assert folder.run(later) == "new"

    def test_it_is_so_for_what_a_script_imports_itself(self, folder: Folder) -> None:
        folder.write(
            {
                "train.py": "from zenml.pipelines import Pipeline\nimport helper\nprint(helper.A)",
                "helper.py": OLD,
            }
        )
        folder.run("import helper")
        folder.write({"helper.py": NEW})

        assert folder.start("train.py").stdout == "new\n"
        assert folder.start("-m", "train").stdout == "new\n"

    def test_it_is_so_for_a_finder_with_a_loader_of_its_own_choice(self, folder: Folder) -> None:
        # As setuptools makes them for editable installs.
        folder.write({"there/steps.py": OLD})
        mapped = textwrap.dedent(
            """
            import importlib.util
            class Finder:
                @classmethod
                def find_spec(cls, name, path=None, target=None):
                    if name == "steps":
                        return importlib.util.spec_from_file_location(name, "there/steps.py")
            sys.meta_path.append(Finder)
            """
        ) + textwrap.dedent(LOAD)
        assert folder.run(mapped, "steps:A") == "old"
        folder.write({"there/steps.py": NEW})

        assert folder.run(mapped, "steps:A") == "new"


class TestWhatStaysAsItIs:
    """Everything about importing that has nothing to do with edits."""

    def test_the_second_import_compiles_nothing(self, folder: Folder) -> None:
        folder.write({"steps.py": "import helper\ndef work(): return helper.A\n", "helper.py": OLD})
        folder.run(LOAD, "steps:work")
        watched = """
            import zenml.core.sources
            from importlib.machinery import SourceFileLoader
            def refuse(self, data, path, **options): raise AssertionError(path)
            SourceFileLoader.source_to_code = refuse
        """

        assert folder.run(textwrap.dedent(watched) + textwrap.dedent(LOAD), "steps:work") == "old"

    def test_nothing_is_written_for_who_wants_that(self, folder: Folder) -> None:
        folder.write({"steps.py": "import helper\ndef work(): return helper.A\n", "helper.py": OLD})

        assert folder.run(LOAD, "steps:work", PYTHONDONTWRITEBYTECODE="1") == "old"
        assert folder.compiled() == []

    def test_compiled_files_may_be_kept_elsewhere(self, folder: Folder, tmp_path: Path) -> None:
        folder.write({"steps.py": "import helper\ndef work(): return helper.A\n", "helper.py": OLD})
        elsewhere = str(tmp_path / "elsewhere")
        assert folder.run(LOAD, "steps:work", PYTHONPYCACHEPREFIX=elsewhere) == "old"
        folder.write({"helper.py": NEW})

        assert folder.run(LOAD, "steps:work", PYTHONPYCACHEPREFIX=elsewhere) == "new"
        assert not list(tmp_path.rglob("__pycache__"))

    def test_a_damaged_compiled_file_is_made_again(self, folder: Folder) -> None:
        folder.write({"steps.py": OLD})
        folder.run(LOAD, "steps:A")
        [compiled] = folder.path.rglob("*.pyc")
        for damaged in (b"", compiled.read_bytes()[:9], b"\0" * 64):
            compiled.write_bytes(damaged)
            assert folder.run(LOAD, "steps:A") == "old"

    def test_installed_code_is_none_of_our_business(self, folder: Folder) -> None:
        folder.write({"lib/site-packages/lib_of_some.py": OLD})
        found = """
            import zenml.pipelines
            sys.path.append(os.path.abspath("lib/site-packages"))
            import lib_of_some
            print(type(lib_of_some.__loader__).__name__)
        """

        assert folder.run(found) == "SourceFileLoader"
        [compiled] = folder.path.rglob("*.pyc")
        assert compiled.read_bytes()[4:8] == bytes(4)

    def test_zip_files_and_compiled_files_alone_are_imported(self, folder: Folder) -> None:
        folder.write({"alone.py": OLD})
        folder.run("import py_compile; py_compile.compile('alone.py', cfile='alone.pyc')")
        (folder.path / "alone.py").unlink()
        with zipfile.ZipFile(folder.path / "zipped.zip", "w") as archive:
            archive.writestr("inside/__init__.py", "from inside.helper import A")
            archive.writestr("inside/helper.py", NEW)
        both = """
            from zenml.core.sources import load
            print(load("alone:A"), load("inside.helper:A", ["zipped.zip"]))
        """

        assert folder.run(both) == "old new"

    def test_files_beside_a_module_are_found(self, folder: Folder) -> None:
        folder.write({"package/__init__.py": "", "package/data.txt": "content"})
        (folder.path / "package" / "data.pyc").write_bytes(b"any")
        read = """
            import zenml.pipelines, importlib.resources, pkgutil
            print(pkgutil.get_data("package", "data.txt"), pkgutil.get_data("package", "data.pyc"))
            print((importlib.resources.files("package") / "data.txt").read_text())
            print(sorted(found.name for found in pkgutil.iter_modules(["."])))
        """

        assert folder.run(read).splitlines() == ["b'content' b'any'", "content", "['package']"]

    def test_source_is_shown_as_it_is_now(self, folder: Folder) -> None:
        folder.write({"helper.py": "def fail():\n    raise ValueError('a')\n"})
        shown = """
            import zenml.pipelines, inspect, traceback
            import helper
            print(inspect.getsource(helper.fail))
            try: helper.fail()
            except ValueError: traceback.print_exc(file=sys.stdout)
        """

        for _ in range(2):  # the second time from the compiled file
            said = folder.run(shown)
            assert said.startswith("def fail():\n    raise ValueError('a')\n")
            assert "helper.py\", line 2, in fail\n    raise ValueError('a')" in said

    @pytest.mark.parametrize("text", ["def broken(:\n", "1 / 0\n", "import nothing_such\n"])
    def test_an_import_that_fails_shows_no_frame_of_ours(self, folder: Folder, text: str) -> None:
        folder.write({"train.py": "import zenml.pipelines\nimport helper\n", "helper.py": text})

        said = folder.start("train.py").stderr

        assert "helper.py" in said
        assert "sources" not in said
        assert "importlib" not in said

    def test_pytest_still_explains_assertions(self, folder: Folder) -> None:
        folder.write(
            {
                "test_it.py": "import zenml.pipelines\nfrom helper import A\n"
                "def test_it():\n    assert A == 'other'\n",
                "helper.py": OLD,
                "conftest.py": "import zenml.pipelines\nimport pytest\n"
                "pytest.register_assert_rewrite('checks')\n",
                "checks.py": "def check(a):\n    assert a == 'third'\n",
                "test_more.py": "from checks import check\ndef test_more(): check('a')\n",
            }
        )

        said = folder.start("-m", "pytest", "-q", "-p", "no:cacheprovider").stdout

        assert "AssertionError: assert 'old' == 'other'" in said
        assert "AssertionError: assert 'a' == 'third'" in said


#: In a session: ask whether what is loaded is what the files say; the place and words if not.
CHECK = """
    from zenml.core.errors import SourceChangedError, SourceError
    from zenml.core.sources import load, refuse_edited
    def check(name="steps:work"):
        try:
            refuse_edited(load(name), name)
            print("fine")
        except SourceChangedError as error:
            print(error.message, "|", error.where, "|", error.remedy)
    def write(name, text):
        with open(name, "w") as file: file.write(text)
        os.utime(name, (1e9, 1e9))
"""


FILES = {
    "steps.py": "import helper\ndef work(): return helper.A\ndef other(): return 1\n",
    "helper.py": OLD,
}


class TestSessionsThatRunOldCode:
    def session(self, folder: Folder, code: str, first: str = "", **files: str) -> list[str]:
        folder.write({**FILES, **files})
        said = folder.run(
            "\n".join(map(textwrap.dedent, (first, CHECK, code)))  # one after the other
        )
        return said.splitlines()

    @pytest.mark.parametrize(
        "first", ["", "import helper", "import steps", "import zenml.pipelines, steps"]
    )
    def test_a_helper_that_was_edited_after_its_import_is_refused(
        self, folder: Folder, first: str
    ) -> None:
        said = self.session(folder, f"check(); write('helper.py', {NEW!r}); check()", first)

        fine, refused = said
        assert fine == "fine"
        assert "helper was edited after it was imported" in refused
        assert str(folder.path / "helper.py") in refused
        assert "restart the session" in refused
        assert "importlib.reload(helper)" in refused

    def test_it_is_fine_once_it_is_loaded_again(self, folder: Folder) -> None:
        said = self.session(
            folder,
            f"""
            import importlib, helper
            check()
            write("helper.py", {NEW!r})
            importlib.reload(helper)
            check()
            print(load("steps:work")())
            """,
        )

        assert said == ["fine", "fine", "new"]

    def test_it_is_fine_once_it_is_as_it_was(self, folder: Folder) -> None:
        said = self.session(
            folder,
            f"check(); write('helper.py', {NEW!r}); check(); write('helper.py', {OLD!r}); check()",
        )

        assert (said[0], said[2]) == ("fine", "fine")
        assert said[1] != "fine"

    def test_it_is_fine_before_it_is_imported(self, folder: Folder) -> None:
        said = self.session(
            folder,
            f"check(); write('helper.py', {NEW!r}); check(); print(load('steps:work')())",
            **{"steps.py": "def work():\n    import helper\n    return helper.A\n"},
        )

        assert said == ["fine", "fine", "new"]

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("helper.py", f"# a comment\n{OLD}"),
            ("steps.py", FILES["steps.py"].replace("return 1", "return 2")),
            ("unrelated.py", NEW),
        ],
        ids=["a comment", "another step of the same file", "a file that it does not reach"],
    )
    def test_what_does_not_count_may_be_edited(self, folder: Folder, file: str, text: str) -> None:
        said = self.session(
            folder,
            f"import unrelated; check(); write({file!r}, {text!r}); check()",
            **{"unrelated.py": OLD},
        )

        assert said == ["fine", "fine"]

    @pytest.mark.parametrize(
        "text", ["def work(): return 3\n", "def renamed(): return 3\ndef work(): return renamed()"]
    )
    def test_the_step_itself_counts(self, folder: Folder, text: str) -> None:
        said = self.session(folder, f"check(); write('steps.py', {text!r}); check()")

        assert said[0] == "fine"
        assert "steps was edited after it was imported" in said[1]

    @pytest.mark.parametrize("first", ["import package.helper", ""])
    def test_modules_of_packages_count(self, folder: Folder, first: str) -> None:
        said = self.session(
            folder,
            f"check('package.steps:work'); write('package/helper.py', {NEW!r})\n"
            "check('package.steps:work')",
            first,
            **{
                "package/__init__.py": "",
                "package/helper.py": OLD,
                "package/steps.py": "from .helper import A\ndef work(): return A\n",
            },
        )

        assert said[0] == "fine"
        assert "package.helper was edited after it was imported" in said[1]

    def test_a_script_that_is_edited_while_it_runs_is_refused(self, folder: Folder) -> None:
        folder.write(
            {
                "train.py": textwrap.dedent(CHECK)
                + "import os, sys\ndef work(): return 1\nrefuse_edited(work, 'train:work')\n"
                "text = open('train.py').read().replace('work(): return 1', 'work(): return 2')\n"
                "write('train.py', text)\n"
                "try: refuse_edited(work, 'train:work')\n"
                "except SourceChangedError as error: print(error.message)\n"
            }
        )

        said = folder.start("train.py")

        assert said.stdout.startswith("train was edited after it was imported"), said.stderr

    def test_one_that_ran_an_old_compiled_file_before_we_were_there_is_told(
        self, folder: Folder
    ) -> None:
        folder.write(FILES)
        folder.run("import helper")
        folder.write({"helper.py": NEW})
        told = f"import helper\n{textwrap.dedent(CHECK)}\ncheck()\nprint(load('steps:work')())"

        refused, ran = folder.run(told).splitlines()

        assert ran == "old"
        message, where, remedy = refused.split(" | ")
        assert message == "helper was loaded from a compiled file that is older than its source"
        assert "remove that file" in remedy
        Path(where).unlink()
        assert folder.run(told).splitlines() == ["fine", "new"]

    @pytest.mark.parametrize("text", ["A = 1e999 - 1e999\n", "A = 'a' in {'a', 'b', 'c', 'd'}\n"])
    def test_one_that_ran_a_current_one_is_not(self, folder: Folder, text: str) -> None:
        folder.write({**FILES, "helper.py": text})
        for _ in range(3):
            assert folder.run(f"import helper\n{textwrap.dedent(CHECK)}\ncheck()") == "fine"

    def test_the_check_reads_nothing_that_it_has_read(self, folder: Folder) -> None:
        said = self.session(
            folder,
            """
            check()
            import builtins
            def refuse(*_, **__): raise AssertionError
            builtins.open = refuse
            check()
            """,
        )

        assert said == ["fine", "fine"]


def test_a_closure_follows_an_edit_that_leaves_size_and_time(folder: Folder) -> None:
    folder.write(FILES)

    digests: Any = folder.run(
        f"""
        import json
        from zenml.core.sources import closure_of, load
        found = []
        for text in ({OLD!r}, {NEW!r}, {OLD!r}):
            with open("helper.py", "w") as file: file.write(text)
            os.utime("helper.py", (1e9, 1e9))
            found.append(closure_of(load("steps:work"), "steps:work").digest)
        print(json.dumps(found))
        """
    )

    first, second, third = json.loads(digests)
    assert first == third
    assert first != second
