"""A hundred shards on their way from a CSV file to prepared rows, and a death that can be set.

``python shards.py HOW`` runs it, where HOW is JSON: ``store``; ``mode`` of the workers; and with
``step`` and ``after``, the process is killed as soon as so many units of the step have come back.
Every map is noted in the journal: its step, and the units that it was given.
"""

import json
import os
import signal
import sys
from pathlib import Path

from zenml.core import ProcessingBackend
from zenml.datasources import CSVDatasource
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import Pipeline
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.statistics import SplitStatistics

SHARDS = 100
ROWS = 40


class Mortal(ProcessingBackend):
    mode: str = "threads"
    step: str = ""
    after: int = 0

    def map(self, units, context):
        with open("journal.jsonl", "a", encoding="utf-8") as journal:
            digests = [unit.digest for unit in units]
            journal.write(json.dumps({"step": context.step, "units": digests}) + "\n")
        workers = ProcessingLocalBackend(mode=self.mode, workers=2)
        for done in workers.map(units, context):
            yield done
            Mortal.seen[context.step] = Mortal.seen.get(context.step, 0) + 1
            if context.step == self.step and Mortal.seen[context.step] == self.after:
                os.kill(os.getpid(), signal.SIGKILL)


#: Units that have come back, by step; a backend has no state.
Mortal.seen = {}


def main(how):
    source = Path("rows.csv")
    if not source.exists():
        lines = [
            f"{row},{row * 7_919 % 1_009 / 7!r},{'abcdef'[row * 31 % 6]},{row % 3}"
            for row in range(SHARDS * ROWS)
        ]
        source.write_text("\n".join(["id,x,letter,y", *lines]) + "\n", encoding="utf-8")
    store = how.pop("store")
    pipeline = Pipeline("shards", backends=[Mortal(**how)])
    pipeline.add_datasource(
        CSVDatasource(name="rows", path=str(source.resolve()), rows_per_shard=ROWS)
    )
    pipeline.add_step(RandomSplit(split_map={"train": 0.7, "eval": 0.3}), name="split")
    pipeline.add_step(SplitStatistics(), name="statistics", inputs={"examples": "split"})
    pipeline.add_step(
        StandardPreprocesser(labels=["y"]), name="preprocess", inputs={"examples": "split"}
    )
    run = pipeline.run(artifact_store=store)
    print(json.dumps({name: [step.status, step.outputs] for name, step in run.steps.items()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
