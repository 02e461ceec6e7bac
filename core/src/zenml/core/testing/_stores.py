"""What every artifact store has to do: keep whole objects by key, for many readers and writers."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from zenml.core.contracts._store import ArtifactStore, StoredObject
from zenml.core.errors import BackendError, ObjectNotFoundError, StoreError
from zenml.core.plugins._registry import get_registry
from zenml.core.stores import open_store
from zenml.core.testing._cases import Conformance, Subject, case
from zenml.core.testing._processes import nothing_left_behind
from zenml.core.testing._store_bench import (
    error_of,
    expect_changes_seen,
    expect_one_winner,
    expect_same,
    expect_whole,
    keys_in,
    noise,
    together,
    while_writing,
    write_all,
)
from zenml.core.testing._store_user import StoreUser

__all__ = ["ArtifactStoreConformance"]

#: In the order of a listing. None continues another, and no two differ by case alone: a folder of
#: files holds them, too.
_KEYS = (
    "0",
    "9/1",
    "Q",
    "R/a",
    "_",
    "a-b",
    "a.b",
    "a/b",
    "a/b-c",
    "a/bc",
    "a/c/d",
    "a0",
    "b/1",
    "b/10",
    "b/2",
    "bc",
)

_REFUSED = (
    "",
    "..",
    "../outside",
    "inside/../../outside",
    "/absolute",
    "folder/",
    "two//slashes",
    "./here",
    ".hidden",
    "folder/.hidden",
    "a space",
    "back\\slash",
    "ümlaut",
    "line\n",
    "nul\0",
    "per%2e%2ecent",
    "colon:colon",
    "question?",
    "star*",
)

_ODD = (
    "-",
    "--help",
    "_/_",
    "two..dots",
    "ends-with.",
    "x" * 200,
    "/".join("abcdefghij"),
    "MiXed.Case_and-all",
)

#: How far a store's clock may be from ours: ages of objects are compared with hours and days.
_CLOCKS = timedelta(minutes=15)

_MEGABYTE = 1 << 20


class ArtifactStoreConformance(Conformance):
    """Cases for artifact stores. Override ``store_url``; ``patience`` if the store is slow."""

    kind = "artifact store"

    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls) -> str:
        """An empty place to write in. It stays as full as the cases left it."""
        return pytest.fail(f"override the fixture 'store_url' of {cls.__name__}")

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls) -> float:
        """Seconds that anything done at the same time may take."""
        return 120.0

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, store_url: str) -> Subject:
        """What the store's plugin says of it."""
        scheme = store_url.partition("://")[0] if "://" in store_url else "file"
        try:
            plugin = get_registry().find("store", scheme).plugin
        except BackendError:
            return Subject(cls.kind, scheme)
        return Subject(cls.kind, scheme, plugin.distribution, plugin.version)

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, store_url: str) -> ArtifactStore:
        """The store, opened by its URL as everybody does, and ready to be written."""
        store = open_store(store_url)
        store.prepare()
        return store

    @pytest.fixture(scope="class")
    @classmethod
    def others(cls, store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """Processes that have opened the same URL, from another folder."""
        folder = tmp_path_factory.mktemp("elsewhere")
        users = [StoreUser(store_url, folder) for _ in range(3)]
        yield users
        for user in users:
            user.end()

    @pytest.fixture
    def folder(self) -> str:
        """What the keys of this case begin with, and no others."""
        return secrets.token_hex(6)

    # -- found and opened ------------------------------------------------------------------------

    @case()
    def test_its_scheme_opens_it(self, store: ArtifactStore, subject: Subject) -> None:
        """A URL is all that another process is given."""
        assert subject.distribution, (
            f"no plugin registers '{subject.type}': add a StoreSpec with this scheme to the light "
            "module, and the entry point to pyproject.toml"
        )
        assert isinstance(store, ArtifactStore)
        assert type(store).scheme == subject.type, "its class serves another scheme, it says"

    @case()
    def test_its_url_opens_it_again(
        self, store: ArtifactStore, folder: str, tmp_path: Path, patience: float
    ) -> None:
        """``store.url`` is what a plan takes along to where it runs."""
        store.write(f"{folder}/x", b"by its URL")
        again = type(store)(store.url)
        assert again.url == store.url, "made from its own URL, a store has another"
        user = StoreUser(store.url, tmp_path)
        try:
            [held] = together([partial(user.ask, "list", f"{folder}/")], patience)
        finally:
            user.end()
        assert held == [f"{folder}/x"], (
            f"store.url ({store.url}) does not open the same store in another process and folder"
        )

    @case()
    def test_preparing_again_changes_nothing(
        self, store: ArtifactStore, others: Sequence[StoreUser], folder: str, patience: float
    ) -> None:
        """Every run prepares its store, and several may begin at once."""
        store.write(f"{folder}/x", b"here before")
        instances = [type(store)(store.url) for _ in range(4)]
        calls: list[Callable[[], Any]] = [one.prepare for one in instances]
        calls += [partial(user.ask, "prepare") for user in others]
        try:
            together(calls, patience)
        except StoreError as error:
            pytest.fail(f"prepare() of a store that is ready must do nothing, and failed: {error}")
        assert keys_in(store, folder) == ["x"], "prepare() took away what the store held"
        assert store.read(f"{folder}/x") == b"here before"

    # -- objects ---------------------------------------------------------------------------------

    @case()
    def test_what_is_written_is_read(self, store: ArtifactStore, folder: str) -> None:
        """Bytes come back as they were: none of them, every one there is, and megabytes."""
        for number, data in enumerate((b"", bytes(range(256)), b"\r\n", noise(5 * _MEGABYTE))):
            store.write(f"{folder}/{number}", data)
            found = store.read(f"{folder}/{number}")
            assert type(found) is bytes, f"read() gives bytes, not a {type(found).__name__}"
            expect_same(found, data, "read() did not give the bytes that were written")

    @case()
    def test_a_write_replaces_the_whole_object(self, store: ArtifactStore, folder: str) -> None:
        """Nothing of the former object is left, however much longer it was."""
        for data in (b"a long first version", b"short", b"", b"and long again"):
            store.write(f"{folder}/x", data)
            expect_same(store.read(f"{folder}/x"), data, "write() did not replace the object")

    @case()
    def test_a_missing_object_is_a_typed_error(self, store: ArtifactStore, folder: str) -> None:
        """``ObjectNotFoundError`` with the key, also for what is only the beginning of a key."""
        store.write(f"{folder}/some/object", b"")
        store.write(f"{folder}/gone", b"")
        store.delete(f"{folder}/gone")
        for name in ("never", "gone", "some", "some/obj", "no/such/folder"):
            key = f"{folder}/{name}"
            for method in (store.read, store.open):
                error = error_of(partial(method, key), method.__name__, key)
                assert isinstance(error, ObjectNotFoundError), (
                    f"{method.__name__}() of a missing object raises ObjectNotFoundError, "
                    f"not {type(error).__name__}: {error}"
                )
                assert key in str(error), f"the error does not name the key: {error}"

    @case()
    def test_it_knows_which_objects_are_there(self, store: ArtifactStore, folder: str) -> None:
        """``exists`` is about whole keys."""
        store.write(f"{folder}/a/bc", b"")
        assert store.exists(f"{folder}/a/bc"), "exists() denies an object that was written"
        for name in ("a", "a/b", "a/bcd", "bc"):
            assert not store.exists(f"{folder}/{name}"), (
                f"exists({name!r}) is true, and the only object is 'a/bc': a beginning of a key "
                "is no object"
            )
        store.delete(f"{folder}/a/bc")
        assert not store.exists(f"{folder}/a/bc"), "exists() is true of what was deleted"

    @case()
    def test_deleting_what_is_gone_is_no_error(self, store: ArtifactStore, folder: str) -> None:
        """Two who tidy up may meet; neither takes anything else along."""
        for name in ("a/b", "a/bc", "a/b-c", "a.b"):
            store.write(f"{folder}/{name}", name.encode())
        try:
            for name in ("a/b", "a/b", "never", "no/such/folder/x"):
                store.delete(f"{folder}/{name}")
        except StoreError as error:
            pytest.fail(f"delete() of an object that is not there is no error: {error}")
        assert keys_in(store, folder) == ["a.b", "a/b-c", "a/bc"], "delete() takes exactly its key"
        assert store.write_if_absent(f"{folder}/a/b", b"new"), "a deleted object is still there"

    @case()
    def test_a_file_is_opened_for_reading_anywhere(self, store: ArtifactStore, folder: str) -> None:
        """``open`` gives a seekable binary file: table formats begin to read at the end."""
        data = noise(_MEGABYTE)
        store.write(f"{folder}/x", data)
        with store.open(f"{folder}/x") as file, store.open(f"{folder}/x") as other:
            assert file.readable(), "open() gives a file that can be read"
            assert file.seekable(), "open() gives a seekable file"
            assert file.read(10) == data[:10], "open() gives the object's bytes"
            assert file.seek(-10, os.SEEK_END) == len(data) - 10
            assert file.read() == data[-10:], "seek() from the end went elsewhere"
            assert file.seek(500_000) == 500_000
            assert file.seek(5, os.SEEK_CUR) == file.tell() == 500_005
            assert file.read(5) == data[500_005:500_010], "seek() went elsewhere"
            expect_same(other.read(), data, "two open files of one object disturb each other")
            assert other.read() == b"", "read() at the end gives no bytes"

    @case()
    def test_an_upload_is_the_whole_file(
        self, store: ArtifactStore, folder: str, tmp_path: Path
    ) -> None:
        """A local file becomes the object, and replaces what was there; the file may be gone."""
        for number, data in enumerate((b"", b"small", noise(8 * _MEGABYTE), b"small again")):
            file = tmp_path / str(number)
            file.write_bytes(data)
            store.upload(f"{folder}/x", file)
            expect_same(
                store.read(f"{folder}/x"), data, "upload() did not make the object of the file"
            )
            if file.exists():
                expect_same(
                    file.read_bytes(), data, "upload() may move its file, but not change it"
                )
                file.write_bytes(b"the file is its owner's, and may be written again")
                expect_same(
                    store.read(f"{folder}/x"), data, "the object changes with the uploaded file"
                )
        (tmp_path / "owned").write_bytes(b"as it was")
        (tmp_path / "link").symlink_to(tmp_path / "owned")
        store.upload(f"{folder}/x", tmp_path / "link")
        (tmp_path / "owned").write_bytes(b"as it is now")
        expect_same(store.read(f"{folder}/x"), b"as it was", "upload() took a link for the file")

    @case()
    def test_an_upload_of_no_file_is_a_store_error(
        self, store: ArtifactStore, folder: str, tmp_path: Path
    ) -> None:
        """It is the file that is missing, not an object; a folder is no file either."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_bytes(b"inside")
        for name in ("nothing", "folder"):
            path = tmp_path / name
            error = error_of(partial(store.upload, f"{folder}/x", path), "upload", name)
            assert not isinstance(error, ObjectNotFoundError), (
                "a missing local file is no missing object; upload() says ObjectNotFoundError"
            )
            assert name in str(error), f"the error does not name the file: {error}"
        assert keys_in(store, folder) == [], "an upload that failed left something in the store"
        assert (tmp_path / "folder" / "file").exists(), "an upload that failed took files away"

    @case()
    def test_a_local_path_is_the_object(self, store: ArtifactStore, folder: str) -> None:
        """Where the store has local files, readers save themselves a copy."""
        store.write(f"{folder}/x", b"first")
        path = store.local_path(f"{folder}/x")
        if path is None:
            pytest.skip("it has no local files, and need not have")
        assert path.is_absolute(), "a local path must hold in every folder"
        for data in (b"first", b"second"):
            store.write(f"{folder}/x", data)
            path = store.local_path(f"{folder}/x")
            assert path is not None, "local_path() is None for an object that is there"
            expect_same(path.read_bytes(), data, "local_path() is not the object as it is now")
        store.delete(f"{folder}/x")
        for name in ("x", "never"):
            assert store.local_path(f"{folder}/{name}") is None, (
                "local_path() of a missing object is None"
            )

    # -- keys ------------------------------------------------------------------------------------

    @case()
    def test_every_key_that_is_allowed_is_kept(self, store: ArtifactStore, folder: str) -> None:
        """Segments of letters, digits, ``.``, ``_`` and ``-``, which do not begin with a dot."""
        for name in _ODD:
            store.write(f"{folder}/{name}", name.encode())
            assert store.read(f"{folder}/{name}") == name.encode()
        assert keys_in(store, folder) == sorted(_ODD), "keys came back changed"

    @case()
    def test_other_keys_are_refused(
        self, store: ArtifactStore, folder: str, tmp_path: Path
    ) -> None:
        """A name of somebody's choosing must not reach out of the store: use ``check_key``."""
        file = tmp_path / "file"
        file.write_bytes(b"x")
        before = {found.key for found in store.list("")}
        for name in _REFUSED:
            for key in (name, f"{folder}/{name}"):
                for method, *rest in (
                    ("write", b"x"),
                    ("write_if_absent", b"x"),
                    ("upload", file),
                    ("read",),
                    ("open",),
                    ("delete",),
                ):
                    error_of(partial(getattr(store, method), key, *rest), method, repr(key))
        assert file.exists(), "upload() took the file and then refused the key"
        assert {found.key for found in store.list("")} == before, "a refused key was written"

    # -- the first of many -----------------------------------------------------------------------

    @case()
    def test_only_what_is_absent_is_written(self, store: ArtifactStore, folder: str) -> None:
        """``write_if_absent`` says whether it wrote, and never replaces."""
        assert store.write_if_absent(f"{folder}/x", b"first") is True, "the first writer gets True"
        assert store.write_if_absent(f"{folder}/x", b"second") is False, "the second gets False"
        assert store.read(f"{folder}/x") == b"first", "write_if_absent() replaced an object"
        store.write(f"{folder}/empty", b"")
        assert store.write_if_absent(f"{folder}/empty", b"x") is False, "an empty object is one"
        store.delete(f"{folder}/x")
        assert store.write_if_absent(f"{folder}/x", b"third") is True, "the object was deleted"
        assert store.read(f"{folder}/x") == b"third"

    @case()
    def test_exactly_one_of_many_threads_is_the_first(
        self, store: ArtifactStore, folder: str, patience: float
    ) -> None:
        """Steps of one run may finish together; one commit counts."""
        for number in range(20):
            expect_one_winner(store, f"{folder}/{number}", [store.write_if_absent] * 6, patience)

    @case()
    def test_exactly_one_of_many_processes_is_the_first(
        self, store: ArtifactStore, others: Sequence[StoreUser], folder: str, patience: float
    ) -> None:
        """No lock of one process can stand for what the store has to do."""
        writers = [partial(user.ask, "write_if_absent") for user in others]
        for number in range(20):
            expect_one_winner(
                store, f"{folder}/{number}", [store.write_if_absent, *writers], patience
            )

    # -- whole or not there ----------------------------------------------------------------------

    @case()
    def test_a_reader_never_sees_half_a_write(
        self, store: ArtifactStore, folder: str, patience: float
    ) -> None:
        """While an object is replaced, readers get the old one or the new one."""
        key, versions = f"{folder}/x", [bytes([65 + n]) * (_MEGABYTE + n) for n in range(4)]
        store.write(key, versions[0])

        def write() -> None:
            for number in range(20):
                store.write(key, versions[number % len(versions)])

        def look() -> None:
            sizes = {found.size for found in store.list(key)}
            assert sizes <= set(map(len, versions)), f"a listing saw half an object: {sizes}"
            found = store.read(key)
            if found not in versions:
                pytest.fail(f"read() gave half an object, or parts of two: {len(found)} bytes")

        try:
            while_writing(write, look, patience)
        except ObjectNotFoundError:
            pytest.fail("an object was not there while it was replaced")

    @case()
    def test_a_reader_never_sees_half_of_what_was_absent(
        self, store: ArtifactStore, folder: str, patience: float
    ) -> None:
        """What ``write_if_absent`` writes is whole when it appears."""
        data = noise(_MEGABYTE)
        keys = [f"{folder}/{number}" for number in range(10)]
        expect_whole(store, keys, data, lambda key: store.write_if_absent(key, data), patience)

    @case()
    def test_a_reader_never_sees_half_an_upload(
        self, store: ArtifactStore, folder: str, tmp_path: Path, patience: float
    ) -> None:
        """What ``upload`` moves in is whole when it appears."""
        data = noise(8 * _MEGABYTE)

        def upload(key: str) -> None:
            file = tmp_path / "file"
            file.write_bytes(data)
            store.upload(key, file)

        keys = [f"{folder}/{number}" for number in range(5)]
        expect_whole(store, keys, data, upload, patience)

    # -- listings --------------------------------------------------------------------------------

    @case()
    def test_a_listing_is_in_the_order_of_keys(self, store: ArtifactStore, folder: str) -> None:
        """By the bytes of whole keys: ``a-b`` comes before ``a/b``."""
        write_all(store, folder, _KEYS)
        assert keys_in(store, folder) == list(_KEYS), "list() is by the bytes of whole keys"

    @case()
    def test_a_prefix_need_not_end_with_a_folder(self, store: ArtifactStore, folder: str) -> None:
        """``a/b`` finds ``a/bc`` as well: it is the beginning of a key, and nothing more."""
        write_all(store, folder, _KEYS)
        for prefix in ("a", "a/", "a/b", "a/b-", "a/bc", "a/b/", "b", "b/1", "R/a", "c", "a/bcd"):
            wanted = [key for key in _KEYS if key.startswith(prefix)]
            found = keys_in(store, folder, prefix)
            assert found == wanted, f"list({prefix!r}) gives the keys that start with it"
        everything = {found.key for found in store.list("")}
        assert {f"{folder}/{key}" for key in _KEYS} <= everything, "list('') gives every key"

    @case()
    def test_a_listing_goes_on_behind_a_key(self, store: ArtifactStore, folder: str) -> None:
        """``after`` is left out, whether it is there or not; what follows is not."""
        write_all(store, folder, _KEYS)
        for prefix in ("", "a", "a/", "b/1"):
            for after in ("0", "9", "a", "a-b", "a/b", "a/b-c", "a/zz", "b/10", "bc", "z"):
                wanted = [key for key in _KEYS if key.startswith(prefix) and key > after]
                found = keys_in(store, folder, prefix, after)
                assert found == wanted, (
                    f"list({prefix!r}, after={after!r}) gives the keys behind {after!r}"
                )

    @case()
    def test_a_long_listing_is_complete(
        self, store: ArtifactStore, folder: str, patience: float
    ) -> None:
        """Services list by the page, of a thousand mostly; a caller does not notice."""
        names = [f"{number:04d}" for number in range(2500)]
        mixed = random.Random(7).sample(names, len(names))  # noqa: S311 - an order, no secret
        calls = [partial(write_all, store, folder, mixed[first::10]) for first in range(10)]
        together(calls, 10 * patience)
        found = keys_in(store, folder)
        assert len(found) == len(names), "list() gives every object once, however many there are"
        assert found == names, "list() is in the order of keys beyond the first page"
        assert keys_in(store, folder, "", "1499") == names[1500:], "'after' holds beyond a page"
        assert next(store.list(f"{folder}/")).key == f"{folder}/0000"

    @case()
    def test_a_listing_tells_sizes_and_times(
        self, store: ArtifactStore, folder: str, tmp_path: Path
    ) -> None:
        """Bytes, and when the object was written, in UTC: what is old and unused is collected."""
        store.write(f"{folder}/write", "größe".encode())
        store.write_if_absent(f"{folder}/absent", b"")
        # What a file's age was before it came here says nothing of the object.
        (tmp_path / "file").write_bytes(b"x" * 1000)
        os.utime(tmp_path / "file", (1, 1))
        store.upload(f"{folder}/upload", tmp_path / "file")
        now = datetime.now(timezone.utc)
        found = {row.key.partition("/")[2]: row for row in store.list(f"{folder}/")}
        assert {name: row.size for name, row in found.items()} == {
            "absent": 0,
            "upload": 1000,
            "write": 7,
        }, "sizes are in bytes"
        for name, row in found.items():
            assert isinstance(row, StoredObject), "list() gives StoredObjects"
            assert row.modified.utcoffset() == timedelta(0), "modified is an aware time in UTC"
            assert abs(row.modified - now) < _CLOCKS, (
                f"{name}: modified says {row.modified}, and it was written at {now}: it is when "
                "the object was written, in UTC"
            )

    @case()
    def test_a_listing_survives_changes(
        self, store: ArtifactStore, others: Sequence[StoreUser], folder: str, patience: float
    ) -> None:
        """What others write and delete meanwhile is in it or not; all else is, once."""
        kept = [f"kept/{number:02d}" for number in range(40)]
        write_all(store, folder, kept)

        def write() -> None:
            for number in range(60):
                keys = [f"{folder}/{name}-{number}/x" for name in ("aside", "zigzag")]
                for key in keys:
                    store.write(key, b"")
                    others[0].ask("write", f"{key}y", b"")
                for key in keys:
                    store.delete(key)
                    others[0].ask("delete", f"{key}y")

        try:
            seen = while_writing(write, lambda: keys_in(store, folder), patience)
        except StoreError as error:
            pytest.fail(f"list() fails while others write and delete: {error}")
        for found in seen:
            assert found == sorted(set(found)), "an object is listed twice while others write"
            assert [name for name in found if name in kept] == kept, (
                "an object that nobody touched is missing while others write"
            )

    # -- seen by all -----------------------------------------------------------------------------

    @case()
    def test_another_instance_sees_every_change_at_once(
        self, store: ArtifactStore, folder: str
    ) -> None:
        """Both of one process; neither remembers what the store should be asked."""
        again = type(store)(store.url)

        def ask(method: str, *arguments: Any) -> Any:
            found = getattr(again, method)(*arguments)
            return [row.key for row in found] if method == "list" else found

        expect_changes_seen(store, ask, folder, "another instance")

    @case()
    def test_another_process_sees_every_change_at_once(
        self, store: ArtifactStore, others: Sequence[StoreUser], folder: str, patience: float
    ) -> None:
        """A run that waits in one process for what another writes would wait for ever."""
        seen = partial(expect_changes_seen, store, others[0].ask, folder, "another process")
        together([seen], patience)

    @case()
    def test_one_instance_serves_many_threads(
        self, store: ArtifactStore, folder: str, patience: float
    ) -> None:
        """Units run in threads, and share the store that the run has opened."""

        def use(thread: int) -> None:
            for number in range(15):
                key, data = f"{folder}/{thread}/{number}", f"{thread} {number} ".encode() * 2000
                store.write(key, data)
                expect_same(store.read(key), data, "threads of one instance get each other's bytes")
                with store.open(key) as file:
                    expect_same(file.read(), data, "threads of one instance get each other's files")
                assert not store.write_if_absent(key, b"")
                assert keys_in(store, f"{folder}/{thread}") == [str(number)]
                store.delete(key)

        together([partial(use, thread) for thread in range(6)], patience)

    @case()
    def test_nothing_is_left_behind(
        self, store: ArtifactStore, folder: str, tmp_path: Path, patience: float
    ) -> None:
        """Using it again and again keeps no more threads, processes or files open."""

        def use() -> None:
            for name in ("1", "2", "3"):
                store.write(f"{folder}/{name}", b"x")
                store.write_if_absent(f"{folder}/{name}", b"x")
                store.read(f"{folder}/{name}")
                store.open(f"{folder}/{name}").close()
            (tmp_path / "file").write_bytes(b"x")
            store.upload(f"{folder}/1", tmp_path / "file")
            next(store.list(f"{folder}/"))
            for method in (store.read, store.open):
                with pytest.raises(ObjectNotFoundError):
                    method(f"{folder}/never")
            write_all(store, folder, "123")
            for found in store.list(f"{folder}/"):
                store.delete(found.key)

        # A client keeps its connections, so the first round opens what later ones may use.
        use()
        with nothing_left_behind(timeout=patience):
            for _ in range(3):
                use()
