"""Why a job has failed, from what Dataflow and its workers have said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["ENDED", "Failure", "failure_of"]

#: States in which nothing changes any more, by name.
ENDED: Final = frozenset({"DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"})

_DIED: Final = "a unit of work ended its worker process each time that it was tried"

#: Words, what they mean in ours (None: as they are), the cause, and what to do.
_ERRORS: Final[tuple[tuple[str, str | None, str | None, str | None], ...]] = (
    (
        r"RESOURCE_POOL_EXHAUSTED|not have enough resources|failed to bring up any",
        None,
        "UNSCHEDULABLE",
        "another region= or machine_type=, or later",
    ),
    (
        r"quota",
        None,
        "UNSCHEDULABLE",
        "fewer workers, another region=, or have the quota raised",
    ),
    (
        r"ErrImagePull|ImagePullBackOff|image could not be pulled|Error syncing pod",
        None,
        "IMAGE",
        "check image=, and that the workers' service account may pull it",
    ),
    (
        r"No module named '(zenml|apache_beam)",
        None,
        "IMAGE",
        "the image needs Beam, zenml-dataflow and zenml-core as they are here",
    ),
    (
        r"Failed to install packages|pip.*(failed|error)|No matching distribution",
        None,
        "IMAGE",
        "workers without public addresses reach no index: give an image=",
    ),
    (
        r"out of memory|\bOOM\b|MemoryError",
        None,
        "OOM",
        "a machine_type= with more memory, fewer threads=, or smaller shards",
    ),
    (
        r"SDK disconnect|SDK harness \S+ disconnected|lost contact with the service",
        _DIED,
        None,
        "run the step with a local processing backend to see it fail here, or use larger machines",
    ),
    (
        r"StoreUnavailableError",
        None,
        "INFRA",
        "check that the workers reach the artifact store; run again: finished units are kept",
    ),
    (
        r"PERMISSION_DENIED|does not have permission|\b403\b",
        None,
        "CONFIG",
        "'zenml backend permissions' prints the roles that are needed",
    ),
)


class Failure(NamedTuple):
    """Why a job has failed.

    Attributes:
        message: In words.
        cause: As the core names it, if it is known.
        remedy: What to do.
    """

    message: str
    cause: str | None
    remedy: str | None


def failure_of(messages: Sequence[str]) -> Failure:
    """What a job's errors come to, in the order in which they were said."""
    if not messages:
        return Failure("the job failed, and Dataflow does not say why", "LOST", None)
    # Its last words are about the work item that was tried in vain, and the cause is before them.
    for pattern, meaning, cause, remedy in _ERRORS:
        for message in reversed(messages):
            if re.search(pattern, message):
                return Failure(meaning or _in_short(message), cause, remedy)
    told = [one for one in messages if "Traceback" in one] or [messages[-1]]
    return Failure(_in_short(told[-1]), None, None)


def _in_short(message: str) -> str:
    """A message without the traceback of what is not the user's."""
    if "Traceback" not in message:
        return " ".join(message.split())[:500]
    lines = [line for line in message.splitlines() if line and not line.startswith((" ", "\t"))]
    found = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    return " ".join((found or lines)[-1].split())[:500]
