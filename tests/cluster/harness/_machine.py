"""What a cluster takes of the machine: a bridge, addresses, ports, control groups, folders."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import random
import socket
import struct
import subprocess
import time
from pathlib import Path

__all__ = [
    "NAMESPACE",
    "Network",
    "add_control_group",
    "add_network",
    "control_groups",
    "free_ports",
    "links",
    "remove_control_group",
    "remove_network",
    "share",
]

#: Makes a mount namespace for containerd and kubelet, and keeps it until it is ended. Whatever they
#: mount is seen there only, and is gone with them; what they would leave in the machine's folders,
#: whose paths they do not take from any option, goes to the run folder; and what the kubelet would
#: set in the kernel, it sets in files there. ``$1`` is the run folder.
NAMESPACE = """
set -e
cd "$1"
mkdir -p machine/run machine/log machine/upper machine/work machine/kernel
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \\
        kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file="machine/kernel/$(echo "${setting%=*}" | tr / .)"
    echo "${setting#*=}" > "$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=machine/upper,workdir=machine/work /var/lib
mount --bind machine/log /var/log
mount --bind machine/run /run
touch machine/ready
exec sleep infinity
"""
#: The folders that look different in there.
HIDDEN = ("/run", "/var/log", "/var/lib")


class Network:
    """The addresses of one cluster.

    Attributes:
        bridge: The name of the bridge that joins its pods to the machine.
        pods: Where its pods have their addresses.
        services: Where its services have theirs.
        host: The machine's address for its pods.
        api: The address of the service ``kubernetes``.
    """

    def __init__(self, bridge: str) -> None:
        taken = _taken()
        while True:
            first = ipaddress.ip_address(f"10.{random.randrange(64, 192)}.0.0")  # noqa: S311
            both = ipaddress.IPv4Network((int(first) + 512 * random.randrange(128), 23))  # noqa: S311
            if not any(both.overlaps(other) for other in taken):
                break
        self.bridge = bridge
        self.pods, self.services = both.subnets()
        self.host, self.api = str(self.pods[1]), str(self.services[1])


def _ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


def _taken() -> list[ipaddress.IPv4Network]:
    routes = json.loads(_ip("-json", "-4", "route", "show", "table", "all"))
    named = (route["dst"] for route in routes if route["dst"][0].isdigit())
    return [ipaddress.IPv4Network(name, strict=False) for name in named]


def add_network(network: Network) -> None:
    """Make the bridge; the machine answers at both addresses from then on."""
    _ip("link", "add", network.bridge, "type", "bridge")
    _ip("address", "add", f"{network.host}/{network.pods.prefixlen}", "dev", network.bridge)
    _ip("address", "add", f"{network.api}/32", "dev", network.bridge)
    _ip("link", "set", network.bridge, "up")


def links(bridge: str) -> list[str]:
    """The network links of a cluster: its bridge, and the machine's ends of its pods' links."""
    known = json.loads(_ip("-json", "link", "show"))
    return [link["ifname"] for link in known if bridge in (link["ifname"], link.get("master"))]


def remove_network(bridge: str) -> None:
    """Remove the bridge, and what is joined to it."""
    for link in sorted(links(bridge), key=lambda name: name == bridge):
        # A link goes by itself when its pod's network does, which may be at this moment.
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", link)
    if left := links(bridge):
        raise RuntimeError(f"these network links cannot be removed: {left}")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, below those that outgoing connections are given."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(max(1024, first - 12_000), first)  # noqa: S311
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def _hierarchies() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return [root]
    return [folder for folder in root.iterdir() if folder.is_dir() and not folder.is_symlink()]


def control_groups(name: str) -> list[Path]:
    """The control groups of a cluster that are there."""
    return [group for root in _hierarchies() if (group := root / name).is_dir()]


def add_control_group(name: str) -> None:
    """Make the group that all pods of a cluster are in, in every hierarchy."""
    for root in _hierarchies():
        (root / name).mkdir()


def remove_control_group(name: str) -> None:
    """Remove the group and those in it, which hold no process any more."""
    for group in control_groups(name):
        for folder, _, _ in os.walk(group, topdown=False):
            _remove_when_free(folder)


def _remove_when_free(group: str) -> None:
    """The kernel may hold a group for a moment longer than the last process was in it."""
    for _ in range(50):
        try:
            os.rmdir(group)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"the control group {group} cannot be removed")


def share(folder: Path) -> None:
    """Let whoever comes write into a folder and into all that will be made in it.

    Tests run as root, pods as somebody else, and an artifact store writes files and folders with
    the ordinary modes. A default access list (acl(5)) takes the place of the umask in the folder,
    and every folder made in it inherits the list.
    """
    folder.chmod(0o777)
    version, everything, nobody = 2, 7, 0xFFFFFFFF
    owner, group, other = 0x01, 0x04, 0x20
    entries = (struct.pack("<HHI", tag, everything, nobody) for tag in (owner, group, other))
    os.setxattr(folder, "system.posix_acl_default", struct.pack("<I", version) + b"".join(entries))
