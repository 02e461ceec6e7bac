"""Very many steps, or units of one step, at once on simulated nodes; what that takes, as JSON.

Simulated nodes say that pods run and end, and run nothing. So a thread here does the work of each
pod when it is said to run, and writes what came of it as the program in the pod would.
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

from zenml.core import (
    ArtifactStore,
    Files,
    JobBackend,
    OrchestratorBackend,
    PlanWork,
    StepContext,
    WorkOrder,
    open_store,
)
from zenml.core._clock import now
from zenml.core.engine._records import read_plan
from zenml.core.engine._steps import StepRunner
from zenml.core.jobs._task import JobOutcome, Task, write_outcome
from zenml.core.plugins._registry import get_registry
from zenml.k8s import OrchestratorKubernetesBackend, ProcessingKubernetesBackend
from zenml.k8s._api import Api, connect
from zenml.k8s._options import KubernetesOptions
from zenml.local import OrchestratorLocalBackend
from zenml.pipelines import Pipeline, step

told: dict[str, Any] = json.loads(sys.argv[1])

#: The thread that stands for the nodes.
NODES = "nodes"
calls: Counter[str] = Counter()
asked = Api._request


def counted(api: Api, method: str, path: str, *arguments: Any, **options: Any) -> Any:
    """Count what the API server is asked for by the client, by kind."""
    if threading.current_thread().name != NODES:
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


def double(number: int, files: Files) -> int:
    """A unit of no work."""
    return 2 * number


@step
def total(context: StepContext, count: int) -> int:
    """A step of very many units."""
    return sum(context.map(double, range(count)))


def work_as_simulated_nodes(stopped: threading.Event) -> None:
    """Do the work of pods that are said to run."""
    shared = KubernetesOptions.fields().keys() & told["options"].keys()
    api = connect(KubernetesOptions(**{name: told["options"][name] for name in shared}))
    path = f"/api/v1/namespaces/{told['options']['namespace']}/pods"
    store = open_store(told["store"])
    done: set[str] = set()
    version = api.get(path, limit=1)["metadata"]["resourceVersion"]
    while not stopped.is_set():
        stream = api.stream(path, 60, watch="true", resourceVersion=version, timeoutSeconds=2)
        for event in stream:
            pod = event["object"]
            version = pod["metadata"]["resourceVersion"]
            running = pod["status"].get("phase") in ("Running", "Succeeded")
            if running and pod["metadata"]["name"] not in done:
                done.add(pod["metadata"]["name"])
                work(pod["metadata"]["annotations"], store)


def work(annotations: dict[str, str], store: ArtifactStore) -> None:
    """Do what a pod would do."""
    index = annotations.get("batch.kubernetes.io/job-completion-index")
    if index is not None:
        scope = annotations["zenml.io/order"].partition("/orders/")[0]
        WorkOrder(store, scope, annotations["zenml.io/digest"]).execute(int(index))
        return
    key = annotations["zenml.io/task"]
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
    orchestrator: OrchestratorBackend = OrchestratorLocalBackend()
    if "units" in told:
        mapping = ProcessingKubernetesBackend(**told["options"])
        pipeline.add_step(total(count=told["units"]).with_backend(mapping), name="total")
    else:
        orchestrator = Driver(options=told["options"])
        for number in range(told["steps"]):
            pipeline.add_step(one(number=number), name=f"step-{number}")
    stopped, before, begun = threading.Event(), memory(), time.monotonic()
    nodes = threading.Thread(target=work_as_simulated_nodes, args=(stopped,), name=NODES)
    nodes.start()
    try:
        run = pipeline.run(orchestrator, artifact_store=told["store"])
    finally:
        stopped.set()
        nodes.join()
    print(
        json.dumps(
            {
                "status": run.status,
                "steps": len(run.steps),
                "total": run.load("total") if "units" in told else None,
                "calls": calls,
                "seconds": time.monotonic() - begun,
                "grown": memory() - before,
            }
        )
    )


if __name__ == "__main__":
    main()
