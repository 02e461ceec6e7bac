"""Feed-forward networks in the hands of Keras, on TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from zenml.core import StepContext
from zenml.core.errors import ZenMLError
from zenml.steps._feedforward import loss_of, task_of
from zenml.steps._fitting import Network, fit
from zenml.steps._networks import FeedForwardModel, import_library

if TYPE_CHECKING:
    import keras

    from zenml.steps._training import TrainingData
    from zenml.steps.trainer import TFFeedForwardTrainer

__all__ = ["TensorFlowModel", "train"]

_Array = npt.NDArray[Any]
_Features = npt.NDArray[np.float32]

#: Rows that are evaluated at once.
_ROWS: Final = 1024


class TensorFlowModel(FeedForwardModel):
    """A feed-forward network that Keras trained on TensorFlow."""

    artifact_format = "zenml.steps.formats:TensorFlowModelFormat"

    def keras_model(self) -> keras.Model:
        """The network as a model of Keras: transformed features to what ``scores`` gives.

        For two classes it gives the second one's chance. It computes as TensorFlow does, so the
        last bits depend on the machine and on the rows that are computed together.
        """
        keras = _keras()
        dense = [
            keras.layers.Dense(len(layer.bias), activation=layer.activation)
            for layer in self.layers
        ]
        model = keras.Sequential([keras.Input((len(self.layers[0].weights),)), *dense])
        model.set_weights([array for layer in self.layers for array in (layer.weights, layer.bias)])
        return model


def train(step: TFFeedForwardTrainer, data: TrainingData, context: StepContext) -> dict[str, Any]:
    """See ``TFFeedForwardTrainer``."""
    keras = _keras()
    import tensorflow as tf

    _use_threads(step.threads)
    if tf.config.list_physical_devices("GPU"):
        # On processors, what is used here is deterministic. It stays so for the whole process.
        tf.config.experimental.enable_op_determinism()
    fitted = fit(step, data, context, lambda layers: _KerasNetwork(step, layers))
    versions = {"keras": str(keras.__version__), "tensorflow": str(tf.__version__)}
    model = TensorFlowModel(
        fitted.layers, dict(data.transform), task_of(step), fitted.class_values, versions
    )
    return {"model": model, "history": fitted.history}


def _keras() -> Any:
    """Keras on TensorFlow. Raises ``ZenMLError`` if it is not there, or on another library."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = import_library("keras", "tensorflow")
    if keras.__version__.startswith("2."):
        raise ZenMLError(
            f"Keras {keras.__version__} is installed, and 3 is needed",
            remedy="pip install --upgrade 'zenml-steps[tensorflow]'",
        )
    if keras.backend.backend() != "tensorflow":
        raise ZenMLError(
            f"Keras works with {keras.backend.backend()} in this process",
            remedy="set the environment variable KERAS_BACKEND to tensorflow",
        )
    import_library("tensorflow", "tensorflow")
    return keras


def _use_threads(count: int) -> None:
    """Have TensorFlow compute with so many threads; it can be told once in a process."""
    import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == count:
        return
    try:
        threading.set_intra_op_parallelism_threads(count)
    except RuntimeError as error:
        now = threading.get_intra_op_parallelism_threads() or "as many threads as it likes"
        raise ZenMLError(
            f"TensorFlow was used in this process before, with {now}, and threads={count} is asked "
            "for: it cannot be told any more",
            remedy="train in a process of its own, by .with_backend(TrainingSubprocessBackend()) "
            "from zenml.local; or start Python again, and train first",
        ) from error


class _KerasNetwork(Network):
    def __init__(
        self, step: TFFeedForwardTrainer, layers: Sequence[tuple[_Features, _Features]]
    ) -> None:
        import keras

        self.step = step
        width = len(layers[0][0])
        parts: list[Any] = [keras.Input((width,))]
        self.dropouts = []
        for weights, _ in layers[:-1]:
            parts.append(keras.layers.Dense(weights.shape[1], activation=step.hidden_activation))
            if step.dropout_chance:
                self.dropouts.append(keras.layers.Dropout(step.dropout_chance, seed=0))
                parts.append(self.dropouts[-1])
        # Without its activation, for the losses that are more exact so.
        parts.append(keras.layers.Dense(layers[-1][0].shape[1]))
        self.model = keras.Sequential(parts)
        self.model.set_weights([array for layer in layers for array in layer])
        self.variables = self.model.trainable_variables
        self.optimizer = keras.optimizers.Adam(step.lr)
        self.optimizer.build(self.variables)
        self.last = keras.activations.get(step.last_activation)
        self._train, self._evaluate = self._functions(width)

    def _functions(self, width: int) -> tuple[Any, Any]:
        """Training on a shard, and evaluating one, as graphs."""
        import tensorflow as tf

        classifies = task_of(self.step) == "classification"
        signature = [
            tf.TensorSpec((None, width), tf.float32),
            tf.TensorSpec((None,), tf.int64 if classifies else tf.float32),
        ]

        def train_batch(inputs: Any, wanted: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                last = self.model(inputs, training=True)
                losses = self._losses(last, wanted)
                mean = tf.reduce_mean(losses)
            gradients = tape.gradient(mean, self.variables)
            self.optimizer.apply(gradients, self.variables)
            return losses, self.last(last)

        def evaluate_batch(inputs: Any, wanted: Any) -> tuple[Any, Any]:
            last = self.model(inputs, training=False)
            return self._losses(last, wanted), self.last(last)

        def over(size: int, batch: Any, features: Any, targets: Any) -> tuple[Any, Any]:
            count = (tf.shape(features)[0] + size - 1) // size
            gathered = tf.TensorArray(
                tf.float32,
                size=count,
                infer_shape=False,
                element_shape=(None, self.step.output_units),
            )

            def body(place: Any, total: Any, outputs: Any) -> tuple[Any, Any, Any]:
                rows = slice(place * size, (place + 1) * size)
                losses, last = batch(features[rows], targets[rows])
                total += tf.reduce_sum(tf.cast(losses, tf.float64))
                return place + 1, total, outputs.write(place, last)

            _, total, outputs = tf.while_loop(
                lambda place, *_: place < count,
                body,
                (tf.constant(0), tf.constant(0.0, tf.float64), gathered),
                parallel_iterations=1,
            )
            return total, outputs.concat()

        def train_shard(features: Any, targets: Any, seed: Any) -> tuple[Any, Any]:
            for place, layer in enumerate(self.dropouts):
                state = layer.seed_generator.state
                # A stream for each layer; the second number counts the steps.
                state.assign(tf.cast(tf.stack([seed + place, 0]), state.dtype))
            return over(self.step.batch_size, train_batch, features, targets)

        def evaluate_shard(features: Any, targets: Any) -> tuple[Any, Any]:
            return over(_ROWS, evaluate_batch, features, targets)

        graph = tf.function(
            train_shard,
            input_signature=[*signature, tf.TensorSpec((), tf.int64)],
            autograph=False,
        )
        return graph, tf.function(evaluate_shard, input_signature=signature, autograph=False)

    def _losses(self, last: Any, targets: Any) -> Any:
        """The loss of each row."""
        import keras
        import tensorflow as tf

        loss, losses = loss_of(self.step), keras.losses
        if loss == "binary_crossentropy":
            wanted = tf.cast(targets, tf.float32)[:, None]
            return losses.binary_crossentropy(wanted, last, from_logits=True)
        if loss == "categorical_crossentropy":
            return losses.sparse_categorical_crossentropy(targets, last, from_logits=True)
        compare: Any = {
            "huber": losses.huber,
            "mae": losses.mean_absolute_error,
            "mse": losses.mean_squared_error,
        }[loss]
        return compare(targets[:, None], self.last(last))

    def train(self, features: _Features, targets: _Array, seed: int) -> tuple[float, _Features]:
        import tensorflow as tf

        total, outputs = self._train(features, targets, tf.constant(seed % 2**31, tf.int64))
        return float(total), outputs.numpy()

    def evaluate(self, features: _Features, targets: _Array) -> tuple[float, _Features]:
        total, outputs = self._evaluate(features, targets)
        return float(total), outputs.numpy()

    def layers(self) -> list[tuple[_Features, _Features]]:
        arrays = [np.array(variable.numpy()) for variable in self.variables]
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    def state(self) -> list[_Array]:
        return [
            np.array(variable.numpy()) for variable in (*self.variables, *self.optimizer.variables)
        ]

    def restore(self, state: Sequence[_Array]) -> None:
        variables = (*self.variables, *self.optimizer.variables)
        for variable, array in zip(variables, state, strict=True):
            variable.assign(array)
