"""The main job: a pipeline on real data, through backends that were discovered."""

from __future__ import annotations

import json
import re

import pytest

STEPS = ["data", "late", "split", "preprocesser", "trainer", "evaluator"]


@pytest.fixture(scope="module")
def first(python):
    return python("run.py")


@pytest.fixture(scope="module")
def second(first, python):
    return python("run.py")


@pytest.fixture(scope="module")
def plan_of_another_seed(second, python):
    done = python("-m", "_zenml_main", "plan", "--json", "run.py", "--", "--seed", "1")
    return {row["name"]: row for row in json.loads(done.stdout)}


def statuses(done) -> dict[str, str]:
    found = re.findall(r"^\[\d/\d\] (\w+) +(done|cached|FAILED)", done.stderr, re.MULTILINE)
    return dict(found)


def test_the_first_run_trains_and_evaluates_every_carrier(first):
    assert statuses(first) == dict.fromkeys(STEPS, "done")
    rows = re.findall(r"│ (\w+) +│ +([\d,]+) │ +([\d.]+) │", first.stdout)
    counts = {name: int(count.replace(",", "")) for name, count, _ in rows}
    assert len(counts) == 17  # sixteen carriers, and all of them together
    assert counts["all"] == sum(counts.values()) - counts["all"]
    accuracies = {name: float(accuracy) for name, _, accuracy in rows}
    # Saying "on time" to every flight would be right for 76 %.
    assert accuracies["all"] > 0.85


def test_the_second_run_is_served_from_the_cache(second):
    assert statuses(second) == dict.fromkeys(STEPS, "cached")


def test_the_second_run_prints_the_same_figures(first, second):
    tables = [re.findall(r"│.*│", done.stdout) for done in (first, second)]
    assert tables[0] == tables[1] != []


def test_the_plan_says_beforehand_what_another_seed_will_reuse(plan_of_another_seed):
    status = {name: row["status"] for name, row in plan_of_another_seed.items()}
    assert status == {
        "data": "cached",
        "late": "cached",
        "split": "run",
        "preprocesser": "unknown",
        "trainer": "unknown",
        "evaluator": "unknown",
    }
    assert plan_of_another_seed["split"]["reason"].startswith("parameter seed: 0 -> 1")


def test_another_seed_reuses_everything_above_the_change(plan_of_another_seed, python):
    done = python("run.py", "--seed", "1")
    found = statuses(done)
    assert {name for name, status in found.items() if status == "cached"} == {"data", "late"}
    assert {name for name, status in found.items() if status == "done"} == set(STEPS[2:])


def test_the_trained_model_takes_raw_rows(second, python):
    run_id = re.search(r"run (\S+): 6 steps", second.stdout)
    assert run_id is not None
    script = """
import json, sys
from zenml.core import Run
from zenml.repo import Repository

model = Run(sys.argv[1], Repository.get_instance().artifact_store).load("trainer.model")
row = {"month": 7, "hour": 18, "carrier": "UA", "origin": "EWR", "dest": "SFO", "distance": 2565}
print(json.dumps([bool(model.predict([{**row, "dep_delay": delay}])[0]) for delay in (-5, 120)]))
"""
    done = python("-c", script, run_id[1])
    assert json.loads(done.stdout) == [False, True]
