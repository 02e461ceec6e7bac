"""What the store in Cloud Storage costs beside a bare script of google-cloud-storage.

    python benchmarks/transfer.py [--megabytes N] [--shards N] [--threads N] [--rounds N] [--json]

Starts the server of ``tests/services``. Shards are uploaded and downloaded by as many threads, once
with the store and once with the client's own upload_from_filename and download_to_filename, in turn
and in processes of their own. Nothing is asserted: a budget that is not kept is a red row.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from _report import Row, describe_machine, print_machine, print_rows, wide_console

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "services"))

from harness import GCSServer

#: Ours over the bare script's.
BUDGET = 1.2

#: Told the bucket, a folder of shards and the number of threads; says how long either way took.
BARE = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from google.cloud import storage

bucket = storage.Client(project="bench").bucket(sys.argv[1].partition("://")[2])
shards = sorted(Path(sys.argv[2]).iterdir())
copies = Path(sys.argv[3])

def upload(path):
    bucket.blob(f"bare/{path.name}").upload_from_filename(str(path))

def download(path):
    bucket.blob(f"bare/{path.name}").download_to_filename(str(copies / path.name))
"""

OURS = """
import shutil, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zenml.core import open_store

store = open_store(f"{sys.argv[1]}/ours")
store.prepare()
shards = sorted(Path(sys.argv[2]).iterdir())
copies = Path(sys.argv[3])

def upload(path):
    store.upload(path.name, path)

def download(path):
    with store.open(path.name) as source, open(copies / path.name, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
"""

TIMED = """
with ThreadPoolExecutor(int(sys.argv[4])) as pool:
    for move in (upload, download):
        begun = time.monotonic()
        list(pool.map(move, shards))
        print(time.monotonic() - begun)
"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="zenml-bench-") as folder:
        found = _measure(Path(folder), options)
    rows = [row for way in ("upload", "download") for row in _rows(way, found)]
    if options.json:
        figures = [row.to_dict() for row in rows]
        print(json.dumps({"benchmark": "transfer", "machine": machine, "rows": figures}))
        return
    console = wide_console()
    print_machine(console, machine)
    said = f"{options.megabytes} MB in {options.shards} shards, {options.threads} threads"
    print_rows(console, f"Transfer: {said}", rows)


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    shards, copies = folder / "shards", folder / "copies"
    shards.mkdir()
    copies.mkdir()
    for number in range(options.shards):
        size = options.megabytes * 1_000_000 // options.shards
        contents = random.Random(number).randbytes(size)  # noqa: S311 - contents, no secret
        (shards / f"{number:03}").write_bytes(contents)
    found: dict[str, list[float]] = {}
    for turn in range(options.rounds + 1):
        for name, script in (("bare", BARE), ("zenml", OURS)):
            # A server of its own each time, so that none has to replace what an earlier one wrote.
            with GCSServer() as server:
                bucket = server.make_bucket("bench")
                done = subprocess.run(
                    [
                        *(sys.executable, "-c", script + TIMED),
                        *(bucket, str(shards), str(copies), str(options.threads)),
                    ],
                    env={**os.environ, "STORAGE_EMULATOR_HOST": server.url},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
            for path in copies.iterdir():
                if path.read_bytes() != (shards / path.name).read_bytes():
                    sys.exit(f"error: {name} gave other bytes of shard {path.name}")
                path.unlink()
            if turn or not options.rounds:  # the first of each warms up
                for way, seconds in zip(("upload", "download"), done.stdout.split(), strict=True):
                    found.setdefault(f"{name} {way}", []).append(float(seconds))
    return found


def _rows(way: str, found: dict[str, list[float]]) -> list[Row]:
    bare, ours = found[f"bare {way}"], found[f"zenml {way}"]
    ratios = [mine / other for mine, other in zip(ours, bare, strict=True)]
    return [
        Row(f"{way}: google-cloud-storage", [1000 * seconds for seconds in bare]),
        Row(f"{way}: the store", [1000 * seconds for seconds in ours]),
        Row(f"{way}: ours over the bare one's", ratios, unit="x", budget=BUDGET),
    ]


if __name__ == "__main__":
    main()
