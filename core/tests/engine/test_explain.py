"""Why a step was served from the cache, or was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import ArtifactStore
from zenml.core.testing import importing_from
from zenml.pipelines import Pipeline, Step, step
from zenml.repo import Repository


@step
def numbers(count: int = 3) -> list[int]:
    return list(range(count))


@step
def total(values: list[int], scale: float = 1.0) -> float:
    return sum(values) * scale


class Reads(Step):
    """Reads a file from outside."""

    unkeyed = frozenset({"path"})
    path: str

    def fingerprint(self) -> Any:
        return Path(self.path).read_text()

    def run(self) -> str:
        return Path(self.path).read_text()


def sums(pipeline: Pipeline, count: int = 3, scale: float = 1.0) -> Pipeline:
    pipeline.add_step(numbers(count=count))
    pipeline.add_step(total(scale=scale), inputs={"values": "numbers"})
    return pipeline


def test_a_first_run_has_nothing_to_be_served_from(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    sums(new_pipeline()).run()

    said = zenml("explain", "last", "total")

    assert "total was not served from the cache: no earlier run of this pipeline has it" in said.out


def test_a_cached_step_names_the_run_that_made_it(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    first = sums(new_pipeline()).run()
    sums(new_pipeline()).run()

    said = zenml("explain", "last", "total")

    assert said.out.startswith(f"total was served from the cache: run {first.id} made the same")


def test_a_changed_parameter_is_named_with_both_values(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    first = sums(new_pipeline()).run()
    sums(new_pipeline(), scale=2.0).run()

    said = zenml("explain", "last", "total")

    assert f"parameter scale: 1.0 -> 2.0 since run {first.id}" in said.out
    assert "numbers was served from the cache" in zenml("explain", "last", "numbers").out


def test_a_changed_input_is_named_with_both_digests(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    first = sums(new_pipeline()).run()
    second = sums(new_pipeline(), count=4).run()

    said = zenml("explain", "last", "total")

    before, after = (run.steps["numbers"].outputs["output"][:12] for run in (first, second))
    assert f"input values: {before} -> {after} since run {first.id}" in said.out


def test_a_changed_source_is_named(
    new_pipeline: Any, zenml: Callable[..., Any], project: Path
) -> None:
    source = project / "source.txt"
    for content in ("one", "two"):
        source.write_text(content)
        pipeline = new_pipeline()
        pipeline.add_step(Reads(path=str(source)))
        pipeline.run()

    assert "the source changed since run" in zenml("explain", "last", "Reads").out


def test_changed_code_is_named(new_pipeline: Any, zenml: Callable[..., Any], project: Path) -> None:
    for number in (1, 2):
        folder = project / f"version{number}"
        folder.mkdir()
        (folder / "helping.py").write_text(f"FACTOR = {number}\n")
        (folder / "stepping.py").write_text(
            "from helping import FACTOR\nfrom zenml.pipelines import step\n\n\n"
            "@step\ndef factor() -> int:\n    return FACTOR\n"
        )
        with importing_from(folder):
            from stepping import factor  # type: ignore[import-not-found]

            pipeline = new_pipeline()
            pipeline.add_step(factor())
            assert pipeline.run().load("factor") == number

    assert "code: helping changed since run" in zenml("explain", "last", "factor").out


def test_a_removed_result_is_said_to_be_missing(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    first = sums(new_pipeline()).run()
    zenml("artifact", "rm", first.steps["total"].outputs["output"])
    sums(new_pipeline()).run()

    said = zenml("explain", "last", "total")

    assert f"nothing changed since run {first.id}, but its result is not in this store" in said.out


def test_with_the_cache_off_that_is_the_reason(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    sums(new_pipeline()).run()
    sums(new_pipeline(enable_cache=False)).run()

    assert "caching is off for this pipeline" in zenml("explain", "last", "total").out


def test_another_pipelines_step_of_that_name_is_not_compared_with(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    sums(new_pipeline("one")).run()
    sums(new_pipeline("two"), scale=2.0).run()

    said = zenml("explain", "last", "total")

    assert "no earlier run of this pipeline has it" in said.out


def test_a_step_or_run_that_is_not_there_is_said(
    new_pipeline: Any, zenml: Callable[..., Any]
) -> None:
    sums(new_pipeline()).run()

    said = zenml("explain", "last", "totally")
    assert (said.code, "it has: numbers, total" in said.err) == (1, True)
    said = zenml("explain", "2001", "total")
    assert (said.code, "there is no run '2001'" in said.err) == (1, True)


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_the_index_is_not_needed(
    new_pipeline: Any, zenml: Callable[..., Any], store: ArtifactStore, harm: str
) -> None:
    first = sums(new_pipeline()).run()
    sums(new_pipeline(), scale=2.0).run()
    index = Repository.get_instance().metadata_store.path
    if harm == "deleted":
        index.unlink()
    else:
        index.write_bytes(b"SQLite format 3\0" + b"damage" * 1000)

    assert f"parameter scale: 1.0 -> 2.0 since run {first.id}" in (
        zenml("explain", "last", "total").out
    )
