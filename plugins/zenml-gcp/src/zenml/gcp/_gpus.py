"""GPUs of Compute Engine: what they are called, and on which machines there are some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["GPUS", "accelerator", "brings_gpus", "problems"]


class Gpu(NamedTuple):
    """A kind of GPU.

    Attributes:
        accelerator: What Compute Engine calls it.
        families: What the types of machines that it goes with begin with.
    """

    accelerator: str
    families: tuple[str, ...]


#: By the names that people use. On N1 machines a GPU is attached; all others bring theirs.
GPUS: Final = {
    "A100": Gpu("nvidia-tesla-a100", ("a2-highgpu-", "a2-megagpu-")),
    "A100_80GB": Gpu("nvidia-a100-80gb", ("a2-ultragpu-",)),
    "H100": Gpu("nvidia-h100-80gb", ("a3-highgpu-",)),
    "L4": Gpu("nvidia-l4", ("g2-standard-",)),
    "P100": Gpu("nvidia-tesla-p100", ("n1-",)),
    "P4": Gpu("nvidia-tesla-p4", ("n1-",)),
    "T4": Gpu("nvidia-tesla-t4", ("n1-",)),
    "V100": Gpu("nvidia-tesla-v100", ("n1-",)),
}

#: How many GPUs the machines of a family bring that do not have the number in their name.
_G2: Final = {"4": 1, "8": 1, "12": 1, "16": 1, "24": 2, "32": 1, "48": 4, "96": 8}


def accelerator(gpu: str) -> str:
    """What Compute Engine calls a GPU: for ``T4``, ``nvidia-tesla-t4``; its own names stay."""
    return GPUS[gpu].accelerator if gpu in GPUS else gpu


def brings_gpus(machine_type: str) -> bool:
    """Whether machines of a type have GPUs without being asked for any."""
    return re.match(r"(a[2-9]|g[2-9])-", machine_type) is not None


def problems(gpu: str | None, gpu_count: int, machine_type: str) -> Iterator[tuple[str, str]]:
    """What does not go together."""
    if gpu is None:
        if gpu_count and not brings_gpus(machine_type):
            yield "gpu", f"which kind is gpu_count={gpu_count} of? One of {', '.join(sorted(GPUS))}"
        return
    if gpu.upper() in ("K80", "NVIDIA-TESLA-K80"):
        yield "gpu", "Compute Engine has no K80 any more: gpu='T4' replaces it, on n1-standard-4"
        return
    if gpu not in GPUS and not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", gpu):
        known = ", ".join(sorted(GPUS))
        yield "gpu", f"expected {known}, or a name such as 'nvidia-l4', found '{gpu}'"
        return
    if gpu_count < 1:
        yield "gpu_count", f"expected 1 or more with gpu='{gpu}', found {gpu_count}"
    found = next((one for one in GPUS.values() if one.accelerator == accelerator(gpu)), None)
    if found is None:
        return
    if not machine_type.startswith(found.families):
        families = " or ".join(f"{family}…" for family in found.families)
        yield "machine_type", f"gpu='{gpu}' goes with {families}, found '{machine_type}'"
        return
    brought = _brought(machine_type)
    if brought is not None and gpu_count not in (0, brought):
        yield "gpu_count", f"{machine_type} has {brought}, found {gpu_count}"


def _brought(machine_type: str) -> int | None:
    """How many GPUs a machine brings; None if that is not known, or they are attached."""
    if (named := re.fullmatch(r"a\d-[a-z]+-(\d+)g", machine_type)) is not None:
        return int(named[1])
    if machine_type.startswith("g2-standard-"):
        return _G2.get(machine_type.rpartition("-")[2])
    return None
