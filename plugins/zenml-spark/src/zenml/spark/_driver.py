"""The driver of one map: a process beside the client, which has the JVM, the session and threads.

It is told what to do by lines of JSON on standard input, and ends when that does, whatever it is
at. What it says is lines of JSON on standard output, each an object:

- ``{"application": "app-1"}`` once there is one, by its id;
- ``{"cores": 4, "executors": 2}`` once executors have had time to come: how many tasks run at once;
- ``{"active": 2, "done": 7}`` whenever the numbers of tasks have changed;
- ``{"raised": true}`` when a unit has raised, and the job was cancelled for that;
- ``{"versions": [["zenml-core", "0.1.0"]]}``, of every worker, if that was asked;
- ``{"ended": null}`` when the job is done, ``{"ended": "…"}`` with Spark's words if it failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pyspark import SparkContext, StatusTracker

__all__ = ["main"]

_GROUP: Final = "zenml"

#: Seconds that an application is given to end in good order.
_GRACE: Final = 10.0

#: Seconds that executors are waited for: the first one, and then until no more have come.
_FIRST_WITHIN, _SETTLED_AFTER = 15.0, 1.0

#: Seconds between two looks at what was asked, which cost nothing, and at Spark's numbers of tasks
#: while they change, and while they do not.
_TICK, _BUSY, _QUIET = 0.01, 0.05, 0.2

#: What the JVM says each time that it starts, and what nobody needs to know.
_NOISE: Final = b"WARNING: Using incubator modules"

#: What Spark logs is in nobody's way: what it has to say comes with its exceptions.
_LOG4J: Final = """
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {file}
appender.file.layout.type = PatternLayout
"""

#: A JVM that starts as fast as it can, for it does little, and leaves no file.
_JVM: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"

Says = Callable[..., None]


def main() -> None:
    """Make an application, run the job that is asked for, and end it when standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)

    def say(**words: Any) -> None:
        with contextlib.suppress(OSError):  # nobody is there any more
            print(json.dumps(words), file=answers, flush=True)

    told = json.loads(given.readline())
    asked: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=[given, asked, told["scratch"]], daemon=True).start()
    try:
        context = _application(told)
        try:
            say(application=context.applicationId)
            executors = _executors(context, asked, told["local"])
            say(cores=context.defaultParallelism, executors=executors)
            order = asked.get()
            if order is not None and "versions" in order:
                say(versions=_versions(context, order["versions"]))
            elif order is not None:
                _run(context, order, asked, say)
            if order is not None:
                asked.get()
        finally:
            context.cancelJobGroup(_GROUP)
            context.stop()
            _end_jvm(context)
    except Exception as error:  # noqa: BLE001 - said, whatever it is
        say(ended=_words(error))
        asked.get()
    shutil.rmtree(told["scratch"], ignore_errors=True)
    os._exit(0)  # threads that are here for the JVM are not waited for


def _listen(given: IO[bytes], asked: queue.Queue[Any], scratch: str) -> None:
    """Hand on what is asked for; when nobody is there any more, see that this ends."""
    for line in given:
        asked.put(json.loads(line))
    for _ in range(3):  # whoever waits for an order, follows a job, and waits for the end
        asked.put(None)
    time.sleep(_GRACE)
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _application(told: dict[str, Any]) -> SparkContext:
    """A Spark application of our own, in a JVM of our own."""
    # As of its warnings of libraries that the units may have, and it does not use.
    warnings.simplefilter("ignore")
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    scratch, properties = told["scratch"], dict(told["conf"])
    settings = os.path.join(scratch, "log4j2.properties")
    with open(settings, "w", encoding="utf-8") as file:
        file.write(_LOG4J.format(file=os.path.join(scratch, "driver.log")))
    options = f"-Dlog4j2.configurationFile=file:{settings} -Djava.io.tmpdir={scratch} {_JVM}"
    given = properties.get("spark.driver.extraJavaOptions", "")
    properties["spark.driver.extraJavaOptions"] = f"{options} {given}".strip()
    read, write = os.pipe()
    threading.Thread(target=_pass_on, args=[read], daemon=True).start()
    conf = SparkConf(loadDefaults=False).setAll(list(properties.items()))
    gateway = launch_gateway(conf, popen_kwargs={"stderr": write})  # its command line shows these
    os.close(write)
    conf.setAll(list(told["secret_conf"].items()))
    return SparkContext(conf=conf, gateway=gateway)


def _end_jvm(context: SparkContext) -> None:
    """It ends with its standard input."""
    jvm = context._gateway.proc  # noqa: SLF001
    jvm.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        jvm.wait(timeout=5)


def _pass_on(read: int) -> None:
    """Pass on what the JVM and the workers beside it print."""
    with os.fdopen(read, "rb") as lines:
        for line in lines:
            if not line.startswith(_NOISE):
                os.write(2, line)


def _executors(context: SparkContext, asked: queue.Queue[Any], local: bool) -> int:
    """How many there are when they have had time to come."""
    if local:
        return 1
    begun = settled = time.monotonic()
    known = 0
    while asked.empty():
        # The driver is one of them.
        found = context._jsc.sc().getExecutorMemoryStatus().size() - 1  # noqa: SLF001
        if found != known:
            known, settled = found, time.monotonic()
        limit = _SETTLED_AFTER if known else _FIRST_WITHIN
        if time.monotonic() - (settled if known else begun) > limit:
            break
        time.sleep(0.1)
    return known


def _run(context: SparkContext, order: dict[str, Any], asked: queue.Queue[Any], say: Says) -> None:
    """Run the job, and say how it is getting on, until it has ended or nobody wants it."""
    from zenml.spark._worker import execute

    raised = context.accumulator(0)
    work = partial(execute, order["store"], order["key"], order["digest"], raised)
    ended: list[str | None] = []

    def run() -> None:
        # The group is this thread's own.
        context.setJobGroup(_GROUP, order["description"])
        try:
            count = order["count"]
            context.parallelize(range(count), count).foreachPartition(work)
        except Exception as error:  # noqa: BLE001 - said, whatever it is
            ended.append(_words(error))
        else:
            ended.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    tracker, before, cancelled, look_at = context.statusTracker(), (0, 0), False, 0.0
    while not ended:
        with contextlib.suppress(queue.Empty):
            asked.get(timeout=_TICK)
            return  # nobody wants it any more
        if raised.value and not cancelled:
            context.cancelJobGroup(_GROUP)
            cancelled = True
            say(raised=True)
        if time.monotonic() >= look_at:
            numbers = _numbers(tracker)
            if numbers != before:
                say(active=numbers[0], done=numbers[1])
            look_at = time.monotonic() + (_QUIET if numbers == before else _BUSY)
            before = numbers
    if raised.value and not cancelled:
        say(raised=True)
    say(ended=ended[0])


def _numbers(tracker: StatusTracker) -> tuple[int, int]:
    """How many tasks run, and how many are done."""
    active = done = 0
    for job in tracker.getJobIdsForGroup(_GROUP):
        for stage in getattr(tracker.getJobInfo(job), "stageIds", ()):
            found = tracker.getStageInfo(stage)
            if found is not None:
                active += found.numActiveTasks
                done += found.numCompletedTasks
    return active, done


def _versions(context: SparkContext, names: list[str]) -> list[tuple[str, str]]:
    """What workers have installed, by a function that all of them have."""
    count = context.defaultParallelism
    asked = names * count
    found = context.parallelize(asked, count).map(metadata.version).collect()
    return [*zip(asked, found, strict=True)]


def _words(error: BaseException) -> str:
    """What Spark says: of an exception of the JVM, its own words and no stack."""
    java = getattr(error, "java_exception", None)
    said = java.toString() if java is not None else str(error)
    return f"{type(error).__name__}: {said}" if java is None else str(said)
