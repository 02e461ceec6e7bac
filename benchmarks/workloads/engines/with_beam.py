"""The map of ``engines.py`` as a program for Apache Beam alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from workload import work

told = json.loads(sys.argv[1])


def run(number: int) -> None:
    found = work({"number": number, "seconds": told["seconds"]})
    Path(told["folder"], f"{number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    pipeline = beam.Pipeline(options=PipelineOptions.from_dictionary(told["options"]))
    units = pipeline | beam.Create([told["count"]]) | beam.FlatMap(lambda count: [*range(count)])
    units | beam.Reshuffle() | beam.Map(run)
    pipeline.run().wait_until_finish()
