"""Whether Vertex AI could be used now: one line for each thing that goes wrong on the first day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zenml.core import Check, open_store
from zenml.core.errors import BackendError, StoreError
from zenml.gcaip._api import SECONDS, ask, connect, location
from zenml.gcaip._logs import read_log
from zenml.gcaip._options import VertexOptions
from zenml.gcaip._packages import folder_of
from zenml.gcaip._spec import executor_of

__all__ = ["check"]


def check(options: VertexOptions) -> list[Check]:
    """See ``Backend.check``. What cannot be looked at after a failure is left out."""
    try:
        client = connect(options)
    except BackendError as error:
        return [Check("credentials", False, error.message, error.remedy)]
    found = [Check("machine", True, f"{options.machine_type} with one {options.gpu_type}")]
    found.append(_asked(options, "Vertex AI", lambda: _list(options, client)))
    if all(line.ok for line in found):
        found += [
            _asked(options, "Cloud Logging", lambda: read_log(options, "0", "")),
            *_folder(options),
        ]
    software = options.image or f"packages, in {executor_of(options)}"
    return [*found, Check("software", True, software)]


def _list(options: VertexOptions, client: Any) -> None:
    request = {"parent": location(options), "page_size": 1}
    client.list_custom_jobs(request=request, retry=None, timeout=SECONDS)


def _asked(options: VertexOptions, name: str, question: Callable[[], Any]) -> Check:
    try:
        with ask(options, name):
            question()
    except BackendError as error:
        return Check(name, False, error.message, error.remedy)
    except (ConnectionError, TimeoutError) as error:
        return Check(name, False, str(error), "check the network, and a proxy on the way")
    return Check(name, True, location(options))


def _folder(options: VertexOptions) -> Iterator[Check]:
    """Whether the folder of jobs can be read; whether it can be written to, only a job tells."""
    try:
        open_store(folder_of(options)).exists("packages")
    except StoreError as error:
        yield Check("job_dir", False, error.message, error.remedy)
    else:
        yield Check("job_dir", True, options.job_dir)
