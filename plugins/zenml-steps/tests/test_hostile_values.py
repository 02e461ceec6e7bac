"""Hostile values in, and the same answers out as from plain Python, row by row.

What is exact by docs/steps.md must be equal, and what is rounded must be as near as it says. The
reference is naive on purpose: dictionaries, fractions, one value at a time.

``pytest --hypothesis-profile night`` tries 2,000 other examples of each.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from zenml.datasources import FrameDatasource
from zenml.steps.anomalies import Anomalies
from zenml.steps.preprocesser import StandardPreprocesser, apply
from zenml.steps.split import (
    CategoricalDomainSplit,
    NoSplit,
    RandomSplit,
    TimeRatioSplit,
    TimeSplit,
)
from zenml.steps.statistics import SplitSchema, SplitStatistics

DTYPES = {"boolean": pl.Boolean, "integer": pl.Int64, "float": pl.Float64, "string": pl.String}

# -- what hostile data is made of ------------------------------------------------------------------

LARGEST = sys.float_info.max
FLOATS = st.one_of(
    st.sampled_from(
        [0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 2.0**-1030, 2.0**53, 2.0**53 + 2]
    ),
    st.sampled_from([1e308, -1e308, LARGEST, -LARGEST, math.inf, -math.inf, math.nan]),
    st.floats(),
    st.floats(-100, 100),
    st.sampled_from([0.1, 1.0]),
)
INTEGERS = st.one_of(
    st.sampled_from(
        [2**63 - 1, -(2**63), 2**53, 2**53 + 1, -(2**53) - 1, 2**62 - 1, 2**31, -(2**31)]
    ),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5),
    st.sampled_from([0, 1]),
)
STRINGS = st.one_of(
    st.sampled_from(
        ["", " ", "\0", "a\0b", "NA", "null", "NaN", "inf", "-0", "007", "true", "True"]
    ),
    st.sampled_from(["é", "e\u0301", "\u202e", "\ufeff", "\U0010ffff", "\n", "\r\n", '"', ","]),
    st.text(max_size=8),
    st.sampled_from(["a", "b", "a b a", "b  c", "\ta\n", "x" * 9_999]),
)
VALUES = {
    "boolean": st.booleans(),
    "integer": INTEGERS,
    "float": FLOATS,
    "string": STRINGS,
}


@st.composite
def columns(draw: st.DrawFn, kinds: Sequence[str] = tuple(VALUES)) -> tuple[str, list[Any]]:
    """A kind and its values; sometimes only nulls, one value, or one row."""
    kind = draw(st.sampled_from(kinds))
    values = st.one_of(st.none(), VALUES[kind], VALUES[kind], VALUES[kind])
    shape = draw(st.sampled_from(["mixed", "mixed", "mixed", "mixed", "nulls", "constant"]))
    if shape != "mixed":
        one = None if shape == "nulls" else draw(VALUES[kind])
        return kind, [one] * draw(st.integers(1, 6))
    return kind, draw(st.lists(values, min_size=1, max_size=24))


def frame_of(kind: str, values: Sequence[Any], name: str = "x") -> pl.DataFrame:
    numbers = pl.Series("row", range(len(values)), dtype=pl.Int64)
    return pl.DataFrame([pl.Series(name, values, dtype=DTYPES[kind]), numbers])


def snapshot(bench: Any, frame: pl.DataFrame, rows_per_shard: int) -> dict[str, Any]:
    source = FrameDatasource(name="hostile", frame=frame, rows_per_shard=rows_per_shard)
    outputs: dict[str, Any] = bench.run(source)
    return outputs


def plain(value: Any) -> Any:
    """As it is stored: JSON without NaN."""
    return json.loads(json.dumps(value, allow_nan=False))


def rows_of(bench: Any, dataset: Any, names: Sequence[str], split: str | None = None) -> Any:
    frames = dataset.scan(bench.files, columns=names, split=split)
    return pl.concat(list(frames)).to_dict(as_series=False)


# -- statistics ------------------------------------------------------------------------------------

LEVELS = ["0", "0.01", "0.05", "0.1", "0.25", "0.5", "0.75", "0.9", "0.95", "0.99", "1"]


def is_finite(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def naive_mean(values: Sequence[Any]) -> float | None:
    return float(sum(map(Fraction, values)) / len(values)) if values else None


def naive_deviation(values: Sequence[Any]) -> float | None:
    if not values:
        return None
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    with localcontext() as context:
        context.prec = 60
        context.Emin, context.Emax = -(10**6), 10**6
        return float((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt())


def naive_statistics(name: str, kind: str, values: Sequence[Any]) -> dict[str, Any]:
    """Everything but the deviation and the histogram, which are checked apart."""
    present = [value for value in values if value is not None]
    # Adding zero makes one zero of the two.
    finite = [v + 0.0 if kind == "float" else v for v in present if is_finite(v)]
    counts = sorted(Counter(finite).items(), key=lambda pair: (-pair[1], pair[0]))
    listed = len(counts) if kind == "string" and len(counts) <= 100 else 20
    found: dict[str, Any] = {
        "name": name,
        "type": kind,
        "count": len(present),
        "nulls": len(values) - len(present),
        "distinct": len(counts),
        "top": [list(pair) for pair in counts[:listed]],
    }
    if kind == "string":
        sizes = [len(value) for value in present]
        least, most = (min(sizes), max(sizes)) if sizes else (None, None)
        return {**found, "length": {"min": least, "max": most, "mean": naive_mean(sizes)}}
    found["mean"] = naive_mean(finite)
    if kind == "boolean":
        return found
    found["nans"] = sum(isinstance(value, float) and math.isnan(value) for value in present)
    found["infinite"] = len(present) - len(finite) - found["nans"]
    found["zeros"] = sum(value == 0 for value in finite)
    found["min"] = min(finite, default=None)
    found["max"] = max(finite, default=None)
    if finite:
        ranks = [max(math.ceil(Fraction(level) * len(finite)), 1) for level in LEVELS]
        found["quantiles"] = [
            [float(level), sorted(finite)[rank - 1]]
            for level, rank in zip(LEVELS, ranks, strict=True)
        ]
    return found


def check_statistics(found: dict[str, Any], kind: str, values: Sequence[Any]) -> None:
    found = dict(found)
    finite = [value for value in values if is_finite(value)]
    deviation, histogram = found.pop("std", None), found.pop("histogram", None)
    assert found == naive_statistics(found["name"], kind, values)
    if kind not in ("integer", "float"):
        return
    expected = naive_deviation(finite)
    if expected is None:
        assert (deviation, histogram) == (None, None)
        return
    assert abs(deviation - expected) <= math.ulp(expected)
    assert deviation == 0.0 or min(finite) < max(finite)
    check_histogram(histogram, finite)


def check_histogram(histogram: Mapping[str, Any], finite: Sequence[Any]) -> None:
    counts, edges = histogram["counts"], histogram["edges"]
    width = Fraction(2) ** histogram["exponent"]
    # A bar holds its edge that is nearer to zero.
    bars = [math.floor(abs(Fraction(v)) / width) * (-1 if v < 0 else 1) - (v < 0) for v in finite]
    first = min(bars)
    assert 1 <= len(counts) <= 32
    assert counts == [bars.count(first + bar) for bar in range(len(counts))]
    assert len(counts) == max(bars) - first + 1
    for place, edge in enumerate(edges):
        exact = (first + place) * width
        assert edge == float(min(max(exact, Fraction(-LARGEST)), Fraction(LARGEST)))


@given(columns(), st.integers(1, 7))
@example(("float", [1e308, 1e308, -LARGEST, LARGEST]), 2)
@example(("float", [0.0, -0.0, 5e-324, -5e-324]), 3)
@example(("integer", [2**63 - 1, -(2**63), 2**53 + 1, None]), 1)
@example(("float", [math.nan, math.inf, -math.inf, None]), 1)
@example(("string", [None]), 1)
def test_statistics_are_those_of_plain_python(
    fresh: Callable[[], Any], column: tuple[str, list[Any]], rows_per_shard: int
) -> None:
    kind, values = column
    bench = fresh()
    outputs = snapshot(bench, frame_of(kind, values), rows_per_shard)
    statistics = plain(outputs["statistics"])
    assert statistics["rows"] == len(values)
    check_statistics(statistics["columns"][0], kind, values)
    # By their spelling, which tells zeros apart, and NaN not from itself.
    assert repr(rows_of(bench, outputs["examples"], ["x"])["x"]) == repr(values)


def test_values_next_to_zero_are_counted_on_both_sides(fresh: Callable[[], Any]) -> None:
    """So many that they are counted in bins, all of which is the one of zero."""
    values = [number * 5e-324 for number in range(-6_000, 6_001)] + [0.0, -0.0]
    column = snapshot(fresh(), frame_of("float", values), 5_000)["statistics"]["columns"][0]
    assert (column["zeros"], column["min"], column["max"]) == (3, -6_000 * 5e-324, 6_000 * 5e-324)
    assert column["distinct"] == pytest.approx(12_001, rel=4 * column["distinct_error"])
    assert sum(column["histogram"]["counts"]) == 12_003
    assert [value for _, value in column["quantiles"][1:-1]] == [0.0] * 9


@pytest.mark.parametrize("kind", ["integer", "float"])
def test_quantiles_of_many_values_keep_to_their_bound(fresh: Callable[[], Any], kind: str) -> None:
    values: list[Any] = [2**63 - 1 - number for number in range(6_000)]
    values += [-(2**63) + number**4 for number in range(6_000)] + list(range(6_000))
    if kind == "float":
        values = [value * 2.0**960 for value in values]
    column = snapshot(fresh(), frame_of(kind, values), 5_000)["statistics"]["columns"][0]
    assert (column["min"], column["max"]) == (min(values), max(values))
    assert column["mean"] == naive_mean(values)
    for level, value in zip(LEVELS, column["quantiles"], strict=True):
        rank = max(math.ceil(Fraction(level) * len(values)), 1)
        true = sorted(values)[rank - 1]
        assert abs(Fraction(value[1]) - true) <= abs(true) / 256
        assert abs(Fraction(value[1])) <= abs(true) or value[1] == float(true)


# -- splits ----------------------------------------------------------------------------------------


def mix(bits: int) -> int:
    """SplitMix64's mixing function, in whole numbers."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % 2**64
    return bits ^ (bits >> 31)


def naive_random(shares: Mapping[str, float], seed: int, row: int) -> str:
    key = hashlib.sha256(f"zenml random 1:{seed}".encode()).digest()
    first, second = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    drawn = mix(mix((row * 0x9E3779B97F4A7C15 + first) % 2**64) ^ second)
    total, seen = sum(map(Fraction, shares.values())), Fraction(0)
    for name in sorted(shares):
        seen += Fraction(shares[name])
        if drawn < int(seen / total * 2**64):
            return name
    return max(shares)


def naive_time(ends: Mapping[str, Any], value: Any) -> str | None:
    if not is_finite(value):
        return None
    later = [name for name, end in ends.items() if end is None or value < end]
    return min(later, key=lambda name: math.inf if ends[name] is None else ends[name], default=None)


def check_split(bench: Any, dataset: Any, expected: Sequence[str | None]) -> None:
    """Every row is where it should be, and the statistics of each split are those of its rows."""
    statistics = plain(bench.run(SplitStatistics(), examples=dataset))["splits"]
    everything = rows_of(bench, dataset, ["x"])["x"]
    kind = dataset.schema["x"]
    for name in dataset.splits:
        rows = [row for row, split in enumerate(expected) if split == name]
        assert dataset.n_rows(name) == statistics[name]["rows"] == len(rows)
        assert rows_of(bench, dataset, ["row"], name)["row"] == rows
        check_statistics(statistics[name]["columns"][0], kind, [everything[row] for row in rows])
    for name in dataset.splits:
        if dataset.n_rows(name):
            schema = plain(bench.run(SplitSchema(split=name), statistics={"splits": statistics}))
            assert [column["name"] for column in schema["columns"]] == ["x", "row"]
            check_anomalies(bench, statistics, name)


def check_anomalies(bench: Any, statistics: Mapping[str, Any], baseline: str) -> None:
    step = Anomalies(baseline=baseline, min_count=1)
    found = plain(bench.run(step, statistics={"splits": statistics}))["splits"]
    normal = statistics[baseline]["columns"][0]
    for name, anomalies in found.items():
        split = statistics[name]
        if not split["rows"]:
            assert [anomaly["kind"] for anomaly in anomalies] == ["no_rows"]
            continue
        column = split["columns"][0]
        kinds = {anomaly["kind"] for anomaly in anomalies if anomaly["column"] == "x"}
        strange = [part.get("nans", 0) + part.get("infinite", 0) for part in (column, normal)]
        assert ("not_finite" in kinds) == (strange[0] > 0 and not strange[1])
        lost = normal["count"] / statistics[baseline]["rows"] - column["count"] / split["rows"]
        assert ("missing_values" in kinds) == (
            (column["nulls"] > 0 and not normal["nulls"]) or lost > 0.1
        )
        if column["type"] in ("boolean", "string") and column["count"] and normal["count"]:
            known = {value for value, _ in normal["top"]}
            assert ("new_values" in kinds) == any(value not in known for value, _ in column["top"])
            ours, theirs = dict(column["top"]), dict(normal["top"])
            gap = max(
                abs(
                    Fraction(ours.get(value, 0), column["count"])
                    - Fraction(theirs.get(value, 0), normal["count"])
                )
                for value in ours.keys() | theirs.keys()
            )
            if abs(gap - Fraction(1, 10)) > Fraction(1, 10**5):
                assert ("distribution" in kinds) == (gap > Fraction(1, 10))


@given(columns(), st.integers(1, 7), st.integers(0, 5), st.sampled_from([0.5, 0.9, 1 - 1e-7]))
def test_random_splits_are_those_of_plain_python(
    fresh: Callable[[], Any], column: tuple[str, list[Any]], size: int, seed: int, share: float
) -> None:
    kind, values = column
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), size)["examples"]
    shares = {"train": share, "eval": 1 - share}
    dataset = bench.run(RandomSplit(split_map=shares, seed=seed), examples=examples)
    expected = [naive_random(shares, seed, row) for row in range(len(values))]
    check_split(bench, dataset, expected)


@given(
    columns(("string", "integer", "boolean")), st.integers(1, 7), st.sampled_from(["skip", "eval"])
)
def test_splits_by_category_are_those_of_plain_python(
    fresh: Callable[[], Any], column: tuple[str, list[Any]], size: int, policy: str
) -> None:
    kind, values = column
    seen = list(dict.fromkeys(value for value in values if value is not None))
    other = {"string": "not there", "integer": 424_242, "boolean": True}[kind]
    seen = seen if len(seen) > 1 else [value for value in [*seen, other] if value is not None]
    assume(len(set(seen)) > 1)
    half = (len(seen) + 1) // 2
    domains = {"train": seen[:half], "eval": seen[half:]}
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), size)["examples"]
    step = CategoricalDomainSplit(
        categorical_column="x", split_map=domains, unknown_category_policy=policy
    )
    of = {value: name for name, listed in domains.items() for value in listed}
    unknown = None if policy == "skip" else policy
    check_split(
        bench, bench.run(step, examples=examples), [of.get(value, unknown) for value in values]
    )


@given(
    columns(("integer", "float")),
    st.integers(1, 7),
    st.lists(
        st.one_of(INTEGERS, FLOATS.filter(math.isfinite), st.none()),
        min_size=2,
        max_size=3,
        unique=True,
    ),
)
@example(("integer", [2**53, 2**53 + 1, 2**63 - 1, None]), 2, [2**53 + 1, 1e300, None])
@example(("integer", [-(2**63), 0]), 2, [-1e300, -0.5])
def test_splits_by_time_are_those_of_plain_python(
    fresh: Callable[[], Any], column: tuple[str, list[Any]], size: int, ends: list[Any]
) -> None:
    kind, values = column
    # A column of floats is compared as floats.
    ends = [float(end) if kind == "float" and end is not None else end for end in ends]
    assume(len(set(ends)) == len(ends))
    split_map = dict(zip(["train", "eval", "test"], ends, strict=False))
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), size)["examples"]
    dataset = bench.run(TimeSplit(column="x", split_map=split_map), examples=examples)
    check_split(bench, dataset, [naive_time(split_map, value) for value in values])


DATES = st.one_of(
    st.sampled_from(["0001-01-01", "0999-12-31", "1582-10-15", "1899-12-31", "1900-01-01"]),
    st.sampled_from(["1969-12-31T23:59:59.5Z", "1970-01-01", "2013-09-01 12:00", "9999-12-31"]),
)


@given(
    st.one_of(
        columns(("integer", "float")),
        st.tuples(st.just("string"), st.lists(st.one_of(st.none(), DATES), min_size=1)),
    ),
    st.integers(1, 7),
)
def test_shares_of_time_are_those_of_plain_python(
    fresh: Callable[[], Any], column: tuple[str, list[Any]], size: int
) -> None:
    kind, values = column

    def time(value: Any) -> Any:
        if isinstance(value, str):
            return value.rstrip("Z").replace(" ", "T")
        return value if is_finite(value) else None

    times = sorted(found for found in map(time, values) if found is not None)
    cut = math.floor(Fraction(len(times), 2) + Fraction(1, 2))
    # Rows of one time stay together, in the later split where the end falls among them.
    end = times[cut] if 0 < cut < len(times) else None
    assume(end is not None and times[0] < end)
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), size)["examples"]
    step = TimeRatioSplit(column="x", split_ratio={"train": 0.5, "eval": 0.5})
    expected = [
        None if time(value) is None else "train" if time(value) < end else "eval"
        for value in values
    ]
    check_split(bench, bench.run(step, examples=examples), expected)


# -- preprocessing and serving ---------------------------------------------------------------------

NUMERIC = ["no_transform", "scale_to_z_score", "scale_to_0_1", "scale_by_min_max", "bucketize"]
CHAINS: dict[str, list[Any]] = {
    "boolean": [*NUMERIC, "one_hot_encode", "compute_and_apply_vocabulary", "hash_strings"],
    "integer": [*NUMERIC, "one_hot_encode", "compute_and_apply_vocabulary", "hash_strings"],
    "float": [*NUMERIC, "one_hot_encode"],
    "string": ["compute_and_apply_vocabulary", "hash_strings", "tfidf", "ngrams"],
}
PARAMETERS: dict[str, dict[str, Any]] = {
    "bucketize": {"num_buckets": 14},
    "hash_strings": {"hash_buckets": 7},
    "ngrams": {"ngram_range": [1, 2], "separator": "+"},
    "one_hot_encode": {"depth": 4},
    "scale_by_min_max": {"min": -1.0, "max": 3.0},
    "tfidf": {"vocab_size": 5},
}
CUSTOM = {"boolean": True, "integer": -7, "float": 2.5, "string": "a\0"}


def written(method: str) -> dict[str, Any]:
    return {"method": method, "parameters": PARAMETERS.get(method, {})}


def as_float32(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def rounded(value: Fraction) -> float:
    try:
        return as_float32(float(value))
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def bin_edge(value: Any) -> float:
    """The first nine significant binary digits; next to zero the bins have one width."""
    if isinstance(value, int):
        cut = max(abs(value).bit_length() - 9, 0)
        return math.copysign(abs(value) >> cut << cut, value)
    if abs(value) < 2.0**-1022:
        return math.copysign(math.floor(abs(value) / 2.0**-1030) * 2.0**-1030, value) + 0.0
    fraction, exponent = math.frexp(abs(value))
    return math.copysign(math.ldexp(math.floor(fraction * 512), exponent - 9), value)


def text_of(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def naive_words(text: str) -> list[str]:
    return [word for word in text.translate(dict.fromkeys(b"\t\n\r\f\v", " ")).split(" ") if word]


def naive_terms(text: str, method: str) -> list[str]:
    words = naive_words(text)
    if method == "tfidf":
        return words
    return words + [f"{one}+{other}" for one, other in itertools.pairwise(words)]


def naive_transform(
    kind: str, method: str, filling: str, train: Sequence[Any], learnt: Mapping[str, Any]
) -> Callable[[Any], Any]:
    """What becomes of a value, learnt from the training rows. NaN counts as missing."""

    def missing(value: Any) -> bool:
        return value is None or (isinstance(value, float) and math.isnan(value))

    finite = [value for value in train if is_finite(value)]
    fill: Any = CUSTOM[kind]
    if filling != "custom":
        chosen = {"min": min, "max": max, "mean": naive_mean}[filling]
        fill = chosen(finite) if finite else 0
        if kind == "boolean" and filling != "mean":
            fill = bool(fill)

    def filled(value: Any) -> Any:
        return fill if missing(value) else value

    if method in ("compute_and_apply_vocabulary", "hash_strings"):
        if method == "hash_strings":

            def hashed(value: Any) -> Any:
                digest = hashlib.blake2b(text_of(filled(value)).encode(), digest_size=8).digest()
                return float(int.from_bytes(digest, "little") % 7)

            return hashed
        counts = Counter(text_of(filled(value)) for value in train)
        order = sorted(counts, key=lambda text: (-counts[text], text))
        places = {text: float(place) for place, text in enumerate(order)}
        return lambda value: places.get(text_of(filled(value)), -1.0)
    if method in ("tfidf", "ngrams"):
        documents = [naive_terms(filled(value), method) for value in train]
        counts = Counter(term for terms in documents for term in terms)
        order = sorted(counts, key=lambda term: (-counts[term], term))[:5]
        held = [sum(term in terms for terms in documents) for term in order]
        weights = [1 + math.log((len(documents) + 1) / (number + 1)) for number in held]

        def weighed(value: Any) -> Any:
            terms = naive_terms(filled(value), method)
            found = [
                terms.count(term) / len(terms) * weight if terms else 0.0
                for term, weight in zip(order, weights, strict=True)
            ]
            return [*found, *[0.0] * (5 - len(found))]

        return weighed

    numbers = [float(filled(value)) for value in train]
    numbers = [number for number in numbers if math.isfinite(number)]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    if method == "no_transform":
        return lambda value: as_float32(float(filled(value)))
    if method == "one_hot_encode":
        return lambda value: [float(float(filled(value)) == place) for place in range(4)]
    if method == "bucketize":
        edges = sorted(bin_edge(filled(value)) for value in train if is_finite(filled(value)))
        ranks = [max(math.ceil(Fraction(place, 14) * len(edges)), 1) for place in range(1, 14)]
        boundaries = sorted({edges[rank - 1] for rank in ranks}) if edges else []
        return lambda value: float(sum(edge <= float(filled(value)) for edge in boundaries))
    if method == "scale_to_z_score":
        # Of an integer that no float is, the sum is exact.
        whole = [filled(value) for value in train if is_finite(filled(value))]
        mean, deviation = naive_mean(whole) or 0.0, naive_deviation(whole) or 0.0
        assert learnt["mean"] == mean
        assert abs(learnt["deviation"] - deviation) <= math.ulp(deviation)
        shift, over, under, offset = mean, 1.0, Fraction(learnt["deviation"]), 0.0
    else:
        bottom, top = (-1.0, 3.0) if method == "scale_by_min_max" else (0.0, 1.0)
        shift, over, under, offset = low, top - bottom, Fraction(high) - Fraction(low), bottom

    def scaled(value: Any) -> float:
        number = float(filled(value))
        if not under:
            return offset
        if math.isinf(number):
            return number
        exact = (Fraction(number) - Fraction(shift)) * Fraction(over) / under + Fraction(offset)
        return rounded(exact)

    return scaled


@st.composite
def preprocessings(draw: st.DrawFn) -> tuple[str, list[Any], str, str]:
    kind, values = draw(columns())
    method = draw(st.sampled_from(CHAINS[kind]))
    fillings = ["custom"]
    if kind != "string":
        fillings += ["min", "max"]
        if method not in ("compute_and_apply_vocabulary", "hash_strings"):
            fillings.append("mean")
    return kind, values, method, draw(st.sampled_from(fillings))


def check_preprocessing(
    fresh: Callable[[], Any], case: tuple[str, list[Any], str, str], size: int, seed: int
) -> None:
    kind, values, method, filling = case
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), size)["examples"]
    split = RandomSplit(split_map={"train": 0.7, "eval": 0.3}, seed=seed)
    dataset = bench.run(split, examples=examples)
    assume(dataset.n_rows("train") > 0)
    train = rows_of(bench, dataset, ["x"], "train")["x"]
    chain = [written(method)] if method != "ngrams" else [written(method), written("tfidf")]
    parameters = {"custom_value": CUSTOM[kind]} if filling == "custom" else {}
    step = StandardPreprocesser(
        features=["x"],
        overwrite={
            "x": {"transform": chain, "filling": {"method": filling, "parameters": parameters}}
        },
    )
    outputs = bench.run(step, examples=dataset)
    transform = plain(outputs["transform"])
    naive = naive_transform(kind, method, filling, train, transform["columns"][0]["steps"][0])

    found = rows_of(bench, outputs["examples"], ["x_xf"])["x_xf"]
    exact = method in ("no_transform", "bucketize", "one_hot_encode", "hash_strings")
    for value, result in zip(values, found, strict=True):
        wanted = naive(value)
        if exact or method == "compute_and_apply_vocabulary":
            assert result == wanted, value
        else:
            assert result == pytest.approx(wanted, rel=1e-6, abs=1e-9), value

    # Serving gives the same bits, whether it is given a frame or dictionaries.
    from zenml.steps._applying import frame_of_rows

    rows = [{"x": value, "else": None} for value in values]
    for served in (frame_of(kind, values), frame_of_rows(transform, rows)):
        again = apply(transform, served)["x_xf"].to_list()
        assert repr(again) == repr(found)


@given(preprocessings(), st.integers(1, 7), st.integers(0, 3))
@example(("float", [LARGEST, -LARGEST, 0.0, None, math.inf], "scale_to_0_1", "min"), 2, 0)
@example(("float", [1e308, -1e308, 1e308, LARGEST], "scale_to_z_score", "mean"), 2, 0)
@example(("float", [5e-324, 0.0, -5e-324, 1e-310], "scale_by_min_max", "max"), 2, 0)
@example(("float", [5e-324, 0.0, -5e-324, 1e-310], "scale_to_z_score", "max"), 2, 0)
@example(("float", [7.0, 7.0, 7.0, math.inf, math.nan], "scale_to_z_score", "max"), 2, 1)
@example(("float", [5e-324, -5e-324] * 6 + [1.0], "bucketize", "max"), 2, 0)
@example(("integer", list(range(42)), "bucketize", "max"), 7, 0)
@example(("integer", [2**63 - 1, -(2**63), None], "compute_and_apply_vocabulary", "min"), 2, 0)
def test_preprocessing_and_serving_are_those_of_plain_python(
    fresh: Callable[[], Any], case: tuple[str, list[Any], str, str], size: int, seed: int
) -> None:
    check_preprocessing(fresh, case, size, seed)


@given(
    columns(("float", "integer")),
    st.sampled_from(["scale_to_z_score", "scale_to_0_1", "scale_by_min_max"]),
)
@example(("float", [1e308, LARGEST]), "scale_to_z_score")
def test_scaled_values_can_be_taken_back(
    fresh: Callable[[], Any], column: tuple[str, list[Any]], method: str
) -> None:
    """As well as float32 tells them apart."""
    from zenml.steps._applying import invert

    kind, values = column
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), 5)["examples"]
    dataset = bench.run(NoSplit(), examples=examples)
    step = StandardPreprocesser(
        features=["x"],
        overwrite={"x": {"transform": written(method)}},
        split_mapping={"train_splits": ["nosplit"]},
    )
    transform = plain(bench.run(step, examples=dataset)["transform"])
    found = apply(transform, frame_of(kind, values))["x_xf"].to_numpy()
    finite = [float(value) for value in values if is_finite(value)]
    largest = max(map(abs, finite), default=0.0)
    for value, back in zip(
        values, invert(transform["columns"][0], found, exact=False), strict=True
    ):
        if is_finite(value):
            # Twice the width of the range lies between what is shifted and where it is taken back.
            allowed = Fraction(4 * largest if largest < 1e308 else largest) / 2**20
            # float32 may round it up to where no float is.
            nearest = Fraction(min(max(back, -LARGEST), LARGEST))
            assert abs(nearest - Fraction(value)) <= allowed + Fraction(2) ** -1073


NGRAMS = {"method": "ngrams", "parameters": {"ngram_range": [1, 2]}}
TFIDF = {"method": "tfidf", "parameters": {"vocab_size": 7}}
HASHING = {"method": "hash_strings", "parameters": {"hash_buckets": 7}}
PCA = {"method": "pca", "parameters": {"output_dim": 2}}
ONE_HOT = {"method": "one_hot_encode", "parameters": {"depth": 4}}


@given(
    st.one_of(
        st.tuples(
            columns(("string",)),
            st.sampled_from(
                [
                    [NGRAMS, HASHING, TFIDF, PCA],
                    [NGRAMS, "compute_and_apply_vocabulary", TFIDF],
                    ["compute_and_apply_vocabulary", ONE_HOT, PCA],
                    ["compute_and_apply_vocabulary", "scale_to_z_score"],
                ]
            ),
        ),
        st.tuples(
            columns(("integer", "float", "boolean")),
            st.sampled_from([["scale_to_0_1", ONE_HOT, PCA], ["scale_to_0_1", "scale_to_z_score"]]),
        ),
    ),
    st.integers(1, 7),
)
def test_chains_give_numbers_and_the_same_ones_in_serving(
    fresh: Callable[[], Any], case: tuple[tuple[str, list[Any]], list[Any]], size: int
) -> None:
    (kind, values), chain = case
    bench = fresh()
    examples = snapshot(bench, frame_of(kind, values), size)["examples"]
    step = StandardPreprocesser(
        features=["x"],
        overwrite={"x": {"transform": chain}},
        split_mapping={"train_splits": ["nosplit"]},
    )
    outputs = bench.run(step, examples=bench.run(NoSplit(), examples=examples))
    found = rows_of(bench, outputs["examples"], ["x_xf"])["x_xf"]
    again = apply(plain(outputs["transform"]), frame_of(kind, values))["x_xf"].to_list()
    assert repr(again) == repr(found)
    for result in found:
        numbers = result if isinstance(result, list) else [result]
        assert not any(math.isnan(number) for number in numbers)
        if isinstance(result, list):
            assert all(map(math.isfinite, numbers))
