"""Which packages a command imports, told by the interpreter itself."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from _process import run_process

_LINE = re.compile(r"^import time: +\d+ \| +\d+ \| *([\w.]+)$", re.MULTILINE)


def imported_packages(command: Sequence[str]) -> set[str]:
    """Return the top-level packages that ``command`` and its children import.

    The command itself is left as it is: its interpreter is asked through the environment.

    Raises:
        ProcessFailedError: the command failed.
    """
    with tempfile.TemporaryDirectory(prefix="zenml-benchmark-imports-") as folder:
        log = Path(folder, "imports.txt")
        environment = {"PYTHONPROFILEIMPORTTIME": "1", "HOME": folder}
        run_process(command, Path(folder), environment, stderr=log)
        return {name.partition(".")[0] for name in _LINE.findall(log.read_text(errors="replace"))}
