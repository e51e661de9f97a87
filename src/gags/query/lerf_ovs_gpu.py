"""The protocol `lerf-ovs` on maps that lie on a GPU: the twin of `lerf_ovs`, the same rules in PyTorch."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gags.query.lerf_ovs import BOX, THRESHOLD, VOTE


def smooth(relevancy: Tensor) -> Tensor:
    """Mean over 30×30 px around every pixel, mirrored at the border. [H, W] → [H, W]"""
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


def peak(relevancy: Tensor) -> tuple[int, int]:
    """Column and row of the largest smoothed relevancy; see `lerf_ovs.peak`."""
    place = int(smooth(relevancy).argmax())
    return place % relevancy.shape[1], place // relevancy.shape[1]


def cut(relevancy: Tensor) -> tuple[Tensor, float]:
    """The mask, bool [H, W], and the value that its pixels are above before the vote; see `lerf_ovs.cut`."""
    blended = 0.5 * (relevancy + smooth(relevancy))
    least = blended.min()
    above = blended - least
    span = above.max() + 1e-9
    stretched = (2.0 * above / span - 1.0).clamp(0.0, 1.0)
    return majority(stretched > THRESHOLD), float(least + 0.5 * (1 + THRESHOLD) * span)


def majority(mask: Tensor) -> Tensor:
    """Whether more than half of the 7×7 px around a pixel (of those inside the picture) are set."""
    votes = mask[None, None].float()
    return avg_pool2d(votes, VOTE, stride=1, padding=VOTE // 2, count_include_pad=False)[0, 0] > 0.5
