"""The engine: executes plans, remembers what was done, and explains it."""

from zenml.core.engine._launch import launch
from zenml.core.engine._records import Outcome, StepRecord
from zenml.core.engine._run import Run
from zenml.core.engine._session import Session
from zenml.core.engine._units import execute_unit
from zenml.core.engine._values import read_artifact

__all__ = ["Outcome", "Run", "Session", "StepRecord", "execute_unit", "launch", "read_artifact"]
