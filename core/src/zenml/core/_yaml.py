"""YAML 1.2 in and out: ``no`` is a word, ``1e-3`` is a number, and every error has a line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

import yaml

from zenml.core.errors import ConfigurationError, Problem

__all__ = ["dump_yaml", "dump_yaml_documents", "load_yaml"]

_WRITTEN: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 100}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The core schema of YAML 1.2, and duplicate keys are errors.

    YAML 1.1, PyYAML's own, reads ``no`` as False, ``1e-3`` as text and ``12:30`` as 750; a pipeline
    with a column named ``on`` deserves better. Of YAML 1.1 only the merge key ``<<`` is kept.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}
    # Plain data only: no dates, sets or bytes, however they are tagged.
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "str", "seq", "map")
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        # Whole values at once: only so does PyYAML refuse an anchor that contains itself.
        self.deep_construct = True

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                wrong = f"{key!r} cannot be a key"
            elif key in seen:
                wrong = f"the key {key!r} stands here twice"
            else:
                seen.add(key)
                continue
            raise yaml.constructor.ConstructorError(None, None, wrong, key_node.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """No anchors: a plan is read by people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _resolve(tag: str, pattern: str, first: str) -> None:
    # The dumper learns the loader's rules on top of YAML 1.1's, so that text which either version
    # would read as something else is quoted.
    for cls in (_Loader, _Dumper):
        cls.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789")
_resolve("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789.")
_resolve("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+.")
_resolve("null", r"^(?:~|null|Null|NULL|)$", "~nN\0")
_resolve("merge", r"^(?:<<)$", "<")


# Some readers of YAML 1.1 take these for yes and no, and PyYAML is none of them.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^[yYnN]$"), list("yYnN"))


def _float(loader: Any, node: Any) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _word(loader: Any, node: Any) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
# As a key it was merged before; anywhere else it is a word.
_Loader.add_constructor("tag:yaml.org,2002:merge", _word)


def _represent_float(dumper: Any, value: float) -> Any:
    # repr() round-trips; PyYAML's own spelling of 1e-05 is read as text by YAML 1.1 readers.
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return dumper.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


_Dumper.add_representer(float, _represent_float)


def load_yaml(text: str, name: str) -> Any:
    """Read one YAML document of plain data. Raises ``ConfigurationError`` with the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, extended
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(f"{name} is not valid YAML", [Problem(place, what)]) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in …
        raise ConfigurationError(f"{name} cannot be read", [Problem("", str(error))]) from error


def dump_yaml(value: Any) -> str:
    """Write plain data as YAML, in the order that it is in."""
    return str(yaml.dump(value, Dumper=_Dumper, **_WRITTEN))


def dump_yaml_documents(values: Iterable[Any]) -> str:
    """Write plain data as a stream of YAML documents."""
    return str(yaml.dump_all(values, Dumper=_Dumper, explicit_start=True, **_WRITTEN))
