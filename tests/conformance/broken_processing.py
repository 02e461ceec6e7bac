"""Processing backends that are sound but for one defect each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from multiprocessing import get_context
from typing import Any, ClassVar, Literal

import msgspec
import pytest
from proofs import Proof, suites_of

from zenml.core import execute_unit, open_store
from zenml.core.errors import RunError, SourceError, ZenMLError
from zenml.core.testing import ProcessingConformance, case_names
from zenml.core.testing._backends import BackendConformance
from zenml.local import ProcessingLocalBackend

changed = msgspec.structs.replace


class Sound(ProcessingLocalBackend):
    """What the others are made of."""

    workers: int = 2


class Base(ProcessingConformance):
    make: ClassVar[Callable[[], Any]] = Sound

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return cls.make()

    @pytest.fixture(scope="class")
    @classmethod
    def capabilities(cls):
        return frozenset({"isolation", "parallel"})

    @pytest.fixture(scope="class")
    @classmethod
    def patience(cls):
        return 5.0


# -- results -----------------------------------------------------------------------------------


class DropsTheLast(Sound):
    """Forgets the last unit if their number is odd."""

    def map(self, units, context):
        return super().map(units[: len(units) // 2 * 2], context)


class SaysItTwice(Sound):
    """Gives a unit that was tried twice two answers."""

    def map(self, units, context):
        for index, result in super().map(units, context):
            yield from [(index, result)] * (2 if index == 1 else 1)


class NeedsAUnit(Sound):
    """Cannot divide nothing among its workers."""

    def map(self, units, context):
        share = 1 / len(units)
        return super().map(units[: round(share * len(units) ** 2)], context)


class CountsResults(Sound):
    """Numbers results as they come."""

    def map(self, units, context):
        for index, (_, result) in enumerate(super().map(units, context)):
            yield index, result


class AnswersOncePerContent(Sound):
    """Executes equal units once, and answers one of them."""

    def map(self, units, context):
        first = {unit.digest: index for index, unit in reversed([*enumerate(units)])}
        for index, result in super().map(units, context):
            if first[units[index].digest] == index:
                yield index, result


class HasThreeDigits(Sound):
    """Numbers units with three digits."""

    def map(self, units, context):
        for index, result in super().map(units, context):
            yield index % 1000, result


class SpeaksLatin(Sound):
    """Sends results in an encoding that lacks most characters."""

    def map(self, units, context):
        for index, result in super().map(units, context):
            text = json.dumps(result, ensure_ascii=False)
            yield index, json.loads(text.encode("latin-1", "replace").decode("latin-1"))


class ReadsOutput(Sound):
    """Takes the first thing that a worker prints for the result."""

    def map(self, units, context):
        told = [json.dumps(msgspec.to_builtins((unit, context))).encode("ascii") for unit in units]
        for index, text in enumerate(told):
            done = subprocess.run(
                [sys.executable, "-c", _WORKER], input=text, stdout=subprocess.PIPE, check=True
            )
            yield index, json.loads(done.stdout.splitlines()[0])["result"]


_WORKER = """
import json, sys, msgspec
from zenml.core import MapContext, Unit, execute_unit
unit, context = json.load(sys.stdin)
unit, context = msgspec.convert(unit, Unit), msgspec.convert(context, MapContext)
print(json.dumps({"result": execute_unit(unit, context)}))
"""


# -- the store ---------------------------------------------------------------------------------


class KeepsItsOwnStore(Sound):
    """Has units write where the worker is."""

    def map(self, units, context):
        with tempfile.TemporaryDirectory() as folder:
            open_store(folder).prepare()
            yield from super().map(units, changed(context, store=folder))


class RemembersElsewhere(Sound):
    """Remembers finished units under a name of its own."""

    def map(self, units, context):
        return super().map(units, changed(context, scope="units/mine"))


class DoesItAgain(Sound):
    """Takes what is remembered for rubbish."""

    def map(self, units, context):
        for unit in units:
            open_store(context.store).delete(f"{context.scope}/{unit.digest}.json")
        return super().map(units, context)


# -- code --------------------------------------------------------------------------------------


class SendsNoRoots(Sound):
    """Supposes that workers find all code by themselves."""

    def map(self, units, context):
        return super().map(units, changed(context, import_roots=()))


class KnowsFunctionsByName(Sound):
    """Takes two functions of one name for the same, whatever their code."""

    def map(self, units, context):
        nameless = [changed(unit, code="") for unit in units]
        return super().map(nameless, changed(context, scope="units/all"))


# -- errors ------------------------------------------------------------------------------------


class SaysThatItFailed(Sound):
    """Says that a unit failed, and not how."""

    def map(self, units, context):
        try:
            yield from super().map(units, context)
        except ValueError:
            raise RunError("a unit failed") from None


class WaitsForTheFailed(Sound):
    """Waits for the result of a unit that raised."""

    def map(self, units, context):
        try:
            yield from super().map(units, context)
        except ValueError:
            threading.Event().wait(20)


class MakesErrorsAlike(Sound):
    """Raises every error as one of its own, with the words of the first."""

    def map(self, units, context):
        try:
            yield from super().map(units, context)
        except ZenMLError as error:
            raise RunError(str(error)) from None


class PrintsResults(Sound):
    """Makes text of what it cannot send."""

    def map(self, units, context):
        try:
            yield from super().map(units, context)
        except ZenMLError:
            yield 0, str(object())


class SkipsWhatIsMissing(Sound):
    """Answers None for units whose code it cannot find."""

    def map(self, units, context):
        for index, unit in enumerate(units):
            try:
                yield index, execute_unit(unit, context)
            except SourceError:
                yield index, None


class MissesExits(Sound):
    """Waits for ever for a worker that has left."""

    def map(self, units, context):
        try:
            yield from super().map(units, context)
        except SystemExit:
            threading.Event().wait(20)


class FailsAtTheEnd(Sound):
    """Executes all units, and then says that one of them failed."""

    def map(self, units, context):
        failed = None
        for index, unit in enumerate(units):
            try:
                yield index, execute_unit(unit, context)
            except ValueError as error:
                failed = failed or error
        if failed:
            raise failed


# -- ends --------------------------------------------------------------------------------------


class ClosesAtTheEnd(Sound):
    """Executes what is left before it lets go."""

    def map(self, units, context):
        results = super().map(units, context)
        try:
            yield from chain(results)  # which has no close()
        finally:
            for _ in results:
                pass


class GoesOnBehind(Sound):
    """Has a thread execute what is left after it was closed."""

    def map(self, units, context):
        results = super().map(units, context)
        try:
            yield from chain(results)  # which has no close()
        finally:
            threading.Thread(target=lambda: [*results], daemon=True).start()


class GivesAList(Sound):
    """Makes all results before it gives one."""

    def map(self, units, context):
        return [*super().map(units, context)]


class StartsBeforehand(Sound):
    """Starts its workers before anybody reads a result."""

    def map(self, units, context):
        closed = threading.Event()
        threading.Thread(target=closed.wait, args=[10], daemon=True).start()

        def results():
            try:
                yield from super(StartsBeforehand, self).map(units, context)
            finally:
                closed.set()

        return results()


class LeavesFilesOpen(Sound):
    """Opens a log for each map, and closes none."""

    def map(self, units, context):
        os.open(os.devnull, os.O_RDONLY)
        return super().map(units, context)


class HasOneQueue(Sound):
    """Keeps the work of all maps in one place."""

    queue: ClassVar[list[Any]] = []

    def map(self, units, context):
        self.queue.extend(enumerate(units))
        while self.queue:
            index, unit = self.queue.pop(0)
            yield index, execute_unit(unit, context)


class IgnoresCtrlC(Sound):
    """Takes Ctrl-C for an error of the unit, and tries it again."""

    def map(self, units, context):
        for index, unit in enumerate(units):
            while True:
                try:
                    result = execute_unit(unit, context)
                    break
                except BaseException as error:
                    if not isinstance(error, KeyboardInterrupt):
                        raise
            yield index, result


class LeavesAProcess(Sound):
    """Leaves a process behind if it is interrupted."""

    def map(self, units, context):
        command = "trap '' INT; echo deaf; sleep 30"
        with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # else Ctrl-C may come before the trap is set
            yield from super().map(units, context)
            process.kill()


# -- pipelines ---------------------------------------------------------------------------------


class RoundsNumbers(Sound):
    """Writes numbers with twelve digits."""

    def map(self, units, context):
        for index, result in super().map(units, context):
            if isinstance(result, dict):
                result["sum"] = float(f"{result['sum']:.12g}")
            yield index, result


# -- workers -----------------------------------------------------------------------------------


class HasOneWorker(Sound):
    """Declares 'parallel', and has one worker."""

    workers: int = 1


class KeepsTheOrder(Sound):
    """Keeps results back until those of all units before have come."""

    def map(self, units, context):
        kept, following = {}, 0
        for index, result in super().map(units, context):
            kept[index] = result
            while following in kept:
                yield following, kept.pop(following)
                following += 1


class WaitsForUnits(ClosesAtTheEnd):
    """Lets units in flight come to their end before it closes."""

    mode: Literal["threads", "processes"] = "processes"


class BreaksWithItsWorker(Sound):
    """Uses a pool that breaks when a worker dies."""

    def map(self, units, context):
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(execute_unit, unit, context) for unit in units]
            for index, future in enumerate(futures):
                yield index, future.result()


class NeverGivesUp(Sound):
    """Tries a unit as long as its workers die."""

    mode: Literal["threads", "processes"] = "processes"

    def map(self, units, context):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with contextlib.suppress(RunError):
                return (yield from super().map(units, context))


BASE = Base
CASES = [name for name in case_names(Base) if name not in case_names(BackendConformance)]
TABLE = [
    Proof("test_every_unit_is_answered_once_under_its_index", DropsTheLast, "1 units gave 0"),
    Proof("test_every_unit_is_answered_once_under_its_index", SaysItTwice, "too many for [1]"),
    Proof("test_no_units_give_no_results", NeedsAUnit, "ZeroDivisionError"),
    Proof(
        "test_results_keep_their_index_in_whatever_order_they_come",
        CountsResults,
        "under the indices of other units",
    ),
    Proof("test_equal_units_are_each_answered", AnswersOncePerContent, "none for [1, 3]"),
    Proof("test_ten_thousand_units_are_each_answered", HasThreeDigits, "none for [1000, "),
    Proof("test_plain_data_comes_back_as_json_holds_it", SpeaksLatin, "came back as"),
    Proof("test_what_units_print_is_no_result", ReadsOutput, "JSONDecodeError"),
    Proof("test_what_units_write_is_in_the_store", KeepsItsOwnStore, "not in the store"),
    Proof("test_finished_units_are_remembered", RemembersElsewhere, "not remembered under"),
    Proof("test_the_first_result_counts", DoesItAgain, "was given another"),
    Proof("test_import_roots_are_all_that_a_worker_needs", SendsNoRoots, "cannot be loaded"),
    Proof("test_edited_code_is_run", KnowsFunctionsByName, "'new' now gave [[0, 'old']]"),
    Proof("test_a_units_own_exception_ends_the_map", SaysThatItFailed, "a unit failed"),
    Proof("test_a_units_own_exception_ends_the_map", WaitsForTheFailed, "a result took longer"),
    Proof("test_an_error_of_zenml_keeps_its_type", MakesErrorsAlike, "arrived as RunError"),
    Proof("test_a_result_that_is_not_plain_data_is_refused", PrintsResults, "gave 1 results"),
    Proof("test_code_that_is_not_there_is_named", SkipsWhatIsMissing, "gave 1 results"),
    Proof("test_a_unit_that_calls_exit_ends_the_map", MissesExits, "a result took longer"),
    Proof("test_after_an_error_no_more_units_are_begun", FailsAtTheEnd, "59 of 60 units ran"),
    Proof("test_closing_cancels_what_is_not_begun", ClosesAtTheEnd, "60 of 60 units ran"),
    Proof("test_closing_cancels_what_is_not_begun", GoesOnBehind, "of 60 units ran"),
    Proof("test_closing_cancels_what_is_not_begun", GivesAList, "a list, which has no close()"),
    Proof("test_a_map_that_nobody_reads_leaves_nothing_behind", StartsBeforehand, "left behind"),
    Proof("test_many_maps_leave_nothing_behind", LeavesFilesOpen, "left behind"),
    Proof("test_two_maps_at_once_do_not_mix", HasOneQueue, "two maps were mixed"),
    Proof("test_ctrl_c_ends_it_and_leaves_nothing_behind", IgnoresCtrlC, "did not end within"),
    Proof(
        "test_ctrl_c_ends_it_and_leaves_nothing_behind",
        LeavesAProcess,
        "what it had started did not",
    ),
    Proof("test_a_pipeline_comes_to_the_same_artifacts", RoundsNumbers, "artifacts are others"),
    Proof("test_units_overlap_in_time", HasOneWorker, "none ran while the other did"),
    Proof("test_a_slow_unit_holds_up_no_other", KeepsTheOrder, "after that of a slow one"),
    Proof("test_units_in_flight_are_given_up", WaitsForUnits, "close() took longer"),
    Proof("test_a_unit_whose_worker_died_is_tried_again", BreaksWithItsWorker, "BrokenProcessPool"),
    Proof("test_a_unit_that_always_ends_its_worker_ends_the_map", NeverGivesUp, "a result took"),
]
SUITES = suites_of(BASE, TABLE)
globals().update(SUITES)
