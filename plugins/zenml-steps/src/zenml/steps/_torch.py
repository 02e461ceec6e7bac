"""Feed-forward networks in the hands of PyTorch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from zenml.core import StepContext
from zenml.steps._feedforward import loss_of, task_of
from zenml.steps._fitting import Network, fit
from zenml.steps._networks import FeedForwardModel, import_library

if TYPE_CHECKING:
    import torch

    from zenml.steps._training import TrainingData
    from zenml.steps.trainer import TorchFeedForwardTrainer

__all__ = ["TorchModel", "train"]

_Array = npt.NDArray[Any]
_Features = npt.NDArray[np.float32]

#: Rows that are evaluated at once.
_ROWS: Final = 1024

#: Adam's constants, as their authors and PyTorch have them.
_MEAN_DECAY: Final = 0.9
_SQUARE_DECAY: Final = 0.999
_EPSILON: Final = 1e-8


class TorchModel(FeedForwardModel):
    """A feed-forward network that PyTorch trained."""

    artifact_format = "zenml.steps.formats:TorchModelFormat"

    def module(self) -> torch.nn.Module:
        """The network as a module of PyTorch: transformed features to what ``scores`` gives.

        For two classes it gives the second one's chance. It computes as PyTorch does, so the last
        bits depend on the machine and on the rows that are computed together.
        """
        torch = import_library("torch", "torch")
        parts = []
        for layer in self.layers:
            linear = torch.nn.Linear(*layer.weights.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(layer.weights.T))
                linear.bias.copy_(torch.tensor(layer.bias))
            parts += [linear, _activation(layer.activation)]
        return torch.nn.Sequential(*parts).eval()


def train(
    step: TorchFeedForwardTrainer, data: TrainingData, context: StepContext
) -> dict[str, Any]:
    """See ``TorchFeedForwardTrainer``."""
    torch = import_library("torch", "torch")
    with _deterministic(step.threads):
        fitted = fit(step, data, context, lambda layers: _TorchNetwork(step, layers))
    versions = {"torch": str(torch.__version__)}
    model = TorchModel(
        fitted.layers, dict(data.transform), task_of(step), fitted.class_values, versions
    )
    return {"model": model, "history": fitted.history}


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """What PyTorch is told, as long as a training lasts."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    # On processors, what is used here is deterministic without being told.
    if torch.cuda.is_available():
        # What cuBLAS wants to be told before it is used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        if torch.cuda.is_available():
            torch.use_deterministic_algorithms(mode=before[1])


class _TorchNetwork(Network):
    def __init__(
        self, step: TorchFeedForwardTrainer, layers: Sequence[tuple[_Features, _Features]]
    ) -> None:
        import torch

        self.step = step
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.parameters = [
            self._tensor(array).requires_grad_() for layer in layers for array in layer
        ]
        #: Steps that were taken, and Adam's moving means of each parameter's gradients and squares.
        self.steps = 0
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.hidden = _activation(step.hidden_activation)
        self.last = _activation(step.last_activation)

    def _tensor(self, array: _Array) -> Any:
        import torch

        # A copy: its memory is aligned alike in every process, on which rounding may depend.
        return torch.tensor(array, device=self.device)

    def _forward(self, features: Any, generator: Any = None) -> Any:
        """The last layer before its activation; with a generator, units are dropped out."""
        import torch

        kept = 1.0 - self.step.dropout_chance
        values = features
        pairs = list(zip(self.parameters[::2], self.parameters[1::2], strict=True))
        for weights, bias in pairs[:-1]:
            values = self.hidden(torch.addmm(bias, values, weights))
            if generator is not None and kept < 1.0:
                # Its own generator, so that trainings beside each other draw from no common one.
                mask = torch.empty_like(values).bernoulli_(kept, generator=generator)
                values = values * mask / kept
        weights, bias = pairs[-1]
        return torch.addmm(bias, values, weights)

    def _losses(self, last: Any, targets: Any) -> Any:
        """The loss of each row."""
        from torch.nn import functional

        loss = loss_of(self.step)
        if loss == "binary_crossentropy":
            wanted = targets.to(last.dtype)
            return functional.binary_cross_entropy_with_logits(last[:, 0], wanted, reduction="none")
        if loss == "categorical_crossentropy":
            return functional.cross_entropy(last, targets, reduction="none")
        compare: Any = {
            "huber": functional.huber_loss,
            "mae": functional.l1_loss,
            "mse": functional.mse_loss,
        }[loss]
        return compare(self.last(last)[:, 0], targets, reduction="none")

    def _learn(self, gradients: Sequence[Any]) -> None:
        """A step of Adam (D. P. Kingma and J. Ba, 2015, algorithm 1).

        The one in ``torch.optim`` imports PyTorch's compiler, which takes seconds, and ends the
        process if TensorFlow is in it, too.
        """
        import torch

        self.steps += 1
        rate = self.step.lr / (1.0 - _MEAN_DECAY**self.steps)
        correction = math.sqrt(1.0 - _SQUARE_DECAY**self.steps)
        state = zip(self.parameters, gradients, self.means, self.squares, strict=True)
        with torch.no_grad():
            for parameter, gradient, mean, square in state:
                mean.lerp_(gradient, 1.0 - _MEAN_DECAY)
                square.mul_(_SQUARE_DECAY).addcmul_(gradient, gradient, value=1.0 - _SQUARE_DECAY)
                scale = (square.sqrt() / correction).add_(_EPSILON)
                parameter.addcdiv_(mean, scale, value=-rate)

    def train(self, features: _Features, targets: _Array, seed: int) -> tuple[float, _Features]:
        import torch

        generator = torch.Generator(self.device).manual_seed(seed)
        inputs, wanted = self._tensor(features), self._tensor(targets)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        outputs = []
        for first in range(0, len(features), self.step.batch_size):
            rows = slice(first, first + self.step.batch_size)
            last = self._forward(inputs[rows], generator)
            losses = self._losses(last, wanted[rows])
            self._learn(torch.autograd.grad(losses.mean(), self.parameters))
            total += losses.detach().sum(dtype=torch.float64)
            outputs.append(self.last(last.detach()))
        return float(total), torch.cat(outputs).cpu().numpy()

    def evaluate(self, features: _Features, targets: _Array) -> tuple[float, _Features]:
        import torch

        inputs, wanted = self._tensor(features), self._tensor(targets)
        total, outputs = 0.0, []
        with torch.no_grad():
            for first in range(0, len(features), _ROWS):
                rows = slice(first, first + _ROWS)
                last = self._forward(inputs[rows])
                total += float(self._losses(last, wanted[rows]).sum(dtype=torch.float64))
                outputs.append(self.last(last))
        return total, torch.cat(outputs).cpu().numpy()

    def layers(self) -> list[tuple[_Features, _Features]]:
        arrays = [parameter.detach().cpu().numpy().copy() for parameter in self.parameters]
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    def state(self) -> list[_Array]:
        tensors = (*self.parameters, *self.means, *self.squares)
        arrays = [tensor.detach().cpu().numpy() for tensor in tensors]
        return [np.array(self.steps), *arrays]

    def restore(self, state: Sequence[_Array]) -> None:
        import torch

        self.steps = int(state[0])
        tensors = (*self.parameters, *self.means, *self.squares)
        with torch.no_grad():
            for tensor, array in zip(tensors, state[1:], strict=True):
                tensor.copy_(self._tensor(array))


def _activation(name: str) -> Any:
    from torch import nn

    made: dict[str, Any] = {
        "elu": nn.ELU,
        "linear": nn.Identity,
        "relu": nn.ReLU,
        "selu": nn.SELU,
        "sigmoid": nn.Sigmoid,
        "silu": nn.SiLU,
        "softsign": nn.Softsign,
        "tanh": nn.Tanh,
    }
    return nn.Softmax(dim=1) if name == "softmax" else made[name]()
