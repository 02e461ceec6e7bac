"""The data path with ZenML: snapshot and statistics, split, standardise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zenml.datasources import CSVDatasource
from zenml.pipelines import Pipeline
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.split import RandomSplit

if __name__ == "__main__":
    source, out = sys.argv[1], Path(sys.argv[2])
    pipeline = Pipeline(name="flights")
    pipeline.add_datasource(CSVDatasource(name="flights", path=source))
    pipeline.add_step(RandomSplit(split_map={"train": 0.7, "eval": 0.3}), name="split")
    pipeline.add_step(StandardPreprocesser(), name="preprocesser")
    run = pipeline.run()
    out.mkdir()
    statistics = {column.pop("name"): column for column in run.load("data.statistics")["columns"]}
    (out / "statistics.json").write_text(json.dumps(statistics))
