"""A prediction that is killed goes on where it was."""

from __future__ import annotations

import os
import signal
from typing import Any

from zenml.core.testing import Project, processes_of_group, wait_until

ROWS = "x,y,label\n" + "".join(f"{n},{n * 7 % 5},{str(n % 3 == 0).lower()}\n" for n in range(120))

SCRIPT = """
import os
import sys
import time
from pathlib import Path

from zenml.datasources import CSVDatasource
from zenml.local import ProcessingLocalBackend
from zenml.pipelines import BatchInferencePipeline, TrainingPipeline
from zenml.steps.inferrer import Inferrer
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer


class Noted(ProcessingLocalBackend):
    workers: int = 1

    def map(self, units, context):
        done = 0
        for index, result in super().map(units, context):
            if "infer_shard" in units[index].function:
                done += 1
                with open(os.environ["JOURNAL"], "a") as journal:
                    journal.write(f"{units[index].digest}\\n")
                if done == int(os.environ.get("STOP_AT", 0)):
                    time.sleep(600)
            yield index, result


if __name__ == "__main__":
    training = TrainingPipeline("training", artifact_store=sys.argv[1])
    training.add_datasource(CSVDatasource(name="rows", path="rows.csv"))
    training.add_split(RandomSplit(split_map={"train": 0.8, "eval": 0.2}))
    training.add_preprocesser(StandardPreprocesser(labels=["label"]))
    training.add_trainer(SKLearnTrainer())
    model = training.run().artifact("trainer.model")
    pipeline = BatchInferencePipeline(model, artifact_store=sys.argv[1])
    pipeline.add_datasource(CSVDatasource(name="rows", path="rows.csv", rows_per_shard=10))
    pipeline.add_infer_step(Inferrer().with_backend(Noted()))
    run = pipeline.run()
    print(run.artifact("inferrer.predictions").digest)
"""


def test_only_the_shards_that_were_not_finished_are_predicted_again(project: Project) -> None:
    (project.folder / "infer.py").write_text(SCRIPT)
    (project.folder / "rows.csv").write_text(ROWS)
    journal = project.folder / "journal.txt"
    variables = {"JOURNAL": str(journal)}

    def noted() -> list[str]:
        return journal.read_text().split() if journal.exists() else []

    undisturbed = project.run("infer.py", "undisturbed", variables=variables)
    assert undisturbed.returncode == 0, undisturbed.stderr
    every = noted()
    assert len(set(every)) == len(every) == 12
    journal.unlink()

    held: dict[str, Any] = {**variables, "STOP_AT": "5"}
    with project.start("infer.py", "killed", variables=held) as process:
        wait_until(lambda: len(noted()) == 5, what="five shards")
        os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not processes_of_group(process.pid), what="the end of every process")
    journal.unlink()

    again = project.run("infer.py", "killed", variables=variables)

    assert again.returncode == 0, again.stderr
    assert noted() == every[5:]
    assert again.stdout == undisturbed.stdout
