"""What running on Kubernetes costs beside a bare Job of the same image.

    python benchmarks/launch.py [--rounds N] [--json]

Starts the cluster of ``tests/cluster`` (see there what it needs). A pipeline of one step, and a Job
with the same pod that runs one line of Python, are started in turn. *Launch* is from the client's
call to the first line of the user's code in the pod; *whole* is until the client knows that it is
over. Nothing is asserted: a budget that is not kept is a red row.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import Row, describe_machine, print_machine, print_rows, wide_console

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))

from harness import Cluster, LocalCluster, images, missing

from zenml.core import Job
from zenml.k8s import OrchestratorKubernetesBackend
from zenml.pipelines import Pipeline

#: Ours over a bare Job's.
BUDGET = 1.2

STEP = '''
import time
from pathlib import Path
from zenml.pipelines import step

@step
def mark(path: str) -> float:
    """Say when the user's code begins."""
    Path(path).write_text(str(time.time()))
    return 0.0
'''


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    why = missing()
    if why is not None:
        sys.exit(f"error: {why}")
    machine = describe_machine()
    with LocalCluster() as cluster, tempfile.TemporaryDirectory(prefix="zenml-bench-") as folder:
        image = cluster.load(images.runtime(["zenml-steps[pandas,sklearn]"]))
        found = _Bench(cluster, image, Path(folder)).run(options.rounds)
    rows = [row for name in ("launch", "whole") for row in _rows(name, found)]
    if options.json:
        figures = [row.to_dict() for row in rows]
        print(json.dumps({"benchmark": "launch", "machine": machine, "rows": figures}))
        return
    console = wide_console()
    print_machine(console, machine)
    print_rows(console, "Launch", rows)


class _Bench:
    def __init__(self, cluster: Cluster, image: str, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        cluster.add_namespace("bench")
        (folder / "store").mkdir()
        claim = cluster.shared_volume("bench", folder / "store")
        self.backend = OrchestratorKubernetesBackend(
            image=image,
            namespace="bench",
            kubernetes_config_path=str(cluster.kubeconfig),
            volumes=[{"mount_path": str(folder / "store"), "claim": claim}],
        )
        project = folder / "project"
        (project / ".zenml").mkdir(parents=True)
        (project / "workload.py").write_text(STEP)
        os.chdir(project)
        sys.path.insert(0, str(project))

    def run(self, rounds: int) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            for name, start in (("bare", self._bare), ("zenml", self._ours)):
                mark = self.folder / "store" / secrets.token_hex(8)
                begun, clock = time.monotonic(), time.time()
                start(mark)
                whole = time.monotonic() - begun
                if turn:  # the first of each warms up
                    found.setdefault(f"{name} launch", []).append(float(mark.read_text()) - clock)
                    found.setdefault(f"{name} whole", []).append(whole)
        return found

    def _ours(self, mark: Path) -> None:
        import workload

        pipeline = Pipeline(name="bench", enable_cache=False)
        pipeline.add_step(workload.mark(path=str(mark)), name="mark")
        pipeline.run(self.backend, artifact_store=(self.folder / "store").as_uri())

    def _bare(self, mark: Path) -> None:
        name = f"zenml-bare-{secrets.token_hex(4)}"
        job = Job(
            name=name,
            run="bare",
            pipeline="bare",
            step=None,
            attempt=1,
            store="file:///",
            folder="bare",
            digest="0" * 64,
        )
        manifest: Any = self.backend.render(job)
        code = f"import time; open({str(mark)!r}, 'w').write(str(time.time()))"
        manifest["spec"]["template"]["spec"]["containers"][0]["command"] = ["python", "-c", code]
        self.cluster.apply(manifest)
        self.cluster.kubectl(
            *("wait", "job", manifest["metadata"]["name"], "--namespace", "bench"),
            *("--for", "condition=complete", "--timeout", "120s"),
        )


def _rows(name: str, found: dict[str, list[float]]) -> list[Row]:
    bare, ours = found[f"bare {name}"], found[f"zenml {name}"]
    ratios = [mine / other for mine, other in zip(ours, bare, strict=True)]
    return [
        Row(f"{name}: a bare Job", [1000 * seconds for seconds in bare]),
        Row(f"{name}: a pipeline of one step", [1000 * seconds for seconds in ours]),
        Row(f"{name}: ours over the bare one's", ratios, unit="x", budget=BUDGET),
    ]


if __name__ == "__main__":
    main()
