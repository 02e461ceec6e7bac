"""Deliberately broken backends and stores, each with the case that has to catch it.

A proof is a suite for something that is sound but for one defect. Proofs are ordinary suites; they
are run in a process of their own, because they fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from zenml.core.testing import Conformance, case_names

__all__ = ["Proof", "suites_of"]


class Proof(NamedTuple):
    """One row of the table.

    Attributes:
        case: The case that has to fail.
        broken: The broken class; its docstring says what is wrong with it.
        says: A part of what the failing case says, so that it fails for the right reason.
    """

    case: str
    broken: Any
    says: str


def suites_of(base: type[Conformance], table: list[Proof]) -> Mapping[str, type[Conformance]]:
    """A suite for each row: ``base`` with its class attribute ``make`` being the broken class."""
    unknown = {proof.case for proof in table} - set(case_names(base))
    assert not unknown, f"{base.__name__} has no such cases: {unknown}"
    return {
        f"Test{number:02d}{proof.broken.__name__}": type(
            f"Test{number:02d}{proof.broken.__name__}",
            (base,),
            {"make": staticmethod(proof.broken), "__doc__": proof.broken.__doc__},
        )
        for number, proof in enumerate(table)
    }
