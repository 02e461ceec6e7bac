"""Build a wheel of every distribution, and constraints that hold an install to those wheels.

    python .ci/wheels.py FOLDER

FOLDER is emptied, then filled with one wheel for each distribution and with ``local.txt``, whose
lines read ``zenml-core @ file:///…/zenml_core-….whl``. Under ``--constraint FOLDER/local.txt`` pip
and uv take exactly these files for a distribution that something requires, whatever an index may
offer under the same name, and nothing that is not required. Needs hatchling.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def distributions() -> list[Path]:
    """The folder of every distribution, the core first, and last those that are examples."""
    found = (sorted(ROOT.glob(f"{place}/*/pyproject.toml")) for place in ("plugins", "examples"))
    return [ROOT / "core", *(file.parent for files in found for file in files)]


def build(folder: Path) -> None:
    """Fill ``folder`` with the wheels and their constraints; what was in it is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    for distribution in distributions():
        subprocess.run([*command, "--directory", str(folder)], cwd=distribution, check=True)
    pins = [
        f"{wheel.name.partition('-')[0].replace('_', '-')} @ {wheel.as_uri()}\n"
        for wheel in sorted(folder.glob("*.whl"))
    ]
    (folder / "local.txt").write_text("".join(pins), encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
