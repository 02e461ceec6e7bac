"""What a snapshot of a database holds, and what is refused; with SQLite, which is always there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.datasources import PostgresDatasource, SQLDatasource
from zenml.steps.formats import DatasetFormat

pytest.importorskip("sqlalchemy")

Make = Callable[..., str]
POSTGRES: dict[str, Any] = {
    "name": "rows",
    "username": "me",
    "password": "env:PASSWORD",
    "database": "db",
    "table": "t",
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a database with one table ``t`` and return its URL."""

    def make_database(columns: str, rows: Sequence[Sequence[Any]] = ()) -> str:
        path = tmp_path / "rows.db"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.execute(f"CREATE TABLE t ({columns})")
        for row in rows:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO t VALUES ({marks})", row)  # noqa: S608
        connection.commit()
        connection.close()
        return f"sqlite:///{path}"

    return make_database


def read(bench: Any, url: str, **parameters: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    if "query" not in parameters:
        parameters.setdefault("table", "t")
    examples = bench.run(SQLDatasource(name="rows", url=url, **parameters))["examples"]
    rows = [row for frame in examples.scan(bench.files) for row in frame.to_dicts()]
    assert len(rows) == examples.n_rows()
    return examples.schema, rows


def column(bench: Any, make: Make, values: list[Any], **parameters: Any) -> tuple[str, list[Any]]:
    url = make("id INTEGER PRIMARY KEY, a", list(enumerate(values)))
    schema, rows = read(bench, url, **parameters)
    return schema["a"], [row["a"] for row in rows]


def refusal(bench: Any, url: str, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(bench, url, **parameters)
    return caught.value


@pytest.mark.parametrize(
    ("values", "kind", "read_as"),
    [
        ([1, None, -2], "integer", [1, None, -2]),
        ([2**63 - 1, -(2**63)], "integer", [2**63 - 1, -(2**63)]),
        ([1, 2.5], "float", [1.0, 2.5]),
        ([float("inf"), None], "float", [float("inf"), None]),
        (["", None, "ü"], "string", ["", None, "ü"]),
        ([1, "x", 0.5], "string", ["1", "x", "0.5"]),
        ([None, None], "string", [None, None]),
        (["2013-01-01"], "string", ["2013-01-01"]),
    ],
)
def test_the_narrowest_type_that_fits_is_taken(
    bench: Any, make: Make, values: list[Any], kind: str, read_as: list[Any]
) -> None:
    assert column(bench, make, values) == (kind, read_as)
    assert column(bench, make, values, rows_per_shard=1) == (kind, read_as)


def test_a_type_is_inferred_from_all_rows(bench: Any, make: Make) -> None:
    values: list[Any] = [None, *range(3_000), 0.5]
    assert column(bench, make, values, rows_per_shard=100)[0] == "float"
    kind, found = column(bench, make, [*values, "x"], rows_per_shard=100)
    assert (kind, found[1], found[-2:]) == ("string", "0", ["0.5", "x"])


def test_a_given_schema_wins_where_nothing_is_lost(bench: Any, make: Make) -> None:
    assert column(bench, make, [0, 1], schema={"a": "boolean"}) == ("boolean", [False, True])
    assert column(bench, make, [7, None], schema={"a": "string"}) == ("string", ["7", None])
    url = make("id INTEGER PRIMARY KEY, a", [(0, 1), (1, None), (2, "5")])
    error = refusal(bench, url, schema={"a": "integer"}, rows_per_shard=2)
    assert error.message == "column 'a' is of type integer, and '5' is not"
    assert str(error.where).endswith("rows.db, table 't', row 3, column 'a'")


def test_a_table_is_read_in_the_order_of_its_primary_key(bench: Any, make: Make) -> None:
    rows = [("b", 1), ("a", 2), ("a", 1)]
    url = make("x TEXT, y INTEGER, PRIMARY KEY (x, y)", rows)
    expected = [{"x": "a", "y": 1}, {"x": "a", "y": 2}, {"x": "b", "y": 1}]
    assert read(bench, url)[1] == expected
    assert read(bench, url, order_by=["y", "x"])[1][0] == expected[0]
    assert read(bench, url, query_limit=2)[1] == expected[:2]


def test_the_order_of_insertion_makes_no_difference(bench: Any, make: Make) -> None:
    rows = [(n, n / 7) for n in range(1_000)]
    digests = set()
    for some in (rows, rows[::-1]):
        url = make("id INTEGER, a, PRIMARY KEY (id DESC)", some)
        source = SQLDatasource(name="a", url=url, table="t", rows_per_shard=300)
        examples = bench.run(source)["examples"]
        assert [shard.rows for shard in examples.shards] == [300, 300, 300, 100]
        digests.add(bench.store(examples, DatasetFormat()).digest)
    assert len(digests) == 1


def test_without_a_fixed_order_nothing_is_read(bench: Any, make: Make) -> None:
    url = make("x, y", [(1, 1), (1, 2), (None, 3)])
    assert "has no primary key" in refusal(bench, url).message
    error = refusal(bench, url, order_by=["x"])
    assert error.message == "the order is not fixed: 2 rows are equal in 'x'"
    assert [row["y"] for row in read(bench, url, order_by=["x", "y"])[1]] == [3, 1, 2]
    error = refusal(bench, url, order_by=["yy"])
    assert "order_by names columns that the source does not have: 'yy'" in error.message


def test_queries(bench: Any, make: Make) -> None:
    url = make("id INTEGER PRIMARY KEY, a TEXT", [(1, "a:b"), (2, "50%"), (3, "\\:x")])
    query = (
        "WITH some AS (SELECT id, a AS \"ä b\", '%s :x \\:y' AS text FROM t WHERE a <> '%')\n"
        "SELECT * FROM some -- the end;\n;"
    )
    schema, rows = read(bench, url, query=query, order_by=["id"])
    assert schema == {"id": "integer", "ä b": "string", "text": "string"}
    assert rows[1] == {"id": 2, "ä b": "50%", "text": "%s :x \\:y"}
    assert rows[2]["ä b"] == "\\:x"


def test_what_the_database_refuses_is_reported(bench: Any, make: Make, tmp_path: Path) -> None:
    url = make("id INTEGER PRIMARY KEY", [(1,)])
    assert "no such table: none" in refusal(bench, url, table="none", order_by=["a"]).message
    assert "there is no such table" in refusal(bench, url, table="none").message
    error = refusal(bench, url, query="SELECT id FORM t", order_by=["id"])
    assert 'the database refuses: near "t"' in error.message
    error = refusal(bench, url, query="DELETE FROM t RETURNING id", order_by=["id"])
    assert "the database refuses" in error.message
    assert read(bench, url)[1] == [{"id": 1}]
    assert "unable to open" in refusal(bench, f"sqlite:///{tmp_path}/none.db").message
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("a,b\n" * 1_000)
    assert "not a database" in refusal(bench, f"sqlite:///{tmp_path}/text.db").message


def test_what_is_no_table_is_refused(bench: Any, make: Make) -> None:
    url = make("id INTEGER PRIMARY KEY, a", [])
    assert "no rows" in refusal(bench, url).message
    url = make("id INTEGER PRIMARY KEY, a", [(1, None), (2, b"x")])
    error = refusal(bench, url)
    assert "column 'a' holds bytes" in error.message
    assert read(bench, url, query="SELECT id FROM t", order_by=["id"])[0] == {"id": "integer"}
    error = refusal(bench, url, schema={"b": "float"})
    assert "the schema names columns that the source does not have: 'b'" in error.message


def test_hundreds_of_columns_with_any_names(bench: Any, make: Make) -> None:
    names = [f'"c{n} ü ,%:"' for n in range(1_500)]
    url = make(f"id INTEGER PRIMARY KEY, {', '.join(names)}", [(1, *range(1_500))])
    schema, rows = read(bench, url)
    assert len(schema) == 1_501
    assert rows[0]["c7 ü ,%:"] == 7


def test_one_moment_is_read_though_others_write(
    bench: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _rows

    url = make("id INTEGER PRIMARY KEY, a", [(n, n) for n in range(100)] + [(100, "x")])
    path = url.removeprefix("sqlite:///")
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    ordinary = _rows.write_shard
    written = []

    def write_and_disturb(frame: Any, files: Any) -> Any:
        written.append(frame.height)
        writer.execute("UPDATE t SET a = 9000 + id")
        writer.execute("INSERT INTO t VALUES (?, 1)", (1_000 + len(written),))
        writer.commit()
        return ordinary(frame, files)

    monkeypatch.setattr(_rows, "write_shard", write_and_disturb)
    # The last value has all read again.
    schema, rows = read(bench, url, rows_per_shard=10)
    assert schema == {"id": "integer", "a": "string"}
    assert [row["a"] for row in rows] == [*map(str, range(100)), "x"]
    assert len(written) > 11
    writer.close()


def test_a_database_is_always_read_again(make: Make) -> None:
    source = SQLDatasource(name="rows", url=make("id INTEGER PRIMARY KEY"), table="t")
    assert source.fingerprint() != source.fingerprint()


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({"url": "oracle://host/db", "table": "t"}, {"url"}),
        ({"url": "rows.db", "table": "t"}, {"url"}),
        ({"url": "sqlite://", "table": "t"}, {"url"}),
        ({"url": "sqlite:///a.db"}, {"table"}),
        ({"url": "sqlite:///a.db", "table": "t", "query": "SELECT 1"}, {"table", "order_by"}),
        ({"url": "sqlite:///a.db", "query": "SELECT 1"}, {"order_by"}),
        ({"url": "sqlite:///a.db", "query": " ;", "order_by": ["a"]}, {"query"}),
        ({"url": "sqlite:///a.db", "table": "t", "query_limit": 0}, {"query_limit"}),
        ({"url": "sqlite:///a.db", "table": "t", "schema": {"a": "int"}}, {"schema.a"}),
    ],
)
def test_parameters_are_checked_where_they_are_written(
    parameters: dict[str, Any], wrong: set[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SQLDatasource(name="rows", **parameters)
    assert {problem.path for problem in caught.value.problems} == wrong


@pytest.mark.parametrize(
    "parameters",
    [
        {"url": "postgresql://me:hunter2@host/db"},
        {"url": "mysql://me@host/db?password=hunter2"},
        {"url": "mysql://me@host/db", "password": "hunter2"},
    ],
)
def test_a_password_is_taken_by_reference_only_and_never_repeated(
    parameters: dict[str, Any],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SQLDatasource(name="rows", table="t", **parameters)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="expected a reference to a secret"):
        PostgresDatasource(**{**POSTGRES, "password": "hunter2"})


def test_the_original_s_parameters_say_where_postgresql_is() -> None:
    source = PostgresDatasource(**POSTGRES)
    assert (source.host, source.port, source.query_limit) == ("localhost", 5432, None)
    assert str(source.database_url()) == "postgresql+psycopg://me@localhost:5432/db"
