"""Compute Engine: five verbs, by Google's own client over REST.

The client is imported when it is used: it takes seconds.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

from zenml.gcp._credentials import find_credentials
from zenml.gcp._machine import MachineOptions

__all__ = ["Compute", "Operation", "Place", "RefusedError", "Serial", "connect"]

#: Seconds that one answer may take.
_TIMEOUT: Final = 30.0

#: The serial port that only the startup script and the container write to. Port 1 is the kernel's.
_PORT: Final = 2

#: Of a refusal with status 403 that is none: so many requests at once.
_TOO_MANY: Final = ("rateLimitExceeded", "userRateLimitExceeded")

#: What is done to a machine that is not there afterwards. Ours are deleted when they are preempted.
_ENDS: Final = ("delete", "compute.instances.preempted")

_Result = TypeVar("_Result")


class RefusedError(Exception):
    """The API has refused a request.

    Attributes:
        status: The HTTP status.
        reason: In one word, as Google has it: ``notFound``, ``alreadyExists``.
        message: In words.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Place(NamedTuple):
    """Where a machine is, and what it is found by: the plain data of a handle.

    Attributes:
        project: Its project.
        zone: Its zone.
        name: Its name.
        id: What Compute Engine calls it: a later machine of the same name has another.
        job: The job's name.
        digest: Of the job's task.
    """

    project: str
    zone: str
    name: str
    id: str
    job: str
    digest: str


class Operation(NamedTuple):
    """What was done to a machine.

    Attributes:
        kind: ``insert``, ``delete``, ``stop``, ``compute.instances.preempted``, …
        request: The id of the request, if it had one.
        user: Who asked for it.
        done: Whether it has ended.
        errors: Code and words of each error.
    """

    kind: str
    request: str
    user: str
    done: bool
    errors: tuple[tuple[str, str], ...]


class Serial(NamedTuple):
    """A piece of what was written to the serial port.

    Attributes:
        text: What was written.
        start: Where it begins, in bytes from the beginning.
        end: Where it ends.
    """

    text: str
    start: int
    end: int


class Compute:
    """The API, as one user.

    Args:
        options: Says where it is, and as whom.
    """

    def __init__(self, options: MachineOptions) -> None:
        from google.cloud import compute_v1

        self._types: Any = compute_v1
        self._credentials, _ = find_credentials(
            project=options.project,
            impersonate_service_account=options.impersonate_service_account,
            api_endpoint=options.api_endpoint,
        )
        self._endpoint = options.api_endpoint
        self._instances = self._client(compute_v1.InstancesClient)
        self._operations = self._client(compute_v1.ZoneOperationsClient)

    def _client(self, kind: Any) -> Any:
        options = {} if self._endpoint is None else {"api_endpoint": self._endpoint}
        return kind(credentials=self._credentials, client_options=options, transport="rest")

    def rest(self) -> None:
        """Close the connections that nobody uses at the moment."""
        for client in (self._instances, self._operations):
            client.transport.close()

    def insert(self, project: str, zone: str, request: str, instance: Mapping[str, Any]) -> str:
        """Ask for a machine; returns its id. The same request twice is one machine.

        Raises:
            RefusedError: ``alreadyExists`` if another request has made one of that name.
            ConnectionError: whether it was made is not known.
        """
        body = self._types.Instance.from_json(json.dumps(instance))
        asked = self._types.InsertInstanceRequest(
            project=project, zone=zone, request_id=request, instance_resource=body
        )
        made = _ask(lambda: self._instances.insert_unary(asked, retry=None, timeout=_TIMEOUT))
        if not made.target_id:
            raise ConnectionError("Compute Engine's answer does not say which machine it makes")
        return str(made.target_id)

    def find(self, project: str, zone: str, name: str) -> Any | None:
        """A machine, as ``compute_v1.Instance``; None if there is none."""
        return _unless_gone(
            lambda: self._instances.get(
                project=project, zone=zone, instance=name, retry=None, timeout=_TIMEOUT
            )
        )

    def status(self, place: Place) -> str | None:
        """What the instance of a machine says that it is; None if it is not there."""
        found = self.find(place.project, place.zone, place.name)
        return None if found is None or str(found.id) != place.id else str(found.status)

    def serial(self, place: Place, start: int) -> Serial | None:
        """What its job has written, from a byte on; below 0, so many bytes from the end.

        None if the machine is not there, or is not so far.
        """
        asked = self._types.GetSerialPortOutputInstanceRequest(
            project=place.project, zone=place.zone, instance=place.name, port=_PORT, start=start
        )
        try:
            said = _unless_gone(
                lambda: self._instances.get_serial_port_output(asked, retry=None, timeout=_TIMEOUT)
            )
        except RefusedError as error:
            if error.reason != "resourceNotReady":
                raise
            return None
        return None if said is None else Serial(said.contents, said.start, said.next_)

    def delete(self, place: Place, request: str, *, now: bool = False) -> bool:
        """Delete a machine; gone is no error.

        Args:
            place: Which.
            request: The id of the request.
            now: Do not wait for what the machine would do before.

        Returns:
            Whether it is being deleted: a machine that somebody stops cannot be, until it is off.
        """
        asked = self._types.DeleteInstanceRequest(
            project=place.project, zone=place.zone, instance=place.name, request_id=request
        )
        if now:
            asked.no_graceful_shutdown = True
        try:
            _unless_gone(lambda: self._instances.delete_unary(asked, retry=None, timeout=_TIMEOUT))
        except RefusedError as error:
            if error.reason != "resourceNotReady":
                raise
            return any(one.kind in _ENDS for one in self.operations(place))
        return True

    def operations(self, place: Place) -> list[Operation]:
        """What was done to a machine, oldest first. It is known for some days."""
        asked = self._types.ListZoneOperationsRequest(
            project=place.project, zone=place.zone, filter=f"targetId={place.id}"
        )

        def read() -> list[Any]:
            return [*self._operations.list(asked, retry=None, timeout=_TIMEOUT)]

        found = [one for one in _ask(read) if str(one.target_id) == place.id]
        found.sort(key=lambda one: one.insert_time)
        return [
            Operation(
                one.operation_type,
                one.client_operation_id,
                one.user,
                one.status == self._types.Operation.Status.DONE,
                tuple((error.code, error.message) for error in one.error.errors),
            )
            for one in found
        ]

    def look_up(self, kind: str, **names: str) -> Any:
        """A zone, or a type of machine or GPU in it, by the client of that name."""
        client = self._client(getattr(self._types, kind))
        try:
            return _ask(lambda: client.get(**names, retry=None, timeout=_TIMEOUT))
        finally:
            client.transport.close()


# -- answers ---------------------------------------------------------------------------------------


def _ask(work: Callable[[], _Result]) -> _Result:
    with _telling():
        return work()


def _unless_gone(work: Callable[[], _Result]) -> _Result | None:
    try:
        return _ask(work)
    except RefusedError as error:
        if error.status == 404:
            return None
        raise


@contextmanager
def _telling() -> Iterator[None]:
    """What went wrong: ``ConnectionError`` if asking again may help, else ``RefusedError``."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.protobuf.json_format import ParseError
    from requests.exceptions import RequestException

    try:
        yield
    except GoogleAPICallError as error:
        status = int(error.code or 0)
        # Without the request, which is in front.
        said = re.sub(r"^[A-Z]+ \S+: ", "", str(error.message))
        reason = next((str(one.get("reason") or "") for one in error.errors if one), "")
        # Too many requests, or a service that is overloaded, or starting.
        if status == 429 or status >= 500 or reason in _TOO_MANY or not status:
            raise ConnectionError(f"Compute Engine answers {status}: {said}") from error
        raise RefusedError(status, reason, said) from error
    except (RequestException, TransportError, RetryError, ParseError) as error:
        raise ConnectionError(f"Compute Engine cannot be reached: {error}") from error
    except GoogleAuthError as error:
        raise RefusedError(401, "authError", str(error)) from error


_known: dict[tuple[str | None, ...], Compute] = {}
_connecting = threading.Lock()


def connect(options: MachineOptions) -> Compute:
    """The API that the options name; its connections are shared within this process.

    Raises:
        BackendError: there are no credentials.
    """
    key = (options.api_endpoint, options.impersonate_service_account, options.project)
    with _connecting:
        if key not in _known:
            _known[key] = Compute(options)
        return _known[key]
