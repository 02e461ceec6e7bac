"""Clusters that are there before any map, and stay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from distributed import LocalCluster


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers unpack code here, and not where the user keeps things."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def start_cluster(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LocalCluster]:
    """Starts a cluster of two workers, unless options say otherwise."""

    def start(**options: Any) -> LocalCluster:
        return LocalCluster(
            **{"n_workers": 2, "threads_per_worker": 1, **options},
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path_factory.mktemp("scratch")),
            silence_logs=logging.CRITICAL,
        )

    return start


@pytest.fixture(scope="module")
def cluster(start_cluster: Callable[..., LocalCluster]) -> Iterator[LocalCluster]:
    """One for all tests that leave it as it was."""
    with start_cluster() as started:
        yield started
