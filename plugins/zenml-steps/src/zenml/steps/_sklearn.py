"""Estimators of scikit-learn: trained, stored as data with skops, and read back without pickle."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from zenml.core import Artifact, Files, StepContext
from zenml.core.errors import ConfigurationError, DataError, IntegrityError, Problem, ZenMLError
from zenml.steps._training import MOST_CLASSES, TrainingData
from zenml.steps.model import Model

if TYPE_CHECKING:
    from zenml.steps.trainer import SKLearnTrainer

__all__ = ["SKLearnModel", "load_model", "save_model", "train"]

_FILE: Final = "estimator.skops"

#: Rows that an estimator is given at once, always: BLAS libraries add up in another order for one
#: row than for many. A multiple of the rows that their kernels take, so that all places are alike.
_BLOCK: Final = 192


class SKLearnModel(Model):
    """A fitted estimator of scikit-learn with its preprocessing."""

    artifact_format = "zenml.steps.formats:SKLearnModelFormat"

    def __init__(
        self,
        estimator: Any,
        transform: Mapping[str, Any],
        task: Literal["classification", "regression"],
        class_values: Sequence[float] = (),
    ) -> None:
        super().__init__(transform, task, class_values)
        self.estimator = estimator

    @property
    def imports(self) -> tuple[str, ...]:
        """See ``Model.imports``."""
        own = type(self.estimator).__module__.partition(".")[0]
        return ("skops", *sorted({"sklearn", own}))

    def scores(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See ``Model.scores``."""
        if not len(features):
            width = len(self.class_values)
            return np.zeros((0, width) if self.task == "classification" else 0)
        found = []
        with _one_thread():
            for first in range(0, len(features), _BLOCK):
                block = features[first : first + _BLOCK]
                filling = np.repeat(block[-1:], _BLOCK - len(block), axis=0)
                found.append(self._estimate(np.concatenate([block, filling]))[: len(block)])
        return np.concatenate(found)

    def _estimate(self, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.task == "regression":
            return np.asarray(self.estimator.predict(features), dtype=np.float64).reshape(-1)
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict_proba(features), dtype=np.float64)
        if hasattr(self.estimator, "decision_function"):
            found = np.asarray(self.estimator.decision_function(features), dtype=np.float64)
            return found if found.ndim == 2 else np.stack([-found, found], axis=1)
        places = np.asarray(self.estimator.predict(features), dtype=np.int64)
        return np.eye(len(self.class_values))[places]


def train(step: SKLearnTrainer, data: TrainingData, context: StepContext) -> SKLearnModel:
    """See ``SKLearnTrainer``."""
    for name in ("sklearn.base", "skops.io"):
        _import(name)  # before the training, not after it
    # Imports that can be seen: their versions belong to what identifies the model.
    import sklearn.base
    import skops.io  # noqa: F401

    estimator = _make(step)
    features, labels = data.arrays("train")
    classifies = sklearn.base.is_classifier(estimator)
    if not classifies and not sklearn.base.is_regressor(estimator):
        raise ConfigurationError(
            f"{step.title} cannot train that",
            [Problem("estimator", f"{step.estimator} is neither a classifier nor a regressor")],
        )
    label = data.column_of_label()
    values: npt.NDArray[Any] = np.array([])
    targets: npt.NDArray[Any] = labels
    if classifies:
        values, targets = np.unique(labels, return_inverse=True)
        if len(values) < 2:
            raise DataError(
                f"the label '{label['column']}' has one value only in the training rows",
                remedy="train on rows of at least two classes",
            )
        if len(values) > MOST_CLASSES:
            raise DataError(
                f"the label '{label['column']}' has {len(values):,} different values, too many for "
                "classes",
                remedy="predict it as a number, with a regressor such as "
                "estimator='sklearn.ensemble:HistGradientBoostingRegressor'",
            )
    elif label["type"] == "string":
        raise DataError(
            f"the label '{label['column']}' is text, and {step.estimator} predicts numbers",
            remedy="use a classifier",
        )
    context.log.info(
        "training %s on %d rows of %d features", step.estimator, len(labels), features.shape[1]
    )
    with _threads(step.threads):
        try:
            estimator.fit(features, targets)
        except ValueError as error:
            raise DataError(
                f"the estimator refuses the training data: {error}",
                where=step.estimator,
                remedy="look at 'statistics' of the data, and at the transforms of its columns",
            ) from error
    return SKLearnModel(
        estimator,
        dict(data.transform),
        "classification" if classifies else "regression",
        [float(value) for value in values],
    )


def _make(step: SKLearnTrainer) -> Any:
    """The estimator, not fitted yet. Raises ``ConfigurationError``."""
    module_name, _, name = step.estimator.partition(":")
    title = f"{step.title} cannot be used"
    try:
        module = importlib.import_module(module_name)
        made: Any = getattr(module, name)
    except (ImportError, AttributeError) as error:
        problem = Problem("estimator", f"there is no {step.estimator}: {error}")
        raise ConfigurationError(title, [problem]) from error
    base = _import("sklearn.base").BaseEstimator
    if not (isinstance(made, type) and issubclass(made, base)):
        problem = Problem("estimator", f"{step.estimator} is not an estimator")
        raise ConfigurationError(title, [problem])
    known = list(inspect.signature(made).parameters)
    problems = [
        Problem(
            f"hyperparameters.{given}",
            f"{name} has no such parameter",
            f"it has: {', '.join(known)}",
        )
        for given in step.hyperparameters or {}
        if given not in known
    ]
    if problems:
        raise ConfigurationError(title, problems)
    parameters = dict(step.hyperparameters or {})
    if "random_state" in known:
        parameters.setdefault("random_state", step.seed)
    return made(**parameters)


# -- storing ---------------------------------------------------------------------------------------


def save_model(model: SKLearnModel, files: Files, name: str) -> Artifact:
    """The model as an artifact: equal models give equal bytes."""
    skops = _import("skops.io")
    data = _canonical(skops.dumps(model.estimator))
    untrusted = skops.get_untrusted_types(data=data)
    refused = [found for found in untrusted if not _is_plausible(found)]
    if refused:
        raise ZenMLError(
            f"the estimator holds objects of types that are not trusted: {', '.join(refused)}",
            where=type(model.estimator).__name__,
            remedy="use an estimator that consists of scikit-learn and NumPy only",
        )
    value = {
        "task": model.task,
        "class_values": list(model.class_values),
        "transform": model.transform,
        "types": sorted(untrusted),
        "versions": {"scikit-learn": _import("sklearn").__version__},
    }
    return Artifact(format=name, value=value, files={_FILE: files.put_bytes(data)})


def load_model(artifact: Artifact, files: Files, *, trust: Sequence[str] = ()) -> SKLearnModel:
    """Read a stored model.

    Args:
        artifact: What ``save_model`` returned.
        files: Reads its bytes.
        trust: Further type names that may be made, besides scikit-learn's and NumPy's. Look at what
            they do first: the bytes decide what they are given.

    Raises:
        IntegrityError: the file names types that are not trusted, or that were not there when the
            model was stored.
    """
    skops = _import("skops.io")
    data = files.fetch(artifact.files[_FILE]).read_bytes()
    value = artifact.value
    wanted = skops.get_untrusted_types(data=data)
    refused = [
        found
        for found in wanted
        if found not in trust and not (found in value["types"] and _is_plausible(found))
    ]
    if refused:
        raise IntegrityError(
            f"the stored model holds types that are not trusted: {', '.join(sorted(refused))}",
            where=f"artifact {artifact.digest[:12]}",
            remedy="if you know them to be harmless, load it with load_model(…, trust=[…])",
        )
    try:
        estimator = skops.loads(data, trusted=[*wanted])
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        made_with = value["versions"]["scikit-learn"]
        raise IntegrityError(
            f"the stored model cannot be read: {error}",
            where=f"artifact {artifact.digest[:12]}",
            remedy=f"it was made with scikit-learn {made_with}; install that version",
        ) from error
    return SKLearnModel(estimator, value["transform"], value["task"], tuple(value["class_values"]))


def _is_plausible(name: str) -> bool:
    """Whether a type is a class of scikit-learn or NumPy.

    To be reachable through one of their modules is not enough.
    """
    module_name, _, class_name = name.rpartition(".")
    if module_name.partition(".")[0] not in ("sklearn", "numpy"):
        return False
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError):
        return False
    return isinstance(found, type) and found.__module__.partition(".")[0] in ("sklearn", "numpy")


def _canonical(data: bytes) -> bytes:
    """The same skops file without memory addresses and times.

    skops names objects and files by ``id()``, and the archive records when it was written.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read("schema.json"))
        contents = {name: archive.read(name) for name in archive.namelist()}
    ids: dict[Any, int] = {}
    names: dict[str, str] = {"schema.json": "schema.json"}

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        result: dict[str, Any] = {}
        for key, item in node.items():
            if key == "__id__":
                # Whether equal constants are one object is the interpreter's choice.
                shared: Any = item
                if node.get("__loader__") == "JsonNode":
                    shared = ("constant", len(ids))
                result[key] = ids.setdefault(shared, len(ids) + 1)
            elif key == "file" and item in contents:
                suffix = item.rpartition(".")[2]
                result[key] = names.setdefault(item, f"{len(names):05d}.{suffix}")
            else:
                result[key] = renumber(item)
        return result

    plain = renumber(schema)
    contents["schema.json"] = json.dumps(plain, separators=(",", ":")).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for old, new in sorted(names.items(), key=lambda pair: pair[1]):
            entry = zipfile.ZipInfo(new, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o600 << 16
            content = contents[old]
            archive.writestr(entry, _without_padding(content) if old.endswith(".npy") else content)
    return buffer.getvalue()


def _without_padding(content: bytes) -> bytes:
    """The same array file; records have gaps, and in these is whatever was in memory there."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()


# -- the libraries ---------------------------------------------------------------------------------


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ZenMLError(
            f"this step needs {name.partition('.')[0]}, which is not installed",
            remedy="pip install 'zenml-steps[sklearn]'",
        ) from error


def _threads(count: int) -> Any:
    return _import("threadpoolctl").threadpool_limits(limits=count)


def _one_thread() -> Any:
    """Units of work run beside each other already; OpenMP's threads would wait for each other."""
    return _threads(1)
