"""Preprocessing: learnt from the training data, applied to all data, serving included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from zenml.core import Step, StepContext
from zenml.core.errors import Problem
from zenml.steps._methods import check_overwrite
from zenml.steps._splits import check_split_mapping

if TYPE_CHECKING:
    import polars as pl

    from zenml.steps.dataset import Dataset

__all__ = ["StandardPreprocesser", "apply"]


class StandardPreprocesser(Step):
    """Fills, scales and encodes columns, each by a default for its type, or as ``overwrite`` says.

    ========  =====================  ============================
    type      missing values become  then
    ========  =====================  ============================
    boolean   the maximum            ``no_transform``
    integer   the maximum            ``scale_to_z_score``
    float     the maximum            ``scale_to_z_score``
    string    ``''``                 ``compute_and_apply_vocabulary``
    ========  =====================  ============================

    Column ``x`` becomes ``x_xf`` as a feature and ``x_xl`` as a label, of type float32. The raw
    columns stay, by reference. NaN counts as missing. A label that is missing stays missing, unless
    ``overwrite`` gives it a filling: trainers and evaluators leave such rows out.

    What is learnt (means, extremes, vocabularies) is learnt from the training splits only. The
    training rows are read once, and once more for each further transform of a chain that learns.

    ``overwrite`` maps columns to ``{"filling": …, "transform": …}``; each is a name, or
    ``{"method": name, "parameters": {…}}``, and ``transform`` may be a list, applied in turn::

        overwrite={
            "distance": {"transform": "scale_to_0_1", "filling": "mean"},
            "origin": {
                "transform": [
                    "compute_and_apply_vocabulary",
                    {"method": "one_hot_encode", "parameters": {"depth": 3}},
                ]
            },
        }

    Transforms: ``bucketize(num_buckets)`` by quantiles, ``compute_and_apply_vocabulary`` (position
    by descending frequency, -1 for values not seen in training), ``hash_strings(hash_buckets)``,
    ``image_reshape(height, width)``, ``load_binary_image(height=None, width=None, channels=3)``,
    ``ngrams(ngram_range, separator=" ")``, ``no_transform``, ``one_hot_encode(depth)``,
    ``pca(output_dim, dtype="float32")``, ``scale_by_min_max(min=0, max=1)``, ``scale_to_0_1``,
    ``scale_to_z_score``, ``tfidf(vocab_size)``. Fillings: ``min``, ``max``, ``mean``,
    ``custom(custom_value)``. A column without any value is filled with 0.

    A column of type ``binary`` has no default. ``load_binary_image`` decodes its images, to numbers
    from 0 to 255: of the height and width that it is told, or of any if ``image_reshape`` follows.

    In a chain, each transform takes what the one before it gives: a number, a text, the terms of a
    text, an image, or a vector. ``ngrams`` gives terms, which ``compute_and_apply_vocabulary`` and
    ``hash_strings`` may number, and ``tfidf`` makes a vector of; ``one_hot_encode`` and ``pca``
    give vectors too.

    Parameters:
        features: Columns to learn from; all columns that are no labels by default.
        labels: Columns to be predicted.
        overwrite: Other fillings and transforms than the defaults, by column.
        split_mapping: Which splits are for training: ``{"train_splits": ["train"]}``.
    """

    outputs = ("examples", "transform")

    features: list[str] | None = None
    labels: list[str] | None = None
    overwrite: dict[str, Any] | None = None
    split_mapping: dict[str, list[str]] | None = None

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from check_overwrite(self.overwrite or {})
        yield from check_split_mapping(self.split_mapping)
        labels = self.labels or []
        for parameter, names in (("features", self.features or []), ("labels", labels)):
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield Problem(parameter, f"names '{name}' more than once")
        for name in sorted(set(self.features or []) & set(labels)):
            yield Problem(
                "features", f"'{name}' is a label too: the model would be told what to predict"
            )
        if self.features is not None:
            if not self.features:
                yield Problem("features", "is empty", "leave it out to take all columns")
            known = [*self.features, *labels]
            for name in self.overwrite or {}:
                if name not in known:
                    close = get_close_matches(name, known, n=1)
                    remedy = f"did you mean '{close[0]}'?" if close else None
                    yield Problem(f"overwrite.{name}", "is neither a feature nor a label", remedy)

    def run(self, examples: Dataset, context: StepContext) -> dict[str, Any]:
        """Learn the ``transform`` and apply it: ``examples`` with the new columns.

        Raises:
            ConfigurationError: a column does not exist, or its type does not fit its transform.
            DataError: there is no training split, or nothing in it.
        """
        from zenml.steps._preprocessing import preprocess

        return preprocess(self, examples, context)


def apply(transform: Mapping[str, Any], frame: pl.DataFrame) -> pl.DataFrame:
    """Apply a learnt transform to raw rows: the same code in training and in serving.

    Args:
        transform: The artifact of that name, plain data.
        frame: Raw rows. Labels may be missing; columns that the transform does not know do not
            count.

    Returns:
        The columns ``<feature>_xf`` and, for labels that are there, ``<label>_xl``.

    Raises:
        DataError: a feature is missing, or its values are not of the type that was trained on.
    """
    from zenml.steps._applying import apply_transform

    return apply_transform(transform, frame)
