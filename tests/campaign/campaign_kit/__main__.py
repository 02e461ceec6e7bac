"""A worker of the campaign: see the package."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec


def main() -> None:
    """Play the run of every seed that standard input has a line for."""
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder / "project"))
    from campaign_kit.play import Stage

    stage = Stage(folder)
    try:
        print("ready", flush=True)
        for line in iter(sys.stdin.readline, ""):
            print(msgspec.json.encode(stage.play(int(line))).decode(), flush=True)
    finally:
        stage.close()


if __name__ == "__main__":
    main()
