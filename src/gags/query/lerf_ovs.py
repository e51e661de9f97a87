"""From a relevancy map to a peak and a mask, as the protocol `lerf-ovs` does it (`docs/method.md`). Frozen.

Maps are arrays or tensors. The rules stand here once; the two filters exist twice, through OpenCV for arrays
and tensors on the CPU, and in PyTorch for tensors on a GPU, which stay there.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

BOX = 30  # px, of the mean filter
THRESHOLD = 0.4  # on the range −1..1, that is 0.7 on 0..1
VOTE = 7  # px, of the majority vote

Map = TypeVar("Map", np.ndarray, Tensor)


def smooth(relevancy: Map) -> Map:
    """Mean over 30×30 px around every pixel, mirrored at the border. float32 [H, W] → [H, W]"""
    if not isinstance(relevancy, Tensor):
        return cv2.blur(relevancy.astype(np.float32), (BOX, BOX), borderType=cv2.BORDER_REFLECT_101)
    return smooth_tensor(relevancy) if _on_gpu(relevancy) else torch.from_numpy(smooth(relevancy.numpy()))


def smooth_tensor(relevancy: Tensor) -> Tensor:
    """`smooth` in PyTorch. float32 [H, W] → [H, W]"""
    height, width = relevancy.shape
    rows, columns = (_mirrored(size, relevancy.device) for size in (height, width))
    # An even box has no middle: like OpenCV's, it reaches one pixel farther up and left.
    tall = avg_pool2d(relevancy.float()[rows][None, None], (BOX, 1), stride=1)
    return avg_pool2d(tall[..., columns], (1, BOX), stride=1)[0, 0]


def _mirrored(size: int, device: torch.device) -> Tensor:
    """Which row stands at −15 … size + 13; border rows themselves are not repeated. int64 [size + 29]"""
    period = max(2 * size - 2, 1)
    place = torch.arange(-(BOX // 2), size + BOX - BOX // 2 - 1, device=device).remainder(period)
    return torch.minimum(place, period - place) if size > 1 else torch.zeros_like(place)


def majority(mask: np.ndarray) -> np.ndarray:
    """Whether more than half of the 7×7 px around a pixel, in the picture, are set. bool [H, W] → [H, W]"""
    ones = np.ones(mask.shape, np.float32)
    border = {"normalize": False, "borderType": cv2.BORDER_CONSTANT}
    votes = cv2.boxFilter(mask.astype(np.float32), -1, (VOTE, VOTE), **border)
    voters = cv2.boxFilter(ones, -1, (VOTE, VOTE), **border)
    return votes > 0.5 * voters


def majority_tensor(mask: Tensor) -> Tensor:
    """`majority` in PyTorch. bool [H, W] → [H, W]"""
    votes = mask[None, None].float()
    return avg_pool2d(votes, VOTE, stride=1, padding=VOTE // 2, count_include_pad=False)[0, 0] > 0.5


def peak(relevancy: Map) -> tuple[int, int]:
    """Column and row of the largest smoothed relevancy; the first in raster order if there are several."""
    if isinstance(relevancy, Tensor) and not _on_gpu(relevancy):
        return peak(relevancy.numpy())  # whose argmax is the first of equal ones
    row, column = divmod(int(smooth(relevancy).argmax()), relevancy.shape[1])
    return column, row


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
    if not isinstance(relevancy, Tensor):
        return cut_by(relevancy, smooth, majority)
    if _on_gpu(relevancy):
        return cut_by(relevancy, smooth_tensor, majority_tensor)
    found, threshold = cut_by(relevancy.numpy(), smooth, majority)
    return torch.from_numpy(found), threshold


def cut_by(relevancy: Map, smooth: Callable[[Map], Map], majority: Callable[[Map], Map]) -> tuple[Map, float]:
    """The formula of `cut` with the filters of one kind of map; see `cut`."""
    blended = cast(Map, 0.5 * (relevancy + smooth(relevancy)))
    least = blended.min()
    above = blended - least
    span = above.max() + 1e-9
    stretched = (2.0 * above / span - 1.0).clip(0.0, 1.0)
    return majority(cast(Map, stretched > THRESHOLD)), float(least + 0.5 * (1 + THRESHOLD) * span)


def _on_gpu(map: Tensor) -> bool:
    return map.device.type != "cpu"
