"""The stand-in for Compute Engine as a process: ``python -m harness._compute_server SETTINGS``.

It speaks the REST protocol of the API, ``/compute/v1/…``; each request is read as the message that
Google has published for it, strictly. Machines really run. What happens to machines in a data
centre, or in the console, is asked for under ``/control/…``; see ``compute.py``.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from google.cloud import compute_v1
from google.protobuf import json_format

from harness._compute_machine import Machine

#: Seconds that a machine is made, and about to boot.
_MAKING = 0.1

#: Seconds that a machine gets to shut down.
_SHUTDOWN = 30.0

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")

#: Fields of an instance that only the service writes.
_OUTPUT_ONLY: Final = frozenset(
    {"cpuPlatform", "creationTimestamp", "fingerprint", "id", "kind", "labelFingerprint"}
    | {"lastStartTimestamp", "lastStopTimestamp", "resourceStatus", "satisfiesPzi", "selfLink"}
    | {"startRestricted", "status", "statusMessage", "zone"}
)

_TESTER: Final = "tester@example.com"
_SYSTEM: Final = "system@google.com"


class Refused(Exception):  # noqa: N818 - as HTTP has it
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Compute:
    """All projects and zones.

    Args:
        settings: ``folder``, ``images``, ``environment``, ``machine_types``, ``accelerator_types``,
            ``zones``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.folder = Path(settings["folder"])
        self.settings = settings
        self.url = ""
        self.lock = threading.RLock()
        self.machines: dict[tuple[str, str, str], Machine] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, tuple[bytes, dict[str, Any]]] = {}
        self.asked: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.broken: frozenset[str] = frozenset()
        self.hurry = 1.0
        self.number = int(time.time() * 1000) << 20

    # -- the API ---------------------------------------------------------------------------------

    def insert(
        self, project: str, zone: str, body: bytes, query: dict[str, str], user: str
    ) -> dict[str, Any]:
        known = self._known(query, body)
        if known is not None:
            return known
        resource = _instance(body, zone, self.settings)
        name = resource["name"]
        with self.lock:
            known = self._known(query, body)
            if known is not None:
                return known
            if (project, zone, name) in self.machines:
                path = f"projects/{project}/zones/{zone}/instances/{name}"
                raise Refused(409, "alreadyExists", f"The resource '{path}' already exists")
            self._refuse("insert")
            self.number += 1
            number = str(self.number)
            machine = f"{self.url}/compute/v1/projects/{project}/zones/{zone}/instances/{name}"
            resource |= {"id": number, "kind": "compute#instance", "selfLink": machine}
            resource |= {"status": "PROVISIONING", "creationTimestamp": _now()}
            operation = self._begin("insert", project, zone, machine, number, query, user)
            if "requestId" in query:
                self.requests[query["requestId"]] = (body, operation)
            failure = self._failure("operation")
            if failure is not None:
                self._end(operation, failure["code"], failure["message"])
                return operation
            folder = self.folder / f"{name}-{number}"
            made = Machine(resource, folder, self.settings, self.url, self.broken)
            self.machines[project, zone, name] = made
        self._later(0, lambda: self._make(made, operation))
        return operation

    def _known(self, query: dict[str, str], body: bytes) -> dict[str, Any] | None:
        """The operation that a request with the same id has begun."""
        request = query.get("requestId")
        if request is None:
            return None
        try:
            uuid.UUID(request)
        except ValueError:
            raise Refused(400, "invalid", f"Invalid value '{request}' for requestId") from None
        with self.lock:
            before, operation = self.requests.get(request, (body, None))
        # Maps have no order.
        if json.loads(before or b"0") != json.loads(body or b"0"):
            raise Refused(400, "invalid", f"Request {request} was another one before")
        return operation

    def _make(self, machine: Machine, operation: dict[str, Any]) -> None:
        for status in ("STAGING", "RUNNING"):
            time.sleep(_MAKING)
            with self.lock:
                if machine.resource["status"] not in ("PROVISIONING", "STAGING"):
                    self._end(operation)
                    return
                machine.resource["status"] = status
                if status == "RUNNING":
                    machine.boot()
        self._end(operation)
        limit = machine.resource.get("scheduling", {}).get("maxRunDuration")
        if limit is not None:
            self._limit(machine, float(limit["seconds"]) / self.hurry)

    def _limit(self, machine: Machine, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while machine.resource["status"] == "RUNNING":
            if time.monotonic() > deadline:
                self.remove(machine, "delete", {}, _SYSTEM)
                return
            time.sleep(min(1.0, seconds))

    def get(self, project: str, zone: str, name: str) -> Machine:
        with self.lock:
            machine = self.machines.get((project, zone, name))
        if machine is None:
            path = f"projects/{project}/zones/{zone}/instances/{name}"
            raise Refused(404, "notFound", f"The resource '{path}' was not found")
        if machine.off and machine.resource["status"] == "RUNNING":
            machine.resource["status"] = "TERMINATED"
            machine.kill()
        return machine

    def remove(
        self,
        machine: Machine,
        kind: str,
        query: dict[str, str],
        user: str,
        *,
        seconds: float = _SHUTDOWN,
    ) -> dict[str, Any]:
        """Delete a machine, or stop it. ``kind`` is the operation's."""
        resource = machine.resource
        with self.lock:
            if resource["status"] == "STOPPING":
                said = f"The resource '{resource['selfLink']}' is not ready"
                raise Refused(400, "resourceNotReady", said)
            running = resource["status"] == "RUNNING"
            resource["status"] = "STOPPING"
            project, zone, name = _place(resource["selfLink"])
            operation = self._begin(
                kind, project, zone, resource["selfLink"], resource["id"], query, user
            )

        def work() -> None:
            if running:
                machine.shut_down(seconds)
            with self.lock:
                if kind == "stop":
                    resource["status"] = "TERMINATED"
                else:
                    del self.machines[project, zone, name]
                self._end(operation)

        self._later(0, work)
        return operation

    def find_operations(self, project: str, zone: str, wanted: str) -> list[dict[str, Any]]:
        """Those of a zone that a filter lets through: ``field=value``, joined by AND."""
        with self.lock:
            found = [dict(one) for one in self.operations.values()]
        prefix = f"{self.url}/compute/v1/projects/{project}/zones/{zone}/"
        found = [one for one in found if one["selfLink"].startswith(prefix)]
        for part in filter(None, re.split(r"\s+AND\s+", wanted)):
            term = re.fullmatch(r'\(?(\w+)\s*=\s*"?([^")]*)"?\)?', part.strip())
            if term is None or term[1] not in _names(compute_v1.Operation):
                raise Refused(400, "invalid", f"Invalid value for field 'filter': '{wanted}'")
            found = [one for one in found if str(one.get(term[1], "")) == term[2]]
        return found

    # -- operations ------------------------------------------------------------------------------

    def _begin(
        self,
        kind: str,
        project: str,
        zone: str,
        target: str,
        number: str,
        query: dict[str, str],
        user: str,
    ) -> dict[str, Any]:
        name = f"operation-{uuid.uuid4().hex}"
        where = f"{self.url}/compute/v1/projects/{project}/zones/{zone}"
        operation = {
            "kind": "compute#operation",
            "id": str(uuid.uuid4().int >> 65),
            "name": name,
            "operationType": kind,
            "targetId": number,
            "targetLink": target,
            "user": user,
            "status": "RUNNING",
            "progress": 0,
            "insertTime": _now(),
            "startTime": _now(),
            "zone": where,
            "selfLink": f"{where}/operations/{name}",
        }
        if "requestId" in query:
            operation["clientOperationId"] = query["requestId"]
        with self.lock:
            self.operations[name] = operation
        return operation

    def _end(self, operation: dict[str, Any], code: str = "", message: str = "") -> None:
        with self.lock:
            operation |= {"status": "DONE", "progress": 100, "endTime": _now()}
            if code:
                operation |= {
                    "error": {"errors": [{"code": code, "message": message}]},
                    "httpErrorStatusCode": 503 if "EXHAUSTED" in code else 403,
                    "httpErrorMessage": "SERVICE UNAVAILABLE" if "EXH" in code else "FORBIDDEN",
                }

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()

    # -- what happens to machines ----------------------------------------------------------------

    def _failure(self, stage: str) -> dict[str, Any] | None:
        """The next failure that was asked for, if it is one of this stage."""
        if self.failures and self.failures[0]["stage"] == stage:
            return self.failures.pop(0)
        return None

    def _refuse(self, stage: str) -> None:
        failure = self._failure(stage)
        if failure is not None:
            raise Refused(failure["status"], failure["reason"], failure["message"])

    def control(self, what: str, told: dict[str, Any]) -> Any:
        """What ``compute.py`` asks for."""
        if what == "fail":
            self.failures.append(told)
        elif what == "break":
            self.broken = frozenset(told["parts"])
        elif what == "hurry":
            self.hurry = told["factor"]
        elif what == "asked":
            return self.asked
        elif what == "operations":
            return list(self.operations.values())
        elif what == "machines":
            with self.lock:
                return [
                    {**one.resource, "folder": str(one.folder)} for one in self.machines.values()
                ]
        else:
            return self._happen(what, told)
        return {}

    def _happen(self, what: str, told: dict[str, Any]) -> Any:
        with self.lock:
            found = [one for one in self.machines.values() if one.resource["name"] == told["name"]]
        if not found:
            raise Refused(404, "notFound", f"no machine '{told['name']}'")
        machine = found[0]
        if what == "preempt":
            machine.preempted = True
            kind = "compute.instances.preempted"
            self.remove(machine, kind, {}, _SYSTEM, seconds=told["seconds"])
        elif what == "delete":  # in the console
            self.remove(machine, "delete", {"requestId": str(uuid.uuid4())}, told["user"])
        elif what == "stop":
            self.remove(machine, "stop", {"requestId": str(uuid.uuid4())}, told["user"])
        elif what == "vanish":  # as no machine should
            machine.kill()
            with self.lock:
                del self.machines[_place(machine.resource["selfLink"])]
        else:
            raise Refused(404, "notFound", f"no such control: {what}")
        return {}


# -- what a request may say ----------------------------------------------------------------------


def _instance(body: bytes, zone: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The instance that is asked for, if Compute Engine would take it."""
    try:
        message = json_format.Parse(body, compute_v1.Instance.pb(compute_v1.Instance()))
    except json_format.ParseError as error:
        raise Refused(400, "invalid", f"Invalid JSON payload received. {error}") from None
    resource: dict[str, Any] = json_format.MessageToDict(message)
    for wrong in _wrong(resource, zone, settings):
        raise Refused(400, "invalid", wrong)
    return resource


def _wrong(told: dict[str, Any], zone: str, settings: dict[str, Any]) -> Iterator[str]:
    for field in sorted(told.keys() & _OUTPUT_ONLY):
        yield f"Invalid value for field 'resource.{field}': it is output only"
    if not _NAME.fullmatch(told.get("name", "")):
        yield f"Invalid value for field 'resource.name': '{told.get('name', '')}'"
    types = [
        (told.get("machineType", ""), "machineTypes", settings["machine_types"]),
        *(
            (one.get("acceleratorType", ""), "acceleratorTypes", settings["accelerator_types"])
            for one in told.get("guestAccelerators", [])
        ),
    ]
    for link, collection, known in types:
        place, _, name = link.rpartition("/")
        if not place.endswith(f"zones/{zone}/{collection}") or name not in known:
            yield f"Invalid value for field 'resource.{collection}': '{link}' does not exist"
    disks = told.get("disks", [])
    if sum(disk.get("boot", False) for disk in disks) != 1:
        yield "Invalid value for field 'resource.disks': exactly one boot disk is needed"
    for disk in disks:
        made = disk.get("initializeParams", {})
        if not made.get("sourceImage"):
            yield "Invalid value for field 'resource.disks[0].initializeParams.sourceImage'"
        if not 10 <= int(made.get("diskSizeGb", 0)) <= 65536:
            yield "Invalid value for field 'resource.disks[0].initializeParams.diskSizeGb'"
    if not told.get("networkInterfaces"):
        yield "At least one network interface is required."
    for key, value in told.get("labels", {}).items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield f"Invalid value for field 'resource.labels': '{key}: {value}'"
    for item in told.get("metadata", {}).get("items", []):
        if len(item.get("value", "").encode()) > 256 << 10:
            yield f"Metadata value for key '{item['key']}' is too large"
    for account in told.get("serviceAccounts", []):
        if not account.get("email") or not account.get("scopes"):
            yield "Invalid value for field 'resource.serviceAccounts'"
    yield from _wrong_scheduling(told)


def _wrong_scheduling(told: dict[str, Any]) -> Iterator[str]:
    found = told.get("scheduling", {})
    spot = found.get("provisioningModel") == "SPOT"
    if (spot or told.get("guestAccelerators")) and found.get("onHostMaintenance") != "TERMINATE":
        yield "Instances with SPOT or guest accelerators do not support live migration."
    if spot and found.get("automaticRestart", True):
        yield "Scheduling must have automaticRestart be false when provisioningModel is SPOT."
    limit = found.get("maxRunDuration")
    if limit is not None and not 30 <= int(limit.get("seconds", 0)) <= 120 * 86400:
        yield "Invalid value for field 'resource.scheduling.maxRunDuration.seconds'"
    if limit is not None and found.get("preemptible"):
        yield "maxRunDuration is not supported on preemptible instances; use SPOT."
    if limit is not None and "instanceTerminationAction" not in found:
        yield "instanceTerminationAction is required with maxRunDuration."
    if "instanceTerminationAction" in found and not spot and limit is None:
        yield "instanceTerminationAction is only valid with SPOT or a limited run time."


def _names(message: Any) -> set[str]:
    """Names of a message's fields, as JSON has them."""
    return {field.json_name for field in message.pb(message()).DESCRIPTOR.fields}


def _check_query(query: dict[str, str], message: Any, *elsewhere: str) -> None:
    """Refuse what is not a parameter of the request."""
    for name in query:
        if name not in _names(message) - set(elsewhere):
            said = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query'
            raise Refused(400, "invalid", said)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _place(link: str) -> tuple[str, str, str]:
    parts = link.split("/")
    return parts[-5], parts[-3], parts[-1]


# -- HTTP ----------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    compute: Compute

    def _serve(self) -> None:
        split = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        path = [unquote(part) for part in split.path.strip("/").split("/")]
        status = 200
        try:
            answer = self._answer(path, dict(parse_qsl(split.query)), body)
        except Refused as error:
            status = error.status
            told = {"message": str(error), "domain": "global", "reason": error.reason}
            answer = {"error": {"code": status, "message": str(error), "errors": [told]}}
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        kind = "text/plain" if isinstance(answer, str) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def _answer(self, path: list[str], query: dict[str, str], body: bytes) -> Any:
        if path[0] == "control":
            return self.compute.control(path[1], json.loads(body or b"{}"))
        if path[0] == "metadata":
            return self._metadata(path[1], path[5:])
        if path[:2] != ["compute", "v1"] or len(path) < 6:
            raise Refused(404, "notFound", f"Not found: {self.path}")
        self.compute.asked.append(
            {"method": self.command, "path": "/".join(path[2:]), "query": query}
            | {"body": body.decode("utf-8", "replace")}
        )
        user, token = self._who()
        project, zone = path[3], path[5]
        if zone not in self.compute.settings["zones"]:
            said = f"Invalid value for field 'zone': '{zone}'. Unknown zone."
            raise Refused(404 if len(path) == 6 else 400, "invalid", said)
        if len(path) == 6:
            return {"kind": "compute#zone", "name": zone, "status": "UP", "id": "1"}
        collection, rest = path[6], path[7:]
        if token is not None and collection != "instances":
            raise Refused(403, "forbidden", f"{user} may not see {collection}")
        if collection == "instances":
            return self._instances(project, zone, rest, query, body, user, token)
        if collection == "operations":
            return self._operations(project, zone, rest, query)
        return self._types(collection, zone, rest)

    def _who(self) -> tuple[str, str | None]:
        """Who asks, and the token of the machine if it is one."""
        given = self.headers.get("Authorization")
        if given is None:
            return _TESTER, None
        token = given.removeprefix("Bearer ")
        for machine in list(self.compute.machines.values()):
            if machine.token == token:
                return machine.resource["serviceAccounts"][0]["email"], token
        raise Refused(401, "authError", "Request had invalid authentication credentials.")

    def _instances(
        self,
        project: str,
        zone: str,
        rest: list[str],
        query: dict[str, str],
        body: bytes,
        user: str,
        token: str | None,
    ) -> Any:
        compute = self.compute
        asked = (self.command, len(rest), rest[1] if len(rest) > 1 else "")
        if token is not None and asked != ("DELETE", 1, ""):
            raise Refused(403, "forbidden", f"{user} lacks the permission")
        if asked == ("POST", 0, ""):
            _check_query(
                query, compute_v1.InsertInstanceRequest, "project", "zone", "instanceResource"
            )
            return compute.insert(project, zone, body, query, user)
        if asked == ("GET", 0, ""):
            _check_query(query, compute_v1.ListInstancesRequest, "project", "zone")
            found = [one.resource for place, one in list(compute.machines.items())
                     if place[:2] == (project, zone)]  # fmt: skip
            return {"kind": "compute#instanceList", "id": "instances", "items": found}
        machine = compute.get(project, zone, rest[0]) if rest else None
        if machine is None:
            raise Refused(404, "notFound", f"Not found: {self.path}")
        places = ("project", "zone", "instance")
        if asked == ("GET", 1, ""):
            _check_query(query, compute_v1.GetInstanceRequest, *places)
            return machine.resource
        if asked == ("GET", 2, "serialPort"):
            _check_query(query, compute_v1.GetSerialPortOutputInstanceRequest, *places)
            if machine.resource["status"] not in ("RUNNING", "STOPPING"):
                raise Refused(400, "resourceNotReady", f"'{rest[0]}' is not ready")
            said = machine.serial(int(query.get("port", 1)), int(query.get("start", 0)))
            return {**said, "selfLink": f"{machine.resource['selfLink']}/serialPort"}
        if asked == ("DELETE", 1, ""):
            _check_query(query, compute_v1.DeleteInstanceRequest, *places)
            if token is not None and (token != machine.token or "permission" in machine.broken):
                raise Refused(403, "forbidden", f"{user} lacks compute.instances.delete")
            known = compute._known(query, b"")
            if known is not None:
                return known
            operation = compute.remove(machine, "delete", query, user)
            if "requestId" in query:
                compute.requests[query["requestId"]] = (b"", operation)
            return operation
        if asked == ("POST", 2, "stop"):
            _check_query(query, compute_v1.StopInstanceRequest, *places)
            return compute.remove(machine, "stop", query, user)
        raise Refused(404, "notFound", f"Not found: {self.command} {self.path}")

    def _operations(self, project: str, zone: str, rest: list[str], query: dict[str, str]) -> Any:
        if not rest:
            _check_query(query, compute_v1.ListZoneOperationsRequest, "project", "zone")
            found = self.compute.find_operations(project, zone, query.get("filter", ""))
            first = int(query.get("pageToken", 0))
            last = first + min(int(query.get("maxResults", 500)), 500)
            answer = {"kind": "compute#operationList", "id": "operations"}
            more = {"nextPageToken": str(last)} if last < len(found) else {}
            return {**answer, **more, "items": found[first:last]}
        operation = self.compute.operations.get(rest[0])
        if operation is None:
            raise Refused(404, "notFound", f"The operation '{rest[0]}' was not found")
        if rest[1:] == ["wait"]:
            deadline = time.monotonic() + 120
            while operation["status"] != "DONE" and time.monotonic() < deadline:
                time.sleep(0.02)
        return operation

    def _types(self, collection: str, zone: str, rest: list[str]) -> Any:
        key = {"machineTypes": "machine_types", "acceleratorTypes": "accelerator_types"}
        if collection not in key or len(rest) != 1:
            raise Refused(404, "notFound", f"Not found: {self.path}")
        if rest[0] not in self.compute.settings[key[collection]]:
            said = f"The resource 'zones/{zone}/{collection}/{rest[0]}' was not found"
            raise Refused(404, "notFound", said)
        return {"kind": f"compute#{collection[:-1]}", "name": rest[0], "id": "1"}

    def _metadata(self, number: str, path: list[str]) -> Any:
        if self.headers.get("Metadata-Flavor") != "Google":
            raise Refused(403, "forbidden", "Missing required header: Metadata-Flavor")
        found = [one for one in self.compute.machines.values() if one.resource["id"] == number]
        if not found:
            raise Refused(404, "notFound", "no such machine")
        [machine] = found
        if path == ["service-accounts", "default", "token"]:
            return {"access_token": machine.token, "expires_in": 3599, "token_type": "Bearer"}
        if path == ["preempted"]:
            return "TRUE" if machine.preempted else "FALSE"
        if path in (["id"], ["name"]):
            return str(machine.resource[path[0]])
        if path[:1] == ["attributes"] and path[1] in machine.metadata:
            return machine.metadata[path[1]]
        raise Refused(404, "notFound", f"Not found: {'/'.join(path)}")

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server calls them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name for it
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error here; ours are."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve, and say where."""
    compute = Compute(json.loads(sys.argv[1]))
    handler = type("Handler", (_Handler,), {"compute": compute})
    server = _Server(("127.0.0.1", 0), handler)
    compute.url = f"http://127.0.0.1:{server.server_port}"
    print(compute.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
