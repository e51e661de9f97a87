"""From a relevancy map to a peak and a mask, as the protocol `lerf-ovs` does it (METHOD §3). Frozen.

Maps are arrays, or tensors: those on a GPU stay there, and go through `lerf_ovs_gpu`, a twin of this module.
"""

from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

BOX = 30  # px, of the mean filter
THRESHOLD = 0.4  # on the range −1..1, that is 0.7 on 0..1
VOTE = 7  # px, of the majority vote

Map = TypeVar("Map", np.ndarray, Tensor)


def smooth(relevancy: Map) -> Map:
    """Mean over 30×30 px around every pixel, mirrored at the border. float32 [H, W] → [H, W]"""
    if isinstance(relevancy, Tensor):
        if relevancy.device.type != "cpu":
            from gags.query import lerf_ovs_gpu

            return lerf_ovs_gpu.smooth(relevancy)
        return torch.from_numpy(smooth(relevancy.numpy()))
    return cv2.blur(relevancy.astype(np.float32), (BOX, BOX), borderType=cv2.BORDER_REFLECT_101)


def peak(relevancy: np.ndarray | Tensor) -> tuple[int, int]:
    """Column and row of the largest smoothed relevancy; the first in raster order if there are several."""
    if isinstance(relevancy, Tensor):
        if relevancy.device.type != "cpu":
            from gags.query import lerf_ovs_gpu

            return lerf_ovs_gpu.peak(relevancy)
        relevancy = relevancy.numpy()
    row, column = np.unravel_index(int(smooth(relevancy).argmax()), relevancy.shape)
    return int(column), int(row)


def mask(relevancy: Map) -> Map:
    """Pixels above 0.7 of the range of r' = ½(r + mean30(r)), then a 7×7 majority vote.

    Args:
        relevancy: Relevancy of every pixel. float32 [H, W]

    Returns:
        The mask. bool [H, W]
    """
    return cut(relevancy)[0]


def cut(relevancy: Map) -> tuple[Map, float]:
    """The mask, bool [H, W], and the value of r' that its pixels are above before the vote."""
    if isinstance(relevancy, Tensor):
        if relevancy.device.type != "cpu":
            from gags.query import lerf_ovs_gpu

            return lerf_ovs_gpu.cut(relevancy)
        found, threshold = _cut(relevancy.numpy())
        return torch.from_numpy(found), threshold
    return _cut(relevancy)


def _cut(relevancy: np.ndarray) -> tuple[np.ndarray, float]:
    blended = 0.5 * (relevancy + smooth(relevancy))
    least = blended.min()
    above = blended - least
    span = above.max() + 1e-9
    stretched = np.clip(2.0 * above / span - 1.0, 0.0, 1.0)
    return majority(stretched > THRESHOLD), float(least + 0.5 * (1 + THRESHOLD) * span)


def majority(mask: np.ndarray) -> np.ndarray:
    """Whether more than half of the 7×7 px around a pixel (of those inside the picture) are set."""
    ones = np.ones(mask.shape, np.float32)
    border = {"normalize": False, "borderType": cv2.BORDER_CONSTANT}
    votes = cv2.boxFilter(mask.astype(np.float32), -1, (VOTE, VOTE), **border)
    voters = cv2.boxFilter(ones, -1, (VOTE, VOTE), **border)
    return votes > 0.5 * voters
