"""From a relevancy map to a peak and a mask, as the protocol `lerf-ovs` does it (`docs/method.md`). Frozen.

Beside it stand the rules of LangSplat's evaluation that `lerf-ovs-strict` takes instead: another majority
vote, and the choice of a level.

Maps are arrays or tensors. The rules stand here once; the filters exist twice, through OpenCV for arrays
and tensors on the CPU, and in PyTorch for tensors on a GPU, which stay there.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

BOX = 30  # px, of the mean filter
THRESHOLD = 0.4  # on the range −1..1, that is 0.7 on 0..1
VOTE = 7  # px, of the majority vote

Map = TypeVar("Map", np.ndarray, Tensor)

Vote = Literal["whole", "inner"]
"""Which pixels take part in the majority vote: the whole picture, or all but its last row and column."""


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
    voters = np.ones(mask.shape, np.float32)
    return _counted(mask.astype(np.float32)) > 0.5 * _counted(voters)


def majority_inner(mask: np.ndarray) -> np.ndarray:
    """`majority` where the last row and the last column have no vote, as in LangSplat's evaluation.

    There the window of pixel (i, j) holds rows max(0, i − 3) to min(i + 4, H − 1) and columns
    max(0, j − 3) to min(j + 4, W − 1), ends exclusive; a tie is not in the mask. bool [H, W] → [H, W]
    """
    voters = np.ones(mask.shape, np.float32)
    voters[-1], voters[:, -1] = 0, 0
    return _counted(mask * voters) > 0.5 * _counted(voters)


def _counted(values: np.ndarray) -> np.ndarray:
    """Sum over the 7×7 px around every pixel, 0 outside of the picture. float32 [H, W] → [H, W]"""
    return cv2.boxFilter(values, -1, (VOTE, VOTE), normalize=False, borderType=cv2.BORDER_CONSTANT)


def majority_tensor(mask: Tensor) -> Tensor:
    """`majority` in PyTorch. bool [H, W] → [H, W]"""
    votes = mask[None, None].float()
    return avg_pool2d(votes, VOTE, stride=1, padding=VOTE // 2, count_include_pad=False)[0, 0] > 0.5


def majority_inner_tensor(mask: Tensor) -> Tensor:
    """`majority_inner` in PyTorch. bool [H, W] → [H, W]"""
    voters = torch.ones(mask.shape, device=mask.device)
    voters[-1], voters[:, -1] = 0, 0
    both = torch.stack([mask * voters, voters])
    votes, voters = avg_pool2d(both, VOTE, stride=1, padding=VOTE // 2, divisor_override=1)
    return votes > 0.5 * voters


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


def cut(relevancy: Map, vote: Vote = "whole") -> tuple[Map, float]:
    """The mask, bool [H, W], and the value of r' that its pixels are above before the vote."""
    on_arrays, on_tensors = (
        (majority, majority_tensor) if vote == "whole" else (majority_inner, majority_inner_tensor)
    )
    if not isinstance(relevancy, Tensor):
        return cut_by(relevancy, smooth, on_arrays)
    if _on_gpu(relevancy):
        return cut_by(relevancy, smooth_tensor, on_tensors)
    found, threshold = cut_by(relevancy.numpy(), smooth, on_arrays)
    return torch.from_numpy(found), threshold


def cut_by(relevancy: Map, smooth: Callable[[Map], Map], majority: Callable[[Map], Map]) -> tuple[Map, float]:
    """The formula of `cut` with the filters of one kind of map; see `cut`."""
    blended = cast(Map, 0.5 * (relevancy + smooth(relevancy)))
    least = blended.min()
    above = blended - least
    span = above.max() + 1e-9
    stretched = (2.0 * above / span - 1.0).clip(0.0, 1.0)
    return majority(cast(Map, stretched > THRESHOLD)), float(least + 0.5 * (1 + THRESHOLD) * span)


def level_for_mask(levels: Sequence[Map]) -> int:
    """Which of several levels' maps of a text the mask is cut from: that of the largest r' (LangSplat).

    Args:
        levels: Relevancy of every pixel on each level. float32 [H, W] each

    Returns:
        Row of `levels`, the first of equal ones.
    """
    return int(np.argmax([float(0.5 * (level + smooth(level)).max()) for level in levels]))


def level_for_peak(levels: Sequence[Map]) -> int:
    """Which of several levels' maps the peak is taken from: that of the largest 30×30 mean (LangSplat)."""
    return int(np.argmax([float(smooth(level).max()) for level in levels]))


def _on_gpu(map: Tensor) -> bool:
    return map.device.type != "cpu"
