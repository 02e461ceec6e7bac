"""Plans as YAML: written, read back as the same plan, and refused with every reason."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core import Backend, Plan, step
from zenml.core.errors import PlanError, SourceChangedError, SourceError
from zenml.core.sources import git_state
from zenml.pipelines import Pipeline


@step
def numbers(count: int = 3, extra: Any = None) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@pytest.fixture
def plan(backends: list[Backend]) -> Plan:
    pipeline = Pipeline("tested", backends=backends)
    pipeline.add_step(numbers(count=5))
    pipeline.add_step(total(), inputs={"values": "numbers"})
    return pipeline.build()


@pytest.fixture
def text(plan: Plan) -> str:
    return plan.to_yaml()


def problems(text: str) -> dict[str, str]:
    with pytest.raises(PlanError) as caught:
        Plan.from_yaml(text, "plan.yaml")
    assert len(str(caught.value).splitlines()) <= 20
    assert "plan.yaml" in str(caught.value)
    return {problem.path: str(problem) for problem in caught.value.problems}


#: Text, numbers and keys that YAML of one version or another takes for something else.
AWKWARD: list[Any] = [
    "no", "on", "y", "Null", "~", "", " ", "a ", " a", "1", "1.0", "1e3", "1e-3", ".5", "0x1F",
    "0o17", "017", "1_000", "12:30", "2020-01-01", "2020-01-01T00:00:00Z", "=", "<<", "&a", "*a",
    "!x", "%x", "@x", "`x`", "- a", "? a", ": a", "a: b", "a #b", "#", "{", "[", "'", '"', "\\",
    "|", ">", "---", "...", "--- a", "\n", "a\nb", "a\n\nb\n", "\ta", "\r", "a\r\nb", "\x00",
    "\x07", "\x1b[0m", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff", "\ufffe", "ü", "日本", "🙂",
    "\U0010ffff", "x" * 300, "a " * 60, ".inf", ".nan", "-.inf", "true", "True", "+1", "-1",
    "1.", "0b1",
    0, -1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1e300, 5e-324, 1e16, 1e22, 1e-5, 1.0, 0.1,
    True, False, None, [], {}, [[]], {"a": {}}, [{"a": [None, True, 1.5, "x"]}],
]  # fmt: skip


class TestRoundTrip:
    def test_a_plan_reads_back_as_itself(self, plan: Plan, text: str) -> None:
        read = Plan.from_yaml(text)

        assert read == plan
        assert read.digest == plan.digest
        assert read.to_yaml() == text

    def test_json_is_yaml_too(self, plan: Plan) -> None:
        assert Plan.from_yaml(plan.encoded.decode()) == plan

    def test_the_version_is_written_down(self, text: str) -> None:
        # A later version will have another default.
        assert text.startswith("version: 1\n")

    @pytest.mark.parametrize("value", AWKWARD, ids=ascii)
    def test_every_value_survives_as_value_and_as_key(
        self, backends: list[Backend], value: Any
    ) -> None:
        extra = {"value": value, "list": [value, value]}
        if isinstance(value, str):
            extra[value] = value
        pipeline = Pipeline("p", backends=backends)
        pipeline.add_step(numbers(extra=extra))
        plan = pipeline.build()

        read = Plan.from_yaml(plan.to_yaml())

        assert read.digest == plan.digest
        assert read.steps["numbers"].parameters["extra"] == extra

    def test_random_values_survive(self, backends: list[Backend]) -> None:
        chance = random.Random(20)  # noqa: S311 - the same every time, nothing to guess

        def anything(depth: int) -> Any:
            if depth and chance.random() < 0.5:
                items = [anything(depth - 1) for _ in range(chance.randrange(4))]
                if chance.random() < 0.5:
                    return items
                return {f"{chance.choice(AWKWARD[:40])}{n}": item for n, item in enumerate(items)}
            return chance.choice(
                [
                    chance.choice(AWKWARD),
                    chance.uniform(-1e9, 1e9) * 10.0 ** chance.randrange(-300, 290),
                    chance.getrandbits(63),
                    "".join(chr(chance.randrange(0x2100)) for _ in range(8)),
                ]
            )

        pipeline = Pipeline("p", backends=backends)
        for _ in range(150):
            pipeline.add_step(numbers(extra=[anything(3)]))
        plan = pipeline.build()

        assert Plan.from_yaml(plan.to_yaml()).digest == plan.digest

    def test_a_pipelines_name_may_be_any_text(self, backends: list[Backend]) -> None:
        pipeline = Pipeline("yes: {no} # 'ü'\n", backends=backends)
        pipeline.add_step(numbers())
        plan = pipeline.build()

        assert Plan.from_yaml(plan.to_yaml()).pipeline == "yes: {no} # 'ü'\n"

    def test_steps_may_stand_in_any_order(self, plan: Plan) -> None:
        content = msgspec.to_builtins(plan)
        content["steps"] = dict(reversed(content["steps"].items()))

        read = Plan.from_yaml(msgspec.json.encode(content).decode())

        assert list(read.steps) == ["numbers", "total"]
        assert read.digest == plan.digest


class TestRefused:
    def test_an_unknown_key_is_named_with_the_nearest_one(self, text: str) -> None:
        found = problems(text.replace("orchestrator:", "orchestrater:"))

        assert "did you mean 'orchestrator'?" in found["orchestrater"]
        assert "is required" in found["orchestrator"]

    def test_unknown_keys_are_found_at_any_depth_and_all_at_once(self, text: str) -> None:
        found = problems(
            text.replace("    kind: processing", "    kind: processing\n    cahce: true")
            .replace("      type: import", "      tpye: import", 1)
            .replace("pipeline:", "piepline:")
        )

        assert {"steps.numbers.cahce", "steps.total.cahce", "piepline", "pipeline"} <= set(found)
        assert "did you mean 'cache'?" in found["steps.numbers.cahce"]

    @pytest.mark.parametrize("version", ["2", "1000", "'1'", "0", "null", "[1]", "true", "1.5"])
    def test_another_version_is_refused_before_anything_else(self, text: str, version: str) -> None:
        changed = text.replace("version: 1", f"version: {version}") + "unknown: 1\n"

        assert list(problems(changed)) == ["version"]

    def test_a_newer_version_says_what_to_install(self, text: str) -> None:
        found = problems(text.replace("version: 1", "version: 2"))

        assert "pip install --upgrade zenml-core" in found["version"]

    def test_an_older_or_odd_version_says_to_plan_again(self, text: str) -> None:
        found = problems(text.replace("version: 1", "version: '0.3'"))

        assert "zenml plan SCRIPT --yaml" in found["version"]

    @pytest.mark.parametrize(
        ("old", "new", "path"),
        [
            ("count: 5", "count: .nan", "steps.numbers.parameters"),
            ("count: 5", "count: {1: 2}", "steps.numbers.parameters"),
            ("count: 5", "count: 99999999999999999999999", "steps.numbers.parameters"),
            ("kind: processing", "kind: procesing", "steps.numbers.kind"),
            ("kind: processing", "kind: orchestrator", "steps.numbers.kind"),
            ("kind: processing", "kind: 3", "steps.numbers.kind"),
            ("numbers.output", "numbrs.output", "steps.total.inputs.values"),
            ("numbers.output", "total.output", "steps"),
            ("numbers.output", "sha256:abc", "steps.total.inputs.values"),
            ("  numbers:\n", "  'a b':\n", "steps.a b"),
            ("  numbers:\n", "  3:\n", "steps.3"),
            ("outputs:\n    - output", "outputs: []", "steps.numbers.outputs"),
            ("outputs:\n    - output", "outputs: output", "steps.numbers.outputs"),
        ],
    )
    def test_a_wrong_value_is_named_by_its_path(
        self, text: str, old: str, new: str, path: str
    ) -> None:
        assert old in text

        assert path in problems(text.replace(old, new, 1))

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "3",
            "[]",
            "a",
            "- a",
            "pipeline: [",
            "a: 1\na: 2",
            "a: 1\n---\nb: 2",
            "\tpipeline: a",
            "x: !!python/object/apply:os.getcwd []",
            "x: !unknown 1",
            "x: *nowhere",
            "&a [*a]",
            "x: " + "9" * 5000,
            "[" * 3000,
            "? [a]\n: b",
            "\x00",
            "version: 1\nsteps: null\npipeline: null\norchestrator: null",
            "version: 1\nsteps: []\npipeline: a\norchestrator: {type: x}",
            "version: 1\nsteps: {}\npipeline: a\norchestrator: {type: x}",
            "version: 1\nsteps: {a: 1}\npipeline: a\norchestrator: x",
            "version: 1\nsteps: {a: {}}\npipeline: a\norchestrator: {type: 1}\ncode: 3\ngit: 4",
        ],
        ids=lambda text: ascii(text[:30]),
    )
    def test_what_is_no_plan_is_refused(self, content: str) -> None:
        assert problems(content)

    def test_a_syntax_error_has_its_line(self) -> None:
        assert list(problems("pipeline: a\nsteps: [\n")) == ["line 3, column 1"]

    def test_a_huge_wrong_value_is_not_repeated_whole(self) -> None:
        found = problems(f"version: 1\npipeline: a\norchestrator: {'x' * 10_000}\nsteps: {{}}")

        assert len(found["orchestrator"]) < 200


class TestSources:
    """A plan pins the code that it was made from; the pin is checked, nothing is checked out."""

    @pytest.fixture
    def clone(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        (project / "helper_of_mine.py").write_text("A = 1\n")
        (project / "steps_of_mine.py").write_text(
            "from zenml.core import step\nimport helper_of_mine\n"
            "@step\ndef work(): return helper_of_mine.A\n"
        )
        for command in (
            ["init", "--quiet"],
            ["add", "."],
            ["commit", "--quiet", "--message", "first"],
        ):
            identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
            subprocess.run(["git", *identity, *command], cwd=project, check=True)
        monkeypatch.syspath_prepend(str(project))
        before = set(sys.modules)
        yield project
        for name in set(sys.modules) - before:
            del sys.modules[name]

    @pytest.fixture
    def pinned(self, clone: Path, backends: list[Backend]) -> Plan:
        pipeline = Pipeline("p", backends=backends)
        pipeline.add_step(importlib.import_module("steps_of_mine").work())
        return pipeline.build()

    def test_the_commit_is_in_the_plan(self, clone: Path, pinned: Plan) -> None:
        state = git_state(clone)

        assert state is not None
        assert pinned.git == state

    def test_unchanged_code_passes(self, pinned: Plan) -> None:
        Plan.from_yaml(pinned.to_yaml()).check_sources()

    def test_changed_code_is_refused_and_left_as_it_is(self, clone: Path, pinned: Plan) -> None:
        # Regression: pins were ignored, and before that the user's working tree was checked out.
        (clone / "helper_of_mine.py").write_text("A = 2  # not committed\n")
        before = git_state(clone)

        with pytest.raises(SourceChangedError, match="helper_of_mine changed") as caught:
            Plan.from_yaml(pinned.to_yaml()).check_sources()

        assert pinned.git is not None
        assert pinned.git.commit[:12] in str(caught.value.remedy)
        assert (clone / "helper_of_mine.py").read_text() == "A = 2  # not committed\n"
        assert git_state(clone) == before

    def test_an_edited_comment_passes(self, clone: Path, pinned: Plan) -> None:
        (clone / "helper_of_mine.py").write_text("# a comment\nA = 1\n")

        pinned.check_sources()

    def test_code_that_is_gone_is_refused(self, clone: Path, pinned: Plan) -> None:
        (clone / "steps_of_mine.py").unlink()
        del sys.modules["steps_of_mine"]

        with pytest.raises(SourceError, match="No module named 'steps_of_mine'"):
            pinned.check_sources()
