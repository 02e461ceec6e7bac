"""Google's services on this machine.

python tests/services/harness                 until Ctrl-C, to be used from other terminals
python tests/services/harness COMMAND…        while that command runs, with all variables set
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import (
    EXECUTOR,
    IMAGE,
    PREBUILT,
    ComputeServer,
    GCSServer,
    VertexServer,
    environment,
)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Start them, say how to reach them, wait, stop them."""
    # Also where whoever started this ends it, or has made it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    print("starting; the first time this makes environments, which takes a minute", flush=True)
    try:
        ours = ["zenml-core", "zenml-gcp", "zenml-steps[sklearn]"]
        theirs = ["pandas", "polars", "scikit-learn", "skops"]
        images = {
            IMAGE: environment("pandas", ours=ours),
            EXECUTOR: environment(*PREBUILT, *theirs, ours=[]),
        }
        with GCSServer() as gcs:
            place = {"STORAGE_EMULATOR_HOST": gcs.url}
            machines = {IMAGE: images[IMAGE].folder}
            with contextlib.ExitStack() as opened:
                vertex = opened.enter_context(VertexServer(images, place))
                compute = opened.enter_context(ComputeServer(machines))
                variables = {
                    **place,
                    "COMPUTE_ENDPOINT": compute.url,
                    "VERTEX_ENDPOINT": vertex.url,
                    "GCP_PROJECT": "my-project",
                    "GCP_BUCKET": gcs.make_bucket("my-bucket"),
                    "GCP_REGION": "europe-west1",
                }
                if find_spec("apache_beam"):
                    from harness.dataflow import SDK_IMAGE, DataflowServer

                    beam = environment("apache-beam", "google-cloud-storage", *theirs, ours=[])
                    served = DataflowServer({SDK_IMAGE: beam}, gcs, place)
                    variables["DATAFLOW_ENDPOINT"] = opened.enter_context(served).url
                if sys.argv[1:]:
                    return subprocess.call(sys.argv[1:], env={**os.environ, **variables})
                exports = "".join(f"    export {n}={v}\n" for n, v in variables.items())
                print(
                    f"ready; in another terminal:\n\n{exports}\n"
                    f"Machines run the image\n{IMAGE};\ntrainers too, or packages.\n"
                    "Ctrl-C stops all of it, and nothing is kept.",
                    flush=True,
                )
                signal.pause()
    except KeyboardInterrupt:
        print("stopping", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
