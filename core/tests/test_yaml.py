"""YAML is read as YAML 1.2 reads it, written so that any version reads it back, and never code."""

from __future__ import annotations

import random

import pytest
import yaml

from zenml.core._yaml import dump_yaml, load_yaml
from zenml.core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Y", "Y"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("=", "="),
        ("nULL", "nULL"),
        ("<<", "<<"),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"),
        ("0x1g", "0x1g"),
    ],
)
def test_what_yaml_1_2_calls_a_word_is_a_word(text: str, value: str) -> None:
    assert load_yaml(text, "x") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("Null", None),
        ("", None),
        ("010", 10),
        ("+1", 1),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
    ],
)
def test_what_yaml_1_2_calls_a_scalar_is_one(text: str, value: object) -> None:
    read = load_yaml(text, "x")

    assert (type(read), read) == (type(value), value)


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert load_yaml("\ufeffa: 1", "x") == {"a": 1}


def test_merge_keys_are_merged_and_give_way_to_what_is_written() -> None:
    text = "a: &a {b: 1, c: 2}\nd:\n  <<: *a\n  c: 3\n"

    assert load_yaml(text, "x")["d"] == {"b": 1, "c": 3}


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("a: 1\na: 2", "line 2, column 1", "'a' stands here twice"),
        ("a:\n  - {b: 1, b: 1}", "line 2, column 12", "'b' stands here twice"),
        ("1: a\n1: b", "line 2, column 1", "1 stands here twice"),
        ("[1]: a", "line 1, column 1", "[1] cannot be a key"),
        ("? {a: 1}\n: b", "line 1, column 3", "{'a': 1} cannot be a key"),
        ("key: @x", "line 1, column 6", "cannot start any token"),
        ("a: [1", "line 2, column 1", "did not find expected ',' or ']'"),
        ("- a\n--- \n- b", "line 2", "another document"),
        ("a: &a [*a]", "line 1, column 4", "recursive"),
        ("a: *b", "line 1, column 4", "undefined alias"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, place: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_yaml(text, "plan.yaml")

    assert "plan.yaml is not valid YAML" in str(raised.value)
    assert raised.value.problems[0].path.startswith(place)
    assert what in raised.value.problems[0].message


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system",
        "!!set {a}",
        "!!binary aGk=",
        "!!timestamp 2001-01-01",
        "!!omap [a: 1]",
        "!mine 1",
    ],
)
def test_a_tag_never_makes_more_than_plain_data(text: str) -> None:
    with pytest.raises(ConfigurationError, match="could not determine a constructor"):
        load_yaml(text, "x")


@pytest.mark.parametrize(
    "text",
    ["9" * 5000, "!!int word", "!!float word", "[" * 5000 + "]" * 5000, "a: \x00", '"\\ud800"'],
    ids=["digits", "int", "float", "depth", "control character", "surrogate"],
)
def test_what_cannot_be_read_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="x "):
        load_yaml(text, "x")


@pytest.mark.parametrize(
    "value",
    [
        *("no", "NO", "y", "on", "~", "null", "", " ", "a ", " a", "\t", "\n", "a\n\nb ", "- a"),
        *("1e3", "1.0", "0x10", "0o7", "010", "1_000", "12:30", "2001-01-01", ".5", ".nan"),
        *("=", "<<", "? a", "a: b", "a #b", "#", "&a", "*a", "!a", "%a", "@a", "`a`", "'", '"'),
        *("{", "[", ",", "|", ">", "---", "...", "\u2028", "\x85", "\ufeff", "\xa0", "\x1b[31m"),
        *("é", "漢字", "😀", "x " * 300),
    ],
)
def test_text_comes_back_as_the_same_text_also_from_a_reader_of_yaml_1_1(value: str) -> None:
    written = dump_yaml({"key": value, value: [value]})

    assert load_yaml(written, "x") == {"key": value, value: [value]}
    assert yaml.safe_load(written) == {"key": value, value: [value]}


def test_random_text_comes_back_as_the_same_text() -> None:
    chance = random.Random(20)  # noqa: S311 - not for secrets
    letters = "abe019+-._:#'\"{}[]&*!|>%@`,?~=<> \t\n\r\\\x85\u2028é漢😀\x7f\x00\x1b\xa0noyN/"
    words = ["".join(chance.choices(letters, k=chance.randrange(9))) for _ in range(3000)]

    assert load_yaml(dump_yaml(words), "x") == words


@pytest.mark.parametrize(
    "value",
    [0.1, 1e16, 1e22, -1e-5, 5e-324, 1.7976931348623157e308, 123456789.0, float("inf"), 2**70],
)
def test_numbers_come_back_exactly_and_with_their_type(value: float) -> None:
    written = dump_yaml([value])

    for read in (load_yaml(written, "x"), yaml.safe_load(written)):
        assert (type(read[0]), read[0]) == (type(value), value)


def test_negative_zero_keeps_its_sign() -> None:
    assert str(load_yaml(dump_yaml([-0.0]), "x")[0]) == "-0.0"


def test_keys_keep_their_order_and_shared_values_are_written_out() -> None:
    shared = [1]

    written = dump_yaml({"z": shared, "a": shared})

    assert written == "z:\n- 1\na:\n- 1\n"
