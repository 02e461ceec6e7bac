"""Stand-ins for Google's services: they speak the real protocols to the real client libraries."""

from harness.compute import ComputeServer
from harness.faults import FaultProxy, FaultProxyProcess, Request, Rule
from harness.gcs import GCSServer
from harness.remote import Environment, Process, environment, start
from harness.vertex import EXECUTOR, IMAGE, PREBUILT, VertexServer

__all__ = [
    "EXECUTOR",
    "IMAGE",
    "PREBUILT",
    "ComputeServer",
    "Environment",
    "FaultProxy",
    "FaultProxyProcess",
    "GCSServer",
    "Process",
    "Request",
    "Rule",
    "VertexServer",
    "environment",
    "start",
]
