"""The artifact store in a folder: one object at a time, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zenml.core.errors import (
    ObjectNotFoundError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from zenml.core.stores import LocalArtifactStore, open_store
from zenml.core.testing import wait_until


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifactStore:
    made = LocalArtifactStore(str(tmp_path / "store"))
    made.prepare()
    return made


def keys(store: LocalArtifactStore, prefix: str = "", after: str | None = None) -> list[str]:
    return [found.key for found in store.list(prefix, after=after)]


def drafts(store: LocalArtifactStore) -> list[str]:
    return sorted(os.listdir(store.drafts_folder()))


class TestObjects:
    def test_what_is_written_is_read(self, store: LocalArtifactStore) -> None:
        store.write("a/b/c", b"first")
        store.write("a/b/c", b"second")

        assert store.read("a/b/c") == b"second"
        assert store.exists("a/b/c")
        assert store.local_path("a/b/c") is not None
        with store.open("a/b/c") as file:
            assert file.seekable()
            assert file.read() == b"second"

    def test_the_first_of_two_writers_wins_where_only_absent_objects_are_written(
        self, store: LocalArtifactStore
    ) -> None:
        assert store.write_if_absent("k/1", b"first")
        assert not store.write_if_absent("k/1", b"second")
        assert store.read("k/1") == b"first"
        assert drafts(store) == []

    def test_an_object_that_is_not_there_is_a_typed_error(self, store: LocalArtifactStore) -> None:
        for use in (store.read, store.open):
            with pytest.raises(ObjectNotFoundError, match="no such object"):
                use("artifacts/nothing.json")
        assert not store.exists("artifacts/nothing.json")
        assert store.local_path("artifacts/nothing.json") is None

    def test_a_prefix_is_no_object(self, store: LocalArtifactStore) -> None:
        store.write("runs/one/run.json", b"{}")

        assert not store.exists("runs/one")
        for key in ("runs/one", "runs/one/run.json/deeper"):
            with pytest.raises(ObjectNotFoundError):
                store.read(key)
            with pytest.raises(ObjectNotFoundError):
                store.open(key)

    def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(
        self, store: LocalArtifactStore
    ) -> None:
        store.write("runs/one/log/1.json", b"[]")

        store.delete("runs/one/log/1.json")
        store.delete("runs/one/log/1.json")
        store.delete("never/was")

        assert keys(store) == []
        assert not (store.root / "runs").exists()
        store.write("runs/one/log/1.json", b"[]")
        assert keys(store) == ["runs/one/log/1.json"]

    def test_an_upload_moves_a_file_in_and_replaces_what_was_there(
        self, store: LocalArtifactStore
    ) -> None:
        store.write("data/x", b"old")
        near = store.drafts_folder() / "file"
        near.write_bytes(b"new")

        store.upload("data/x", near)

        assert store.read("data/x") == b"new"
        assert not near.exists()

    def test_an_uploaded_object_is_as_young_as_its_upload(self, store: LocalArtifactStore) -> None:
        # Collecting garbage spares what is young; the age of the file on its way in says nothing.
        near = store.drafts_folder() / "file"
        near.write_bytes(b"written long before it was put")
        os.utime(near, (1, 1))

        store.upload("data/x", near)

        [found] = store.list("data/")
        assert found.modified.year > 2000

    def test_writing_what_is_there_makes_it_young_again(self, store: LocalArtifactStore) -> None:
        # An old leftover that a run relies on from now on must not be collected under it.
        store.write("data/x", b"left over")
        os.utime(store.root / "data" / "x", (1, 1))

        assert not store.write_if_absent("data/x", b"left over")

        [found] = store.list("data/")
        assert found.modified.year > 2000


class TestListing:
    KEYS = ("a-b", "a/b", "a/b-c", "a/c/d", "a0", "b/1", "b/10", "b/2")

    @pytest.fixture(autouse=True)
    def objects(self, store: LocalArtifactStore) -> None:
        for key in self.KEYS:
            store.write(key, key.encode())

    def test_it_is_in_the_order_of_keys(self, store: LocalArtifactStore) -> None:
        assert keys(store) == sorted(self.KEYS)

    @pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/c/", "b/1", "b/10", "c", "a/b-c/"])
    @pytest.mark.parametrize("after", [None, "a", "a-b", "a/b", "a/c", "a/c/d", "a/zz", "b/1", "z"])
    def test_it_is_what_a_flat_map_would_list(
        self, store: LocalArtifactStore, prefix: str, after: str | None
    ) -> None:
        expected = [
            key
            for key in sorted(self.KEYS)
            if key.startswith(prefix) and (after is None or key > after)
        ]

        assert keys(store, prefix, after) == expected

    def test_sizes_are_in_bytes(self, store: LocalArtifactStore) -> None:
        assert {found.key: found.size for found in store.list("b/")} == {
            "b/1": 3,
            "b/10": 4,
            "b/2": 3,
        }

    def test_files_of_others_and_drafts_are_not_objects(self, store: LocalArtifactStore) -> None:
        (store.root / "a" / "my notes.txt").write_text("a space is in no key")
        (store.root / "a" / "é").write_text("nor is an accent")
        (store.drafts_folder() / "half").write_bytes(b"half an obj")

        assert keys(store) == sorted(self.KEYS)


class TestKeys:
    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/etc/passwd",
            "../outside",
            "a/../../outside",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "a b",
            "a\n",
            "a\0b",
            "é",
            "..",
            ".drafts/x",
        ],
    )
    def test_nothing_but_a_safe_relative_key_is_taken(
        self, store: LocalArtifactStore, key: str
    ) -> None:
        uses: list[Callable[[], object]] = [
            lambda: store.read(key),
            lambda: store.write(key, b""),
            lambda: store.write_if_absent(key, b""),
            lambda: store.delete(key),
            lambda: store.open(key),
            lambda: store.exists(key),
            lambda: store.local_path(key),
        ]
        for use in uses:
            with pytest.raises(StoreError, match="not a key"):
                use()

    @pytest.mark.parametrize("prefix", ["../", "a/../../", "/etc/"])
    def test_no_listing_leaves_the_store(self, store: LocalArtifactStore, prefix: str) -> None:
        with pytest.raises(StoreError, match="not a key"):
            keys(store, prefix)


class TestPlace:
    @pytest.mark.parametrize(
        "name", ["with space", "ünïcödé-数", "100%", "a%20b", "a#b?c=d&e", "a'b\"c", "tab\there"]
    )
    def test_a_folder_of_any_name_can_be_a_store(self, tmp_path: Path, name: str) -> None:
        by_path = LocalArtifactStore(str(tmp_path / name))
        by_path.prepare()
        by_path.write("a/b", b"1")

        by_url = open_store(by_path.url)

        assert isinstance(by_url, LocalArtifactStore)
        assert by_url.root == tmp_path / name
        assert by_url.url == by_path.url
        assert by_url.read("a/b") == b"1"

    def test_a_folder_whose_name_is_not_utf8_can_be_a_store(self, tmp_path: Path) -> None:
        by_path = LocalArtifactStore(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
        by_path.prepare()
        by_path.write("a", b"1")

        assert open_store(by_path.url).read("a") == b"1"

    def test_a_url_that_somebody_typed_means_what_it_says(self, tmp_path: Path) -> None:
        typed = open_store(f"file://{tmp_path}/run #1?")

        assert isinstance(typed, LocalArtifactStore)
        assert typed.root == tmp_path / "run #1?"

    def test_another_machine_is_refused(self) -> None:
        with pytest.raises(StoreError, match="three slashes"):
            open_store("file://server/share")

    def test_a_scheme_that_nothing_serves_is_refused(self) -> None:
        with pytest.raises(StoreError, match=r"'carrier-pigeon://'"):
            open_store("carrier-pigeon://coop")

    def test_a_symbolic_link_to_a_store_is_that_store(self, tmp_path: Path) -> None:
        real = LocalArtifactStore(str(tmp_path / "real"))
        real.prepare()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        linked = LocalArtifactStore(str(tmp_path / "link"))

        linked.write("runs/1", b"through the link")

        assert real.read("runs/1") == b"through the link"
        assert keys(linked) == ["runs/1"]

    def test_opening_touches_nothing(self, tmp_path: Path) -> None:
        store = LocalArtifactStore(str(tmp_path / "later"))

        assert not store.exists("a")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_its_place_is_said_to_be_one(self, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("a file")
        store = LocalArtifactStore(str(tmp_path / "store"))

        for use in (store.prepare, lambda: store.read("a"), lambda: store.write("a", b"")):
            with pytest.raises(StoreUnavailableError, match="is a file"):
                use()
        assert (tmp_path / "store").read_text() == "a file"

    def test_preparing_twice_keeps_what_is_there(self, store: LocalArtifactStore) -> None:
        store.write("a", b"1")

        store.prepare()

        assert keys(store) == ["a"]


class TestVanishing:
    def test_a_store_that_is_gone_is_not_made_anew(self, store: LocalArtifactStore) -> None:
        store.write("a/b", b"1")
        store.root.rename(store.root.with_name("elsewhere"))

        for use in (
            lambda: store.read("a/b"),
            lambda: store.open("a/b"),
            lambda: store.write("a/c", b"2"),
            lambda: store.write_if_absent("a/c", b"2"),
            lambda: keys(store),
            lambda: store.delete("a/b"),
        ):
            with pytest.raises(StoreUnavailableError, match="is not there"):
                use()
        assert not store.root.exists()

    def test_an_empty_mount_point_is_not_filled(self, store: LocalArtifactStore) -> None:
        store.write("a/b", b"1")
        store.root.rename(store.root.with_name("elsewhere"))
        store.root.mkdir()

        for use in (
            lambda: store.write("a/c", b"2"),
            lambda: store.write_if_absent("a/c", b"2"),
            lambda: store.read("a/b"),
        ):
            with pytest.raises(StoreUnavailableError, match="not an artifact store"):
                use()
        assert list(store.root.iterdir()) == []

    def test_it_goes_on_when_it_is_back(self, store: LocalArtifactStore) -> None:
        store.write("a/b", b"1")
        away = store.root.with_name("elsewhere")
        store.root.rename(away)
        with pytest.raises(StoreUnavailableError):
            store.write("a/c", b"2")
        away.rename(store.root)

        store.write("a/c", b"2")

        assert keys(store) == ["a/b", "a/c"]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_a_folder_without_permission_is_read_only(self, store: LocalArtifactStore) -> None:
        store.write("a/b", b"1")
        store.drafts_folder().chmod(0o500)

        with pytest.raises(StoreReadOnlyError):
            store.write("a/b", b"2")
        assert store.read("a/b") == b"1"


class TestConcurrency:
    def test_first_writers_of_a_new_folder_do_not_stumble_over_each_other(
        self, store: LocalArtifactStore
    ) -> None:
        # Each round's folders are new, so that every writer finds them missing at once.
        writers = 8
        for round_number in range(60):
            barrier = threading.Barrier(writers)

            def write(
                number: int, start: threading.Barrier = barrier, top: int = round_number
            ) -> None:
                start.wait()
                store.write(f"round{top}/a/b/{number}", b"1")

            with ThreadPoolExecutor(writers) as pool:
                list(pool.map(write, range(writers)))

            assert len(keys(store, f"round{round_number}/")) == writers

    def test_exactly_one_of_many_writers_is_the_first(self, store: LocalArtifactStore) -> None:
        writers = 8
        for round_number in range(40):
            barrier = threading.Barrier(writers)

            def write(
                number: int, start: threading.Barrier = barrier, top: int = round_number
            ) -> bool:
                start.wait()
                return store.write_if_absent(f"cache/{top}/x", str(number).encode())

            with ThreadPoolExecutor(writers) as pool:
                won = list(pool.map(write, range(writers)))

            assert won.count(True) == 1
            assert store.read(f"cache/{round_number}/x") == str(won.index(True)).encode()

    def test_writers_and_deleters_of_one_folder_do_not_stumble_over_each_other(
        self, store: LocalArtifactStore
    ) -> None:
        # Deleting the last object takes its folder away, perhaps just as the next is written.
        def write_and_delete(number: int) -> None:
            for _ in range(300):
                store.write(f"units/key/{number}", b"1")
                store.delete(f"units/key/{number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write_and_delete, range(4)))

        assert keys(store) == []

    def test_a_reader_sees_whole_objects_only(self, store: LocalArtifactStore) -> None:
        texts = [bytes([65 + number]) * 200_000 for number in range(4)]
        store.write("x", texts[0])
        ended = threading.Event()

        def rewrite(text: bytes) -> None:
            while not ended.is_set():
                store.write("x", text)

        with ThreadPoolExecutor(4) as pool:
            for text in texts:
                pool.submit(rewrite, text)
            seen: list[bytes] = []
            try:
                wait_until(
                    lambda: (
                        seen.append(store.read("x")) or (len(seen) > 300 and len(set(seen)) > 1)
                    ),
                    what="reading more than one version",
                )
            finally:
                ended.set()

        assert set(seen) <= set(texts)
