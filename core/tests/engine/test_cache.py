"""What is done again, and what is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core import ArtifactStore, Run
from zenml.core.errors import IntegrityError
from zenml.pipelines import Pipeline, step

#: The steps that really ran, in order.
ran: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    ran.clear()
    yield
    ran.clear()


@step
def numbers(count: int = 3) -> list[int]:
    ran.append("numbers")
    return list(range(count))


@step
def sign(values: list[int]) -> int:
    ran.append("sign")
    return 1 if sum(values) > 0 else 0


@step
def report(sign: int, title: str = "sign") -> dict[str, Any]:
    ran.append("report")
    return {"title": title, "sign": sign}


@step
def coin() -> float:
    ran.append("coin")
    return threading.get_ident() + len(ran) / 7


@step
def big() -> list[int]:
    ran.append("big")
    return list(range(50_000))


@step
def length(values: list[int]) -> int:
    ran.append("length")
    return len(values)


def chain(pipeline: Pipeline, count: int = 3, title: str = "sign") -> Pipeline:
    pipeline.add_step(numbers(count=count))
    pipeline.add_step(sign(), inputs={"values": "numbers"})
    pipeline.add_step(report(title=title), inputs={"sign": "sign"})
    return pipeline


def statuses(run: Run) -> dict[str, str]:
    return {name: record.status for name, record in run.steps.items()}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_second_run_finds_everything_done(new_pipeline: Any) -> None:
    first = chain(new_pipeline()).run()
    second = chain(new_pipeline()).run()

    assert ran == ["numbers", "sign", "report"]
    assert set(statuses(first).values()) == {"succeeded"}
    assert set(statuses(second).values()) == {"cached"}
    assert {r.made_by for r in second.steps.values()} == {first.id}
    assert second.load("report") == {"title": "sign", "sign": 1}
    assert second.outcome is not None
    assert second.outcome.counts == {"cached": 3}


def test_a_step_under_another_name_in_another_pipeline_is_the_same_work(new_pipeline: Any) -> None:
    chain(new_pipeline("one")).run()
    other = new_pipeline("two")
    other.add_step(numbers(count=3), name="values")

    assert statuses(other.run()) == {"values": "cached"}


def test_the_same_step_name_with_other_parameters_is_other_work(new_pipeline: Any) -> None:
    chain(new_pipeline("one")).run()
    run = chain(new_pipeline("two"), title="other").run()

    assert statuses(run) == {"numbers": "cached", "sign": "cached", "report": "succeeded"}
    assert run.load("report.output")["title"] == "other"


def test_what_comes_after_an_equal_result_is_not_done_again(new_pipeline: Any) -> None:
    # Early cut-off: other numbers, the same sign.
    chain(new_pipeline()).run()
    ran.clear()

    run = chain(new_pipeline(), count=4).run()

    assert ran == ["numbers", "sign"]
    assert statuses(run) == {"numbers": "succeeded", "sign": "succeeded", "report": "cached"}


def test_with_the_cache_off_everything_is_done_again_and_nothing_is_left_to_find(
    new_pipeline: Any,
) -> None:
    chain(new_pipeline()).run()
    off = chain(new_pipeline(enable_cache=False)).run()
    assert set(statuses(off).values()) == {"succeeded"}
    assert ran == ["numbers", "sign", "report"] * 2

    chain(new_pipeline(enable_cache=False)).run()
    assert ran == ["numbers", "sign", "report"] * 3


def test_another_store_knows_nothing_and_comes_to_the_same_digests(
    new_pipeline: Any, project: Path
) -> None:
    here = chain(new_pipeline()).run()
    there = chain(new_pipeline()).run(artifact_store=project / "other store %41")

    assert ran == ["numbers", "sign", "report"] * 2
    assert {n: r.outputs for n, r in here.steps.items()} == {
        n: r.outputs for n, r in there.steps.items()
    }
    assert {n: r.key for n, r in here.steps.items()} == {n: r.key for n, r in there.steps.items()}


class TestRemoval:
    def test_a_removed_artifact_is_made_again_and_what_followed_is_kept(
        self, new_pipeline: Any, zenml: Callable[..., Any]
    ) -> None:
        run = chain(new_pipeline()).run()
        digest = run.steps["numbers"].outputs["output"]
        said = zenml("artifact", "rm", digest[:10])
        assert (said.code, said.out) == (0, f"removed {digest}\n")
        ran.clear()

        again = chain(new_pipeline()).run()

        assert ran == ["numbers"]
        assert statuses(again) == {"numbers": "succeeded", "sign": "cached", "report": "cached"}
        assert again.load("numbers") == [0, 1, 2]

    def test_of_a_removed_chain_every_step_is_made_again(
        self, new_pipeline: Any, zenml: Callable[..., Any]
    ) -> None:
        run = chain(new_pipeline()).run()
        for record in run.steps.values():
            zenml("artifact", "rm", record.outputs["output"])

        chain(new_pipeline()).run()

        assert ran == ["numbers", "sign", "report"] * 2

    def test_a_result_that_is_different_each_time_replaces_the_removed_one(
        self, new_pipeline: Any, zenml: Callable[..., Any]
    ) -> None:
        pipeline = new_pipeline()
        pipeline.add_step(coin())
        first = pipeline.run()
        zenml("artifact", "rm", first.steps["coin"].outputs["output"])
        second = pipeline.run()
        assert second.load("coin") != first.steps["coin"].outputs["output"]

        third = pipeline.run()

        assert ran == ["coin", "coin"]
        assert third.steps["coin"].outputs == second.steps["coin"].outputs


class TestDamage:
    """A byte of a stored file is not what it was."""

    def pipeline(self, new_pipeline: Any) -> Pipeline:
        made: Pipeline = new_pipeline()
        made.add_step(big())
        made.add_step(length(), inputs={"values": "big"})
        return made

    @pytest.mark.parametrize("kind", ["data", "artifacts"])
    def test_it_is_never_used_and_the_advice_mends_it(
        self, new_pipeline: Any, store: ArtifactStore, zenml: Callable[..., Any], kind: str
    ) -> None:
        alone = new_pipeline()
        alone.add_step(big())
        run = alone.run()
        artifact = run.artifact("big")
        key = artifact.files["value.json"].key if kind == "data" else f"artifacts/{artifact.digest}"
        path = store.local_path(key if kind == "data" else f"{key}.json")
        assert path is not None
        flip_a_byte(path)
        ran.clear()

        with pytest.raises(IntegrityError, match="zenml artifact rm") as raised:
            self.pipeline(new_pipeline).run()
        assert ran == []
        assert path.name in str(raised.value)

        listed = zenml("artifact", "list")
        assert ("DAMAGED" in listed.out) is (kind == "artifacts")
        assert zenml("artifact", "rm", artifact.digest[:12]).code == 0
        mended = self.pipeline(new_pipeline).run()

        assert ran == ["big", "length"]
        assert mended.load("length") == 50_000
        assert mended.load("big") == list(range(50_000))

    @pytest.mark.parametrize("kind", ["data", "artifacts"])
    def test_what_a_step_of_the_same_pipeline_made_is_made_again_by_the_next_run(
        self, new_pipeline: Any, store: ArtifactStore, kind: str
    ) -> None:
        first = new_pipeline()
        first.add_step(big())
        first.run()
        [damaged] = [found.key for found in store.list(f"{kind}/")]
        store.write(damaged, store.read(damaged)[:50])

        with pytest.raises(IntegrityError):
            self.pipeline(new_pipeline).run()
        run = self.pipeline(new_pipeline).run()

        assert run.load("length") == 50_000
        assert run.load("big") == list(range(50_000))
        assert ran == ["big", "big", "length"]

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"outputs": 1}', b"null"])
    def test_a_commit_that_cannot_be_read_is_made_again(
        self, new_pipeline: Any, store: ArtifactStore, content: bytes
    ) -> None:
        key = chain(new_pipeline()).run().steps["sign"].key
        store.write(f"cache/{key}.json", content)
        ran.clear()

        run = chain(new_pipeline()).run()
        assert ran == ["sign"]
        assert statuses(run)["report"] == "cached"

        chain(new_pipeline()).run()
        assert ran == ["sign"]

    @pytest.mark.parametrize(
        "outputs", [b"{}", b'{"other": "%s"}' % (b"0" * 64), b'{"output": "../../../etc/passwd"}']
    )
    def test_a_commit_that_names_something_else_is_not_used(
        self, new_pipeline: Any, store: ArtifactStore, outputs: bytes
    ) -> None:
        key = chain(new_pipeline()).run().steps["sign"].key
        store.write(f"cache/{key}.json", b'{"outputs": %s, "run": "x", "step": "y"}' % outputs)
        ran.clear()

        chain(new_pipeline()).run()

        assert ran == ["sign"]

    def test_bytes_that_vanished_are_said_to_be_missing(
        self, new_pipeline: Any, store: ArtifactStore, zenml: Callable[..., Any]
    ) -> None:
        alone = new_pipeline()
        alone.add_step(big())
        artifact = alone.run().artifact("big")
        store.delete(artifact.files["value.json"].key)

        with pytest.raises(IntegrityError, match="missing"):
            self.pipeline(new_pipeline).run()
        zenml("artifact", "rm", artifact.digest)

        assert self.pipeline(new_pipeline).run().load("length") == 50_000

    def test_equal_bytes_that_are_made_again_take_the_place_of_damaged_ones(
        self, new_pipeline: Any, store: ArtifactStore
    ) -> None:
        # As after a loss of power: the commit did not reach the disk, the data only in part.
        alone = new_pipeline()
        alone.add_step(big())
        run = alone.run()
        store.delete(f"cache/{run.steps['big'].key}.json")
        for key in (
            run.artifact("big").files["value.json"].key,
            f"artifacts/{run.steps['big'].outputs['output']}.json",
        ):
            store.write(key, b"")

        assert self.pipeline(new_pipeline).run().load("length") == 50_000
