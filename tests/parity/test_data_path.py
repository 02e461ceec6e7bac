"""From a CSV file to evaluated models: the same artifacts, whoever does the work, in any order."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from zenml.core.testing import Project

SCRIPT = Path(__file__).parent / "project" / "data_path.py"

#: How the work is done, and the number of Polars' threads.
VARIANTS = {
    "eight threads": ({"processing": "threads", "workers": 8, "steps": 4}, 4),
    "one process": ({"processing": "processes", "workers": 1}, 1),
    "two processes": ({"processing": "processes", "workers": 2, "steps": 2}, 2),
    "shuffled, and everything twice": ({"processing": "shuffled", "workers": 1}, 2),
    "shuffled otherwise": ({"processing": "shuffled", "workers": 2, "steps": 2}, 4),
    "as a job": ({"processing": "threads", "workers": 2, "jobs": "jobs"}, 4),
    "a pipeline of Beam": ({"processing": "beam", "workers": 1, "steps": 2}, 2),
    "two workers of Dask": ({"processing": "dask", "workers": 2}, 2),
}

#: What is not installed everywhere: module and distribution.
ENGINES = {
    "beam": ("zenml.beam", "zenml-beam"),
    "dask": ("acme_zenml_dask", "acme-zenml-dask"),
}

#: What is made of the rows, as Polars 2.1.0 writes it. It changes only together with a format's
#: number, a version that is a part of its bytes, or the mending of a result that was wrong.
GOLDEN: dict[str, str] = {
    "category.examples": "9ae21c7ec0e5bffd18feec3437fd11c1",
    "category_anomalies.anomalies": "a5c43dc2ab516340b9183d8574da9758",
    "category_schema.schema": "2e349346521c8cf7d536940d6eedbaa0",
    "category_statistics.statistics": "1755dbdd39d729198ad2d9d60bd19071",
    "data.examples": "0a96aa7259c0df3d6f37cc002a32aade",
    "data.schema": "2722b5122bee754c9c26f2a2588f3f8e",
    "data.statistics": "74d3f95f028927ee1e7cbecc611feb91",
    "features.examples": "ab9b6b0e14875ec0a1f91db4c0302cee",
    "features.transform": "85a316955b958796440e68c6768709ac",
    "random.examples": "af791e33518934bfff85171d945bb2ed",
    "random_anomalies.anomalies": "0cad3eb9c3330277fe0a324a328ca267",
    "random_schema.schema": "54055fb56a4fba4f8a3452375c70b7c1",
    "random_statistics.statistics": "6aa03e47e0b20c8641b60d639f1f5931",
    "sequence_features.examples": "ac94c42e9dc4b354d2b1faaf1099249b",
    "sequence_features.transform": "cde0ce28ed7ef7d14495ddb8148e3cab",
    "sequences.examples": "3b5427aa09881118566a21303dbd31f5",
    "terms.examples": "ec5b1fcd18aa041e4567178183800c8c",
    "terms.transform": "76d0444ed1f9e0ed79513c21535a7e59",
    "time.examples": "fe7a89d2d8ccf730a7203f54153d42f7",
    "time_anomalies.anomalies": "953c6c418d7601a9a774cb77d9309e0f",
    "time_schema.schema": "9158405c0b48fa89241a88f21c8e0486",
    "time_statistics.statistics": "44bf48cdfe3b31a37976f4d13dd1aa0a",
}
WRITTEN_BY = "2.1.0"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("parity") / "project")
    shutil.copy(SCRIPT, made.folder)
    return made


def digests(project: Project, folder: Path, how: dict[str, Any], threads: int) -> dict[str, str]:
    """Of every artifact, in a store of its own: nothing can come from the cache."""
    how = {**how, "store": str(folder / "store")}
    if "jobs" in how:
        how["jobs"] = str(folder / how["jobs"])
    variables = {"POLARS_MAX_THREADS": str(threads), "PYTHONHASHSEED": str(threads)}
    done = project.run(SCRIPT.name, json.dumps(how), variables=variables, timeout=900)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def reference(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    how = {"processing": "threads", "workers": 1}
    return digests(project, tmp_path_factory.mktemp("reference"), how, 1)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_artifact_has_the_same_digest(
    variant: tuple[dict[str, Any], int],
    project: Project,
    tmp_path: Path,
    reference: dict[str, str],
) -> None:
    how, threads = variant
    module, distribution = ENGINES.get(how["processing"], ("zenml.local", ""))
    if find_spec(module) is None:
        pytest.skip(f"{distribution} is not installed")
    assert len(reference) == 24
    assert digests(project, tmp_path, how, threads) == reference


@pytest.mark.skipif(pl.__version__ != WRITTEN_BY, reason=f"recorded with Polars {WRITTEN_BY}")
def test_what_is_made_of_rows_is_what_it_always_was(reference: dict[str, str]) -> None:
    made = {name: digest[:32] for name, digest in reference.items() if name in GOLDEN}
    assert made == GOLDEN
    models = {name for name in reference if name.endswith((".model", ".evaluation"))}
    assert reference.keys() - GOLDEN.keys() == models
