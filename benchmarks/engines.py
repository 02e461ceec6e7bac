"""What a unit of work costs on an engine beside the engine alone, which does the same map.

    python benchmarks/engines.py [--units N] [--rounds N] [--prism PATH] [--json]

Ours and the engine's own program are started in turn, each in processes of its own, with few units
and with many: a unit's cost is the difference, so that no start is in it. A unit takes as long as
it is told. Its result is kept in a file of its own, as those of our maps are.
Nothing is asserted: a budget that is not kept is a red row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from _report import Row, describe_machine, print_machine, print_rows, wide_console

from zenml.beam import ProcessingBeamBackend
from zenml.core import MapContext, Unit, open_store

#: Ours over the engine's own.
BUDGET = 1.2

#: Seconds that a unit takes: what overhead is to be measured by, and none.
TAKES = (0.02, 0.0)

UNIT = """
import time

def work(payload, files=None):
    time.sleep(payload["seconds"])
    return {"number": payload["number"]}
"""

PLAIN = """
import json, sys
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from workload import work

told = json.loads(sys.argv[1])

def run(number):
    found = work({"number": number, "seconds": told["seconds"]})
    Path(told["folder"], f"{number}.json").write_text(json.dumps(found))

if __name__ == "__main__":
    pipeline = beam.Pipeline(options=PipelineOptions.from_dictionary(told["options"]))
    units = pipeline | beam.Create([told["count"]]) | beam.FlatMap(lambda count: [*range(count)])
    units | beam.Reshuffle() | beam.Map(run)
    pipeline.run().wait_until_finish()
"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--units", type=int, default=1000, help="how many are many")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prism", metavar="PATH", help="measure on Prism as well")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    engines = [ProcessingBeamBackend()]
    if options.prism is not None:
        told = {"prism_location": options.prism}
        engines.append(ProcessingBeamBackend(runner="PrismRunner", options=told))
    rows = []
    with tempfile.TemporaryDirectory(prefix="zenml-bench-") as folder:
        bench = _Bench(Path(folder), options.units)
        for engine in engines:
            for seconds in TAKES:
                rows += bench.rows(engine, seconds, options.rounds)
    if options.json:
        figures = [row.to_dict() for row in rows]
        print(json.dumps({"benchmark": "engines", "machine": machine, "rows": figures}))
        return
    console = wide_console()
    print_machine(console, machine)
    print_rows(console, "A unit of work", rows)


class _Bench:
    def __init__(self, folder: Path, many: int) -> None:
        self.folder = folder
        self.many = many
        (folder / "workload.py").write_text(UNIT)
        (folder / "plain.py").write_text(PLAIN)

    def rows(self, engine: ProcessingBeamBackend, seconds: float, rounds: int) -> list[Row]:
        plain, ours = [], []
        # Enough of them that what one start takes longer than another does not count.
        most = self.many if seconds else 20 * self.many
        least = max(1, most // 10)
        for turn in range(rounds + 1):
            for found, run in ((plain, self._plain), (ours, self._ours)):
                few, many = (run(engine, seconds, count) for count in (least, most))
                if turn:  # the first of each warms up
                    found.append(1000 * (many - few) / (most - least))
        ratios = [mine / other for mine, other in zip(ours, plain, strict=True)]
        what = f"{engine.runner}, {1000 * seconds:g} ms"
        return [
            Row(f"{what}: Beam alone", plain),
            Row(f"{what}: ours", ours),
            Row(
                f"{what}: ours over Beam's",
                ratios,
                unit="x",
                budget=BUDGET if seconds else None,
                remark="" if seconds else "nothing but overhead",
            ),
        ]

    def _ours(self, engine: ProcessingBeamBackend, seconds: float, count: int) -> float:
        store = open_store((self.folder / uuid.uuid4().hex).as_uri())
        store.prepare()
        context = MapContext(
            store=store.url, scope="units/bench", step="bench", import_roots=(str(self.folder),)
        )
        units = [
            Unit("workload:work", {"number": number, "seconds": seconds}, "bench")
            for number in range(count)
        ]
        begun = time.monotonic()
        assert len([*engine.map(units, context)]) == count
        return time.monotonic() - begun

    def _plain(self, engine: ProcessingBeamBackend, seconds: float, count: int) -> float:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        told: dict[str, Any] = {
            "options": {"runner": engine.runner, **engine.options},
            "folder": str(folder),
            "seconds": seconds,
            "count": count,
        }
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "plain.py", json.dumps(told)],
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        took = time.monotonic() - begun
        assert len([*folder.iterdir()]) == count
        return took


if __name__ == "__main__":
    main()
