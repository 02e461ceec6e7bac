"""Between backends as objects and backends as plain data, through the registry."""

from __future__ import annotations

import sys
from typing import Any

from zenml.core.contracts._backend import Backend, BackendConfig, BackendKind
from zenml.core.errors import BackendError, BackendUnavailableError, ConfigurationError, Problem
from zenml.core.plugins._registry import Offer, Registry, load_backend_class
from zenml.core.sources import load, reference

__all__ = ["DEFAULT_TYPE", "config_of", "make_backend", "offer_of"]

#: The type that is meant where none is given, whichever distribution offers it.
DEFAULT_TYPE = "local"

#: Marks a backend class that no plugin registers: one in the user's own repository.
_UNREGISTERED = "import:"


def offer_of(cls: type, registry: Registry) -> Offer | None:
    """The offer that a backend class belongs to; None if no plugin registers it."""
    for offer in registry.offers:
        module, _, name = offer.spec.target.partition(":")
        if name == cls.__name__ and getattr(sys.modules.get(module), name, None) is cls:
            return offer
    return None


def config_of(backend: Backend, registry: Registry) -> BackendConfig:
    """A backend as a plan records it."""
    offer = offer_of(type(backend), registry)
    if offer is None:
        name = f"{_UNREGISTERED}{reference(type(backend))}"
    elif offer.status == "conflict":
        name = f"{offer.plugin.distribution}:{offer.name}"
    else:
        name = offer.name
    return BackendConfig(type=name, args=backend.parameters())


def make_backend(kind: BackendKind, config: BackendConfig, registry: Registry) -> Any:
    """Make the backend that a plan records.

    Raises:
        BackendError: it is not installed, or cannot be used.
        ConfigurationError: a parameter is wrong.
    """
    if config.type.startswith(_UNREGISTERED):
        cls = load(config.type.removeprefix(_UNREGISTERED))
        if not (isinstance(cls, type) and issubclass(cls, Backend) and cls.kind == kind):
            raise BackendUnavailableError(
                f"'{config.type}' is a {type(cls).__name__}, not a class of {kind} backends"
            )
    else:
        cls = load_backend_class(registry.find(kind, config.type))
    return cls(**config.args)


def problems_of(error: BackendError | ConfigurationError, path: str) -> list[Problem]:
    """What making a backend raised, as problems of the plan at ``path``."""
    if isinstance(error, ConfigurationError):
        return [problem.within(path) for problem in error.problems]
    return [Problem(path, error.message, error.remedy)]
