"""Trainers: steps that a training backend may carry."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zenml.core import Step, StepContext
from zenml.core.errors import Problem
from zenml.steps._splits import check_split_mapping

if TYPE_CHECKING:
    from zenml.steps._training import TrainingData
    from zenml.steps.dataset import Dataset
    from zenml.steps.model import Model

__all__ = ["BaseTrainerStep", "SKLearnTrainer"]


class BaseTrainerStep(Step):
    """Trains a model on the training splits.

    Derive your own::

        class MeanTrainer(BaseTrainerStep):
            def run_fn(self, data, context):
                features, labels = data.arrays("train")
                return MeanModel(data.transform, labels.mean())

    Parameters:
        split_mapping: Which splits are for what: ``{"train_splits": ["train"], "eval_splits":
            ["eval"], "test_splits": ["test"]}``.
    """

    kind = "training"
    outputs = ("model",)

    split_mapping: dict[str, list[str]] | None = None

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from check_split_mapping(self.split_mapping)

    def run(self, examples: Dataset, transform: dict[str, Any], context: StepContext) -> Any:
        """Train on ``examples``, which ``transform`` was applied to."""
        from zenml.steps._training import TrainingData

        return self.run_fn(
            TrainingData(examples, transform, self.split_mapping, context.files), context
        )

    @abstractmethod
    def run_fn(self, data: TrainingData, context: StepContext) -> Any:
        """Train, and return the model. ``data.arrays("train")`` is what there is to learn from."""


class SKLearnTrainer(BaseTrainerStep):
    """Trains an estimator of scikit-learn: ``pip install 'zenml-steps[sklearn]'``.

    A classifier takes the label's distinct values as classes; a regressor takes it as a number.
    Rows whose label is missing are left out. The model is stored with skops: data, never pickle.

    Equal inputs give equal models: ``random_state`` is fixed, and by default one thread computes.
    (Estimators that leave arithmetic to a BLAS library are equal on processors of one kind only.)

    Parameters:
        estimator: ``module:Class`` in scikit-learn.
        hyperparameters: The estimator's own parameters.
        seed: ``random_state``, for estimators that take one.
        threads: How many threads the estimator's native code may use. Some estimators round
            differently with another number, so it is part of what identifies the result.
    """

    estimator: str = "sklearn.ensemble:HistGradientBoostingClassifier"
    hyperparameters: dict[str, Any] | None = None
    seed: int = 0
    threads: int = 1

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from super().validate()
        if not re.fullmatch(r"sklearn(\.[A-Za-z]\w*)*:[A-Za-z]\w*", self.estimator):
            yield Problem(
                "estimator",
                f"expected a class of scikit-learn as 'module:Class', found {self.estimator!r}",
                "for example 'sklearn.ensemble:RandomForestClassifier'",
            )
        if self.threads < 1:
            yield Problem("threads", f"expected at least 1, found {self.threads}")

    def run_fn(self, data: TrainingData, context: StepContext) -> Model:
        """See ``BaseTrainerStep.run_fn``."""
        from zenml.steps._sklearn import train

        return train(self, data, context)
