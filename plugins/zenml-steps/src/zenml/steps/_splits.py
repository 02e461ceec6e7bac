"""Which splits are for what: the parameter ``split_mapping`` of several steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from zenml.core.errors import DataError, Problem

if TYPE_CHECKING:
    from zenml.steps.dataset import Dataset

__all__ = ["ROLES", "check_split_mapping", "splits_for"]

#: Key of a ``split_mapping`` to the splits that it names by default.
ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "train_splits": ("train",),
    "eval_splits": ("eval",),
    "test_splits": ("test",),
}


def check_split_mapping(mapping: Mapping[str, Sequence[str]] | None) -> Iterator[Problem]:
    """Everything that is wrong with a ``split_mapping``."""
    for key, names in (mapping or {}).items():
        if key not in ROLES:
            close = get_close_matches(key, list(ROLES), n=1)
            remedy = f"did you mean '{close[0]}'?" if close else f"use {', '.join(ROLES)}"
            yield Problem(f"split_mapping.{key}", "no such key", remedy)
        elif not names:
            yield Problem(f"split_mapping.{key}", "names no split")


def splits_for(
    role: str, dataset: Dataset, mapping: Mapping[str, Sequence[str]] | None
) -> list[str]:
    """The dataset's splits for a role. Raises ``DataError`` if there is none.

    Args:
        role: ``train``, ``eval`` or ``test``.
        dataset: Must have splits.
        mapping: The step's ``split_mapping``.
    """
    key = f"{role}_splits"
    if mapping and key in mapping:
        return [dataset.check_split(name) for name in mapping[key]]
    found = [name for name in ROLES[key] if name in dataset.splits]
    if not found:
        has = ", ".join(f"'{name}'" for name in dataset.splits) or "none"
        raise DataError(
            f"the dataset has no split '{role}'",
            where=f"splits: {has}",
            remedy=f"say which splits are meant: split_mapping={{'{key}': […]}}"
            if dataset.splits
            else "add a split step before this one",
        )
    return found
