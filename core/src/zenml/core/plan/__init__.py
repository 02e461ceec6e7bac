"""Plans: what a pipeline will do, before anything runs."""

from zenml.core.plan._build import BackendChoice, Node, PlanBuilder
from zenml.core.plan._model import Difference, Plan, PlannedStep

__all__ = [
    "BackendChoice",
    "Difference",
    "Node",
    "Plan",
    "PlanBuilder",
    "PlannedStep",
]
