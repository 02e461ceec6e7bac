"""Maps a step's units of work as an Apache Beam pipeline, on any of Beam's runners."""

from typing import TYPE_CHECKING

from zenml.core.lazy import attach

if TYPE_CHECKING:
    from zenml.beam._pipeline import pipeline_for
    from zenml.beam.processing import ProcessingBeamBackend

    __all__ = ["ProcessingBeamBackend", "pipeline_for"]
else:
    __getattr__, __dir__, __all__ = attach(
        __name__,
        {
            "ProcessingBeamBackend": "zenml.beam.processing",
            "pipeline_for": "zenml.beam._pipeline",
        },
    )
