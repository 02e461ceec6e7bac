"""What the core knows of published plugins is data, and agrees with those that are installed."""

from __future__ import annotations

import json
from importlib import metadata, resources

import pytest

from zenml.core import step
from zenml.core.errors import StepFailedError
from zenml.core.plugins._registry import class_names
from zenml.pipelines import Pipeline
from zenml.repo import Repository

KNOWN = json.loads(resources.files("zenml.core.plugins").joinpath("known.json").read_text("utf-8"))


@step
def a_frame():
    import polars as pl

    return pl.DataFrame({"a": [1]})


@pytest.fixture(scope="module")
def offers(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("project")).registry.offers


def installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: f"{row['kind']}-{row['class']}")
def test_what_is_known_of_an_installed_plugin_is_what_it_offers(row, offers):
    offered = [offer for offer in offers if (offer.kind, offer.name) == (row["kind"], row["type"])]
    if not installed(row["distribution"]):
        assert offered == []
        return

    [offer] = offered

    assert offer.plugin.distribution == row["distribution"]
    names = class_names(offer) if hasattr(offer.spec, "aliases") else (offer.spec.target,)
    assert any(name.endswith(row["class"]) for name in names)
    assert row.get("python_type") in (None, *getattr(offer.spec, "python_types", ()))


def test_everything_that_this_project_publishes_is_known(offers):
    known = {(row["kind"], row["type"], row["distribution"]) for row in KNOWN}
    published = {row["distribution"] for row in KNOWN}

    assert {
        (offer.kind, offer.name, offer.plugin.distribution)
        for offer in offers
        if offer.plugin.distribution in published
    } <= known


def test_a_value_that_a_known_plugin_would_store_names_that_plugin(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZENML_DISABLE_PLUGINS", "zenml-steps")
    pipeline = Pipeline("frames")
    pipeline.add_step(a_frame())

    with pytest.raises(StepFailedError, match=r"cannot be stored[^$]*take zenml-steps off"):
        pipeline.run()
