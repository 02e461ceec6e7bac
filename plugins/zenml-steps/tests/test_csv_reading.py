"""What a snapshot of CSV files holds."""

from __future__ import annotations

import csv
import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zenml.core import open_store
from zenml.datasources import CSVDatasource
from zenml.datasources._csv_records import Dialect, cut
from zenml.datasources._source_files import SourceFile, digest
from zenml.steps.formats import DatasetFormat

Write = Callable[[str, "str | bytes"], str]
FLIGHTS = "carrier,delay,late\nUA,11,true\nAA,-3,false\nUA,,false\nB6,2.5,NA\n"


def read(bench: Any, path: str, **parameters: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    examples = bench.run(CSVDatasource(name="rows", path=path, **parameters))["examples"]
    rows = [row for frame in examples.scan(bench.files) for row in frame.to_dicts()]
    assert len(rows) == examples.n_rows()
    return examples.schema, rows


def column(bench: Any, write: Write, values: list[str], **parameters: Any) -> tuple[str, list[Any]]:
    path = write("column.csv", "value,other\n" + "".join(f"{value},x\n" for value in values))
    schema, rows = read(bench, path, **parameters)
    return schema["value"], [row["value"] for row in rows]


def test_columns_are_typed_and_missing_values_are_missing(bench: Any, write: Write) -> None:
    schema, rows = read(bench, write("flights.csv", FLIGHTS))
    assert schema == {"carrier": "string", "delay": "float", "late": "boolean"}
    assert rows == [
        {"carrier": "UA", "delay": 11.0, "late": True},
        {"carrier": "AA", "delay": -3.0, "late": False},
        {"carrier": "UA", "delay": None, "late": False},
        {"carrier": "B6", "delay": 2.5, "late": None},
    ]


@pytest.mark.parametrize(
    ("values", "kind", "read_as"),
    [
        (["1", "-2", "+3", "007"], "integer", [1, -2, 3, 7]),
        (["1", "2.5"], "float", [1.0, 2.5]),
        (["1", "1e3", ".5", "-0.0"], "float", [1.0, 1000.0, 0.5, -0.0]),
        (["true", "False", "TRUE"], "boolean", [True, False, True]),
        (["true", "1"], "string", ["true", "1"]),
        (["1", "x"], "string", ["1", "x"]),
        (["1", "1 "], "string", ["1", "1 "]),
        (["NA", "", "NA"], "string", [None, None, None]),
        (["9223372036854775807", "-9223372036854775808"], "integer", [2**63 - 1, -(2**63)]),
        (["2013-01-01", "2013-01-02"], "string", ["2013-01-01", "2013-01-02"]),
    ],
)
def test_the_narrowest_type_that_fits_is_taken(
    bench: Any, write: Write, values: list[str], kind: str, read_as: list[Any]
) -> None:
    assert column(bench, write, values) == (kind, read_as)


def test_long_identifiers_do_not_become_floats(bench: Any, write: Write) -> None:
    numbers = ["12345678901234567890123", "1"]
    assert column(bench, write, numbers) == ("string", numbers)
    assert column(bench, write, [*numbers, "0.5"])[0] == "float"


@pytest.mark.parametrize("late_value", ["2.5", "x", "12345678901234567890"])
def test_a_type_is_inferred_from_all_rows(bench: Any, write: Write, late_value: str) -> None:
    values = [str(number) for number in range(40_000)]
    values[-1_000] = late_value  # far behind every sample
    kind, found = column(bench, write, values, rows_per_shard=1_000)
    assert kind == ("float" if late_value == "2.5" else "string")
    assert str(found[-1_000]) == late_value
    assert found[7] == (7.0 if kind == "float" else "7")


def test_a_column_that_begins_empty_is_typed_by_what_follows(bench: Any, write: Write) -> None:
    kind, found = column(bench, write, [""] * 30_000 + ["5"], rows_per_shard=4_096)
    assert kind == "integer"
    assert found[-1] == 5


def test_a_given_schema_wins(bench: Any, write: Write) -> None:
    kind, found = column(bench, write, ["007", "12"], schema={"value": "string"})
    assert (kind, found) == ("string", ["007", "12"])
    assert column(bench, write, ["7", "12"], schema={"value": "float"}) == ("float", [7.0, 12.0])


def test_null_values_can_be_chosen(bench: Any, write: Write) -> None:
    kind, found = column(bench, write, ["1", "-", "NA"], null_values=["-", "NA"])
    assert (kind, found) == ("integer", [1, None, None])
    kind, found = column(bench, write, ["a", "", "NA"], null_values=[])
    assert (kind, found) == ("string", ["a", "", "NA"])


def test_quoted_fields_hold_separators_quotes_and_newlines(bench: Any, write: Write) -> None:
    text = 'a,b\n"x, ""y""\nz",1\n"",2\n" lead",3\n'
    _, rows = read(bench, write("quoted.csv", text))
    assert rows == [{"a": 'x, "y"\nz', "b": 1}, {"a": None, "b": 2}, {"a": " lead", "b": 3}]


def test_shards_are_never_cut_inside_quotes(bench: Any, write: Write) -> None:
    text = "a,b\n" + '"line\nline\nline",1\n' * 1_000
    schema, rows = read(bench, write("quoted.csv", text), rows_per_shard=7)
    assert schema == {"a": "string", "b": "integer"}
    assert rows == [{"a": "line\nline\nline", "b": 1}] * 1_000


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "not ended"])
def test_line_ends_of_both_kinds_are_read(
    bench: Any, write: Write, ending: str, last: bool
) -> None:
    text = ending.join(["a,b", "1,x", '2,"y\n z"', "3,w"]) + (ending if last else "")
    _, rows = read(bench, write("rows.csv", text))
    assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y\n z"}, {"a": 3, "b": "w"}]


def test_blank_lines_are_skipped(bench: Any, write: Write) -> None:
    text = '\n\na,b\n1,x\n\n\r\n2,"y\n\ny"\n\n\n'
    _, rows = read(bench, write("rows.csv", text))
    assert rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y\n\ny"}]


def test_blank_lines_of_a_single_column_are_missing_values(bench: Any, write: Write) -> None:
    _, rows = read(bench, write("rows.csv", "a\n1\n\n2\n"))
    assert rows == [{"a": 1}, {"a": None}, {"a": 2}]


def test_a_byte_order_mark_is_no_part_of_the_first_name(bench: Any, write: Write) -> None:
    schema, _ = read(bench, write("rows.csv", b"\xef\xbb\xbfcaf\xc3\xa9,b\n1,2\n"))
    assert list(schema) == ["café", "b"]


def test_a_column_without_a_name_gets_its_number(bench: Any, write: Write) -> None:
    schema, _ = read(bench, write("rows.csv", ",a\n0,x\n"))
    assert list(schema) == ["column_1", "a"]


def test_other_separators_and_no_quotes(bench: Any, write: Write) -> None:
    _, rows = read(bench, write("rows.tsv", 'a\tb\n5" disk\t1\n'), separator="\t", quote=None)
    assert rows == [{"a": '5" disk', "b": 1}]


# -- where the files are ---------------------------------------------------------------------------


def zipped(text: str, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("rows.csv",):
            archive.writestr(name, text)
    return buffer.getvalue()


def test_compression_makes_no_difference_to_the_snapshot(bench: Any, write: Write) -> None:
    text = "a,b\n" + "".join(f"{number},{number / 7}\n" for number in range(10_000))
    digests = set()
    for name, content in {
        "plain.csv": text.encode(),
        "rows.csv.gz": gzip.compress(text.encode()),
        "rows.zip": zipped(text),
        "named_wrongly.csv": gzip.compress(text.encode()),
        "rows_and_rubbish.zip": zipped(text, "__MACOSX/._rows.csv", "rows.csv"),
    }.items():
        source = CSVDatasource(name=name, path=write(name, content), rows_per_shard=3_000)
        examples = bench.run(source)["examples"]
        assert [shard.rows for shard in examples.shards] == [3_000, 3_000, 3_000, 1_000]
        digests.add(bench.store(examples, DatasetFormat()).digest)
    assert len(digests) == 1


def test_files_are_read_in_the_order_of_their_names(bench: Any, write: Write) -> None:
    for name, value in (("b.csv", 2), ("a.csv", 1), ("c.csv.gz", 3)):
        text = f"a\n{value}\n".encode()
        path = write(f"many/{name}", gzip.compress(text) if name.endswith("gz") else text)
    write("many/notes.txt", "not a table")
    write("many/.hidden.csv", "b\n9\n")
    write("many/deeper/d.csv", "a\n4\n")
    folder = str(Path(path).parent)
    for where, expected in (
        (folder, [1, 2, 3]),
        (f"{folder}/*.csv", [1, 2]),
        (f"{folder}/**/*.csv", [1, 2, 4]),
        (f"file://{folder}", [1, 2, 3]),
    ):
        _, rows = read(bench, where)
        assert [row["a"] for row in rows] == expected, where


def test_a_local_path_may_be_a_path_object(bench: Any, write: Write) -> None:
    source = CSVDatasource(name="rows", path=Path(write("rows.csv", "a\n1\n")))  # type: ignore[arg-type]
    assert bench.run(source)["examples"].n_rows() == 1


def test_the_fingerprint_follows_the_content_and_not_the_place(write: Write) -> None:
    one = CSVDatasource(name="one", path=write("one.csv", "a\n1\n"))
    same = CSVDatasource(name="two", path=write("elsewhere/two.csv", "a\n1\n"))
    other = CSVDatasource(name="one", path=write("other.csv", "a\n2\n"))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_the_fingerprint_sees_a_file_change_at_once(write: Write) -> None:
    source = CSVDatasource(name="rows", path=write("rows.csv", "a\n1\n"))
    before = source.fingerprint()
    write("rows.csv", "a\n2\n")
    assert source.fingerprint() != before


# -- cutting ---------------------------------------------------------------------------------------


def test_cuts_do_not_depend_on_how_the_text_arrives() -> None:
    rng = random.Random(3)  # noqa: S311 - a test
    dialect = Dialect(",", '"', [])
    fields = ["plain", '"a\nb"', '"""\n"', "", "0", '","']
    text = "".join(
        ",".join(rng.choice(fields) for _ in range(2)) + rng.choice(["\n", "\r\n"])
        for _ in range(500)
    ).encode()
    records = list(csv.reader(io.StringIO(text.decode(), newline="")))
    for rows in (1, 3, 499, 500, 501):
        expected = list(cut([text], 0, dialect, rows))
        assert len(expected) == -(-len(records) // rows)
        assert [start for start, _ in expected] == [0, *(end for _, end in expected[:-1])]
        for size in (1, 2, 7, 100):
            blocks = [text[place : place + size] for place in range(0, len(text), size)]
            assert list(cut(blocks, 0, dialect, rows)) == expected


def test_a_shard_holds_a_limited_amount_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenml.datasources._csv_records.SHARD_BYTES", 100)
    text = b"123456789\n" * 35
    expected = [(0, 100), (100, 200), (200, 300), (300, 350)]
    for size in (7, 64, 350):
        blocks = [text[place : place + size] for place in range(0, len(text), size)]
        assert list(cut(blocks, 0, Dialect(",", '"', []), 1_000)) == expected


@pytest.mark.parametrize("seed", range(12))
def test_any_table_is_read_as_python_reads_it(bench: Any, write: Write, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a test
    pool = [
        "",
        "a",
        "b,c",
        'd"e',
        "f\ng",
        "\n",
        '"',
        " h ",
        "ü",
        "\r\n",
        "1",
        "2.5",
        "true",
        "x" * 99,
    ]
    width = rng.randint(2, 5)
    rows = [[rng.choice(pool) for _ in range(width)] for _ in range(rng.randint(1, 400))]
    buffer = io.StringIO(newline="")
    writer = csv.writer(
        buffer,
        lineterminator=rng.choice(["\n", "\r\n"]),
        quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    )
    names = [f"c{place}" for place in range(width)]
    writer.writerows([names, *rows])
    path = write("rows.csv", buffer.getvalue())
    _, found = read(
        bench,
        path,
        rows_per_shard=rng.choice([1, 2, 50, 1_000]),
        schema=dict.fromkeys(names, "string"),
        null_values=[],
    )
    assert [list(row.values()) for row in found] == rows


def test_a_source_in_an_artifact_store_is_read_through_it(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "elsewhere"))
    store.prepare()
    store.write("tables/b.csv", b"a\n2\n")
    store.write("tables/a.csv.gz", gzip.compress(b"a\n1\n"))
    store.write("tables/deeper/c.csv", b"a\n3\n")
    # No scheme but file:// is installed here, and that one is read as local files; so the place
    # where URLs are opened is given the store of a folder for another scheme.
    opened = []

    def open_bucket(url: str) -> Any:
        opened.append(url)
        scheme, _, path = url.partition("://")
        assert scheme == "bucket"
        inside = path.partition("/")[2]
        return _Inside(store, f"{inside}/" if inside else "")

    monkeypatch.setattr("zenml.core.open_store", open_bucket)
    for url, expected in (
        ("bucket://b/tables", [1, 2]),
        ("bucket://b/tables/b.csv", [2]),
        ("bucket://b/tables/*.csv", [2]),
        ("bucket://b/tables/**/*.csv", [2, 3]),
    ):
        _, rows = read(bench, url)
        assert [row["a"] for row in rows] == expected, url
    assert opened


class _Inside:
    """A store seen from one of its folders."""

    def __init__(self, store: Any, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def list(self, prefix: str) -> Any:
        for found in self._store.list(self._prefix + prefix):
            yield found._replace(key=found.key.removeprefix(self._prefix))

    def open(self, key: str) -> Any:
        return self._store.open(self._prefix + key)


def test_a_file_of_several_parts_has_one_digest_wherever_it_is(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "elsewhere"))
    store.prepare()
    path = tmp_path / "rows.csv"
    for size in (40 << 20, 32 << 20, 5):
        data = (b"a\n" + b"1234567\n" * (5 << 20))[:size]
        path.write_bytes(data)
        store.write("rows.csv", data)
        elsewhere = SourceFile("rows.csv", store.url)
        assert digest(SourceFile(str(path))) == digest(elsewhere)
