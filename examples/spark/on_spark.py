"""The quickstart with its data path on Apache Spark: what is done stays as it is.

python on_spark.py                                         two workers on this machine
python on_spark.py --master spark://host:7077 --python /opt/ml/bin/python --store gs://bucket/zenml
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zenml.spark import ProcessingSparkBackend

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "quickstart"))

import run as quickstart


def main() -> None:
    """Split, look at and preprocess the flights on Spark, train here, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--master", default="local[2]", help="Spark's, as spark://host:7077")
    parser.add_argument("--python", help="the workers' interpreter")
    parser.add_argument("--store", help="an artifact store that the workers reach, too")
    given = parser.parse_args()

    spark = ProcessingSparkBackend(master=given.master, python=given.python)
    pipeline = quickstart.build(seed=0)
    run = pipeline.run(backends={"processing": spark}, artifact_store=given.store)
    quickstart.show(run.load("evaluator.evaluation"))
    print(f"run {run.id}: {', '.join(f'{n} {s.status}' for n, s in run.steps.items())}")


if __name__ == "__main__":
    main()
