"""From a CSV file to predictions: the same artifacts, whoever does the work, in any order."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

if TYPE_CHECKING:
    from tests.conftest import DataPath

_PRISM = Path(__file__).parents[1] / "services" / "harness" / "prism.py"


def _local(mode: str, workers: int) -> dict[str, Any]:
    return {
        "processing": "zenml.local:ProcessingLocalBackend",
        "parameters": {"mode": mode, "workers": workers},
    }


def _shuffled(seed: int) -> dict[str, Any]:
    return {"processing": "__main__:Shuffled", "parameters": {"seed": seed}}


#: How the work is done, and the number of Polars' threads.
VARIANTS = {
    "eight threads": ({**_local("threads", 8), "steps": 4}, 4),
    "one process": (_local("processes", 1), 1),
    "two processes": ({**_local("processes", 2), "steps": 2}, 2),
    "shuffled, and everything twice": (_shuffled(1), 2),
    "shuffled otherwise": ({**_shuffled(2), "steps": 2}, 4),
    "as a job": ({**_local("threads", 2), "jobs": "jobs"}, 4),
}

#: What is made of the rows, as Polars 2.1.0 writes it. It changes only together with a format's
#: number, a version that is a part of its bytes, or the mending of a result that was wrong.
GOLDEN: dict[str, str] = {
    "category.examples": "91420121a674fdfcbf1cf4e99598592a",
    "category_anomalies.anomalies": "a5c43dc2ab516340b9183d8574da9758",
    "category_schema.schema": "2e349346521c8cf7d536940d6eedbaa0",
    "category_statistics.statistics": "1755dbdd39d729198ad2d9d60bd19071",
    "data.examples": "efa6e0cdbfaa52cb1d5582ad8e6ba2e4",
    "data.schema": "2722b5122bee754c9c26f2a2588f3f8e",
    "data.statistics": "74d3f95f028927ee1e7cbecc611feb91",
    "features.examples": "691c0145ff560fa991533bc6526e7a4c",
    "features.transform": "85a316955b958796440e68c6768709ac",
    "random.examples": "0b3800c38e275fed4c34976331159b12",
    "random_anomalies.anomalies": "0cad3eb9c3330277fe0a324a328ca267",
    "random_schema.schema": "54055fb56a4fba4f8a3452375c70b7c1",
    "random_statistics.statistics": "6aa03e47e0b20c8641b60d639f1f5931",
    "sequence_features.examples": "ac94c42e9dc4b354d2b1faaf1099249b",
    "sequence_features.transform": "cde0ce28ed7ef7d14495ddb8148e3cab",
    "sequences.examples": "3b5427aa09881118566a21303dbd31f5",
    "terms.examples": "b93451f4712d7142a663bfefaaf741bb",
    "terms.transform": "76d0444ed1f9e0ed79513c21535a7e59",
    "time.examples": "2dcbeb7ccd467fd6da0fff768e2f44fd",
    "time_anomalies.anomalies": "953c6c418d7601a9a774cb77d9309e0f",
    "time_schema.schema": "9158405c0b48fa89241a88f21c8e0486",
    "time_statistics.statistics": "44bf48cdfe3b31a37976f4d13dd1aa0a",
}
WRITTEN_BY = "2.1.0"


@pytest.mark.parametrize(("how", "threads"), VARIANTS.values(), ids=VARIANTS)
def test_every_artifact_has_the_same_digest(
    how: dict[str, Any], threads: int, data_path: DataPath, tmp_path: Path
) -> None:
    if "jobs" in how:
        how = {**how, "jobs": str(tmp_path / how["jobs"])}
    assert len(data_path.reference) == 25
    assert data_path.digests(**how, threads=threads) == data_path.reference


# -- what is not installed everywhere --------------------------------------------------------------


@pytest.fixture
def prism() -> str:
    """The path of Prism's program."""
    try:
        return str(runpy.run_path(str(_PRISM))["prism"]())
    except (OSError, RuntimeError) as error:
        pytest.skip(f"Prism cannot be built here: {str(error)[-500:]}")


@pytest.fixture
def dask() -> Iterator[str]:
    """The address of two workers; a cluster for each map would take most of the time."""
    distributed = pytest.importorskip("distributed", reason="acme-zenml-dask is not installed")
    with distributed.LocalCluster(n_workers=2, host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_a_pipeline_of_beam_makes_the_same(data_path: DataPath) -> None:
    if find_spec("zenml.beam") is None:
        pytest.skip("zenml-beam is not installed")
    found = data_path.digests("zenml.beam:ProcessingBeamBackend", {}, steps=2)
    assert found == data_path.reference


def test_a_pipeline_on_prism_makes_the_same(data_path: DataPath, request: Any) -> None:
    if find_spec("zenml.beam") is None:
        pytest.skip("zenml-beam is not installed")
    options = {"prism_location": request.getfixturevalue("prism")}
    parameters = {"runner": "PrismRunner", "options": options}
    found = data_path.digests("zenml.beam:ProcessingBeamBackend", parameters, steps=2)
    assert found == data_path.reference


def test_two_workers_of_dask_make_the_same(dask: str, data_path: DataPath) -> None:
    found = data_path.digests("acme_zenml_dask:ProcessingDaskBackend", {"address": dask})
    assert found == data_path.reference


# -- once and for all ------------------------------------------------------------------------------


@pytest.mark.skipif(pl.__version__ != WRITTEN_BY, reason=f"recorded with Polars {WRITTEN_BY}")
def test_what_is_made_of_rows_is_what_it_always_was(data_path: DataPath) -> None:
    reference = data_path.reference
    made = {name: digest[:32] for name, digest in reference.items() if name in GOLDEN}
    assert made == GOLDEN
    # These are of scikit-learn's making, too.
    models = {
        name for name in reference if name.endswith((".model", ".evaluation", ".predictions"))
    }
    assert reference.keys() - GOLDEN.keys() == models
