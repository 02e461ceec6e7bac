"""Looks whether the backend could work now."""

from __future__ import annotations

import os
import shutil
import socket
from importlib import metadata
from typing import TYPE_CHECKING

from zenml.core import Check

if TYPE_CHECKING:
    from zenml.beam.processing import ProcessingBeamBackend

__all__ = ["check_engine", "checks", "prism_command"]


def checks(backend: ProcessingBeamBackend) -> list[Check]:
    """See ``Backend.check``."""
    beam = Check("Beam", True, f"{metadata.version('apache-beam')}, {backend.runner}")
    engine = check_engine(backend)
    return [beam] if engine is None else [beam, engine]


def check_engine(backend: ProcessingBeamBackend) -> Check | None:
    """Look for what the runner needs beside Beam; None if that is nothing."""
    if backend.runner == "PrismRunner":
        return _prism(str(backend.options["prism_location"]))
    if backend.runner == "PortableRunner":
        return _job_service(str(backend.options["job_endpoint"]))
    return None


def prism_command() -> str:
    """What builds Prism's program, in the version that Beam has here."""
    version = metadata.version("apache-beam")
    return f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"


def _prism(location: str) -> Check:
    if "://" in location:
        return Check("Prism", True, f"Beam gets it from {location}")
    if shutil.which(os.path.abspath(location)):
        return Check("Prism", True, location)
    there = "cannot be executed" if os.path.exists(location) else "is not there"
    return Check("Prism", False, f"'{location}' {there}", prism_command())


def _job_service(endpoint: str) -> Check:
    host, _, port = endpoint.rpartition(":")
    remedy = "start it, or correct the job_endpoint: HOST:PORT"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        return Check("job service", False, f"'{endpoint}' does not answer: {error}", remedy)
    return Check("job service", True, f"{endpoint} answers")
