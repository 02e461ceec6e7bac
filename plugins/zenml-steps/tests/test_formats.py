"""Values that are stored come back as they were; and nothing is pickled on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from zenml.core import ArtifactFormat
from zenml.core.errors import DataError, IntegrityError
from zenml.steps import plugin
from zenml.steps.formats import (
    DatasetFormat,
    NumpyArrayFormat,
    PandasFrameFormat,
    PolarsFrameFormat,
)


def there_and_back(bench: Any, value: Any, store_format: ArtifactFormat) -> Any:
    artifact = bench.store(value, store_format)
    again = store_format.load(artifact, bench.files)
    assert bench.store(again, store_format).digest == artifact.digest
    return again


def test_the_plugin_offers_what_the_formats_are_called() -> None:
    from importlib import import_module

    specs = list(plugin.zenml_artifact_formats())
    for spec in specs:
        module, _, name = spec.target.partition(":")
        made = getattr(import_module(module), name)()
        assert isinstance(made, ArtifactFormat)
        assert made.name == spec.name
    types = {name for spec in specs for name in spec.python_types}
    for value in (pl.DataFrame(), np.zeros(1)):
        assert f"{type(value).__module__}:{type(value).__qualname__}" in types


def test_datasets(bench: Any, split_examples: Any) -> None:
    again = there_and_back(bench, split_examples, DatasetFormat())
    assert again == split_examples
    assert [shard.first_row for shard in again.shards] == [0, 300, 600, 900]
    assert again.schema == split_examples.schema


def test_a_dataset_s_manifest_names_files_and_no_digests_twice(
    bench: Any, split_examples: Any
) -> None:
    artifact = bench.store(split_examples, DatasetFormat())
    assert set(artifact.files) == {
        f"shard-{shard:05d}/{part}.parquet" for shard in range(4) for part in ("data", "split")
    }
    assert len(artifact.encoded) < 2_500


FRAME = pl.DataFrame(
    {
        "integer": [1, None, 3],
        "text": ["a", None, "ü"],
        "list": [[1.5], [], None],
        "when": pl.Series(["2013-01-01", None, "2013-01-02"]).str.to_date(),
        "vector": pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Float32, 2)),
    }
)


@pytest.mark.parametrize("frame", [FRAME, FRAME.clear(), pl.DataFrame({"a": [1.5] * 300_000})])
def test_polars_frames(bench: Any, frame: pl.DataFrame) -> None:
    again = there_and_back(bench, frame, PolarsFrameFormat())
    assert again.schema == frame.schema
    assert again.equals(frame)


def test_a_frame_in_several_chunks_is_the_same_frame(bench: Any) -> None:
    pieces = pl.concat([FRAME.slice(0, 1), FRAME.slice(1, 2)], rechunk=False)
    assert pieces.n_chunks() == 2
    one = bench.store(FRAME, PolarsFrameFormat())
    assert bench.store(pieces, PolarsFrameFormat()).digest == one.digest


def test_frames_of_python_objects_are_refused(bench: Any) -> None:
    frame = pl.DataFrame({"object": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(DataError, match="Python objects"):
        PolarsFrameFormat().save(frame, bench.files)


def test_pandas_frames(bench: Any) -> None:
    pandas = pytest.importorskip("pandas")
    plain = pandas.DataFrame(
        {
            "a": [1, 2],
            "b": ["x", None],
            "c": [0.5, None],
            "d": pandas.Series([1, None], dtype="Int64"),
            "e": pandas.Series([True, None], dtype="boolean"),
            "f": pandas.to_datetime(["2013-01-01", None]),
            "g": pandas.Series(["p", "q"], dtype="category"),
            "h": pandas.Series([1, 2], dtype="uint8"),
        }
    )
    named = plain.set_index(pandas.Index([7, 9], name="key"))
    unnamed = plain.set_index(pandas.Index(["p", "q"]))
    several = plain.set_index(["a", "b"])
    for frame in (plain, named, unnamed, several, plain[::-1], plain[:0].drop(columns="g")):
        again = there_and_back(bench, frame, PandasFrameFormat())
        pandas.testing.assert_frame_equal(again, frame)
    spec = next(s for s in plugin.zenml_artifact_formats() if s.name == "pandas-frame/1")
    assert f"{type(plain).__module__}:{type(plain).__qualname__}" in spec.python_types


def test_pandas_frames_that_are_no_tables(bench: Any) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="names are not text"):
        PandasFrameFormat().save(pandas.DataFrame({0: [1]}), bench.files)
    twice = pandas.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="several columns of one name: a"):
        PandasFrameFormat().save(twice, bench.files)
    with pytest.raises(DataError, match="not of one plain type"):
        PandasFrameFormat().save(pandas.DataFrame({"a": [1, "x", object()]}), bench.files)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4),
        np.arange(12.0).reshape(3, 4).T,
        np.array(5.0),
        np.array([]),
        np.array(["a", "ü"]),
        np.array([True, False]),
        np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2013-01-01"], dtype="datetime64[D]"),
    ],
    ids=["2-d", "transposed", "0-d", "empty", "text", "boolean", "records", "dates"],
)
def test_arrays(bench: Any, array: np.ndarray) -> None:
    again = there_and_back(bench, array, NumpyArrayFormat())
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert np.array_equal(again, array)


def test_equal_arrays_are_one_artifact_however_they_lie_in_memory(bench: Any) -> None:
    array = np.arange(12.0).reshape(3, 4)
    one = bench.store(array, NumpyArrayFormat())
    assert bench.store(np.asfortranarray(array), NumpyArrayFormat()).digest == one.digest


def test_arrays_of_python_objects_are_refused(bench: Any) -> None:
    with pytest.raises(DataError, match="Python objects"):
        NumpyArrayFormat().save(np.array([object()]), bench.files)


def test_a_pickle_in_the_place_of_an_array_is_not_opened(bench: Any) -> None:
    import pickle

    artifact = bench.store(np.zeros(1), NumpyArrayFormat())
    path = bench.files.fetch(artifact.files["array.npy"])
    path.write_bytes(pickle.dumps(np.zeros(1)))
    with pytest.raises(IntegrityError, match="cannot be read"):
        NumpyArrayFormat().load(artifact, bench.files)
