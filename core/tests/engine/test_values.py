"""What steps may return, and what comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Artifact, ArtifactStore
from zenml.core.contracts import Blob
from zenml.core.engine._files import StoreFiles
from zenml.core.engine._values import load_value, write_artifact
from zenml.core.errors import IntegrityError, StepFailedError
from zenml.pipelines import Step, StepContext, step
from zenml.repo import Repository

LARGE = [float(number) for number in range(600_000)]

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


class Text(str):
    """Not plain: JSON would give back a str."""

    __slots__ = ()


def generate() -> Iterator[int]:
    yield 1


VALUES: dict[str, Any] = {
    "none": None,
    "nothing": [],
    "text": "häßlich \U0001f92f \0",
    "large": LARGE,
    "tuple": (1, (2, "x")),
    "numbers": [0, -0.0, 1, 1.0, 1e300, 5e-324, 2**64 - 1, -(2**63), True],
    "bytes": b"\0\xff",
    "mapping": {"b": 1, "a": {"": None}},
    # and what cannot be kept
    "nan": float("nan"),
    "infinity": [1.0, {"x": float("-inf")}],
    "integer keys": {"a": {1: 2}},
    "huge integer": 2**64,
    "generator": generate(),
    "set": {1},
    "object": object(),
    "subclass": Text("x"),
    "surrogate": "broken \udcff text",
    "surrogate key": {"\ud800": 1},
    "cycle": CYCLE,
    "lambda": lambda: 1,
}


@step
def give(name: str) -> Any:
    return VALUES[name]


@step
def receive(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


@step(outputs=["left", "right"])
def two(how: str) -> Any:
    return {
        "tuple": (1, 2),
        "dictionary": {"right": 2, "left": 1},
        "list": [1, 2],
        "one": 1,
        "three": (1, 2, 3),
        "other names": {"left": 1, "middle": 2},
        "half": (1, float("nan")),
    }[how]


@step
def join(left: int, right: int) -> list[int]:
    return [left, right]


@step
def folder(context: StepContext, kind: str) -> Path:
    scratch = context.files.scratch
    if kind == "scratch":
        for name in ("file-0", "file-1", "a/file-0"):
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_text(name)
        return scratch
    if kind == "file":
        (scratch / "one.txt").write_text("one")
        return scratch / "one.txt"
    if kind == "link":
        (scratch / "in").mkdir()
        (scratch / "target.txt").write_text("linked")
        (scratch / "in" / "link.txt").symlink_to(scratch / "target.txt")
        return scratch / "in"
    if kind == "missing":
        return scratch / "missing"
    (scratch / "empty").mkdir()
    return scratch / "empty"


@step
def contents(value: Path) -> dict[str, str]:
    if value.is_file():
        return {value.name: value.read_text()}
    return {
        file.relative_to(value).as_posix(): file.read_text()
        for file in sorted(value.rglob("*"))
        if file.is_file()
    }


class Both(Step):
    outputs = ("scratch_file", "own_file")
    here: str

    def run(self, context: StepContext) -> dict[str, Path]:
        made = context.files.scratch / "made.txt"
        made.write_text("same name")
        return {"scratch_file": made, "own_file": Path(self.here)}


def run_one(new_pipeline: Any, made: Step, *then: Step) -> Any:
    pipeline = new_pipeline()
    pipeline.add_step(made, name="first")
    for other in then:
        pipeline.add_step(other, name="then", inputs={"value": "first"})
    return pipeline.run()


@pytest.mark.parametrize(
    "name", ["none", "nothing", "text", "large", "numbers", "bytes", "mapping"]
)
def test_a_value_comes_back_as_it_was(new_pipeline: Any, name: str) -> None:
    run = run_one(new_pipeline, give(name=name))

    loaded = run.load("first")

    assert loaded == VALUES[name]
    assert repr(loaded) == repr(VALUES[name]) or name == "mapping"


def test_a_tuple_comes_back_as_a_list_everywhere(new_pipeline: Any) -> None:
    first = run_one(new_pipeline, give(name="tuple"), receive())
    assert first.load("then") == "list [1, [2, 'x']]"
    assert first.load("first") == [1, [2, "x"]]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nan", "the value is nan, which JSON cannot hold"),
        ("infinity", r"\[1\]\.x is -inf"),
        ("integer keys", "a has the key 1; keys must be strings"),
        ("huge integer", "more than 64 bits"),
        ("generator", r"type builtins\.generator"),
        ("set", r"type builtins\.set"),
        ("object", r"type builtins\.object"),
        ("subclass", r"Text, which is not plain"),
        ("surrogate", r"no Unicode text: '\\udcff' at position 7"),
        ("surrogate key", r"no Unicode text: '\\ud800' at position 0"),
        ("lambda", r"type builtins\.function"),
        ("cycle", "RecursionError"),
    ],
)
def test_what_cannot_come_back_as_it_was_is_refused_and_nothing_is_committed(
    new_pipeline: Any, store: ArtifactStore, name: str, says: str
) -> None:
    with pytest.raises(StepFailedError, match=says):
        run_one(new_pipeline, give(name=name))

    assert list(store.list("cache/")) == []
    assert list(store.list("artifacts/")) == []


@pytest.mark.parametrize("how", ["tuple", "dictionary"])
def test_two_outputs_are_told_apart(new_pipeline: Any, how: str) -> None:
    pipeline = new_pipeline()
    pipeline.add_step(two(how=how))
    pipeline.add_step(join())

    assert pipeline.run().load("join") == [1, 2]


@pytest.mark.parametrize("how", ["list", "one", "three", "other names", "half"])
def test_outputs_that_are_not_those_declared_are_refused_and_nothing_is_committed(
    new_pipeline: Any, store: ArtifactStore, how: str
) -> None:
    with pytest.raises(StepFailedError, match=r"left, right|output 'right' of step 'first'"):
        run_one(new_pipeline, two(how=how))

    assert list(store.list("cache/")) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("file", {"one.txt": "one"}),
        ("link", {"link.txt": "linked"}),
        (
            "scratch",
            {"file-0": "file-0", "file-1": "file-1", "a/file-0": "a/file-0"},
        ),
    ],
)
def test_a_path_brings_its_files_along(
    new_pipeline: Any, kind: str, expected: dict[str, str]
) -> None:
    run = run_one(new_pipeline, folder(kind=kind), contents())

    assert run.load("then") == expected
    assert run.artifact("first").files.keys() == expected.keys()


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_path_without_files_is_refused(new_pipeline: Any, kind: str) -> None:
    with pytest.raises(StepFailedError, match="there is no file"):
        run_one(new_pipeline, folder(kind=kind))


def test_a_file_that_a_step_returns_is_copied_not_taken(new_pipeline: Any, project: Path) -> None:
    mine = project / "mine.txt"
    mine.write_text("mine")
    run = run_one(new_pipeline, Both(here=str(mine)))

    assert mine.read_text() == "mine"
    assert run.load("first.own_file").read_text() == "mine"
    assert run.load("first.scratch_file").read_text() == "same name"


def test_no_scratch_folder_outlives_its_step(new_pipeline: Any, store: Any) -> None:
    run_one(new_pipeline, folder(kind="scratch"), contents())

    assert os.listdir(store.drafts_folder()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_an_artifact_cannot_name_a_file_outside_its_folder(
    store: ArtifactStore, zenml: Callable[..., Any], project: Path, name: str
) -> None:
    store.prepare()
    with StoreFiles(store) as files:
        blob = files.put_bytes(b"evil")
        evil = Artifact(format="folder/1", value={"single": True}, files={name: blob})
        with pytest.raises(IntegrityError, match="outside its folder"):
            load_value(evil, files, Repository.get_instance().registry)
    digest = write_artifact(evil, store)

    said = zenml("artifact", "get", digest, "--to", str(project / "out"))

    assert said.code == 1
    assert "outside its folder" in said.err
    assert not (project / "outside").exists()


def test_an_artifact_is_found_by_the_run_that_made_it(
    new_pipeline: Any, zenml: Callable[..., Any], project: Path
) -> None:
    run = run_one(new_pipeline, give(name="large"))

    said = zenml("artifact", "get", "last:first", "--to", "out")

    assert said.code == 0, said.err
    assert len(list((project / "out").iterdir())) == len(run.artifact("first").files) == 1
    assert zenml("artifact", "get", f"{run.id}:first.output").out == (
        zenml("artifact", "get", run.artifact("first").digest[:9]).out
    )
    for wrong, why in (("last:second", "no step 'second'"), ("1999:first", "no run '1999'")):
        said = zenml("artifact", "get", wrong)
        assert (said.code, why in said.err) == (1, True), said.err


def test_a_blob_cannot_name_a_file_outside_the_store(store: ArtifactStore) -> None:
    store.prepare()
    with (
        StoreFiles(store) as files,
        pytest.raises(Exception, match="not a key"),
    ):
        files.fetch(Blob("../../../etc/passwd", 1))


def test_equal_values_are_one_artifact_and_one_file(new_pipeline: Any, store: Any) -> None:
    pipeline = new_pipeline()
    pipeline.add_step(give(name="large"), name="one")
    pipeline.add_step(give(name="large"), name="two")
    run = pipeline.run()

    assert run.steps["one"].outputs == run.steps["two"].outputs
    assert len(list(store.list("data/"))) == 1
    assert len(list(store.list("artifacts/"))) == 1
