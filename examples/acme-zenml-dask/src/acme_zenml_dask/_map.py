"""Maps units over a Dask cluster: few at a time, and only as long as somebody reads the results."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from distributed import Client, Future, KilledWorker, Security, as_completed
from distributed.comm import connect

from acme_zenml_dask._cluster import local_cluster
from acme_zenml_dask._worker import Order, execute
from zenml.core import Answer, MapContext, Unit, errors, ship_code

if TYPE_CHECKING:
    from acme_zenml_dask._backend import ProcessingDaskBackend

__all__ = ["connected", "lacking", "map_units"]

_DISTRIBUTION = "acme-zenml-dask"

#: Units that are under way for each thread of a worker, so that none waits for the client.
_AHEAD = 6

#: Seconds between two looks at how many workers there are.
_LOOK_EVERY = 2.0


def map_units(
    backend: ProcessingDaskBackend, units: Sequence[Unit], context: MapContext
) -> Iterator[tuple[int, Any]]:
    """See ``ProcessingBackend.map``."""
    if not units:
        return
    place: contextlib.AbstractContextManager[str]
    if backend.address is None:
        # Workers on this machine see the folders that the client sees, and are new: they have
        # imported nothing yet.
        workers = min(backend.workers, len(units))
        place = local_cluster(workers, backend.threads_per_worker, backend.timeout)
    else:
        context = ship_code(context)
        place = contextlib.nullcontext(backend.address)
    with place as address, connected(address, backend.timeout) as client:
        yield from _Map(client, address, backend.timeout, units, context).results()


@contextlib.contextmanager
def connected(address: str, timeout: float) -> Iterator[Client]:
    """A client of a scheduler; leaving the block gives up whatever it had asked for.

    Raises:
        RunError: there is none.
    """
    try:
        # Greeted first, in a thread whose loop ends: a client that cannot be made leaves its own
        # behind, and may be in the way of the next one when it is collected.
        with ThreadPoolExecutor(1, "zenml-dask") as thread:
            thread.submit(asyncio.run, _greet(address, timeout)).result()
        client = Client(address, timeout=timeout, asynchronous=False, set_as_default=False)
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        raise errors.RunError(
            f"no Dask scheduler answers: {_said(error)}",
            where=address,
            remedy="start one with 'dask scheduler', or correct the address",
        ) from error
    try:
        yield client
    finally:
        # Not more than a moment: what the scheduler does not hear now, it sees by itself.
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            client.close(timeout=5)


async def _greet(address: str, timeout: float) -> None:
    comm = await connect(address, timeout, **Security().get_connection_args("client"))
    await comm.close()


def lacking(client: Client, workers: Iterable[str]) -> list[str]:
    """Those of some workers that have not what they are to call.

    A worker that is sent what it cannot import goes down, with everything else that it was at. So
    it is asked first, by a function that every worker has.
    """
    asked = [*workers]
    answers = client.run(metadata.version, _DISTRIBUTION, workers=asked, on_error="return")
    return sorted(w for w in asked if isinstance(answers.get(w), metadata.PackageNotFoundError))


class _Sent(NamedTuple):
    """A unit that is under way.

    Attributes:
        number: Its index.
        alone: Whether no other unit of the map was.
    """

    number: int
    alone: bool


class _Map:
    def __init__(
        self,
        client: Client,
        address: str,
        timeout: float,
        units: Sequence[Unit],
        context: MapContext,
    ) -> None:
        self._client = client
        self._address = address
        self._timeout = timeout
        self._units = units
        self._context = context
        self._left = deque(range(len(units)))
        self._suspects: deque[int] = deque()
        self._under_way: dict[Future, _Sent] = {}
        self._done = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._token = uuid.uuid4().hex
        self._submitted = 0
        self._threads = 0
        self._known: set[str] = set()
        self._looked = self._seen = time.monotonic()

    def results(self) -> Iterator[tuple[int, Any]]:
        self._look()
        while self._left or self._suspects or self._under_way:
            self._submit()
            if not self._wait():
                continue
            future, found = self._done.next()
            sent = self._under_way.pop(future)
            if future.status == "finished":
                yield sent.number, msgspec.json.decode(found, type=Answer).result()
            else:
                self._take_back(sent, future, found)

    def _submit(self) -> None:
        """Send as many units as the workers can use."""
        if self._suspects:
            # A worker died, and more than one unit may have been its end: each is tried alone.
            if not self._under_way:
                self._send(self._suspects.popleft(), alone=True)
            return
        while self._left and len(self._under_way) < _AHEAD * self._threads:
            self._send(self._left.popleft(), alone=False)

    def _send(self, index: int, *, alone: bool) -> None:
        self._submitted += 1
        future = self._client.submit(
            execute,
            msgspec.json.encode(Order(self._units[index], self._context)),
            key=(f"{self._context.step}-{self._token}", self._submitted),
            pure=False,
        )
        self._under_way[future] = _Sent(index, alone)
        self._done.add(future)

    def _wait(self) -> bool:
        """Whether there is a result; waits a moment for it, or for a worker."""
        with self._done.thread_condition:
            if not self._done.has_ready():
                self._done.thread_condition.wait(_LOOK_EVERY / 10)
        if not self._threads or time.monotonic() - self._looked > _LOOK_EVERY:
            self._look()
        return bool(self._done.has_ready())

    def _look(self) -> None:
        """See how many workers there are; raise ``RunError`` if there have been none for long."""
        self._looked = time.monotonic()
        try:
            ask = self._client.scheduler.ncores
            workers: dict[str, int] = self._client.sync(ask, callback_timeout=self._timeout)
            if new := workers.keys() - self._known:
                self._refuse_lacking(new)
            why = "the Dask cluster has no workers"
        except (OSError, asyncio.TimeoutError) as error:
            workers, why = {}, f"the Dask scheduler does not answer: {_said(error)}"
        if workers:
            self._threads, self._seen = sum(workers.values()), self._looked
            self._known |= workers.keys()
        elif self._looked - self._seen > self._timeout:
            raise errors.RunError(
                f"{why}, for {self._timeout:g} seconds",
                where=self._address,
                remedy="start some with 'dask worker', or raise timeout=; finished units are kept",
            )

    def _refuse_lacking(self, workers: Iterable[str]) -> None:
        if found := lacking(self._client, workers):
            raise errors.RunError(
                f"{_DISTRIBUTION} is not installed where these Dask workers run: {_some(found)}",
                where=self._address,
                remedy=f"install it there: pip install {_DISTRIBUTION}=="
                f"{metadata.version(_DISTRIBUTION)}",
            )

    def _take_back(self, sent: _Sent, future: Future, found: Any) -> None:
        """A unit has no answer: try it again, or raise what became of it."""
        error = found[1] if isinstance(found, tuple) else found
        unit = self._units[sent.number]
        if isinstance(error, KilledWorker):
            if not sent.alone:
                self._suspects.append(sent.number)
                return
            raise errors.RunError(
                "a unit of work ended its worker process each time that it was tried",
                where=f"{unit.function} in step '{self._context.step}'",
                remedy="it may need more memory: use fewer threads per worker, or smaller shards",
            )
        if future.status in ("cancelled", "lost"):
            raise errors.RunError(
                "the Dask scheduler has lost the units that it was given",
                where=self._address,
                remedy="run again: finished units are kept",
            )
        raise errors.RunError(
            f"a Dask worker cannot execute units: {type(error).__name__}: {_said(error)}",
            where=self._address,
            remedy="look at the worker's log",
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
