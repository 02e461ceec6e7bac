"""The testing kit: what tests of plugins, backends and pipelines need besides pytest."""

from zenml.core.testing._plugins import fake_distribution, importing_from
from zenml.core.testing._processes import (
    Project,
    nothing_left_behind,
    processes_of_group,
    wait_until,
)

__all__ = [
    "Project",
    "fake_distribution",
    "importing_from",
    "nothing_left_behind",
    "processes_of_group",
    "wait_until",
]
