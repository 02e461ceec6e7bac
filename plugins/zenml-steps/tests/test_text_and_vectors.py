"""Terms, weights and principal components, against the plainest way of computing them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zenml.core.errors import ConfigurationError, DataError
from zenml.steps._pca import Products, components, project
from zenml.steps._terms import Documents, ngrams, words
from zenml.steps.formats import DatasetFormat
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.split import RandomSplit

#: Short, and the same examples every time.
short = settings(max_examples=60, deadline=None, derandomize=True, database=None)

SUBJECTS = ("late plane", "early  train", "late\ttrain late", "bus", "", "plane plane plane")


def method(name: str, **parameters: Any) -> dict[str, Any]:
    return {"method": name, "parameters": parameters}


@pytest.fixture
def table(write: Callable[[str, str | bytes], str]) -> str:
    """Text, a number and a class; something is missing in each."""
    lines = ["note,number,kind"]
    for row in range(240):
        note = "NA" if row % 41 == 0 else f'"{SUBJECTS[row * 7919 % 13 % len(SUBJECTS)]}"'
        number = "NA" if row % 37 == 0 else ("inf" if row == 100 else str(row % 17 / 4))
        lines.append(f"{note},{number},{'abc'[row * 31 % 7 % 3]}")
    return write("notes.csv", "\n".join(lines) + "\n")


def prepared(
    bench: Any, path: str, examples_of: Any, overwrite: dict[str, Any], rows_per_shard: int = 70
) -> tuple[Any, dict[str, Any]]:
    examples = examples_of(bench, path, rows_per_shard)
    split = RandomSplit(split_map={"train": 0.7, "eval": 0.3}, seed=3)
    outputs = bench.run(
        StandardPreprocesser(features=list(overwrite), overwrite=overwrite),
        examples=bench.run(split, examples=examples),
    )
    return outputs["examples"], outputs["transform"]


def values(bench: Any, dataset: Any, name: str, split: str | None = None) -> list[Any]:
    return pl.concat(dataset.scan(bench.files, columns=[name], split=split))[name].to_list()


def plain_terms(text: str | None, shortest: int = 1, longest: int = 1) -> list[str]:
    listed = re.findall(r"[^ \t\n\r\f\v]+", text or "")
    return [
        " ".join(listed[start : start + length])
        for length in range(shortest, longest + 1)
        for start in range(len(listed) - length + 1)
    ]


def plain_tfidf(
    training: list[list[Any]], documents: list[list[Any]], terms: list[Any], width: int
) -> list[list[float]]:
    """By the formula of TensorFlow Transform."""
    held = Counter(term for document in training for term in set(document))
    made = []
    for document in documents:
        counts = Counter(document)
        vector = [
            counts[term]
            / len(document)
            * (1 + math.log((len(training) + 1) / (held.get(term, 0) + 1)))
            if counts[term]
            else 0.0
            for term in terms
        ]
        made.append(vector + [0.0] * (width - len(vector)))
    return made


def most_frequent(training: list[list[str]]) -> list[str]:
    counts = Counter(term for document in training for term in document)
    return sorted(counts, key=lambda term: (-counts[term], term))


@pytest.mark.parametrize("width", [2, 3, 50])
def test_tfidf_weighs_the_most_frequent_words(
    bench: Any, table: str, examples_of: Any, width: int
) -> None:
    overwrite = {"note": {"transform": method("tfidf", vocab_size=width)}}
    dataset, transform = prepared(bench, table, examples_of, overwrite)
    training = [plain_terms(text) for text in values(bench, dataset, "note", "train")]
    terms = most_frequent(training)[:width]
    assert transform["columns"][0]["steps"][0]["vocabulary"] == terms
    assert dataset.schema["note_xf"] == f"float32[{width}]"
    documents = [plain_terms(text) for text in values(bench, dataset, "note")]
    expected = plain_tfidf(training, documents, terms, width)
    assert np.array(values(bench, dataset, "note_xf")) == pytest.approx(
        np.array(expected), rel=1e-6
    )


@pytest.mark.parametrize("numbered", [False, True])
def test_ngrams_are_terms_too(bench: Any, table: str, examples_of: Any, numbered: bool) -> None:
    """With a vocabulary between them, numbers stand for the terms, and say the same."""
    chain: list[Any] = [
        method("ngrams", ngram_range=[1, 2], separator=" "),
        method("tfidf", vocab_size=6),
    ]
    if numbered:
        chain.insert(1, "compute_and_apply_vocabulary")
    dataset, _ = prepared(bench, table, examples_of, {"note": {"transform": chain}})
    training = [plain_terms(text, 1, 2) for text in values(bench, dataset, "note", "train")]
    documents = [plain_terms(text, 1, 2) for text in values(bench, dataset, "note")]
    expected = plain_tfidf(training, documents, most_frequent(training)[:6], 6)
    assert np.array(values(bench, dataset, "note_xf")) == pytest.approx(
        np.array(expected), rel=1e-6
    )


def test_terms_can_be_hashed_into_a_vector(bench: Any, table: str, examples_of: Any) -> None:
    chain = [
        method("ngrams", ngram_range=[1, 1]),
        method("hash_strings", hash_buckets=5),
        method("tfidf", vocab_size=5),
    ]
    dataset, transform = prepared(bench, table, examples_of, {"note": {"transform": chain}})
    assert "vocabulary" not in transform["columns"][0]["steps"][2]
    word = {"note": {"transform": method("hash_strings", hash_buckets=5)}}
    bucket = prepared(bench, table, examples_of, word)[1]
    numbers = {
        term: int(apply(bucket, pl.DataFrame({"note": [term]}))["note_xf"][0])
        for subject in SUBJECTS
        for term in plain_terms(subject)
    }
    training = [
        [numbers[term] for term in plain_terms(text)]
        for text in values(bench, dataset, "note", "train")
    ]
    documents = [
        [numbers[term] for term in plain_terms(text)] for text in values(bench, dataset, "note")
    ]
    expected = plain_tfidf(training, documents, list(range(5)), 5)
    assert np.array(values(bench, dataset, "note_xf")) == pytest.approx(
        np.array(expected), rel=1e-6
    )


def test_what_is_learnt_can_follow_what_is_learnt(bench: Any, table: str, examples_of: Any) -> None:
    overwrite = {
        "kind": {"transform": ["compute_and_apply_vocabulary", "scale_to_0_1"]},
        "number": {
            "filling": method("custom", custom_value=1.5),
            "transform": [method("bucketize", num_buckets=4), "scale_to_z_score"],
        },
    }
    dataset, transform = prepared(bench, table, examples_of, overwrite)
    assert set(values(bench, dataset, "kind_xf")) == {0.0, 0.5, 1.0}
    training = np.array(values(bench, dataset, "number_xf", "train"))
    assert training.mean() == pytest.approx(0.0, abs=1e-6)
    assert training.std() == pytest.approx(1.0, rel=1e-6)
    assert [step["method"] for step in transform["columns"][1]["steps"]] == [
        "bucketize",
        "scale_to_z_score",
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_principal_components_explain_the_most(
    bench: Any, table: str, examples_of: Any, dtype: str
) -> None:
    chain = [method("tfidf", vocab_size=5), method("pca", output_dim=2, dtype=dtype)]
    whole, _ = prepared(bench, table, examples_of, {"note": {"transform": chain[:1]}})
    dataset, transform = prepared(bench, table, examples_of, {"note": {"transform": chain}})
    assert dataset.schema["note_xf"] == "float32[2]"
    vectors = np.array(values(bench, whole, "note_xf", "train"), dtype=np.float64)
    variances, directions = np.linalg.eigh(np.cov(vectors.T, bias=True))
    made = np.array(values(bench, dataset, "note_xf", "train"), dtype=np.float64)
    assert made.mean(axis=0) == pytest.approx(0.0, abs=1e-6)
    assert np.cov(made.T, bias=True) == pytest.approx(np.diag(variances[:-3:-1]), abs=1e-6)
    found = np.array(transform["columns"][0]["steps"][1]["components"])
    assert np.abs(found.T @ directions[:, :-3:-1]) == pytest.approx(np.eye(2), abs=1e-6)
    assert (found[np.abs(found).argmax(axis=0), [0, 1]] > 0).all()


EVERYTHING = {
    "note": {
        "transform": [
            method("ngrams", ngram_range=[1, 2]),
            method("tfidf", vocab_size=8),
            method("pca", output_dim=3),
        ]
    },
    "kind": {
        "transform": [
            "compute_and_apply_vocabulary",
            method("one_hot_encode", depth=4),
            method("pca", output_dim=2),
        ]
    },
    "number": {"transform": ["no_transform", "scale_to_0_1"], "filling": "mean"},
}


#: Content, whatever made it, on any machine.
GOLDEN = {
    "transform": "b312e81afdaa36dc9df1c6db9a4d2506ba3e035954cd794c8ea467dcfbc2124b",
    "transformed": "9bcba596ec8f760b29f7befe6b485ca1844b61a57e7d5e6890c99ac1394ee258",
}


def test_sharding_does_not_change_what_is_learnt(bench: Any, table: str, examples_of: Any) -> None:
    learnt = [prepared(bench, table, examples_of, EVERYTHING, rows)[1] for rows in (1_000, 70, 3)]
    assert learnt[0] == learnt[1] == learnt[2]


def test_what_serving_computes_of_a_row_is_what_training_was_given(
    bench: Any, another_bench: Any, table: str, examples_of: Any
) -> None:
    """Bit for bit, alone or among others."""
    dataset, transform = prepared(bench, table, examples_of, EVERYTHING)
    outputs = [column["output"] for column in transform["columns"]]
    for frame in dataset.scan(bench.files):
        raw = frame.select(list(EVERYTHING))
        assert apply(transform, raw).equals(frame.select(outputs))
        for row in range(0, frame.height, 9):
            assert apply(transform, raw[row]).equals(frame[row].select(outputs))
        assert apply(transform, raw.clear()).schema == frame.select(outputs).schema
    again, _ = prepared(another_bench, table, examples_of, EVERYTHING)
    digests = {
        bench.store(dataset, DatasetFormat()).digest,
        another_bench.store(again, DatasetFormat()).digest,
    }
    assert len(digests) == 1


def test_what_is_learnt_is_what_it_always_was(bench: Any, table: str, examples_of: Any) -> None:
    dataset, transform = prepared(bench, table, examples_of, EVERYTHING)
    learnt = json.dumps(transform, sort_keys=True)
    made = repr([frame.rows() for frame in dataset.scan(bench.files)])
    assert {
        "transform": hashlib.sha256(learnt.encode()).hexdigest(),
        "transformed": hashlib.sha256(made.encode()).hexdigest(),
    } == GOLDEN


def test_a_missing_text_has_no_terms(bench: Any, table: str, examples_of: Any) -> None:
    overwrite = {"note": {"transform": method("tfidf", vocab_size=4)}}
    _, transform = prepared(bench, table, examples_of, overwrite)
    rows = pl.DataFrame({"note": [None, "", "never seen", " \n"]}, schema={"note": pl.String})
    assert apply(transform, rows)["note_xf"].to_list() == [[0.0] * 4] * 4


def test_a_column_without_any_term(bench: Any, write: Any, examples_of: Any) -> None:
    """Nothing is learnt of it, and whatever comes later has no weight."""
    path = write("empty.csv", "note,other\n" + "NA,1\n" * 20)
    overwrite = {
        "note": {"transform": [method("tfidf", vocab_size=2), method("pca", output_dim=1)]},
    }
    dataset, transform = prepared(bench, path, examples_of, overwrite)
    assert transform["columns"][0]["steps"][0]["vocabulary"] == []
    assert set(map(tuple, values(bench, dataset, "note_xf"))) == {(0.0,)}
    assert apply(transform, pl.DataFrame({"note": ["late"]}))["note_xf"].to_list() == [[0.0]]


def test_one_row_and_a_split_without_rows(bench: Any, write: Any, examples_of: Any) -> None:
    path = write("one.csv", "note,kind,number\na b a,x,1\n")
    examples = examples_of(bench, path)
    split = RandomSplit(split_map={"train": 1 - 1e-9, "eval": 1e-9})
    outputs = bench.run(
        StandardPreprocesser(overwrite=EVERYTHING), examples=bench.run(split, examples=examples)
    )
    assert values(bench, outputs["examples"], "note_xf") == [[0.0] * 3]
    assert values(bench, outputs["examples"], "kind_xf") == [[0.0] * 2]
    assert values(bench, outputs["examples"], "note_xf", "eval") == []


def test_terms_have_a_limit(
    bench: Any, table: str, examples_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenml.steps._preprocessing.VOCABULARY_LIMIT", 3)
    overwrite = {"note": {"transform": method("tfidf", vocab_size=2)}}
    with pytest.raises(DataError, match="'note' has more than 3 different terms") as caught:
        prepared(bench, table, examples_of, overwrite)
    assert "hash_strings" in (caught.value.remedy or "")


def test_only_text_has_terms(bench: Any, table: str, examples_of: Any) -> None:
    overwrite = {"number": {"transform": method("tfidf", vocab_size=2)}}
    with pytest.raises(ConfigurationError) as caught:
        prepared(bench, table, examples_of, overwrite)
    assert [problem.path for problem in caught.value.problems] == ["overwrite.number.transform"]


# -- properties ------------------------------------------------------------------------------------

texts = st.lists(st.none() | st.text("ab \t\n\u00a0é", max_size=12), max_size=8)


@short
@given(texts, st.integers(1, 3), st.integers(0, 2))
def test_ngrams_are_runs_of_words(listed: list[str | None], shortest: int, more: int) -> None:
    found = ngrams(pl.Series("x", listed, dtype=pl.String), shortest, shortest + more, " ")
    expected = [plain_terms(text, shortest, shortest + more) for text in listed]
    assert found.values.to_list() == [term for document in expected for term in document]
    assert found.sizes.tolist() == [len(document) for document in expected]
    assert found.missing == listed.count(None)


@short
@given(texts, texts)
def test_documents_are_counted_shard_by_shard(
    first: list[str | None], second: list[str | None]
) -> None:
    merged = Documents(100)
    for part in (first, second):
        merged.add(Documents.of(words(pl.Series(part, dtype=pl.String)), 100).encode())
    documents = [plain_terms(text) for text in first + second if text is not None]
    assert merged.number == len(documents)
    assert merged.terms == {
        term: (
            sum(document.count(term) for document in documents),
            sum(term in document for document in documents),
        )
        for document in documents
        for term in document
    }


numbers = st.floats(-(2.0**99), 2.0**99, width=32)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1)
)


@short
@given(tables, st.integers(0, 10))
def test_a_covariance_is_exact_for_any_sharding(rows: list[list[float]], cut: int) -> None:
    vectors = np.array(rows, dtype=np.float32)
    width, number = vectors.shape[1], len(rows)
    merged = Products(width)
    for part in (vectors[:cut], vectors[cut:]):
        merged.add(Products.of(part).encode())
    exact = [[Fraction(item) for item in row] for row in rows]
    means = [sum(column) / number for column in zip(*exact, strict=True)]
    assert merged.mean().tolist() == [float(mean) for mean in means]
    assert merged.covariance().tolist() == [
        [
            float(
                sum((row[i] - means[i]) * (row[j] - means[j]) for row in exact) / Fraction(number)
            )
            for j in range(width)
        ]
        for i in range(width)
    ]


@short
@given(tables)
def test_components_are_orthogonal_and_by_variance(rows: list[list[float]]) -> None:
    covariance = Products.of(np.array(rows, dtype=np.float32)).covariance()
    width = len(covariance)
    found = components(covariance, width)
    assert found.T @ found == pytest.approx(np.eye(width), abs=1e-12)
    turned = found.T @ covariance @ found
    scale = float(np.trace(covariance)) or 1.0
    assert turned / scale == pytest.approx(np.diag(np.diagonal(turned)) / scale, abs=1e-12)
    variances = np.diagonal(turned) / scale
    assert (np.diff(variances) <= 1e-12).all()


@short
@given(tables)
def test_a_projection_is_the_same_for_one_row_as_for_many(rows: list[list[float]]) -> None:
    vectors = np.array(rows, dtype=np.float32)
    vectors = vectors / np.float32(max(1.0, float(np.abs(vectors).max())))
    products = Products.of(vectors)
    mean, found = products.mean().tolist(), components(products.covariance(), 1).tolist()
    together = project(vectors, mean, found)
    alone = [project(vectors[row : row + 1], mean, found) for row in range(len(vectors))]
    assert together.tobytes() == np.concatenate(alone).tobytes()


def test_the_order_of_rows_does_not_change_a_bit() -> None:
    vectors = np.random.default_rng(0).normal(size=(40_000, 12)).astype(np.float32)
    shuffled = vectors[np.random.default_rng(1).permutation(len(vectors))]
    assert Products.of(vectors).encode() == Products.of(shuffled).encode()
