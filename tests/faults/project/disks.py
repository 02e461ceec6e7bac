"""Steps that break the disk that the store is on, each in its own way."""

import os
import subprocess
from pathlib import Path

from zenml.pipelines import StepContext, step

ran = []


@step
def first() -> int:
    ran.append("first")
    return 1


@step
def after(value: int) -> int:
    ran.append("after")
    return value + 1


@step
def too_much(value: int, how: str, context: StepContext) -> object:
    ran.append("too_much")
    if how == "bytes":
        return bytes(5_000_000)
    if how == "list":
        return list(range(1_000_000))
    path = context.files.scratch / "file"
    if how == "units":
        return context.map(write, list(range(4)))
    with path.open("wb") as file:
        for _ in range(5_000):
            file.write(os.urandom(1000))
    return path


def write(payload, files):
    blob = files.put_bytes(bytes([payload]) * 1_200_000)
    return {"part": payload, "digest": blob.digest}


@step
def call(value: int, command: list[str]) -> int:
    ran.append("call")
    subprocess.run(command, check=True)
    return value


@step
def call_then_write(value: int, command: list[str], context: StepContext) -> Path:
    path = context.files.scratch / "file"
    subprocess.run(command, check=True)
    path.write_text("too late")
    return path
