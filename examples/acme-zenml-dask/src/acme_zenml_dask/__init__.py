"""A processing backend for ZenML: spreads a step's work over the workers of a Dask cluster."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from acme_zenml_dask._backend import ProcessingDaskBackend

    __all__ = ["ProcessingDaskBackend"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__, {"ProcessingDaskBackend": "acme_zenml_dask._backend"}
    )
