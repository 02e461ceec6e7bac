"""What belongs to a step's code, so that a change of it is a change of the step; and what does not.

Each case is a source tree and an edit of it. ``steps:work`` is the step.
"""

from __future__ import annotations

import os
import py_compile
from pathlib import Path
from typing import Any

import pytest

from zenml.core.errors import SourceError

STEP = "def work(): return helper.answer()\n"

#: Edits that could change what the step returns.
COUNTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "the step's own body": (
        {"steps.py": "def work(): return 1"},
        {"steps.py": "def work(): return 2"},
    ),
    "a helper module": (
        {"steps.py": "import helper\n" + STEP, "helper.py": "def answer(): return 1"},
        {"helper.py": "def answer(): return 2"},
    ),
    "a helper of a helper": (
        {
            "steps.py": "import helper\n" + STEP,
            "helper.py": "from deeper import answer",
            "deeper.py": "def answer(): return 1",
        },
        {"deeper.py": "def answer(): return 2"},
    ),
    "a helper that is imported inside the function": (
        {
            "steps.py": "def work():\n    import helper\n    return helper.answer()",
            "helper.py": "def answer(): return 1",
        },
        {"helper.py": "def answer(): return 2"},
    ),
    "a helper that is imported with a star": (
        {
            "steps.py": "from helper import *\ndef work(): return answer()",
            "helper.py": "def answer(): return 1",
        },
        {"helper.py": "def answer(): return 2"},
    ),
    "a helper with a star whose name hides a builtin": (
        {
            "steps.py": "from helper import *\ndef work(): return sum([1])",
            "helper.py": "def sum(_): return 1",
        },
        {"helper.py": "def sum(_): return 2"},
    ),
    "a helper that is imported if it is there": (
        {
            "steps.py": "try:\n    import helper\nexcept ImportError:\n    helper = None\n" + STEP,
            "helper.py": "def answer(): return 1",
        },
        {"helper.py": "def answer(): return 2"},
    ),
    "a helper that appears": (
        {"steps.py": "try:\n    import helper\nexcept ImportError:\n    helper = None\n" + STEP},
        {"helper.py": "def answer(): return 2"},
    ),
    "a helper that is imported by its name as text": (
        {
            "steps.py": "import importlib\ndef work(): return importlib.import_module('helper')",
            "helper.py": "A = 1",
        },
        {"helper.py": "A = 2"},
    ),
    "a helper for everybody but type checkers": (
        {
            "steps.py": "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n"
            "    import helper\n" + STEP,
            "helper.py": "def answer(): return 1",
        },
        {"helper.py": "def answer(): return 2"},
    ),
    "a helper's name": (
        {"steps.py": "import helper\n" + STEP, "helper.py": "def answer(): return 1"},
        {
            "steps.py": "import other as helper\n" + STEP,
            "other.py": "def answer(): return 1",
        },
    ),
    "a submodule that is imported from its package": (
        {
            "steps.py": "from package import helper\n" + STEP,
            "package/__init__.py": "",
            "package/helper.py": "def answer(): return 1",
        },
        {"package/helper.py": "def answer(): return 2"},
    ),
    "a helper in the __init__ of a package": (
        {
            "steps.py": "from package import answer\ndef work(): return answer()",
            "package/__init__.py": "def answer(): return 1",
        },
        {"package/__init__.py": "def answer(): return 2"},
    ),
    "what the __init__ of a package has from elsewhere": (
        {
            "steps.py": "import package.other\ndef work(): return package.answer()",
            "package/__init__.py": "from package._inner import answer",
            "package/_inner.py": "def answer(): return 1",
            "package/other.py": "",
        },
        {"package/_inner.py": "def answer(): return 2"},
    ),
    "a module that a relative import reaches": (
        {
            "steps.py": "from package.outer import answer\ndef work(): return answer()",
            "package/__init__.py": "",
            "package/outer.py": "from .inner.core import answer",
            "package/inner/__init__.py": "",
            "package/inner/core.py": "from ..base import answer",
            "package/base.py": "def answer(): return 1",
        },
        {"package/base.py": "def answer(): return 2"},
    ),
    "a module that a namespace package holds": (
        {
            "steps.py": "from space.helper import answer\ndef work(): return answer()",
            "space/helper.py": "def answer(): return 1",
        },
        {"space/helper.py": "def answer(): return 2"},
    ),
    "one of two modules of the same name in different namespaces": (
        {
            "steps.py": "import one.helper, two.helper\n"
            "def work(): return one.helper.A + two.helper.A",
            "one/helper.py": "A = 1",
            "two/helper.py": "A = 1",
        },
        {"one/helper.py": "A = 2"},
    ),
    "the other of two modules of the same name in different namespaces": (
        {
            "steps.py": "import one.helper, two.helper\n"
            "def work(): return one.helper.A + two.helper.A",
            "one/helper.py": "A = 1",
            "two/helper.py": "A = 1",
        },
        {"two/helper.py": "A = 2"},
    ),
    "modules that import each other": (
        {
            "steps.py": "import helper\n" + STEP,
            "helper.py": "import other\ndef answer(): return other.A",
            "other.py": "import helper\nA = 1",
        },
        {"other.py": "import helper\nA = 2"},
    ),
    "a module that has the name of one of Python's own": (
        {"steps.py": "import profile\ndef work(): return profile.A", "profile.py": "A = 1"},
        {"profile.py": "A = 2"},
    ),
    "a base class in another module": (
        {
            "steps.py": "from base import Base\nclass work(Base): pass",
            "base.py": "class Base:\n    limit = 1",
        },
        {"base.py": "class Base:\n    limit = 2"},
    ),
    "a decorator": (
        {"steps.py": "def twice(f): return f\n@twice\ndef work(): return 1"},
        {"steps.py": "def twice(f): return lambda: 2 * f()\n@twice\ndef work(): return 1"},
    ),
    "a constant of the module": (
        {"steps.py": "LIMIT = 1\ndef work(): return LIMIT"},
        {"steps.py": "LIMIT = 2\ndef work(): return LIMIT"},
    ),
    "a constant that another constant is made of": (
        {"steps.py": "A = 1\nLIMIT = A + 1\ndef work(): return LIMIT"},
        {"steps.py": "A = 2\nLIMIT = A + 1\ndef work(): return LIMIT"},
    ),
    "a default argument": (
        {"steps.py": "LIMIT = 1\ndef work(limit=LIMIT): return limit"},
        {"steps.py": "LIMIT = 2\ndef work(limit=LIMIT): return limit"},
    ),
    "a function in a dictionary": (
        {"steps.py": "def f(): return 1\nTABLE = {'f': f}\ndef work(): return TABLE['f']()"},
        {"steps.py": "def f(): return 2\nTABLE = {'f': f}\ndef work(): return TABLE['f']()"},
    ),
    "a lambda in a constant": (
        {"steps.py": "double = lambda x: x * 2\ndef work(): return double(1)"},
        {"steps.py": "double = lambda x: x * 3\ndef work(): return double(1)"},
    ),
    "a nested function": (
        {"steps.py": "def work():\n    def inner(): return 1\n    return inner()"},
        {"steps.py": "def work():\n    def inner(): return 2\n    return inner()"},
    ),
    "a dataclass": (
        {"steps.py": "@dataclass\nclass Row:\n    a: int = 1\ndef work(): return Row()"},
        {"steps.py": "@dataclass\nclass Row:\n    a: int = 2\ndef work(): return Row()"},
    ),
    "a method call that changes a constant": (
        {"steps.py": "CONFIG = {}\nCONFIG.update(a=1)\ndef work(): return CONFIG"},
        {"steps.py": "CONFIG = {}\nCONFIG.update(a=2)\ndef work(): return CONFIG"},
    ),
    "a method call that changes a constant in a loop": (
        {"steps.py": "C = []\nfor n in (1, 2):\n    C.append(n)\ndef work(): return C"},
        {"steps.py": "C = []\nfor n in (1, 3):\n    C.append(n)\ndef work(): return C"},
    ),
    "a function call that changes a constant": (
        {"steps.py": "def fill(c): c['a'] = 1\nC = {}\nfill(C)\ndef work(): return C"},
        {"steps.py": "def fill(c): c['a'] = 2\nC = {}\nfill(C)\ndef work(): return C"},
    ),
    "an item that is set": (
        {"steps.py": "C = {}\nC['a'] = 1\ndef work(): return C"},
        {"steps.py": "C = {}\nC['a'] = 2\ndef work(): return C"},
    ),
    "an item that is removed": (
        {"steps.py": "C = {'a': 1, 'b': 2}\ndel C['a']\ndef work(): return C"},
        {"steps.py": "C = {'a': 1, 'b': 2}\ndel C['b']\ndef work(): return C"},
    ),
    "a function that rebinds a global": (
        {"steps.py": "def setup():\n    global L\n    L = 1\nsetup()\ndef work(): return L"},
        {"steps.py": "def setup():\n    global L\n    L = 2\nsetup()\ndef work(): return L"},
    ),
    "what only a run of the script binds, if the step reads it": (
        {"steps.py": "def work(): return L\nif __name__ == '__main__':\n    L = 1"},
        {"steps.py": "def work(): return L\nif __name__ == '__main__':\n    L = 2"},
    ),
    "one branch of a conditional definition": (
        {"steps.py": "import sys\nif sys.argv:\n    L = 1\nelse:\n    L = 1\ndef work(): return L"},
        {"steps.py": "import sys\nif sys.argv:\n    L = 1\nelse:\n    L = 2\ndef work(): return L"},
    ),
    "a name that a comprehension uses besides binding another of that name": (
        {"steps.py": "n = 1\ndef work(): return [n for n in range(3)], n"},
        {"steps.py": "n = 2\ndef work(): return [n for n in range(3)], n"},
    ),
    "a name in a string template": (
        {"steps.py": "def work(): return f'{1:>3}'"},
        {"steps.py": "def work(): return f'{1:>4}'"},
    ),
    "a docstring, which a step can read": (
        {"steps.py": "def work():\n    '''one'''\n    return work.__doc__"},
        {"steps.py": "def work():\n    '''two'''\n    return work.__doc__"},
    ),
    "the constant None for the constant 0": (
        {"steps.py": "def work(): return None"},
        {"steps.py": "def work(): return 0"},
    ),
    "an equal number of another type": (
        {"steps.py": "def work(): return 1"},
        {"steps.py": "def work(): return 1.0"},
    ),
}

#: Edits that cannot.
DOES_NOT_COUNT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "a comment": (
        {"steps.py": "def work(): return 1"},
        {"steps.py": "# a comment\ndef work(): return 1  # another"},
    ),
    "formatting": (
        {"steps.py": "def work(): return f(1, 'a')\ndef f(x, y): return x"},
        {
            "steps.py": 'def work():\n\n    return f(\n        1, "a"\n    )\n\n'
            "def f(x, y): return x"
        },
    ),
    "a comment in a helper": (
        {"steps.py": "import helper\n" + STEP, "helper.py": "def answer(): return 1"},
        {"helper.py": "# a comment\n\n\ndef answer():\n    return 1\n"},
    ),
    "a type comment and the prefix of a string": (
        {"steps.py": "def work():\n    x = 'a'\n    return x"},
        {"steps.py": "def work():\n    x = u'a'  # type: str\n    return x"},
    ),
    "another step of the same script": (
        {"steps.py": "def work(): return 1\ndef other(): return 1"},
        {"steps.py": "def work(): return 1\ndef other(): return 2"},
    ),
    "a constant that the step does not reach": (
        {"steps.py": "A = 1\nB = 1\ndef work(): return A"},
        {"steps.py": "A = 1\nB = 2\ndef work(): return A"},
    ),
    "an import that the step does not reach": (
        {"steps.py": "import helper\ndef work(): return 1", "helper.py": "A = 1"},
        {"helper.py": "A = 2"},
    ),
    "one of several imported names that the step does not reach": (
        {
            "steps.py": "from package import one, two\ndef work(): return one.A",
            "package/__init__.py": "",
            "package/one.py": "A = 1",
            "package/two.py": "A = 1",
        },
        {"package/two.py": "A = 2"},
    ),
    "a module that only type checkers import": (
        {
            "steps.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from helper import Row\ndef work(row: 'Row'): return 1",
            "helper.py": "class Row: pass",
        },
        {"helper.py": "class Row:\n    a: int"},
    ),
    "the pipeline that the script joins its steps to": (
        {
            "steps.py": "from zenml.pipelines import Pipeline\ndef work(values): return values\n"
            "pipeline = Pipeline('a')\nvalues = pipeline.add_step(work())\npipeline.run()"
        },
        {
            "steps.py": "from zenml.pipelines import Pipeline\ndef work(values): return values\n"
            "pipeline = Pipeline('b')\nvalues = pipeline.add_step(work(), inputs={'values': 'x'})\n"
            "pipeline.add_step(work(), 'again')\nresult = pipeline.run()\nprint(result)"
        },
    ),
    "the block that only a run of the script executes": (
        {"steps.py": "def work(): return 1\nif __name__ == '__main__':\n    print(work())"},
        {"steps.py": "def work(): return 1\nif __name__ == '__main__':\n    print('x', work())"},
    ),
    "a variable of the script with the name of one of the step's own": (
        {
            "steps.py": "def work(rows):\n    n = len(rows)\n    return [n for row in rows]\n"
            "n = 1\nrow = 1"
        },
        {
            "steps.py": "def work(rows):\n    n = len(rows)\n    return [n for row in rows]\n"
            "n = 2\nrow = 2"
        },
    ),
    "a variable of the script with the name of a parameter": (
        {
            "steps.py": "class work:\n    limit: int = 1\n    def run(self): return self.limit\n"
            "limit = 1"
        },
        {
            "steps.py": "class work:\n    limit: int = 1\n    def run(self): return self.limit\n"
            "limit = 2"
        },
    ),
    "a file that nothing imports": (
        {"steps.py": "def work(): return 1", "other.py": "A = 1"},
        {"other.py": "A = 2"},
    ),
}


def _digests(sources: Any, before: dict[str, str], after: dict[str, str]) -> tuple[str, str]:
    sources.write(before)
    first = sources.closure().digest
    sources.replace({**before, **after})
    return first, sources.closure().digest


@pytest.mark.parametrize(("before", "after"), COUNTS.values(), ids=COUNTS)
def test_a_change_counts(sources: Any, before: dict[str, str], after: dict[str, str]) -> None:
    first, second = _digests(sources, before, after)

    assert first != second


@pytest.mark.parametrize(("before", "after"), DOES_NOT_COUNT.values(), ids=DOES_NOT_COUNT)
def test_a_change_does_not_count(
    sources: Any, before: dict[str, str], after: dict[str, str]
) -> None:
    first, second = _digests(sources, before, after)

    assert first == second


def test_a_helper_without_source_counts_by_its_bytes(sources: Any) -> None:
    digests = []
    for number in (1, 2):
        sources.replace({"steps.py": "import helper\n" + STEP, "source.txt": f"A = {number}"})
        compiled = sources.folder / "helper.pyc"
        py_compile.compile(str(sources.folder / "source.txt"), str(compiled), doraise=True)
        digests.append(sources.closure().digest)

    assert digests[0] != digests[1]


def test_the_same_code_in_another_folder_has_the_same_digest(
    sources: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"steps.py": "import helper\n" + STEP, "helper.py": "def answer(): return 1"}
    sources.write(files)
    first = sources.closure().digest
    elsewhere = type(sources)(sources.folder.parent / "with a space, a colon: and ü")
    elsewhere.write(files)
    monkeypatch.syspath_prepend(str(elsewhere.folder))

    assert elsewhere.closure().digest == first


def test_the_same_code_behind_a_link_has_the_same_digest(
    sources: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources.write({"steps.py": "import helper\n" + STEP, "helper.py": "def answer(): return 1"})
    first = sources.closure().digest
    link = sources.folder.parent / "link"
    link.symlink_to(sources.folder)
    monkeypatch.syspath_prepend(str(link))

    assert type(sources)(link).closure().digest == first


def test_a_script_with_a_hyphen_in_its_name_has_a_closure(sources: Any) -> None:
    sources.write({"my-train.py": "def work(): return 1"})

    assert list(sources.closure("my-train:work").modules) == ["my-train:work"]


def test_a_step_inside_a_class_is_found_by_the_outermost_name(sources: Any) -> None:
    sources.write({"steps.py": "class Outer:\n    class work: pass"})

    assert list(sources.closure("steps:Outer.work").modules) == ["steps:Outer.work"]


def test_a_syntax_error_in_a_helper_names_the_file_and_the_line(sources: Any) -> None:
    sources.write({"steps.py": "import helper\n" + STEP, "helper.py": "A = 1\ndef broken(:\n"})

    with pytest.raises(SourceError, match="line 2") as caught:
        sources.closure()

    assert caught.value.where == str(sources.folder / "helper.py")


def test_a_step_that_no_statement_defines_is_refused(sources: Any) -> None:
    sources.write({"steps.py": "globals()['work'] = print"})

    with pytest.raises(SourceError, match="not defined at the top level") as caught:
        sources.closure()

    assert "'class' or 'def'" in str(caught.value.remedy)


def test_an_edit_is_seen_in_the_same_process(sources: Any) -> None:
    sources.write({"steps.py": "import helper\n" + STEP, "helper.py": "def answer(): return 1"})
    first = sources.closure().digest
    changed = sources.folder / "helper.py"
    changed.write_text("def answer(): return 2")
    # As an editor would leave it: a file system with a coarse clock must not matter here.
    os.utime(changed, ns=(1, changed.stat().st_mtime_ns + 10**9))

    assert sources.closure().digest != first


class TestInstalledDistributions:
    """Installed code counts by its version; a user's own by its text."""

    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "lib" / "site-packages"
        folder.mkdir(parents=True)
        monkeypatch.syspath_prepend(str(folder))
        return folder

    @staticmethod
    def install(site: Path, version: str, text: str = "A = 1") -> None:
        for old in site.glob("some_lib-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        (site / "lib_of_some").mkdir(exist_ok=True)
        (site / "lib_of_some" / "__init__.py").write_text(text)
        info = site / f"some_lib-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: some-lib\nVersion: {version}\n")
        (info / "RECORD").write_text("lib_of_some/__init__.py,,\n")

    def test_its_version_is_part_of_the_closure(self, sources: Any, site: Path) -> None:
        self.install(site, "1.0")
        sources.write({"steps.py": "import lib_of_some\ndef work(): return lib_of_some.A"})

        assert sources.closure().distributions == {"some-lib": "1.0"}

    def test_a_new_version_counts(self, sources: Any, site: Path) -> None:
        self.install(site, "1.0")
        sources.write({"steps.py": "from lib_of_some import A\ndef work(): return A"})
        first = sources.closure().digest
        self.install(site, "1.1")

        assert sources.closure().digest != first

    def test_one_that_only_another_step_imports_does_not_count(
        self, sources: Any, site: Path
    ) -> None:
        self.install(site, "1.0")
        sources.write(
            {"steps.py": "import lib_of_some\ndef other(): lib_of_some\ndef work(): return 1"}
        )

        assert sources.closure().distributions == {}

    def test_one_that_a_helper_imports_counts(self, sources: Any, site: Path) -> None:
        self.install(site, "1.0")
        sources.write({"steps.py": "import helper\n" + STEP, "helper.py": "import lib_of_some"})

        assert sources.closure().distributions == {"some-lib": "1.0"}

    def test_one_that_is_gone_leaves_the_closure(self, sources: Any, site: Path) -> None:
        sources.write(
            {
                "steps.py": "try: import lib_of_some\nexcept ImportError: pass\n"
                "def work(): return lib_of_some"
            }
        )

        assert sources.closure().distributions == {}

    def test_a_file_that_no_distribution_claims_counts_by_its_bytes(
        self, sources: Any, site: Path
    ) -> None:
        (site / "stray.py").write_text("A = 1")
        sources.write({"steps.py": "import stray\ndef work(): return stray.A"})
        first = sources.closure().digest
        (site / "stray.py").write_text("A = 2")

        assert sources.closure().digest != first


def test_the_core_counts_by_its_api_version(sources: Any) -> None:
    sources.write({"steps.py": "from zenml.pipelines import Step\nclass work(Step): pass"})

    assert sources.closure().distributions == {"zenml-core": "api 1"}
