"""Unpacking: the folder appears whole and checked, or not at all, whatever the archive holds."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from zenml.core._canonical import canonical, sha256
from zenml.core._project import find_root
from zenml.core.bundle import Bundle, archive_key, collect, store_bundle, unpack
from zenml.core.errors import (
    ConfigurationError,
    IntegrityError,
    ObjectNotFoundError,
    StoreFullError,
)
from zenml.core.stores import LocalArtifactStore

LONG = "/".join(["a folder with a long name, and an é in it"] * 6)


@pytest.fixture
def bundle(store: LocalArtifactStore, repo: Path) -> Bundle:
    (repo / "a.py").write_text("x = 1\n")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "run.sh").chmod(0o700)
    (repo / LONG).mkdir(parents=True)
    (repo / LONG / "deep.txt").write_bytes(bytes(range(256)) * 8)
    (repo / "empty").touch()
    return store_bundle(store, repo)


def members(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class TestWhatIsUnpacked:
    def test_it_is_what_was_bundled(
        self, store: LocalArtifactStore, bundle: Bundle, repo: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "cache" / bundle.digest

        assert unpack(store, bundle.digest, target) == target

        found = members(target)
        assert sha256(found.pop(".zenml/bundle.json")) == bundle.digest
        assert found.pop(".zenml/unpacked") == b""
        assert found == members(repo)
        assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755
        assert stat.S_IMODE((target / "a.py").stat().st_mode) == 0o644
        assert os.listdir(target.parent) == [bundle.digest]

    def test_it_is_a_repository_whose_bundle_is_the_same(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        target = unpack(store, bundle.digest, tmp_path / "code")

        assert find_root(target / LONG) == target
        assert collect(target).digest == bundle.digest

    def test_what_a_run_leaves_in_it_is_no_part_of_its_bundle(
        self, store: LocalArtifactStore, repo: Path, tmp_path: Path
    ) -> None:
        subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
        (repo / ".gitignore").write_text("*.csv\n")
        (repo / "zones.csv").write_text("tracked all the same\n")
        subprocess.run(["git", "add", "--force", "zones.csv"], cwd=repo, check=True)
        bundle = store_bundle(store, repo)
        target = unpack(store, bundle.digest, tmp_path / "code")
        (target / "results.txt").write_text("made by a step\n")
        (target / "zones.csv").write_text("changed by a step\n")

        again = store_bundle(store, target)

        assert (again.digest, again.files) == (bundle.digest, bundle.files)

    def test_where_a_user_unpacked_it_the_bundle_is_what_is_there(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        target = unpack(store, bundle.digest, tmp_path / "code")
        (target / ".zenml" / "unpacked").unlink()  # as tar would leave it
        (target / "b.py").write_text("y = 2\n")

        assert store_bundle(store, target).files == bundle.files + 1

    def test_modes_do_not_depend_on_the_umask(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        before = os.umask(0o077)
        try:
            target = unpack(store, bundle.digest, tmp_path / "code")
        finally:
            os.umask(before)

        assert stat.S_IMODE((target / "a.py").stat().st_mode) == 0o644

    def test_any_tar_can_read_the_archive(
        self, store: LocalArtifactStore, bundle: Bundle, repo: Path, tmp_path: Path
    ) -> None:
        path = store.local_path(bundle.key)
        assert path is not None
        with tarfile.open(path) as archive:
            names = archive.getnames()
            assert {entry.mtime for entry in archive.getmembers()} == {315532800}
        assert names[0] == ".zenml/bundle.json"
        assert set(names[1:]) == set(members(repo))

        (tmp_path / "by tar").mkdir()
        try:
            subprocess.run(["tar", "-xzf", path, "-C", tmp_path / "by tar"], check=True)
        except FileNotFoundError:
            pytest.skip("tar is not installed")
        by_us = members(unpack(store, bundle.digest, tmp_path / "x"))
        assert members(tmp_path / "by tar") | {".zenml/unpacked": b""} == by_us

    def test_an_empty_folder_is_as_good_as_none(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        (tmp_path / "code").mkdir()

        assert (unpack(store, bundle.digest, tmp_path / "code") / "a.py").exists()


class TestASecondTime:
    def test_nothing_is_written(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        target = unpack(store, bundle.digest, tmp_path / "code")
        before = target.stat().st_ino
        (target / "__pycache__").mkdir()
        store.delete(bundle.key)

        assert unpack(store, bundle.digest, target) == target
        assert target.stat().st_ino == before
        assert (target / "__pycache__").exists()

    @pytest.mark.parametrize("change", ["edit", "remove", "link", "mode"])
    def test_what_was_changed_is_refused(
        self, change: str, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        target = unpack(store, bundle.digest, tmp_path / "code")
        path = target / "a.py"
        if change == "edit":
            path.write_text("x = 2\n")
        elif change == "mode":
            path.chmod(0o755)
        else:
            path.unlink()
        if change == "link":
            (tmp_path / "same").write_text("x = 1\n")
            path.symlink_to(tmp_path / "same")

        with pytest.raises(IntegrityError, match=r"a\.py") as caught:
            unpack(store, bundle.digest, target)
        assert str(target) in (caught.value.remedy or "")

    def test_somebody_elses_folder_is_left_alone(
        self, store: LocalArtifactStore, bundle: Bundle, repo: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").touch()
        (tmp_path / "file").touch()
        other = unpack(store, bundle.digest, tmp_path / "other")
        (repo / "a.py").write_text("x = 3\n")
        newer = store_bundle(store, repo)

        for taken in (tmp_path / "mine", tmp_path / "file", other):
            with pytest.raises(ConfigurationError, match="cannot be unpacked"):
                unpack(store, newer.digest, taken)
        assert os.listdir(tmp_path / "mine") == ["thesis.tex"]

    def test_many_at_once_give_one_folder(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        start = threading.Barrier(8)

        def one(_: int) -> Path:
            start.wait()
            return unpack(store, bundle.digest, tmp_path / "cache" / "code")

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(one, range(8)))) == 1
        assert os.listdir(tmp_path / "cache") == ["code"]


class TestWhatIsRefused:
    def refuse(self, store: LocalArtifactStore, digest: str, tmp_path: Path) -> IntegrityError:
        """Refused, and nothing is left behind, in the folder or anywhere around it."""
        place = tmp_path / "place"
        place.mkdir(exist_ok=True)
        with pytest.raises(IntegrityError) as caught:
            unpack(store, digest, place / "code")
        assert os.listdir(place) == []
        return caught.value

    @pytest.fixture
    def plain(self, store: LocalArtifactStore, bundle: Bundle) -> bytes:
        return gzip.decompress(store.read(bundle.key))

    def test_a_bundle_that_is_not_there(self, store: LocalArtifactStore, tmp_path: Path) -> None:
        with pytest.raises(ObjectNotFoundError):
            unpack(store, "0" * 64, tmp_path / "code")
        with pytest.raises(IntegrityError, match="not the digest"):
            unpack(store, "../" * 20, tmp_path / "code")

    def test_an_archive_that_was_cut_short(
        self, store: LocalArtifactStore, bundle: Bundle, tmp_path: Path
    ) -> None:
        data = store.read(bundle.key)
        for length in range(0, len(data), max(1, len(data) // 60)):
            store.write(bundle.key, data[:length])
            self.refuse(store, bundle.digest, tmp_path)

    def test_an_altered_byte_anywhere_in_the_tar(
        self, store: LocalArtifactStore, bundle: Bundle, plain: bytes, tmp_path: Path
    ) -> None:
        for at in range(0, len(plain), 61):
            altered = plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]
            store.write(bundle.key, gzip.compress(altered, 1))
            error = self.refuse(store, bundle.digest, tmp_path)
            assert bundle.key in (error.where or "")
            assert "uploaded anew" in (error.remedy or "")

    HOSTILE: tuple[tuple[str, Callable[[tarfile.TarInfo], None]], ...] = (
        ("a path that climbs out", lambda info: setattr(info, "name", "../evil")),
        ("an absolute path", lambda info: setattr(info, "name", "/tmp/evil")),  # noqa: S108
        ("a symbolic link", lambda info: _as_link(info, tarfile.SYMTYPE, "/etc")),
        ("a hard link", lambda info: _as_link(info, tarfile.LNKTYPE, "../../etc/hosts")),
        ("a device", lambda info: _as_link(info, tarfile.CHRTYPE, "")),
        ("a pipe", lambda info: _as_link(info, tarfile.FIFOTYPE, "")),
        ("a sparse file", lambda info: _as_link(info, tarfile.GNUTYPE_SPARSE, "")),
        ("a huge size", lambda info: setattr(info, "size", 2**40)),
        ("a set-user-id bit", lambda info: setattr(info, "mode", 0o4644)),
        ("a name in pax records", lambda info: setattr(info, "pax_headers", {"path": "../evil"})),
    )

    @pytest.mark.parametrize("where", ["instead", "before", "behind"])
    @pytest.mark.parametrize(("what", "alter"), HOSTILE, ids=[what for what, _ in HOSTILE])
    def test_a_hostile_member(
        self,
        what: str,
        alter: Callable[[tarfile.TarInfo], None],
        where: str,
        store: LocalArtifactStore,
        bundle: Bundle,
        plain: bytes,
        tmp_path: Path,
    ) -> None:
        hostile = tarfile.TarInfo("a.py")
        alter(hostile)
        out = b""
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            for info in archive.getmembers():
                if info.name == "a.py" and where != "behind":
                    out += hostile.tobuf(tarfile.PAX_FORMAT)
                if info.name != "a.py" or where != "instead":
                    out += _block_of(plain, info)
        if where == "behind":
            out += hostile.tobuf(tarfile.PAX_FORMAT)
        store.write(bundle.key, gzip.compress(out + bytes(1024)))

        self.refuse(store, bundle.digest, tmp_path)

    @pytest.mark.parametrize("change", ["missing", "twice", "swapped"])
    def test_members_other_than_those_of_the_manifest(
        self, change: str, store: LocalArtifactStore, bundle: Bundle, plain: bytes, tmp_path: Path
    ) -> None:
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            parts = [_block_of(plain, info) for info in archive.getmembers()]
        if change == "missing":
            del parts[-1]
        elif change == "twice":
            parts.append(parts[-1])
        else:
            parts[-1], parts[-2] = parts[-2], parts[-1]
        store.write(bundle.key, gzip.compress(b"".join(parts) + bytes(1024)))

        self.refuse(store, bundle.digest, tmp_path)

    def test_an_archive_that_never_ends(
        self, store: LocalArtifactStore, bundle: Bundle, plain: bytes, tmp_path: Path
    ) -> None:
        import tracemalloc

        bomb = gzip.compress(bytes(2**26), 9)
        huge = tarfile.TarInfo(".zenml/bundle.json")
        huge.size = 2**33
        for data in (
            gzip.compress(plain) + bomb,
            gzip.compress(plain[:-1024]) + bomb,
            gzip.compress(huge.tobuf(tarfile.PAX_FORMAT)) + bomb * 4,
            bomb,
        ):
            store.write(bundle.key, data)
            tracemalloc.start()
            try:
                self.refuse(store, bundle.digest, tmp_path)
                assert tracemalloc.get_traced_memory()[1] < 2**24
            finally:
                tracemalloc.stop()

    @pytest.mark.parametrize(
        "paths",
        [
            *(["../x"], ["/x"], ["a/../../x"], ["a//x"], ["./x"], [""], ["a\\..\\x"], ["C:/x"]),
            *([".git/config"], ["a/.GIT/hooks/x"], [".zenml/config.yaml"], ["a\0b"], ["a\nb"]),
            *(["a", "a"], ["b", "a"], ["a", "a/b"]),
        ],
    )
    def test_a_manifest_that_names_what_no_bundle_may_hold(
        self, paths: list[str], store: LocalArtifactStore, tmp_path: Path
    ) -> None:
        files = [{"path": path, "sha256": sha256(b""), "size": 0} for path in paths]
        self.refuse(store, self.upload(store, {"version": 1, "files": files}), tmp_path)

    @pytest.mark.parametrize(
        "manifest",
        [
            {"version": 2, "files": []},
            {"version": 1, "files": [{"path": "a", "sha256": "", "size": -512}]},
            {"version": 1, "files": [{"path": 1}]},
            [],
        ],
    )
    def test_a_manifest_that_is_none(
        self, manifest: object, store: LocalArtifactStore, tmp_path: Path
    ) -> None:
        self.refuse(store, self.upload(store, manifest), tmp_path)

    def test_more_than_the_disk_can_hold_before_any_of_it_is_written(
        self, store: LocalArtifactStore, tmp_path: Path
    ) -> None:
        file = {"path": "a", "sha256": "", "size": 2**60}
        digest = self.upload(store, {"version": 1, "files": [file]})

        with pytest.raises(StoreFullError, match=r"needs 1073741824\.0 GiB"):
            unpack(store, digest, tmp_path / "place" / "code")
        assert os.listdir(tmp_path / "place") == []

    def upload(self, store: LocalArtifactStore, manifest: object) -> str:
        from zenml.core.bundle._archive import _header, _padding

        data = canonical(manifest)
        tar = _header(".zenml/bundle.json", len(data), 0o644) + data + _padding(len(data))
        files = manifest.get("files", []) if isinstance(manifest, dict) else []
        for file in files:
            if isinstance(file["path"], str):
                tar += _header(file["path"], max(0, file["size"]), 0o644)
        digest = sha256(data)
        store.write(archive_key(digest), gzip.compress(tar + bytes(1024)))
        return digest


def _as_link(info: tarfile.TarInfo, kind: bytes, target: str) -> None:
    info.type, info.linkname = kind, target


def _block_of(plain: bytes, info: tarfile.TarInfo) -> bytes:
    """A member as it stands in the archive: headers, content, padding."""
    return plain[info.offset : info.offset_data + info.size + -info.size % 512]


def test_a_bundle_is_plain_data(bundle: Bundle) -> None:
    assert msgspec.json.decode(msgspec.json.encode(bundle), type=Bundle) == bundle
