"""Which machines can have which GPU: what Vertex AI would say only after the job was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from zenml.core.errors import Problem

__all__ = ["GPUS", "Gpu", "problems_with"]


class Gpu(NamedTuple):
    """A GPU, as one machine has it once.

    Attributes:
        accelerator: What the API calls it.
        machines: Machine types that can have exactly one; the first is what to take.
        on_demand: Whether such machines can be had at any time, for as long as one likes.
    """

    accelerator: str
    machines: tuple[str, ...]
    on_demand: bool = True


_SMALL: Final = (
    *("n1-standard-4", "n1-standard-8"),
    *("n1-highmem-2", "n1-highmem-4", "n1-highmem-8"),
)
_LARGER: Final = (*_SMALL, "n1-standard-16", "n1-highmem-16", "n1-highcpu-16")
_G2: Final = tuple(f"g2-standard-{size}" for size in (8, 4, 12, 16, 32))

GPUS: Final[Mapping[str, Gpu]] = {
    "T4": Gpu("NVIDIA_TESLA_T4", _LARGER),
    "L4": Gpu("NVIDIA_L4", _G2),
    "P4": Gpu("NVIDIA_TESLA_P4", _LARGER),
    "P100": Gpu("NVIDIA_TESLA_P100", _LARGER),
    "V100": Gpu("NVIDIA_TESLA_V100", _SMALL),
    "A100": Gpu("NVIDIA_TESLA_A100", ("a2-highgpu-1g",)),
    "A100_80GB": Gpu("NVIDIA_A100_80GB", ("a2-ultragpu-1g",)),
    "H100": Gpu("NVIDIA_H100_80GB", ("a3-highgpu-1g",), on_demand=False),
    "RTX_PRO_6000": Gpu("NVIDIA_RTX_PRO_6000", ("g4-standard-48",)),
}

#: GPUs that are not there any more, and what took their place.
_GONE: Final = {"K80": "T4"}


def problems_with(gpu_type: str, machine_type: str, strategy: str) -> Iterator[Problem]:
    """What is wrong with a GPU in a machine, each with what would be right."""
    if gpu_type in _GONE:
        instead = _GONE[gpu_type]
        machine = GPUS[instead].machines[0]
        remedy = f"its replacement: gpu_type='{instead}' with machine_type='{machine}'"
        yield Problem("gpu_type", f"Google Cloud has no {gpu_type} any more", remedy)
        return
    gpu = GPUS.get(gpu_type)
    if gpu is None:
        yield Problem("gpu_type", f"expected one of {', '.join(GPUS)}, found '{gpu_type}'")
        return
    if machine_type not in gpu.machines:
        others = [name for name, other in GPUS.items() if machine_type in other.machines]
        message = f"'{machine_type}' cannot have one {gpu_type}"
        remedy = f"a machine that can: {', '.join(gpu.machines)}"
        if others:
            remedy += f"; or a GPU for this one: {', '.join(others)}"
        yield Problem("machine_type", message, remedy)
    if not gpu.on_demand and strategy == "STANDARD":
        message = f"a machine with one {gpu_type} cannot be had at any time"
        yield Problem("strategy", message, "'SPOT', or 'FLEX_START', which waits for one")
