"""What feed-forward trainers refuse before anything runs. No library is needed for that."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from zenml.core.errors import ConfigurationError
from zenml.steps.trainer import TFFeedForwardTrainer, TorchFeedForwardTrainer

BOTH = pytest.mark.parametrize("trainer", [TFFeedForwardTrainer, TorchFeedForwardTrainer])


def problems(trainer: Any, **parameters: Any) -> dict[str, str]:
    """What is wrong with parameters, by name."""
    with pytest.raises(ConfigurationError) as refused:
        trainer(**parameters)
    return {problem.path: str(problem) for problem in refused.value.problems}


def test_defaults_are_those_of_the_first_zenml() -> None:
    common = {
        "dropout_chance": 0.2,
        "hidden_activation": "relu",
        "hidden_layers": None,
        "last_activation": "sigmoid",
        "loss": "mse",
        "metrics": None,
        "output_units": 1,
        "seed": 0,
        "split_mapping": None,
        "threads": 1,
    }
    tensorflow, torch = TFFeedForwardTrainer(), TorchFeedForwardTrainer()
    assert tensorflow.parameters() == {**common, "batch_size": 8, "epochs": 1, "lr": 0.001}
    assert tensorflow.default_hidden_layers == (10,)
    expected = {**common, "batch_size": 32, "epochs": 10, "input_units": None, "lr": 0.0001}
    assert torch.parameters() == expected
    assert torch.default_hidden_layers == (64, 32, 16)


@BOTH
@pytest.mark.parametrize(
    "parameters",
    [
        {"loss": "binary_crossentropy", "metrics": ["accuracy"]},
        {
            "loss": "sparse_categorical_crossentropy",
            "last_activation": "softmax",
            "output_units": 3,
            "metrics": ["acc"],
        },
        {"loss": "mean_squared_error", "last_activation": "linear", "metrics": ["rmse", "mae"]},
        {"hidden_layers": [], "dropout_chance": 0},
        {"split_mapping": {"train_splits": ["a", "b"]}},
    ],
)
def test_what_can_be_asked_for(trainer: Any, parameters: dict[str, Any]) -> None:
    assert trainer(**parameters).parameters()["loss"] == parameters.get("loss", "mse")


@BOTH
@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"batch_size": 0}, "batch_size", "expected at least 1, found 0"),
        ({"epochs": 0}, "epochs", "expected at least 1"),
        ({"threads": 0}, "threads", "expected at least 1"),
        ({"lr": 0}, "lr", "expected a number above 0"),
        ({"lr": float("inf")}, "lr", "expected a number above 0"),
        ({"dropout_chance": 1}, "dropout_chance", "at least 0 and below 1"),
        ({"hidden_layers": [8, 0]}, "hidden_layers[1]", "at least 1 unit"),
        ({"hidden_activation": "rleu"}, "hidden_activation", "did you mean 'relu'?"),
        ({"hidden_activation": "softmax"}, "hidden_activation", "no such hidden_activation"),
        ({"last_activation": "sigmoyd"}, "last_activation", "did you mean 'sigmoid'?"),
        ({"last_activation": "softmax"}, "last_activation", "is for classes"),
        ({"loss": "mes"}, "loss", "did you mean 'mse'?"),
        ({"loss": "xyz"}, "loss", "use binary_crossentropy, categorical_crossentropy, huber"),
        ({"metrics": ["accuracy"]}, "metrics[0]", "measures classes, and loss='mse' predicts n"),
        ({"metrics": ["mae", "maes"]}, "metrics[1]", "did you mean 'mae'?"),
        ({"output_units": 2}, "output_units", "one label is predicted"),
        ({"loss": "binary_crossentropy", "metrics": ["mae"]}, "metrics[0]", "use accuracy"),
        (
            {"loss": "binary_crossentropy", "last_activation": "tanh"},
            "last_activation",
            "needs 'sigmoid', found 'tanh'",
        ),
        (
            {"loss": "categorical_crossentropy", "output_units": 3},
            "last_activation",
            "needs 'softmax', found 'sigmoid'",
        ),
        (
            {"loss": "categorical_crossentropy", "last_activation": "softmax"},
            "output_units",
            "a unit for each class",
        ),
        ({"split_mapping": {"train": ["a"]}}, "split_mapping.train", "no such key"),
    ],
)
def test_what_is_refused_when_it_is_written_down(
    trainer: Any, parameters: dict[str, Any], path: str, message: str
) -> None:
    found = problems(trainer, **parameters)
    assert list(found) == [path]
    assert message in found[path]


@BOTH
def test_all_that_is_wrong_is_said_at_once(trainer: Any) -> None:
    found = problems(trainer, lr=-1, epochs=0, loss="mes", hidden_activation="rleu")
    assert set(found) == {"epochs", "hidden_activation", "loss", "lr"}


def test_input_units_are_counted_by_torch_alone() -> None:
    assert "expected at least 1" in problems(TorchFeedForwardTrainer, input_units=0)["input_units"]
    assert "input_units" in problems(TFFeedForwardTrainer, input_units=8)


@pytest.mark.parametrize(
    ("trainer", "library", "extra"),
    [
        ("TFFeedForwardTrainer", "tensorflow", "tensorflow"),
        ("TorchFeedForwardTrainer", "torch", "torch"),
    ],
)
def test_without_the_extra_the_error_says_what_to_install(
    trainer: str, library: str, extra: str
) -> None:
    """In a process of its own, where the library cannot be found."""
    code = f"""
import sys
sys.modules["{library}"] = None
from zenml.steps.trainer import {trainer}
from zenml.core.errors import ZenMLError
try:
    {trainer}().run_fn(None, None)
except ZenMLError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(f"needs ({library}|keras), which is not installed", said.stdout)
    assert f"pip install 'zenml-steps[{extra}]'" in said.stdout
