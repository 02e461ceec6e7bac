"""Learning a transform from the training splits, and applying it to every shard."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from zenml.core import Blob, Files, StepContext, UnitFunction
from zenml.core.errors import ConfigurationError, DataError, Problem
from zenml.steps._applying import apply_step, apply_transform, prepared, without_missing
from zenml.steps._counts import add_up, count_values, decode_counts, encode_counts
from zenml.steps._measures import Moments, Sketch, numbers_of, quantiles
from zenml.steps._methods import (
    DEFAULTS,
    FILLINGS,
    TRANSFORMS,
    chain_of,
    filling_of,
    fits,
    nearest_column,
    width_of,
)
from zenml.steps._pca import Products, components
from zenml.steps._plain import fetch, put
from zenml.steps._splits import splits_for
from zenml.steps._tables import write_parquet
from zenml.steps._terms import Documents, Terms, words
from zenml.steps.dataset import Dataset, read_rows

if TYPE_CHECKING:
    from zenml.steps.preprocesser import StandardPreprocesser

__all__ = ["analyse_prepared", "analyse_shard", "preprocess", "transform_shard"]

#: float32 counts to 2**24 without gaps, and a vocabulary is part of every model.
VOCABULARY_LIMIT: Final = 1_000_000
#: Counts of so many shards, of so many values in all, are added up at once.
_WAITING_SHARDS: Final = 256
_WAITING_ROWS: Final = 1 << 18
_PART: Final = "transformed"
#: What can be measured of raw values, before it is known what missing ones become.
_OF_RAW: Final = ("bins", "counts", "moments")
_CUSTOM: Final = "use {'method': 'custom', 'parameters': {…}}"
#: Type to what makes something of it that any transform takes.
_REMEDIES: Final = {
    "binary": "put load_binary_image before it",
    "string": "use compute_and_apply_vocabulary or hash_strings, alone or before it",
}


def preprocess(
    step: StandardPreprocesser, examples: Dataset, context: StepContext
) -> dict[str, Any]:
    """See ``StandardPreprocesser.run``."""
    train = splits_for("train", examples, step.split_mapping)
    if not sum(examples.n_rows(split) for split in train):
        raise DataError(
            f"there are no training rows: {', '.join(train)} holds none of {examples.n_rows()}",
            remedy="give the training split a larger share",
        )
    columns = _columns(step, examples.schema)
    transform: dict[str, Any] = {
        "version": 1,
        "columns": _learn(columns, examples, train, context),
    }
    stored = put(transform["columns"], context.files)
    raw = [column["column"] for column in columns]
    results = context.map(
        transform_shard,
        [
            {"shard": examples.unit(shard, columns=raw), "transform": stored}
            for shard in examples.shards
        ],
    )
    types = {column["output"]: column["output_type"] for column in transform["columns"]}
    blobs = [Blob(*result) for result in results]
    return {"examples": examples.with_part(_PART, types, blobs), "transform": transform}


# -- what is to be done ----------------------------------------------------------------------------


def _columns(step: StandardPreprocesser, schema: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each column's filling and transforms, and what must be measured for them."""
    labels = list(step.labels or [])
    raw = [name for name, kind in schema.items() if kind in DEFAULTS]
    features = [name for name in raw if name not in labels]
    if step.features is not None:
        features = list(step.features)
    overwrite = step.overwrite or {}
    problems = [
        Problem(parameter, f"the data has no column '{name}'", nearest_column(name, raw))
        for parameter, names in (
            ("features", features),
            ("labels", labels),
            ("overwrite", list(overwrite)),
        )
        for name in names
        if name not in raw
    ]
    outputs = {f"{name}_xf" for name in features} | {f"{name}_xl" for name in labels}
    problems += [
        Problem(
            "features",
            f"the data has a column '{name}' already, and the result would be called that too",
            "leave it out of the data, or rename it there",
        )
        for name in sorted(outputs & set(raw))
    ]
    columns = []
    for role, names in (("feature", features), ("label", labels)):
        for name in names:
            if name in raw:
                column = _column(name, role, schema[name], overwrite.get(name, {}))
                problems += _misfits(column)
                columns.append(column)
    if problems:
        raise ConfigurationError(f"{step.title} does not fit the data", problems)
    return columns


def _column(name: str, role: str, kind: str, overwrite: Mapping[str, Any]) -> dict[str, Any]:
    default_filling, default_transform = DEFAULTS[kind]
    filling = None
    if "filling" in overwrite:
        filling = filling_of(overwrite["filling"])
    elif role == "feature" and default_filling is not None:
        filling = filling_of(default_filling)
    transform = overwrite.get("transform", default_transform)
    chain = [] if transform is None else chain_of(transform)
    needs = {TRANSFORMS[step["method"]].needs for step in chain[:1]} & set(_OF_RAW)
    if filling is not None:
        needs.add(FILLINGS[filling["method"]].needs)
    return {
        "column": name,
        "role": role,
        "type": kind,
        "output": f"{name}_{'xf' if role == 'feature' else 'xl'}",
        "filling": filling,
        "chain": chain,
        "needs": sorted(need for need in needs if need),
    }


def _misfits(column: Mapping[str, Any]) -> list[Problem]:
    kind, path = column["type"], f"overwrite.{column['column']}"
    if not column["chain"]:
        message = f"'{column['column']}' is of type {kind}, which has no default transform"
        remedy = "give it one, such as load_binary_image, or leave it out: features=[…]"
        return [Problem(f"{path}.transform", message, remedy)]
    problems = []
    first = column["chain"][0]["method"]
    if kind not in TRANSFORMS[first].takes:
        problems.append(
            Problem(
                f"{path}.transform",
                f"'{first}' cannot be applied to '{column['column']}', which is of type {kind}",
                _REMEDIES.get(kind),
            )
        )
    filling = column["filling"]
    if filling is None:
        return problems
    if kind not in FILLINGS[filling["method"]].takes:
        message = f"a column of type {kind} has no {filling['method']}"
        remedy = "leave it out" if kind == "binary" else _CUSTOM
        problems.append(Problem(f"{path}.filling", message, remedy))
    elif filling["method"] == "mean" and "number" not in TRANSFORMS[first].gives:
        message = f"'mean' gives a number with decimals, and '{first}' takes values of type {kind}"
        problems.append(Problem(f"{path}.filling", message, "use min, max or custom"))
    elif filling["method"] == "custom":
        value = filling["parameters"]["custom_value"]
        if not fits(value, kind):
            problems.append(
                Problem(
                    f"{path}.filling.custom_value",
                    f"'{column['column']}' is of type {kind}, and {value!r} is not",
                )
            )
        elif type(value) is int and kind == "integer" and not -(1 << 63) <= value < 1 << 63:
            problems.append(
                Problem(f"{path}.filling.custom_value", f"{value} has more than 64 bits")
            )
    return problems


# -- learning --------------------------------------------------------------------------------------


def _learn(
    columns: Sequence[Mapping[str, Any]],
    examples: Dataset,
    train: Sequence[str],
    context: StepContext,
) -> list[dict[str, Any]]:
    """The columns of the transform.

    The rows are looked at once for the fillings and for what comes first in each chain, and once
    more for every further transform that learns from what those before it give.
    """
    # A shard without training rows has nothing to say.
    positions = [examples.splits.index(split) for split in train]
    shards = [
        shard
        for shard in examples.shards
        if any(shard.split_rows[position] for position in positions)
    ]

    def measure(
        function: UnitFunction, wanted: Sequence[Mapping[str, Any]], **common: Any
    ) -> dict[str, _Measured]:
        measured = {column["column"]: _Measured() for column in wanted}
        units = [
            {"shard": examples.unit(shard, columns=list(measured), splits=train), **common}
            for shard in (shards if wanted else [])
        ]
        for blob in context.map(function, units):
            for name, partial in fetch(blob, context.files).items():
                measured[name].add(partial)
        return measured

    analysed = [column for column in columns if column["needs"]]
    wanted = [{key: column[key] for key in ("column", "needs")} for column in analysed]
    measured = measure(analyse_shard, analysed, columns=wanted)
    fitted = [_begin(column, measured.get(column["column"])) for column in columns]
    while True:
        waiting = [
            {**made, "step": step}
            for column, made in zip(columns, fitted, strict=True)
            if (step := _settle_freely(column, made)) is not None
        ]
        if not waiting:
            return [{**made, "output_type": _type_of(made["steps"])} for made in fitted]
        prepared = put(waiting, context.files)
        measured = measure(analyse_prepared, waiting, columns=prepared)
        for column in waiting:
            name = column["column"]
            column["steps"].append(_settle(column, column["step"], measured[name], None, 0))


def analyse_shard(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: measure the training rows of one shard; returns the blob of a partial."""
    frame = read_rows(payload["shard"], files, dictionaries=True)
    partial = {
        column["column"]: _measure(frame[column["column"]], column["needs"])
        for column in payload["columns"]
    }
    return put(partial, files)


def analyse_prepared(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: measure what the transforms that are settled make of the training rows of one shard."""
    frame = read_rows(payload["shard"], files)
    partial = {}
    for column in _columns_of(payload["columns"], files):
        first = [*column["steps"], column["step"]][0]["method"]
        values: Any = without_missing(column, first, frame[column["column"]])
        for step in column["steps"]:
            values = apply_step(step, values)
        partial[column["column"]] = _measure_prepared(values, column["step"]["method"])
    return put(partial, files)


def _measure_prepared(values: Any, method: str) -> dict[str, Any]:
    need = TRANSFORMS[method].needs
    assert need is not None
    if need == "documents":
        terms = values if isinstance(values, Terms) else words(values)
        return {"documents": Documents.of(terms, VOCABULARY_LIMIT).encode()}
    if need == "products":
        vectors = values.to_numpy().reshape(len(values), values.dtype.size)
        return {"products": Products.of(vectors).encode()}
    return _measure(values.values if isinstance(values, Terms) else values, [need])


def _measure(series: pl.Series, needs: Sequence[str]) -> dict[str, Any]:
    partial: dict[str, Any] = {}
    if "counts" in needs:
        texts = series if series.dtype == pl.Enum else series.cast(pl.String)
        counts = encode_counts(count_values(texts), VOCABULARY_LIMIT)
        partial |= {"counts": counts, "missing": series.null_count()}
    if "moments" in needs or "bins" in needs:
        numbers = numbers_of(series)
        partial["missing"] = numbers.missing
        if "moments" in needs:
            partial["moments"] = Moments.of(numbers.finite).encode()
        if "bins" in needs:
            partial["bins"] = Sketch.of(numbers.finite).encode()
    return partial


class _Measured:
    """What was measured of a column, while shards are added."""

    def __init__(self) -> None:
        self.missing = 0
        self.moments = Moments()
        self.sketch = Sketch()
        self.counts: dict[str, int] | None = {}
        self._waiting: list[pl.DataFrame] = []
        self._waiting_rows = 0
        self.documents = Documents(VOCABULARY_LIMIT)
        self.products: Products | None = None

    def add(self, partial: Mapping[str, Any]) -> None:
        self.missing += partial.get("missing", 0)
        if "moments" in partial:
            self.moments = self.moments.plus(Moments.decode(partial["moments"]))
        if "bins" in partial:
            self.sketch.add(*partial["bins"])
        if "counts" in partial:
            if partial["counts"] is None:
                self.counts = None
            else:
                self._wait(decode_counts(partial["counts"]))
        if "documents" in partial:
            self.documents.add(partial["documents"])
        if "products" in partial:
            self.products = self.products or Products(len(partial["products"]["sums"]))
            self.products.add(partial["products"])

    def _wait(self, counted: pl.DataFrame) -> None:
        """Add a shard's counts up with others first: they have much in common."""
        self._waiting.append(counted)
        self._waiting_rows += counted.height
        if self._waiting_rows > _WAITING_ROWS or len(self._waiting) > _WAITING_SHARDS:
            self._settle()

    def _settle(self) -> None:
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        if waiting:
            added = add_up(waiting)
            self._add_counts(added["value"].to_list(), added["count"].to_list())

    def _add_counts(self, values: Sequence[str], counts: Sequence[int]) -> None:
        """Add the counts of values that differ."""
        # In a dictionary: a million texts take twice the memory while Polars adds them up.
        known = self.counts
        if known is None:
            return
        if known:
            for value, count in zip(values, counts, strict=True):
                known[value] = known.get(value, 0) + count
        else:
            known = self.counts = dict(zip(values, counts, strict=True))
        if len(known) > VOCABULARY_LIMIT:
            self.counts = None

    def vocabulary(self, fill: str, filled: int) -> list[str] | None:
        """The values, most frequent first, with ``filled`` more of ``fill``; None: too many."""
        self._settle()
        if filled:
            self._add_counts([fill], [filled])
        known = self.counts
        if known is None:
            return None
        return sorted(sorted(known), key=known.__getitem__, reverse=True)


def _begin(column: Mapping[str, Any], measured: _Measured | None) -> dict[str, Any]:
    """A column of the transform, with its filling and, if raw values suffice, its first step."""
    value = _filling(column, measured)
    first = column["chain"][0]
    steps = []
    if measured is not None and TRANSFORMS[first["method"]].needs in _OF_RAW:
        # As if the missing values were filled already.
        filled = measured.missing if value is not None else 0
        steps.append(_settle(column, first, measured, value, filled))
    return {
        "column": column["column"],
        "role": column["role"],
        "type": column["type"],
        "output": column["output"],
        "filling": value,
        "steps": steps,
    }


def _settle_freely(column: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any] | None:
    """Settle the transforms that learn nothing; the next one that does, or None."""
    for step in column["chain"][len(made["steps"]) :]:
        if TRANSFORMS[step["method"]].needs:
            found: dict[str, Any] = step
            return found
        made["steps"].append({"method": step["method"], **step["parameters"]})
    return None


def _type_of(steps: Sequence[Mapping[str, Any]]) -> str:
    """The type of a column that such steps make."""
    width = width_of(steps)
    return "float32" if width is None else f"float32[{width}]"


def _filling(column: Mapping[str, Any], measured: _Measured | None) -> Any:
    filling = column["filling"]
    if filling is None:
        return None
    if filling["method"] == "custom":
        return filling["parameters"]["custom_value"]
    moments = measured.moments if measured else Moments()
    found = {"min": moments.minimum, "max": moments.maximum, "mean": moments.mean()}
    value = found[filling["method"]]
    if column["type"] == "boolean" and filling["method"] != "mean":
        return bool(value)
    return 0 if value is None else value


def _settle(
    column: Mapping[str, Any], step: Mapping[str, Any], measured: _Measured, fill: Any, filled: int
) -> dict[str, Any]:
    """Everything that ``apply`` needs of a transform, as plain data.

    Args:
        column: The column, with the steps before this one.
        step: The transform.
        measured: What was measured of the values that it is given.
        fill: What missing values become; they were not measured.
        filled: How many of these there are.
    """
    method, parameters = step["method"], step["parameters"]
    fitted: dict[str, Any] = {"method": method}
    if method == "compute_and_apply_vocabulary":
        return {**fitted, "vocabulary": _vocabulary(column, measured, fill, filled)}
    if method == "tfidf":
        return {**fitted, **parameters, **_weights(column, measured.documents, **parameters)}
    if method == "pca":
        assert measured.products is not None
        return {**fitted, **parameters, **_directions(measured.products, **parameters)}
    if method == "bucketize":
        measured.sketch.add_value(_number(fill), filled)
        return {**fitted, "boundaries": _boundaries(measured.sketch, parameters["num_buckets"])}
    moments = measured.moments.plus_value(_number(fill), filled)
    low = 0.0 if moments.minimum is None else float(moments.minimum)
    high = 0.0 if moments.maximum is None else float(moments.maximum)
    if method == "scale_to_z_score":
        mean, deviation = moments.mean() or 0.0, moments.deviation() or 0.0
        learnt = {"mean": mean, "deviation": deviation}
        power = _power(low, high, deviation)
        return {**fitted, **learnt, **_affine(mean, 1.0, deviation * power, 0.0, power)}
    bottom, top = parameters.get("min", 0.0), parameters.get("max", 1.0)
    learnt = {"low": low, "high": high}
    # A constant column has no scale; it comes out at the lower end.
    power = _power(low, high, high - low)
    width = high * power - low * power
    return {**fitted, **learnt, **_affine(low, float(top - bottom), width, float(bottom), power)}


def _power(low: float, high: float, width: float) -> float:
    """What numbers are multiplied by first, so that no further result leaves the floats.

    A power of two: nothing is rounded. 1, unless numbers are larger, or closer together, than any
    that something was measured by.
    """
    if max(-low, high) > 2.0**1000:
        return 2.0**-600
    return 2.0**600 if 0.0 < width < 2.0**-800 else 1.0


def _affine(
    shift: float, over: float, under: float, offset: float, power: float
) -> dict[str, float]:
    """``(x * power - shift) * factor + offset``, with ``factor`` 0 where the column is constant."""
    found = {
        "shift": shift * power,
        "factor": over / under if under else 0.0,
        "offset": offset,
    }
    return found if power == 1.0 else {"power": power, **found}


def _number(fill: Any) -> float:
    return 0.0 if fill is None else fill + 0  # a boolean is 0 or 1


def _vocabulary(
    column: Mapping[str, Any], measured: _Measured, fill: Any, filled: int
) -> list[str]:
    text = fill if isinstance(fill, str) else str(fill).lower()
    vocabulary = measured.vocabulary(text, filled)
    if vocabulary is None:
        raise _too_many(column, "compute_and_apply_vocabulary", "values")
    return vocabulary


def _too_many(column: Mapping[str, Any], method: str, what: str) -> DataError:
    return DataError(
        f"'{column['column']}' has more than {VOCABULARY_LIMIT:,} different {what}, too many "
        "for a vocabulary",
        where=method,
        remedy=f"overwrite={{'{column['column']}': {{'transform': {{'method': 'hash_strings', "
        "'parameters': {'hash_buckets': 100000}}}}, or leave the column out"
        if what == "values"
        else "put ngrams and hash_strings before it, with as many buckets as its vocab_size",
    )


def _weights(
    column: Mapping[str, Any], documents: Documents, vocab_size: int
) -> dict[str, list[Any]]:
    """The terms that have a place in the vector, and their inverse document frequencies."""
    if documents.terms is None:
        raise _too_many(column, "tfidf", "terms")
    if column["steps"] and column["steps"][-1]["method"] != "ngrams":
        # They are numbers already, and these are places.
        return {"idf": documents.inverse_frequencies(range(vocab_size))}
    vocabulary = documents.most_frequent(vocab_size)
    return {"vocabulary": vocabulary, "idf": documents.inverse_frequencies(vocabulary)}


def _directions(products: Products, output_dim: int, dtype: str) -> dict[str, list[Any]]:
    mean = products.mean()
    found = components(products.covariance(), output_dim)
    return {"mean": mean.astype(dtype).tolist(), "components": found.astype(dtype).tolist()}


def _boundaries(sketch: Sketch, buckets: int) -> list[float]:
    """Quantiles between the buckets; equal ones are one boundary."""
    pairs = sketch.pairs()
    if not pairs or buckets < 2:
        return []
    found = quantiles(pairs, [Fraction(bucket, buckets) for bucket in range(1, buckets)])
    return sorted(set(found))


# -- applying --------------------------------------------------------------------------------------


def transform_shard(payload: Mapping[str, Any], files: Files) -> list[Any]:
    """Unit: transform one shard; returns the blob of the new columns."""
    transform = {"columns": _columns_of(payload["transform"], files)}
    frame = read_rows(payload["shard"], files, dictionaries=True)
    blob = write_parquet(apply_transform(transform, frame), files)
    return [blob.digest, blob.size]


#: The last columns that units of this process were given, by the digest of the blob: what all
#: shards are transformed by may be large, and is decoded once.
_known_columns: dict[str, list[dict[str, Any]]] = {}
#: The first units of a process begin at once, and all but one wait for it.
_decoding = threading.Lock()


def _columns_of(blob: list[Any], files: Files) -> list[dict[str, Any]]:
    with _decoding:
        columns = _known_columns.get(blob[0])
        if columns is None:
            columns = prepared(fetch(blob, files))
            _known_columns.clear()
            _known_columns[blob[0]] = columns
        return columns
