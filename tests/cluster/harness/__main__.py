"""``python tests/cluster/harness``: a cluster to play with, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import LocalCluster, images, missing


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Start it, say how to reach it, wait, stop it."""
    why = missing()
    if why is not None:
        print(f"error: {why}", file=sys.stderr)
        return 1
    # Also where whoever started this ends it, or has made it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    print("starting; the first time this builds Kubernetes, which takes minutes", flush=True)
    began = time.monotonic()
    with LocalCluster() as cluster:
        try:
            image = cluster.load(images.runtime(["zenml-steps[pandas,sklearn]"]))
            seconds = time.monotonic() - began
            print(
                f"ready after {seconds:.0f} s; in another terminal:\n\n"
                f"    export KUBECONFIG={cluster.kubeconfig}\n"
                f"    alias kubectl={cluster.program}\n"
                "    kubectl get nodes\n\n"
                f"Pods run zenml in the image {image}, and reach servers of this machine at\n"
                f"{cluster.host}. Logs: {cluster.run}/logs. Ctrl-C stops it and removes all of it.",
                flush=True,
            )
            signal.pause()
        except KeyboardInterrupt:
            print("stopping", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
