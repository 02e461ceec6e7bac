"""The pipeline that trains and evaluates a model, in named slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from zenml.core.contracts import Step
from zenml.core.errors import ConfigurationError, PipelineImmutableError, Problem
from zenml.core.plan import Node
from zenml.pipelines._pipeline import Pipeline, StepReference, own_copy

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TrainingPipeline"]


class TrainingPipeline(Pipeline):
    """Data, split, preprocesser, trainer, evaluator: slots that are filled once each.

    The slots run in the order data, split, sequencer, preprocesser, trainer, evaluator, deployment,
    whatever order they were filled in. Their inputs are bound by name to the nearest earlier
    output. A step added with ``add_step`` stands among them where it was added: before
    ``add_split``, it changes what is split.
    """

    kind: ClassVar[str] = "training"

    #: Slots in the order in which they run, and whether a pipeline can do without.
    _SLOTS: ClassVar[dict[str, bool]] = {
        "split": True,
        "sequencer": False,
        "preprocesser": True,
        "trainer": True,
        "evaluator": False,
        "deployment": False,
    }

    def __init__(self, name: str | None = None, **options: Any) -> None:
        self._slots: dict[str, Step] = {}
        #: The order in which steps were added; None stands for whichever slot comes next.
        self._order: list[Node | None] = []
        super().__init__(name, **options)

    def add_split(self, step: Step) -> Self:
        """Say which rows are for training, evaluation and test."""
        return self._fill("split", step)

    def add_sequencer(self, step: Step) -> Self:
        """Turn rows into sequences."""
        return self._fill("sequencer", step)

    def add_preprocesser(self, step: Step) -> Self:
        """Turn raw columns into features and labels."""
        return self._fill("preprocesser", step)

    def add_trainer(self, step: Step) -> Self:
        """Train the model; the one slot whose work a training backend can carry."""
        return self._fill("trainer", step)

    def add_evaluator(self, step: Step) -> Self:
        """Measure the model."""
        return self._fill("evaluator", step)

    def add_deployment(self, step: Step) -> Self:
        """Put the model to use."""
        return self._fill("deployment", step)

    def add_step(self, step: Step, name: str | None = None, inputs: Any = None) -> StepReference:
        if name in self._SLOTS:
            problem = Problem("name", f"'{name}' is a slot", f"use add_{name}()")
            raise ConfigurationError("the step cannot be added", [problem])
        added = super().add_step(step, name, inputs)
        self._order.append(self._nodes[-1])
        return added

    def _fill(self, slot: str, step: Step) -> Self:
        self._changing()
        if not isinstance(step, Step):
            problem = Problem(slot, f"expected a step, found {step!r}")
            raise ConfigurationError("that is no step", [problem])
        if slot in self._slots:
            raise PipelineImmutableError(
                f"pipeline '{self.name}' has a {slot} already: {self._slots[slot]!r}",
                remedy="make another pipeline, or give this one its step when it is made",
            )
        self._slots[slot] = own_copy(step)
        self._order.append(None)
        return self

    def _all_nodes(self) -> list[Node]:
        nodes = super()._all_nodes()
        data = nodes[: len(nodes) - len(self._nodes)]
        slots = (Node(slot, self._slots[slot], {}) for slot in self._SLOTS if slot in self._slots)
        return [*data, *(node or next(slots) for node in self._order)]

    def _missing(self) -> list[Problem]:
        problems = []
        if self._datasource is None:
            problems.append(Problem("datasource", "is missing", "call add_datasource(…)"))
        problems += [
            Problem(f"steps.{slot}", "is missing", f"call add_{slot}(…)")
            for slot, mandatory in self._SLOTS.items()
            if mandatory and slot not in self._slots
        ]
        return problems
