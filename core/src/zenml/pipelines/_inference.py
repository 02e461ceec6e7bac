"""The pipeline that has a trained model predict many rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from zenml.core.contracts import Artifact, ArtifactStore, Step
from zenml.core.contracts._settings import clip
from zenml.core.errors import ConfigurationError, PipelineImmutableError, Problem, RunError
from zenml.pipelines._pipeline import Pipeline

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BatchInferencePipeline"]

_SLOT = "inferrer"
_MODEL = "model=run.artifact('trainer.model')"
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


class BatchInferencePipeline(Pipeline):
    """Rows of a datasource, and the predictions of a model for each of them.

    ::

        pipeline = BatchInferencePipeline(trained.artifact("trainer.model"))
        pipeline.add_datasource(source)
        pipeline.add_infer_step(Inferrer())
        run = pipeline.run()
        pipeline.get_predictions(sample_size=1000)

    The steps run in the order in which they were added. What the training pipeline did to the rows
    before its split has to be done here, too; the model carries its own preprocessing.

    Args:
        model: The model, as an artifact of the run that trained it. As text: its digest, which may
            be shortened, or ``"<run id>:trainer.model"``. A plan names it by its digest, and an
            input ``model`` is bound to it.
        name: The pipeline's name.
        options: See ``Pipeline``.
    """

    kind: ClassVar[str] = "infer"

    def __init__(self, model: Artifact | str, name: str | None = None, **options: Any) -> None:
        if not isinstance(model, (Artifact, str)):
            raise ConfigurationError(
                "that is no model of a run",
                [Problem("model", f"expected an artifact, found {clip(model)}", f"pass {_MODEL}")],
            )
        self._model = model
        super().__init__(name, **options)

    def add_infer_step(self, step: Step) -> Self:
        """Say how the model is put to the rows: a step with an output ``predictions``."""
        if _SLOT in self._taken:
            raise PipelineImmutableError(
                f"pipeline '{self.name}' has an {_SLOT} already: {self.steps[_SLOT]!r}",
                remedy="make another pipeline, or give this one its step when it is made",
            )
        self.add_step(step, _SLOT)
        return self

    def get_predictions(self, sample_size: int = 100_000) -> Any:
        """The first predictions of the latest run that ``run()`` gave.

        Args:
            sample_size: How many rows at most. No more shards are read than hold them.

        Returns:
            A Polars frame, for the dataset that the standard inferrer makes.

        Raises:
            RunError: the pipeline has not run, or its infer step has made no predictions.
        """
        if self._latest is None:
            raise RunError(f"pipeline '{self.name}' has not run", remedy="call run() first")
        predictions = self._latest.load(f"{_SLOT}.predictions")
        if hasattr(predictions, "scan"):  # a dataset: its rows are still in the store
            return predictions.head(self._latest.files, sample_size)
        return predictions[:sample_size]

    def _pinned(self, store: Callable[[], ArtifactStore]) -> dict[str, str]:
        return {**super()._pinned(store), "model": self._digest(store)}

    def _digest(self, store: Callable[[], ArtifactStore]) -> str:
        if isinstance(self._model, Artifact):
            return self._model.digest
        whole = _DIGEST.fullmatch(self._model)
        if whole:
            return whole[1]
        from zenml.core.engine._lookup import find_artifact

        return find_artifact(self._model, store())

    def _missing(self) -> list[Problem]:
        problems = []
        if self._datasource is None:
            problems.append(Problem("datasource", "is missing", "call add_datasource(…)"))
        if _SLOT not in self._taken:
            problems.append(Problem(f"steps.{_SLOT}", "is missing", "call add_infer_step(…)"))
        return problems
