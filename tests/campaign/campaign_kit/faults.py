"""The faults of the campaign: how one is drawn from a seed, and what a run may come to after it.

A moment is a number of events in the run's journal, and for some faults a jitter after it: the same
seed is the same fault at the same point of the run, however busy the machine is.
"""

from __future__ import annotations

import random
import signal
from typing import Any, NamedTuple

__all__ = ["KINDS", "Allowed", "allowed", "draw"]

#: Events of an undisturbed run, about: a moment beyond its end never comes.
EVENTS = 78

#: Kind to how often it is drawn, in parts of the sum.
KINDS = {
    "none": 1,
    "kill": 24,  # SIGKILL of processes of a role
    "kill twice": 4,  # of the client, and of the one that takes its place
    "terminate": 10,  # SIGTERM
    "interrupt": 6,  # Ctrl-C, once or twice
    "pause": 5,  # SIGSTOP, and SIGCONT a while later
    "stop": 2,  # SIGSTOP for ever
    "launch": 8,  # a signal while a job waits for its place
    "torn": 16,  # a writing of which half becomes visible
    "refused": 6,  # a writing that fails
    "unsure": 6,  # a writing that succeeds, and is said to have failed
    "outage": 8,  # nothing of the store can be reached for a while
    "slow": 4,  # everything takes long for a while
    "full": 8,  # no space, for a while, in the store, the work folder or the temporary folder
    "clock": 6,  # the clocks of some processes jump
}

#: What is torn, refused or unsure, by what it is called in the table.
OBJECTS = {
    "run": r"^runs/[^/]+/run\.json$",
    "run outcome": r"^runs/[^/]+/outcome\.json$",
    "events": r"^runs/[^/]+/log/",
    "request": r"/request\.json$",
    "task": r"/task\.json$",
    "handle": r"/handle\.json$",
    "sign of life": r"/alive\.json$",
    "log": r"/log-[0-9]+\.txt$",
    "job outcome": r"/jobs/.*/outcome\.json$",
    "cleaned": r"/cleaned\.json$",
    "plan": r"^plans/",
    "code": r"^code/",
    "commit": r"^cache/",
    "unit": r"^units/",
    "artifact": r"^artifacts/",
    "bytes": r"^data/",
}

#: What is read by every attempt of a run, and made again only by the run after it.
LASTING = ("plan", "code", "commit", "artifact", "bytes")

#: What processes a signal can be meant for.
ROLES = ("child", "supervisor", "trainer child", "trainer supervisor", "client", "job", "machine")

#: Causes that are tried again unless a run is drawn without retries.
RETRIED = ("LOST", "INFRA", "PREEMPTED")


class Allowed(NamedTuple):
    """What may become of a run.

    Attributes:
        causes: Of attempts that fail.
        ends: Statuses of the run besides ``succeeded``.
        unbegun: Whether the client may end before there is a run.
    """

    causes: frozenset[str]
    ends: frozenset[str] = frozenset()
    unbegun: bool = False


def draw(seed: int) -> dict[str, Any]:
    """The fault of a run, as plain data; it depends on the seed alone."""
    chance = random.Random(f"campaign {seed}")  # noqa: S311 - to be repeated, not to be guessed
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    fault: dict[str, Any] = {
        "seed": seed,
        "kind": kind,
        "label": kind,
        "retries": chance.random() < 0.6,
        "again": chance.random() < 0.25,  # whether the run after it is a job as well
    }
    moment = {
        "event": chance.randrange(EVENTS),
        "jitter": 0.0 if chance.random() < 0.5 else round(chance.uniform(0, 0.4), 3),
    }
    if kind in ("kill", "terminate", "pause"):
        roles = ROLES if kind == "kill" else ROLES[:5]
        fault |= moment | {"who": chance.choice(roles)}
        fault["label"] = f"{kind} {fault['who']}"
        fault["seconds"] = round(chance.uniform(0.3, 3), 2)
        fault["late"] = round(chance.uniform(0, 0.5), 3)  # where none of them is there yet
    elif kind == "kill twice":
        fault |= moment | {"who": "client", "late": 0, "second": chance.randrange(30)}
    elif kind == "interrupt":
        fault |= moment | {"who": "client", "times": chance.choice((1, 2))}
        fault["label"] = f"interrupt {'twice' if fault['times'] == 2 else 'once'}"
    elif kind == "stop":
        # Alone, it is silent, and its child goes on and may finish.
        fault |= moment | {"who": chance.choice(("supervisor", "plan job")), "late": 0.3}
        fault["label"] = f"stop {fault['who']}"
    elif kind == "launch":
        number = chance.choice((signal.SIGKILL, signal.SIGTERM))
        who = chance.choice(("launcher", "launcher", "client"))
        fault |= {"who": who, "signal": int(number), "jitter": round(chance.uniform(0, 0.2), 3)}
        fault["label"] = f"{number.name} of {who} at launch"
    elif kind in ("torn", "refused", "unsure"):
        what = chance.choice(list(OBJECTS))
        fault |= {"who": "everyone", "what": what, "match": OBJECTS[what]}
        fault["match_number"] = chance.choice((0, 0, 0, 1, 2, 3))
        fault["label"] = f"{kind} {what}"
    elif kind in ("outage", "slow"):
        fault |= moment | {"who": chance.choice(("client", "supervisor", "child", "everyone"))}
        fault["seconds"] = round(chance.uniform(0.2, 6), 2)
        fault["delay"] = round(chance.uniform(0.05, 0.5), 2)
        fault["label"] = f"{kind} for {fault['who']}"
    elif kind == "full":
        fault |= moment | {"who": chance.choice(("store", "store", "store", "work", "tmp"))}
        fault["seconds"] = round(chance.uniform(0.5, 6), 2)
        fault["label"] = f"full {fault['who']}"
    elif kind == "clock":
        who = chance.choice((("client",), ("supervisor", "child"), ("client", "supervisor")))
        hours = round(chance.choice((-1, 1)) * chance.uniform(0.1, 30), 2)
        fault |= moment | {"who": list(who), "hours": hours}
        way = "forwards" if hours > 0 else "backwards"
        fault["label"] = f"clock of {' and '.join(who)} {way}"
    return fault


def allowed(fault: dict[str, Any]) -> Allowed:
    """What may become of a run with that fault.

    Without retries, a run may fail with any of the causes. With them it must succeed, for each
    fault strikes once; unless its cause is not tried again, it lasts, or a person ended the run.
    """
    who = fault.get("who")
    causes: set[str] = set()
    ends: set[str] = set()
    unbegun = who in ("client", "machine")
    match fault["kind"]:
        case "kill":
            causes = {
                "child": {"INFRA"},
                "trainer child": {"INFRA"},
                "supervisor": {"LOST"},
                "trainer supervisor": {"LOST"},
                # They do not all end at the same moment: a supervisor may see its child go. Nor may
                # all have begun.
                "job": {"LOST", "INFRA", "PREEMPTED"},
                "machine": {"LOST", "INFRA", "PREEMPTED"},
            }.get(who, set())
        case "terminate":
            causes = {"INFRA"} if who.endswith("child") else {"PREEMPTED"}
            causes = set() if who == "client" else causes
        case "interrupt":
            causes, ends = {"CANCELLED"}, {"cancelled"}
        case "stop":
            causes = {"LOST"}
        case "launch" if who == "launcher":
            causes = {"PREEMPTED"}
        case "torn" | "refused" | "unsure" | "outage":
            # What its runner could not read or write leaves an attempt without an outcome.
            causes, unbegun = {"INFRA", "LOST"}, True
        case "full":
            causes, unbegun = {"INFRA", "LOST"}, who == "store"
            if who == "work":
                causes.add("CONFIG")  # refused: another folder has to be given
    # Each attempt meets the same damage; or as many as there may be fit into an outage.
    lasting = fault["kind"] in ("outage", "full") or (
        fault["kind"] == "torn" and fault["what"] in LASTING
    )
    if causes and (not fault["retries"] or not causes <= {*RETRIED} or lasting):
        ends.add("failed")
    if "CANCELLED" in causes:
        ends.discard("failed")
    return Allowed(frozenset(causes), frozenset(ends), unbegun)
