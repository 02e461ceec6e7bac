"""What is said of CSV files that cannot be read; and that nothing is kept of them."""

from __future__ import annotations

import csv
import gzip
import io
import os
import random
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import CSVDatasource

Write = Callable[[str, "str | bytes"], str]

GOOD = "".join(f"{number},x\n" for number in range(5_000))


def refusal(bench: Any, path: str, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        bench.run(CSVDatasource(name="rows", path=path, **parameters))
    error = caught.value
    assert error.where
    assert error.remedy
    assert len(str(error).splitlines()) <= 3
    return error


@pytest.mark.parametrize(
    ("bad", "message", "row", "line"),
    [
        ("7,x,y\n", "too many fields: 3, and the header names 2", 5_001, 5_002),
        ("7\n", "too few fields: 1, and the header names 2", 5_001, 5_002),
        (b"7,caf\xe9\n", "not UTF-8: byte 0xe9 at byte 6 of the row", 5_001, 5_002),
        ('7,"x"y\n', "text follows the quote that closes a field", 5_001, 5_002),
        ('7,x"y\n', "a quote stands inside a field that is not quoted", 5_001, 5_002),
        ('7,"x\n', "a quoted field is never closed", 5_001, 5_002),
        ('7,"x"y"z"\n', "text follows the quote that closes a field", 5_001, 5_002),
        ('"7\n8",x\n\n9,x,y\n', "too many fields", 5_002, 5_005),
    ],
    ids=[
        "wide",
        "narrow",
        "latin-1",
        "after quote",
        "stray quote",
        "unclosed",
        "even",
        "after multi-line",
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_bad_row_is_named_with_its_line(
    bench: Any, write: Write, bad: str | bytes, message: str, row: int, line: int, packed: bool
) -> None:
    raw = bad if isinstance(bad, bytes) else bad.encode()
    text = b"a,b\n" + GOOD.encode() + raw + GOOD.encode()
    path = write("rows.csv", gzip.compress(text) if packed else text)
    for rows_per_shard in (1_000, 100_000):
        error = refusal(bench, path, rows_per_shard=rows_per_shard)
        assert message in error.message
        assert error.where == f"{path}, row {row} (line {line})"


@pytest.mark.parametrize("seed", range(300))
def test_what_is_not_refused_is_read_as_python_reads_it(
    bench: Any, write: Write, seed: int
) -> None:
    """Anything at all: well-formed, nearly so, or rubbish. No row may be lost or made up."""
    rng = random.Random(seed)  # noqa: S311 - a test
    names = ["c", "d", "e"][: rng.randint(1, 3)]
    fields = ["a", "", "1", '"q"', '"q,r"', '"l\nm"', '""', 'a"b', '"x"y', ' "z"', '"p\r\nq"']
    if seed % 2:
        lines = (",".join(rng.choice(fields) for _ in names) for _ in range(rng.randint(1, 12)))
        body = "\n".join(lines) + rng.choice(["", "\n", "\n\n", "\r\n"])
    else:
        body = "".join(rng.choice([*'a1,"\n', '""', '"a"']) for _ in range(rng.randint(1, 40)))
    path = write("rows.csv", ",".join(names) + "\n" + body)
    source = CSVDatasource(
        name="rows",
        path=path,
        rows_per_shard=rng.choice([1, 2, 5, 100]),
        schema=dict.fromkeys(names, "string"),
        null_values=[],
    )
    try:
        examples = bench.run(source)["examples"]
    except DataError:
        return
    found = [list(row) for frame in examples.scan(bench.files) for row in frame.rows()]
    records = csv.reader(io.StringIO(body, newline=""), strict=True)
    expected = [row or [""] for row in records if row or len(names) == 1]
    assert found == expected


def test_of_several_bad_rows_the_first_is_named(bench: Any, write: Write) -> None:
    path = write("rows.csv", "a,b\n" + GOOD + "1\n" + GOOD + "1,2,3\n")
    error = refusal(bench, path, rows_per_shard=100)  # units run last to first here
    assert error.where == f"{path}, row 5001 (line 5002)"


def test_a_value_that_is_not_of_the_given_type_is_named(bench: Any, write: Write) -> None:
    path = write("rows.csv", "a,b\n" + GOOD + "\n7.5,x\n" + GOOD)
    error = refusal(bench, path, schema={"a": "integer"}, rows_per_shard=1_000)
    assert "'a' is of type integer, and '7.5' is not" in error.message
    assert error.where == f"{path}, row 5001 (line 5003), column 'a'"
    assert "need: float" in (error.remedy or "")


def test_a_schema_for_columns_that_are_not_there(bench: Any, write: Write) -> None:
    error = refusal(bench, write("rows.csv", "amount,b\n1,2\n"), schema={"amont": "integer"})
    assert "does not have: 'amont'" in error.message
    assert error.remedy == "did you mean 'amount' for 'amont'?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"a,b\n", "there is a header, and no rows"),
        (b"a,b", "there is a header, and no rows"),
        (b"a,b\n\n\n", "there is a header, and no rows"),
        (b"a,b,a\n1,2,3\n", "two columns 'a': the 1st and the 3rd"),
        (b"caf\xe9,b\n1,2\n", "the header is not UTF-8: byte 0xe9"),
        ("a,b\n1,2\n".encode("utf-16"), "probably as UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "probably as UTF-16"),
        (b"a,b\r1,2\r", "end in carriage returns only"),
        (b'a,"b\n1,2\n', "a quote in the header is never closed"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 9_999)[:-20], "damaged or incomplete"),
        (b"\x1f\x8bnot gzip at all", "damaged or incomplete"),
        (b"PK\x03\x04not a zip", "damaged or incomplete"),
    ],
)
def test_a_file_that_is_no_table(bench: Any, write: Write, content: bytes, message: str) -> None:
    path = write("rows.csv", content)
    error = refusal(bench, path)
    assert message in error.message
    assert path in (error.where or "")


def test_an_archive_of_several_files(bench: Any, write: Write) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("one.csv", "a\n1\n")
        archive.writestr("two.csv", "a\n1\n")
    error = refusal(bench, write("rows.zip", buffer.getvalue()))
    assert "holds 2 files, and exactly one is expected" in error.message
    assert "'one.csv', 'two.csv'" in (error.where or "")


def test_a_file_that_is_not_there(bench: Any, tmp_path: Any) -> None:
    for path in (tmp_path / "nothing.csv", tmp_path / "nowhere/*.csv", tmp_path / "deep/x.zip"):
        error = refusal(bench, str(path))
        assert str(path) in (error.where or "")


def test_a_folder_without_tables(bench: Any, write: Write) -> None:
    folder = os.path.dirname(write("folder/notes.txt", "nothing"))
    assert "holds no CSV file" in refusal(bench, folder).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(bench: Any, write: Write) -> None:
    path = write("rows.csv", "a\n1\n")
    os.chmod(path, 0)
    assert "cannot be read: Permission denied" in refusal(bench, path).message


def test_files_of_different_kinds(bench: Any, write: Write) -> None:
    write("many/1.csv", "a,b,c\n1,2,3\n")
    path = write("many/2.csv", "a,b,d\n1,2,3\n")
    error = refusal(bench, os.path.dirname(path))
    assert "it lacks 'c' and it adds 'd'" in error.message
    write("many/2.csv", "a,c,b\n1,2,3\n")
    assert "the order of the columns differs" in refusal(bench, os.path.dirname(path)).message


def test_a_record_without_end_does_not_fill_the_memory(
    bench: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("_csv_records", "_csv_snapshot"):
        monkeypatch.setattr(f"zenml.datasources.{module}.SHARD_BYTES", 10_000)
    text = b"a,b\n1,x\n2,x\n" + b'3,"' + b"y\n" * 20_000
    for path in (write("rows.csv", text), write("rows.csv.gz", gzip.compress(text))):
        error = refusal(bench, path, rows_per_shard=2)
        assert "a quote is never closed" in error.message
        assert "row 3" in (error.where or "")


def test_a_file_that_changes_meanwhile(
    bench: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("rows.csv", "a,b\n" + GOOD)
    ordinary = bench.map

    def change_and_map(function: Any, payloads: Any) -> Any:
        write("rows.csv", "a,b\n" + GOOD.replace("x", "y"))
        os.utime(path, (1, 1))
        return ordinary(function, payloads)

    monkeypatch.setattr(bench, "map", change_and_map)
    assert "the file changed while it was read" in refusal(bench, path).message


def test_parameters_are_checked_where_they_are_written() -> None:
    with pytest.raises(ConfigurationError) as caught:
        CSVDatasource(
            name="rows",
            path="x.csv",
            schema={"a": "int", "b": "strig"},
            separator=";;",
            quote="\n",
            rows_per_shard=0,
        )
    said = {problem.path: problem for problem in caught.value.problems}
    assert set(said) == {"schema.a", "schema.b", "separator", "quote", "rows_per_shard"}
    assert said["schema.b"].remedy == "did you mean 'string'?"
    with pytest.raises(ConfigurationError, match="no such parameter"):
        CSVDatasource(name="rows", path="x.csv", seperator=";")  # type: ignore[call-arg]
