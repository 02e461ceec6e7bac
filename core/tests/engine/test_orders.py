"""Orders: what workers are told, what they leave, and how a client reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Files, MapContext, PlacedOrder, Unit, WorkOrder, open_store
from zenml.core.errors import DataError, IntegrityError, UnitFailedError

#: What units were given, once for each time that one was executed.
executed: list[Any] = []


def double(payload: Any, files: Files) -> Any:
    executed.append(payload)
    return payload * 2


def wrong(payload: Any, files: Files) -> Any:
    raise DataError("a row is wrong", where="rows.csv:3", remedy="mend it")


def odd(payload: Any, files: Files) -> Any:
    raise ValueError(f"{payload} is odd")


def units(count: int, name: str = "double") -> list[Unit]:
    return [Unit(f"{__name__}:{name}", number, "code") for number in range(count)]


@pytest.fixture
def context(tmp_path: Path) -> MapContext:
    executed.clear()
    store = open_store((tmp_path / "store").as_uri())
    store.prepare()
    return MapContext(store=store.url, scope=f"units/{'a' * 64}", step="Größe!", run="20260102-run")


class TestWhatWorkersAreTold:
    @pytest.fixture
    def order(self, context: MapContext) -> WorkOrder:
        groups = [units(5)[:2], units(5)[2:4], units(5)[4:]]
        return WorkOrder.put(open_store(context.store), context, groups)

    def test_an_index_gets_its_own_units(self, order: WorkOrder, context: MapContext) -> None:
        told = WorkOrder.open(context.store, order.key, order.digest)
        assert told.read(1) == (context, units(5)[2:4])
        assert told.read(2) == (context, units(5)[4:])

    def test_it_is_json_for_whoever_collects_garbage(self, order: WorkOrder) -> None:
        json.loads(order.store.read(order.key))
        assert order.groups() == [units(5)[:2], units(5)[2:4], units(5)[4:]]

    def test_the_same_units_are_the_same_order(self, order: WorkOrder, context: MapContext) -> None:
        again = WorkOrder.put(order.store, context, order.groups())
        assert again.digest == order.digest

    @pytest.mark.parametrize("place", [5, -10])
    def test_another_one_is_refused(self, order: WorkOrder, place: int) -> None:
        data = bytearray(order.store.read(order.key))
        data[place] ^= 1
        order.store.write(order.key, bytes(data))
        with pytest.raises(IntegrityError, match="not the one that was given"):
            order.execute(2)

    def test_an_index_that_it_has_not_is_refused(self, order: WorkOrder) -> None:
        with pytest.raises(IntegrityError, match="no index 3"):
            order.read(3)


class TestWhatTheyLeave:
    def place(self, context: MapContext, wanted: list[Unit], size: int = 2) -> PlacedOrder:
        return PlacedOrder(open_store(context.store), context, wanted, size)

    def test_results_come_once_under_the_numbers_of_their_units(self, context: MapContext) -> None:
        placed = self.place(context, units(5))
        assert placed.count == 3
        assert [*placed.results()] == []
        assert placed.order.execute(2) is None
        assert [*placed.results()] == [(4, 8)]
        assert placed.order.execute(0) is None
        assert not placed.is_done
        assert placed.order.execute(1) is None
        assert [*placed.results()] == [(0, 0), (1, 2), (2, 4), (3, 6)]
        assert placed.is_done
        assert [*placed.results()] == []

    def test_equal_units_are_executed_once(self, context: MapContext) -> None:
        placed = self.place(context, [*units(2), *units(3)])
        for index in range(placed.count):
            placed.order.execute(index)
        assert dict(placed.results()) == {0: 0, 1: 2, 2: 0, 3: 2, 4: 4}
        assert executed == [0, 1, 2]

    def test_an_index_that_is_done_again_leaves_the_same(self, context: MapContext) -> None:
        placed = self.place(context, units(2))
        placed.order.execute(0)
        placed.order.execute(0)
        assert executed == [0, 1]
        assert dict(placed.results()) == {0: 0, 1: 2}

    @pytest.mark.parametrize(("name", "kind"), [("wrong", DataError), ("odd", UnitFailedError)])
    def test_what_a_unit_raises_is_raised_after_the_results(
        self, context: MapContext, name: str, kind: type[Exception]
    ) -> None:
        placed = self.place(context, [*units(2), *units(3, name)])
        answer = placed.order.execute(1)
        assert answer is not None
        assert isinstance(answer.exception(), kind)
        placed.order.execute(0)
        results = placed.results()
        assert [next(results), next(results)] == [(0, 0), (1, 2)]
        with pytest.raises(kind, match=r"row is wrong|0 is odd"):
            next(results)

    def test_what_was_raised_before_is_forgotten_when_it_is_tried_again(
        self, context: MapContext
    ) -> None:
        placed = self.place(context, units(1, "odd"))
        placed.order.execute(0)
        assert [*self.place(context, units(1, "odd")).results()] == []

    def test_another_run_comes_to_the_same_order(self, context: MapContext) -> None:
        first = self.place(context, units(3))
        first.order.execute(0)
        again = self.place(MapContext(**{**_told(context), "run": "another"}), units(3))
        assert again.order.digest == first.order.digest
        assert dict(again.results()) == {0: 0, 1: 2}

    def test_half_a_result_is_none(self, context: MapContext) -> None:
        placed = self.place(context, units(2))
        key = placed.order.key.replace("order.json", "0.json")
        placed.order.store.write(key, b"[0,")
        assert [*placed.results()] == []
        placed.order.execute(0)
        assert dict(placed.results()) == {0: 0, 1: 2}


def _told(context: MapContext) -> dict[str, Any]:
    return {name: getattr(context, name) for name in context.__struct_fields__}
