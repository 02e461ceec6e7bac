"""Whether Spark could be used now: one line for each thing that goes wrong on the first day."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

from zenml.core import Check
from zenml.core.errors import ConfigurationError, RunError
from zenml.spark._application import Application, is_local
from zenml.spark._map import see_master, translated

if TYPE_CHECKING:
    from zenml.spark.processing import ProcessingSparkBackend

__all__ = ["checks"]

#: The first version of Java that Spark 4 runs on.
_OLDEST: Final = 17

#: Seconds that an application may take to begin, and to run something.
_BEGUN_WITHIN: Final = 90.0

#: Of a driver that says no more.
_ENDED: Final[list[dict[str, Any]]] = [{"ended": "Spark's driver ended"}]

#: What workers need as it is here.
_SAME: Final = ("zenml-core", "zenml-spark")


def checks(backend: ProcessingSparkBackend) -> list[Check]:
    """See ``Backend.check``. What cannot be looked at after a failure is left out."""
    java = _java()
    found = [java, Check("pyspark", True, metadata.version("pyspark"))]
    try:
        found.append(Check("master", True, see_master(backend.master)))
        if java.ok:
            found += _workers(backend)
    except RunError as error:
        found.append(Check("master", False, error.message, error.remedy))
    except ConfigurationError as error:  # a secret that is not there
        found.append(Check("secret_conf", False, error.message, error.remedy))
    return found


def _java() -> Check:
    """Look for what Spark's own scripts would start."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    remedy = f"install Java {_OLDEST} or 21, and have it on PATH, or name it in JAVA_HOME"
    if java is None:
        return Check("java", False, "there is none", remedy)
    try:
        done = subprocess.run(  # noqa: S603 - the user's own
            [java, "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("java", False, f"{java}: {error}", remedy)
    version = re.search(r'version "(\d+)([^"]*)"', done.stderr)
    if version is None:
        return Check("java", False, f"{java} says: {done.stderr.strip()[:200]}", remedy)
    ok = int(version[1]) >= _OLDEST
    return Check("java", ok, f"{version[1]}{version[2]} ({java})", None if ok else remedy)


def _workers(backend: ProcessingSparkBackend) -> list[Check]:
    """Have something executed, and see what the workers that did it have."""
    begun = time.monotonic()
    cores = 0
    with Application(backend, "zenml: check") as application:
        while time.monotonic() - begun < _BEGUN_WITHIN:
            events = application.events(1.0)
            for event in _ENDED if events is None else events:
                if "application" in event:
                    continue
                if "cores" in event:
                    cores = event["cores"]
                    application.tell({"versions": [*_SAME]})
                elif "versions" in event:
                    found = Check("workers", True, f"{cores} tasks at once")
                    return [found, *_differences(event["versions"])]
                else:
                    message, _, _, remedy = translated(str(event["ended"]), backend.master)
                    return [Check("workers", False, message, remedy)]
    detail = f"nothing was executed within {_BEGUN_WITHIN:g} s"
    where = "this machine" if is_local(backend.master) else "the cluster"
    return [Check("workers", False, detail, f"see what {where} is busy with, and start workers")]


def _differences(versions: list[tuple[str, str]]) -> list[Check]:
    lines = []
    for name in _SAME:
        here = metadata.version(name)
        others = sorted({said for what, said in versions if what == name} - {here})
        if others:
            detail = f"{name} is {', '.join(others)} there, and {here} here"
            lines.append(Check("workers' packages", False, detail, "make them equal"))
    return lines
