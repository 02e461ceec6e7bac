"""A bundle is named by its content; what cannot be bundled is said all at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zenml.core._canonical import from_json, sha256
from zenml.core.bundle import Bundle, BundleRules, collect, store_bundle
from zenml.core.errors import ConfigurationError, SourceChangedError
from zenml.core.stores import LocalArtifactStore

Git = Callable[..., str]


def refusal(root: Path, rules: BundleRules | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError, match="cannot be bundled") as caught:
        collect(root, rules)
    return caught.value


class TestDigest:
    def test_it_is_that_of_the_canonical_manifest(self, repo: Path) -> None:
        (repo / "b.sh").write_text("run")
        (repo / "b.sh").chmod(0o700)
        (repo / "a").mkdir()
        (repo / "a" / "é.py").write_text("x = 1\n")

        manifest = collect(repo)

        assert from_json(manifest.encoded) == {
            "version": 1,
            "files": [
                {"path": "a/é.py", "sha256": sha256(b"x = 1\n"), "size": 6},
                {"path": "b.sh", "sha256": sha256(b"run"), "size": 3, "executable": True},
            ],
        }
        assert manifest.digest == sha256(manifest.encoded)
        assert manifest.size == 9

    def test_it_depends_on_paths_content_and_mode_and_on_nothing_else(
        self, repo: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "elsewhere"
        other.mkdir()
        for folder, names in ((repo, "abc"), (other, "cba")):
            for name in names:
                (folder / name).write_text(name)
        (other / "a").chmod(0o640)
        os.utime(other / "b", (0, 0))
        (other / "empty").mkdir()
        assert collect(other).digest == collect(repo).digest

        digests = {collect(repo).digest}
        (other / "a").chmod(0o744)
        digests.add(collect(other).digest)
        (other / "a").write_text("A")
        digests.add(collect(other).digest)
        (other / "a").rename(other / "d")
        digests.add(collect(other).digest)
        assert len(digests) == 4

    def test_paths_are_sorted_whatever_folders_they_are_in(self, repo: Path) -> None:
        for name in ("a/b", "a-b", "a.b", "ab", "B"):
            (repo / name).parent.mkdir(exist_ok=True)
            (repo / name).touch()

        assert [file.path for file in collect(repo).files] == ["B", "a-b", "a.b", "a/b", "ab"]

    def test_an_empty_repository_has_one_too(self, repo: Path) -> None:
        assert collect(repo).files == ()


class TestLinks:
    def test_one_to_a_file_of_the_repository_is_bundled_as_its_content(self, repo: Path) -> None:
        (repo / "a.txt").write_text("text")
        (repo / "d").mkdir()
        (repo / "d" / "link").symlink_to("../a.txt")

        assert {file.path: file.sha256 for file in collect(repo).files} == {
            "a.txt": sha256(b"text"),
            "d/link": sha256(b"text"),
        }

    def test_so_is_one_to_a_folder(self, repo: Path) -> None:
        (repo / "v1").mkdir()
        (repo / "v1" / "x").write_text("1")
        (repo / "latest").symlink_to("v1", target_is_directory=True)

        assert [file.path for file in collect(repo).files] == ["latest/x", "v1/x"]

    @pytest.mark.parametrize("target", ["../secret", "/etc/hosts", "d/../../secret", ".."])
    def test_one_that_leaves_the_repository_is_refused(self, target: str, repo: Path) -> None:
        (repo.parent / "secret").touch()
        (repo / "d").mkdir()
        (repo / "link").symlink_to(target)

        (problem,) = refusal(repo).problems
        assert problem.path == "link"
        assert "leaves the repository" in problem.message
        assert "/link" in (problem.remedy or "")

        (repo / ".zenmlignore").write_text("/link")
        collect(repo)

    def test_one_around_a_circle_is_refused(self, repo: Path) -> None:
        (repo / "d").mkdir()
        (repo / "d" / "x").touch()
        (repo / "d" / "up").symlink_to("..", target_is_directory=True)

        (problem,) = refusal(repo).problems
        assert (problem.path, "lies in" in problem.message) == ("d/up", True)

    def test_one_into_the_store_is_refused(self, repo: Path) -> None:
        (repo / ".zenml").mkdir()
        (repo / ".zenml" / "index.db").touch()
        (repo / "db").symlink_to(".zenml/index.db")

        (problem,) = refusal(repo).problems
        assert "never bundled" in problem.message

    def test_one_to_nothing_is_nothing(self, repo: Path) -> None:
        (repo / ".#draft.py").symlink_to("somebody@host.1234")
        (repo / "self").symlink_to("self")

        assert collect(repo).files == ()


class TestRefusals:
    @pytest.mark.skipif(os.name != "posix", reason="names that only POSIX systems have")
    @pytest.mark.parametrize("name", [b"a\\b", b"a\nb", b"\xff", b"C:x", b".ZenML/x", b"d/.GIT"])
    def test_a_name_that_another_system_could_not_hold(self, name: bytes, repo: Path) -> None:
        path = os.path.join(os.fsencode(repo), name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb"):
                pass
        except OSError:
            pytest.skip("this file system does not hold it either")

        assert len(refusal(repo).problems) == 1

    @pytest.mark.skipif(os.name != "posix", reason="pipes have names on POSIX systems")
    def test_pipes_and_sockets_are_passed_over(self, repo: Path) -> None:
        os.mkfifo(repo / "pipe")

        assert collect(repo).files == ()

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is readable to root"
    )
    def test_a_file_that_cannot_be_read(self, repo: Path) -> None:
        (repo / "locked").touch(mode=0)

        assert [problem.path for problem in refusal(repo).problems] == ["locked"]


class TestBudget:
    def test_the_ten_largest_are_named_with_the_line_that_leaves_them_out(self, repo: Path) -> None:
        for number in range(12):
            folder = repo / f"d{number:02}"
            folder.mkdir()
            for part in "abc":
                (folder / part).write_bytes(bytes(1000 * (number + 1)))

        error = refusal(repo, BundleRules(budget=100_000))

        summary, *offenders = error.problems
        assert "228.5 KiB in 36 files, over the budget of 97.7 KiB" in summary.message
        assert [problem.path for problem in offenders] == [f"d{n:02}/" for n in range(11, 1, -1)]
        assert offenders[0].message == "35.2 KiB in 3 files"
        assert offenders[0].remedy == "add /d11/ to .zenmlignore"
        assert len(str(error).splitlines()) == 12

    def test_one_large_file_is_named_itself_and_not_by_its_folder(self, repo: Path) -> None:
        (repo / "a" / "b").mkdir(parents=True)
        (repo / "a" / "b" / "model [1].bin").write_bytes(bytes(5000))
        (repo / "a" / "b" / "small").write_bytes(bytes(100))

        largest = refusal(repo, BundleRules(budget=1000)).problems[1]

        assert largest.path == "a/b/model [1].bin"
        assert largest.remedy == r"add /a/b/model \[1].bin to .zenmlignore"

    def test_no_folder_of_code_is_named_as_what_to_leave_out(self, repo: Path) -> None:
        (repo / "src").mkdir()
        (repo / "src" / "train.py").write_text("")
        for name in "abc":
            (repo / "src" / name).write_bytes(bytes(1000))

        paths = [problem.path for problem in refusal(repo, BundleRules(budget=10)).problems[1:4]]

        assert sorted(paths) == ["src/a", "src/b", "src/c"]

    def test_what_hardly_counts_is_not_named(self, repo: Path) -> None:
        (repo / "model.bin").write_bytes(bytes(10_000))
        (repo / "train.py").write_text("pass")

        assert [problem.path for problem in refusal(repo, BundleRules(budget=10)).problems] == [
            "",
            "model.bin",
        ]

    def test_following_the_advice_makes_it_fit(self, repo: Path) -> None:
        (repo / "data set").mkdir()
        (repo / "data set" / "x y").write_bytes(bytes(10_000))
        (repo / "train.py").write_text("pass")
        rules = BundleRules(budget=1000)

        advice = refusal(repo, rules).problems[1].remedy or ""
        line = advice.removeprefix("add ").removesuffix(" to .zenmlignore")
        (repo / ".zenmlignore").write_text(line)

        assert "train.py" in [file.path for file in collect(repo, rules).files]

    def test_what_is_over_it_is_not_read(self, repo: Path) -> None:
        with (repo / "huge").open("wb") as file:
            file.truncate(2**42)  # a hole: reading it would take hours

        assert "4096.0 GiB" in str(refusal(repo))


class TestStoring:
    def test_a_bundle_is_uploaded_once(self, store: LocalArtifactStore, repo: Path) -> None:
        (repo / "a.py").write_text("x = 1")
        first = store_bundle(store, repo)
        when = os.stat(store.local_path(first.key) or "").st_ino

        second = store_bundle(store, repo)

        assert first == second == Bundle(digest=collect(repo).digest, files=1, size=5)
        assert first.key == f"code/{first.digest}.tar.gz"
        assert os.stat(store.local_path(first.key) or "").st_ino == when
        assert os.listdir(store.drafts_folder()) == []

    def test_equal_repositories_give_one_archive_to_the_byte(
        self, repo: Path, tmp_path: Path
    ) -> None:
        archives = []
        for name in ("one", "two"):
            made = LocalArtifactStore(str(tmp_path / name))
            made.prepare()
            (repo / "a.py").write_text("x = 1")
            archives.append(made.read(store_bundle(made, repo).key))

        assert archives[0] == archives[1]

    def test_the_commit_is_recorded_and_does_not_change_the_digest(
        self, git: Git, store: LocalArtifactStore, repo: Path
    ) -> None:
        (repo / "a.py").write_text("x = 1")
        git("add", ".")
        git("commit", "--quiet", "--message", "first")
        first = store_bundle(store, repo)
        git("commit", "--quiet", "--allow-empty", "--message", "second")
        second = store_bundle(store, repo)
        (repo / "a.py").write_text("x = 2")
        third = store_bundle(store, repo)

        assert first.git is not None
        assert second.git is not None
        assert third.git is not None
        assert second.git.commit == git("rev-parse", "HEAD").strip() == third.git.commit
        assert (first.git.dirty, second.git.dirty, third.git.dirty) == (False, False, True)
        assert first.git.commit != second.git.commit
        assert first.digest == second.digest != third.digest

    @pytest.mark.parametrize("change", ["grow", "shrink", "edit", "remove"])
    def test_a_file_that_changes_meanwhile_is_noticed(
        self, change: str, store: LocalArtifactStore, repo: Path
    ) -> None:
        from zenml.core.bundle._bundle import _upload

        path = repo / "log.txt"
        path.write_text("abc")
        manifest = collect(repo)
        if change == "remove":
            path.unlink()
        else:
            path.write_text({"grow": "abcd", "shrink": "ab", "edit": "abd"}[change])

        with pytest.raises(SourceChangedError, match="changed while"):
            _upload(store, repo, manifest, "code/x.tar.gz")
        assert not store.exists("code/x.tar.gz")
        assert os.listdir(store.drafts_folder()) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
    def test_memory_does_not_grow_with_the_files(
        self, store: LocalArtifactStore, repo: Path
    ) -> None:
        import tracemalloc

        with (repo / "large").open("wb") as file:
            file.truncate(40 * 2**20)
        tracemalloc.start()
        try:
            store_bundle(store, repo)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert peak < 8 * 2**20
