"""Applying a learnt transform to raw rows, and taking it back from predictions.

Only basic arithmetic and look-ups, element by element: the results are the same bits on
every machine and for any number of threads.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from zenml.core.errors import DataError
from zenml.steps._images import Images, pixels
from zenml.steps._pca import project
from zenml.steps._tables import dtype_of
from zenml.steps._terms import Terms, ngrams, weigh, words
from zenml.steps._unicode import HALF, is_text

__all__ = [
    "apply_step",
    "apply_transform",
    "conform",
    "frame_of_rows",
    "invert",
    "matrix",
    "prepared",
    "without_missing",
]


def apply_transform(transform: Mapping[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """See ``zenml.steps.preprocesser.apply``."""
    found = conform(transform, frame)
    columns = [column for column in transform["columns"] if column["column"] in found]
    raw = pl.DataFrame([*found.values()])
    # All at once: Polars takes about as long to be asked for a step of a column as to do it.
    together = {
        column["output"]: expression
        for column in columns
        if found[column["column"]].dtype != pl.Enum
        and (expression := _expression(column, frame.height)) is not None
    }
    applied = raw.select(**together)
    return pl.DataFrame(
        [
            applied[column["output"]]
            if column["output"] in together
            else _apply_alone(column, found[column["column"]]).alias(column["output"])
            for column in columns
        ]
    )


def prepared(columns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A transform's columns, for applying them many times: with vocabularies for looking up."""
    return [
        {**column, "steps": [_with_vocabulary(step) for step in column["steps"]]}
        for column in columns
    ]


def _with_vocabulary(step: Mapping[str, Any]) -> Mapping[str, Any]:
    if "vocabulary" not in step or isinstance(step["vocabulary"], _Vocabulary):
        return step
    return {**step, "vocabulary": _Vocabulary(step["vocabulary"])}


class _Vocabulary:
    """Texts and their places."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._places = {text: float(place) for place, text in enumerate(texts)}

    @cached_property
    def _type(self) -> pl.Enum:
        return pl.Enum(pl.Series([*self._places], dtype=pl.String))

    def is_large(self, rows: int) -> bool:
        """Whether to look up only what occurs: a cast takes time for every text that there is."""
        return 8 * len(self._places) > rows

    def look_up(self, texts: pl.Series) -> pl.Series:
        """Text to its place, or -1; null stays null."""
        if self.is_large(len(texts)):
            return _numbered(texts, lambda text: self._places.get(text, -1.0))
        places = texts.to_frame("texts").select(self.place(pl.col("texts")))
        found: pl.Series = places.to_series().alias(texts.name)
        return found.set(texts.is_null(), None) if texts.null_count() else found

    def place(self, texts: pl.Expr) -> pl.Expr:
        """Text, none of it null, to its place, or -1."""
        places = texts.cast(self._type, strict=False).to_physical()
        return places.cast(pl.Float64).fill_null(-1.0)


def _numbered(texts: pl.Series, number_of: Callable[[str], float]) -> pl.Series:
    """Text to a number, which is asked for once for each that occurs; null stays null."""
    different = texts.drop_nulls().unique()
    numbers = pl.Series(texts.name, map(number_of, different.to_list()), dtype=pl.Float64)
    found: pl.Series = numbers.gather(texts.cast(pl.Enum(different)).to_physical())
    return found


def conform(transform: Mapping[str, Any], frame: pl.DataFrame) -> dict[str, pl.Series]:
    """The transform's raw columns, with exactly the types that were trained on.

    Text may be an ``Enum``. Labels that are not there are left out. Raises ``DataError`` for a
    feature that is missing, and for values that would have to be changed to fit.
    """
    columns = transform["columns"]
    there = frozenset(frame.columns)
    missing = [
        column["column"]
        for column in columns
        if column["role"] == "feature" and column["column"] not in there
    ]
    if missing:
        close = [
            f"'{found[0]}' is there: rename it to '{name}'"
            for name in missing
            if (found := get_close_matches(name, frame.columns, n=1))
        ]
        raise DataError(
            "the rows lack what the model was trained on: "
            + ", ".join(f"'{name}'" for name in missing),
            where="columns: " + ", ".join(f"'{name}'" for name in frame.columns[:20]),
            remedy="; ".join(close) or "give every feature a value, or None where it is missing",
        )
    return {
        column["column"]: _conform_series(frame[column["column"]], column["type"])
        for column in columns
        if column["column"] in there
    }


def _conform_series(series: pl.Series, kind: str) -> pl.Series:
    wanted = dtype_of(kind)
    if series.dtype == wanted:
        return series
    given = series.dtype
    if kind == "string" and given == pl.Enum:
        return series
    if given == pl.Null or (kind == "string" and given == pl.Categorical):
        named: pl.Series = series.cast(wanted)
        return named
    if kind in ("integer", "float") and given.is_numeric():
        cast: pl.Series = series.cast(wanted, strict=False)
        # NaN is how some sources write a missing integer.
        source = series.fill_nan(None) if given.is_float() else series
        same = (cast == source) | (cast.is_null() & source.is_null())
        if kind == "float" or same.fill_null(value=False).all():
            return cast
        place = int((~same.fill_null(value=False)).arg_max() or 0)
        raise DataError(
            f"'{series.name}' holds integers in training, and {series[place]!r} is none",
            where=f"row {place + 1}",
            remedy="send the values as they were in training, or train on numbers with decimals",
        )
    raise DataError(
        f"'{series.name}' is of type {kind} in training, and of type {given} here",
        remedy=f"convert the column to {kind} first",
    )


def frame_of_rows(transform: Mapping[str, Any], rows: Any) -> pl.DataFrame:
    """Rows as a frame: dictionaries get the types that were trained on. Raises ``DataError``."""
    if isinstance(rows, pl.DataFrame):
        return rows
    if type(rows).__module__.partition(".")[0] == "pandas":
        from zenml.steps._pandas import from_pandas

        return from_pandas(rows)[0]
    rows = [rows] if isinstance(rows, Mapping) else list(rows)
    wrong = next((place for place, row in enumerate(rows) if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise DataError(
            f"expected a dictionary of column to value, found {rows[wrong]!r}",
            where=f"row {wrong + 1}",
            remedy="pass a list of dictionaries, or a frame",
        )
    series = []
    for column in transform["columns"]:
        name = column["column"]
        lacking = [place for place, row in enumerate(rows) if name not in row]
        if column["role"] == "label" and lacking:
            continue
        if lacking and len(lacking) == len(rows):
            continue  # `conform` says what is missing, and what it may be called
        if lacking:
            raise DataError(
                f"the row lacks '{name}'",
                where=f"row {lacking[0] + 1}",
                remedy="give every feature a value, or None where it is missing",
            )
        series.append(_series_of(name, [row[name] for row in rows], column["type"]))
    present = {item.name for item in series}
    others = [name for name in (rows[0] if rows else ()) if name not in present and _is_name(name)]
    # Other columns only serve to say what a missing one may be called.
    return pl.DataFrame([*series, *(pl.Series(name, [None] * len(rows)) for name in others)])


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and is_text(key)


_EXPECTED: Final[Mapping[str, type]] = {
    "binary": bytes,
    "boolean": bool,
    "float": float,
    "integer": int,
    "string": str,
}


def _series_of(name: str, values: Sequence[Any], kind: str) -> pl.Series:
    """Values with the type that was trained on.

    Numbers may come as JSON has them: whole floats for integers, integers for floats, and NaN for
    what is missing. Nothing else is converted.
    """
    expected = _EXPECTED[kind]
    if not {type(value) for value in values} <= {expected, type(None)}:
        values = [_value_of(name, value, kind, place) for place, value in enumerate(values)]
    try:
        return pl.Series(name, values, dtype=dtype_of(kind))
    except (OverflowError, TypeError, ValueError):
        for place, value in enumerate(values):
            if type(value) is int and not -(1 << 63) <= value < 1 << 63:
                raise _misfit(f"'{name}' has a value of more than 64 bits", place) from None
            if type(value) is str and not is_text(value):
                raise _misfit(f"'{name}' has the value {value!a}: {HALF}", place) from None
        raise


def _misfit(message: str, place: int) -> DataError:
    return DataError(
        message, where=f"row {place + 1}", remedy="send the values as they were in training"
    )


def _value_of(name: str, value: Any, kind: str, place: int) -> Any:
    expected = _EXPECTED[kind]
    if value is None or type(value) is expected:
        return value
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _misfit(f"'{name}' has a value that is too large for 64 bits", place) from None
    if kind == "integer" and isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():
            return int(value)
    # NumPy's scalars and subclasses of the built-in types.
    if isinstance(value, expected) and not isinstance(value, bool):
        return expected(value)
    item = getattr(value, "item", None)
    # An array of several values is no value.
    if (
        callable(item)
        and getattr(value, "size", 1) == 1
        and type(plain := item()) is not type(value)
    ):
        return _value_of(name, plain, kind, place)
    shown = repr(value)
    shown = shown if len(shown) <= 200 else shown[:199] + "…"
    raise _misfit(f"'{name}' is of type {kind} in training, and {shown} is none", place)


_ARITHMETIC: Final = ("no_transform", "scale_by_min_max", "scale_to_0_1", "scale_to_z_score")
_OF_TEXT: Final = ("compute_and_apply_vocabulary", "hash_strings", "ngrams", "tfidf")


def _expression(column: Mapping[str, Any], rows: int) -> pl.Expr | None:
    """What ``_apply_column`` does, as one expression; None where it takes more than that."""
    first, *further = column["steps"]
    raw = pl.col(column["column"])
    if all(step["method"] in _ARITHMETIC for step in column["steps"]):
        values = _numbers(column, raw)
        for step in column["steps"]:
            values = _scale(step, values)
    elif first["method"] == "compute_and_apply_vocabulary" and column["filling"] is not None:
        vocabulary: _Vocabulary = _with_vocabulary(first)["vocabulary"]
        if further or vocabulary.is_large(rows):
            return None
        values = vocabulary.place(_texts(column, raw))
    else:
        return None
    return values.cast(pl.Float32)


def _apply_alone(column: Mapping[str, Any], series: pl.Series) -> pl.Series:
    """The result for one column; for a dictionary, from those for its values."""
    if series.dtype != pl.Enum:
        return _apply_column(column, series)
    values: pl.Series = series.dtype.categories  # type: ignore[attr-defined]
    if len(values) >= len(series):
        return _apply_column(column, series)
    made = _apply_column(column, values.alias(series.name).extend_constant(None, 1))
    places = series.to_physical()
    if series.null_count():
        places = places.cast(pl.UInt32).fill_null(len(values))
    if made.dtype == pl.Float32 and not made.null_count():
        return pl.Series(series.name, made.to_numpy()[places.to_numpy()])
    result: pl.Series = made.gather(places)
    return result


def _apply_column(column: Mapping[str, Any], series: pl.Series) -> pl.Series:
    values: Any = without_missing(column, column["steps"][0]["method"], series)
    for step in column["steps"]:
        values = apply_step(step, values)
    result: pl.Series = values if isinstance(values.dtype, pl.Array) else values.cast(pl.Float32)
    return result


def without_missing(column: Mapping[str, Any], method: str, series: pl.Series) -> pl.Series:
    """A column's raw values, filled, as what the first transform takes."""
    if method == "load_binary_image":
        return series
    filled = _texts if method in _OF_TEXT else _numbers
    return _evaluate(filled(column, pl.col(series.name)), series)


def _texts(column: Mapping[str, Any], raw: pl.Expr) -> pl.Expr:
    """Raw values as text, filled."""
    fill = column["filling"]
    texts = raw.cast(pl.String)
    return texts if fill is None else texts.fill_null(_text(fill, column["type"]))


def _numbers(column: Mapping[str, Any], raw: pl.Expr) -> pl.Expr:
    """Raw values as numbers, filled; what is not a number is missing."""
    fill = column["filling"]
    numbers = raw.cast(pl.Float64)
    numbers = numbers.fill_nan(None) if column["type"] == "float" else numbers
    return numbers if fill is None else numbers.fill_null(float(fill))


def _evaluate(expression: pl.Expr, series: pl.Series) -> pl.Series:
    """An expression of one column."""
    return series.to_frame().select(expression).to_series().alias(series.name)


def apply_step(step: Mapping[str, Any], values: Any) -> Any:
    """Apply one learnt transform to bytes, numbers, texts, vectors (a series each), or the like."""
    method = step["method"]
    if method == "load_binary_image":
        images = Images(values, step["channels"])
        return images if step["height"] is None else _load(step, images, resize=False)
    if method == "image_reshape":
        return _load(step, values, resize=True)
    if method == "ngrams":
        shortest, longest = step["ngram_range"]
        return ngrams(values, shortest, longest, step["separator"])
    if method == "tfidf":
        return _weigh(step, values if isinstance(values, Terms) else words(values))
    if method == "pca":
        vectors = values.to_numpy().reshape(len(values), values.dtype.size)
        return _vectors(values.name, project(vectors, step["mean"], step["components"]))
    if isinstance(values, Terms):
        return values._replace(values=_look_up(step, values.values))
    if method in _OF_TEXT:
        return _look_up(step, values)
    if method in _ARITHMETIC:
        return _evaluate(_scale(step, pl.col(values.name)), values)
    return _divide(step, values)


def _load(step: Mapping[str, Any], images: Images, *, resize: bool) -> pl.Series:
    made = pixels(images, step["height"], step["width"], resize=resize)
    return _vectors(images.encoded.name, made)


def _weigh(step: Mapping[str, Any], terms: Terms) -> pl.Series:
    """Terms, or their numbers, as a vector for each row."""
    numbers = _look_up(step, terms.values) if "vocabulary" in step else terms.values
    weights = weigh(terms, numbers.to_numpy(), step["idf"], step["vocab_size"])
    return _vectors(terms.values.name, weights)


def _vectors(name: str, values: npt.NDArray[np.float32]) -> pl.Series:
    return pl.Series(name, values, dtype=pl.Array(pl.Float32, values.shape[1]))


def _text(value: Any, kind: str) -> str:
    """A filling as the text that a value of the column would be."""
    if isinstance(value, str):
        return value
    return str(pl.Series([value], dtype=dtype_of(kind)).cast(pl.String)[0])


def _look_up(step: Mapping[str, Any], texts: pl.Series) -> pl.Series:
    """Text to a number; null stays null."""
    if step["method"] == "hash_strings":
        buckets = step["hash_buckets"]
        return _numbered(texts, lambda text: float(_hash(text) % buckets))
    vocabulary: _Vocabulary = _with_vocabulary(step)["vocabulary"]
    return vocabulary.look_up(texts)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _scale(step: Mapping[str, Any], values: pl.Expr) -> pl.Expr:
    if step["method"] == "no_transform":
        return values
    if not step["factor"]:
        # Of a constant column nothing is large, not even an infinity.
        values = pl.when(values.is_infinite()).then(step["shift"]).otherwise(values)
    values = values * step["power"] if "power" in step else values
    scaled: pl.Expr = (values - step["shift"]) * step["factor"] + step["offset"]
    return scaled


def _divide(step: Mapping[str, Any], values: pl.Series) -> pl.Series:
    """Numbers to that of a bucket, or to a vector."""
    method = step["method"]
    if method == "bucketize":
        boundaries = np.array(step["boundaries"], dtype=np.float64)
        found = np.searchsorted(boundaries, values.fill_null(0.0).to_numpy(), side="right")
        result = pl.Series(values.name, found.astype(np.float64))
        return result.set(values.is_null(), None) if values.null_count() else result
    if method == "one_hot_encode":
        depth = step["depth"]
        numbers = values.fill_null(-1.0).to_numpy()
        encoded = np.zeros((len(numbers), depth), dtype=np.float32)
        inside = (numbers >= 0) & (numbers < depth) & (np.floor(numbers) == numbers)
        encoded[np.flatnonzero(inside), numbers[inside].astype(np.int64)] = 1.0
        return _vectors(values.name, encoded)
    raise DataError(
        f"the transform holds '{method}', which this version does not know",
        remedy="use the version of zenml-steps that the model was trained with, or a later one",
    )


def matrix(transform: Mapping[str, Any], applied: pl.DataFrame) -> npt.NDArray[np.float32]:
    """The features of applied rows as one matrix, rows by columns; vectors take several columns."""
    columns = []
    for column in transform["columns"]:
        if column["role"] != "feature":
            continue
        values = applied[column["output"]]
        width = values.dtype.size if isinstance(values.dtype, pl.Array) else 1
        array = values.to_numpy().reshape(len(values), width)
        columns.append(array.astype(np.float32, copy=False))
    return np.ascontiguousarray(np.concatenate(columns, axis=1))


def invert(column: Mapping[str, Any], values: npt.NDArray[Any], *, exact: bool) -> list[Any]:
    """Transformed values of a column back as raw ones, as far as its transform can be taken back.

    Args:
        column: One of the transform's columns.
        values: Transformed values.
        exact: Whether they are values that the column had (classes), rather than estimates.
    """
    numbers: npt.NDArray[Any] = values.astype(np.float64)
    for step in reversed(column["steps"]):
        method = step["method"]
        if method in ("scale_to_z_score", "scale_to_0_1", "scale_by_min_max"):
            factor = step["factor"]
            numbers = (numbers - step["offset"]) / factor if factor else numbers * 0.0
            with np.errstate(over="ignore"):  # beyond the largest float it is infinite
                numbers = (numbers + step["shift"]) / step.get("power", 1.0)
        elif method == "compute_and_apply_vocabulary":
            vocabulary = step["vocabulary"]
            texts = [
                vocabulary[int(number)] if 0 <= number < len(vocabulary) else None
                for number in np.rint(numbers).tolist()
            ]
            return [_typed(text, column["type"]) for text in texts]
        elif method != "no_transform":
            break
    else:
        if column["type"] == "boolean" and exact:
            numbers = numbers >= 0.5
        elif column["type"] == "integer" and exact:
            numbers = np.rint(numbers).astype(np.int64)
    result: list[Any] = numbers.tolist()
    return result


def _typed(text: str | None, kind: str) -> Any:
    if text is None or kind == "string":
        return text
    return text == "true" if kind == "boolean" else int(text)
