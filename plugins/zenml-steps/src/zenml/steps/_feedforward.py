"""What may be asked of a feed-forward network. Light: read when a step is written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Literal

from zenml.core.errors import Problem

if TYPE_CHECKING:
    from zenml.steps.trainer import FeedForwardTrainer

__all__ = [
    "RANGES",
    "check_parameters",
    "hyperparameters",
    "loss_of",
    "metrics_of",
    "sizes_of",
    "task_of",
]

#: Loss to what it predicts.
_LOSSES: Final[Mapping[str, Literal["classification", "regression"]]] = {
    "binary_crossentropy": "classification",
    "categorical_crossentropy": "classification",
    "huber": "regression",
    "mae": "regression",
    "mse": "regression",
}

_METRICS: Final[Mapping[str, str]] = {
    "accuracy": "classification",
    "mae": "regression",
    "mse": "regression",
    "rmse": "regression",
}

#: Other names that Keras has for the same.
_SYNONYMS: Final[Mapping[str, str]] = {
    "acc": "accuracy",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "sparse_categorical_crossentropy": "categorical_crossentropy",
}

#: Activation to the values that it can give.
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "elu": (-1.0, math.inf),
    "linear": (-math.inf, math.inf),
    "relu": (0.0, math.inf),
    "selu": (-1.7580993408473766, math.inf),
    "sigmoid": (0.0, 1.0),
    "silu": (-0.27846454276107387, math.inf),
    "softmax": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "tanh": (-1.0, 1.0),
}


def loss_of(step: FeedForwardTrainer) -> str:
    """The loss by its one name."""
    return _SYNONYMS.get(step.loss, step.loss)


def task_of(step: FeedForwardTrainer) -> Literal["classification", "regression"]:
    """What the loss predicts."""
    return _LOSSES[loss_of(step)]


def metrics_of(step: FeedForwardTrainer) -> list[str]:
    """The metrics by their one name each."""
    return list(dict.fromkeys(_SYNONYMS.get(name, name) for name in step.metrics or ()))


def sizes_of(step: FeedForwardTrainer) -> list[int]:
    """Units of the hidden layers."""
    return list(step.default_hidden_layers if step.hidden_layers is None else step.hidden_layers)


def hyperparameters(step: FeedForwardTrainer) -> dict[str, Any]:
    """What the training is told, with defaults filled in."""
    return {
        "batch_size": step.batch_size,
        "dropout_chance": step.dropout_chance,
        "epochs": step.epochs,
        "hidden_activation": step.hidden_activation,
        "hidden_layers": sizes_of(step),
        "last_activation": step.last_activation,
        "loss": loss_of(step),
        "lr": step.lr,
        "metrics": metrics_of(step),
        "optimizer": "adam",
        "output_units": step.output_units,
        "seed": step.seed,
        "threads": step.threads,
    }


def check_parameters(step: FeedForwardTrainer) -> Iterator[Problem]:
    """Everything that is wrong with the parameters of a trainer."""
    for name in ("batch_size", "epochs", "output_units", "threads"):
        if getattr(step, name) < 1:
            yield Problem(name, f"expected at least 1, found {getattr(step, name)}")
    if not (math.isfinite(step.lr) and step.lr > 0):
        yield Problem("lr", f"expected a number above 0, found {step.lr}")
    if not 0 <= step.dropout_chance < 1:
        found = step.dropout_chance
        yield Problem("dropout_chance", f"expected at least 0 and below 1, found {found}")
    for place, units in enumerate(step.hidden_layers or ()):
        if units < 1:
            yield Problem(f"hidden_layers[{place}]", f"expected at least 1 unit, found {units}")
    hidden = [name for name in RANGES if name != "softmax"]
    yield from _unknown("hidden_activation", step.hidden_activation, hidden)
    wrong = list(_unknown("last_activation", step.last_activation, list(RANGES)))
    yield from wrong
    if loss_of(step) in _LOSSES:
        yield from _check_metrics(step)
        yield from _check_last_layer(step, known=not wrong)
    else:
        yield from _unknown("loss", step.loss, list(_LOSSES))


def _check_metrics(step: FeedForwardTrainer) -> Iterator[Problem]:
    task = task_of(step)
    fitting = [name for name, measured in _METRICS.items() if measured == task]
    for place, name in enumerate(step.metrics or ()):
        measured = _METRICS.get(_SYNONYMS.get(name, name))
        if measured is None:
            yield from _unknown(f"metrics[{place}]", name, fitting)
        elif measured != task:
            yield Problem(
                f"metrics[{place}]",
                f"'{name}' measures {_OF[measured]}, and loss='{step.loss}' predicts {_OF[task]}",
                f"use {', '.join(fitting)}, or another loss",
            )


_OF: Final = {"classification": "classes", "regression": "numbers"}


def _check_last_layer(step: FeedForwardTrainer, *, known: bool) -> Iterator[Problem]:
    loss = loss_of(step)
    wanted = {"binary_crossentropy": "sigmoid", "categorical_crossentropy": "softmax"}.get(loss)
    if wanted is not None and known and step.last_activation != wanted:
        yield Problem(
            "last_activation",
            f"loss='{step.loss}' needs '{wanted}', found '{step.last_activation}'",
            f"last_activation='{wanted}'",
        )
    if wanted is None and step.last_activation == "softmax":
        yield Problem(
            "last_activation",
            f"'softmax' is for classes, and loss='{step.loss}' predicts a number",
            "last_activation='linear', or loss='categorical_crossentropy'",
        )
    if loss == "categorical_crossentropy":
        if step.output_units == 1:
            yield Problem(
                "output_units",
                f"loss='{step.loss}' needs a unit for each class, found 1",
                "say how many classes the label has; for two, there is loss='binary_crossentropy'",
            )
    elif step.output_units > 1:
        yield Problem(
            "output_units",
            f"one label is predicted, and loss='{step.loss}' needs 1 unit, "
            f"found {step.output_units}",
            "output_units=1, or loss='categorical_crossentropy' for classes",
        )


def _unknown(parameter: str, name: str, known: Sequence[str]) -> Iterator[Problem]:
    if name not in known:
        close = get_close_matches(name, [*known, *_SYNONYMS], n=1)
        remedy = f"did you mean '{close[0]}'?" if close else f"use {', '.join(sorted(known))}"
        yield Problem(parameter, f"no such {parameter.partition('[')[0]}: '{name}'", remedy)
