"""Which fillings and transforms there are, what they take, and what each type defaults to.

Light: a preprocesser is validated where the pipeline is written, without any library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from zenml.core.errors import Problem
from zenml.steps._unicode import HALF, is_text

__all__ = [
    "DEFAULTS",
    "FILLINGS",
    "REQUIRED",
    "TRANSFORMS",
    "Method",
    "chain_of",
    "check_method",
    "check_overwrite",
    "filling_of",
    "fits",
    "nearest",
    "nearest_column",
    "spelled_out",
    "width_of",
]

#: The default of a parameter that has none.
REQUIRED: Final = object()


class Method(NamedTuple):
    """A filling or transform.

    Attributes:
        parameters: Name to (type, default).
        takes: Column types that it can be first for.
        needs: What must be known of the values that it is given, in the training data:
            ``moments``, ``bins``, ``counts``, ``documents`` or ``products``.
        gives: What it is given, to what it makes of that: ``bytes``, ``image`` (of any size),
            ``number``, ``text``, ``terms`` (several texts in a row), ``places`` (a number for each
            term) or ``vector``.
    """

    parameters: Mapping[str, tuple[tuple[type, ...], Any]]
    takes: frozenset[str]
    needs: str | None = None
    gives: Mapping[str, str] = {}


_NUMBERS: Final = frozenset({"boolean", "integer", "float"})
_NAMES: Final = frozenset({"string", "integer", "boolean"})
_TEXTS: Final = frozenset({"string"})
_ALL: Final = _NUMBERS | _NAMES
_NUMBER: Final = (int, float)

_TO_NUMBER: Final = {"number": "number"}
_TO_VECTOR: Final = {"text": "vector", "terms": "vector", "places": "vector"}
_TO_PLACE: Final = {"text": "number", "terms": "places"}

TRANSFORMS: Final[Mapping[str, Method]] = {
    "bucketize": Method({"num_buckets": ((int,), REQUIRED)}, _NUMBERS, "bins", _TO_NUMBER),
    "compute_and_apply_vocabulary": Method({}, _NAMES, "counts", _TO_PLACE),
    "hash_strings": Method({"hash_buckets": ((int,), REQUIRED)}, _NAMES, None, _TO_PLACE),
    "image_reshape": Method(
        {"height": ((int,), REQUIRED), "width": ((int,), REQUIRED)},
        frozenset(),
        None,
        {"image": "vector"},
    ),
    "load_binary_image": Method(
        {"height": ((int,), None), "width": ((int,), None), "channels": ((int,), 3)},
        frozenset({"binary"}),
        None,
        {"bytes": "image"},  # or a vector, if it is told the size
    ),
    "ngrams": Method(
        {"ngram_range": ((list, tuple), REQUIRED), "separator": ((str,), " ")},
        _TEXTS,
        None,
        {"text": "terms"},
    ),
    "no_transform": Method({}, _NUMBERS, None, _TO_NUMBER),
    "one_hot_encode": Method({"depth": ((int,), REQUIRED)}, _NUMBERS, None, {"number": "vector"}),
    "pca": Method(
        {"output_dim": ((int,), REQUIRED), "dtype": ((str,), "float32")},
        frozenset(),
        "products",
        {"vector": "vector"},
    ),
    "scale_by_min_max": Method(
        {"min": (_NUMBER, 0.0), "max": (_NUMBER, 1.0)}, _NUMBERS, "moments", _TO_NUMBER
    ),
    "scale_to_0_1": Method({}, _NUMBERS, "moments", _TO_NUMBER),
    "scale_to_z_score": Method({}, _NUMBERS, "moments", _TO_NUMBER),
    "tfidf": Method({"vocab_size": ((int,), REQUIRED)}, _TEXTS, "documents", _TO_VECTOR),
}

FILLINGS: Final[Mapping[str, Method]] = {
    "custom": Method({"custom_value": ((str, int, float, bool), REQUIRED)}, _ALL),
    "max": Method({}, _NUMBERS, "moments"),
    "mean": Method({}, _NUMBERS, "moments"),
    "min": Method({}, _NUMBERS, "moments"),
}

#: Type to the default filling and transform; None where it has none.
DEFAULTS: Final[Mapping[str, tuple[dict[str, Any] | None, str | None]]] = {
    "binary": (None, None),
    "boolean": ({"method": "max"}, "no_transform"),
    "float": ({"method": "max"}, "scale_to_z_score"),
    "integer": ({"method": "max"}, "scale_to_z_score"),
    "string": (
        {"method": "custom", "parameters": {"custom_value": ""}},
        "compute_and_apply_vocabulary",
    ),
}

#: Type to Python's types of its values.
_VALUES: Final[Mapping[str, tuple[type, ...]]] = {
    "boolean": (bool,),
    "float": (int, float),
    "integer": (int,),
    "string": (str,),
}

#: float32 counts so far without gaps.
_MOST: Final = 1 << 24
#: The largest number of float32, which results are of.
_LARGEST: Final = (2.0 - 2.0**-23) * 2.0**127
#: Principal components take time with the cube of this.
_WIDEST: Final = 256
_CHANNELS: Final = (1, 3, 4)
#: The parameter that says how wide a transform's vectors are.
_WIDTHS: Final = {"one_hot_encode": "depth", "pca": "output_dim", "tfidf": "vocab_size"}


def chain_of(written: Any) -> list[dict[str, Any]]:
    """Transforms as written, spelled out: one, or a list, each as ``spelled_out`` takes it."""
    listed = written if isinstance(written, (list, tuple)) else [written]
    return [spelled_out(item, TRANSFORMS) for item in listed]


def filling_of(written: Any) -> dict[str, Any]:
    """A filling as written, spelled out."""
    item = written[0] if isinstance(written, (list, tuple)) else written
    return spelled_out(item, FILLINGS)


def spelled_out(item: Any, known: Mapping[str, Method]) -> dict[str, Any]:
    """A name or ``{"method": name, "parameters": {…}}``, with every parameter."""
    name = item if isinstance(item, str) else item["method"]
    given = {} if isinstance(item, str) else item.get("parameters") or {}
    defaults = {key: default for key, (_, default) in known[name].parameters.items()}
    return {"method": name, "parameters": {**defaults, **given}}


def check_overwrite(overwrite: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that is wrong with an ``overwrite``."""
    for column, what in overwrite.items():
        path = f"overwrite.{column}"
        if not isinstance(what, Mapping):
            yield Problem(
                path,
                f"expected {{'filling': …, 'transform': …}}, found {what!r}",
                f"{{'transform': {what!r}}}?" if isinstance(what, str) else None,
            )
            continue
        for key in what:
            if key not in ("filling", "transform"):
                remedy = nearest(key, ("filling", "transform"))
                yield Problem(f"{path}.{key}", "no such key", remedy)
        if "filling" in what:
            yield from _check_filling(what["filling"], f"{path}.filling")
        if "transform" in what:
            yield from _check_chain(what["transform"], f"{path}.transform")


def _check_filling(written: Any, path: str) -> Iterator[Problem]:
    listed = written if isinstance(written, (list, tuple)) else [written]
    if len(listed) != 1:
        yield Problem(path, f"a column is filled once; found {len(listed)} fillings")
        return
    yield from check_method(listed[0], path, "filling", FILLINGS)


def _check_chain(written: Any, path: str) -> Iterator[Problem]:
    listed = written if isinstance(written, (list, tuple)) else [written]
    if not listed:
        yield Problem(path, "is empty", "write 'no_transform'")
    given: str | None = None
    before = ""
    chain: list[dict[str, Any]] = []
    for place, item in enumerate(listed):
        here = f"{path}[{place}]" if isinstance(written, (list, tuple)) else path
        problems = list(check_method(item, here, "transform", TRANSFORMS))
        yield from problems
        if problems:
            return
        step = spelled_out(item, TRANSFORMS)
        name, gives = step["method"], TRANSFORMS[step["method"]].gives
        if given is None:
            given = next((kind for kind in ("bytes", "text") if kind in gives), "number")
            remedy = "put one_hot_encode or tfidf before it"
            if name == "image_reshape":
                remedy = "put load_binary_image before it"
            problem = f"'{name}' takes {_either(gives)}, and a column holds none"
        else:
            remedy = None
            if name == "image_reshape" and before == "load_binary_image":
                remedy = "leave height and width of load_binary_image out"
            problem = f"'{name}' takes {_either(gives)}, and '{before}' gives {_GIVEN[given]}"
        if given not in gives:
            yield Problem(here, problem, remedy)
            return
        if name == "pca":
            width: Any = width_of(chain)
            yield from _check_widths(here, width, step["parameters"]["output_dim"], before)
        chain.append({"method": name, **step["parameters"]})
        given, before = "vector" if width_of(chain) else gives[given], name
    if given == "image":
        yield Problem(
            path,
            f"ends with '{before}', which gives images of any size",
            "put image_reshape after it, or give it the height and width that all images have",
        )
    if given in ("terms", "places"):
        yield Problem(
            path,
            f"ends with '{before}', which gives {_GIVEN[given]}, as many as a text has",
            "put tfidf after it",
        )


_GIVEN: Final = {
    "bytes": "bytes",
    "image": "an image",
    "number": "a number",
    "places": "numbers of terms",
    "terms": "terms",
    "text": "a text",
    "vector": "a vector",
}


def _either(gives: Mapping[str, str]) -> str:
    return " or ".join(_GIVEN[kind] for kind in gives if kind not in ("places", "terms"))


def _check_widths(path: str, given: int, wanted: int, before: str) -> Iterator[Problem]:
    if given > _WIDEST:
        yield Problem(
            path,
            f"'pca' takes vectors of at most {_WIDEST}, and '{before}' gives {given}",
            "make them shorter; for text, put hash_strings before tfidf",
        )
    if wanted > given:
        yield Problem(f"{path}.output_dim", f"expected at most {given}, found {wanted}")


def width_of(chain: Sequence[Mapping[str, Any]]) -> int | None:
    """How wide the vectors are that transforms give, one after another; None if they give none."""
    last = chain[-1]
    method = last["method"]
    if method in ("image_reshape", "load_binary_image"):
        if last["height"] is None:
            return None
        pixels: int = last["height"] * last["width"]
        return pixels * int(chain[0]["channels"])
    return last[_WIDTHS[method]] if method in _WIDTHS else None


def check_method(item: Any, path: str, what: str, known: Mapping[str, Method]) -> Iterator[Problem]:
    """Everything that is wrong with one filling or transform as it is written."""
    if not isinstance(item, (str, Mapping)) or (
        isinstance(item, Mapping) and not isinstance(item.get("method"), str)
    ):
        yield Problem(
            path, f"expected a name or {{'method': …, 'parameters': {{…}}}}, found {item!r}"
        )
        return
    name = item if isinstance(item, str) else item["method"]
    if name not in known:
        yield Problem(path, f"no such {what}: '{name}'", nearest(name, known))
        return
    given = {} if isinstance(item, str) else item.get("parameters") or {}
    if not isinstance(given, Mapping):
        yield Problem(f"{path}.parameters", f"expected {{name: value}}, found {given!r}")
        return
    for key in () if isinstance(item, str) else item:
        if key not in ("method", "parameters"):
            yield Problem(f"{path}.{key}", "no such key", nearest(key, ("method", "parameters")))
    takes = known[name].parameters
    for key, value in given.items():
        if key not in takes:
            yield Problem(f"{path}.{key}", f"'{name}' has no such parameter", nearest(key, takes))
        elif not isinstance(value, takes[key][0]) or (
            isinstance(value, bool) and bool not in takes[key][0]
        ):
            kinds = " or ".join(kind.__name__ for kind in takes[key][0])
            yield Problem(f"{path}.{key}", f"expected {kinds}, found {value!r}")
        elif (wrong := _unfit(name, takes[key][0], value)) is not None:
            yield Problem(f"{path}.{key}", wrong)
    for key, (_, default) in takes.items():
        if default is REQUIRED and key not in given:
            yield Problem(f"{path}.{key}", f"'{name}' requires it, and it was not given")
    if name == "scale_by_min_max":
        low, high = given.get("min", 0.0), given.get("max", 1.0)
        if isinstance(low, _NUMBER) and isinstance(high, _NUMBER) and low >= high:
            yield Problem(path, f"min must be less than max, found {low} and {high}")
    elif name == "ngrams" and isinstance(given.get("ngram_range"), (list, tuple)):
        lengths = list(given["ngram_range"])
        if [type(length) for length in lengths] != [int, int] or not 1 <= lengths[0] <= lengths[1]:
            yield Problem(
                f"{path}.ngram_range",
                f"expected the shortest and the longest length, such as [1, 2], found {lengths}",
            )
    elif name == "load_binary_image":
        if ("height" in given) != ("width" in given):
            yield Problem(path, "expected both height and width, or neither")
        if given.get("channels", 3) not in _CHANNELS:
            remedy = "1 is grey, 3 red, green and blue, 4 these and opacity"
            found = f"expected 1, 3 or 4, found {given['channels']!r}"
            yield Problem(f"{path}.channels", found, remedy)
    elif name == "pca" and given.get("dtype", "float32") not in ("float32", "float64"):
        yield Problem(f"{path}.dtype", f"expected 'float32' or 'float64', found {given['dtype']!r}")


def _unfit(method: str, kinds: tuple[type, ...], value: Any) -> str | None:
    """What is wrong with the value of a parameter that is of the right type."""
    if kinds == (int,):
        if value < 1:
            return f"expected at least 1, found {value}"
        return f"expected at most {_MOST:,}" if value > _MOST else None
    if isinstance(value, str):
        return None if is_text(value) else HALF
    largest = sys.float_info.max if method == "custom" else _LARGEST
    if isinstance(value, (int, float)) and not abs(value) <= largest:
        return f"expected a number, of at most {largest:.3g}"
    return None


def fits(value: Any, kind: str) -> bool:
    """Whether a column of that type can hold a filling's value."""
    return isinstance(value, _VALUES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def nearest_column(name: str, columns: Sequence[str]) -> str:
    """A remedy: the column that was probably meant, or those that the data has."""
    close = get_close_matches(name, columns, n=1)
    return f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(columns[:20])}"


def nearest(name: str, valid: Any) -> str:
    """A remedy: the name that was probably meant, or all that there are."""
    close = get_close_matches(name, list(valid), n=1)
    return f"did you mean '{close[0]}'?" if close else f"use one of: {', '.join(valid) or 'none'}"
