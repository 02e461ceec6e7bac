"""The process that has a pipeline run: Beam's threads, servers and local workers end with it.

It is told a ``Job`` by a line of standard input, and gives up when that ends. It answers with lines
of JSON: one when the pipeline begins, and one when it has ended, which is an ``Outcome``.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from apache_beam.runners.runner import PipelineResult

__all__ = ["BEGUN", "Job", "Outcome", "main"]

BEGUN = b"begun\n"

#: Seconds that a job service may take to begin a pipeline, and to cancel it, if nobody wants it.
_CANCEL_WITHIN = 10.0


class Job(msgspec.Struct, frozen=True):
    """A pipeline that is to be run, as ``pipeline_for`` makes it."""

    options: dict[str, Any]
    store: str
    key: str
    digest: str
    count: int


class Outcome(msgspec.Struct, frozen=True):
    """How a pipeline has ended.

    Attributes:
        state: Beam's word for it.
        message: Why it failed, with Beam's traceback.
        counters: What its workers have counted.
    """

    state: str
    message: str = ""
    counters: dict[str, int] = {}


def main(scratch: str) -> None:
    """Run a pipeline.

    Args:
        scratch: A folder for Beam and its workers, which goes with this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what units print
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    told = given.readline()
    if not told:
        return
    run = _Run(msgspec.json.decode(told, type=Job), lambda: answers.write(BEGUN))
    threading.Thread(target=_end_with, args=[given, run, scratch], daemon=True).start()
    answers.write(msgspec.json.encode(run.outcome()) + b"\n")
    # Beam's servers and threads have no more to do, and some would be waited for.
    os._exit(0)


class _Run:
    def __init__(self, job: Job, say_begun: Callable[[], object]) -> None:
        self._job = job
        self._say_begun = say_begun
        self._result: PipelineResult | None = None
        self._submitted = threading.Event()

    def outcome(self) -> Outcome:
        """Run the pipeline to its end."""
        try:
            result = self._submit()
            return Outcome(result.wait_until_finish(), counters=_counters(result))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the client must hear of it
            text = "".join(traceback.format_exception(error))
            return Outcome(self._state(), text.encode("utf-8", "backslashreplace").decode())
        finally:
            self._submitted.set()

    def _state(self) -> str:
        """How a pipeline has ended that is not done; one that has not is cancelled."""
        from apache_beam.runners.runner import PipelineState

        try:
            assert self._result is not None
            state = str(self._result.state)
            if not PipelineState.is_terminal(state):
                self._result.cancel()
        except Exception:  # noqa: BLE001 - the service may be what failed
            return "FAILED"
        return state

    def give_up(self) -> None:
        """Cancel what a job service elsewhere has been given; what is here is about to end."""
        if "job_endpoint" in self._job.options:
            canceller = threading.Thread(target=self._cancel, daemon=True)
            canceller.start()
            canceller.join(_CANCEL_WITHIN)

    def _cancel(self) -> None:
        self._submitted.wait()
        if self._result is not None:
            self._result.cancel()

    def _submit(self) -> PipelineResult:
        logging.basicConfig(format="%(name)s: %(message)s")
        # Prism's logger passes on whatever it is told.
        logging.getLogger().handlers[0].setLevel(logging.WARNING)
        logging.disable(logging.WARNING)  # Beam tells of extras that are not installed
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        from zenml.beam._pipeline import pipeline_for

        logging.disable(logging.NOTSET)
        # What they say of a failure, and more, the outcome does.
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        job = self._job
        pipeline = beam.Pipeline(options=PipelineOptions.from_dictionary(job.options))
        pipeline_for(pipeline, job.store, job.key, job.digest, job.count)
        self._say_begun()
        self._result = pipeline.run()
        self._submitted.set()
        return self._result


def _counters(result: PipelineResult) -> dict[str, int]:
    try:
        found = result.metrics().query()["counters"]
    except Exception:  # noqa: BLE001 - not every engine has them, and nothing depends on them
        return {}
    return {
        counter.key.metric.name: counter.result
        for counter in found
        if counter.key.metric.namespace == "zenml"
    }


def _end_with(given: IO[bytes], run: _Run, scratch: str) -> None:
    """Wait until there is no client, then end the pipeline, this process and what it started."""
    given.read()
    run.give_up()
    shutil.rmtree(scratch, ignore_errors=True)
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
