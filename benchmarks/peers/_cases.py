"""Measurements of one peer: its import, chains of steps cold and cached, and a fan-out."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from _measure import Case, Stage
from _service import Service, free_port

from peers._environment import Environment, PeerUnavailableError, ensure_environment
from peers._table import Peer

_WORKLOADS = Path(__file__).parent / "workloads"
_SIZES = (1, 10, 100, 500)
_QUICK_HEAVY_SIZES = (1, 50)
#: Branches of the fan-out.
FAN = 100


@dataclass(frozen=True)
class InstalledPeer:
    """A peer and its environment, or the reason why there is none."""

    peer: Peer
    environment: Environment | None
    cause: str = ""


def install_peers(
    peers: Iterable[Peer], cache: Path, announce: Callable[[str], None]
) -> list[InstalledPeer]:
    """Make sure that every peer's environment exists."""
    installed = []
    for peer in peers:
        announce(f"installing {peer.name}")
        try:
            environment = ensure_environment(cache, peer.distribution, peer.requirements)
        except PeerUnavailableError as error:
            installed.append(InstalledPeer(peer, None, f"cannot be installed: {error}"))
        else:
            installed.append(InstalledPeer(peer, environment))
    return installed


def peer_cases(installed: InstalledPeer, home: Path, *, quick: bool) -> list[Case]:
    """Return what is to be run for a peer, whose user's home folder is ``home``."""
    if installed.environment is None:
        return []
    peer, python = installed.peer, installed.environment.python
    _write_home(peer, home)
    # As an activated environment: some peers start commands of their own by name.
    search_path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    places = {"home": str(home), "port": str(free_port())}
    service = None
    if peer.service:
        program, *arguments = (word.format_map(places) for word in peer.service)
        url = peer.service_url.format_map(places)
        service = Service([str(python.parent / program), *arguments], url)
    case = partial(
        Case,
        rounds=1 if quick else 2 if peer.heavy else 3,
        prepare=partial(_prepare, peer),
        environment={"DO_NOT_TRACK": "1", "PATH": search_path}
        | {name: value.format_map(places) for name, value in peer.environment.items()},
        home=home,
        interpreter=str(python),
        service=service,
    )
    run = partial(_stages, peer, str(python))
    # A home folder gets its databases once in a user's life, so the first run does not count.
    cases = [replace(case(f"{peer.name}: first run", run("chain", 1)), rounds=1)]
    timed_import = Stage([str(python), "-c", peer.imports], f"{peer.name}/import")
    cases.append(replace(case(f"{peer.name}: import", [timed_import]), service=None))
    for size in _chain_sizes(peer, quick=quick):
        stages = run("chain", size, series=f"{peer.name}/chain-{size}")
        if peer.caching == "on request":
            stages += run("chain", size, "cache")
        if peer.caching != "never":
            stages += run("chain", size, "cache", series=f"{peer.name}/cached-{size}")
        cases.append(case(f"{peer.name}: chain of {size}", stages))
    if not (quick and peer.heavy):
        stages = run("fan", FAN, series=f"{peer.name}/fan")
        cases.append(case(f"{peer.name}: fan-out of {FAN}", stages))
    return cases


def _chain_sizes(peer: Peer, *, quick: bool) -> tuple[int, ...]:
    if quick and peer.heavy:
        return _QUICK_HEAVY_SIZES
    return tuple(size for size in _SIZES if size <= peer.longest)


def _stages(
    peer: Peer, python: str, shape: str, size: int, *more: str, series: str | None = None
) -> list[Stage]:
    words = [python, "workload.py", shape, str(size), *more]
    if not peer.written:
        return [Stage(words, series)]
    return [Stage(words), Stage([python, *peer.written], series)]


def _prepare(peer: Peer, folder: Path) -> None:
    shutil.copyfile(_WORKLOADS / peer.workload, folder / "workload.py")
    # Some caches are in the home folder, which outlives a round: starting each round from a number
    # of its own, the workloads find only what they left in the same round.
    (folder / "first.txt").write_text(str(secrets.randbelow(10**12)))


def _write_home(peer: Peer, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    for path, text in peer.home_files.items():
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
