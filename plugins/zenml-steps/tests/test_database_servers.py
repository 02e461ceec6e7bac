"""Snapshots of real servers, which the tests start for themselves on this machine."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zenml.core.errors import ConfigurationError, DataError
from zenml.core.testing import wait_until
from zenml.datasources import PostgresDatasource, SQLDatasource

sa = pytest.importorskip("sqlalchemy")

REFERENCE = "env:TEST_PASSWORD"
PASSWORD = f"pass:w@rd/{secrets.token_hex(4)}"


class Server:
    """One that listens on loopback."""

    def __init__(self, url: Any) -> None:
        self.engine = sa.create_engine(url.set(password=PASSWORD), poolclass=sa.NullPool)
        self.url = str(url.set(drivername=url.get_backend_name()))
        self.port = url.port

    def execute(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


def program(name: str, package: str) -> str:
    folders = [os.environ.get("PATH", ""), "/usr/sbin", *glob.glob("/usr/lib/postgresql/*/bin")]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def unprivileged() -> dict[str, Any]:
    """Neither server wants to be started by root."""
    return {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def private_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zenml-db-") as name:
        if unprivileged():
            shutil.chown(name, "nobody")
        yield Path(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], folder: Path, ready: Callable[[], Any]) -> Iterator[None]:
    """A process of ours, until the end; it is ready when ``ready`` no longer raises."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, **unprivileged()
        )

    def is_ready() -> bool:
        try:
            ready()
        except sa.exc.OperationalError:
            said = (folder / "log").read_text(errors="replace")[-2_000:]
            assert process.poll() is None, said
            return False
        return True

    try:
        wait_until(is_ready, timeout=60, what="the server's readiness")
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def prepare(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, **unprivileged()
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    initdb, daemon = program("initdb", "postgresql"), program("postgres", "postgresql")
    with private_folder() as folder:
        (folder / "password").write_text(PASSWORD)
        if unprivileged():
            shutil.chown(folder / "password", "nobody")
        options = ["-U", "me", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        prepare([initdb, "-D", "data", "--pwfile=password", *options], folder)
        port = free_port()
        server = Server(sa.make_url(f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"))
        command = [daemon, "-D", "data", "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        with running([*command, "-c", "fsync=off"], folder, lambda: server.execute("SELECT 1")):
            yield server


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Server]:
    pytest.importorskip("pymysql")
    install = program("mariadb-install-db", "mariadb-server")
    daemon = program("mariadbd", "mariadb-server")
    with private_folder() as folder:
        base = ["--no-defaults", f"--datadir={folder}/data"]
        prepare(
            [install, *base, "--auth-root-authentication-method=normal", "--skip-test-db"], folder
        )
        port = free_port()
        (folder / "init.sql").write_text(
            f"CREATE DATABASE tests; CREATE USER me@127.0.0.1 IDENTIFIED BY '{PASSWORD}';"
            "GRANT ALL ON tests.* TO me@127.0.0.1;\n".replace("; ", ";\n").replace(";G", ";\nG")
        )
        (folder / "init.sql").chmod(0o644)
        server = Server(sa.make_url(f"mysql+pymysql://me@127.0.0.1:{port}/tests"))
        places = [f"--socket={folder}/socket", "--bind-address=127.0.0.1", f"--port={port}"]
        files = [f"--pid-file={folder}/pid", f"--init-file={folder}/init.sql"]
        zone = ["--default-time-zone=+05:00", "--skip-name-resolve"]
        command = [daemon, *base, *places, *files, *zone]
        with running(command, folder, lambda: server.execute("SELECT 1")):
            yield server


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", PASSWORD)


def read(bench: Any, source: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    examples = bench.run(source)["examples"]
    return examples.schema, [r for frame in examples.scan(bench.files) for r in frame.to_dicts()]


def source_of(server: Server, **parameters: Any) -> SQLDatasource:
    return SQLDatasource(name="a", url=server.url, password=REFERENCE, **parameters)


def test_a_table_is_the_same_snapshot_in_every_database(
    bench: Any, postgres: Server, mariadb: Server
) -> None:
    outputs = []
    for server in (postgres, mariadb):
        server.execute(
            "DROP TABLE IF EXISTS same",
            "CREATE TABLE same (id BIGINT PRIMARY KEY, a DOUBLE PRECISION, b TEXT,"
            " c DECIMAL(10, 2), d DECIMAL(5, 0), e DATE, f TIMESTAMP NULL, g DECIMAL(30, 0))",
            "INSERT INTO same VALUES (2, 0.1, 'ü', 1.50, 7, '2013-01-31', '2013-01-01 05:00:00',"
            " 12345678901234567890), (1, NULL, '', NULL, NULL, NULL, NULL, NULL)",
        )
        if server is mariadb:  # it takes a timestamp for one of its own time zone
            server.execute("UPDATE same SET f = f + INTERVAL 5 HOUR WHERE id = 2")
        outputs.append(bench.run(source_of(server, table="same")))
    assert outputs[0] == outputs[1]
    _, rows = read(bench, source_of(postgres, table="same"))
    assert rows[0] == {"id": 1, **dict.fromkeys("acdefg"), "b": ""}
    assert rows[1] == {
        "id": 2,
        "a": 0.1,
        "b": "ü",
        "c": 1.5,
        "d": 7,
        "e": "2013-01-31",
        "f": "2013-01-01T05:00:00",
        "g": "12345678901234567890",
    }


def test_what_only_postgresql_has(bench: Any, postgres: Server) -> None:
    postgres.execute(
        "DROP SCHEMA IF EXISTS other CASCADE",
        "CREATE SCHEMA other",
        'CREATE TABLE other.t ("Id" INT PRIMARY KEY, a BOOLEAN, b TIMESTAMPTZ, c UUID, d FLOAT8)',
        "INSERT INTO other.t VALUES (1, true, '2013-01-01 05:00:00.25-05',"
        " '00000000-0000-0000-0000-000000000001', 'NaN'), (2, NULL, NULL, NULL, '-Infinity')",
    )
    source = PostgresDatasource(
        name="rows",
        username="me",
        password=REFERENCE,
        database="postgres",
        table="other.t",
        host="127.0.0.1",
        port=postgres.port,
    )
    schema, rows = read(bench, source)
    assert list(schema.values()) == ["integer", "boolean", "string", "string", "float"]
    assert rows[0]["b"] == "2013-01-01T10:00:00.250Z"
    assert rows[0]["c"] == "00000000-0000-0000-0000-000000000001"
    assert rows[0]["d"] != rows[0]["d"]
    assert rows[1]["d"] == float("-inf")
    assert read(bench, source.replace(query_limit=1))[1][0]["Id"] == 1


@pytest.mark.parametrize("kind", ["BYTEA", "INTERVAL", "JSONB", "INT[]"])
def test_columns_that_no_dataset_holds_are_named(bench: Any, postgres: Server, kind: str) -> None:
    value = {"BYTEA": "'x'", "INTERVAL": "'1 day'", "JSONB": "'{}'", "INT[]": "'{1}'"}[kind]
    source = source_of(postgres, query=f"SELECT 1 AS id, {value}::{kind} AS ä", order_by=["id"])
    with pytest.raises(DataError, match="column 'ä' holds"):
        bench.run(source)


def test_queries(bench: Any, server: Server) -> None:
    query = "SELECT 1 AS id, '50% :x' AS a UNION ALL SELECT 0, 'b' -- the end;"
    _, rows = read(bench, source_of(server, query=query, order_by=["id"]))
    assert rows == [{"id": 0, "a": "b"}, {"id": 1, "a": "50% :x"}]


def test_an_order_that_is_one_only_for_us_is_refused(bench: Any, mariadb: Server) -> None:
    query = "SELECT 'a' AS x, 1 AS y UNION ALL SELECT 'A', 2"
    with pytest.raises(DataError, match="2 rows are equal in 'x'"):
        bench.run(source_of(mariadb, query=query, order_by=["x"]))


def test_one_moment_is_read_though_others_write(
    bench: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _rows

    server.execute(
        "DROP TABLE IF EXISTS busy",
        "CREATE TABLE busy (id INT PRIMARY KEY, a DOUBLE PRECISION)",
        "INSERT INTO busy VALUES " + ", ".join(f"({n}, NULL)" for n in range(100)),  # noqa: S608
        "INSERT INTO busy VALUES (100, 0.5)",
    )
    ordinary = _rows.write_shard
    written = []

    def write_and_disturb(frame: Any, files: Any) -> Any:
        written.append(frame.height)
        server.execute(
            "UPDATE busy SET a = 9",
            f"INSERT INTO busy VALUES ({1_000 + len(written)}, 1)",  # noqa: S608
        )
        return ordinary(frame, files)

    monkeypatch.setattr(_rows, "write_shard", write_and_disturb)
    # The last value has all read again.
    schema, rows = read(bench, source_of(server, table="busy", rows_per_shard=10))
    assert schema == {"id": "integer", "a": "float"}
    assert [row["a"] for row in rows] == [None] * 100 + [0.5]
    assert len(written) > 11


def test_nothing_can_be_written(bench: Any, postgres: Server) -> None:
    postgres.execute("DROP SEQUENCE IF EXISTS s", "CREATE SEQUENCE s")
    source = source_of(postgres, query="SELECT nextval('s') AS id", order_by=["id"])
    with pytest.raises(DataError, match="read-only transaction"):
        bench.run(source)


def test_a_large_table_is_not_held_in_memory(bench: Any, server: Server) -> None:
    import tracemalloc

    server.execute(
        "DROP TABLE IF EXISTS large", "CREATE TABLE large (id INT PRIMARY KEY, a VARCHAR(2000))"
    )
    for start in range(0, 20_000, 2_000):
        rows = (f"({n}, REPEAT('x', 2000))" for n in range(start, start + 2_000))
        server.execute(f"INSERT INTO large VALUES {', '.join(rows)}")  # noqa: S608
    source = source_of(server, table="large", rows_per_shard=500)
    tracemalloc.start()
    try:
        examples = bench.run(source)["examples"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert examples.n_rows() == 20_000
    assert peak < 15 << 20  # of 40 MB


def test_errors_name_the_server_and_never_the_password(
    bench: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(server, table="none")
    assert PASSWORD not in f"{source!r} {source.parameters()}"
    with pytest.raises(DataError, match="there is no such table"):
        bench.run(source)
    monkeypatch.setenv("TEST_PASSWORD", "wrong-password")
    with pytest.raises(DataError, match="the database refuses") as caught:
        bench.run(source)
    assert "wrong-password" not in str(caught.value)
    assert f"127.0.0.1:{server.port}" in str(caught.value.where)
    monkeypatch.delenv("TEST_PASSWORD")
    with pytest.raises(ConfigurationError, match="TEST_PASSWORD"):
        bench.run(source)
