"""Exceptions and results of units, on their way from a worker to the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from zenml.core import Answer, Files, MapContext, Unit, answer_unit, execute_unit, open_store
from zenml.core.errors import (
    ConfigurationError,
    DataError,
    Problem,
    RunError,
    StepFailedError,
    UnitFailedError,
    ZenMLError,
)

#: What units were given, once for each time that one was executed.
executed: list[Any] = []


class TooHotError(DataError):
    pass


class OddError(Exception):
    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"{number} is odd: {reason}")


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def double(payload: Any, files: Files) -> Any:
    executed.append(payload)
    return payload * 2


def pair(payload: Any, files: Files) -> Any:
    return {"pair": (payload, None)}


def own(payload: Any, files: Files) -> Any:
    raise TooHotError("too hot", where="oven", remedy="open it")


def several(payload: Any, files: Files) -> Any:
    raise ConfigurationError("the oven", [Problem("heat", "too much", "less"), Problem("", "door")])


def failed(payload: Any, files: Files) -> Any:
    raise StepFailedError("failed", step="oven", run_id="1")


def odd(payload: Any, files: Files) -> Any:
    raise OddError(payload, "größe")


def burnt(payload: Any, files: Files) -> Any:
    raise OSError(5, "burnt \udcff")


def speechless(payload: Any, files: Files) -> Any:
    raise SpeechlessError


def leave(payload: Any, files: Files) -> Any:
    raise SystemExit("a unit left")


def thing(payload: Any, files: Files) -> Any:
    return object()


@pytest.fixture
def context(tmp_path: Path) -> MapContext:
    executed.clear()
    store = open_store(tmp_path.as_uri())
    store.prepare()
    return MapContext(store=store.url, scope="units/key", step="tested")


def unit(name: str, payload: Any = 1) -> Unit:
    return Unit(f"{__name__}:{name}", payload, "code")


def sent(name: str, context: MapContext) -> Answer:
    """An answer as the client gets it."""
    return msgspec.json.decode(msgspec.json.encode(answer_unit(unit(name), context)), type=Answer)


def test_a_result_is_what_execute_unit_returns(context: MapContext) -> None:
    assert sent("pair", context).result() == {"pair": [1, None]}
    assert sent("pair", context).exception() is None


def test_what_is_remembered_is_not_executed_again(context: MapContext) -> None:
    execute_unit(unit("double"), context)

    assert sent("double", context).result() == 2
    assert executed == [1]


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"{}"])
def test_what_is_remembered_and_illegible_is(context: MapContext, left: bytes) -> None:
    open_store(context.store).write(f"{context.scope}/{unit('double').digest}.json", left)

    assert sent("double", context).result() == 2
    assert executed == [1]


def test_an_error_of_ours_keeps_its_type_its_place_and_its_remedy(context: MapContext) -> None:
    with pytest.raises(DataError) as caught:
        sent("own", context).result()

    error = caught.value
    assert (error.message, error.where, error.remedy) == ("too hot", "oven", "open it")


def test_so_do_problems(context: MapContext) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sent("several", context).result()

    assert str(caught.value) == "the oven: 2 problems\n  heat: too much (less)\n  door"


def test_an_error_of_ours_that_is_made_otherwise_is_a_run_error(context: MapContext) -> None:
    found = sent("failed", context).exception()

    assert type(found) is RunError
    assert found.message == "failed"
    assert found.where == "step 'oven' of run 1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("odd", "OddError: 1 is odd: größe"),
        ("burnt", r"OSError: [Errno 5] burnt \udcff"),
        ("speechless", "SpeechlessError: (its message cannot be shown: RuntimeError)"),
        ("leave", "SystemExit: a unit left"),
        ("no_such_function", "no_such_function"),
    ],
)
def test_any_other_has_its_words_and_the_workers_traceback(
    context: MapContext, name: str, words: str
) -> None:
    found = sent(name, context).exception()

    assert isinstance(found, ZenMLError)
    assert words in str(found)
    if isinstance(found, UnitFailedError):
        assert f"in {name}" in str(found)
        assert "/_answers.py" not in str(found)


def test_a_result_that_is_not_plain_data_is_refused(context: MapContext) -> None:
    with pytest.raises(ZenMLError, match="a unit of work cannot return that"):
        sent("thing", context).result()
