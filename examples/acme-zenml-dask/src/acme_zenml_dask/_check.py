"""Looks whether the backend could work now."""

from __future__ import annotations

import platform
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING

from acme_zenml_dask._cluster import local_cluster
from acme_zenml_dask._map import connected, lacking
from zenml.core import Check, errors

if TYPE_CHECKING:
    from distributed import Client

    from acme_zenml_dask._backend import ProcessingDaskBackend

__all__ = ["checks"]


def checks(backend: ProcessingDaskBackend) -> list[Check]:
    """See ``Backend.check``."""
    try:
        if backend.address is not None:
            with connected(backend.address, backend.timeout) as client:
                return _of_cluster(client, backend.address)
        with local_cluster(1, 1, backend.timeout) as address:
            version = metadata.version("distributed")
            return [Check("cluster", True, f"Dask {version} starts on this machine ({address})")]
    except errors.RunError as error:
        return [Check("scheduler", False, error.message, error.remedy)]


def _of_cluster(client: Client, address: str) -> list[Check]:
    found = [Check("scheduler", True, f"{address} answers")]
    threads = client.nthreads()
    if not threads:
        return [*found, Check("workers", False, "there are none", "start some with 'dask worker'")]
    found.append(Check("workers", True, f"{len(threads)}, with {sum(threads.values())} threads"))
    found += [
        Check(f"worker {worker}", False, "acme-zenml-dask is not installed there", "install it")
        for worker in lacking(client, threads)
    ]
    for name, ask in (
        ("Python", platform.python_version),
        ("zenml-core", partial(metadata.version, "zenml-core")),
    ):
        here = ask()
        answers = client.run(ask, on_error="return")
        found += [
            Check(
                f"worker {worker}", False, f"has {name} {said}, here is {here}", "make them equal"
            )
            for worker, said in sorted(answers.items())
            if said != here and not isinstance(said, metadata.PackageNotFoundError)
        ]
    return found
