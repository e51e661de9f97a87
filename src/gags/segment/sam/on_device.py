"""Masks that stay on the GPU that made them: measured there, and only windows of the good ones fetched.

A photo's prompts give some thousand masks of 256×256 cells, 0.5 GB, of which a tenth is kept. The functions
here are the twins of `gags.segment.suppress` for tensors; on the CPU both give the same numbers.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gags.models.device import in_turn, net_lock, to_device, to_host
from gags.segment.segmenter import PromptedMasks

RESIZED_BYTES = 512 << 20
"""Memory for masks at the size of a photo; 14 of 1440×1080 at a time, with what it takes to make them."""

COPIES = 6  # of a resized mask, while it is made


class DeviceMasks(PromptedMasks):
    """`PromptedMasks` whose logits lie on a device; they are fetched whole only if `logits` is asked for.

    Args:
        on_device: Mask logits, in any precision. [K, h, w]
        ious, levels, prompts, extent: See `PromptedMasks`.
    """

    def __init__(
        self,
        on_device: Tensor,
        ious: np.ndarray,
        levels: np.ndarray,
        prompts: np.ndarray,
        extent: tuple[float, float],
    ) -> None:
        self.on_device, self._lock = on_device, net_lock(on_device.device)
        self.ious, self.levels, self.prompts, self.extent = ious, levels, prompts, extent

    @cached_property
    @in_turn
    def logits(self) -> np.ndarray:  # type: ignore[override]
        """Mask logits. float32 [K, h, w]"""
        return to_host(self.on_device.float())

    @in_turn
    def measure(self, offset: float) -> tuple[np.ndarray, np.ndarray]:
        """Stability and box of every mask on the grid, computed on the device."""
        return measure(self.on_device, offset)

    @in_turn
    def measure_resized(
        self, wanted: np.ndarray, *, offset: float, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of masks at the size of the photo, computed on the device."""
        return measure_resized(
            self.on_device, wanted, offset=offset, extent=self.extent, width=width, height=height
        )

    @torch.inference_mode()
    @in_turn
    def holds(self, rows: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Whether some masks hold cells of the grid; nothing else of them leaves the device."""
        device = self.on_device.device
        row, (x, y) = to_device(rows, device)[:, None], to_device(cells.T, device)
        return to_host(self.on_device[row, y, x] > 0)

    @in_turn
    def cut(self, rows: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Logits of some masks inside their boxes; nothing else of them leaves the device."""
        windows = self._windows(boxes)
        return windows[:, :2], cut(self.on_device, rows, windows)


@torch.inference_mode()
def measure(logits: Tensor, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Stability and box of masks on the grid, see `gags.segment.suppress.measure`. [K, h, w]"""
    return _stabilities(to_host(_counts(logits.float(), offset)))


@torch.inference_mode()
def measure_resized(
    logits: Tensor,
    wanted: np.ndarray,
    *,
    offset: float,
    extent: tuple[float, float],
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`measure` of logits resized bilinearly to a photo, see `gags.segment.suppress.measure_resized`.

    Args:
        logits: On any device, in any precision. [K, h, w]
        wanted: Which masks are measured; the others get 0. bool [K]
        offset: How far the threshold moves, at least 0.
        extent: Width and height of the photo in cells of the grid.
        width: Of the photo, px.
        height: Of the photo, px.

    Returns:
        Stability float32 [K] and box int64 [K, 4] in px.
    """
    rows = np.flatnonzero(wanted)
    across = _neighbours(width, extent[0] / width, logits.shape[2], logits.device)
    down = _neighbours(height, extent[1] / height, logits.shape[1], logits.device)
    most = max(1, RESIZED_BYTES // (COPIES * 4 * width * height))
    found = np.zeros((len(logits), 6), np.int32)
    parts = [rows[start : start + most] for start in range(0, len(rows), most)]
    counted = [
        _counts(_resized(logits[to_device(part, logits.device)].float(), across, down), offset)
        for part in parts
    ]
    if counted:
        found[rows] = to_host(torch.cat(counted))
    return _stabilities(found)


@torch.inference_mode()
def cut(logits: Tensor, rows: np.ndarray, windows: np.ndarray) -> list[np.ndarray]:
    """Logits of some masks inside windows, all of them in one copy to the host.

    Args:
        logits: On any device, in any precision. [K, h, w]
        rows: Which masks. int64 [R]
        windows: x1, y1, x2, y2 of each in cells, far edges exclusive. int64 [R, 4]

    Returns:
        float16 [y2 − y1, x2 − x1] each
    """
    widths, heights = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    sizes = widths * heights
    ends = np.cumsum(sizes)
    if not len(rows) or not ends[-1]:
        return [np.zeros((h, w), np.float16) for w, h in zip(widths, heights, strict=True)]
    told = np.stack([rows, windows[:, 0], windows[:, 1], widths, ends - sizes, sizes])
    row, x, y, wide, start, size = to_device(told, logits.device)
    # Every cell of every window: which window it belongs to, then where it lies.
    window = torch.repeat_interleave(size, output_size=int(ends[-1]))
    cell = torch.arange(int(ends[-1]), device=logits.device) - start[window]
    down = torch.div(cell, wide[window], rounding_mode="floor")
    across = cell - down * wide[window]
    kept = to_host(logits[row[window], y[window] + down, x[window] + across].half())
    parts = np.split(kept, ends[:-1])
    # Copies: a few masks that are kept must not keep the pinned memory of all.
    return [part.reshape(h, w).copy() for part, w, h in zip(parts, widths, heights, strict=True)]


def _counts(logits: Tensor, offset: float) -> Tensor:
    """Cells above +offset, cells above −offset, and the box above 0, of each mask. [K, h, w] to int32 [K, 6]

    The box is 0 for a mask without area.
    """
    height, width = logits.shape[1:]
    inner = (logits > offset).sum((1, 2), dtype=torch.int32)
    outer = (logits > -offset).sum((1, 2), dtype=torch.int32)
    filled = logits > 0
    x1, x2 = _ends(filled.any(1), width)
    y1, y2 = _ends(filled.any(2), height)
    box = torch.stack([x1, y1, x2, y2], 1)
    return torch.cat([inner[:, None], outer[:, None], box * (x2 > 0)[:, None]], 1)


def _ends(filled: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First place that is filled and the one after the last. bool [K, size] to int32 [K] each"""
    places = torch.arange(size, dtype=torch.int32, device=filled.device)
    first = torch.where(filled, places, size).amin(1)
    after = torch.where(filled, places + 1, 0).amax(1)
    return first.int(), after.int()


def _stabilities(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stability float32 [K] and box int64 [K, 4] from `_counts`; 0 for a mask without area."""
    inner, outer, boxes = counts[:, 0], counts[:, 1], counts[:, 2:].astype(np.int64)
    stabilities = np.where(boxes[:, 2] > 0, inner / np.maximum(outer, 1), 0)
    return stabilities.astype(np.float32), boxes


def _neighbours(size: int, cells: float, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Where the pixels of one side lie between the cells of the grid.

    Args:
        size: Pixels of the side.
        cells: Cells per px.
        count: Cells of the side.
        device: Where the result goes.

    Returns:
        The cell before the centre of each pixel and the one after it, int64 [size], and the share of the
        latter, float32 [size].
    """
    places = np.clip((np.arange(size) + 0.5) * cells - 0.5, 0, count - 1)
    before = places.astype(np.int64)
    both = np.stack([before, np.minimum(before + 1, count - 1)])
    share = (places - before).astype(np.float32)
    before_on, after_on = to_device(both, device)
    return before_on, after_on, to_device(share, device)


def _resized(
    logits: Tensor, across: tuple[Tensor, Tensor, Tensor], down: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Bilinear: first between rows, then between columns, as the kernel does. [K, h, w] to [K, H, W]"""
    upper, lower, share = logits[:, down[0]], logits[:, down[1]], down[2][:, None]
    lines = upper + share * (lower - upper)
    left, right = lines[:, :, across[0]], lines[:, :, across[1]]
    return left + across[2] * (right - left)
