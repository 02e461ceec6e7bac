"""What the store in Cloud Storage does about each thing that goes wrong on the way."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from harness import FaultProxy, GCSServer

from zenml.core import open_store
from zenml.core.errors import (
    IntegrityError,
    ObjectNotFoundError,
    StoreError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from zenml.gcp import GCSArtifactStore

FAULTS: dict[str, dict[str, Any]] = {
    "429": {"fault": "status", "status": 429},
    "500": {"fault": "status", "status": 500},
    "503": {"fault": "status", "status": 503},
    "refused": {"fault": "refused"},
    "lost": {"fault": "lost"},
    "truncated": {"fault": "truncated"},
    "slow": {"fault": "slow", "pause": 0.02},
    "duplicated": {"fault": "duplicated"},
}

#: Those after which a server may have done what the client does not know of.
UNKNOWN = ("lost", "truncated", "duplicated")


@pytest.fixture
def proxy(gcs_server: GCSServer) -> Iterator[FaultProxy]:
    with FaultProxy(gcs_server.url) as proxy:
        yield proxy


@pytest.fixture
def store(gcs: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store whose requests go through the proxy."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    store = GCSArtifactStore(f"{gcs}/store?deadline=20")
    store.prepare()
    yield store
    store._bucket().client.close()


def names_in(server: GCSServer, store: Any) -> list[str]:
    """All objects of the store's bucket, as the server has them."""
    url = f"{server.url}/storage/v1/b/{store._location.bucket}/o"
    return [item["name"] for item in requests.get(url, timeout=10).json().get("items", ())]


# -- each operation, each fault --------------------------------------------------------------------


def _reads(store: Any, tmp_path: Path) -> None:
    assert store.read("there") == b"bytes"
    with pytest.raises(ObjectNotFoundError):
        store.read("never")


def _writes(store: Any, tmp_path: Path) -> None:
    store.write("x", b"1")
    store.write("there", b"2")
    assert (store.read("x"), store.read("there")) == (b"1", b"2")


def _is_first(store: Any, tmp_path: Path) -> None:
    assert store.write_if_absent("x", b"1") is True
    assert store.write_if_absent("x", b"2") is False
    assert store.read("x") == b"1"


def _lists(store: Any, tmp_path: Path) -> None:
    assert [(row.key, row.size) for row in store.list("")] == [("there", 5)]
    assert list(store.list("", after="there")) == []


def _knows(store: Any, tmp_path: Path) -> None:
    assert store.exists("there")
    assert not store.exists("never")


def _deletes(store: Any, tmp_path: Path) -> None:
    store.delete("there")
    store.delete("there")
    assert not store.exists("there")


def _opens(store: Any, tmp_path: Path) -> None:
    with store.open("there") as file:
        assert file.read() == b"bytes"


def _uploads(store: Any, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(9 << 20)  # noqa: S311 - contents, no secret
    (tmp_path / "file").write_bytes(data)
    store.upload("x", tmp_path / "file")
    assert store.read("x") == data


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "use", [_reads, _writes, _is_first, _lists, _knows, _deletes, _opens, _uploads]
)
def test_an_operation_whose_request_fails_once_does_what_it_should(
    store: Any, proxy: FaultProxy, tmp_path: Path, use: Callable[..., None], fault: str
) -> None:
    store.write("there", b"bytes")
    rule = proxy.inject(**FAULTS[fault])

    use(store, tmp_path)

    assert rule.hits == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_many_operations_come_to_what_they_would_without_faults(
    store: Any, proxy: FaultProxy, fault: str
) -> None:
    rule = proxy.inject(**FAULTS[fault], every=3)
    rule.times = None
    draw, held = random.Random(fault), dict[str, bytes]()  # noqa: S311 - an order, no secret

    for number in range(60):
        key, data = f"k/{draw.randrange(6)}", str(number).encode()
        match draw.randrange(4):
            case 0:
                store.write(key, data)
                held[key] = data
            case 1:
                assert store.write_if_absent(key, data) is (key not in held), number
                held.setdefault(key, data)
            case 2:
                store.delete(key)
                held.pop(key, None)
            case 3:
                assert store.exists(key) is (key in held), number

    assert {row.key: store.read(row.key) for row in store.list("")} == held
    assert rule.hits > 10


# -- who was first ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", UNKNOWN)
def test_the_first_writer_is_told_so_although_its_answer_was_lost(
    store: Any, proxy: FaultProxy, fault: str
) -> None:
    rule = proxy.inject(fault, method="POST")

    assert store.write_if_absent("x", b"mine") is True

    assert rule.hits == 1
    assert store.write_if_absent("x", b"mine") is False, "equal bytes do not make it the first"


@pytest.mark.parametrize("fault", UNKNOWN)
def test_of_many_writers_whose_answers_are_lost_exactly_one_is_the_first(
    store: Any, proxy: FaultProxy, fault: str
) -> None:
    proxy.inject(fault, method="POST", every=2, times=None)
    for number in range(5):
        won: list[bytes] = []

        def write(mine: bytes, key: str = f"x/{number}", won: list[bytes] = won) -> None:
            if store.write_if_absent(key, mine):
                won.append(mine)

        threads = [threading.Thread(target=write, args=(str(n).encode(),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert won == [store.read(f"x/{number}")]


# -- bytes that are others -------------------------------------------------------------------------


def test_bytes_that_were_damaged_on_the_way_in_are_asked_for_again(
    store: Any, proxy: FaultProxy
) -> None:
    store.write("x", b"bytes" * 1000)
    rules = [proxy.inject("damaged", method="GET"), proxy.inject("damaged", method="GET")]

    assert store.read("x") == b"bytes" * 1000
    with store.open("x") as file:
        assert file.read() == b"bytes" * 1000

    assert [rule.hits for rule in rules] == [1, 1]


@pytest.mark.parametrize("method", ["write", "write_if_absent"])
def test_bytes_that_were_damaged_on_the_way_out_are_sent_again(
    store: Any, proxy: FaultProxy, method: str
) -> None:
    rule = proxy.inject("damaged request", method="POST")

    assert getattr(store, method)("x", b"bytes" * 1000) in (None, True)

    assert rule.hits == 1
    assert store.read("x") == b"bytes" * 1000


def test_bytes_that_always_come_damaged_are_not_used(store: Any, proxy: FaultProxy) -> None:
    store.write("x", b"bytes" * 1000)
    proxy.inject("damaged", method="GET", times=None)

    for read in (store.read, store.open):
        with pytest.raises(IntegrityError, match="crc32c differs"):
            read("x")


def test_a_large_object_with_one_damaged_part_is_not_taken_for_the_whole(
    store: Any, proxy: FaultProxy, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(20 << 20))
    store.upload("x", tmp_path / "file")
    with store.open("x") as file:
        proxy.inject("damaged", method="GET", path="alt=media")
        with pytest.raises(IntegrityError, match="crc32c differs"):
            file.read()


# -- large files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is sent in three parts."""
    path = tmp_path_factory.mktemp("large") / "file"
    path.write_bytes(random.Random(3).randbytes((66 << 20) + 12345))  # noqa: S311 - contents
    return path


@pytest.mark.parametrize("fault", [None, "503", *UNKNOWN])
def test_a_large_file_is_sent_in_parts_and_read_in_parts(
    store: Any, proxy: FaultProxy, gcs_server: GCSServer, large: Path, fault: str | None
) -> None:
    if fault is not None:
        proxy.inject(**FAULTS[fault], method="PUT")
        proxy.inject(**FAULTS[fault], method="POST", path="compose")
        proxy.inject(**FAULTS[fault], method="DELETE")
        proxy.inject(**FAULTS[fault], method="GET", path="alt=media.*generation")

    store.upload("x", large)
    with store.open("x") as file:
        found = file.read()

    assert found == large.read_bytes()
    assert all(rule.hits == 1 for rule in proxy.rules)
    assert names_in(gcs_server, store) == ["store/x"], "parts are left in the bucket"


def test_an_upload_in_parts_that_fails_leaves_nothing(
    gcs: str,
    proxy: FaultProxy,
    gcs_server: GCSServer,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    store = GCSArtifactStore(f"{gcs}/store")
    proxy.inject("status", status=403, method="POST", path="compose", times=None)

    with pytest.raises(StoreReadOnlyError):
        store.upload("x", large)

    assert names_in(gcs_server, store) == []
    store._bucket().client.close()


def test_reading_anywhere_in_a_large_object_asks_for_what_is_read(
    store: Any, proxy: FaultProxy, large: Path
) -> None:
    store.upload("x", large)
    data = large.read_bytes()
    proxy.requests.clear()

    with store.open("x") as file:
        for begin in (len(data) - 8, 40 << 20, 7, (8 << 20) - 3):
            file.seek(begin)
            assert file.read(6) == data[begin : begin + 6]

    ranges = [r.headers["Range"] for r in proxy.requests if "Range" in r.headers]
    assert len(ranges) <= 6, f"a few bytes here and there asked for {ranges}"


def test_an_object_that_is_replaced_while_it_is_read_says_so(
    store: Any, large: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(bytes(9 << 20))
    store.upload("x", large)
    with store.open("x") as file:
        file.read(10)
        store.upload("x", tmp_path / "other")
        with pytest.raises(StoreUnavailableError, match="replaced or deleted while it was read"):
            file.read()


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_memory_holds_a_few_parts_of_a_large_object(
    gcs: str, gcs_server: GCSServer, tmp_path: Path
) -> None:
    code = """
import resource, shutil, sys
from pathlib import Path
from zenml.core import open_store

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

store, file = open_store(sys.argv[1]), Path(sys.argv[2])
store.prepare()
before = peak()
store.upload("x", file)
with store.open("x") as source, open(file, "wb") as target:
    shutil.copyfileobj(source, target, 1 << 20)
print(peak() - before)
"""
    file = tmp_path / "file"
    with file.open("wb") as target:
        target.truncate(400 << 20)

    done = subprocess.run(
        [sys.executable, "-c", code, gcs, str(file)], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 300, f"{done.stdout} MiB for a file of 400"


# -- what is not tried again, and what is tried no longer ------------------------------------------


def test_what_fails_for_longer_than_the_deadline_is_unavailable(
    gcs: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    store = GCSArtifactStore(f"{gcs}?deadline=1")
    proxy.inject("status", status=503, times=None)
    begun = time.monotonic()

    with pytest.raises(StoreUnavailableError, match="Backend Error"):
        store.write("x", b"")

    assert time.monotonic() - begun < 10
    assert len(proxy.requests) > 1
    store._bucket().client.close()


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")

    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        GCSArtifactStore("gs://nowhere?deadline=0.5").read("x")


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, StoreError, "gcloud auth application-default login"),
        (403, StoreReadOnlyError, "roles/storage.objectUser"),
        (400, StoreError, "refuses the request"),
    ],
)
def test_what_trying_again_does_not_help_is_tried_once(
    store: Any, proxy: FaultProxy, status: int, kind: type[StoreError], says: str
) -> None:
    proxy.inject("status", status=status, times=None)
    proxy.requests.clear()

    with pytest.raises(kind, match=says) as caught:
        store.write("x", b"")

    assert not isinstance(caught.value, StoreUnavailableError)
    assert len(proxy.requests) == 1


def test_a_bucket_that_is_not_there_is_named_with_the_command_that_makes_it(gcs: str) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        open_store("gs://there-is-no-such-bucket/x").prepare()

    assert "there is no bucket gs://there-is-no-such-bucket" in caught.value.message
    assert "gcloud storage buckets create gs://there-is-no-such-bucket" in str(caught.value)


# -- what requests say -----------------------------------------------------------------------------


def test_options_of_the_url_are_in_the_requests(
    gcs: str, proxy: FaultProxy, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
    store = GCSArtifactStore(f"{gcs}/store?user_project=payer&kms_key_name={key}")

    store.prepare()
    store.write("x", b"")
    store.write_if_absent("x", b"")
    store.upload("y", large)
    store.exists("x")
    store.read("x")
    list(store.list(""))
    store.delete("x")

    assert [r.path for r in proxy.requests if "userProject=payer" not in r.path] == [
        r.path for r in proxy.requests if r.method == "PUT"
    ], "only the address of an upload that was begun says it already"
    begun = [r for r in proxy.requests if r.method == "POST"]
    assert len(begun) == 6
    for request in begun:
        said = requests.utils.unquote(request.path) + request.body.decode(errors="replace")
        assert re.search(f'kmsKeyName(=|": "){key}', said), request
    store._bucket().client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="ages an object where the server keeps it")
def test_an_object_that_is_relied_on_again_counts_as_new(
    store: Any, proxy: FaultProxy, gcs_server: GCSServer
) -> None:
    store.write("old", b"")
    [file] = (gcs_server.folder / store._location.bucket / "store").iterdir()
    kept = json.loads(os.getxattr(file, "user.metadata"))
    long_ago = datetime.now(timezone.utc) - timedelta(days=3)
    os.setxattr(
        file, "user.metadata", json.dumps(kept | {"Updated": long_ago.isoformat()}).encode()
    )
    store.write("new", b"")

    for key in ("old", "new"):
        assert store.write_if_absent(key, b"") is False

    patched = [r for r in proxy.requests if r.method == "PATCH"]
    assert ["old" in r.path for r in patched] == [True]
    assert b"zenml-renewed" in patched[0].body


# -- urls ------------------------------------------------------------------------------------------


def test_a_url_with_mistakes_is_refused_with_all_of_them() -> None:
    with pytest.raises(StoreError) as caught:
        GCSArtifactStore("gs://No_Bucket/a/../b?kms=1&deadline=soon&user_project=a&user_project=b")

    for said in ("'No_Bucket'", "'a/../b'", "no option 'kms'", "'soon'", "'user_project' is given"):
        assert said in caught.value.message


def test_a_url_has_one_spelling() -> None:
    url = (
        "gs://bucket/a/b?user_project=p&impersonate_service_account=robot@p.iam.gserviceaccount.com"
    )

    assert GCSArtifactStore(url).url == url
    assert GCSArtifactStore("gs://bucket/a/b/?deadline=120").url == "gs://bucket/a/b"
    assert GCSArtifactStore("gs://bucket/").url == "gs://bucket"


def test_google_is_imported_when_the_store_is_used() -> None:
    code = """
import sys
from zenml.core import open_store
from zenml.repo import Repository
import zenml.gcp
zenml.gcp.GCSArtifactStore, zenml.gcp.find_credentials
open_store("gs://bucket/x")
print([name for name in ("google.auth", "google.cloud.storage", "requests") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
