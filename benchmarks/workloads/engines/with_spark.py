"""The map of ``engines.py`` as a program for Apache Spark alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark import SparkConf, SparkContext

told = json.loads(sys.argv[1])
folder, seconds = told["folder"], told["seconds"]


def run(number: int) -> None:
    from workload import work

    found = work({"number": number, "seconds": seconds})
    Path(folder, f"{number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    conf = SparkConf().setAll(list(told["options"].items()))
    context = SparkContext(conf=conf, pyFiles=["workload.py"])
    context.parallelize(range(told["count"])).foreach(run)
    context.stop()
