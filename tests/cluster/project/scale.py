"""Very many steps at once, each a Job on a simulated node; what that takes, as JSON.

Simulated nodes say that pods run and end, and run nothing. So a thread here does the work of each
step when its pod is said to run, and writes its outcome as the runner in the pod would.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections import Counter
from typing import Any

import msgspec

from zenml.core import JobBackend, OrchestratorBackend, PlanWork, open_store
from zenml.core._clock import now
from zenml.core.engine._records import read_plan
from zenml.core.engine._steps import StepRunner
from zenml.core.jobs._task import JobOutcome, Task, write_outcome
from zenml.core.plugins._registry import get_registry
from zenml.k8s import OrchestratorKubernetesBackend
from zenml.k8s._api import Api, connect
from zenml.pipelines import Pipeline, step

told: dict[str, Any] = json.loads(sys.argv[1])
calls: Counter[str] = Counter()
asked = Api._request


def counted(api: Api, method: str, path: str, *arguments: Any, **options: Any) -> Any:
    """Count what the API server is asked for, by kind."""
    kind = re.sub(r"/(jobs|pods)/[^/]+", r"/\1/NAME", path.partition("/namespaces/")[2])
    calls[f"{method} {kind.partition('/')[2]}"] += 1
    return asked(api, method, path, *arguments, **options)


@step
def one(number: int) -> int:
    """A step of no work."""
    return number


class Driver(OrchestratorBackend):
    """Runs the plan here, and each step as a Job."""

    options: dict[str, Any]

    def run(self, work: PlanWork) -> None:
        """Execute the plan."""
        work.execute_here()

    def step_backend(self) -> JobBackend | None:
        """Where the steps go."""
        return OrchestratorKubernetesBackend(**self.options)

    def parallel_steps(self) -> int | None:
        """All of them."""
        return int(told["steps"])


def work_as_simulated_nodes(stopped: threading.Event) -> None:
    """Do the work of pods that are said to run."""
    api = connect(OrchestratorKubernetesBackend(**told["options"]))
    path = f"/api/v1/namespaces/{told['options']['namespace']}/pods"
    store = open_store(told["store"])
    done: set[str] = set()
    while not stopped.wait(0.3):
        # Not one of the calls that are counted: it stands for the nodes.
        pods = json.loads(asked(api, "GET", path, {}).data)["items"]
        for pod in pods:
            name = pod["metadata"]["name"]
            if name in done or pod["status"].get("phase") not in ("Running", "Succeeded"):
                continue
            done.add(name)
            key = pod["metadata"]["annotations"]["zenml.io/task"]
            task = msgspec.json.decode(store.read(key), type=Task)
            runner = StepRunner(
                plan=read_plan(store, task.plan),
                run_id=task.run,
                store=store,
                registry=get_registry(),
                cancel=threading.Event(),
            )
            runner.execute(str(task.step), task.inputs, task.key)
            outcome = JobOutcome(status="succeeded", attempt=1, exit_code=0, finished=now())
            write_outcome(store, key.rpartition("/")[0], outcome)


def memory() -> int:
    """Bytes that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run it."""
    Api._request = counted  # type: ignore[method-assign]
    pipeline = Pipeline(name="very many")
    for number in range(told["steps"]):
        pipeline.add_step(one(number=number), name=f"step-{number}")
    stopped, before, begun = threading.Event(), memory(), time.monotonic()
    nodes = threading.Thread(target=work_as_simulated_nodes, args=(stopped,))
    nodes.start()
    try:
        run = pipeline.run(Driver(options=told["options"]), artifact_store=told["store"])
    finally:
        stopped.set()
        nodes.join()
    print(
        json.dumps(
            {
                "status": run.status,
                "steps": len(run.steps),
                "calls": calls,
                "seconds": time.monotonic() - begun,
                "grown": memory() - before,
            }
        )
    )


if __name__ == "__main__":
    main()
