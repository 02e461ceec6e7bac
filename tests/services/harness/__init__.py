"""Stand-ins for Google's services: they speak the real protocols to the real client libraries."""

from harness.compute import ComputeServer
from harness.faults import FaultProxy, FaultProxyProcess, Request, Rule, all_faults
from harness.gcs import GCSServer
from harness.remote import Environment, Process, environment, start
from harness.tokens import BEARER, TOKEN, TokenServer, make_certificate, make_private_key
from harness.vertex import EXECUTOR, IMAGE, PREBUILT, VertexServer

__all__ = [
    "BEARER",
    "EXECUTOR",
    "IMAGE",
    "PREBUILT",
    "TOKEN",
    "ComputeServer",
    "Environment",
    "FaultProxy",
    "FaultProxyProcess",
    "GCSServer",
    "Process",
    "Request",
    "Rule",
    "TokenServer",
    "VertexServer",
    "all_faults",
    "environment",
    "make_certificate",
    "make_private_key",
    "start",
]
