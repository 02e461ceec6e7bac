"""Whole pipelines on virtual machines of their own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from zenml.core import Handle, Job, JobOrchestratorBackend, JobState, LogPage
from zenml.core.errors import BackendError
from zenml.gcp._compute import Compute, Place, RefusedError, connect
from zenml.gcp._instance import DIGEST, deletion_id, render
from zenml.gcp._machine import MachineOptions
from zenml.gcp._states import (
    STOPPED,
    STOPPING,
    is_tidied,
    state_of_gone,
    state_of_present,
    state_of_stopped,
)

__all__ = ["OrchestratorGCPBackend"]

#: Bytes from the end of what a machine has written, in which its last word is looked for.
_END: Final = 8192

#: Seconds that a machine gets to switch off when somebody stops it, and some more.
_SWITCHING_OFF: Final = 120.0


class OrchestratorGCPBackend(MachineOptions, JobOrchestratorBackend):
    """Runs a pipeline on a virtual machine of Compute Engine, which deletes itself afterwards.

    One machine runs one attempt at a plan: Container-Optimized OS, which boots, pulls ``image`` and
    runs it.
    """

    def render(self, job: Job) -> dict[str, Any]:
        """Where the machine is made, by which request, the instance, and what it runs."""
        return render(self, job)

    def submit(self, job: Job) -> Handle:
        """Ask for the machine, by a request that is the same whoever sends it."""
        self._refuse_in_vain(job)
        spec = render(self, job)
        compute = connect(self)
        name = spec["instance"]["name"]
        with _asking(f"a machine in {self.project}, {self.zone}"):
            try:
                found = compute.insert(self.project, self.zone, spec["requestId"], spec["instance"])
            except RefusedError as error:
                if error.status != 409:
                    raise
                found = self._existing(compute, name, job)
        return self._handle(job, name, found)

    def _refuse_in_vain(self, job: Job) -> None:
        """Ask for no machine that could not do its work."""
        if self.image is None and self.source_disk_image is None:
            raise BackendError(
                "the machine does not know which image to pull",
                remedy="give image= one in a registry that the machine reaches, such as "
                "europe-docker.pkg.dev/PROJECT/REPOSITORY/zenml:1; 'zenml image build' makes one",
            )
        # A stand-in's machines have the folders of this one.
        real = self.api_endpoint is None or self.api_endpoint.startswith("https://")
        if real and job.store.startswith("file:"):
            raise BackendError(
                "the machine cannot see a folder of this one",
                where=job.store,
                remedy="use a bucket as the artifact store: artifact_store='gs://BUCKET/FOLDER'",
            )

    def find(self, job: Job) -> Handle | None:
        """The machine of the job's name, if it was made for it."""
        name = render(self, job)["instance"]["name"]
        with _asking(f"the machine '{name}'", waiting=True):
            found = connect(self).find(self.project, self.zone, name)
        if found is None or _digest_of(found) != job.digest:
            return None
        return self._handle(job, name, str(found.id))

    def _handle(self, job: Job, name: str, machine: str) -> Handle:
        """A handle of the machine of that name and id."""
        place = Place(self.project, self.zone, name, machine, job.name, job.digest)
        return Handle(job=job.name, data=place._asdict())

    def _existing(self, compute: Compute, name: str, job: Job) -> str:
        """The id of the machine of that name, if it does the same."""
        found = compute.find(self.project, self.zone, name)
        if found is None:
            raise ConnectionError(f"the machine '{name}' was there a moment ago")
        if _digest_of(found) != job.digest:
            raise BackendError(
                f"there is a machine '{name}' already, and it does something else",
                where=f"{self.project}, {self.zone}",
                remedy=f"gcloud compute instances delete {name} --project {self.project} "
                f"--zone {self.zone}, or another instance_name=",
            )
        return str(found.id)

    def poll(self, handle: Handle) -> JobState:
        """What the instance, its last word, and the operations of the zone tell."""
        place = Place(**handle.data)
        compute = connect(self)
        with _asking(f"the machine '{place.name}'", waiting=True):
            status = compute.status(place)
            if status is None:
                return state_of_gone(place, compute.operations(place))
            serial = compute.serial(place, -_END)
            said = "" if serial is None else serial.text
            if status in STOPPED | STOPPING:
                done = compute.operations(place)
                return state_of_stopped(status, place, said, done)
            return state_of_present(status, place, said)

    def logs(self, handle: Handle, cursor: str = "") -> LogPage:
        """What was written to serial port 2, as long as the machine is there."""
        place = Place(**handle.data)
        # Where to read from, in bytes, and how many lines from there on are known already.
        start, known = json.loads(cursor) if cursor else (0, 0)
        compute = connect(self)
        with _asking(f"the log of the machine '{place.name}'", waiting=True):
            status = compute.status(place)
            if status is None:
                return LogPage((), cursor)
            if status in STOPPING and is_tidied(place, compute.operations(place)):
                return LogPage((), cursor)
            said = compute.serial(place, start)
        if said is None:
            return LogPage((), cursor)
        if said.start != start:  # what was written first is not kept for ever
            start, known = said.start, 0
        whole, end, _ = said.text.rpartition("\n")
        lines = whole.replace("\r", "").split("\n") if end else []
        # Where a line is half written, bytes are not counted: characters may be cut in two.
        position = [said.end, 0] if said.text.endswith("\n") else [start, len(lines)]
        return LogPage(tuple(lines[known:]), json.dumps(position))

    def cancel(self, handle: Handle, grace: float) -> None:
        """Delete the machine, which gives the job what time there is, some 30 s."""
        place = Place(**handle.data)
        with _asking(f"the machine '{place.name}'", waiting=True):
            request = deletion_id(place.job, place.digest, "cancel")
            connect(self).delete(place, request, now=grace == 0)

    def cleanup(self, handle: Handle) -> None:
        """Delete the machine, if it has not deleted itself; wait for one that is being stopped."""
        place = Place(**handle.data)
        compute = connect(self)
        with _asking(f"the machine '{place.name}'", waiting=True):
            deadline = time.monotonic() + _SWITCHING_OFF
            while not compute.delete(
                place, deletion_id(place.job, place.digest, "cleanup"), now=True
            ):
                if time.monotonic() > deadline:
                    raise BackendError(
                        f"the machine '{place.name}' is being stopped, and takes long to be off",
                        where=f"{place.project}, {place.zone}",
                    )
                threading.Event().wait(1.0)
        compute.rest()


def _digest_of(machine: Any) -> str | None:
    """Of the task that a machine was made for."""
    told = {item.key: item.value for item in machine.metadata.items}
    digest: str | None = told.get(DIGEST)
    return digest


@contextmanager
def _asking(what: str, *, waiting: bool = False) -> Iterator[None]:
    """Turn refusals into errors that say what to do.

    Args:
        what: What is asked for.
        waiting: Whether the work goes on without it: then credentials that have run out are no
            reason to give it up.
    """
    try:
        yield
    except RefusedError as error:
        told = f"Compute Engine refuses {what}: {error.message}"
        if error.status == 401 and waiting:
            raise ConnectionError(f"{told}; log in again") from error
        raise BackendError(told, remedy=_remedy(error)) from error


def _remedy(error: RefusedError) -> str | None:
    said = error.message
    if error.status == 401:
        return "log in again: gcloud auth application-default login"
    if "has not been used" in said or "SERVICE_DISABLED" in said or "accessNotConfigured" in said:
        return "gcloud services enable compute.googleapis.com"
    if error.reason == "quotaExceeded" or "Quota" in said:
        return "wait until other machines have ended, ask for less, or have the quota raised"
    if error.status == 403 and "actAs" in said:
        return "grant roles/iam.serviceAccountUser on the machine's service account"
    if error.status == 403:
        return "'zenml backend permissions' prints the role that is needed"
    if error.status == 404:
        return "check project=, zone= and what else the message names: 'zenml backend check'"
    if error.status == 400:
        return "correct the backend's parameters; 'zenml plan --render' shows what is sent"
    return None
