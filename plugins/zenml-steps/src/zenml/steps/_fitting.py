"""Fitting feed-forward networks: epochs, shards, checkpoints and history, with any library."""

from __future__ import annotations

import io
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from zenml.core import Blob, Files, StepContext
from zenml.core.errors import DataError, RunCancelledError
from zenml.steps._dense import Dense
from zenml.steps._feedforward import (
    RANGES,
    hyperparameters,
    loss_of,
    metrics_of,
    sizes_of,
    task_of,
)
from zenml.steps._splitting import random_bits
from zenml.steps._training import MOST_CLASSES, TrainingData

if TYPE_CHECKING:
    from zenml.steps.trainer import FeedForwardTrainer

__all__ = ["Fitted", "Network", "fit"]

_Array = npt.NDArray[Any]
_Features = npt.NDArray[np.float32]

#: Within an epoch, a checkpoint is left at the end of a shard when so many seconds have gone by.
_SECONDS_BETWEEN_CHECKPOINTS = 30.0


class Network(ABC):
    """A network and its optimizer, in the hands of one library.

    Targets are class numbers (int64), or the transformed label (float32).
    """

    @abstractmethod
    def train(self, features: _Features, targets: _Array, seed: int) -> tuple[float, _Features]:
        """Take a step for each batch, in order.

        Args:
            features: Rows by columns; at least one row.
            targets: One for each row.
            seed: Decides what dropout leaves out, and nothing else does.

        Returns:
            The sum of the rows' losses, and what the last layer gave for each row, as it was
            trained on.
        """

    @abstractmethod
    def evaluate(self, features: _Features, targets: _Array) -> tuple[float, _Features]:
        """As ``train``, without learning and without dropout."""

    @abstractmethod
    def layers(self) -> list[tuple[_Features, _Features]]:
        """Weights (inputs by units) and bias of each layer."""

    @abstractmethod
    def state(self) -> list[_Array]:
        """All that the next step depends on: weights, and the optimizer's memory."""

    @abstractmethod
    def restore(self, state: Sequence[_Array]) -> None:
        """Take over a state; its arrays have the shapes of the present one."""


class Fitted(NamedTuple):
    """What a training gives.

    Attributes:
        layers: Of the network, to predict with.
        class_values: The transformed label of each class, ascending; empty for a regression.
        history: See ``FeedForwardTrainer``.
    """

    layers: list[Dense]
    class_values: list[float]
    history: dict[str, Any]


class _Label(NamedTuple):
    """What the label is in the training rows."""

    name: str
    values: npt.NDArray[np.float32]

    def targets(self, labels: npt.NDArray[np.float32]) -> _Array:
        """Class numbers (-1 for what training never saw), or the label itself."""
        if not len(self.values):
            return labels
        places = np.minimum(np.searchsorted(self.values, labels), len(self.values) - 1)
        return np.where(self.values[places] == labels, places, -1).astype(np.int64)


def fit(
    step: FeedForwardTrainer,
    data: TrainingData,
    context: StepContext,
    new_network: Callable[[list[tuple[_Features, _Features]]], Network],
) -> Fitted:
    """Train a network.

    Args:
        step: Says how.
        data: Says on what.
        context: Keeps checkpoints.
        new_network: Makes a network from the first weights and biases of its layers.

    Raises:
        DataError: the data does not fit what the step says, or the loss has become no number.
    """
    label, width = _look_at_label(step, data), _width(data)
    wanted = getattr(step, "input_units", None)
    if wanted is not None and wanted != width:
        raise DataError(
            f"the features have {width} columns, and input_units is {wanted}",
            remedy=f"leave input_units out, or say input_units={width}",
        )
    start = _first_layers(step.seed, [width, *sizes_of(step), step.output_units])
    training = _Training(step, data, context, label, lambda: new_network(start))
    training.run()
    activations = [step.hidden_activation] * len(sizes_of(step)) + [step.last_activation]
    layers = [
        Dense(weights, bias, activation)
        for (weights, bias), activation in zip(training.network.layers(), activations, strict=True)
    ]
    history = {"hyperparameters": hyperparameters(step), "epochs": training.history}
    return Fitted(layers, [float(value) for value in label.values], history)


class _Training:
    """One training: where it stands, and how it goes on."""

    def __init__(
        self,
        step: FeedForwardTrainer,
        data: TrainingData,
        context: StepContext,
        label: _Label,
        new_network: Callable[[], Network],
    ) -> None:
        self.step = step
        self.data = data
        self.context = context
        self.label = label
        self.new_network = new_network
        self.network = new_network()
        #: Of each epoch that is over.
        self.history: list[dict[str, Any]] = []
        #: Shards of the present epoch that are done, and what they gave.
        self.shards = 0
        self.sums = dict[str, float]()
        self._saved = time.monotonic()

    def run(self) -> None:
        """Train to the end, from the last checkpoint on if there is one."""
        self._resume()
        while len(self.history) < self.step.epochs:
            self._train_epoch()
            for layer in self.network.layers():
                # The last step of an epoch has had no loss yet.
                self._check("a weight", float(sum(np.abs(array).sum() for array in layer)))
            result = {"epoch": len(self.history) + 1, "train": self._means(self.sums)}
            if self.data.has("eval"):
                result["eval"] = self._evaluate()
            self.history.append(result)
            self.shards, self.sums = 0, {}
            self._save()
            self._tell(result)

    def _train_epoch(self) -> None:
        step, epoch = self.step, len(self.history)
        shards = self.data.shards("train", seed=step.seed, epoch=epoch, skip=self.shards)
        for features, labels in shards:
            if self.context.cancelled():
                self._save()
                raise RunCancelledError("the run was cancelled", where=f"epoch {epoch + 1}")
            if len(labels):
                _check_finite(features, self.data.transform)
                targets = self.label.targets(labels)
                seed = _number(f"dropout {step.seed} {epoch} {self.shards}")
                loss, outputs = self.network.train(features, targets, seed)
                self._check("the loss", loss)
                _add(self.sums, self._measure(loss, outputs, targets))
            self.shards += 1
            if time.monotonic() - self._saved > _SECONDS_BETWEEN_CHECKPOINTS:
                self._save()

    def _evaluate(self) -> dict[str, float] | None:
        sums: dict[str, float] = {}
        for features, labels in self.data.shards("eval"):
            targets = self.label.targets(labels)
            if len(self.label.values):
                # A class that training never saw has no place in the loss.
                known, targets = features[targets >= 0], targets[targets >= 0]
            else:
                known = features
            if len(targets):
                _check_finite(known, self.data.transform)
                loss, outputs = self.network.evaluate(known, targets)
                self._check("the loss", loss)
                _add(sums, self._measure(loss, outputs, targets))
        return self._means(sums) if sums else None

    def _measure(self, loss: float, outputs: _Features, targets: _Array) -> dict[str, float]:
        """Sums over rows."""
        sums = {"rows": float(len(targets)), "loss": loss}
        for name in metrics_of(self.step):
            sums[name] = float(_MEASURES[name](outputs.astype(np.float64), targets).sum())
        return sums

    def _means(self, sums: Mapping[str, float]) -> dict[str, float]:
        means = {name: total / sums["rows"] for name, total in sums.items() if name != "rows"}
        if "rmse" in means:
            means["rmse"] = math.sqrt(means["rmse"])
        return means

    def _check(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise DataError(
                f"{what} is {'nan' if math.isnan(value) else 'infinite'}: the weights have grown "
                "beyond all bounds",
                where=f"epoch {len(self.history) + 1}, after {self.shards} of "
                f"{len(self.data.examples.shards)} shards",
                remedy=f"lower lr, which is {self.step.lr:g}; and look at 'statistics' for "
                "features and labels that are not scaled",
            )

    def _tell(self, result: Mapping[str, Any]) -> None:
        self.context.log.info(
            "epoch %d of %d: %s",
            result["epoch"],
            self.step.epochs,
            ", ".join(
                f"{name} {value:.6g} ({role})"
                for role in ("train", "eval")
                for name, value in (result.get(role) or {}).items()
            ),
        )

    # -- checkpoints -------------------------------------------------------------------------------

    def _save(self) -> None:
        state = _put_arrays(self.network.state(), self.context.files)
        self.context.save_checkpoint(
            {"history": self.history, "shards": self.shards, "sums": self.sums, "state": state}
        )
        self._saved = time.monotonic()

    def _resume(self) -> None:
        checkpoint = self.context.last_checkpoint()
        if checkpoint is None:
            return
        try:
            state = _fetch_arrays(checkpoint["state"], self.context.files)
            found = [(array.shape, array.dtype) for array in state]
            if found != [(array.shape, array.dtype) for array in self.network.state()]:
                raise ValueError("it is of another network")
            history, shards, sums = (checkpoint[name] for name in ("history", "shards", "sums"))
            self.network.restore(state)
        except (EOFError, KeyError, TypeError, ValueError) as error:
            self.context.log.warning(
                "the checkpoint cannot be used, so the training begins anew: %s", error
            )
            self.network = self.new_network()
            return
        self.history, self.shards, self.sums = history, shards, sums
        self.context.log.info(
            "going on from a checkpoint: epoch %d of %d, after %d shards",
            min(len(history) + 1, self.step.epochs),
            self.step.epochs,
            shards,
        )


def _put_arrays(arrays: Sequence[_Array], files: Files) -> list[Any]:
    """Arrays as one file: npy after npy."""
    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, array, allow_pickle=False)
    blob = files.put_bytes(buffer.getvalue())
    return [blob.digest, blob.size]


def _fetch_arrays(blob: Sequence[Any], files: Files) -> list[_Array]:
    with files.fetch(Blob(*blob)).open("rb") as file:
        arrays = []
        while file.tell() < blob[1]:
            arrays.append(np.load(file, allow_pickle=False))
        return arrays


# -- what there is to learn from -------------------------------------------------------------------


def _look_at_label(step: FeedForwardTrainer, data: TrainingData) -> _Label:
    """Read the label of all training rows. Raises ``DataError`` if it does not fit the step."""
    column = data.column_of_label()
    name, classifies = column["column"], task_of(step) == "classification"
    if not classifies and column["type"] == "string":
        raise DataError(
            f"the label '{name}' is text, and loss='{step.loss}' predicts numbers",
            remedy="use loss='categorical_crossentropy', last_activation='softmax' and an output "
            "unit for each class",
        )
    values: npt.NDArray[np.float32] = np.array([], dtype=np.float32)
    low, high, rows = math.inf, -math.inf, 0
    for labels in data.labels("train"):
        if not len(labels):
            continue
        rows += len(labels)
        low, high = min(low, float(labels.min())), max(high, float(labels.max()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(
                f"the label '{name}' has values that are not finite",
                remedy="leave those rows out with a split, or mend them in the source",
            )
        if classifies:
            values = np.union1d(values, labels)
            if len(values) > MOST_CLASSES:
                raise DataError(
                    f"the label '{name}' has more than {MOST_CLASSES:,} different values, too "
                    "many for classes",
                    remedy="predict it as a number: loss='mse', last_activation='linear', "
                    "output_units=1",
                )
    if not rows:
        raise data.nothing_labelled("train")
    if classifies:
        _check_classes(step, name, len(values))
    else:
        _check_range(step, name, low, high)
    return _Label(name, values)


def _check_classes(step: FeedForwardTrainer, name: str, count: int) -> None:
    if count < 2:
        raise DataError(
            f"the label '{name}' has one value only in the training rows",
            remedy="train on rows of at least two classes",
        )
    if loss_of(step) == "binary_crossentropy":
        if count > 2:
            raise DataError(
                f"the label '{name}' has {count:,} different values in the training rows, and "
                f"loss='{step.loss}' is for two classes",
                remedy="use loss='categorical_crossentropy', last_activation='softmax' and "
                f"output_units={count}; or loss='mse' and last_activation='linear' for a number",
            )
    elif count != step.output_units:
        raise DataError(
            f"the label '{name}' has {count:,} classes in the training rows, and output_units is "
            f"{step.output_units}",
            remedy=f"output_units={count}",
        )


def _check_range(step: FeedForwardTrainer, name: str, low: float, high: float) -> None:
    lowest, highest = RANGES[step.last_activation]
    if low < lowest or high > highest:
        remedy = "last_activation='linear'"
        if (lowest, highest) == (0.0, 1.0):
            remedy += f", or overwrite={{'{name}': {{'transform': 'scale_to_0_1'}}}}"
        raise DataError(
            f"the label '{name}', transformed, is between {low:g} and {high:g}, and "
            f"last_activation='{step.last_activation}' gives numbers between {lowest:g} and "
            f"{highest:g} only",
            remedy=f"{remedy}; for classes, loss='binary_crossentropy' or another cross-entropy",
        )


def _width(data: TrainingData) -> int:
    """How many columns the features have."""
    width = 0
    for column in data.transform["columns"]:
        if column["role"] == "feature":
            kind = column["output_type"]
            width += int(kind[len("float32[") : -1]) if kind.endswith("]") else 1
    if not width:
        raise DataError(
            "there is no feature to learn from",
            remedy="name some: StandardPreprocesser(features=['…'])",
        )
    return width


def _check_finite(features: _Features, transform: Mapping[str, Any]) -> None:
    if np.isfinite(features).all():
        return
    names = []
    for column in transform["columns"]:
        if column["role"] == "feature":
            kind = column["output_type"]
            names += [column["column"]] * (int(kind[8:-1]) if kind.endswith("]") else 1)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=0))
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(names[place] for place in bad))
    raise DataError(
        f"features have values that are not finite: {listed}",
        remedy="look at 'statistics' for infinities, and leave those rows out with a split",
    )


# -- numbers ---------------------------------------------------------------------------------------


def _first_layers(seed: int, sizes: Sequence[int]) -> list[tuple[_Features, _Features]]:
    """Weights as X. Glorot and Y. Bengio (2010) draw them, and no bias."""
    layers = []
    for place, (inputs, units) in enumerate(pairwise(sizes)):
        bits = random_bits(f"weights {seed} {place}", 0, inputs * units) >> np.uint64(11)
        limit = math.sqrt(6.0 / (inputs + units))
        weights = (bits.astype(np.float64) * 2.0**-52 - 1.0) * limit
        layers.append(
            (
                weights.astype(np.float32).reshape(inputs, units),
                np.zeros(units, dtype=np.float32),
            )
        )
    return layers


def _number(seed: str) -> int:
    """A number below 2^62: as large a seed as every library takes."""
    return int(random_bits(seed, 0, 1)[0] >> np.uint64(2))


def _add(sums: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


def _right(outputs: _Array, classes: _Array) -> _Array:
    said = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0.5
    right: _Array = said == classes
    return right


def _absolute(outputs: _Array, labels: _Array) -> _Array:
    errors: _Array = np.abs(outputs[:, 0] - labels)
    return errors


def _squared(outputs: _Array, labels: _Array) -> _Array:
    errors: _Array = outputs[:, 0] - labels
    squared: _Array = errors * errors
    return squared


#: Metric to what it is for each row; its mean is reported, and the root of that for ``rmse``.
_MEASURES: Final[Mapping[str, Callable[[_Array, _Array], _Array]]] = {
    "accuracy": _right,
    "mae": _absolute,
    "mse": _squared,
    "rmse": _squared,
}
