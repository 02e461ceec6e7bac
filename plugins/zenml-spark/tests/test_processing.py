"""What can be said without Spark: parameters, and what its words mean."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zenml.core import MapContext, Unit, open_store
from zenml.core.errors import ConfigurationError, RunError
from zenml.core.testing import nothing_left_behind
from zenml.spark import ProcessingSparkBackend
from zenml.spark._application import _with_failures
from zenml.spark._map import _Map, see_master, translated

TASK = "Lost task 3.3 in stage 0.0 (TID 7) (127.0.0.2 executor 5): "
LOST = (
    "org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 0.0 failed "
    f"4 times, most recent failure: {TASK}"
)

NO_PYTHON = 'java.io.IOException: Cannot run program "/no/python": error=2'

PYTHON = """org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "worker.py", line 10, in main
    command = read_command(pickleSer, infile)
{}
 SQLSTATE: 38000
\tat org.apache.spark.api.python.BasePythonRunner.handlePythonException(PythonRunner.scala:1097)"""


# -- parameters ----------------------------------------------------------------------------------


def test_every_wrong_parameter_is_named() -> None:
    with pytest.raises(ConfigurationError) as raised:
        ProcessingSparkBackend(
            master="http://host:8080",
            conf={
                "executor.memory": "4g",
                "spark.master": "local",
                "spark.task.maxFailures": "2",
                "spark.ssl.keyPassword": "hunter2",
                "spark.twice": "1",
            },
            secret_conf={"spark.twice": "env:TWICE"},
        )

    text = str(raised.value)
    for part in (
        "master: Spark has no master 'http://host:8080'",
        "conf.executor.memory: Spark's properties begin with 'spark.'",
        "conf.spark.master: cannot be set here: master= says that",
        "conf.spark.task.maxFailures: cannot be set here: max_failures= says that",
        "conf.spark.twice: secret_conf has it as well",
    ):
        assert part in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "master",
    [
        "local",
        "local[3]",
        "local[*]",
        "spark://a:7077",
        "spark://a:1,b:2",
        "yarn",
        "k8s://https://a",
    ],
)
def test_masters_that_spark_knows(master: str) -> None:
    assert ProcessingSparkBackend(master=master).master == master


@pytest.mark.parametrize("master", ["", "local[0]", "local[x]", "spark://host", "mesos://a:1"])
def test_masters_that_it_does_not(master: str) -> None:
    with pytest.raises(ConfigurationError, match="Spark has no master"):
        ProcessingSparkBackend(master=master)


@pytest.mark.parametrize(
    ("master", "told"),
    [
        ("local", "local[1,3]"),
        ("local[2]", "local[2,3]"),
        ("local[*]", "local[*,3]"),
        ("spark://a:1", "spark://a:1"),
    ],
)
def test_what_is_tried_again_is_said_on_this_machine_too(master: str, told: str) -> None:
    assert _with_failures(ProcessingSparkBackend(master=master, max_failures=3)) == told


@pytest.mark.parametrize(
    ("count", "cores", "size"),
    [(1, 2, 1), (16, 2, 1), (17, 2, 2), (100_000, 2, 6250), (9000, 600, 3)],
)
def test_units_are_divided_among_tasks(count: int, cores: int, size: int) -> None:
    units = [Unit("m:f", 0, "code")] * count
    context = MapContext(store="", scope="", step="s", import_roots=())
    given = _Map(ProcessingSparkBackend(), units, context, None)  # type: ignore[arg-type]
    assert given._size(cores) == size


def test_spark_is_not_imported_before_a_map_begins() -> None:
    code = (
        "import sys; import zenml.spark.plugin as p; [*p.zenml_processors()]; "
        "from zenml.spark import ProcessingSparkBackend as B; B(master='local[2]').parameters(); "
        "assert not {'pyspark', 'py4j'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- masters -------------------------------------------------------------------------------------


def test_a_master_that_is_not_there_is_named_in_time(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    store.prepare()
    context = MapContext(store=store.url, scope="units/key", step="tested", import_roots=())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        master = f"spark://127.0.0.1:{taken.getsockname()[1]}"

        with nothing_left_behind(), pytest.raises(RunError, match="no Spark master") as raised:
            list(ProcessingSparkBackend(master=master).map([Unit("m:f", 1, "code")], context))

    assert (raised.value.where, raised.value.cause) == (master, "INFRA")
    assert [*store.list("")] == []


def test_of_several_masters_one_has_to_answer() -> None:
    with socket.socket() as away, socket.create_server(("127.0.0.1", 0)) as there:
        away.bind(("127.0.0.1", 0))
        places = [f"127.0.0.1:{one.getsockname()[1]}" for one in (away, there)]
        assert see_master(f"spark://{','.join(places)}") == f"spark://{places[1]}"


# -- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message", "cause"),
    [
        (
            LOST + "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed).",
            "a unit of work ended its worker process 4 times",
            None,
        ),
        (
            LOST + "ExecutorLostFailure (executor 5 exited caused by one of the running tasks) "
            "Reason: Command exited with code 137\nDriver stacktrace:",
            "a unit of work ended its worker process 4 times (Command exited with code 137)",
            None,
        ),
        (
            LOST + PYTHON.format("ModuleNotFoundError: No module named 'zenml'"),
            "Spark's workers have no zenml-spark: ModuleNotFoundError: No module named 'zenml'",
            "CONFIG",
        ),
        (
            LOST + PYTHON.format("zenml.core.errors.StoreUnavailableError: away"),
            "the workers cannot reach the store: zenml.core.errors.StoreUnavailableError: away",
            "INFRA",
        ),
        (
            LOST + NO_PYTHON,
            f"Spark's workers cannot start Python: {TASK}{NO_PYTHON}",
            "CONFIG",
        ),
        (
            LOST + "java.lang.OutOfMemoryError: Java heap space",
            f"Spark ran out of memory: {TASK}java.lang.OutOfMemoryError: Java heap space",
            "OOM",
        ),
        (
            "Job 0 cancelled because killed via the Web UI",
            "the job was cancelled in Spark: Job 0 cancelled because killed via the Web UI",
            "CANCELLED",
        ),
        (
            "Job 0 cancelled because SparkContext was shut down",
            "Spark's application ended: Job 0 cancelled because SparkContext was shut down",
            "LOST",
        ),
        ("PySparkRuntimeError: [JAVA_GATEWAY_EXITED] Java", "Spark's JVM does not start", "CONFIG"),
        (
            LOST + PYTHON.format("KeyError: 'x'"),
            "Spark's job failed: KeyError: 'x'",
            None,
        ),
    ],
)
def test_sparks_words_become_an_error(words: str, message: str, cause: str | None) -> None:
    said, where, why, remedy = translated(words, "step 's'")
    assert (said, where, why) == (message, "step 's'", cause)
    assert remedy
