"""Which resamplings and fillings of time series there are, and what each type defaults to.

Light: a sequencer is validated where the pipeline is written, without any library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from zenml.core.errors import Problem
from zenml.steps._methods import REQUIRED, Method, check_method, nearest, spelled_out

__all__ = [
    "DEFAULTS",
    "FILLINGS",
    "RESAMPLINGS",
    "check_frequency",
    "check_overwrite",
    "filling_of",
    "microseconds",
    "resampling_of",
]

_NUMBERS: Final = frozenset({"boolean", "integer", "float"})
_ALL: Final = _NUMBERS | {"string"}
_CONDITIONS: Final = ("equal", "greater", "greater_or_equal", "includes", "less", "less_or_equal")

RESAMPLINGS: Final[Mapping[str, Method]] = {
    "mean": Method({}, _NUMBERS),
    "median": Method({}, _NUMBERS),
    "mode": Method({}, _ALL),
    "threshold": Method(
        {
            "cond": ((str,), REQUIRED),
            "c_value": ((str, int, float, bool), REQUIRED),
            "threshold": ((int, float), REQUIRED),
            "set_value": ((str, int, float), REQUIRED),
        },
        _ALL,
    ),
}

#: What they take is the type that a column has after resampling.
FILLINGS: Final[Mapping[str, Method]] = {
    "backwards": Method({}, _ALL),
    "custom": Method({"custom_value": ((str, int, float, bool), REQUIRED)}, _ALL),
    "forward": Method({}, _ALL),
    "max": Method({}, _NUMBERS),
    "mean": Method({}, frozenset({"integer", "float"})),
    "min": Method({}, _NUMBERS),
}

#: Type to the default resampling, and to the default filling of what that gives.
DEFAULTS: Final[Mapping[str, tuple[str, Any]]] = {
    "boolean": ("mode", "max"),
    "float": ("mean", "max"),
    "integer": ("mean", "max"),
    "string": ("mode", {"method": "custom", "parameters": {"custom_value": ""}}),
}

_SECOND: Final = 1_000_000
_UNITS: Final[Mapping[str, int]] = {
    "D": 86_400 * _SECOND,
    "h": 3_600 * _SECOND,
    "H": 3_600 * _SECOND,
    "min": 60 * _SECOND,
    "T": 60 * _SECOND,
    "s": _SECOND,
    "S": _SECOND,
    "ms": 1_000,
    "L": 1_000,
}


def microseconds(frequency: str) -> int | None:
    """The length of a frequency such as ``1D`` or ``30min``; None if it is none."""
    found = re.fullmatch(r"([0-9]*) ?([A-Za-z]+)", frequency)
    if found is None or found[2] not in _UNITS:
        return None
    return int(found[1] or "1") * _UNITS[found[2]] or None


def check_frequency(frequency: str) -> Iterator[Problem]:
    """What is wrong with a frequency."""
    if microseconds(frequency) is None:
        yield Problem(
            "resampling_freq",
            f"expected a number and a unit of fixed length, found {frequency!r}",
            "the units are D, h, min, s and ms: '1D', '12h', '30min'",
        )


def resampling_of(written: Any) -> dict[str, Any]:
    """A resampling as written, spelled out."""
    return spelled_out(_single(written), RESAMPLINGS)


def filling_of(written: Any) -> dict[str, Any]:
    """A filling as written, spelled out."""
    return spelled_out(_single(written), FILLINGS)


def _single(written: Any) -> Any:
    return written[0] if isinstance(written, (list, tuple)) else written


def check_overwrite(overwrite: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that is wrong with an ``overwrite``."""
    known = {"resampling": RESAMPLINGS, "filling": FILLINGS}
    for column, what in overwrite.items():
        path = f"overwrite.{column}"
        if not isinstance(what, Mapping):
            yield Problem(path, f"expected {{'resampling': …, 'filling': …}}, found {what!r}")
            continue
        for key, written in what.items():
            here = f"{path}.{key}"
            if key not in known:
                yield Problem(here, "no such key", nearest(key, known))
            elif isinstance(written, (list, tuple)) and len(written) != 1:
                yield Problem(here, f"expected one, found {len(written)}")
            else:
                problems = list(check_method(_single(written), here, key, known[key]))
                yield from problems
                if not problems and key == "resampling":
                    yield from _check_threshold(resampling_of(written), here)


def _check_threshold(resampling: Mapping[str, Any], path: str) -> Iterator[Problem]:
    if resampling["method"] != "threshold":
        return
    condition, share = resampling["parameters"]["cond"], resampling["parameters"]["threshold"]
    if condition not in _CONDITIONS:
        yield Problem(
            f"{path}.cond", f"no such condition: '{condition}'", nearest(condition, _CONDITIONS)
        )
    if not 0 <= share < 1:
        yield Problem(f"{path}.threshold", f"expected a share from 0 to below 1, found {share}")
