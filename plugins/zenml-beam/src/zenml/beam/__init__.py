"""Maps a step's units of work as an Apache Beam pipeline, on any of Beam's runners."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.beam._pipeline import pipeline_for

    __all__ = ["pipeline_for"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "pipeline_for": "zenml.beam._pipeline",
        },
    )
