"""``pytest --conformance-json``: what became of each case, in a file that is whole or untouched."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from zenml.core.errors import DataError
from zenml.core.testing import Project
from zenml.core.testing._results import read_results

HEAD = """
import pytest
from zenml.core.testing._cases import Conformance, Subject, case

class Kit(Conformance):
    kind = "processing"

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls):
        return Subject(cls.kind, "tiny", "acme-zenml", "1.2", frozenset({"b", "a"}))
"""


class Session:
    """Sessions of pytest in a folder, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder / "project")
        self.folder = self.project.folder
        self.file = folder / "results.json"

    def write(self, name: str, source: str) -> None:
        (self.folder / name).write_text(source, encoding="utf-8")

    def run(self, cases: str, *arguments: str):
        """Run a suite that has these cases, with warnings as errors."""
        self.write("test_tiny.py", f"{HEAD}\nclass TestTiny(Kit):\n{_indented(cases)}")
        return self.pytest(f"--conformance-json={self.file}", *arguments)

    def pytest(self, *arguments: str):
        fixed = ("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir=.")
        return self.project.run(*fixed, *arguments)

    @property
    def suites(self):
        return json.loads(self.file.read_text(encoding="utf-8"))["suites"]

    @property
    def cases(self):
        """The only suite's cases: name to result and reason."""
        [suite] = self.suites
        return {case["name"]: (case["result"], case.get("reason", "")) for case in suite["cases"]}


def _indented(cases: str) -> str:
    return textwrap.indent(textwrap.dedent(cases), "    ")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def test_every_end_of_a_case_is_recorded(session):
    done = session.run("""
        @case()
        def test_passes(self):
            pass

        @case()
        def test_fails(self):
            assert 1 == 2, "one is not two"

        @case()
        def test_fails_in_words(self):
            pytest.fail("in words\\nand more of them")

        @case()
        def test_raises(self):
            raise ValueError("no good")

        @case()
        def test_is_skipped(self):
            pytest.skip("not here")

        @case(needs="a")
        def test_can(self):
            pass

        @case(needs="c")
        def test_cannot(self):
            raise AssertionError

        @case(needs="c", otherwise="skip")
        def test_cannot_be_tried(self):
            raise AssertionError

        def test_that_is_no_case(self):
            pass
    """)

    assert done.returncode == 1, done.stdout
    assert session.cases == {
        "test_passes": ("passed", ""),
        "test_fails": ("failed", "one is not two"),
        "test_fails_in_words": ("failed", "in words"),
        "test_raises": ("failed", "ValueError: no good"),
        "test_is_skipped": ("skipped", "not here"),
        "test_can": ("passed", ""),
        "test_cannot": ("lacking", "it does not declare 'c'; if it can do that, it should"),
        "test_cannot_be_tried": ("skipped", "it does not declare 'c'"),
    }


def test_the_subject_and_the_tiers_are_recorded(session):
    session.run("""
        @case()
        def test_it(self):
            pass

        @case(needs="a")
        def test_more(self):
            pass
    """)

    assert session.suites == [
        {
            "suite": "TestTiny",
            "kit": "Conformance",
            "kind": "processing",
            "type": "tiny",
            "distribution": "acme-zenml",
            "version": "1.2",
            "capabilities": ["a", "b"],
            "cases": [
                {"name": "test_it", "tier": "required", "result": "passed"},
                {"name": "test_more", "tier": "optional", "result": "passed"},
            ],
        }
    ]
    [suite] = read_results(session.file)
    assert (suite.type, suite.capabilities) == ("tiny", ("a", "b"))


def test_a_capability_that_is_there_and_not_declared_is_a_failure(session):
    done = session.run("""
        @case(needs="c")
        def test_it_can(self):
            pass
    """)

    assert done.returncode == 1, done.stdout
    [[result, reason]] = session.cases.values()
    assert (result, reason) == (
        "failed",
        "it passed: it does not declare 'c'; if it can do that, it should",
    )


def test_a_case_that_its_author_expects_to_fail_has_failed(session):
    done = session.run("""
        @pytest.mark.xfail(reason="some day")
        @case()
        def test_it(self):
            raise AssertionError
    """)

    assert done.returncode == 0, done.stdout
    assert session.cases == {"test_it": ("failed", "expected to fail: some day")}


def test_what_fails_before_or_after_a_case_fails_the_case(session):
    session.run("""
        @pytest.fixture
        def broken(self):
            raise OSError("no disk")

        @pytest.fixture
        def untidy(self):
            yield
            raise OSError("cannot tidy up")

        @case()
        def test_begins(self, broken):
            pass

        @case()
        def test_ends(self, untidy):
            pass

        @case()
        def test_asks(self, no_such_fixture):
            pass
    """)

    assert session.cases == {
        "test_begins": ("failed", "OSError: no disk"),
        "test_ends": ("failed", "OSError: cannot tidy up"),
        "test_asks": ("failed", "fixture 'no_such_fixture' not found"),
    }


def test_a_subject_that_cannot_be_made_fails_every_case(session):
    session.run("""
        @pytest.fixture(scope="class")
        @classmethod
        def subject(cls):
            raise OSError("no service")

        @case()
        def test_it(self):
            pass
    """)

    [suite] = session.suites
    assert (suite["kind"], suite["type"]) == ("processing", "unknown")
    assert session.cases == {"test_it": ("failed", "OSError: no service")}


def test_the_worst_of_a_case_that_is_run_several_times_counts(session):
    session.run("""
        @pytest.mark.parametrize("number", range(4))
        @case()
        def test_it(self, number):
            if number == 1:
                pytest.skip("not one")
            assert number != 2, "not two"

        @pytest.mark.parametrize("number", range(3))
        @case()
        def test_another(self, number):
            if number == 1:
                pytest.skip("not one")
    """)

    assert session.cases == {
        "test_it": ("failed", "not two"),
        "test_another": ("skipped", "not one"),
    }


def test_cases_are_in_the_order_of_the_suite_however_they_are_run(session):
    session.write("conftest.py", "def pytest_collection_modifyitems(items):\n    items.reverse()\n")
    session.run("""
        @case()
        def test_b(self):
            pass

        @case()
        def test_a(self):
            pass
    """)

    assert list(session.cases) == ["test_b", "test_a"]


def test_suites_of_one_name_are_told_apart_by_their_files(session):
    suite = "class TestTiny(Kit):\n    @case()\n    def test_it(self):\n        pass\n"
    for name in ("test_fast.py", "test_slow.py"):
        session.write(name, f"{HEAD}\n{suite}")

    session.pytest(f"--conformance-json={session.file}")

    assert [suite["suite"] for suite in session.suites] == [
        "test_fast.TestTiny",
        "test_slow.TestTiny",
    ]


def test_a_relative_path_is_of_the_folder_where_pytest_was_started(session):
    session.write("test_moves.py", "import os\n\ndef test_it(tmp_path):\n    os.chdir(tmp_path)\n")

    session.run("@case()\ndef test_it(self):\n    pass", "--conformance-json=here.json")

    assert (session.folder / "here.json").is_file()


def test_without_the_option_nothing_is_written_or_said(session):
    session.write("test_it.py", "def test_it():\n    pass\n")

    done = session.pytest()

    assert (done.returncode, "conformance" in done.stdout) == (0, False)


class TestUntouched:
    @pytest.fixture(autouse=True)
    def before(self, session):
        session.file.write_text("as it was before")
        yield
        assert session.file.read_text() == "as it was before"
        assert [path.name for path in session.file.parent.iterdir() if path.is_file()] == [
            session.file.name
        ]

    def test_when_the_session_stops_early(self, session):
        done = session.run(
            """
            @case()
            def test_fails(self):
                raise AssertionError

            @case()
            def test_comes_later(self):
                pass
            """,
            "--exitfirst",
        )

        assert done.returncode == 1
        assert "not written: the session was stopped" in done.stdout

    def test_when_somebody_interrupts(self, session):
        done = session.run("""
            @case()
            def test_passes(self):
                pass

            @case()
            def test_is_interrupted(self):
                raise KeyboardInterrupt
        """)

        assert done.returncode == 2
        assert "not written: the session was stopped" in done.stdout

    def test_when_no_case_is_run(self, session):
        done = session.run("def test_that_is_no_case(self):\n    pass")

        assert done.returncode == 4
        assert "no case of a conformance suite was run" in done.stdout

    def test_when_there_is_no_such_folder(self, session):
        done = session.run(
            "@case()\ndef test_it(self):\n    pass", "--conformance-json=no/such/folder/x.json"
        )

        assert done.returncode == 4
        assert "there is no folder" in done.stderr


def test_a_path_that_cannot_be_written_is_said_to_be_so(session):
    session.file.mkdir()

    done = session.run("@case()\ndef test_it(self):\n    pass")

    assert done.returncode == 4
    assert "conformance results: not written: " in done.stdout
    assert list(session.file.parent.glob("*.draft")) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no conformance results"),
        (b"\xff\xfe", "no conformance results"),
        (b"[1, 2]", "no conformance results"),
        (b'{"name": "a package"}', "no conformance results"),
        (b'{"api": 1, "core": "0.1.0", "suites": [{"suite": "x"}]}', "no conformance results"),
        (b"[" * 100_000, "no conformance results"),
        (b'{"api": 2, "everything": "else"}', "about plugin API 2; this zenml-core offers 1"),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path, content, said):
    file = tmp_path / "conformance.json"
    file.write_bytes(content)

    with pytest.raises(DataError, match=said) as caught:
        read_results(file)

    assert caught.value.where == str(file)
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "nothing.json")
