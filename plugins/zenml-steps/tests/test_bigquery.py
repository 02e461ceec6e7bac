"""Snapshots of BigQuery; in its place, a server here speaks its REST protocol to the real client.

The server executes SQL with SQLite, which takes BigQuery's quotes; a table is called there by its
full name. What a query gives is kept, as BigQuery keeps it, and handed out by pages.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from zenml.core.errors import ConfigurationError, DataError, RunCancelledError
from zenml.datasources import BigQueryDatasource
from zenml.pipelines import Pipeline
from zenml.repo import Repository
from zenml.steps.formats import DatasetFormat

pytest.importorskip("google.cloud.bigquery")

SUBJECT = f"subject {secrets.token_hex(8)}"
EMULATOR = "BIGQUERY_EMULATOR_HOST"
TABLE = {"query_project": "mine", "query_dataset": "air", "query_table": "flights"}


class RefusalError(Exception):
    """An error as BigQuery answers it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"reason": reason, "message": message}


class Service:
    """Tables, the jobs that read them, and what is to go wrong."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        self.database.create_collation("number", _compare_numbers)
        self.tables: dict[str, dict[str, Any]] = {}
        self.columns: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = set()
        self.page = 1_000_000
        self.polls = 0
        self.clock = 1_700_000_000_000
        #: (method, pattern of the path, times, what happens instead)
        self.faults: list[list[Any]] = []
        self.seen: list[str] = []

    def put(
        self, name: str, fields: dict[str, Any], rows: list[tuple[Any, ...]], **more: Any
    ) -> None:
        """Make or replace a table; a field is a type, or a whole description."""
        with self.lock:
            described = [
                {
                    "name": key,
                    "mode": "NULLABLE",
                    **(kind if isinstance(kind, dict) else {"type": kind}),
                }
                for key, kind in fields.items()
            ]
            self.database.execute(f'DROP TABLE IF EXISTS "{name}"')
            collations = {"NUMERIC": " COLLATE number", "BIGNUMERIC": " COLLATE number"}
            columns = [f'"{f["name"]}"{collations.get(f["type"], "")}' for f in described]
            self.database.execute(f'CREATE TABLE "{name}" ({", ".join(columns)})')
            marks = ", ".join("?" * len(fields))
            self.database.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)  # noqa: S608
            self.columns |= {field["name"]: field for field in described}
            self.clock += 1_000
            self.tables[name] = {
                "type": "TABLE",
                "numRows": str(len(rows)),
                "numBytes": str(8 * len(rows)),
                "creationTime": "1600000000000",
                "lastModifiedTime": str(self.clock),
                "schema": {"fields": described},
                **more,
            }

    def fail(self, method: str, path: str, instead: Any, times: int = 1) -> None:
        self.faults.append([method, re.compile(path), times, instead])

    def executed(self) -> list[str]:
        """The statements that were not only tried."""
        return [job["query"] for job in self.jobs.values()]

    # -- what the protocol has ---------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        parts = [unquote(part) for part in path.removeprefix("/bigquery/v2/projects/").split("/")]
        if method == "GET" and parts[1] == "datasets":
            name = f"{parts[0]}.{parts[2]}.{parts[4]}"
            if name not in self.tables:
                raise RefusalError(404, "notFound", f"Not found: Table {name}")
            reference = {"projectId": parts[0], "datasetId": parts[2], "tableId": parts[4]}
            return {"tableReference": reference, "etag": "always the same", **self.tables[name]}
        if method == "POST" and parts[1:] == ["jobs"]:
            return self.insert(parts[0], body)
        if method == "POST" and parts[-1] == "cancel":
            self.jobs[parts[2]]["cancelled"] = True
            return {"job": self.job(parts[2])}
        if method == "GET" and parts[1] == "jobs":
            return self.job(parts[2])
        if method == "GET" and parts[1] == "queries":
            return self.results(parts[2], query)
        raise RefusalError(404, "notFound", f"the test's server does not know {method} {path}")

    def insert(self, project: str, body: Any) -> Any:
        config = body["configuration"]
        query, dataset = config["query"]["query"], config["query"].get("defaultDataset", {})
        if config.get("dryRun"):
            schema = self.execute("tried", query, dataset)
            statistics = {"query": {"schema": schema, "totalBytesProcessed": "0"}}
            return {**body, "status": {"state": "DONE"}, "statistics": statistics}
        name = body["jobReference"]["jobId"]
        if name in self.jobs:
            raise RefusalError(409, "duplicate", f"Already Exists: Job {name}")
        job: dict[str, Any] = {"project": project, "query": query, "body": body, "left": self.polls}
        self.jobs[name] = job
        try:
            job["schema"] = self.execute(name, query, dataset)
        except RefusalError as refusal:
            job["error"] = refusal.body
        return self.job(name)

    def job(self, name: str) -> Any:
        job = self.jobs[name]
        job["left"] -= 1
        done = job["left"] < 0 or job.get("cancelled")
        status: dict[str, Any] = {"state": "DONE" if done else "RUNNING"}
        if done and "error" in job:
            status |= {"errorResult": job["error"], "errors": [job["error"]]}
        job["body"]["jobReference"]["location"] = "EU"
        return {
            **job["body"],
            "status": status,
            "statistics": {"query": {"statementType": "SELECT"}},
        }

    def results(self, name: str, query: dict[str, str]) -> Any:
        job = self.jobs[name]
        start = int(query.get("pageToken", "page-0").removeprefix("page-"))
        size = min(int(query.get("maxResults", self.page)), self.page)
        read = f'SELECT * FROM "{name}" ORDER BY rowid LIMIT {size} OFFSET {start}'  # noqa: S608
        rows = self.database.execute(read).fetchall()
        (total,) = self.database.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()  # noqa: S608
        found = {
            "jobReference": job["body"]["jobReference"],
            "jobComplete": True,
            "totalRows": str(total),
            "schema": job["schema"],
            "rows": [{"f": [{"v": _written(value)} for value in row]} for row in rows],
        }
        return {**found, "pageToken": f"page-{start + size}"} if start + size < total else found

    def execute(self, name: str, query: str, dataset: dict[str, str]) -> Any:
        """Execute a query into a table of that name; its schema."""
        if dataset:
            prefix = f"{dataset['projectId']}.{dataset['datasetId']}."
            query = re.sub(r"(?<=FROM )(\w+)", rf"`{prefix}\1`", query)
        try:
            self.database.execute(f'DROP TABLE IF EXISTS "{name}"')
            self.database.execute(f'CREATE TABLE "{name}" AS {query}')
        except sqlite3.Error as error:
            missing = "no such table" in str(error)
            status, reason = (404, "notFound") if missing else (400, "invalidQuery")
            raise RefusalError(status, reason, str(error)) from error
        cursor = self.database.execute(f'SELECT * FROM "{name}" LIMIT 1')  # noqa: S608
        row = next(cursor, None)
        fields = []
        for place, (column, *_) in enumerate(cursor.description):
            computed = {int: "INTEGER", float: "FLOAT"}.get(
                type(row[place] if row else ""), "STRING"
            )
            field = {"name": column, "type": computed, "mode": "NULLABLE"}
            fields.append(self.columns.get(column, field))
        return {"fields": fields}


def _compare_numbers(one: str, other: str) -> int:
    return (Decimal(one) > Decimal(other)) - (Decimal(one) < Decimal(other))


def _written(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


class Handler(BaseHTTPRequestHandler):
    """One request, as HTTP."""

    service: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.handle_any()

    def do_POST(self) -> None:
        self.handle_any()

    def handle_any(self) -> None:
        service, url = self.service, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        plain = json.loads(body) if body.startswith(b"{") else None
        tried = bool(plain) and plain.get("configuration", {}).get("dryRun", False)
        with service.lock:
            service.seen.append(f"{self.command} {url.path}")
            asked = f"{url.path} tried" if tried else url.path
            faults = [fault for fault in service.faults if fault[0] == self.command and fault[2]]
            fault = next((fault for fault in faults if fault[1].search(asked)), None)
            if fault is not None:
                fault[2] -= 1
            try:
                if fault is not None and isinstance(fault[3], RefusalError):
                    raise fault[3]
                if url.path == "/token":
                    answer = self.token(body)
                else:
                    if self.headers["Authorization"].removeprefix("Bearer ") not in service.tokens:
                        raise RefusalError(401, "authError", "Invalid Credentials")
                    answer = service.answer(self.command, url.path, query, plain)
            except RefusalError as refusal:
                error = {"code": refusal.status, "errors": [refusal.body], **refusal.body}
                self.reply(refusal.status, {"error": error})
                return
        if fault is not None:  # the work was done, and nobody hears of it
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.reply(200, answer)

    def token(self, body: bytes) -> Any:
        if parse_qs(body.decode())["subject_token"] != [SUBJECT]:
            raise RefusalError(400, "invalid_grant", "The subject is unknown.")
        token = f"token {len(self.service.tokens)}"
        self.service.tokens.add(token)
        issued = "urn:ietf:params:oauth:token-type:access_token"
        told = {"access_token": token, "issued_token_type": issued, "token_type": "Bearer"}
        return {**told, "expires_in": 3600}

    def reply(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A server, and credentials where the client looks for some: a federated identity's."""
    found = Service()
    handler = type("Bound", (Handler,), {"service": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    subject, key = tmp_path / "subject", tmp_path / "key.json"
    subject.write_text(SUBJECT)
    account = {
        "type": "external_account",
        "audience": "//iam.example.org/tests",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{address}/token",
        "credential_source": {"file": str(subject)},
    }
    key.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv(EMULATOR, address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


FLIGHTS = [(7, "UA", 2.5), (3, "AA", None), (5, None, -1.0), (4, "UA", float(1))]
FIELDS = {"id": "INTEGER", "carrier": "STRING", "delay": "FLOAT"}


@pytest.fixture
def flights(service: Service) -> Service:
    service.put("mine.air.flights", FIELDS, FLIGHTS)
    return service


def source_of(**parameters: Any) -> BigQueryDatasource:
    wanted = {"query_project": "mine"} if "query" in parameters else TABLE
    return BigQueryDatasource(**{"name": "flights", **wanted, **parameters})


def read(bench: Any, **parameters: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    examples = bench.run(source_of(**parameters))["examples"]
    rows = [row for frame in examples.scan(bench.files) for row in frame.to_dicts()]
    assert len(rows) == examples.n_rows()
    return examples.schema, rows


def refusal(bench: Any, **parameters: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read(bench, **parameters)
    return caught.value


def test_a_table_is_read_in_a_fixed_order(bench: Any, flights: Service) -> None:
    schema, rows = read(bench)
    assert schema == {"id": "integer", "carrier": "string", "delay": "float"}
    assert rows == [
        {"id": 3, "carrier": "AA", "delay": None},
        {"id": 4, "carrier": "UA", "delay": 1.0},
        {"id": 5, "carrier": None, "delay": -1.0},
        {"id": 7, "carrier": "UA", "delay": 2.5},
    ]
    assert [row["id"] for row in read(bench, order_by=["carrier"])[1]] == [5, 3, 4, 7]
    assert [row["id"] for row in read(bench, order_by=["delay"], query_limit=2)[1]] == [3, 5]
    assert read(bench, columns=["delay", "carrier"], order_by=["id"], query_limit=1) == (
        {"delay": "float", "carrier": "string"},
        [{"delay": None, "carrier": "AA"}],
    )


def test_neither_the_order_of_insertion_nor_the_pages_make_a_difference(
    bench: Any, service: Service
) -> None:
    rows = [(n % 10, f"text {n % 7}", n % 3 / 2) for n in range(1_000)]
    digests = set()
    for some, page in ((rows, 1_000), (rows[::-1], 7), (rows[500:] + rows[:500], 64)):
        service.put("mine.air.flights", FIELDS, some)
        service.page = page
        examples = bench.run(source_of(rows_per_shard=300))["examples"]
        assert [shard.rows for shard in examples.shards] == [300, 300, 300, 100]
        digests.add(bench.store(examples, DatasetFormat()).digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("field", "values", "kind", "read_as"),
    [
        ("INTEGER", [2**63 - 1, -(2**63), None], "integer", [None, -(2**63), 2**63 - 1]),
        ("INTEGER", [None], "integer", [None]),
        ("FLOAT", ["Infinity", 0.1, 1e300], "float", [0.1, 1e300, float("inf")]),
        ("BOOLEAN", ["true", "false", None], "boolean", [None, False, True]),
        ("STRING", ["", None, "ü"], "string", [None, "", "ü"]),
        ("NUMERIC", ["10", "9.5", None], "float", [None, 9.5, 10.0]),
        ("BIGNUMERIC", ["1e-30", "3"], "float", [1e-30, 3.0]),
        ({"type": "NUMERIC", "precision": "9"}, ["7", "-3"], "integer", [-3, 7]),
        ({"type": "NUMERIC", "precision": "9", "scale": "2"}, ["7", "-3"], "float", [-3.0, 7.0]),
        (
            {"type": "BIGNUMERIC", "precision": "38"},
            ["9" * 20, "1"],
            "string",
            ["1", "9" * 20],
        ),
        ({"type": "NUMERIC", "precision": "20"}, [None], "integer", [None]),
        ("DATE", ["2013-01-31"], "string", ["2013-01-31"]),
        ("TIME", ["05:00:00", "05:00:00.250000"], "string", ["05:00:00", "05:00:00.250"]),
        ("DATETIME", ["2013-01-01T05:00:00"], "string", ["2013-01-01T05:00:00"]),
        (
            "TIMESTAMP",
            [1357016400250000, -1],
            "string",
            ["1969-12-31T23:59:59.999999Z", "2013-01-01T05:00:00.250Z"],
        ),
    ],
)
def test_types_are_those_of_the_columns(
    bench: Any, service: Service, field: Any, values: list[Any], kind: str, read_as: list[Any]
) -> None:
    service.put("mine.air.flights", {"a": field}, [(value,) for value in values])
    for rows_per_shard in (1, 100):
        schema, rows = read(bench, rows_per_shard=rows_per_shard)
        assert (schema["a"], [row["a"] for row in rows]) == (kind, read_as)


def test_a_given_schema_wins_where_nothing_is_lost(bench: Any, flights: Service) -> None:
    schema, rows = read(bench, schema={"id": "string", "delay": "string"})
    assert schema == {"id": "string", "carrier": "string", "delay": "string"}
    assert rows[0] == {"id": "3", "carrier": "AA", "delay": None}
    error = refusal(bench, schema={"delay": "integer"}, rows_per_shard=2)
    assert error.message == "column 'delay' is of type integer, and 2.5 is not"
    assert error.where == "BigQuery, table 'mine.air.flights', row 4, column 'delay'"
    assert "'dealy'" in refusal(bench, schema={"dealy": "float"}).message


def test_columns_that_no_dataset_holds_are_named_before_anything_is_read(
    bench: Any, service: Service
) -> None:
    fields = {
        "id": "INTEGER",
        "raw": "BYTES",
        "place": "GEOGRAPHY",
        "more": "JSON",
        "row": {"type": "RECORD", "fields": [{"name": "x", "type": "STRING"}]},
        "tags": {"type": "STRING", "mode": "REPEATED"},
        "took": "INTERVAL",
    }
    service.put("mine.air.flights", fields, [(1, *"abcdef")])
    error = refusal(bench)
    assert error.message == (
        "no dataset holds columns of that type: 'raw' is of type BYTES, 'place' is of type "
        "GEOGRAPHY, 'more' is of type JSON, 'row' is of type STRUCT, 'tags' is of type "
        "ARRAY<STRING>, 'took' is of type INTERVAL"
    )
    assert not service.executed()
    assert read(bench, columns=["id"])[1] == [{"id": 1}]


def test_queries(bench: Any, flights: Service) -> None:
    query = (
        "WITH late AS (SELECT carrier, id * 2 AS twice FROM `mine.air.flights` WHERE delay > 0)\n"
        "SELECT carrier, COUNT(*) AS flights, SUM(twice) AS total\n"
        "FROM late GROUP BY carrier -- the end;\n;"
    )
    schema, rows = read(bench, query=query)
    assert schema == {"carrier": "string", "flights": "integer", "total": "integer"}
    assert rows == [{"carrier": "UA", "flights": 2, "total": 22}]
    short = "SELECT id FROM flights WHERE carrier = 'UA'"
    assert read(bench, query=short, query_dataset="air")[1] == [{"id": 4}, {"id": 7}]


def test_who_pays_and_where_is_up_to_the_caller(bench: Any, flights: Service) -> None:
    read(bench, dest_project="other", location="EU")
    (job,) = flights.jobs.values()
    assert (job["project"], job["body"]["jobReference"]["location"]) == ("other", "EU")
    assert {"dest_project", "location"} <= BigQueryDatasource.unkeyed


def test_one_query_shows_one_moment_and_is_read_again_if_a_type_is_wider(
    bench: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _rows

    fields = {"id": "INTEGER", "a": {"type": "BIGNUMERIC", "precision": "38"}}
    rows = [(n, str(n)) for n in range(100)] + [(100, "9" * 20)]
    service.put("mine.air.flights", fields, rows)
    service.page = 10
    ordinary = _rows.write_shard
    written = []

    def write_and_disturb(frame: Any, files: Any) -> Any:
        written.append(frame.height)
        service.put("mine.air.flights", fields, [(0, "0")])
        return ordinary(frame, files)

    monkeypatch.setattr(_rows, "write_shard", write_and_disturb)
    schema, found = read(bench, rows_per_shard=10)
    assert schema == {"id": "integer", "a": "string"}
    assert [row["a"] for row in found] == [text for _, text in rows]
    assert len(written) > 11
    assert len(service.executed()) == 1


def test_a_large_table_is_not_held_in_memory(bench: Any, service: Service) -> None:
    import tracemalloc

    rows = [(n, "x" * 2_000) for n in range(20_000)]
    service.put("mine.air.flights", {"id": "INTEGER", "a": "STRING"}, rows)
    service.page = 500
    read(bench, query_limit=1)  # imports what is needed
    tracemalloc.start()
    try:
        examples = bench.run(source_of(rows_per_shard=500))["examples"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert examples.n_rows() == 20_000
    assert peak < 15 << 20  # of 40 MB


# -- versions --------------------------------------------------------------------------------------


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    return Repository.init_repo()


def test_a_table_that_did_not_change_is_not_read_again(repo: Repository, flights: Service) -> None:
    source = source_of()
    first = source.commit()
    assert source_of().commit() == first
    assert len(flights.executed()) == 1
    flights.put("mine.air.flights", FIELDS, FLIGHTS[::-1])
    assert source_of().commit() == first
    assert len(flights.executed()) == 2
    flights.put("mine.air.flights", FIELDS, FLIGHTS[:3])
    assert source_of().commit() != first
    assert len(source.commits) == 2


@pytest.mark.parametrize(
    "more", [{"type": "VIEW"}, {"type": "EXTERNAL"}, {"streamingBuffer": {"estimatedRows": "1"}}]
)
def test_what_may_have_changed_unnoticed_is_always_read(
    service: Service, more: dict[str, Any]
) -> None:
    service.put("mine.air.flights", FIELDS, FLIGHTS, **more)
    assert source_of().fingerprint() != source_of().fingerprint()
    assert source_of(query="SELECT 1").fingerprint() != source_of(query="SELECT 1").fingerprint()


def test_a_plan_holds_no_credentials(repo: Repository, flights: Service, tmp_path: Path) -> None:
    pipeline = Pipeline(name="reads", datasource=source_of())
    text = pipeline.build().to_yaml()
    assert "flights" in text
    assert not flights.seen
    run = pipeline.run()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "repo").rglob("*") if path.is_file())
    for word in (SUBJECT, *flights.tokens):
        assert word not in text
        assert word.encode() not in kept
    assert run.status == "succeeded"


# -- what goes wrong -------------------------------------------------------------------------------

#: Where a query is begun, where one is only tried, where pages are.
JOBS, TRIED, PAGES = r"/jobs$", r"/jobs tried$", r"/queries/"


@pytest.mark.parametrize(
    ("method", "path", "times"),
    [
        ("POST", JOBS, 2),
        ("POST", TRIED, 1),
        ("GET", PAGES, 1),
        ("GET", r"/jobs/", 1),
        ("GET", r"/tables/", 1),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_a_service_that_is_busy_or_answers_in_vain_is_asked_again(
    bench: Any, flights: Service, method: str, path: str, times: int, lost: bool
) -> None:
    flights.page, flights.polls = 2, 2
    busy = RefusalError(503, "backendError", "try again")
    flights.fail(method, path, "lost" if lost else busy, times)
    source = source_of()
    assert source.fingerprint()["rows"] == 4
    assert [row["id"] for row in read(bench)[1]] == [3, 4, 5, 7]
    assert not any(fault[2] for fault in flights.faults)
    assert len(flights.executed()) == 1


@pytest.mark.parametrize(
    ("fault", "said", "remedy"),
    [
        (
            (
                "POST",
                JOBS,
                RefusalError(403, "accessDenied", "Access Denied: no bigquery.jobs.create"),
            ),
            "access is denied: Access Denied: no bigquery.jobs.create",
            "BigQuery Job User in project 'mine'",
        ),
        (
            ("GET", PAGES, RefusalError(403, "quotaExceeded", "Quota exceeded: too much")),
            "a quota is exceeded: Quota exceeded: too much",
            "raised",
        ),
        (
            ("POST", TRIED, RefusalError(404, "notFound", "Not found: Dataset mine:air")),
            "there is no such thing: Not found: Dataset mine:air",
            "check project, dataset and table",
        ),
        (
            ("POST", "/token", RefusalError(400, "invalid_grant", "The subject is unknown.")),
            "the credentials are not accepted",
            "renew the key",
        ),
        (
            ("POST", JOBS, RefusalError(401, "authError", "Invalid Credentials")),
            "the credentials are not accepted",
            "renew the key",
        ),
    ],
)
def test_what_bigquery_refuses_is_one_error(
    bench: Any, flights: Service, fault: Any, said: str, remedy: str
) -> None:
    flights.fail(*fault, times=100)
    error = refusal(bench)
    assert error.message.startswith(said)
    assert "\n" not in error.message
    assert remedy in str(error.remedy)
    assert error.where == "BigQuery, table 'mine.air.flights'"


def test_names_and_queries_that_are_wrong(bench: Any, flights: Service) -> None:
    assert "no such table: mine.air.none" in refusal(bench, query_table="none").message
    with pytest.raises(DataError, match=r"Not found: Table mine\.air\.none"):
        source_of(query_table="none").fingerprint()
    message = refusal(bench, query="SELECT id FORM flights").message
    assert message.startswith("BigQuery refuses: ")
    assert "'carier'" in refusal(bench, columns=["carier"]).message
    error = refusal(bench, order_by=["carier"])
    assert "order_by names columns that the source does not have: 'carier'" in error.message
    assert error.remedy == "did you mean 'carrier' for 'carier'?"
    assert (
        "no rows" in refusal(bench, query="SELECT id FROM `mine.air.flights` WHERE id > 9").message
    )
    assert refusal(bench, query="SELECT").where == "BigQuery, query in project 'mine'"


def test_a_query_that_fails_on_its_way_is_one_error(bench: Any, flights: Service) -> None:
    ordinary = flights.execute
    exceeded = RefusalError(
        400, "resourcesExceeded", "Resources exceeded: The query could not be sorted"
    )

    def execute(name: str, query: str, dataset: dict[str, str]) -> Any:
        if "ORDER BY" in query:
            raise exceeded
        return ordinary(name, query, dataset)

    flights.execute = execute  # type: ignore[method-assign]
    flights.polls = 1
    error = refusal(bench)
    assert error.message == "BigQuery refuses: Resources exceeded: The query could not be sorted"
    assert "make a result smaller" in str(error.remedy)


def test_without_credentials_nothing_is_tried(
    bench: Any, flights: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    error = refusal(bench)
    assert error.message == "there are no credentials for Google Cloud"
    assert "gcloud auth application-default login" in str(error.remedy)
    assert not flights.seen


def test_a_service_that_cannot_be_reached_is_given_up(
    bench: Any, flights: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenml.datasources import _bigquery_client

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv(EMULATOR, f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setattr(_bigquery_client, "_DEADLINE", 2.0)
        started = time.monotonic()
        error = refusal(bench)
    assert error.message.startswith("BigQuery cannot be reached, or fails: ")
    assert time.monotonic() - started < 60


def test_a_run_that_is_cancelled_cancels_its_query(
    bench: Any, flights: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    flights.polls = 1_000_000

    def asked() -> bool:
        return any(seen.startswith("GET") for seen in flights.seen)

    monkeypatch.setattr(bench, "cancelled", asked)
    with pytest.raises(RunCancelledError):
        bench.run(source_of())
    (job,) = flights.jobs.values()
    assert job["cancelled"]


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({"query_table": None}, {"query_table"}),
        ({"query": "SELECT 1", "query_table": "t"}, {"query_table"}),
        ({"query_dataset": None, "query_table": "t"}, {"query_dataset"}),
        ({"query": " ;"}, {"query"}),
        ({"query_table": "t`; --"}, {"query_table"}),
        ({"query_table": "events_*"}, {"query_table"}),
        ({"query_table": "t$20200101"}, {"query_table"}),
        ({"query_dataset": "a.b"}, {"query_dataset"}),
        ({"query_project": "Not mine"}, {"query_project"}),
        ({"dest_project": ""}, {"dest_project"}),
        ({"query_limit": 0}, {"query_limit"}),
        ({"columns": []}, {"columns"}),
        ({"columns": ["a", "a"], "order_by": ["b", "b"]}, {"columns", "order_by"}),
        ({"schema": {"a": "int"}}, {"schema.a"}),
        ({"gcs_location": "gs://bucket"}, {"gcs_location"}),
    ],
)
def test_parameters_are_checked_where_they_are_written(
    parameters: dict[str, Any], wrong: set[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        source_of(**parameters)
    assert {problem.path for problem in caught.value.problems} == wrong


def test_the_original_s_parameters_are_there() -> None:
    source = BigQueryDatasource(name="flights", **TABLE)
    assert (source.query_limit, source.dest_project, source.schema) == (None, None, None)
