"""What collecting garbage takes, and what it must never take."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from zenml.core import ArtifactStore, Files, Run
from zenml.core.engine._files import StoreFiles
from zenml.core.engine._gc import collect, find_garbage
from zenml.core.errors import StepFailedError
from zenml.core.stores import LocalArtifactStore
from zenml.pipelines import StepContext, step

LONG_AGO = 1_000_000_000
ran: list[str] = []
broken: set[int] = set()
collectors: list[Callable[[], None]] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    for kept in (ran, broken, collectors):
        kept.clear()


def part(payload: int, files: Files) -> dict[str, Any]:
    ran.append(f"part {payload}")
    if payload in broken:
        raise ValueError("broken")
    path = files.scratch / "part"
    path.write_bytes(bytes([payload]) * 2000)
    blob = files.put(path)
    return {"digest": blob.digest, "size": blob.size}


@step
def numbers(count: int) -> list[int]:
    ran.append("numbers")
    return list(range(count))


@step
def parts(context: StepContext, count: int) -> list[Any]:
    return context.map(part, list(range(count)))


@step
def collects_while_it_runs(context: StepContext, values: list[int]) -> Path:
    scratch = context.files.scratch
    (scratch / "mine").write_text("mine")
    age(scratch / "mine")
    age(scratch)
    collectors[0]()
    return scratch / "mine"


def age(path: Path) -> None:
    os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)


def age_everything(store: Any) -> None:
    for path in store.root.rglob("*"):
        if path.name != "zenml-store.json":
            age(path)


def garbage(store: ArtifactStore, **options: Any) -> dict[str, str]:
    found = find_garbage(store, grace=timedelta(minutes=60), **options)
    return {item.key: item.reason for item in found}


def keys(store: ArtifactStore, prefix: str = "") -> set[str]:
    return {found.key for found in store.list(prefix)}


def big(new_pipeline: Any, name: str = "tested", count: int = 30_000) -> Any:
    pipeline = new_pipeline(name)
    pipeline.add_step(numbers(count=count))
    return pipeline


def statuses(run: Run) -> dict[str, str]:
    return {name: record.status for name, record in run.steps.items()}


def test_of_a_store_in_order_nothing_is_garbage_at_any_age(new_pipeline: Any, store: Any) -> None:
    big(new_pipeline).run()
    age_everything(store)

    assert garbage(store) == {}


def test_of_an_empty_store_nothing_is_garbage(store: ArtifactStore, zenml: Any) -> None:
    assert zenml("gc").out == "there is no store yet, so nothing to collect\n"
    store.prepare()
    assert zenml("gc", "--yes").out == "nothing to collect\n"


def test_what_is_young_is_kept_whatever_it_is(store: Any) -> None:
    store.prepare()
    with StoreFiles(store) as files:
        files.put_bytes(b"a run elsewhere is about to name me")
        store.write(f"artifacts/{'a' * 64}.json", b"{}")
        assert garbage(store) == {}

        age_everything(store)
        assert set(garbage(store).values()) == {
            "artifact that nothing refers to",
            "bytes that no artifact names",
        }


class Elsewhere(LocalArtifactStore):
    """A store whose objects are no files of this machine, as in a bucket."""

    def local_path(self, key: str) -> Path | None:
        return None


@pytest.mark.parametrize("kind", [LocalArtifactStore, Elsewhere])
def test_old_bytes_that_are_made_again_are_young_again(
    store: Any, kind: type[LocalArtifactStore]
) -> None:
    # Left over from long ago, and from now on somebody relies on them.
    store.prepare()
    store = kind(store.url)
    with StoreFiles(store) as files:
        first, second = files.put_bytes(b"first"), files.put_bytes(b"second")
        age_everything(store)
        files.put_bytes(b"first")
        path = files.scratch / "file"
        path.write_bytes(b"second")
        age(path)
        files.put(path)

    assert garbage(store) == {}
    assert store.read(first.key) + store.read(second.key) == b"firstsecond"


def test_a_removed_artifacts_bytes_go(
    new_pipeline: Any, store: Any, zenml: Callable[..., Any]
) -> None:
    run = big(new_pipeline).run()
    kept = big(new_pipeline, "kept", count=40_000).run()
    blob = run.artifact("numbers").files["value.json"]
    zenml("artifact", "rm", run.steps["numbers"].outputs["output"])
    age_everything(store)

    assert garbage(store) == {blob.key: "bytes that no artifact names"}
    assert "nothing was deleted" in zenml("gc").out
    assert store.exists(blob.key)
    said = zenml("gc", "--yes")
    assert said.out.endswith(f"deleted 1 objects, {blob.size / 1024:.1f} KiB\n")
    assert not store.exists(blob.key)
    assert kept.load("numbers") == list(range(40_000))
    assert big(new_pipeline).run().load("numbers") == list(range(30_000))


def test_collecting_twice_is_collecting_once(new_pipeline: Any, store: Any) -> None:
    run = big(new_pipeline).run()
    store.delete(f"artifacts/{run.steps['numbers'].outputs['output']}.json")
    age_everything(store)
    found = list(find_garbage(store, grace=timedelta(0)))

    assert collect(store, found) == sum(item.size for item in found) > 0
    collect(store, found)  # another process came first: no error
    assert list(find_garbage(store, grace=timedelta(0))) == []


class TestDrafts:
    def test_those_of_killed_processes_go_and_those_of_living_ones_stay(self, store: Any) -> None:
        store.prepare()
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        with StoreFiles(store) as files:
            mine = files.scratch
            host = mine.name.split("-")[1]
            theirs = mine.with_name(f"scratch-{host}-{dead.pid}-abc")
            far = mine.with_name("scratch-00000000-1-abc")
            (theirs / "deep").mkdir(parents=True)
            (theirs / "deep" / "file").write_text("12345")
            (theirs / "link").symlink_to("/nowhere")
            far.mkdir()
            draft = mine.with_name("0a0a0a0a-1-0")
            draft.write_text("half")
            assert garbage(store) == {}
            age_everything(store)

            found = garbage(store)
            assert set(found) == {str(theirs), str(far), str(draft)}
            collect(store, list(find_garbage(store, grace=timedelta(minutes=60))))
            assert list(mine.parent.iterdir()) == [mine]

    def test_a_link_in_a_draft_is_not_followed(self, store: Any, project: Path) -> None:
        store.prepare()
        mine = project / "precious"
        mine.mkdir()
        (mine / "file").write_text("mine")
        folder = store.drafts_folder() / "scratch-00000000-1-x"
        folder.mkdir()
        (folder / "link").symlink_to(mine)
        (store.drafts_folder() / "direct").symlink_to(mine)
        age_everything(store)

        collect(store, list(find_garbage(store, grace=timedelta(0))))

        assert (mine / "file").read_text() == "mine"
        assert list(store.drafts_folder().iterdir()) == []

    def test_a_host_is_not_named_in_the_clear(self, store: Any) -> None:
        store.prepare()
        with StoreFiles(store) as files:
            assert socket.gethostname() not in files.scratch.name


class TestUnits:
    def test_those_of_a_step_that_is_not_finished_stay_with_their_bytes(
        self, new_pipeline: Any, store: Any
    ) -> None:
        broken.add(0)
        pipeline = new_pipeline()
        pipeline.add_step(parts(count=3))
        with pytest.raises(StepFailedError):
            pipeline.run()
        age_everything(store)
        assert garbage(store) == {}

        broken.clear()
        pipeline.run()
        assert ran == ["part 2", "part 1", "part 0", "part 0"]

    def test_those_of_a_finished_step_go_and_its_artifact_stays_whole(
        self, new_pipeline: Any, store: Any
    ) -> None:
        pipeline = new_pipeline()
        pipeline.add_step(parts(count=3))
        run = pipeline.run()
        age_everything(store)

        found = garbage(store)

        assert {key.split("/")[0] for key in found} == {"units", "data"}
        assert len(found) == 6  # the artifact holds only what the step returned: plain data
        collect(store, list(find_garbage(store, grace=timedelta(minutes=60))))
        assert len(run.load("parts")) == 3
        assert statuses(pipeline.run()) == {"parts": "cached"}


class TestWhileARunIsInProgress:
    @pytest.mark.parametrize("options", [{}, {"runs_older_than": timedelta(0)}])
    def test_it_loses_nothing(self, new_pipeline: Any, store: Any, options: Any) -> None:
        big(new_pipeline).run()

        def gc() -> None:
            for path in (store.root / "runs").rglob("*"):
                if path.is_file() and b'"pipeline":"first"' in path.read_bytes():
                    age(path)
            collect(store, list(find_garbage(store, grace=timedelta(minutes=60), **options)))

        collectors.append(gc)
        pipeline = new_pipeline("collecting")
        pipeline.add_step(numbers(count=30_000))
        pipeline.add_step(collects_while_it_runs(), inputs={"values": "numbers"})

        run = pipeline.run()

        assert run.load("collects_while_it_runs").read_text() == "mine"
        assert run.load("numbers") == list(range(30_000))

    def test_a_collector_beside_many_runs_takes_nothing_that_they_need(
        self, new_pipeline: Any, store: Any
    ) -> None:
        store.prepare()
        ended = threading.Event()
        errors: list[BaseException] = []

        def keep_collecting() -> None:
            while not ended.is_set():
                try:
                    collect(store, list(find_garbage(store, grace=timedelta(minutes=60))))
                except BaseException as error:
                    errors.append(error)
                    raise

        collector = threading.Thread(target=keep_collecting)
        collector.start()
        try:
            for count in range(20_000, 20_020):
                assert len(big(new_pipeline, count=count).run().load("numbers")) == count
        finally:
            ended.set()
            collector.join()

        assert errors == []


class TestOldRuns:
    def test_their_records_go_and_results_that_only_they_used(
        self, new_pipeline: Any, store: Any, zenml: Callable[..., Any]
    ) -> None:
        old = big(new_pipeline, "old").run()
        shared = big(new_pipeline, "old", count=40_000).run()
        age_everything(store)
        recent = big(new_pipeline, "recent", count=40_000).run()
        for run in (old, shared):
            pretend_it_was_long_ago(store, run)

        said = zenml("gc", "--runs-older-than", "1", "--yes")

        assert said.code == 0
        assert keys(store, f"runs/{old.id}/") == keys(store, f"runs/{shared.id}/") == set()
        assert recent.load("numbers") == list(range(40_000))
        listed = zenml("run", "list").out
        assert recent.id in listed
        assert old.id not in listed
        ran.clear()
        big(new_pipeline, "recent", count=40_000).run()
        assert ran == []
        big(new_pipeline, "old").run()
        assert ran == ["numbers"]

    def test_what_another_run_was_given_stays(self, new_pipeline: Any, store: Any) -> None:
        old = big(new_pipeline, "old").run()
        later = new_pipeline("later")
        later.add_step(counted(), inputs={"values": old.artifact("numbers")})
        later.add_step(counted(), inputs={"values": [old.artifact("numbers")]})
        later.run()
        pretend_it_was_long_ago(store, old)
        age_everything(store)
        listed = find_garbage(store, grace=timedelta(minutes=60), runs_older_than=timedelta(days=1))

        collect(store, list(listed))

        assert keys(store, f"runs/{old.id}/") == set()
        again = later.copy("again")
        again.enable_cache = False
        assert again.run().load("counted") == 30_000

    def test_what_a_commit_of_a_datasource_names_stays(self, new_pipeline: Any, store: Any) -> None:
        run = big(new_pipeline).run()
        digest = run.steps["numbers"].outputs["output"]
        store.write(f"commits/source-0/{run.id}.{digest}.json", b"damaged beyond reading")
        pretend_it_was_long_ago(store, run)
        age_everything(store)

        collect(
            store,
            list(
                find_garbage(store, grace=timedelta(minutes=60), runs_older_than=timedelta(days=1))
            ),
        )

        assert keys(store, "runs/") == set()
        assert keys(store, "artifacts/") == {f"artifacts/{digest}.json"}
        assert len(keys(store, "data/")) == 1


@step
def counted(values: list[Any]) -> int:
    return len(values)


def pretend_it_was_long_ago(store: ArtifactStore, run: Run) -> None:
    key = f"runs/{run.id}/run.json"
    store.write(key, store.read(key).replace(b'"started":"20', b'"started":"19'))
