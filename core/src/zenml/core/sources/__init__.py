"""Sources: naming, finding, loading and comparing the code of steps."""

from zenml.core.sources._closure import Closure, closure_of, refuse_edited
from zenml.core.sources._git import GitState, git_state
from zenml.core.sources._reference import (
    StopImport,
    import_roots,
    load,
    reference,
    run_until_pipeline,
    stop_if_importing,
)

__all__ = [
    "Closure",
    "GitState",
    "StopImport",
    "closure_of",
    "git_state",
    "import_roots",
    "load",
    "reference",
    "refuse_edited",
    "run_until_pipeline",
    "stop_if_importing",
]
