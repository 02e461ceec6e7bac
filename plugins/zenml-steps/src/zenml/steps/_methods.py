"""Which fillings and transforms there are, what they take, and what each type defaults to.

Light: a preprocesser is validated where the pipeline is written, without any library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from zenml.core.errors import Problem

__all__ = [
    "DEFAULTS",
    "FILLINGS",
    "TRANSFORMS",
    "Method",
    "chain_of",
    "check_overwrite",
    "filling_of",
]

_REQUIRED: Final = object()


class Method(NamedTuple):
    """A filling or transform.

    Attributes:
        parameters: Name to (type, default).
        takes: Column types that it can be first for.
        needs: What must be known of the column's values in the training data: ``moments``,
            ``bins`` or ``counts``.
    """

    parameters: Mapping[str, tuple[tuple[type, ...], Any]]
    takes: frozenset[str]
    needs: str | None = None


_NUMBERS: Final = frozenset({"boolean", "integer", "float"})
_NAMES: Final = frozenset({"string", "integer", "boolean"})
_ALL: Final = _NUMBERS | _NAMES
_NUMBER: Final = (int, float)

TRANSFORMS: Final[Mapping[str, Method]] = {
    "bucketize": Method({"num_buckets": ((int,), _REQUIRED)}, _NUMBERS, "bins"),
    "compute_and_apply_vocabulary": Method({}, _NAMES, "counts"),
    "hash_strings": Method({"hash_buckets": ((int,), _REQUIRED)}, _NAMES),
    "no_transform": Method({}, _NUMBERS),
    "one_hot_encode": Method({"depth": ((int,), _REQUIRED)}, _NUMBERS),
    "scale_by_min_max": Method({"min": (_NUMBER, 0.0), "max": (_NUMBER, 1.0)}, _NUMBERS, "moments"),
    "scale_to_0_1": Method({}, _NUMBERS, "moments"),
    "scale_to_z_score": Method({}, _NUMBERS, "moments"),
}

FILLINGS: Final[Mapping[str, Method]] = {
    "custom": Method({"custom_value": ((str, int, float, bool), _REQUIRED)}, _ALL),
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

_LATER: Final = ("image_reshape", "load_binary_image", "ngrams", "pca", "tfidf")


def chain_of(written: Any) -> list[dict[str, Any]]:
    """Transforms as written, spelled out: one, or a list, each as ``_spelled_out`` takes it."""
    listed = written if isinstance(written, (list, tuple)) else [written]
    return [_spelled_out(item, TRANSFORMS) for item in listed]


def filling_of(written: Any) -> dict[str, Any]:
    """A filling as written, spelled out."""
    item = written[0] if isinstance(written, (list, tuple)) else written
    return _spelled_out(item, FILLINGS)


def _spelled_out(item: Any, known: Mapping[str, Method]) -> dict[str, Any]:
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
                remedy = _nearest(key, ("filling", "transform"))
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
    yield from _check_method(listed[0], path, "filling", FILLINGS)


def _check_chain(written: Any, path: str) -> Iterator[Problem]:
    listed = written if isinstance(written, (list, tuple)) else [written]
    if not listed:
        yield Problem(path, "is empty", "write 'no_transform'")
    for place, item in enumerate(listed):
        here = f"{path}[{place}]" if isinstance(written, (list, tuple)) else path
        problems = list(_check_method(item, here, "transform", TRANSFORMS))
        yield from problems
        if problems or not place:
            continue
        name = item if isinstance(item, str) else item["method"]
        if TRANSFORMS[name].needs:
            yield Problem(here, f"'{name}' looks at the training data, so it must come first")
        elif name == "hash_strings":
            yield Problem(here, "'hash_strings' takes text, so it must come first")
        elif "one_hot_encode" in map(_name_of, listed[:place]):
            yield Problem(here, "nothing can follow 'one_hot_encode', which gives vectors")


def _check_method(
    item: Any, path: str, what: str, known: Mapping[str, Method]
) -> Iterator[Problem]:
    if not isinstance(item, (str, Mapping)) or (
        isinstance(item, Mapping) and not isinstance(item.get("method"), str)
    ):
        yield Problem(
            path, f"expected a name or {{'method': …, 'parameters': {{…}}}}, found {item!r}"
        )
        return
    name = item if isinstance(item, str) else item["method"]
    if name in _LATER:
        yield Problem(path, f"'{name}' is not in this version", f"use one of: {', '.join(known)}")
        return
    if name not in known:
        yield Problem(path, f"no such {what}: '{name}'", _nearest(name, known))
        return
    given = {} if isinstance(item, str) else item.get("parameters") or {}
    if not isinstance(given, Mapping):
        yield Problem(f"{path}.parameters", f"expected {{name: value}}, found {given!r}")
        return
    for key in () if isinstance(item, str) else item:
        if key not in ("method", "parameters"):
            yield Problem(f"{path}.{key}", "no such key", _nearest(key, ("method", "parameters")))
    takes = known[name].parameters
    for key, value in given.items():
        if key not in takes:
            yield Problem(f"{path}.{key}", f"'{name}' has no such parameter", _nearest(key, takes))
        elif not isinstance(value, takes[key][0]) or (
            isinstance(value, bool) and bool not in takes[key][0]
        ):
            kinds = " or ".join(kind.__name__ for kind in takes[key][0])
            yield Problem(f"{path}.{key}", f"expected {kinds}, found {value!r}")
        elif takes[key][0] == (int,) and not _is_positive(value):
            yield Problem(f"{path}.{key}", f"expected at least 1, found {value}")
    for key, (_, default) in takes.items():
        if default is _REQUIRED and key not in given:
            yield Problem(f"{path}.{key}", f"'{name}' requires it, and it was not given")
    if name == "scale_by_min_max":
        low, high = given.get("min", 0.0), given.get("max", 1.0)
        if isinstance(low, _NUMBER) and isinstance(high, _NUMBER) and low >= high:
            yield Problem(path, f"min must be less than max, found {low} and {high}")


def _is_positive(value: Any) -> bool:
    return bool(value >= 1)


def _name_of(item: Any) -> Any:
    return item.get("method") if isinstance(item, Mapping) else item


def _nearest(name: str, valid: Any) -> str:
    close = get_close_matches(name, list(valid), n=1)
    return f"did you mean '{close[0]}'?" if close else f"use one of: {', '.join(valid) or 'none'}"
