"""Everything that becomes of rows, from a CSV file to predictions, and three ways to split.

``python data_path.py HOW`` runs it, where HOW is JSON; see ``main``. Prints the digest of every
artifact, by step and output.
"""

import json
import pkgutil
import random
import sys
from pathlib import Path

from zenml.core import ProcessingBackend, execute_unit
from zenml.datasources import CSVDatasource
from zenml.local import OrchestratorLocalBackend, OrchestratorSubprocessBackend
from zenml.pipelines import Pipeline
from zenml.steps.anomalies import Anomalies
from zenml.steps.evaluator import Evaluator
from zenml.steps.inferrer import Inferrer
from zenml.steps.preprocesser import StandardPreprocesser
from zenml.steps.sequencer import StandardSequencer
from zenml.steps.split import CategoricalDomainSplit, RandomSplit, TimeRatioSplit
from zenml.steps.statistics import SplitSchema, SplitStatistics
from zenml.steps.trainer import SKLearnTrainer

ROWS = 6_000
CARRIERS = ("AA", "B6", "DL", "UA", "EV")
WORDS = ("late", "crew", "fog", "gate", "snow", "fuel", "wind")


class Shuffled(ProcessingBackend):
    """Executes units in random order, and each of them twice, as a cluster that loses workers may.

    What the second time gives is remembered elsewhere, so that it is computed, and must be equal.
    """

    seed: int = 0

    def map(self, units, context):
        import msgspec

        order = list(enumerate(units)) * 2
        random.Random(f"{self.seed} {context.scope}").shuffle(order)  # noqa: S311 - to be repeated
        results = {}
        for index, unit in order:
            again = msgspec.structs.replace(context, scope=f"{context.scope}-again")
            result = execute_unit(unit, again if index in results else context)
            if index not in results:
                results[index] = result
                yield index, result
            elif result != results[index]:
                raise AssertionError(f"{unit.function} gave {result} after {results[index]}")


def write_rows(path):
    """Sums of these floats depend on the order of additions, wherever one is rounded."""
    lines = ["seconds,carrier,delay,distance,weight,late,note"]
    for number in range(ROWS):
        mixed = number * 2654435761 % 2**32
        delay = "NA" if mixed % 50 == 0 else repr(mixed % 30_011 / 7 - 300)
        weight = repr((mixed % 1_009 - 504) * 10.0 ** (mixed % 33 - 16))
        note = " ".join(WORDS[mixed // 7**place % 7] for place in range(mixed % 5))
        late = "NA" if mixed % 61 == 0 else str(mixed % 30_011 > 17_000).lower()
        lines.append(
            f"{number * 600},{CARRIERS[mixed % 5]},{delay},{mixed % 4_999},{weight},{late},{note}"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def transform(*methods):
    return [
        {"method": method, "parameters": parameters} if parameters else method
        for method, parameters in methods
    ]


def build(source, backends, only=None):
    made = Pipeline("data-path", backends=backends)

    def add(step, name, **inputs):
        if only is None or name in only:
            made.add_step(step, name=name, inputs=inputs)

    made.add_datasource(CSVDatasource(name="rows", path=source, rows_per_shard=500))
    splits = {
        "random": RandomSplit(split_map={"train": 0.6, "eval": 0.2, "test": 0.2}, seed=3),
        "category": CategoricalDomainSplit(
            categorical_column="carrier",
            split_map={"train": ["AA", "B6", "DL"], "eval": ["UA"]},
            unknown_category_policy="eval",
        ),
        "time": TimeRatioSplit(
            column="seconds", split_ratio={"train": 0.6, "eval": 0.2, "test": 0.2}
        ),
    }
    for name, split in splits.items():
        add(split, name, examples="data.examples")
        add(SplitStatistics(), f"{name}_statistics", examples=name)
        for step in (SplitSchema(), Anomalies()):
            title = f"{name}_{type(step).__name__.removeprefix('Split').lower()}"
            add(step, title, statistics=f"{name}_statistics")
    add(
        StandardSequencer(
            timestamp_column="seconds",
            category_column="carrier",
            resampling_freq="2h",
            gap_threshold=86_400,
            sequence_length=3,
            overwrite={"delay": {"resampling": "median", "filling": "forward"}},
        ),
        "sequences",
        examples="category",
    )
    add(
        StandardPreprocesser(
            features=["carrier", "delay_0", "delay_1", "weight_0"], labels=["delay_2"]
        ),
        "sequence_features",
        examples="sequences",
    )
    words = ("ngrams", {"ngram_range": [1, 2]})
    add(
        StandardPreprocesser(
            labels=["late"],
            overwrite={
                "seconds": {"transform": "scale_to_0_1"},
                "delay": {"transform": transform(("bucketize", {"num_buckets": 7}))},
                "distance": {"transform": "scale_by_min_max", "filling": "mean"},
                "weight": {"transform": "scale_to_z_score", "filling": "mean"},
                "carrier": {
                    "transform": transform(
                        ("compute_and_apply_vocabulary", {}), ("one_hot_encode", {"depth": 5})
                    )
                },
                "note": {
                    "transform": transform(
                        words,
                        ("hash_strings", {"hash_buckets": 60}),
                        ("tfidf", {"vocab_size": 60}),
                        ("pca", {"output_dim": 4}),
                    )
                },
            },
        ),
        "features",
        examples="random",
    )
    add(
        StandardPreprocesser(
            features=["note"],
            labels=["late"],
            overwrite={"note": {"transform": transform(words, ("tfidf", {"vocab_size": 20}))}},
        ),
        "terms",
        examples="time",
    )
    add(
        SKLearnTrainer(hyperparameters={"max_iter": 20}),
        "model",
        examples="features.examples",
        transform="features.transform",
    )
    add(Evaluator(slices=["carrier"]), "evaluation", model="model", examples="features.examples")
    add(Inferrer(scores=True), "inference", model="model", examples="data.examples")
    return made


def main(how):
    """Run it.

    ``processing``: the class of the backend that units are given to, as ``module:class``, and
    ``parameters``, its parameters. ``steps``: how many steps at once. ``jobs``: a folder, where the
    plan is run by a job. ``only``: the names of the steps, where it is not all of them. ``store``:
    the artifact store.
    """
    source = Path("rows.csv")
    if not source.exists():
        write_rows(source)
    orchestrator = OrchestratorLocalBackend(max_parallel_steps=how.get("steps", 1))
    if "jobs" in how:
        orchestrator = OrchestratorSubprocessBackend(work_folder=how["jobs"])
    processing = pkgutil.resolve_name(how["processing"])(**how["parameters"])
    made = build(str(source.resolve()), [orchestrator, processing], how.get("only"))
    run = made.run(artifact_store=how["store"])
    failed = {name: step.status for name, step in run.steps.items() if step.status != "succeeded"}
    assert not failed, failed
    digests = {
        f"{name}.{output}": digest
        for name, step in run.steps.items()
        for output, digest in step.outputs.items()
    }
    print(json.dumps(digests, sort_keys=True))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
