"""The hooks that a plugin may implement.

A plugin is an installed distribution with an entry point in the group ``zenml.plugins`` that names
a *light* module: one that imports only ``zenml.core``. The module holds functions marked with
``hookimpl``, named as below. They return specs, which say where a class is, and never the class:
enumerating must not import an SDK. ::

    from zenml.core.plugins import BackendSpec, hookimpl

    @hookimpl
    def zenml_orchestrators():
        yield BackendSpec(
            type="kubernetes",
            target="acme_zenml.orchestrator:OrchestratorKubernetesBackend",
            summary="Runs a pipeline as a Job on a Kubernetes cluster.",
            api=1,
        )

An implementation may take fewer arguments than its hook offers, so hooks can grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

    from zenml.core.plugins._specs import BackendSpec, FormatSpec, StoreSpec

__all__ = ["hookimpl", "hookspec"]

_F = TypeVar("_F", bound="Callable[..., Any]")

hookspec = pluggy.HookspecMarker("zenml")
_hookimpl = pluggy.HookimplMarker("zenml")


def hookimpl(function: _F) -> _F:
    """Mark a module-level function as the implementation of the hook of that name."""
    marked: _F = _hookimpl(function)
    return marked


@hookspec
def zenml_orchestrators() -> Iterable[BackendSpec]:  # type: ignore[empty-body]
    """Orchestrator backends that this plugin offers."""


@hookspec
def zenml_processors() -> Iterable[BackendSpec]:  # type: ignore[empty-body]
    """Processing backends that this plugin offers."""


@hookspec
def zenml_trainers() -> Iterable[BackendSpec]:  # type: ignore[empty-body]
    """Training backends that this plugin offers."""


@hookspec
def zenml_artifact_stores() -> Iterable[StoreSpec]:  # type: ignore[empty-body]
    """Artifact stores that this plugin offers, by URL scheme."""


@hookspec
def zenml_artifact_formats() -> Iterable[FormatSpec]:  # type: ignore[empty-body]
    """Formats in which this plugin stores values of some types."""


@hookspec
def zenml_run_started(run_id: str, pipeline: str, plan_digest: str, store_url: str) -> None:
    """A run began, in the process that executes the plan."""


@hookspec
def zenml_step_finished(
    run_id: str, step: str, status: str, outputs: dict[str, str], seconds: float
) -> None:
    """A step ended.

    ``status`` is succeeded, cached, failed, cancelled or skipped; ``outputs`` maps names to
    artifact digests; ``seconds`` is wall time.
    """


@hookspec
def zenml_run_finished(run_id: str, status: str, error: str | None) -> None:
    """A run ended. ``status`` is succeeded, failed or cancelled."""
