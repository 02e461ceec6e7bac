"""What zenml-local registers: the backends that are meant where none is given."""

from __future__ import annotations

from collections.abc import Iterator

from zenml.core.plugins import BackendSpec, hookimpl

__all__: list[str] = []

#: What can be asked of a job here, and what can be met by it.
_JOB = frozenset(
    {
        "attach",
        "cancel",
        "detach",
        "image",  # an interpreter, or an environment that is made of it
        "logs",
        "memory",
        "queue",
        "virtual-environment",
    }
)


@hookimpl
def zenml_orchestrators() -> Iterator[BackendSpec]:
    """The orchestrator in this process."""
    yield BackendSpec(
        type="local",
        target="zenml.local:OrchestratorLocalBackend",
        summary="Runs a pipeline in this process; independent steps run at the same time.",
        capabilities=frozenset({"cancel", "parallel"}),
        aliases=("OrchestratorBaseBackend",),
    )
    yield BackendSpec(
        type="subprocess",
        target="zenml.local:OrchestratorSubprocessBackend",
        summary="Runs a pipeline in a process of its own, as a remote service would.",
        capabilities=_JOB | {"parallel", "steps"},
    )


@hookimpl
def zenml_processors() -> Iterator[BackendSpec]:
    """Processing on this machine."""
    yield BackendSpec(
        type="local",
        target="zenml.local:ProcessingLocalBackend",
        summary="Spreads a step's work over threads or processes of this machine.",
        # Isolation comes with mode="processes".
        capabilities=frozenset({"cancel", "isolation", "parallel"}),
        aliases=("ProcessingBaseBackend",),
    )


@hookimpl
def zenml_trainers() -> Iterator[BackendSpec]:
    """Training in this process."""
    yield BackendSpec(
        type="local",
        target="zenml.local:TrainingLocalBackend",
        summary="Trains in this process.",
        capabilities=frozenset({"cancel"}),
        aliases=("TrainingBaseBackend",),
    )
    yield BackendSpec(
        type="subprocess",
        target="zenml.local:TrainingSubprocessBackend",
        summary="Trains in a process of its own, as a remote service would.",
        capabilities=_JOB,
    )
