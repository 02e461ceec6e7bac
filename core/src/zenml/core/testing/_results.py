"""Results of conformance suites as a file that a distribution can publish: ``conformance.json``."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

import msgspec

from zenml.core.errors import DataError
from zenml.core.plugins import API_VERSION

__all__ = ["CaseResult", "Results", "SuiteResult", "read_results", "write_results"]


class CaseResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one case ended.

    Attributes:
        name: The case.
        tier: required or optional.
        result: ``lacking`` means that it failed as expected, for want of a capability.
        reason: Why it did not pass.
    """

    name: str
    tier: Literal["required", "optional"]
    result: Literal["passed", "failed", "skipped", "lacking"]
    reason: str = ""


class SuiteResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one suite ended, for one configuration of one backend or store.

    Attributes:
        suite: The test class, which tells configurations apart.
        kit: The suite of ``zenml.core.testing`` that it is derived from.
        kind: orchestrator, processing, training or artifact store.
        type: The registered type, or a scheme.
        distribution: Which distribution offers it.
        version: That distribution's version.
        capabilities: What it declares, sorted.
        cases: In the order of the suite.
    """

    suite: str
    kit: str
    kind: str
    type: str
    distribution: str = ""
    version: str = ""
    capabilities: tuple[str, ...] = ()
    cases: tuple[CaseResult, ...] = ()


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The file.

    Attributes:
        api: Plugin API version that the suites test.
        core: Version of zenml-core that they came from.
        suites: Sorted by kind, type and suite.
    """

    api: int = API_VERSION
    core: str
    suites: tuple[SuiteResult, ...]


class _Head(msgspec.Struct):
    api: int


#: The worst result of a case counts: it may be parametrised or repeated, and has a tear-down.
_FROM_BAD_TO_GOOD = ("failed", "lacking", "skipped", "passed")


def write_results(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write what the pytest plugin has noted of each case. Replaces the file as a whole.

    Args:
        path: Of the file.
        rows: One or more for each case, of which the worst counts. What ``CaseResult`` has, and
            ``number`` (the case's place among all), ``node`` (the suite as pytest calls it),
            ``suite``, ``kit``, ``kind`` and ``subject`` (a mapping, or None where it is unknown).
    """
    from importlib import metadata

    suites: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["number"]):
        suites.setdefault(row["node"], []).append(row)
    names = Counter(members[0]["suite"] for members in suites.values())
    made = []
    for node, members in suites.items():
        name = members[0]["suite"]
        if names[name] > 1:
            name = f"{PurePath(node.partition('::')[0]).stem}.{name}"
        made.append(_suite(name, members))
    made.sort(key=lambda suite: (suite.kind, suite.type, suite.suite))
    results = Results(core=metadata.version("zenml-core"), suites=tuple(made))
    text = json.dumps(msgspec.to_builtins(results), indent=1, ensure_ascii=False)
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    try:
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _suite(name: str, rows: Sequence[Mapping[str, Any]]) -> SuiteResult:
    known = [row["subject"] for row in rows if row["subject"]]
    subject = known[0] if known else {"kind": rows[0]["kind"], "type": "unknown"}
    cases: dict[str, CaseResult] = {}
    for row in rows:
        found = msgspec.convert(row, CaseResult)
        kept = cases.setdefault(found.name, found)
        if _FROM_BAD_TO_GOOD.index(found.result) < _FROM_BAD_TO_GOOD.index(kept.result):
            cases[found.name] = found
    told = {"suite": name, "kit": rows[0]["kit"], "cases": tuple(cases.values())}
    return msgspec.convert({**subject, **told}, SuiteResult)


def read_results(path: Path) -> Sequence[SuiteResult]:
    """The suites in a file. Raises ``DataError`` if it is none of ours."""
    remedy = "make it anew with pytest --conformance-json"
    try:
        content = path.read_bytes()
        api = msgspec.json.decode(content, type=_Head).api
        if api == API_VERSION:
            return msgspec.json.decode(content, type=Results).suites
    except OSError as error:
        raise DataError(
            f"it cannot be read: {error.strerror or error}", where=str(path), remedy=remedy
        ) from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(
            f"it holds no conformance results: {error}", where=str(path), remedy=remedy
        ) from error
    if api > API_VERSION:
        remedy = "pip install --upgrade zenml-core"
    raise DataError(
        f"its results are about plugin API {api}; this zenml-core offers {API_VERSION}",
        where=str(path),
        remedy=remedy,
    )
