"""What the suite of artifact stores puts to a store: many users at once, and what they expect."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import pytest

from zenml.core.contracts._store import ArtifactStore
from zenml.core.errors import ObjectNotFoundError, StoreError

__all__ = [
    "error_of",
    "expect_changes_seen",
    "expect_one_winner",
    "expect_same",
    "expect_whole",
    "keys_in",
    "noise",
    "together",
    "while_writing",
    "write_all",
]


def together(calls: Sequence[Callable[[], Any]], patience: float) -> list[Any]:
    """Make calls at the same moment, each in a thread. Their results; the first error, if any."""
    start = threading.Barrier(len(calls))
    answers: list[Future[Any]] = [Future() for _ in calls]

    def run(call: Callable[[], Any], answer: Future[Any]) -> None:
        start.wait()
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - told to whoever asked
            answer.set_exception(error)

    # Daemons: one that hangs must not keep pytest from ending.
    for call, answer in zip(calls, answers, strict=True):
        threading.Thread(target=run, args=(call, answer), daemon=True).start()
    hanging = wait(answers, timeout=patience).not_done
    assert not hanging, f"{len(hanging)} of {len(calls)} calls did not end in {patience:g} seconds"
    return [answer.result() for answer in answers]


def while_writing(write: Callable[[], None], look: Callable[[], Any], patience: float) -> list[Any]:
    """What two threads see that look again and again until ``write`` has ended, and once more."""
    ended = threading.Event()

    def writing() -> None:
        try:
            write()
        finally:
            ended.set()

    def looking() -> list[Any]:
        seen = []
        while not ended.is_set():
            seen.append(look())
        return [*seen, look()]

    _, mine, yours = together([writing, looking, looking], patience)
    return [*mine, *yours]


def expect_whole(
    store: ArtifactStore,
    keys: Sequence[str],
    data: bytes,
    put: Callable[[str], Any],
    patience: float,
) -> None:
    """Readers find nothing, or the whole object, while ``put`` writes ``data`` under each key."""

    def write() -> None:
        for key in keys:
            put(key)

    def look() -> None:
        for key in keys:
            try:
                found = store.read(key)
            except ObjectNotFoundError:
                return
            expect_same(found, data, "read() gave half an object")
            sizes = [row.size for row in store.list(key)]
            assert sizes == [len(data)], f"a listing saw half an object: {sizes}"

    while_writing(write, look, patience)


def expect_one_winner(
    store: ArtifactStore,
    key: str,
    writers: Sequence[Callable[[str, bytes], bool]],
    patience: float,
) -> None:
    """Of writers of one absent object, each with bytes of its own, one is told that it wrote."""
    calls = [partial(write, key, str(number).encode()) for number, write in enumerate(writers)]
    won = together(calls, patience)
    assert won.count(True) == 1, (
        f"of {len(won)} writers of an absent object exactly one gets True, not {won.count(True)}"
    )
    assert store.read(key) == str(won.index(True)).encode(), (
        "the object holds the bytes of a writer that was told False"
    )


def expect_changes_seen(
    store: ArtifactStore, ask: Callable[..., Any], folder: str, who: str
) -> None:
    """Whoever is asked, by method and arguments, sees what the store is told, and tells it."""
    key = f"{folder}/x"
    assert ask("list", f"{folder}/") == []
    assert ask("exists", key) is False
    for number in range(5):
        data = str(number).encode()
        store.write(key, data)
        assert ask("read", key) == data, f"{who} reads an object as it was before a write"
        assert ask("exists", key) is True, f"{who} does not know of an object that is written"
        listed = ask("list", f"{folder}/")
        assert listed == [key], f"{who} does not list an object that is written"
        assert ask("write_if_absent", key, b"") is False, f"{who} takes an object for absent"
        ask("write", f"{folder}/y", data)
        assert store.read(f"{folder}/y") == data, f"what {who} writes is not read"
        assert keys_in(store, folder) == ["x", "y"], f"what {who} writes is not listed"
        store.delete(key)
        ask("delete", f"{folder}/y")
        assert ask("list", f"{folder}/") == [], f"{who} lists an object that is deleted"
        assert ask("exists", key) is False, f"{who} does not know that an object is deleted"


def keys_in(
    store: ArtifactStore, folder: str, prefix: str = "", after: str | None = None
) -> list[str]:
    """What a listing gives, without the folder that all keys begin with."""
    begin = f"{folder}/"
    behind = None if after is None else begin + after
    return [row.key.removeprefix(begin) for row in store.list(begin + prefix, after=behind)]


def write_all(store: ArtifactStore, folder: str, names: Sequence[str]) -> None:
    """Write a small object under each name."""
    for name in names:
        store.write(f"{folder}/{name}", b"x")


def noise(size: int) -> bytes:
    """Bytes that no two blocks of have in common; the same in every run."""
    return random.Random(size).randbytes(size)  # noqa: S311 - contents, no secret


def expect_same(found: bytes, wanted: bytes, otherwise: str) -> None:
    """As ``assert found == wanted``, whose comparison of megabytes nobody could read."""
    if found != wanted:
        pytest.fail(f"{otherwise}: {len(found)} bytes, and {len(wanted)} were expected")


def error_of(call: Callable[[], Any], method: str, of: str) -> StoreError:
    """The error that a call has to raise."""
    try:
        call()
    except StoreError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the store's own code
        kind = type(error).__name__
        return pytest.fail(f"{method}() of {of} raised {kind}: only StoreErrors leave a store")
    return pytest.fail(f"{method}() of {of} raised no StoreError")
