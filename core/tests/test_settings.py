"""Settings: frozen, validated keyword parameters. What is wrong is named, all of it, at once."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from msgspec import Meta

from zenml.core.contracts import SecretRef, Settings
from zenml.core.errors import ConfigurationError, Problem


class Shell(Settings):
    command: str
    timeout: float = 60
    mode: Literal["fast", "safe"] = "safe"
    labels: dict[str, str] = {}  # noqa: RUF012 - every object gets a copy of its own
    workers: Annotated[int, Meta(ge=1)] | None = None
    folder: Path | None = None
    known: ClassVar[int] = 3
    _private: int = 4


class Login(msgspec.Struct):
    user: str
    password: SecretRef


class Vault(Settings):
    key: SecretRef | None = None
    keys: list[SecretRef] = []  # noqa: RUF012
    named: dict[str, SecretRef] = {}  # noqa: RUF012
    login: Login | None = None
    api_token: int = 0
    count: int = 0


class Other(Shell):
    pass


def problems_of(cls: type[Settings], **parameters: Any) -> dict[str, Problem]:
    with pytest.raises(ConfigurationError) as raised:
        cls(**parameters)
    return {problem.path: problem for problem in raised.value.problems}


# -- what is declared --------------------------------------------------------------------------


def test_parameters_are_the_annotated_names_without_class_variables_and_private_ones() -> None:
    assert list(Shell.fields()) == ["command", "timeout", "mode", "labels", "workers", "folder"]


def test_a_parameter_without_a_default_is_required() -> None:
    assert problems_of(Shell)["command"].message == "is required (str) and was not given"


def test_a_subclass_inherits_parameters_and_may_add_defaults_without_annotations() -> None:
    class Echo(Shell):
        command = "echo"
        loud: bool = False

    made = Echo()

    assert (made.command, made.timeout, made.loud) == ("echo", 60, False)
    assert Shell.fields()["command"].required


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        Shell("ls")  # type: ignore[misc]


@pytest.mark.parametrize("name", ["fields", "parameters", "replace", "validate"])
def test_a_parameter_that_would_hide_a_method_is_refused_where_it_is_declared(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Bad\.{name}: .* the name of Settings\.{name}"):
        type("Bad", (Settings,), {"__annotations__": {name: "int"}, name: 1})


def test_a_parameter_that_would_hide_a_property_or_class_variable_is_refused() -> None:
    class Base(Settings):
        kind: ClassVar[str] = "base"

        @property
        def title(self) -> str:
            return "title"

    for name in ("kind", "title"):
        with pytest.raises(TypeError, match=rf"Base\.{name}"):
            type("Bad", (Base,), {"__annotations__": {name: "str"}})


def test_a_parameter_may_be_declared_again_with_another_type_and_default() -> None:
    class Slow(Shell):
        timeout: float = 3600

    assert Slow(command="x").timeout == 3600


# -- types -------------------------------------------------------------------------------------


def test_values_are_never_guessed() -> None:
    found = problems_of(Shell, command=1, timeout="3", mode="slow", labels={"a": 1}, workers=0)

    assert set(found) == {"command", "timeout", "mode", "labels", "workers"}
    assert found["command"].message == "expected str, got int: 1"
    assert found["timeout"].message == "expected float, got str: '3'"
    assert "at [...]" in found["labels"].message
    assert "int >= 1" in found["workers"].message


def test_true_is_no_number() -> None:
    assert (
        "expected float, got bool"
        in problems_of(Shell, command="x", timeout=True)["timeout"].message
    )


def test_an_integer_is_a_float_where_a_float_is_declared() -> None:
    made = Shell(command="x", timeout=3)

    assert (type(made.timeout), made.timeout) == (float, 3.0)


def test_paths_may_be_given_as_paths_or_text() -> None:
    given = [Shell(command="x", folder=folder) for folder in (Path("a"), "a")]  # type: ignore[arg-type]

    assert given[0] == given[1]
    assert given[0].folder == Path("a")
    assert given[0].parameters()["folder"] == "a"


def test_a_long_value_is_clipped_in_the_message() -> None:
    assert len(problems_of(Shell, command="x", timeout="9" * 10_000)["timeout"].message) < 120


def test_an_unknown_parameter_is_named_with_the_nearest_valid_one() -> None:
    found = problems_of(Shell, comand="x")

    assert found["comand"].message == "no such parameter"
    assert found["comand"].remedy == "did you mean 'command'?"
    assert "command" in found, "the missing one is told at the same time"


def test_an_unknown_parameter_that_is_near_nothing_gets_the_list_of_valid_ones() -> None:
    assert "command, timeout, mode" in str(problems_of(Shell, command="x", zzz=1)["zzz"].remedy)


def test_every_problem_is_in_the_text_of_the_error() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Shell(comand=1, timeout=None)  # type: ignore[call-arg, arg-type]

    text = str(raised.value)
    assert "Shell cannot be made: 3 problems" in text
    for word in ("comand", "did you mean 'command'?", "timeout", "is required"):
        assert word in text


def test_a_class_may_check_what_single_types_cannot_say() -> None:
    class Range(Settings):
        low: int
        high: int

        def validate(self) -> Iterator[Problem | tuple[str, str]]:
            if self.low > self.high:
                yield "low", "is above high"
                yield Problem("high", "is below low", "swap them")

    assert problems_of(Range, low=2, high=1) == {
        "low": Problem("low", "is above high"),
        "high": Problem("high", "is below low", "swap them"),
    }
    assert Range(low=1, high=2).high == 2


# -- frozen values -----------------------------------------------------------------------------


def test_a_parameter_cannot_be_changed_or_removed() -> None:
    made = Shell(command="x")

    with pytest.raises(AttributeError, match=r"replace\(timeout=…\)"):
        made.timeout = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot be removed"):
        del made.timeout
    assert made.timeout == 60


def test_a_mutable_default_is_not_shared() -> None:
    one, two = Shell(command="x"), Shell(command="x")

    one.labels["a"] = "b"

    assert two.labels == {}
    assert Shell(command="x").labels == {}


def test_replace_gives_a_validated_copy() -> None:
    made = Shell(command="x", labels={"a": "b"})

    assert made.replace(timeout=3) == Shell(command="x", labels={"a": "b"}, timeout=3)
    assert made.timeout == 60
    with pytest.raises(ConfigurationError, match="timeout"):
        made.replace(timeout="soon")


def test_equal_settings_have_equal_hashes() -> None:
    class Free(Settings):
        value: Any = None

    same = [{"a": 1, "b": [2.0]}, {"b": [2], "a": True}]

    assert Free(value=same[0]) == Free(value=same[1])
    assert len({Free(value=value) for value in same}) == 1
    assert len({Free(value=1), Free(value=2)}) == 2


def test_settings_of_another_class_are_never_equal() -> None:
    assert Other(command="x") != Shell(command="x")
    assert Shell(command="x") != "x"


def test_parameters_are_plain_data_that_makes_an_equal_object() -> None:
    made = Shell(command="x", labels={"a": "b"}, folder=Path("f"))

    parameters = made.parameters()

    assert Shell(**msgspec.json.decode(msgspec.json.encode(parameters))) == made


def test_settings_survive_pickling_and_copying() -> None:
    made = Shell(command="x", labels={"a": "b"})

    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - what was just written
    assert copy.deepcopy(made) == made


def test_the_repr_is_the_call_that_makes_it() -> None:
    made = Shell(command="x", folder=None)

    assert eval(repr(made)) == made  # noqa: S307 - what was just printed


# -- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["hunter2", "", "env:", "env:1A", "env:A B", "file:", "env:A\n", "ENV:A", "x env:A"]
)
def test_only_a_reference_is_a_secret_reference_and_nothing_else_is_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="'env:NAME' or 'file:PATH'") as raised:
        SecretRef(text)

    assert str(raised.value) == "expected a reference to a secret: 'env:NAME' or 'file:PATH'"


@pytest.mark.parametrize(
    "parameters",
    [
        {"key": "hunter2"},
        {"keys": ["env:A", "hunter2"]},
        {"named": {"a": "hunter2"}},
        {"login": {"user": "me", "password": "hunter2"}},
        {"key": {"hunter2": 1}},
        {"api_token": "hunter2"},
        {"keyy": "hunter2"},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_a_secret_in_the_wrong_place_is_refused_and_never_repeated(
    parameters: dict[str, Any],
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Vault(**parameters)

    shown = f"{raised.value} {raised.value!r} {raised.value.problems!r} {raised.value.__cause__!r}"
    assert next(iter(parameters)) in shown
    assert "hunter2" not in shown


def test_a_reference_is_kept_as_a_reference_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_KEY", "hunter2")
    made = Vault(key="env:VAULT_KEY", login={"user": "me", "password": "env:VAULT_KEY"})  # type: ignore[arg-type]

    assert isinstance(made.key, SecretRef)
    assert made.key.resolve() == "hunter2"
    assert made.parameters()["key"] == "env:VAULT_KEY"
    assert made.parameters()["login"] == {"user": "me", "password": "env:VAULT_KEY"}
    assert type(made.parameters()["key"]) is str
    for shown in (repr(made), str(made.parameters()), repr(made.key), f"{made.key}"):
        assert "hunter2" not in shown


def test_a_secret_in_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hunter2\n", encoding="utf-8")

    assert SecretRef(f"file:{file}").resolve() == "hunter2"


@pytest.mark.parametrize("reference", ["env:NO_SUCH_VARIABLE", "file:/no/such/file"])
def test_a_secret_that_is_not_there_is_a_configuration_error(reference: str) -> None:
    with pytest.raises(ConfigurationError, match="the secret is not there") as raised:
        SecretRef(reference).resolve()

    assert raised.value.problems[0].remedy


def test_a_secret_that_is_no_text_is_an_error_that_shows_none_of_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"hunter2\xff")

    with pytest.raises(ConfigurationError, match="UTF-8") as raised:
        SecretRef(f"file:{file}").resolve()

    assert "hunter2" not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert raised.value.__cause__ is None
