"""Sequencing: time series cut into sequences of equal steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zenml.core import Step, StepContext
from zenml.core.errors import Problem
from zenml.steps._sequence_methods import check_frequency, check_overwrite

if TYPE_CHECKING:
    from zenml.steps.dataset import Dataset

__all__ = ["StandardSequencer"]


class StandardSequencer(Step):
    """Makes a row of every sequence of ``sequence_length`` equal steps of time.

    1. Rows of one category, and of one split, are put in the order of time, and cut into sessions
       wherever ``gap_threshold`` seconds or more lie between two of them.
    2. A session is resampled: each step of ``resampling_freq`` has one value of every column, taken
       from the rows in it. Steps are counted from midnight (UTC) before the session begins.
    3. Steps without a value are filled from others of the same session.
    4. Of every ``sequence_shift`` steps, one begins a sequence, as long as the session lasts.

    ========  ==========  ===============
    type      resampling  filling
    ========  ==========  ===============
    boolean   ``mode``    ``max``
    integer   ``mean``    ``max``
    float     ``mean``    ``max``
    string    ``mode``    ``custom('')``
    ========  ==========  ===============

    Column ``x`` becomes ``x_0``, ``x_1``, … from the oldest step to the latest; the category stays,
    and the timestamp is that of the sequence's first step. So the result is a dataset like any
    other: a preprocesser takes ``x_0`` to ``x_2`` as features, and ``x_3`` as the label.

    ``overwrite`` maps columns to ``{"resampling": …, "filling": …}``; each is a name, or
    ``{"method": name, "parameters": {…}}``. Resamplings: ``mean``, ``median``, ``mode`` (of equally
    frequent values the smallest), ``threshold(cond, c_value, threshold, set_value)``: ``set_value``
    if more than the share ``threshold`` of the values is ``greater``, ``greater_or_equal``,
    ``equal``, ``less_or_equal`` or ``less`` than ``c_value``, or if they ``includes`` it; otherwise
    missing. Fillings: ``forward``, ``backwards``, ``min``, ``max``, ``mean``,
    ``custom(custom_value)``. What none of them fills stays missing. NaN counts as missing.

    Parameters:
        timestamp_column: A column of Unix timestamps, in seconds.
        category_column: A column that says which series a row belongs to; one series by default.
            Rows without a category are a series too.
        overwrite: Other resamplings and fillings than the defaults, by column.
        resampling_freq: A step's length: a number and ``D``, ``h``, ``min``, ``s`` or ``ms``.
        gap_threshold: How many seconds without a row end a session.
        sequence_length: Steps of a sequence.
        sequence_shift: Steps from the start of one sequence to the start of the next.
    """

    outputs = ("examples",)

    timestamp_column: str
    category_column: str | None = None
    overwrite: dict[str, Any] | None = None
    resampling_freq: str = "1D"
    gap_threshold: int = 60000
    sequence_length: int = 4
    sequence_shift: int = 1

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from check_overwrite(self.overwrite or {})
        yield from check_frequency(self.resampling_freq)
        for parameter in ("gap_threshold", "sequence_length", "sequence_shift"):
            value = getattr(self, parameter)
            if value < 1:
                yield Problem(parameter, f"expected at least 1, found {value}")
        if self.category_column == self.timestamp_column:
            yield Problem("category_column", f"'{self.category_column}' holds the timestamps")
        for name in (self.timestamp_column, self.category_column):
            if name in (self.overwrite or {}):
                yield Problem(f"overwrite.{name}", "is neither resampled nor filled")

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Cut ``examples`` into sequences.

        Raises:
            ConfigurationError: a column does not exist, or its type does not fit.
            DataError: a timestamp is missing or none, or no session is long enough.
        """
        from zenml.steps._sequencing import sequence_dataset

        return sequence_dataset(self, examples, context)
