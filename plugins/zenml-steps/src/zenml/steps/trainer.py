"""Trainers: steps that a training backend may carry."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from zenml.core import Step, StepContext
from zenml.core.errors import Problem
from zenml.steps._feedforward import check_parameters
from zenml.steps._splits import check_split_mapping

if TYPE_CHECKING:
    from zenml.steps._training import TrainingData
    from zenml.steps.dataset import Dataset
    from zenml.steps.model import Model

__all__ = [
    "BaseTrainerStep",
    "FeedForwardTrainer",
    "SKLearnTrainer",
    "TFFeedForwardTrainer",
    "TorchFeedForwardTrainer",
]


class BaseTrainerStep(Step):
    """Trains a model on the training splits.

    Derive your own::

        class MeanTrainer(BaseTrainerStep):
            def run_fn(self, data, context):
                features, labels = data.arrays("train")
                return MeanModel(data.transform, labels.mean())

    A trainer that takes long goes through ``data.shards("train")``, of which one at a time is in
    memory, and leaves checkpoints by ``context.save_checkpoint``. If its job is taken away, the
    next attempt finds the last one by ``context.last_checkpoint``.

    Parameters:
        split_mapping: Which splits are for what: ``{"train_splits": ["train"], "eval_splits":
            ["eval"], "test_splits": ["test"]}``.
    """

    kind = "training"
    outputs: ClassVar[Sequence[str]] = ("model",)

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
        """Train, and return what ``outputs`` names: the model, if nothing else is said."""


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


class FeedForwardTrainer(BaseTrainerStep):
    """Trains a feed-forward network: what ``TorchFeedForwardTrainer`` and the other have in common.

    ``loss`` decides what is predicted. ``binary_crossentropy`` (two classes, with one output unit
    and ``last_activation='sigmoid'``) and ``categorical_crossentropy`` (with a unit for each class
    and ``'softmax'``) take the label's distinct values as classes; ``mse``, ``mae`` and ``huber``
    take it as a number, which ``last_activation`` must be able to give. Rows whose label is missing
    are left out.

    One shard at a time is in memory. Shards, and the rows of each, come in an order that depends on
    the seed and the epoch only; a batch does not reach over the end of a shard. A checkpoint is
    left after each epoch, and within longer ones. A training that is killed goes on from there, and
    gives the same model as one that was not.

    Equal inputs give equal models on processors of one kind, with one version of the library.
    Predictions are computed from the weights, by arithmetic that gives the same bits everywhere.

    The output ``history`` holds the ``hyperparameters``, and for each epoch the loss and the
    metrics on the rows for training (while they were trained on) and for evaluation.

    Parameters:
        batch_size: Rows of a step.
        lr: Learning rate of the optimizer, which is Adam.
        epochs: How often each row is trained on.
        dropout_chance: With what chance the output of a hidden unit is left out of a step.
        loss: ``mse``, ``mae``, ``huber``, ``binary_crossentropy`` or ``categorical_crossentropy``.
        metrics: For classes ``accuracy``; for numbers ``mae``, ``mse``, ``rmse``, of the
            transformed label.
        hidden_layers: Units of each hidden layer.
        hidden_activation: ``elu``, ``linear``, ``relu``, ``selu``, ``sigmoid``, ``silu``,
            ``softsign`` or ``tanh``.
        last_activation: One of these, or ``softmax``.
        output_units: 1, or the number of classes.
        seed: What everything random is derived from.
        threads: How many threads compute. Another number may round differently, so it is part of
            what identifies the result.
    """

    outputs = ("model", "history")
    #: What ``hidden_layers=None`` stands for.
    default_hidden_layers: ClassVar[tuple[int, ...]] = ()

    batch_size: int = 32
    lr: float = 0.001
    epochs: int = 1
    dropout_chance: float = 0.2
    loss: str = "mse"
    metrics: tuple[str, ...] | None = None
    hidden_layers: tuple[int, ...] | None = None
    hidden_activation: str = "relu"
    last_activation: str = "sigmoid"
    output_units: int = 1
    seed: int = 0
    threads: int = 1

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from super().validate()
        yield from check_parameters(self)


class TorchFeedForwardTrainer(FeedForwardTrainer):
    """Trains a feed-forward network with PyTorch: ``pip install 'zenml-steps[torch]'``.

    See ``FeedForwardTrainer``. A GPU is used where there is one.

    Parameters:
        input_units: Columns of the features. They are counted; a number that is given has to fit.
    """

    default_hidden_layers = (64, 32, 16)

    lr: float = 0.0001
    epochs: int = 10
    input_units: int | None = None

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from super().validate()
        if self.input_units is not None and self.input_units < 1:
            yield Problem("input_units", f"expected at least 1, found {self.input_units}")

    def run_fn(self, data: TrainingData, context: StepContext) -> dict[str, Any]:
        """See ``BaseTrainerStep.run_fn``."""
        from zenml.steps._torch import train

        return train(self, data, context)


class TFFeedForwardTrainer(FeedForwardTrainer):
    """Trains a feed-forward network with Keras on TensorFlow.

    ``pip install 'zenml-steps[tensorflow]'``. See ``FeedForwardTrainer``. A GPU is used where
    there is one.
    """

    default_hidden_layers = (10,)

    batch_size: int = 8

    def run_fn(self, data: TrainingData, context: StepContext) -> dict[str, Any]:
        """See ``BaseTrainerStep.run_fn``."""
        from zenml.steps._tensorflow import train

        return train(self, data, context)
