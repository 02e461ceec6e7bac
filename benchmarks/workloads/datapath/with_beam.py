"""The data path by hand, with Beam as its guides have it: one Python dictionary for each row."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.parquetio import ReadFromParquet, WriteToParquet
from apache_beam.options.pipeline_options import PipelineOptions

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
TEXT = ("carrier", "tailnum", "origin", "dest", "time_hour")


class Describe(beam.CombineFn):
    """Count the values of a column, and describe it by them."""

    def create_accumulator(self) -> Counter[Any]:
        return Counter()

    def add_input(self, counts: Counter[Any], value: Any) -> Counter[Any]:
        counts[value] += 1
        return counts

    def merge_accumulators(self, several: Any) -> Counter[Any]:
        merged: Counter[Any] = Counter()
        for counts in several:
            merged.update(counts)
        return merged

    def extract_output(self, counts: Counter[Any]) -> dict[str, Any]:
        nulls = counts.pop(None, 0)
        pairs = sorted(counts.items())
        number = sum(counts.values())
        top = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
        found = {"count": number, "nulls": nulls, "distinct": len(pairs), "top": top[:20]}
        if not pairs:
            return found
        if isinstance(pairs[0][0], str):
            total = sum(len(value) * count for value, count in pairs)
            return found | {"length": {"mean": total / number}, "words": [w for w, _ in top]}
        mean = sum(value * count for value, count in pairs) / number
        squares = sum((value - mean) ** 2 * count for value, count in pairs)
        quantiles, seen, levels = [], 0, list(LEVELS)
        for value, count in pairs:
            seen += count
            while levels and seen >= levels[0] * number:
                quantiles.append(value)
                levels.pop(0)
        std = math.sqrt(squares / number)
        low, high = pairs[0][0], pairs[-1][0]
        return found | {"mean": mean, "std": std, "min": low, "max": high, "quantiles": quantiles}


def parse(line: str, names: list[str]) -> dict[str, Any]:
    fields = next(csv.reader([line]))
    row: dict[str, Any] = {}
    for name, field in zip(names, fields, strict=True):
        value = None if field in ("", "NA") else field
        row[name] = value if name in TEXT or value is None else int(value)
    return row


def is_for_training(row: dict[str, Any]) -> bool:
    digest = hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < 0.7 * 2**64


def transform(row: dict[str, Any], known: dict[str, Any]) -> dict[str, float]:
    result = {}
    for name, value in row.items():
        about = known[name]
        if name in TEXT:
            result[f"{name}_xf"] = float(about["places"].get(value or "", -1))
        else:
            filled = about["max"] if value is None else value
            std = about["std"]
            result[f"{name}_xf"] = (filled - about["mean"]) / std if std else 0.0
    return result


def with_places(pair: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    name, about = pair
    places = {word: place for place, word in enumerate(about.get("words", ()))}
    return name, about | {"places": places}


def main(source: str, out: Path) -> None:
    """Take the snapshot, describe it, split it, and standardise it."""
    out.mkdir()
    options = PipelineOptions(["--runner=FnApiRunner"])
    with Path(source).open() as file:
        names = file.readline().strip().split(",")
    raw = pa.schema([(name, pa.string() if name in TEXT else pa.int64()) for name in names])
    with beam.Pipeline(options=options) as pipeline:
        lines = pipeline | beam.io.ReadFromText(source, skip_header_lines=1)
        rows = lines | beam.Map(parse, names)
        rows | WriteToParquet(str(out / "snapshot.parquet"), raw, codec="zstd")
    with beam.Pipeline(options=options) as pipeline:
        rows = pipeline | ReadFromParquet(f"{out}/snapshot.parquet*")
        described = rows | beam.FlatMap(dict.items) | beam.CombinePerKey(Describe())
        gathered = described | beam.combiners.ToDict()
        written = gathered | beam.Map(lambda found: json.dumps(found, default=str))
        written | "statistics" >> beam.io.WriteToText(str(out / "statistics.json"), num_shards=1)
        training = rows | beam.Filter(is_for_training)
        values = training | "values" >> beam.FlatMap(dict.items)
        known = values | "learn" >> beam.CombinePerKey(Describe()) | beam.Map(with_places)
        changed = rows | beam.Map(transform, beam.pvalue.AsDict(known))
        schema = pa.schema([(f"{name}_xf", pa.float32()) for name in names])
        changed | "transformed" >> WriteToParquet(
            str(out / "transformed.parquet"), schema, codec="zstd"
        )
    next(out.glob("statistics.json-*")).rename(out / "statistics.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
