"""Plays one run: a client starts it, a fault strikes, a user does what users do; all is checked."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import chain
import msgspec

from campaign_kit import checks
from campaign_kit.faults import allowed, draw
from campaign_kit.journal import FOLDER, WIDTH
from campaign_kit.processes import Waiting, fork, left_of, processes_of, send
from zenml.core import Run, open_store
from zenml.core.cli import main
from zenml.core.errors import ZenMLError
from zenml.core.jobs import _watch

#: Seconds in which a client, or one that takes its place, must come to an end.
LIMIT = 120.0

#: Seconds without a sign of life after which clients here take a job for lost: a campaign cannot
#: wait for as long as a user has to. More than a runner leaves between two signs.
LOST_AFTER = 12.0

#: Seconds that a process may need to end that has been told to.
SETTLE = 5.0

#: Faults after which nothing is left to tidy up when whoever waits has come to an end.
_TIDIED = ("none", "kill", "kill twice", "terminate", "pause", "stop", "launch", "clock")

#: Faults that whoever writes to the store may meet, and is told of.
_OF_STORE = ("refused", "unsure", "outage")

_UNDISTURBED = {"again": True, "retries": True, "kind": "none", "label": "none"}


class Result(msgspec.Struct):
    """What became of a run.

    Attributes:
        seed: What it was drawn from.
        label: The fault.
        struck: Whether the fault came before the run's end.
        end: The run's status, and the cause of its failure.
        seconds: How long everything took.
        problems: What should not be.
        folder: Where all of it is, if anything should not be.
    """

    seed: int
    label: str
    struck: bool
    end: str
    seconds: float
    problems: list[str]
    folder: str = ""


class NoMountError(Exception):
    """Small disks cannot be mounted here."""


class Stage:
    """Where one worker plays its runs, one after another.

    Args:
        folder: This worker's own, with the project in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        os.chdir(Path(chain.__file__).parent)
        _watch.LOST_AFTER = LOST_AFTER
        # Imported now, so that no run has to.
        chain.pipeline("hurt:///nowhere", "nowhere", {}).build()
        self.reference: checks.Commits = {}
        first = _Play(self, {**_UNDISTURBED, "seed": 0})
        result = first.play()
        self.reference = checks.commits(first.store)
        if result.problems or len(self.reference) != 4:
            raise RuntimeError(f"an undisturbed run fails: {result}")

    def play(self, seed: int) -> Result:
        """Play the run of a seed."""
        return _Play(self, draw(seed)).play()

    def disk(self) -> Path:
        """A small disk of this worker's own, mounted when it is first wanted."""
        folder = self.folder / "disk"
        if not folder.exists():
            folder.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
            try:
                subprocess.run(mount, capture_output=True, text=True, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                folder.rmdir()
                raise NoMountError("small disks cannot be mounted here") from error
        return folder

    def close(self) -> None:
        """Take the disk away."""
        if (self.folder / "disk").is_mount():
            subprocess.run(["umount", "--lazy", str(self.folder / "disk")], check=True)


class _Play:
    def __init__(self, stage: Stage, fault: dict[str, Any]) -> None:
        self.stage = stage
        self.fault = fault
        self.allowed = allowed(fault)
        self.folder = stage.folder / "runs" / str(fault["seed"])
        self.url = f"hurt://{self.folder}"
        self.jobs = self.folder / "jobs"
        self.problems: list[str] = []
        self.struck = False
        self._slot: int | None = None
        self._ballast: Path | None = None
        self._told: int | None = None

    # -- the play ----------------------------------------------------------------------------------

    def play(self) -> Result:
        begun = time.monotonic()
        end = "?"
        try:
            self._prepare()
            client = Waiting(fork(self._run, self.folder / "client.txt"))
            strike = getattr(self, f"_strike_{self.fault['kind'].replace(' ', '_')}", None)
            if strike is not None:
                strike(client)
            else:
                self._wait_for(client, "the client")
                self.struck = (self.folder / "hit").exists()
            self._wait_for(client, "the client")
            self._restore()
            self._take_its_place(client)
            end = self._check_end()
            self._check_word(end)
            self._check_left()
            self._check_store()
            self._run_again()
        except NoMountError as error:
            end = f"skipped, {error}"
        except _GivenUpError:
            pass
        finally:
            self._restore()
            self._clean_up()
        label, seed = self.fault["label"], self.fault["seed"]
        result = Result(seed, label, self.struck, end, time.monotonic() - begun, self.problems)
        if self.problems:
            result.folder = str(self.folder)
        elif seed:
            shutil.rmtree(self.folder, ignore_errors=True)
        return result

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True)
        for name in ("store", "work", "tmp"):
            place = self.folder / ("jobs" if name == "work" else name)
            if self.fault["kind"] == "full" and self.fault["who"] == name:
                there = self.stage.disk() / str(self.fault["seed"])
                there.mkdir()
                place.symlink_to(there)
            else:
                place.mkdir()
        if self.fault["kind"] == "launch":
            (self.jobs / ".slots").mkdir()
            self._slot = os.open(self.jobs / ".slots" / "plan-0", os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._slot, fcntl.LOCK_EX)
        (self.folder / "fault.json").write_text(json.dumps(self.fault))

    def _run(self) -> int:
        """What the client does."""
        self._enter()
        retries = {} if self.fault["retries"] else {"LOST": 0, "INFRA": 0, "PREEMPTED": 0}
        most = 1 if self.fault["kind"] == "launch" else None
        try:
            chain.pipeline(self.url, str(self.jobs), retries, most).run()
        except ZenMLError as error:
            print(f"error: {error}", flush=True)
            return 1
        except KeyboardInterrupt:
            return 130
        return 0

    def _enter(self) -> None:
        os.environ[FOLDER] = str(self.folder)
        os.environ["TMPDIR"] = str(self.folder / "tmp")
        tempfile.tempdir = None

    def _command(self, *arguments: str) -> Waiting:
        """A user's ``zenml …``."""

        def work() -> int:
            self._enter()
            sys.argv = ["zenml", *arguments]
            main([*arguments, "--store", self.url])
            return 0

        with open(self.folder / "client.txt", "a", encoding="utf-8") as file:
            print(f"$ zenml {' '.join(arguments)}", file=file)
        return Waiting(fork(work, self.folder / "client.txt"))

    def _wait_for(self, waiting: Waiting, what: str) -> None:
        if waiting.end_by(time.monotonic() + LIMIT):
            return
        for pid in [waiting.pid, *left_of(self.folder)]:
            send(pid, signal.SIGCONT)
            send(pid, signal.SIGUSR1)  # it says where it is
        time.sleep(1)
        send(waiting.pid, signal.SIGKILL)
        waiting.end_by(time.monotonic() + 10)
        self.problems.append(f"{what} hangs: no end within {LIMIT:.0f} s")
        raise _GivenUpError

    # -- faults ------------------------------------------------------------------------------------

    def _moment(self, client: Waiting) -> bool:
        """Wait for the moment; whether it comes before the client's end."""
        deadline = time.monotonic() + LIMIT
        while not (self.folder / "moment").exists():
            if client.ended() or time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        if self.fault["jitter"]:
            self._act()
            time.sleep(self.fault["jitter"])
        self.struck = True
        return True

    def _act(self) -> None:
        (self.folder / "acted").touch()

    def _targets(self, client: Waiting) -> list[int]:
        """The processes that are meant; waits for one of them if there is none yet."""
        who = self.fault["who"]
        if who == "client":
            return [client.pid]
        several = {"job": None, "machine": None, "plan job": ("supervisor", "child")}
        wanted = several.get(who, (who,))
        late = False
        while True:
            found = [p.pid for p in processes_of(self.folder) if wanted is None or p.role in wanted]
            if who == "machine":
                found.insert(0, client.pid)
            if found and late:
                time.sleep(self.fault["late"])
            if found:
                return found
            self._act()
            if client.ended():
                return []
            late = True
            time.sleep(0.003)

    def _hit(self, client: Waiting, number: int) -> list[int]:
        hit = [pid for pid in self._targets(client) if send(pid, number)]
        self.struck = bool(hit)
        return hit

    def _strike_kill(self, client: Waiting) -> None:
        if self._moment(client):
            self._hit(client, signal.SIGKILL)
            self._act()

    def _strike_kill_twice(self, client: Waiting) -> None:
        self._strike_kill(client)  # of the other, see _take_its_place

    def _strike_terminate(self, client: Waiting) -> None:
        if self._moment(client):
            self._hit(client, signal.SIGTERM)
            self._act()

    def _strike_interrupt(self, client: Waiting) -> None:
        if self._moment(client):
            for _ in range(self.fault["times"]):
                send(client.pid, signal.SIGINT)
                self._act()
                client.end_by(time.monotonic() + 0.4)

    def _strike_pause(self, client: Waiting) -> None:
        if self._moment(client):
            hit = self._hit(client, signal.SIGSTOP)
            self._act()
            time.sleep(self.fault["seconds"])
            for pid in hit:
                send(pid, signal.SIGCONT)

    def _strike_stop(self, client: Waiting) -> None:
        if self._moment(client):
            self._hit(client, signal.SIGSTOP)
            self._act()

    def _strike_launch(self, client: Waiting) -> None:
        deadline = time.monotonic() + LIMIT
        while not client.ended() and time.monotonic() < deadline:
            found = [p for p in processes_of(self.folder) if p.role == "launcher"]
            told = any("waits for" in path.read_text() for path in self.jobs.glob("*/state"))
            if found and told:
                time.sleep(self.fault["jitter"])
                self.struck = True
                pid = client.pid if self.fault["who"] == "client" else found[0].pid
                send(pid, self.fault["signal"])
                break
            time.sleep(0.003)
        self._restore()

    def _strike_full(self, client: Waiting) -> None:
        if self._moment(client):
            self._ballast = self.stage.disk() / "ballast"
            with open(self._ballast, "wb", buffering=0) as file:
                for size in (1 << 16, 1 << 12, 1):
                    try:
                        while True:
                            file.write(bytes(size))
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
            self._act()
            client.end_by(time.monotonic() + self.fault["seconds"])
            self._restore()

    def _strike_clock(self, client: Waiting) -> None:
        if self._moment(client):
            ahead = dict.fromkeys(self.fault["who"], self.fault["hours"] * 3600)
            draft = self.folder / "clock.draft"
            draft.write_text(json.dumps(ahead))
            draft.rename(self.folder / "clock.json")
            self._act()

    def _restore(self) -> None:
        """What a user sees to: there is space again, and a place to run. No moment comes now."""
        self._act()
        if self._ballast is not None:
            self._ballast.unlink(missing_ok=True)
            self._ballast = None
        if self._slot is not None:
            fcntl.flock(self._slot, fcntl.LOCK_UN)  # the client has the descriptor, too
            os.close(self._slot)
            self._slot = None

    # -- what a user does --------------------------------------------------------------------------

    @property
    def store(self) -> Any:
        """The store as it is, without its fault."""
        return open_store(str(self.folder / "store"))

    def _run_id(self) -> str | None:
        """The run, if it was begun: there is something that a job could be told."""
        runs = sorted(path.name for path in (self.folder / "store").glob("runs/*"))
        return runs[0] if runs else None

    def _take_its_place(self, client: Waiting) -> None:
        """Wait for the run in the place of a client that is gone, or that gave up."""
        killed = self._check_code(client, "the client")
        seconds = iter([self.fault["second"]] if "second" in self.fault else [])
        for _ in range(4):
            run = self._run_id()
            if run is None or not (self.folder / f"store/runs/{run}/jobs/plan").exists():
                return
            if not killed and Run(run, self.store).outcome is not None:
                return
            waiting = self._command("run", "wait", run)
            more = next(seconds, None)
            if more is not None and self.struck:
                events = self._events()
                while not waiting.ended() and self._events() < events + more:
                    time.sleep(0.002)
                send(waiting.pid, signal.SIGKILL)
            self._wait_for(waiting, "'zenml run wait'")
            killed = self._check_code(waiting, "'zenml run wait'")
        # What cannot be waited for has no outcome, which is found out next.

    def _events(self) -> int:
        with suppress(FileNotFoundError):
            return (self.folder / "journal").stat().st_size // WIDTH
        return 0

    def _check_code(self, waiting: Waiting, what: str) -> bool:
        """Whether it was killed; a problem unless it was us, or it said what was wrong."""
        if waiting.code in (-signal.SIGKILL, -signal.SIGTERM):
            self._told = None
            return True
        self._told = waiting.code
        if waiting.code not in (0, 1, 130):
            self.problems.append(f"{what} ended with exit code {waiting.code}: {self._said()}")
        return False

    def _said(self) -> str:
        lines = (self.folder / "client.txt").read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])

    # -- what has to hold --------------------------------------------------------------------------

    def _check_end(self) -> str:
        """The run's end; a problem if that is not right for the fault."""
        run = self._run_id()
        told = checks.attempts(self.store, run) if run else {}
        if run is None or not told:
            if not self.allowed.unbegun:
                self.problems.append(f"the run was never begun: {self._said()}")
            return "never begun"
        outcome = Run(run, self.store).outcome
        if outcome is None:
            self.problems.append(f"the run has no outcome: {self._said()}")
            return "no outcome"
        cause = outcome.failure.cause if outcome.failure else ""
        torn = self._torn_key().startswith("cache/")
        if outcome.status == "succeeded":
            missing = self.stage.reference.keys() - checks.commits(self.store).keys()
            if missing and not torn:
                self.problems.append(f"it succeeded without a commit of {sorted(missing)}")
        elif outcome.status not in self.allowed.ends or cause not in self.allowed.causes:
            self.problems.append(f"it {outcome.status} with {cause}: {outcome.failure}")
        self.problems += checks.inconsistent(told, retries=self.fault["retries"], torn=torn)
        # What still ran when a run failed is cancelled.
        fine = self.allowed.causes | ({"CANCELLED"} if outcome.status != "succeeded" else set())
        for job, outcomes in told.items():
            for number, ended in outcomes.items():
                if ended and ended.failure and ended.failure.cause not in fine:
                    self.problems.append(f"{job}, attempt {number}: {ended.failure}")
        return f"{outcome.status} {cause}".strip()

    def _check_word(self, end: str) -> None:
        """Whoever waited last, and was not killed, was told what the record says."""
        told = self._told
        right = {"succeeded": 0, "failed": 1, "cancelled": 130}.get(end.partition(" ")[0])
        # What had ended before it could be cancelled is a success that Ctrl-C was pressed in.
        pressed = self.fault["kind"] == "interrupt" and told == 130
        if right is not None and told not in (None, right) and not pressed:
            self.problems.append(f"it {end}, and a client's exit code is {told}: {self._said()}")

    def _check_left(self) -> None:
        if left := self._left():
            self.problems.append(f"left running: {left}")
        if self._run_id() is None:
            return
        # A store that fails, and a second Ctrl-C, leave it to 'zenml gc'; a kill does not.
        if (kept := self._kept()) and self.fault["kind"] in _TIDIED:
            self.problems.append(f"left in the work folder: {kept}")
        if self._sweep() != 0:
            self.problems.append(f"'zenml gc' failed: {self._said()}")
        if kept := self._kept():
            self.problems.append(f"left in the work folder after 'zenml gc': {kept}")

    def _sweep(self) -> int | None:
        """The exit code of 'zenml gc'."""
        for _ in range(2):
            sweeping = self._command("gc", "--yes", "--grace", "0")
            self._wait_for(sweeping, "'zenml gc'")
            if sweeping.code != 1 or self.fault["kind"] not in _OF_STORE:
                break
            # The fault came only now; it is over, and a user sweeps again.
            self._calm()
        return sweeping.code

    def _calm(self) -> None:
        """From now on nothing goes wrong any more."""
        (self.folder / "fault.json").write_text(json.dumps({"kind": "none"}))
        (self.folder / "clock.json").unlink(missing_ok=True)

    def _left(self) -> list[str]:
        """Command lines of processes that are there, and have had the time to end."""
        deadline = time.monotonic() + SETTLE
        while left := left_of(self.folder):
            if time.monotonic() > deadline:
                lines = [Path(f"/proc/{pid}/cmdline") for pid in left]
                return [line.read_text().replace("\0", " ")[:300] for line in lines]
            time.sleep(0.01)
        return []

    def _kept(self) -> list[str]:
        """Folders of jobs."""
        return [path.name for path in self.jobs.iterdir() if path.name != ".slots"]

    def _torn_key(self) -> str:
        """The object of which half is there; empty if there is none."""
        torn = self.fault["kind"] == "torn" and (self.folder / "hit").exists()
        return (self.folder / "hit").read_text() if torn else ""

    def _check_store(self) -> None:
        if (self.folder / "store" / "zenml-store.json").exists():
            bad = set(checks.damaged(self.store)) - {self._torn_key()}
            self.problems += [f"{key} is damaged" for key in sorted(bad)]
            if self.stage.reference:
                self.problems += checks.wrong_commits(self.store, self.stage.reference)

    def _run_again(self) -> None:
        """The same again, undisturbed: as a job, or in the client's process."""
        self._calm()
        again = Waiting(fork(self._run_undisturbed, self.folder / "client.txt"))
        self._wait_for(again, "the run after it")
        if again.code != 0:
            self.problems.append(f"the run after it failed: {self._said()}")
        elif self.stage.reference:
            self._mend()
            self.problems += checks.incomplete(self.store, self.stage.reference)
            self.problems += checks.wrong_commits(self.store, self.stage.reference)
        if left := self._left():
            self.problems.append(f"left running by the run after it: {left}")

    def _mend(self) -> None:
        """Do as whoever reads a result is told that was torn, and that no step has read since."""
        for digest in list(checks.damaged_results(self.store)):
            for words, right in (
                (("get", digest, "--to", str(self.folder / "got")), 1),
                (("rm", digest), 0),
            ):
                command = self._command("artifact", *words)
                self._wait_for(command, f"'zenml artifact {words[0]}'")
                if command.code != right:
                    self.problems.append(
                        f"'zenml artifact {words[0]}' of a torn one: {self._said()}"
                    )
            mending = Waiting(fork(self._run_undisturbed, self.folder / "client.txt"))
            self._wait_for(mending, "the run that mends it")

    def _run_undisturbed(self) -> int:
        self._enter()
        chain.pipeline(self.url, str(self.jobs), {}, here=not self.fault["again"]).run()
        return 0

    def _clean_up(self) -> None:
        for pid in [*left_of(self.folder), *(p.pid for p in processes_of(self.folder))]:
            send(pid, signal.SIGKILL)
        for name in ("store", "jobs", "tmp"):
            place = self.folder / name
            if place.is_symlink():
                # What is looked at later must not be on a disk that goes.
                kept = place.resolve()
                place.unlink()
                with suppress(OSError, shutil.Error):
                    shutil.copytree(kept, place)
                shutil.rmtree(kept, ignore_errors=True)


class _GivenUpError(Exception):
    """There is no point in looking at the rest."""
