"""Which fillings and transforms there are, what they take, and what each type defaults to.

Light: a preprocesser is validated where the pipeline is written, without any library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from zenml.core.errors import Problem

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
        gives: What it is given, to what it makes of that: ``number``, ``text``, ``terms`` (several
            texts in a row), ``places`` (a number for each term) or ``vector``.
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

#: Type to the default filling and transform.
DEFAULTS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
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

#: They take the bytes of an image, and no column holds any.
_LATER: Final = ("image_reshape", "load_binary_image")
#: Principal components take time with the cube of this.
_WIDEST: Final = 256
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
    width: Any = None
    before = ""
    for place, item in enumerate(listed):
        here = f"{path}[{place}]" if isinstance(written, (list, tuple)) else path
        problems = list(check_method(item, here, "transform", TRANSFORMS))
        yield from problems
        if problems:
            return
        step = spelled_out(item, TRANSFORMS)
        name, gives = step["method"], TRANSFORMS[step["method"]].gives
        if given is None:
            given = "text" if "text" in gives else "number"
            remedy = "put one_hot_encode or tfidf before it"
            problem = f"'{name}' takes a {_either(gives)}, and a column holds none"
        else:
            remedy = None
            problem = f"'{name}' takes a {_either(gives)}, and '{before}' gives {_GIVEN[given]}"
        if given not in gives:
            yield Problem(here, problem, remedy)
            return
        if name == "pca":
            yield from _check_widths(here, width, step["parameters"]["output_dim"], before)
        given, before, width = gives[given], name, width_of(step["method"], step["parameters"])
    if given in ("terms", "places"):
        yield Problem(
            path,
            f"ends with '{before}', which gives {_GIVEN[given]}, as many as a text has",
            "put tfidf after it",
        )


_GIVEN: Final = {
    "number": "a number",
    "places": "numbers of terms",
    "terms": "terms",
    "text": "a text",
    "vector": "a vector",
}


def _either(gives: Mapping[str, str]) -> str:
    return " or ".join(kind for kind in gives if kind in ("number", "text", "vector"))


def _check_widths(path: str, given: int, wanted: int, before: str) -> Iterator[Problem]:
    if given > _WIDEST:
        yield Problem(
            path,
            f"'pca' takes vectors of at most {_WIDEST}, and '{before}' gives {given}",
            "make them shorter; for text, put hash_strings before tfidf",
        )
    if wanted > given:
        yield Problem(f"{path}.output_dim", f"expected at most {given}, found {wanted}")


def width_of(method: str, parameters: Mapping[str, Any]) -> int | None:
    """How wide a transform's vectors are; None if it gives none."""
    return parameters[_WIDTHS[method]] if method in _WIDTHS else None


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
    if name in _LATER:
        yield Problem(
            path,
            f"'{name}' takes images, which no datasource has",
            f"use one of: {', '.join(known)}",
        )
        return
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
        elif takes[key][0] == (int,) and not _is_positive(value):
            yield Problem(f"{path}.{key}", f"expected at least 1, found {value}")
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
    elif name == "pca" and given.get("dtype", "float32") not in ("float32", "float64"):
        yield Problem(f"{path}.dtype", f"expected 'float32' or 'float64', found {given['dtype']!r}")


def _is_positive(value: Any) -> bool:
    return bool(value >= 1)


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
