"""The processing backend of one machine: what it promises to the engine, in both of its modes."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Files, MapContext, Unit, open_store
from zenml.core.errors import ConfigurationError, DataError, ZenMLError
from zenml.core.testing import nothing_left_behind
from zenml.local import ProcessingLocalBackend

MODES = pytest.mark.parametrize("mode", ["threads", "processes"])

UNITS = """
import os, sys, threading
from zenml.core import errors

def double(payload, files):
    print("a unit prints", payload)
    return 2 * payload

def place(payload, files):
    return [os.getpid(), threading.current_thread().name, os.getcwd()]

def path(payload, files):
    return sys.path

def noted(payload, files):
    blob = files.put_bytes(str(payload).encode())
    return blob.digest

def data_error(payload, files):
    raise errors.DataError("a row is wrong", where="rows.csv:3", remedy="mend it")

def value_error(payload, files):
    raise ValueError("as it should \\udcff")

def nameless(payload, files):
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError
    raise Odd

def not_plain(payload, files):
    return object()

def not_a_number(payload, files):
    return float("nan")

def ends(payload, files):
    raise SystemExit(0)
"""


@pytest.fixture
def context(tmp_path: Path) -> MapContext:
    """A store, and a folder with the module of the units."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "units_of_mine.py").write_text(UNITS)
    store = open_store(str(tmp_path / "store"))
    store.prepare()
    return MapContext(
        store=store.url, scope="units/key", step="tested", import_roots=(str(folder),)
    )


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The path, and what was imported, as they were."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    sys.modules.pop("units_of_mine", None)


def units(name: str, payloads: Any) -> list[Unit]:
    return [Unit(f"units_of_mine:{name}", payload, "code") for payload in payloads]


def mapped(context: MapContext, name: str, payloads: Any, **parameters: Any) -> dict[int, Any]:
    found = list(ProcessingLocalBackend(**parameters).map(units(name, payloads), context))
    assert max(Counter(index for index, _ in found).values(), default=1) == 1
    return dict(found)


class TestParameters:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"worker": 1}, "worker: no such parameter (did you mean 'workers'?)"),
            ({"workers": 0}, "workers: expected int >= 1"),
            ({"workers": "2"}, "workers: expected int"),
            ({"mode": "process"}, "expected one of 'threads', 'processes', found 'process'"),
            ({"mode": "process"}, "did you mean 'processes'?"),
        ],
    )
    def test_a_wrong_one_is_named(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            ProcessingLocalBackend(**given)

        assert said in str(caught.value)


@MODES
@pytest.mark.parametrize("workers", [None, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_unit_is_executed_and_comes_with_its_index(
    context: MapContext, mode: str, workers: int | None, count: int
) -> None:
    found = mapped(context, "double", range(count), mode=mode, workers=workers)

    assert found == {index: 2 * index for index in range(count)}


@MODES
def test_more_units_than_are_held_at_once(context: MapContext, mode: str) -> None:
    assert len(mapped(context, "double", range(300), mode=mode, workers=2)) == 300


def test_threads_are_of_this_process(context: MapContext) -> None:
    found = mapped(context, "place", range(4), mode="threads", workers=2)

    assert {place[0] for place in found.values()} == {os.getpid()}
    assert threading.current_thread().name not in {place[1] for place in found.values()}


def test_one_worker_needs_no_thread(context: MapContext) -> None:
    found = mapped(context, "place", range(2), mode="threads", workers=1)

    assert {place[1] for place in found.values()} == {threading.current_thread().name}


def test_processes_are_others_in_the_same_folder(context: MapContext) -> None:
    found = mapped(context, "place", range(4), mode="processes", workers=2)

    assert os.getpid() not in {place[0] for place in found.values()}
    assert {place[2] for place in found.values()} == {str(Path.cwd())}


def test_no_more_processes_than_units_are_started(context: MapContext) -> None:
    found = mapped(context, "place", range(1), mode="processes", workers=8)

    assert len(found) == 1


def test_a_process_has_our_path_and_no_other(context: MapContext, tmp_path: Path) -> None:
    # A colon would end an entry of PYTHONPATH.
    sys.path.insert(0, str(tmp_path / "with: a colon, 'quotes' and ü"))

    found = mapped(context, "path", [0], mode="processes")

    assert found[0] == [*sys.path, *context.import_roots]


@MODES
def test_what_units_store_is_there(context: MapContext, mode: str) -> None:
    found = mapped(context, "noted", range(3), mode=mode)

    store = open_store(context.store)
    assert [store.read(f"data/{found[n]}") for n in range(3)] == [b"0", b"1", b"2"]


@MODES
def test_results_are_the_same_in_both_modes_and_remembered_for_each_other(
    context: MapContext, mode: str
) -> None:
    mapped(context, "double", range(3), mode="threads")
    store = open_store(context.store)
    before = {found.key: store.read(found.key) for found in store.list("units/")}

    mapped(context, "double", range(3), mode=mode)

    assert {found.key: store.read(found.key) for found in store.list("units/")} == before
    assert len(before) == 3


class TestErrors:
    @MODES
    def test_one_of_ours_arrives_as_it_was_raised(self, context: MapContext, mode: str) -> None:
        with nothing_left_behind(), pytest.raises(DataError) as caught:
            mapped(context, "data_error", range(3), mode=mode)

        error = caught.value
        assert (error.message, error.where, error.remedy) == (
            "a row is wrong",
            "rows.csv:3",
            "mend it",
        )

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("value_error", r"ValueError: as it should"),
            ("nameless", r"Odd: \(its message cannot be shown: RuntimeError\)"),
            ("ends", r"SystemExit: 0"),
            ("nothing_of_that_name", r"has no 'nothing_of_that_name'"),
        ],
    )
    def test_any_other_arrives_from_a_process_with_its_words(
        self, context: MapContext, name: str, said: str
    ) -> None:
        with nothing_left_behind(), pytest.raises(ZenMLError, match=said):
            mapped(context, name, range(3), mode="processes", workers=2)

    def test_its_traceback_comes_along(self, context: MapContext) -> None:
        with pytest.raises(ZenMLError, match=r'units_of_mine.py", line \d+, in value_error'):
            mapped(context, "value_error", [1], mode="processes")

    @MODES
    @pytest.mark.parametrize("name", ["not_plain", "not_a_number"])
    def test_a_result_that_is_not_plain_is_refused(
        self, context: MapContext, mode: str, name: str
    ) -> None:
        with pytest.raises(ZenMLError, match="a unit of work cannot return that") as caught:
            mapped(context, name, [1], mode=mode)

        assert "tested" in str(caught.value.where)

    @MODES
    def test_a_module_that_is_not_there_says_so(self, context: MapContext, mode: str) -> None:
        backend = ProcessingLocalBackend(mode=mode)  # type: ignore[arg-type]

        with pytest.raises(ZenMLError, match="No module named 'nowhere'"):
            list(backend.map([Unit("nowhere:f", 1, "code")], context))


@MODES
def test_closing_early_leaves_nothing_behind(context: MapContext, mode: str) -> None:
    with nothing_left_behind():
        results = ProcessingLocalBackend(mode=mode, workers=2).map(  # type: ignore[arg-type]
            units("double", range(50)), context
        )
        next(results)
        results.close()  # type: ignore[attr-defined]


@MODES
def test_a_map_that_nobody_reads_starts_nothing(context: MapContext, mode: str) -> None:
    with nothing_left_behind():
        ProcessingLocalBackend(mode=mode, workers=2).map(  # type: ignore[arg-type]
            units("double", range(3)), context
        )


def test_units_take_files_like_these() -> None:
    # What the units above rely on, for readers who write their own.
    assert {"put", "put_bytes", "fetch", "scratch"} <= set(dir(Files))
