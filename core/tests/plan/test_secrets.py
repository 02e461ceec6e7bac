"""Secrets travel by reference only: what is typed where it would be written down is refused."""

from __future__ import annotations

import pytest

from zenml.core import SecretRef, Settings
from zenml.core._secrets import literal_secrets


class Database(Settings):
    host: str = "localhost"
    password: SecretRef


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"password": "hunter2"}, "password"),
        ({"labels": [{"api_key": "abc"}]}, "labels[0].api_key"),
        ({"url": "mysql://me:hunter2@db/x"}, "url"),
    ],
)
def test_a_secret_that_would_be_written_down_is_found_and_not_repeated(parameters, where):
    [problem] = literal_secrets(parameters, "")
    assert problem.path == where
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    "parameters",
    [
        {"password": "env:DB_PASSWORD"},
        {"password": "file:/run/secrets/db"},
        {"image_pull_secret_name": "regcred"},
        {"tokenizer": "words"},
        {"url": "mysql://db/x"},
        {"password": ""},
    ],
)
def test_a_reference_or_a_name_is_no_secret(parameters):
    assert literal_secrets(parameters, "") == []


def test_a_reference_is_what_a_plan_records():
    made = Database(password=SecretRef("env:DB_PASSWORD"))
    assert made.parameters() == {"host": "localhost", "password": "env:DB_PASSWORD"}
