"""What a snapshot of JSON Lines files holds, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core.errors import DataError
from zenml.datasources import JSONDatasource, JSONLinesDatasource
from zenml.steps.formats import DatasetFormat

Write = Callable[[str, "str | bytes"], str]


def read(bench: Any, path: str, **parameters: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    examples = bench.run(JSONLinesDatasource(name="rows", path=path, **parameters))["examples"]
    rows = [row for frame in examples.scan(bench.files) for row in frame.to_dicts()]
    assert len(rows) == examples.n_rows()
    return examples.schema, rows


def column(bench: Any, write: Write, values: list[str], **parameters: Any) -> tuple[str, list[Any]]:
    path = write("a.jsonl", "".join(f'{{"a": {value}}}\n' for value in values))
    schema, rows = read(bench, path, **parameters)
    return schema["a"], [row["a"] for row in rows]


def refusal(bench: Any, path: str, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        bench.run(JSONLinesDatasource(name="rows", path=path, **parameters))
    return caught.value


@pytest.mark.parametrize(
    ("values", "kind", "read_as"),
    [
        (["true", "null", "false"], "boolean", [True, None, False]),
        (["1", "-2", "null"], "integer", [1, -2, None]),
        (["1", "2.5"], "float", [1.0, 2.5]),
        (["1", "1e3"], "float", [1.0, 1000.0]),
        (['"1"', '""', "null"], "string", ["1", "", None]),
        (["true", "1"], "string", ["true", "1"]),
        (["1", "2.50", '"x"'], "string", ["1", "2.5", "x"]),
        (["null", "null"], "string", [None, None]),
        (["9223372036854775807", "-9223372036854775808"], "integer", [2**63 - 1, -(2**63)]),
        (["12345678901234567890123", "1"], "string", ["12345678901234567890123", "1"]),
        (["12345678901234567890123", "0.5"], "float", [1.2345678901234568e22, 0.5]),
        (['"\\u00fc\\ud83d\\ude00\\u0000"'], "string", ["ü😀\0"]),
    ],
)
def test_the_narrowest_type_that_fits_is_taken(
    bench: Any, write: Write, values: list[str], kind: str, read_as: list[Any]
) -> None:
    assert column(bench, write, values) == (kind, read_as)


@pytest.mark.parametrize("late_value", ["2.5", '"x"', "true", "12345678901234567890"])
def test_a_type_is_inferred_from_all_lines(bench: Any, write: Write, late_value: str) -> None:
    values = [str(number) for number in range(40_000)]
    values[-1_000] = late_value  # far behind every sample
    kind, found = column(bench, write, values, rows_per_shard=1_000)
    assert kind == ("float" if late_value == "2.5" else "string")
    assert str(found[-1_000]) == late_value.strip('"')
    assert found[7] == (7.0 if kind == "float" else "7")


def test_what_is_inferred_does_not_depend_on_the_sharding(bench: Any, write: Write) -> None:
    values = ["1", "2.0", '"x"', "null", "12345678901234567890", "true"]
    assert column(bench, write, values, rows_per_shard=1) == column(bench, write, values)


def test_columns_are_the_keys_of_all_lines_in_order(bench: Any, write: Write) -> None:
    lines = ['{"b": 1}'] * 30_000 + ['{"c": "x", "b": 2, "ä": null}', "{}"]
    schema, rows = read(bench, write("a.jsonl", "\n".join(lines)), rows_per_shard=4_096)
    assert list(schema.items()) == [("b", "integer"), ("c", "string"), ("ä", "string")]
    assert rows[0] == {"b": 1, "c": None, "ä": None}
    assert rows[-2:] == [{"b": 2, "c": "x", "ä": None}, {"b": None, "c": None, "ä": None}]


def test_a_given_schema_wins_where_nothing_is_lost(bench: Any, write: Write) -> None:
    assert column(bench, write, ["7", "1.0"], schema={"a": "integer"}) == ("integer", [7, 1])
    assert column(bench, write, ["7", "null"], schema={"a": "float"}) == ("float", [7.0, None])
    assert column(bench, write, ["7", "null"], schema={"a": "string"}) == ("string", ["7", None])
    assert column(bench, write, ["0", "1"], schema={"a": "boolean"}) == ("boolean", [False, True])


@pytest.mark.parametrize(
    ("value", "kind"),
    [('"5"', "integer"), ("5.5", "integer"), ("2", "boolean"), ("9223372036854775808", "integer")],
)
def test_a_value_that_does_not_fit_the_given_type_is_refused(
    bench: Any, write: Write, value: str, kind: str
) -> None:
    path = write("a.jsonl", f'{{"a": 1}}\n\n{{"a": null}}\n{{"a": {value}}}\n')
    error = refusal(bench, path, schema={"a": kind}, rows_per_shard=2)
    assert f"column 'a' is of type {kind}, and" in error.message
    assert error.where == f"{path}, line 4"


def test_a_schema_that_names_no_column_is_refused(bench: Any, write: Write) -> None:
    error = refusal(bench, write("a.jsonl", '{"amount": 1}\n'), schema={"amont": "float"})
    assert "the schema names columns that the source does not have: 'amont'" in error.message
    assert error.remedy == "did you mean 'amount' for 'amont'?"


def test_lines_may_be_blank_and_end_in_any_way(bench: Any, write: Write) -> None:
    text = b'\xef\xbb\xbf{"a": 1}\r\n\r\n \t\n {"a" : 2} \n{"a":3}'
    assert read(bench, write("a.jsonl", text))[1] == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_compression_makes_no_difference_to_the_snapshot(bench: Any, write: Write) -> None:
    text = "".join(json.dumps({"a": n, "b": n / 7}) + "\n" for n in range(10_000)).encode()
    digests = set()
    for name, content in {
        "a.jsonl": text,
        "a.jsonl.gz": gzip.compress(text),
        "named_wrongly.json": gzip.compress(text),
    }.items():
        source = JSONLinesDatasource(name="a", path=write(name, content), rows_per_shard=3_000)
        examples = bench.run(source)["examples"]
        assert [shard.rows for shard in examples.shards] == [3_000, 3_000, 3_000, 1_000]
        digests.add(bench.store(examples, DatasetFormat()).digest)
    assert len(digests) == 1


def test_files_are_read_in_the_order_of_their_names(bench: Any, write: Write) -> None:
    write("many/b.ndjson", '{"a": 2}')
    path = write("many/a.jsonl.gz", gzip.compress(b'{"a": 1}\n'))
    write("many/empty.jsonl", "")
    write("many/notes.txt", "none")
    assert read(bench, str(Path(path).parent))[1] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("line", "message", "place"),
    [
        ('{"a": 1,}', "the line is no JSON", "line 3, column 9"),
        ('{"a": 1', "the line is no JSON", "line 3, column 8"),
        ("{'a': 1}", "the line is no JSON", "line 3, column 2"),
        ('{"a": 1} {"a": 2}', "the line is no JSON: Extra data", "line 3, column 10"),
        ('{"a": 01}', "the line is no JSON", "line 3, column 8"),
        ('{"a": "\t"}', "the line is no JSON: Invalid control character", "line 3, column 8"),
        ('{"b": "NaN", "a": NaN}', "JSON has no number NaN", "line 3, column 19"),
        ('{"a": -Infinity}', "JSON has no number -Infinity", "line 3, column 7"),
        ('{"a": 1, "b": 2, "a": 3}', "a key stands twice in an object: 'a'", "line 3, column 18"),
        ('{"b": {"a": 1}}', "the value of 'b' is an object", "line 3, column 2"),
        ('{"a": 1, "ü": [1]}', "the value of 'ü' is a list", "line 3, column 10"),
        ("[1]", "expected an object, found a list", "line 3, column 1"),
        ("  5", "expected an object, found a number", "line 3, column 3"),
        ("null", "expected an object, found null", "line 3, column 1"),
        ('{"a": 1e400}', "the number of 'a' is too large", "line 3, column 2"),
        ('{"a": ' + "9" * 5_000 + "}", "a number has too many digits", "line 3, column 1"),
        ('{"a": "\\ud800"}', "half of a surrogate pair", "line 3, column 2"),
        ("[" * 100_000, "nested too deeply", "line 3, column 1"),
    ],
)
def test_a_line_that_is_no_row_is_refused_with_its_place(
    bench: Any, write: Write, line: str, message: str, place: str
) -> None:
    path = write("a.jsonl", f'{{"a": 1}}\n\n{line}\n{{"a": }}\n')
    for parameters in ({}, {"rows_per_shard": 1}):
        error = refusal(bench, path, **parameters)
        assert message in error.message
        assert error.where == f"{path}, {place}"
        assert error.remedy
    packed = write("a.jsonl.gz", gzip.compress(Path(path).read_bytes()))
    assert refusal(bench, packed, rows_per_shard=1).where == f"{packed}, {place}"


def test_text_that_is_not_utf_8_is_refused(bench: Any, write: Write) -> None:
    path = write("a.jsonl", b'{"a": "\xc3\xbc\xe9"}\n')
    error = refusal(bench, path)
    assert error.message == "the text is not UTF-8: byte 0xe9"
    assert error.where == f"{path}, line 1, column 9"
    assert "UTF-16" in refusal(bench, write("b.jsonl", '{"a": 1}'.encode("utf-16"))).message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"{}\n{}\n", b"\xef\xbb\xbf"])
def test_files_without_rows_are_refused(bench: Any, write: Write, content: bytes) -> None:
    assert "no rows" in refusal(bench, write("a.jsonl", content)).message


def test_a_list_of_objects_says_how_to_make_lines(bench: Any, write: Write) -> None:
    error = refusal(bench, write("a.json", '[{"a": 1}]'))
    assert "jq -c '.[]'" in str(error.remedy)


def test_a_damaged_file_is_refused(bench: Any, write: Write) -> None:
    data = gzip.compress(b'{"a": 1}\n' * 9_999)
    assert "damaged or incomplete" in refusal(bench, write("a.jsonl", data[:-20])).message


def test_five_thousand_columns_make_small_shards(bench: Any, write: Write) -> None:
    row = json.dumps({f"c{n}": n for n in range(5_000)})
    path = write("wide.jsonl", f"{row}\n" + '{"c7": 1}\n' * 1_700)
    examples = bench.run(JSONLinesDatasource(name="wide", path=path))["examples"]
    assert [shard.rows for shard in examples.shards] == [1_677, 24]


def test_the_original_s_name_means_the_same() -> None:
    assert JSONDatasource is JSONLinesDatasource
