"""What Dask workers call: orders and answers are JSON, so that no code is ever unpickled."""

from __future__ import annotations

import msgspec

from zenml.core import MapContext, Unit, answer_unit

__all__ = ["Order", "execute"]


class Order(msgspec.Struct, frozen=True):
    """A unit to execute."""

    unit: Unit
    context: MapContext


def execute(order: bytes) -> bytes:
    """Execute the unit of an ``Order``; returns an ``Answer`` of zenml. Raises nothing."""
    told = msgspec.json.decode(order, type=Order)
    return msgspec.json.encode(answer_unit(told.unit, told.context))
