"""Ignore rules: what git leaves out is left out, and ``.zenmlignore`` has the last word."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zenml.core.bundle import LeftOut, collect, left_out
from zenml.core.bundle._ignore import line_for
from zenml.core.bundle._walk import Walk

Git = Callable[..., str]


def write(root: Path, **files: str) -> None:
    """Files by name; in keyword arguments, ``__`` stands for a slash and ``_DOT_`` for a dot."""
    write_all(root, {k.replace("__", "/").replace("_DOT_", "."): v for k, v in files.items()})


def write_all(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def bundled(root: Path) -> list[str]:
    return [file.path for file in collect(root).files]


# -- compared with git ----------------------------------------------------------------------------

NAMES = ["a", "b", "ab", "a.c", "b.py", "-x", "[a]", "a b", "é", "!a", "#a", "a\\b", "ba", "B"]
PIECES = [
    *("a", "b", "c", "ab", "*", "**", "?", ".", "/", "/", "\\", "é", " ", "!", "#", "\\*", "x"),
    *("[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[a", "[[:alpha:]]", "[[:digit:]]", "[\\]]"),
    *("*.c", "*.py", "/**", "**/", "/**/", "[a/b]", "[[:nope:]]", "[--b]", "\\!", "\\#"),
]


def random_pattern(chance: random.Random) -> str:
    text = "".join(chance.choice(PIECES) for _ in range(chance.choice((1, 1, 2, 2, 3, 4))))
    return ("!" if chance.random() < 0.3 else "") + text + ("/" if chance.random() < 0.2 else "")


def random_tree(root: Path, chance: random.Random, depth: int = 0) -> None:
    if chance.random() < (0.9 if depth == 0 else 0.35):
        end = chance.choice(("\n", "\r\n"))
        lines = [random_pattern(chance) for _ in range(chance.randint(1, 6))]
        (root / ".gitignore").write_bytes(end.join(lines).encode())
    for name in chance.sample(NAMES, 5):
        if depth < 3 and chance.random() < 0.45:
            (root / name).mkdir()
            random_tree(root / name, chance, depth + 1)
        else:
            (root / name).touch()


def as_git_sees_it(root: Path) -> set[str]:
    command = ["git", "ls-files", "-z", "--others", "--exclude-standard"]
    answer = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    return {os.fsdecode(path) for path in answer.split(b"\0") if path}


@pytest.mark.skipif(os.name != "posix", reason="names that only POSIX systems have")
@pytest.mark.usefixtures("git")
@pytest.mark.parametrize("seed", range(50))
def test_a_generated_tree_is_bundled_as_git_would_add_it(repo: Path, seed: int) -> None:
    random_tree(repo, random.Random(seed))  # noqa: S311 - no secret
    walk = Walk(repo)

    # Names with a backslash cannot be bundled; the walk reports those that are not left out.
    found = {file.path for file in walk.files} | {problem.path for problem in walk.problems}
    assert found == as_git_sees_it(repo)


# name of the case: lines, paths that stay in, paths that are left out
CASES: dict[str, tuple[str, list[str], list[str]]] = {
    "a name without a slash counts at every depth": ("x", ["y"], ["x", "d/x", "d/e/x"]),
    "a leading slash ties it to the folder of the file": ("/x", ["d/x"], ["x"]),
    "so does a slash in the middle": ("d/x", ["e/d/x"], ["d/x"]),
    "a trailing slash means folders only": ("x/", ["x"], ["d/x/y"]),
    "two stars stand for any depth": ("a/**/z", ["z"], ["a/z", "a/b/z", "a/b/c/z"]),
    "one star stops at a slash": ("a/*.c", ["a/b/y.c"], ["a/y.c"]),
    "the last line that matches decides": ("*.c\n!keep.c", ["keep.c", "d/keep.c"], ["x.c"]),
    "all but one kind of file": ("*\n!*/\n!*.py", ["a.py", "d/b.py"], ["a.txt", "d/b.txt"]),
    "nothing comes back from a folder that is left out": ("d/\n!d/x", ["y"], ["d/x"]),
    "comments and escapes": ("# x\n\\#x\n\\!y", ["x", "y"], ["#x", "!y"]),
    "spaces at the end, unless they are escaped": ("x  \ny\\ ", ["y"], ["x", "y "]),
    "classes": ("[a-c][!0-9]\n[[:upper:]]", ["a1", "d"], ["ax", "D"]),
    "a byte order mark and CRLF": ("\ufeffx\r\ny\r\n", ["z"], ["x", "y"]),
    "what ends in the middle matches nothing": ("[ab\nx\\", ["a", "x"], []),
}


@pytest.mark.usefixtures("git")
@pytest.mark.parametrize("case", CASES)
def test_rules_mean_what_they_mean_to_git(case: str, repo: Path) -> None:
    lines, stay, go = CASES[case]
    write_all(repo, dict.fromkeys([*stay, *go], ""))
    (repo / ".gitignore").write_bytes(lines.encode())

    found = set(bundled(repo))
    assert found - {".gitignore"} == set(stay)
    assert found == as_git_sees_it(repo)


def test_a_nearer_file_outweighs_one_further_up(repo: Path) -> None:
    write(repo, _DOT_gitignore="*.csv", d___DOT_gitignore="!small.csv", d__small_DOT_csv="1")
    write(repo, small_DOT_csv="1", d__e__small_DOT_csv="1", d__large_DOT_csv="1")

    assert "d/small.csv" in bundled(repo)
    assert "d/e/small.csv" in bundled(repo)
    assert not {"small.csv", "d/large.csv"} & set(bundled(repo))


@pytest.mark.usefixtures("git")
def test_a_part_of_a_work_tree_obeys_the_files_above_it(repo: Path) -> None:
    write(repo, _DOT_gitignore="*.log\n/part/out/\n", part__a_DOT_log="", part__a_DOT_py="")
    write(repo, part__out__x="", part__d__out__x="")

    assert bundled(repo / "part") == ["a.py", "d/out/x"]


def test_a_link_is_no_file_of_rules(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("x")
    (repo / ".gitignore").symlink_to(tmp_path / "rules")
    write(repo, x="", _DOT_zenmlignore="/.gitignore")

    assert bundled(repo) == [".zenmlignore", "x"]


def test_what_git_tracks_is_bundled_although_its_rules_would_ignore_it(
    git: Git, repo: Path
) -> None:
    write(repo, _DOT_gitignore="*.cfg\n/out/\n", a_DOT_cfg="", b_DOT_cfg="", out__x="", out__y="")
    git("add", "--force", "a.cfg", "out/x")

    assert bundled(repo) == [".gitignore", "a.cfg", "out/x"]


# -- .zenmlignore ---------------------------------------------------------------------------------


def test_zenmlignore_leaves_out_more(repo: Path) -> None:
    write(repo, _DOT_zenmlignore="/docs/\n*.ipynb", docs__x_DOT_md="", a_DOT_ipynb="", a_DOT_py="")

    assert bundled(repo) == [".zenmlignore", "a.py"]


def test_zenmlignore_leaves_out_even_what_git_tracks(git: Git, repo: Path) -> None:
    write(repo, _DOT_gitignore="*.cfg", _DOT_zenmlignore="*.cfg", a_DOT_cfg="")
    git("add", "--force", "a.cfg")

    assert bundled(repo) == [".gitignore", ".zenmlignore"]


def test_zenmlignore_brings_a_file_back(repo: Path) -> None:
    write(repo, _DOT_gitignore="*.csv", d___DOT_gitignore="*.csv", _DOT_zenmlignore="!small.csv")
    write(repo, small_DOT_csv="", large_DOT_csv="", d__small_DOT_csv="")

    assert {"small.csv", "d/small.csv"} < set(bundled(repo))
    assert "large.csv" not in bundled(repo)


def test_zenmlignore_brings_a_folder_back_with_all_that_is_in_it(repo: Path) -> None:
    write(repo, _DOT_gitignore="data/\n*.csv", _DOT_zenmlignore="!/data/\n/data/raw/")
    write(repo, data__a_DOT_csv="", data__d__b_DOT_csv="", data__raw__c="", other_DOT_csv="")
    write(repo, data___DOT_gitignore="*")

    expected = [".gitignore", ".zenmlignore", "data/.gitignore", "data/a.csv", "data/d/b.csv"]
    assert bundled(repo) == expected


def test_a_path_in_zenmlignore_reaches_into_a_folder_that_is_left_out(repo: Path) -> None:
    write(repo, _DOT_gitignore="data/", _DOT_zenmlignore="out/\n!data/ref/small.csv\n!out/*/x\n")
    write(repo, data__ref__small_DOT_csv="", data__ref__large_DOT_csv="", data__a="")
    write(repo, out__d__x="", out__d__y="", out__x="")

    assert bundled(repo) == [".gitignore", ".zenmlignore", "data/ref/small.csv", "out/d/x"]


def test_a_name_in_zenmlignore_does_not_reach_there(repo: Path) -> None:
    """Or every folder that is left out would have to be searched, however large it is."""
    write(repo, _DOT_gitignore="data/", _DOT_zenmlignore="!*.csv", data__a_DOT_csv="", b_DOT_csv="")

    assert bundled(repo) == [".gitignore", ".zenmlignore", "b.csv"]


def test_what_is_left_out_is_listed_with_the_line_that_says_so(repo: Path) -> None:
    write(
        repo, _DOT_gitignore="# ours\ndata/", d___DOT_gitignore="*.tmp", data__x="", d__y_DOT_tmp=""
    )
    write(repo, _DOT_zenmlignore="!/data/keep\n/docs\n", docs__z="", data__keep="")
    write(repo, env__pyvenv_DOT_cfg="", env__bin__python="")

    assert left_out(repo) == [
        LeftOut("d/y.tmp", "d/.gitignore:1: *.tmp"),
        LeftOut("data/", ".gitignore:2: data/"),
        LeftOut("docs/", ".zenmlignore:2: /docs"),
        LeftOut("env/", "an environment is never bundled"),
    ]


@pytest.mark.parametrize(
    "folder", [".git", ".zenml", "__pycache__", ".tox", ".nox", "node_modules", "d/.git"]
)
def test_some_folders_are_never_bundled_whatever_a_file_says(folder: str, repo: Path) -> None:
    write_all(repo, {f"{folder}/x": "", ".zenmlignore": f"!{folder}/\n!/{folder}/x", "a.py": ""})

    assert bundled(repo) == [".zenmlignore", "a.py"]


def test_neither_are_environments_and_compiled_files(repo: Path) -> None:
    write(repo, venv__pyvenv_DOT_cfg="", venv__lib__x_DOT_py="", a_DOT_pyc="", a_DOT_py="")
    write(repo, conda__x="")
    (repo / "conda" / "conda-meta").mkdir()

    assert bundled(repo) == ["a.py"]


@pytest.mark.parametrize("path", ["a", "a b ", "[x]*?", "d/#x", "!y", "é"])
def test_the_line_that_a_message_suggests_leaves_out_that_path_alone(path: str, repo: Path) -> None:
    others = ["x", "xx", "b/a", "a b", "y"]
    write_all(repo, dict.fromkeys([path, *(o for o in others if o != path)], ""))
    before = bundled(repo)
    write_all(repo, {".zenmlignore": line_for(path)})

    assert set(before) - set(bundled(repo)) == {path}
