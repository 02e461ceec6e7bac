"""The engine: executes plans, remembers what was done, and explains it."""

from zenml.core._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Outcome": "zenml.core.engine._records",
        "Run": "zenml.core.engine._run",
        "Session": "zenml.core.engine._session",
        "StepRecord": "zenml.core.engine._records",
        "execute_unit": "zenml.core.engine._units",
        "read_artifact": "zenml.core.engine._values",
    },
)
