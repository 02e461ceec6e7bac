"""What every processing backend has to do: execute units, each once, and know when to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zenml.core._canonical import canonical, from_json, sha256
from zenml.core.contracts._backend import ProcessingBackend
from zenml.core.contracts._units import Unit
from zenml.core.engine._run import Run
from zenml.core.errors import DataError, ZenMLError
from zenml.core.stores._open import open_store
from zenml.core.testing._backends import BackendConformance
from zenml.core.testing._cases import case
from zenml.core.testing._map_bench import STEP, MapBench
from zenml.core.testing._processes import nothing_left_behind, processes_of_group, wait_until
from zenml.core.testing._user_code import ODD_LINE
from zenml.core.testing._user_project import UserProject, new_marks

__all__ = ["ProcessingConformance"]

#: Units of a map that is given up early: many more than a backend's workers take at once.
_MANY = 60

_PLAIN: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    "",
    ODD_LINE,
    "\x00\t\r\n\x7f\u2028\ufeff\"'\\{}[]</script>",
    [],
    {},
    {"": [None, [], {}], "ü ß": {"a.b/c": 1}, "1": "a key that looks like a number"},
    {"a tuple": ("becomes", ("a list",))},
    "x" * 1_000_000,
    [*range(10_000)],
]

_EDITED = """
def answer(payload, files):
    return "{text}"
"""

_ALONE = """
def answer(payload, files):
    import {sibling}

    return {sibling}.add_one(payload)
"""


class ProcessingConformance(BackendConformance):
    """Cases for processing backends.

    Give the backend two workers or a few more, if it can have them: cases that end a map early
    expect that it has not begun with sixty units by then. Two capabilities are asked for:

    - ``parallel``: units overlap in time, and each result comes when it is made.
    - ``isolation``: units are executed in processes that may die, and that are ended when the
      iterator is closed.
    """

    kind = "processing"

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls) -> float:
        """Seconds that a result may take before the suite calls it a hang.

        Units that wait for one another give up after a tenth of that.
        """
        return 120.0

    @pytest.fixture(scope="class")
    @classmethod
    def bench(
        cls, backend: ProcessingBackend, project: UserProject, store_url: str, patience: float
    ) -> MapBench:
        """What the cases put to the backend."""
        return MapBench(backend, project, store_url, patience)

    @pytest.fixture(autouse=True)
    def _path_as_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Units that are executed in this process add to it what they are imported from.
        monkeypatch.setattr(sys, "path", sys.path[:])

    # -- results ---------------------------------------------------------------------------------

    @case()
    def test_every_unit_is_answered_once_under_its_index(self, bench: MapBench) -> None:
        """As many results as units, also where these are fewer than the workers, or odd."""
        for count in (1, 2, 7):
            found = bench.by_index(bench.units("square", range(count)))
            assert found == [number * number for number in range(count)]

    @case()
    def test_no_units_give_no_results(self, bench: MapBench) -> None:
        """A step may have nothing to do."""
        assert bench.results([]) == []

    @case()
    def test_results_keep_their_index_in_whatever_order_they_come(self, bench: MapBench) -> None:
        """The first units take the longest, so that they are the last to end."""
        payloads = [{"number": number, "seconds": 0.3 / 2**number} for number in range(8)]
        found = bench.by_index(bench.units("uneven", payloads))
        assert found == [*range(8)], "results came under the indices of other units"

    @case()
    def test_equal_units_are_each_answered(self, bench: MapBench) -> None:
        """Units are named by content; results are not."""
        assert bench.by_index(bench.units("square", [3, 3, 4, 3])) == [9, 9, 16, 9]

    @case()
    def test_ten_thousand_units_are_each_answered(self, bench: MapBench) -> None:
        """A large dataset has many shards."""
        found = bench.by_index(bench.units("square", range(10_000)))
        assert found == [number * number for number in range(10_000)]

    @case()
    def test_plain_data_comes_back_as_json_holds_it(self, bench: MapBench) -> None:
        """Whatever goes between client and worker changes no character and no digit."""
        for given, found in zip(_PLAIN, bench.by_index(bench.units("echo", _PLAIN)), strict=True):
            # repr() tells -0.0 from 0.0, and 1 from True.
            expected = repr(from_json(canonical(given)))
            assert repr(found) == expected, f"{expected[:60]} came back as {repr(found)[:60]}"

    @case()
    def test_what_units_print_is_no_result(self, bench: MapBench) -> None:
        """Units print what they like, also past Python."""
        assert bench.by_index(bench.units("loud", range(4))) == [*range(4)]

    # -- the store -------------------------------------------------------------------------------

    @case()
    def test_what_units_write_is_in_the_store(self, bench: MapBench) -> None:
        """Data goes from worker to store, and only its digest to the client."""
        found = bench.by_index(bench.units("put", ["a", "b", ODD_LINE]))
        for text, blob in zip(["a", "b", ODD_LINE], found, strict=True):
            key = f"data/{blob['digest']}"
            assert bench.store.exists(key), "a unit's file is not in the store of its context"
            assert bench.store.read(key) == text.encode() * 1000

    @case()
    def test_finished_units_are_remembered(self, bench: MapBench) -> None:
        """By the time that it is handed out, a result is in the store: a killed step goes on."""
        units, context = bench.units("square", range(5)), bench.context()
        with bench.read(units, context) as reading:
            while (found := reading.take()) is not None:
                key = f"{context.scope}/{units[found[0]].digest}.json"
                assert bench.store.exists(key), (
                    "a result is not remembered under the scope of its context: workers have to "
                    "call execute_unit(unit, context) with both as they were given"
                )

    @case()
    def test_the_first_result_counts(self, bench: MapBench) -> None:
        """A unit may be executed twice; who asks for it gets one answer for ever."""
        units, context = bench.units("echo", ["second"]), bench.context()
        key = f"{context.scope}/{units[0].digest}.json"
        bench.store.write(key, canonical({"result": "first"}))
        assert bench.by_index(units, context) == ["first"], (
            "a unit that had a result was given another: return what execute_unit() returns"
        )

    # -- code ------------------------------------------------------------------------------------

    @case()
    def test_import_roots_are_all_that_a_worker_needs(
        self, bench: MapBench, tmp_path: Path
    ) -> None:
        """Code is found below the roots, also what it imports late, and nowhere else."""
        name = f"alone_{tmp_path.name}".replace("-", "_")
        # Inside the repository: workers may be elsewhere, and get the code in a bundle of that.
        root = bench.project.folder / f"sources ü {tmp_path.name}"
        root.mkdir()
        (root / f"{name}.py").write_text(_ALONE.format(sibling=f"{name}_too"))
        (root / f"{name}_too.py").write_text("def add_one(number):\n    return number + 1\n")
        units = [Unit(f"{name}:answer", number, sha256(b"alone")) for number in range(4)]
        try:
            found = bench.by_index(units, bench.context(str(root)))
        finally:
            sys.modules.pop(name, None)
            sys.modules.pop(f"{name}_too", None)
        assert found == [1, 2, 3, 4]

    @case()
    def test_edited_code_is_run(self, bench: MapBench, tmp_path: Path) -> None:
        """Whoever edits a module and runs again gets what it says now, in every worker."""
        root = bench.project.folder / tmp_path.name
        root.mkdir()
        file = root / "edited_by_its_user.py"
        for text in ("old", "new"):
            file.write_text(_EDITED.format(text=text))
            # Of one length and one time: what Python compiled of the first looks current.
            os.utime(file, (1e9, 1e9))
            unit = Unit(f"{file.stem}:answer", 1, sha256(file.read_bytes()))
            found = bench.said(bench.client([unit], bench.context(str(root))))
            assert found == [[0, text]], (
                f"a module that says {text!r} now gave {found}: what workers have imported is "
                "of use only as long as unit.code is the same"
            )

    # -- errors ----------------------------------------------------------------------------------

    @case()
    def test_a_units_own_exception_ends_the_map(self, bench: MapBench) -> None:
        """Its type and its words arrive, also of exceptions that cannot be pickled."""
        for name, kind, words in (
            ("poison", "ValueError", f"a poisonous unit: {ODD_LINE}"),
            ("odd", "OddError", f"is odd: {ODD_LINE}"),
        ):
            with _nothing_left(bench):
                error = bench.failure(bench.units(name, [2, 4, 6, 13, 8, 10]))
            said = f"{type(error).__name__}: {error}"
            assert kind in said and words in said, (
                f"a unit raised {kind} ({words!r}), and the map {said[:200]}"
            )

    @case()
    def test_an_error_of_zenml_keeps_its_type(self, bench: MapBench) -> None:
        """Where it happened and what to do about it come along."""
        error = bench.failure(bench.units("data_error", [1]))
        assert isinstance(error, DataError), f"a DataError arrived as {type(error).__name__}"
        found = (error.message, error.where, error.remedy)
        assert found == (f"a row is wrong: {ODD_LINE}", "rows.csv:3", "mend it")

    @case()
    def test_a_result_that_is_not_plain_data_is_refused(self, bench: MapBench) -> None:
        """On every backend alike, whatever it could serialise."""
        error = bench.failure(bench.units("object_result", [1]))
        assert isinstance(error, ZenMLError), f"it arrived as {type(error).__name__}"
        assert "a unit of work cannot return that" in error.message
        assert STEP in str(error.where), "the step's name is lost: pass the context on as it is"

    @case()
    def test_code_that_is_not_there_is_named(self, bench: MapBench) -> None:
        """The usual mistake of a first day: the worker's environment lacks something."""
        error = bench.failure([Unit("no_such_module:answer", 1, sha256(b""))])
        assert "no_such_module" in str(error), f"the error does not name it: {error}"

    @case()
    def test_a_unit_that_calls_exit_ends_the_map(self, bench: MapBench) -> None:
        """``SystemExit`` is no ``Exception``, and must be met all the same."""
        with _nothing_left(bench):
            error = bench.failure(bench.units("leave", range(3)))
        assert ODD_LINE in str(error), f"the error does not say what the unit said: {error}"

    @case()
    def test_after_an_error_no_more_units_are_begun(self, bench: MapBench) -> None:
        """Nobody wants what they would give."""
        marks = new_marks()
        units = bench.units_with_marks("first_raises", _MANY, marks, seconds=0.03)
        with _nothing_left(bench):
            bench.failure(units)
        _see_that_most_were_not_begun(bench, marks, "one of them had failed")

    # -- ends ------------------------------------------------------------------------------------

    @case()
    def test_closing_cancels_what_is_not_begun(self, bench: MapBench) -> None:
        """At once, and also while later work goes on."""
        marks = new_marks()
        units = bench.units_with_marks("mark", _MANY, marks, seconds=0.03)
        with _nothing_left(bench), bench.read(units) as reading:
            reading.take()
            reading.close()
        _see_that_most_were_not_begun(bench, marks, "the iterator had been closed")

    @case()
    def test_a_map_that_nobody_reads_leaves_nothing_behind(self, bench: MapBench) -> None:
        """A generator that was not begun is closed without a word to it."""
        with _nothing_left(bench):
            bench.read(bench.units("square", range(4))).__exit__()

    @case()
    def test_many_maps_leave_nothing_behind(self, bench: MapBench) -> None:
        """One backend serves all steps of a run, one after the other."""
        with _nothing_left(bench):
            for number in range(8):
                assert bench.by_index(bench.units("square", [number] * 3)) == [number**2] * 3

    @case()
    def test_two_maps_at_once_do_not_mix(self, bench: MapBench) -> None:
        """Independent steps of a run use one backend at the same time."""
        left, right = bench.units("square", range(20)), bench.units("echo", range(20))
        found: list[dict[int, Any]] = [{}, {}]
        with bench.read(left) as one, bench.read(right) as other:
            for _ in range(20):
                for reading, results in zip((one, other), found, strict=True):
                    result = reading.take()
                    assert result is not None, "a map ended early while another one was read"
                    results[result[0]] = result[1]
            assert one.take() is other.take() is None
        expected = [{n: n * n for n in range(20)}, {n: n for n in range(20)}]
        assert found == expected, "the results of two maps were mixed"

    @case()
    def test_ctrl_c_ends_it_and_leaves_nothing_behind(self, bench: MapBench) -> None:
        """As a terminal sends it: to the client and to whatever processes it started."""
        marks = new_marks()
        units = bench.units_with_marks("mark", _MANY, marks, seconds=0.1)
        client = bench.client(units, bench.context())
        try:
            wait_until(
                lambda: bench.marks(marks) or client.poll() is not None,
                timeout=bench.patience,
                what="the first unit's beginning",
            )
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGINT)
            said = bench.said(client)
            assert said[-1:] == ["interrupted"], "Ctrl-C did not reach who reads the results"
            _see_that_most_were_not_begun(bench, marks, "Ctrl-C")
            if sys.platform == "linux":
                wait_until(
                    lambda: not processes_of_group(client.pid),
                    timeout=bench.patience,
                    what="the end of the processes that the client had started",
                )
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)

    # -- pipelines -------------------------------------------------------------------------------

    @case()
    def test_a_pipeline_comes_to_the_same_artifacts(
        self, bench: MapBench, project: UserProject, tmp_path: Path
    ) -> None:
        """To the byte, as in one process; and a second run finds them all."""
        here = bench.run(project.code.InOrder(), open_store((tmp_path / "here").as_uri()))
        there = bench.run(bench.backend, bench.store)
        assert _artifacts(there) == _artifacts(here), "the artifacts are others than in one process"
        again = bench.run(bench.backend, bench.store)
        assert {record.status for record in again.steps.values()} == {"cached"}

    # -- workers ---------------------------------------------------------------------------------

    @case(needs="parallel")
    def test_units_overlap_in_time(self, bench: MapBench) -> None:
        """Of two units, each sees the other run."""
        units = bench.units_with_marks("overlap", 2, new_marks(), seconds=bench.patience / 10)
        assert bench.by_index(units) == [True, True], "of two units none ran while the other did"

    @case(needs="parallel")
    def test_a_slow_unit_holds_up_no_other(self, bench: MapBench) -> None:
        """Results come as they are made: the slow unit is let go when all others have arrived."""
        key = f"{new_marks()}/go"
        wait = {"store": bench.store.url, "key": key, "seconds": bench.patience / 10}
        units = bench.units("wait", [wait]) + bench.units("square", range(4))
        with bench.read(units) as reading:
            others = [reading.take() for _ in range(4)]
            assert all(found is not None and found[0] != 0 for found in others), (
                "the results of quick units came after that of a slow one"
            )
            bench.store.write(key, b"")
            assert reading.take() == (0, True)

    @case(needs="isolation", otherwise="skip")
    def test_units_in_flight_are_given_up(self, bench: MapBench) -> None:
        """Closing the iterator waits for no unit that would take ten minutes more."""
        units = bench.units_with_marks("first_returns", 4, new_marks())
        with _nothing_left(bench), bench.read(units) as reading:
            assert reading.take() is not None
            reading.close()

    @case(needs="isolation", otherwise="skip")
    def test_a_unit_whose_worker_died_is_tried_again(self, bench: MapBench) -> None:
        """Machines die, and memory runs out; neither is the unit's fault the first time."""
        with _nothing_left(bench):
            found = bench.by_index(bench.units_with_marks("die_once", 4, new_marks()))
        assert found == [*range(4)]

    @case(needs="isolation", otherwise="skip")
    def test_a_unit_that_always_ends_its_worker_ends_the_map(self, bench: MapBench) -> None:
        """With an error, and not with one worker after the other for ever."""
        with _nothing_left(bench):
            error = bench.failure(bench.units("die", [1]))
        assert str(error).strip(), f"a {type(error).__name__} says nothing of what happened"


@contextlib.contextmanager
def _nothing_left(bench: MapBench) -> Iterator[None]:
    """As ``nothing_left_behind``, but for what a library starts once, and keeps."""
    bench.results(bench.units("square", [1]))
    with nothing_left_behind(timeout=bench.patience):
        yield


def _see_that_most_were_not_begun(bench: MapBench, marks: str, when: str) -> None:
    # As much work again: whatever was not cancelled is done meanwhile.
    bench.results(bench.units_with_marks("mark", _MANY, new_marks(), seconds=0.03))
    begun = bench.marks(marks)
    assert begun < _MANY / 2, f"{begun} of {_MANY} units ran, most of them after {when}"


def _artifacts(run: Run) -> dict[str, Any]:
    return {name: (record.key, record.outputs) for name, record in run.steps.items()}
