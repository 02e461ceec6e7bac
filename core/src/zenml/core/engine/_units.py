"""Executes one unit of work: the same function for every processing backend, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zenml.core._canonical import canonical, check_plain, from_json
from zenml.core.contracts._store import ArtifactStore
from zenml.core.contracts._units import MapContext, Unit
from zenml.core.engine._files import StoreFiles
from zenml.core.engine._shipped import code_in_place
from zenml.core.errors import ObjectNotFoundError, StoreError, ZenMLError
from zenml.core.sources import load
from zenml.core.stores._open import open_store

__all__ = ["execute_unit", "finished_units"]


def execute_unit(unit: Unit, context: MapContext) -> Any:
    """Execute a unit and remember its result; returns the result, plain data.

    Safe to call any number of times, in any number of processes: a unit is named by its content,
    the first result that is remembered is everybody's result.

    Code that was shipped is unpacked once on each machine. While a unit runs, its code is found
    before any other, and no other version of it is; units of different versions in one process wait
    for each other. A unit finds its files beside its modules (``__file__``): the present folder is
    the worker's own.

    Raises:
        ConfigurationError: code was shipped, and the distributions here are not those it needs.
        ZenMLError: the result is not plain data, or the store failed.
        Exception: whatever the unit's function raised.
    """
    store = open_store(context.store)
    with code_in_place(context, store) as roots:
        function = load(unit.function, roots)
        with StoreFiles(store) as files:
            result = function(unit.payload, files)
    unfit = check_plain(result, "its result")
    if unfit:
        raise ZenMLError(
            f"a unit of work cannot return that: {unfit}",
            where=f"{unit.function} in step '{context.step}'",
            remedy="return plain data, and put everything else with files.put()",
        )
    key = f"{context.scope}/{unit.digest}.json"
    data = canonical({"result": result})
    if not store.write_if_absent(key, data):
        try:
            return from_json(store.read(key))["result"]
        except (ValueError, KeyError, TypeError, ObjectNotFoundError):
            store.write(key, data)  # unreadable is the same as absent
    # As it reads back: a tuple is a list wherever and whenever the unit was executed.
    return from_json(data)["result"]


def finished_units(store: ArtifactStore, scope: str, digests: Iterable[str]) -> dict[str, Any]:
    """Results, by unit digest, of those units that were finished before."""
    wanted = set(digests)
    results: dict[str, Any] = {}
    for found in store.list(f"{scope}/"):
        digest = found.key.rpartition("/")[2].removesuffix(".json")
        if digest in wanted:
            try:
                results[digest] = from_json(store.read(found.key))["result"]
            except (ValueError, KeyError, TypeError, StoreError):
                continue  # unreadable is the same as unfinished: the unit is done again
    return results
