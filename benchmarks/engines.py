"""What a unit of work costs on an engine beside the engine alone, and what very many of them cost.

    python benchmarks/engines.py [ENGINE ...] [--units N] [--rounds N] [--master URL] [--json]
    python benchmarks/engines.py --scale [ENGINE ...] [--units N] [--rounds N] …

Engines are ``beam`` (in one process), ``prism``, ``spark`` (two cores of this machine),
``standalone`` (a Spark cluster; that of ``tests/spark`` unless ``--master`` names another one) and,
with ``--scale``, ``dataflow`` (what stands in for it in ``tests/services``).

Ours and the engine's own program, which does the same map, are started in turn, each in processes
of its own. A unit takes as long as it is told, and says when it began; its result is kept in a file
of its own, as those of our maps are. What a unit costs is the time from when the first one began
until the last one did, so that no engine's start is in it.

``--scale`` maps few units and very many that take no time, and looks at when the first one begins,
at what the engine is given, and at the largest processes.
Nothing is asserted: a budget that is not kept is a red row.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from _memory import PeakMemories
from _report import Row, describe_machine, print_machine, print_rows, wide_console

from zenml.core import ProcessingBackend, open_store

TESTS = Path(__file__).resolve().parents[1] / "tests"
PROGRAMS = Path(__file__).resolve().parent / "workloads" / "engines"

ENGINES = ("beam", "prism", "spark", "standalone", "dataflow")

#: Ours over the engine's own.
BUDGET = 1.2

#: Seconds that a unit takes: what overhead is to be measured by, and none.
TAKES = (0.02, 0.0)

#: How many units are many, and how many are very many, beside a thousand.
MANY, VERY_MANY, FEW = 1000, 100_000, 1000

#: What very many may take beyond what few take: bytes that the engine is given, for numbers may
#: have more digits; seconds until the first one begins; MiB that the client holds.
MORE_GIVEN, LATER, MORE_HELD = 200, 10.0, 100.0

#: Whose process it is, by its command line; the first that is found.
ROLES: Final = {
    "client": r"with_ours\.py",
    "driver": r"zenml\.(beam|spark)\._driver",
    "driver's JVM": r"deploy\.SparkSubmit",
    "executor's JVM": "CoarseGrainedExecutorBackend",
    "Prism": "prism.* --job_port",
    "worker": r"pyspark[./]daemon|sdk_worker_main",
}

#: Has Spark's driver say how many bytes each task is.
LOG4J = """
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
appender.file.type = File
appender.file.name = file
appender.file.fileName = {file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %m%n
"""


class Engine:
    """An engine with a backend of ours.

    Attributes:
        name: What it is called here.
        library: What it is called elsewhere.
        backend: Ours.
        program: That of the engine alone; none if only very many units are mapped with it.
        options: What the program tells the engine.
    """

    name: str
    library: str
    backend: ProcessingBackend
    program = ""
    options: dict[str, Any]

    def store(self, folder: Path) -> str:
        """The URL of a new artifact store."""
        return (folder / uuid.uuid4().hex).as_uri()

    def given(self, store: str) -> int:
        """How many bytes the engine was given for a map, the only one in its store."""
        raise NotImplementedError


class Beam(Engine):
    """One of Beam's own runners."""

    library, program = "Beam", "with_beam.py"

    def __init__(self, name: str, runner: str, options: dict[str, Any]) -> None:
        from zenml.beam import ProcessingBeamBackend

        self.name = name
        self.backend = ProcessingBeamBackend(runner=runner, options=options)
        self.options = {"runner": runner, **options}

    def given(self, store: str) -> int:
        """The size of the pipeline."""
        from apache_beam import Pipeline
        from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner

        from zenml.beam import pipeline_for

        keys = [found.key for found in open_store(store).list("units/bench/orders/")]
        [order] = [key for key in keys if key.endswith("/order.json")]
        pipeline = Pipeline(runner=BundleBasedDirectRunner())
        # The other objects are the results of its indexes.
        pipeline_for(pipeline, store, order, order.split("/")[-2], len(keys) - 1)
        return int(pipeline.to_runner_api().ByteSize())


class Spark(Engine):
    """Spark on this machine, or a cluster."""

    library, program = "Spark", "with_spark.py"

    def __init__(self, name: str, master: str, folder: Path) -> None:
        from zenml.spark import ProcessingSparkBackend

        self.name = name
        self.options = {"spark.master": master, "spark.ui.enabled": "false"}
        self._log = folder / f"{name}.log"
        settings = folder / f"{name}.properties"
        settings.write_text(LOG4J.format(file=self._log))
        conf = {
            "spark.ui.enabled": "false",
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={settings.as_uri()}",
        }
        self.backend = ProcessingSparkBackend(master=master, python=sys.executable, conf=conf)

    def given(self, store: str) -> int:
        """The size of all tasks."""
        told = self._log.read_text()
        self._log.unlink()
        return sum(map(int, re.findall(r"^Starting task .* (\d+) bytes", told, re.MULTILINE)))


class Dataflow(Engine):
    """What stands in for Dataflow in the tests."""

    name, library = "dataflow", "Dataflow"

    def __init__(self, opened: ExitStack) -> None:
        sys.path.insert(0, str(TESTS / "services"))
        from harness import GCSServer
        from harness.dataflow import IMAGE, DataflowServer
        from harness.remote import environment

        from zenml.dataflow import ProcessingDataFlowBackend

        self._gcs = opened.enter_context(GCSServer())
        os.environ["STORAGE_EMULATOR_HOST"] = self._gcs.url
        place = {"STORAGE_EMULATOR_HOST": self._gcs.url}
        images = {IMAGE: environment(ours=["zenml-dataflow"])}
        self._service = opened.enter_context(DataflowServer(images, self._gcs, place))
        self.backend = ProcessingDataFlowBackend(
            project="my-project", image=IMAGE, api_endpoint=self._service.url
        )

    def store(self, folder: Path) -> str:
        """A bucket of its own."""
        return f"{self._gcs.make_bucket(f'bench-{uuid.uuid4().hex}')}/artifacts"

    def given(self, store: str) -> int:
        """The size of the request for the job, and of the pipeline that was staged for it."""
        [asked] = [body for method, _, body in self._service.requests if method == "POST"]
        self._service.requests.clear()
        bucket = store.removesuffix("/artifacts")
        staged = [one for one in open_store(bucket).list("") if one.key.endswith("/pipeline.pb")]
        return len(asked) + sum(one.size for one in staged)


def _prism() -> Engine:
    sys.path.insert(0, str(TESTS / "services" / "harness"))
    from prism import prism

    return Beam("prism", "PrismRunner", {"prism_location": str(prism())})


def _standalone(master: str | None, folder: Path, opened: ExitStack) -> Engine:
    if master is None:
        sys.path.insert(0, str(TESTS / "spark" / "harness"))
        from standalone import Standalone

        master = opened.enter_context(Standalone(folder / "cluster")).url
    return Spark("standalone", master, folder)


def _engine(name: str, master: str | None, folder: Path, opened: ExitStack) -> Engine:
    makers: dict[str, Callable[[], Engine]] = {
        "beam": lambda: Beam("beam", "FnApiRunner", {}),
        "prism": _prism,
        "spark": lambda: Spark("spark", "local[2]", folder),
        "standalone": lambda: _standalone(master, folder, opened),
        "dataflow": lambda: Dataflow(opened),
    }
    return makers[name]()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(ENGINES)}")
    parser.add_argument("--scale", action="store_true", help="map very many units")
    parser.add_argument("--units", type=int, help="how many are many")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--master", metavar="URL", help="of the Spark cluster")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.engines or ["beam", "spark"]
    if unknown := {*names} - {*ENGINES}:
        parser.error(f"there is no {', '.join(unknown)}")
    if "dataflow" in names and not options.scale:
        parser.error("dataflow is measured with --scale")
    machine = describe_machine()
    rows = []
    for name in names:
        with ExitStack() as opened:
            made = tempfile.TemporaryDirectory(prefix="zenml-bench-", ignore_cleanup_errors=True)
            folder = Path(opened.enter_context(made))
            engine = _engine(name, options.master, folder, opened)
            if options.scale:
                bench = _Bench(engine, folder, options.rounds or 1)
                rows += bench.scale(options.units or VERY_MANY)
            else:
                bench = _Bench(engine, folder, options.rounds or 5)
                for seconds in TAKES:
                    rows += bench.overhead(seconds, options.units or MANY)
    if options.json:
        figures = [row.to_dict() for row in rows]
        print(json.dumps({"benchmark": "engines", "machine": machine, "rows": figures}))
        return
    console = wide_console()
    print_machine(console, machine)
    print_rows(console, "A unit of work", rows)


class _Bench:
    def __init__(self, engine: Engine, folder: Path, rounds: int) -> None:
        self.engine = engine
        self.folder = folder
        self.rounds = rounds

    def overhead(self, seconds: float, many: int) -> list[Row]:
        alone, ours = [], []
        count = many if seconds else 20 * many
        for turn in range(self.rounds + 1):
            for found, run in ((alone, self._alone), (ours, self._ours)):
                span = run(seconds, count)["span"]
                if turn:  # the first of each warms up
                    found.append(1000 * span / (count - 1))
        ratios = [mine / other for mine, other in zip(ours, alone, strict=True)]
        what, library = f"{self.engine.name}, {1000 * seconds:g} ms", self.engine.library
        return [
            Row(f"{what}: {library} alone", alone),
            Row(f"{what}: ours", ours),
            Row(
                f"{what}: ours over {library}'s",
                ratios,
                unit="x",
                budget=BUDGET if seconds else None,
                remark="" if seconds else "nothing but overhead",
            ),
        ]

    def scale(self, many: int) -> list[Row]:
        few, all_ = [], []
        for _ in range(self.rounds):
            few.append(self._watched(FEW))
            all_.append(self._watched(many))

        def rows(what: str, of: str, unit: Any, more: float | None = None) -> list[Row]:
            before = [found[of] for found in few]
            budget = None if more is None else statistics.median(before) + more
            what = f"{self.engine.name}: {what}"
            return [
                Row(f"{what}, {FEW:,} units", before, unit),
                Row(f"{what}, {many:,} units", [found[of] for found in all_], unit, budget),
            ]

        found = [
            *rows("given to the engine", "given", "bytes", MORE_GIVEN),
            *rows("until the first unit begins", "first", "s", LATER),
            *rows("until the last result", "seconds", "s"),
            *rows("client, over its units", "mib", "MiB", MORE_HELD),
        ]
        for role in ROLES:
            if role in all_[0] and role in few[0]:
                found += rows(f"the largest {role}", role, "MiB")
        return found

    def _watched(self, count: int) -> dict[str, float]:
        """What a map of units that take no time came to."""
        peaks = PeakMemories(ROLES)
        found = self._ours(0.0, count)
        return {**found, **peaks.close(), "given": self.engine.given(self._store)}

    def _ours(self, seconds: float, count: int) -> dict[str, float]:
        self._store = self.engine.store(self.folder)
        backend = self.engine.backend
        told = {
            "module": type(backend).__module__,
            "backend": type(backend).__name__,
            "parameters": backend.parameters(),
            "store": self._store,
            "seconds": seconds,
            "count": count,
        }
        found: dict[str, float] = json.loads(self._run("with_ours.py", told))
        return found

    def _alone(self, seconds: float, count: int) -> dict[str, float]:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        told = {
            "options": self.engine.options,
            "folder": str(folder),
            "seconds": seconds,
            "count": count,
        }
        self._run(self.engine.program, told)
        begun = [json.loads(file.read_text())["begun"] for file in folder.iterdir()]
        assert len(begun) == count
        return {"span": max(begun) - min(begun)}

    def _run(self, program: str, told: dict[str, Any]) -> str:
        """What a program prints; what its engine does comes with its failure."""
        done = subprocess.run(
            [sys.executable, program, json.dumps(told)],
            cwd=PROGRAMS,
            env={**os.environ, "PYSPARK_PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: {program} on {self.engine.name} failed:\n{done.stderr[-4000:]}")
        return done.stdout


if __name__ == "__main__":
    main()
