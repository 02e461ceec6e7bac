"""Jobs: made once, found again, ended, and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zenml.core import Handle, Job
from zenml.core.errors import BackendError, ConfigurationError
from zenml.k8s import OrchestratorKubernetesBackend, TrainingKubernetesBackend
from zenml.k8s._jobs import _Cursor, _new_lines

JOBS = "/apis/batch/v1/namespaces/ml/jobs"


@pytest.fixture
def backend(kubeconfig: str) -> OrchestratorKubernetesBackend:
    return OrchestratorKubernetesBackend(kubernetes_config_path=kubeconfig)


def a_job(**changes: Any) -> Job:
    told = {
        "name": "zenml-2026-1",
        "run": "20260102-run",
        "pipeline": "p",
        "step": None,
        "attempt": 1,
        "store": "file:///store",
        "folder": "runs/20260102-run/jobs/plan/1",
        "digest": "0" * 64,
    }
    return Job(**{**told, **changes})


def handle() -> Handle:
    data = {"namespace": "ml", "name": "zenml-2026-1", "run": "20260102-run", "uid": "u1"}
    return Handle(job="zenml-2026-1", data=data)


def made(manifest: Any, uid: str = "u1") -> Any:
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}


def test_a_handle_says_where_the_job_is(backend: Any, server: Any) -> None:
    server.answer = lambda asked: made(asked.body)
    assert backend.submit(a_job()) == handle()
    [asked] = server.requests
    assert (asked.method, asked.path) == ("POST", JOBS)
    assert asked.body == backend.render(a_job())


def test_a_job_that_is_there_already_is_the_one(backend: Any, server: Any) -> None:
    manifest = backend.render(a_job())
    server.answer = lambda asked: (409, {}) if asked.method == "POST" else made(manifest)
    assert backend.submit(a_job()) == handle()


def test_a_job_of_that_name_with_another_task_is_refused(backend: Any, server: Any) -> None:
    other = backend.render(a_job(digest="f" * 64))
    server.answer = lambda asked: (409, {}) if asked.method == "POST" else made(other)
    with pytest.raises(BackendError, match="does something else"):
        backend.submit(a_job())


def test_a_job_whose_handle_was_lost_is_found_by_its_name(backend: Any, server: Any) -> None:
    server.answer = lambda _: made(backend.render(a_job()))
    assert backend.find(a_job()) == handle()
    [asked] = server.requests
    assert (asked.method, asked.path) == ("GET", f"{JOBS}/zenml-2026-1")


def test_what_was_never_submitted_is_not_found(backend: Any, server: Any) -> None:
    server.answer = lambda _: (404, {})
    assert backend.find(a_job()) is None
    other = backend.render(a_job(digest="f" * 64))
    server.answer = lambda _: made(other)
    assert backend.find(a_job()) is None


def test_not_to_be_told_is_not_to_have_found_nothing(backend: Any, server: Any) -> None:
    server.answer = lambda _: (403, {})
    with pytest.raises(BackendError):
        backend.find(a_job())


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (401, "Unauthorized", "log in again"),
        (403, "exceeded quota: q", "describe quota"),
        (403, "may not create jobs", "zenml backend permissions"),
        (404, 'namespaces "ml" not found', "kubectl create namespace ml"),
        (422, "Invalid value", "correct the backend's parameters"),
    ],
)
def test_a_refusal_says_what_to_do(
    backend: Any, server: Any, status: int, message: str, remedy: str
) -> None:
    server.answer = lambda _: (status, {"reason": "X", "message": message})
    with pytest.raises(BackendError) as caught:
        backend.submit(a_job())
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize("call", ["poll", "logs", "cleanup"])
def test_credentials_that_ran_out_are_no_reason_to_give_a_job_up(
    backend: Any, server: Any, call: str
) -> None:
    server.answer = lambda _: (401, {"reason": "Unauthorized", "message": "Unauthorized"})
    with pytest.raises(ConnectionError, match="log in again"):
        getattr(backend, call)(handle())


def test_a_job_of_the_same_name_that_is_another_is_gone(backend: Any, server: Any) -> None:
    another = made(backend.render(a_job()), uid="u2")

    def answer(asked: Any) -> Any:
        if asked.path.endswith("zenml-2026-1"):
            return another
        items = [another] if "/jobs" in asked.path else []
        return {"metadata": {"resourceVersion": "1"}, "items": items}

    server.answer = answer
    assert backend.poll(handle()).phase == "gone"


def test_what_is_deleted_is_the_job_and_its_pods_and_nothing_else(
    backend: Any, server: Any
) -> None:
    pod = {"metadata": {"name": "p", "uid": "p1"}, "status": {"phase": "Running"}}
    server.answer = lambda asked: {"items": [pod]} if asked.method == "GET" else {}
    backend.cancel(handle(), grace=7.0)
    job, deleted = server.asked("DELETE")
    assert (job.path, job.body["propagationPolicy"]) == (f"{JOBS}/zenml-2026-1", "Foreground")
    assert job.body["preconditions"] == {"uid": "u1"}
    assert deleted.body["gracePeriodSeconds"] == 7
    assert deleted.body["preconditions"] == {"uid": "p1"}


@pytest.mark.parametrize("status", [404, 409])
def test_ending_what_is_gone_is_no_error(backend: Any, server: Any, status: int) -> None:
    # 409: something else has the name by now.
    server.answer = lambda asked: {"items": []} if asked.method == "GET" else (status, {})
    backend.cancel(handle(), grace=1.0)
    backend.cleanup(handle())


# -- logs ----------------------------------------------------------------------------------------

LINES = [
    "2026-01-01T00:00:01.5Z one",
    "2026-01-01T00:00:01.5Z one",
    "2026-01-01T00:00:01.7Z two",
    "2026-01-01T00:00:02.1Z größe ≠ 尺寸",
    "2026-01-01T00:00:02.1Z ",
    "2026-01-01T00:00:09.0Z last",
]


def since(lines: list[str], time: str) -> list[str]:
    """As the server does it: it counts in seconds."""
    return [line for line in lines if line[:19] >= time[:19]]


@pytest.mark.parametrize("stops", [[1], [2, 3], [1, 2, 3, 4, 5], [4, 4, 5]])
def test_lines_come_once_wherever_reading_stopped(stops: list[int]) -> None:
    read: list[str] = []
    position = _Cursor("p")
    for stop in [*stops, len(LINES)]:
        told = since(LINES[:stop], position.time)
        lines, position = _new_lines("".join(f"{line}\n" for line in told), position)
        read += lines
    assert read == [line.partition(" ")[2] for line in LINES]


def test_half_a_line_is_left_for_the_next_time() -> None:
    lines, position = _new_lines(f"{LINES[0]}\n{LINES[2][:-1]}", _Cursor("p"))
    assert lines == ["one"]
    lines, position = _new_lines(f"{LINES[0]}\n{LINES[2]}\n", position)
    assert lines == ["two"]


def test_a_log_goes_on_with_the_next_pod(backend: Any, server: Any) -> None:
    pods = [
        {"metadata": {"name": name, "uid": name, "creationTimestamp": name}, "status": {}}
        for name in ("p1", "p2")
    ]

    def answer(asked: Any) -> Any:
        if asked.path.endswith("/log"):
            return f"2026-01-01T00:00:01.5Z of {asked.path.split('/')[-2]}\n"
        return {"metadata": {"uid": "u1"}, "items": pods}

    server.answer = answer
    first = backend.logs(handle())
    second = backend.logs(handle(), first.cursor)
    third = backend.logs(handle(), second.cursor)
    assert (first.lines, second.lines, third.lines) == (("of p1",), ("of p2",), ())
    assert json.loads(third.cursor)[0] == "p2"


def test_a_pod_without_a_log_has_none(backend: Any, server: Any) -> None:
    pod = {"metadata": {"name": "p", "uid": "p"}, "status": {"phase": "Pending"}}
    server.answer = lambda asked: (
        (400, {"message": "container is waiting to start"})
        if asked.path.endswith("/log")
        else {"metadata": {"uid": "u1"}, "items": [pod]}
    )
    assert backend.logs(handle()).lines == ()


# -- manifests -----------------------------------------------------------------------------------


@pytest.fixture
def full() -> dict[str, Any]:
    """Every parameter that says something about the pods."""
    return {
        "image": "registry.example/zenml:1",
        "job_prefix": "team-",
        "extra_labels": {"team": "ml"},
        "extra_annotations": {"example.com/cost": "42"},
        "namespace": "ml",
        "cpu": "500m",
        "memory": "4Gi",
        "ephemeral_storage": "10Gi",
        "gpus": 1,
        "node_selector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "spot": "gke",
        "service_account": "zenml",
        "environment": {"MODE": "fast"},
        "environment_from_secrets": {"HF_TOKEN": {"name": "hub", "key": "token"}},
        "image_pull_secret_names": ["registry"],
        "volumes": [
            {"mount_path": "/data", "claim": "data", "sub_path": "a", "read_only": True},
            {"mount_path": "/keys", "secret_name": "keys"},
            {"mount_path": "/conf", "config_map": "conf"},
        ],
        "priority_class": "high",
        "queue": "gpus",
        "timeout": 3600.0,
        "pod_template": {
            "spec": {
                "dnsPolicy": "None",
                "containers": [
                    {"name": "zenml", "env": [{"name": "MODE", "value": "slow"}]},
                    {"name": "sidecar", "image": "x"},
                ],
            }
        },
    }


def test_the_manifest_is_the_one_that_was_agreed(full: dict[str, Any]) -> None:
    path = Path(__file__).parent / "golden" / "training.json"
    job = a_job(step="Zug ü", name="zenml-2026-zug-1", timeout=3600.0)
    found = TrainingKubernetesBackend(**full).render(job)
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path} was written: read it")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"memory": "4 GB"}, "memory"),
        ({"job_prefix": "Team_"}, "job_prefix"),
        ({"namespace": "Ml"}, "namespace"),
        ({"extra_labels": {"zenml.io/run": "x"}}, "extra_labels.zenml.io/run"),
        ({"extra_labels": {"a": "no spaces"}}, "extra_labels.a"),
        ({"environment": {"1A": "x"}}, "environment.1A"),
        ({"volumes": [{"mount_path": "data", "claim": "c"}]}, "volumes[0].mount_path"),
        ({"volumes": [{"mount_path": "/data"}]}, "volumes[0]"),
        ({"isolation": "step"}, "service_account"),
        ({"steps": {"a": {"memory": "1Gi"}}}, "steps"),
        (
            {"isolation": "step", "service_account": "s", "steps": {"a": {"memory": "x"}}},
            "steps.a.memory",
        ),
        ({"isolation": "step", "service_account": "s", "steps": {"a": {"mem": 1}}}, "steps.a"),
    ],
)
def test_what_the_cluster_would_refuse_is_refused_before(change: Any, path: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OrchestratorKubernetesBackend(**change)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_a_long_name_keeps_the_end_that_makes_it_unique() -> None:
    backend = OrchestratorKubernetesBackend(job_prefix="a-very-long-prefix-of-a-team-")
    name = "zenml-" + "x" * 50 + "-unique"
    found = backend.render(a_job(name=name))["metadata"]["name"]
    assert len(found) == 63
    assert found.endswith("-unique")


def test_a_step_has_the_pod_that_was_asked_for_it() -> None:
    backend = OrchestratorKubernetesBackend(
        isolation="step", service_account="zenml", memory="1Gi", steps={"train": {"memory": "8Gi"}}
    )

    def memory(step: str | None) -> Any:
        pod = backend.render(a_job(step=step))["spec"]["template"]["spec"]
        return pod["containers"][0]["resources"]["limits"]["memory"]

    assert (memory(None), memory("split"), memory("train")) == ("1Gi", "1Gi", "8Gi")


def test_secrets_are_named_and_never_told(monkeypatch: pytest.MonkeyPatch, full: Any) -> None:
    monkeypatch.setenv("HF_TOKEN", "the secret itself")
    text = json.dumps(TrainingKubernetesBackend(**full).render(a_job()))
    assert "the secret itself" not in text
