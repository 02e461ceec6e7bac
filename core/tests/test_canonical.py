"""One spelling for one value, and a refusal of whatever JSON could not give back."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys

import msgspec
import pytest

from zenml.core._canonical import canonical, check_plain, digest_of, from_json


def test_equal_values_have_equal_bytes_whatever_the_order_of_their_keys() -> None:
    assert canonical({"b": [1, {"d": 1, "c": 2}], "a": "é"}) == canonical(
        {"a": "é", "b": [1, {"c": 2, "d": 1}]}
    )


def test_the_bytes_are_utf8_without_spaces_and_with_sorted_keys() -> None:
    assert canonical({"b": 1.0, "a": ["é", None, True]}) == '{"a":["é",null,true],"b":1.0}'.encode()


def test_the_digest_is_the_sha256_of_the_bytes() -> None:
    assert digest_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


def test_one_and_one_point_zero_are_not_the_same() -> None:
    assert digest_of(1) != digest_of(1.0)
    assert digest_of(True) != digest_of(1)


def test_a_process_with_another_hash_seed_makes_the_same_bytes() -> None:
    value = {name: [name, {"x": 0.1}] for name in ("b", "a", "é", "Z", "10", "9")}
    program = "import sys; from zenml.core._canonical import *; print(digest_of(eval(sys.argv[1])))"

    printed = {
        subprocess.run(
            [sys.executable, "-c", program, repr(value)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert printed == {digest_of(value)}


def test_a_struct_is_spelled_as_the_data_that_it_holds() -> None:
    class Point(msgspec.Struct):
        y: int
        x: int

    assert canonical(Point(y=1, x=2)) == canonical({"x": 2, "y": 1})


PLAIN = [
    *(None, True, 0, -(2**63), 2**64 - 1, 0.1, -0.0, 1e308, 5e-324, "", "é\u2028\x00"),
    *([], {}, [1, [2.5, {"a": None}]], {"": 1, "a.b": {"c": []}}),
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_data_comes_back_exactly(value: object) -> None:
    assert check_plain(value) is None

    read = from_json(canonical(value))

    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "the value is nan"),
        ([1.0, float("inf")], r"\[1\] is inf"),
        ({"a": [{"b": 2**64}]}, r"a\[0\].b is an integer of more than 64 bits"),
        (-(2**63) - 1, "more than 64 bits"),
        ({1: 2}, "the key 1; keys must be strings"),
        ({"a": {True: 2}}, "a has the key True"),
        ({"a": {1}}, "a is of type builtins.set"),
        (b"x", "builtins.bytes"),
        pytest.param([object()], r"\[0\] is of type builtins.object", id="object"),
    ],
    ids=repr,
)
def test_what_json_could_not_give_back_is_named_with_its_place(value: object, told: str) -> None:
    found = check_plain(value)

    assert found is not None
    assert re.search(told, found)
