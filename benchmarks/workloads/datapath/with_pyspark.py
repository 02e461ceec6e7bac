"""The data path by hand, with PySpark on all processors of this machine.

The schema is given, which spares Spark a pass over the text that the others make do without.
"""

from __future__ import annotations

import json
import math
import sys
from bisect import bisect_left
from itertools import accumulate
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 - as Spark's documentation has it

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
BARS = 32
TEXT = ("carrier", "tailnum", "origin", "dest", "time_hour")


def describe(data: DataFrame, name: str) -> dict[str, Any]:
    """Describe one column, from the counts of its values."""
    rows = data.groupBy(F.col(name).alias("value")).count().collect()
    nulls = sum(row["count"] for row in rows if row["value"] is None)
    counts = sorted((row["value"], row["count"]) for row in rows if row["value"] is not None)
    number = sum(count for _, count in counts)
    top = sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:20]
    described = {"count": number, "nulls": nulls, "distinct": len(counts), "top": top}
    if name in TEXT:
        sizes = [len(value) for value, _ in counts]
        total = sum(len(value) * count for value, count in counts)
        length = {"min": min(sizes), "max": max(sizes), "mean": total / number}
        return described | {"length": length}
    mean = sum(value * count for value, count in counts) / number
    squares = sum((value - mean) ** 2 * count for value, count in counts)
    low, high = counts[0][0], counts[-1][0]
    below = list(accumulate(count for _, count in counts))
    width = (high - low) / BARS or 1
    bars = [0] * BARS
    for value, count in counts:
        bars[min(int((value - low) / width), BARS - 1)] += count
    return described | {
        "mean": mean,
        "std": math.sqrt(squares / number),
        "min": low,
        "max": high,
        "quantiles": [counts[bisect_left(below, max(level * number, 1))][0] for level in LEVELS],
        "histogram": bars,
    }


def main(source: str, out: Path) -> None:
    """Take the snapshot, describe it, split it, and standardise it."""
    out.mkdir()
    builder = SparkSession.builder.master("local[*]").config("spark.driver.memory", "4g")
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", 8)
    builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
    spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    with Path(source).open() as file:
        names = file.readline().strip().split(",")
    schema = ", ".join(f"{name} {'STRING' if name in TEXT else 'BIGINT'}" for name in names)
    parquet = {"compression": "zstd"}
    rows = spark.read.csv(source, header=True, schema=schema, nullValue="NA", mode="FAILFAST")
    rows.write.options(**parquet).parquet(str(out / "snapshot.parquet"))

    data = spark.read.parquet(str(out / "snapshot.parquet"))
    statistics = {name: describe(data, name) for name in names}
    (out / "statistics.json").write_text(json.dumps(statistics))

    # No row has a number here, and the same row is to be in the same split whenever it is read.
    split = data.withColumn("train", F.rand(seed=0) < 0.7)
    split.write.options(**parquet).parquet(str(out / "split.parquet"))

    data = spark.read.parquet(str(out / "split.parquet"))
    training = data.where("train")
    numeric = [name for name in names if name not in TEXT]
    measures = [
        measure(name).alias(f"{name} {key}")
        for name in numeric
        for key, measure in (("max", F.max), ("mean", F.avg), ("std", F.stddev_pop))
    ]
    known = training.agg(*measures).first()
    columns = []
    for name in names:
        if name in TEXT:
            words = training.groupBy(F.coalesce(name, F.lit("")).alias("word")).count()
            order = Window.orderBy(F.col("count").desc(), "word")
            places = words.select("word", (F.row_number().over(order) - 1).alias(f"{name}_place"))
            data = data.withColumn("word", F.coalesce(name, F.lit("")))
            data = data.join(F.broadcast(places), "word", "left").drop("word")
            value = F.coalesce(f"{name}_place", F.lit(-1))
        elif known[f"{name} std"]:
            filled = F.coalesce(name, F.lit(known[f"{name} max"]))
            value = (filled - known[f"{name} mean"]) / known[f"{name} std"]
        else:
            value = F.lit(0.0)
        columns.append(value.cast("float").alias(f"{name}_xf"))
    data.select(*columns).write.options(**parquet).parquet(str(out / "transformed.parquet"))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
