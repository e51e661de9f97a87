"""Baselines and ablations beside the method: same Gaussians, same masks, same encoder, one table.

`compare` is the harness. To add a system, see `methods`; the paper's figures are data, in `tables/`.
"""

from gags.compare.harness import CompareSettings, compare
from gags.compare.results import Comparison

__all__ = ["CompareSettings", "Comparison", "compare"]
