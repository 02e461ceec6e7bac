"""Splits: which rows are for training, and which are not."""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from zenml.core import Step, StepContext
from zenml.core.errors import Problem
from zenml.steps._shares import check_shares, cuts
from zenml.steps._times import TIME_REMEDY, comparable
from zenml.steps._unicode import HALF, is_text

if TYPE_CHECKING:
    import polars as pl

    from zenml.steps.dataset import Dataset

__all__ = [
    "BaseSplit",
    "CategoricalDomainSplit",
    "CategoricalRatioSplit",
    "NoSplit",
    "RandomSplit",
    "TimeRatioSplit",
    "TimeSplit",
]

#: The ``unknown_category_policy`` that leaves rows out.
_SKIP: Final = "skip"
#: Splits in the order of time that everybody means.
_IN_TIME: Final = ("train", "eval", "test")


class BaseSplit(Step):
    """Assigns every row to a split, or to none.

    Derive your own::

        class SplitByYear(BaseSplit):
            last_training_year: int

            def get_split_names(self):
                return ["train", "test"]

            def reads(self):
                return ["year"]

            def assign(self, frame, first_row):
                late = frame["year"] > self.last_training_year
                return late.replace_strict({False: "train", True: "test"})

    No row is copied: the result shares all files with its input, and adds one small file of
    assignments for each shard.
    """

    outputs = ("examples",)

    @abstractmethod
    def get_split_names(self) -> Sequence[str]:
        """Names of all splits that ``assign`` may give."""

    def reads(self) -> Sequence[str] | None:
        """The columns that ``assign`` looks at; None (the default) for all of them."""
        return None

    @abstractmethod
    def assign(self, frame: pl.DataFrame, first_row: int) -> Any:
        """The split of each row.

        Must depend on nothing but the row's values and its global index, since how rows are
        divided into frames is no business of a split.

        Args:
            frame: Consecutive rows, with the columns that ``reads`` names.
            first_row: Global index of the first of them.

        Returns:
            For each row the name of its split, or None to leave it out: a Polars series, an array
            or a list.
        """

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Assign the rows of ``examples``. Raises ``DataError`` for what is not a split."""
        from zenml.steps._splitting import split_dataset

        return split_dataset(self, examples, context)


class RandomSplit(BaseSplit):
    """Assigns rows at random, by shares: ``RandomSplit(split_map={"train": 0.8, "eval": 0.2})``.

    Which split a row is in depends on the seed, the shares and the row's global index, and on
    nothing else: neither on sharding, workers and retries, nor on the order of ``split_map`` (the
    splits take their turns by name). Adding rows at the end moves no row that was there before.

    Parameters:
        split_map: Split name to its share of the rows: at least two, positive, 1 in sum.
        seed: Another seed gives another, independent assignment.
    """

    split_map: dict[str, float]
    seed: int = 0

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from check_shares("split_map", self.split_map)

    def get_split_names(self) -> list[str]:
        """The names in ``split_map``, sorted."""
        return sorted(self.split_map)

    def reads(self) -> list[str]:
        """None: values do not count."""
        return []

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.Series:
        """See ``BaseSplit.assign``."""
        from zenml.steps._splitting import assign_at_random

        return assign_at_random(self.split_map, self.seed, first_row, frame.height)


class NoSplit(BaseSplit):
    """Puts every row into one split, called ``nosplit``.

    What looks for training rows then wants to be told: ``split_mapping={"train_splits":
    ["nosplit"]}``.
    """

    def get_split_names(self) -> list[str]:
        """One name."""
        return ["nosplit"]

    def reads(self) -> list[str]:
        """None: values do not count."""
        return []

    def assign(self, frame: pl.DataFrame, first_row: int) -> list[str]:
        """See ``BaseSplit.assign``."""
        return ["nosplit"] * frame.height


class _CategoricalSplit(BaseSplit):
    """Assigns rows by their category: the value of a string, integer or boolean column."""

    categorical_column: str
    unknown_category_policy: str = _SKIP

    @abstractmethod
    def _domains(self) -> Mapping[str, Sequence[str | int]]:
        """Split name to its categories; no category is in two of them."""

    def _check_policy(self, parameter: str, names: Iterable[str]) -> Iterator[Problem]:
        """Everything that is wrong with the splits' names, and with what is to become of others."""
        for name in names:
            if name in ("", _SKIP):
                said = "a split has no name" if not name else f"'{_SKIP}' stands for no split"
                yield Problem(parameter, said, "give the split a name of its own")
        policy = self.unknown_category_policy
        if policy != _SKIP and policy not in names:
            remedy = ", ".join(f"'{name}'" for name in sorted({_SKIP, *names}))
            yield Problem("unknown_category_policy", f"no such split: '{policy}'", f"use {remedy}")

    def get_split_names(self) -> list[str]:
        """The names of the splits, sorted."""
        return sorted(self._domains())

    def reads(self) -> list[str]:
        """The categorical column."""
        return [self.categorical_column]

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Assign the rows. Raises ``DataError`` if the column is not one of such categories."""
        from zenml.steps._splitting import check_categories

        categories = [item for items in self._domains().values() for item in items]
        check_categories(examples, self.categorical_column, categories, self.title)
        return super().run(examples, context)

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.Series:
        """See ``BaseSplit.assign``."""
        from zenml.steps._splitting import assign_by_category

        policy = self.unknown_category_policy
        other = None if policy == _SKIP else policy
        return assign_by_category(frame[self.categorical_column], self._domains(), other)


class CategoricalDomainSplit(_CategoricalSplit):
    """Assigns rows by the categories that each split is given.

    ::

        CategoricalDomainSplit(
            categorical_column="origin",
            split_map={"train": ["EWR", "JFK"], "eval": ["LGA"]},
        )

    Parameters:
        categorical_column: A column of strings, integers or booleans.
        split_map: Split name to its categories, at least two splits. No category is in two.
        unknown_category_policy: What becomes of rows with any other category, or without one:
            ``skip`` leaves them out, and the name of a split puts them there.
    """

    split_map: dict[str, list[str | int | bool]]

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        domains, policy = self.split_map, self.unknown_category_policy
        if len(domains) < 2:
            yield Problem("split_map", f"expected at least two splits, found {len(domains)}")
        yield from self._check_policy("split_map", domains)
        for name, categories in domains.items():
            if not categories and name != policy:
                yield Problem(f"split_map.{name}", "has no category", "give it one")
        yield from _check_categories(
            (f"split_map.{name}", category)
            for name, categories in sorted(domains.items())
            for category in categories
        )

    def _domains(self) -> Mapping[str, Sequence[str | int]]:
        return self.split_map


class CategoricalRatioSplit(_CategoricalSplit):
    """Divides categories among splits, each category whole: rows of one category stay together.

    ::

        CategoricalRatioSplit(
            categorical_column="carrier",
            categories=["AA", "B6", "DL", "UA"],
            split_ratio={"train": 0.5, "eval": 0.5},
        )

    puts two carriers into ``train`` and two into ``eval``. Which ones depends on the seed, the
    ratio and the categories, and on nothing else: neither on the data, nor on the order in which
    anything is written.

    Parameters:
        categorical_column: A column of strings, integers or booleans.
        categories: The categories to be divided.
        split_ratio: Split name to its share of the categories: at least two, positive, 1 in sum,
            and each large enough for one category.
        unknown_category_policy: What becomes of rows with any other category, or without one:
            ``skip`` leaves them out, and the name of a split puts them there.
        seed: Another seed divides the categories otherwise.
    """

    categories: list[str | int | bool]
    split_ratio: dict[str, float]
    seed: int = 0

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from self._check_policy("split_ratio", self.split_ratio)
        problems = list(check_shares("split_ratio", self.split_ratio))
        problems += _check_categories(
            (f"categories[{place}]", category) for place, category in enumerate(self.categories)
        )
        yield from problems
        if not problems:
            for name, categories in self._domains().items():
                if not categories:
                    yield Problem(
                        f"split_ratio.{name}",
                        f"its share of {len(self.categories)} categories is none of them",
                        "name more categories, or give it a larger share",
                    )

    def _domains(self) -> Mapping[str, Sequence[str | int]]:
        def place(category: str | int) -> bytes:
            text = f"zenml categories 1:{self.seed}:{category}"
            return hashlib.sha256(text.encode()).digest()

        shuffled = sorted(self.categories, key=place)
        names = sorted(self.split_ratio)
        ends = cuts([self.split_ratio[name] for name in names], len(shuffled))
        starts = [0, *ends]
        return {
            name: shuffled[start:end] for name, start, end in zip(names, starts, ends, strict=False)
        }


class TimeSplit(BaseSplit):
    """Assigns rows by time: earlier ones to one split, later ones to another.

    ::

        TimeSplit(
            column="date",
            split_map={"train": "2013-09-01", "eval": "2013-11-01", "test": None},
        )

    puts everything before September into ``train``, September and October into ``eval``, and the
    rest into ``test``. Times may be numbers (seconds, years), or text that begins with the year, as
    ``2013-09-01`` and ``2013-09-01T12:00:00Z``: text is compared as text, without regard to ``T``
    and ``Z``. Rows without a time are in no split, and neither is NaN or an infinity.

    Parameters:
        column: A column of integers, floats or strings.
        split_map: Split name to the time at which it ends: rows before it, and not before the end
            of an earlier split, are in it. None is the end of time; without it, rows at the last
            end and after it are in no split.
    """

    column: str
    split_map: dict[str, str | int | float | None]

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        if len(self.split_map) < 2:
            yield Problem("split_map", f"expected at least two splits, found {len(self.split_map)}")
        if "" in self.split_map:
            yield Problem("split_map", "a split has no name")
        taken: dict[str | int | float | None, str] = {}
        for name, written in sorted(self.split_map.items()):
            end = comparable(written) if isinstance(written, str) else written
            if end is None and written is not None:
                said = f"{written!r} is no time whose text can be compared"
                yield Problem(f"split_map.{name}", said, TIME_REMEDY)
                continue
            if isinstance(end, float) and not math.isfinite(end):
                yield Problem(f"split_map.{name}", f"{end} is no time", "None is the end of time")
            elif isinstance(end, int) and not -(1 << 63) <= end < 1 << 63:
                yield Problem(f"split_map.{name}", f"{end} has more than 64 bits")
            elif end in taken:
                yield Problem(f"split_map.{name}", f"ends when '{taken[end]}' does")
            taken[end] = name
        kinds = {isinstance(end, str) for end in taken if end is not None}
        if len(kinds) > 1:
            yield Problem("split_map", "some times are text and some are numbers")

    def get_split_names(self) -> list[str]:
        """The names in ``split_map``, in the order of time."""
        latest = (math.inf, "")

        def end(name: str) -> tuple[float, str]:
            found = self.split_map[name]
            if found is None:
                return latest
            return (0.0, comparable(found) or "") if isinstance(found, str) else (found, "")

        return sorted(self.split_map, key=end)

    def reads(self) -> list[str]:
        """The column of times."""
        return [self.column]

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Assign the rows. Raises ``DataError`` if the column is not one of such times."""
        from zenml.steps._splitting import check_times

        ends = [end for end in self.split_map.values() if end is not None]
        check_times(examples, self.column, ends, self.title)
        return super().run(examples, context)

    def assign(self, frame: pl.DataFrame, first_row: int) -> pl.Series:
        """See ``BaseSplit.assign``."""
        from zenml.steps._splitting import assign_by_time

        ends = [(name, self.split_map[name]) for name in self.get_split_names()]
        return assign_by_time(frame[self.column], ends, self.title)


class TimeRatioSplit(BaseSplit):
    """Assigns rows by time, so that each split has its share of them.

    ``TimeRatioSplit(column="date", split_ratio={"train": 0.7, "eval": 0.2, "test": 0.1})`` puts the
    first 70 % of the rows, in the order of time, into ``train``. Rows of one time stay together, in
    the later split where an end falls among them. The column is read once more than by
    ``TimeSplit``, whose rules for times hold here too.

    Parameters:
        column: A column of integers, floats or strings.
        split_ratio: Split name to its share of the rows that have a time: at least two, positive, 1
            in sum.
        order: The splits from the earliest to the latest; by default train, eval, test.
    """

    column: str
    split_ratio: dict[str, float]
    order: tuple[str, ...] | None = None

    def validate(self) -> Iterator[Problem]:
        """See ``Settings.validate``."""
        yield from check_shares("split_ratio", self.split_ratio)
        if sorted(self.get_split_names()) != sorted(self.split_ratio):
            names = ", ".join(f"'{name}'" for name in sorted(self.split_ratio))
            said = "does not say which split is the earliest and which the latest"
            yield Problem("order", said, f"name each of these once: {names}")

    def get_split_names(self) -> list[str]:
        """The names of the splits, in the order of time."""
        if self.order is not None:
            return list(self.order)
        return [name for name in _IN_TIME if name in self.split_ratio]

    def reads(self) -> list[str]:
        """The column of times."""
        return [self.column]

    def run(self, examples: Dataset, context: StepContext) -> Dataset:
        """Assign the rows. Raises ``DataError`` if a split would have none."""
        from zenml.steps._splitting import check_times, find_ends

        check_times(examples, self.column, [], self.title)
        split_map = find_ends(self, examples, context)
        return TimeSplit(column=self.column, split_map=split_map).run(examples, context)

    def assign(self, frame: pl.DataFrame, first_row: int) -> Any:
        """Not possible: which split a row is in depends on all rows. ``run`` looks at them."""
        raise NotImplementedError


def _check_categories(places: Iterable[tuple[str, str | int]]) -> Iterator[Problem]:
    """Everything that is wrong with categories, each with the parameter that it stands in."""
    taken: dict[str | int, str] = {}
    kinds: dict[type, str] = {}
    for parameter, category in places:
        kinds.setdefault(type(category), parameter)
        if isinstance(category, int) and not -(1 << 63) <= category < 1 << 63:
            yield Problem(parameter, f"{category} has more than 64 bits")
        elif isinstance(category, str) and not is_text(category):
            yield Problem(parameter, f"{category!a}: {HALF}")
        elif category in taken and len(kinds) == 1:
            yield Problem(parameter, f"{category!r} is in {taken[category]} already")
        taken[category] = parameter
    if not kinds:
        return
    if len(kinds) > 1:
        found = ", ".join(f"{kind.__name__} in {where}" for kind, where in kinds.items())
        yield Problem(next(iter(kinds.values())), f"categories are of several types: {found}")
