"""Mixing the bits of numbers, for hashes and for random bits: the same on every machine.

The mixing function of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, *Fast splittable
pseudorandom number generators*, OOPSLA 2014).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["GAMMA", "mix"]

#: What SplitMix64 counts in.
GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """64 bits for 64 bits, one to one: each depends on all of the others."""
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
        bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    mixed: npt.NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed
