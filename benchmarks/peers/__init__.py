"""Other systems, measured beside zenml-core from environments of their own.

``_table`` says what each peer is and how it is treated, ``_environment`` installs it, ``_cases``
turns it into measurements and ``_report`` into a row. ``workloads`` holds a script for each peer;
they are copied to an empty folder before they run, since beside each other they would shadow the
packages that they import.
"""

from __future__ import annotations

from peers._cases import FAN, InstalledPeer, install_peers, peer_cases
from peers._environment import default_cache
from peers._report import PeerRow, own_row, peer_rows, print_peers
from peers._table import PEERS, Peer

__all__ = [
    "FAN",
    "PEERS",
    "InstalledPeer",
    "Peer",
    "PeerRow",
    "default_cache",
    "install_peers",
    "own_row",
    "peer_cases",
    "peer_rows",
    "print_peers",
]
