"""Even grids of prompts: on a photo, and on zoomed crops of it as well, as LangSplat places them."""

from dataclasses import dataclass

import numpy as np

CROPS_A_SIDE = 2
CROP_OVERLAP = 512 / 1500  # that two neighbouring crops share, of the photo's shorter side (Segment Anything)
AT_EDGE = 20.0  # px; a box this close to an edge touches it (Segment Anything)


@dataclass(frozen=True)
class Frame:
    """A part of a photo that the segmenter gets as a picture of its own; the whole photo or a crop.

    Attributes:
        x: Left edge, px of the photo.
        y: Top edge, px of the photo.
        width: px
        height: px
    """

    x: int
    y: int
    width: int
    height: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """This part of a photo. [H, W, ...] to [height, width, ...]"""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in px of the photo, the far edges exclusive."""
        return self.x, self.y, self.x + self.width, self.y + self.height


def zoomed_frames(width: int, height: int) -> list[Frame]:
    """The whole photo, then its four crops: one layer of crops of Segment Anything.

    With o = ⌊512/1500 · min(W, H)⌋, which two neighbours share, a crop is ⌈(W + o) / 2⌉ px wide and starts at
    0 or at ⌈(W + o) / 2⌉ − o; likewise its height.
    """
    shared = int(CROP_OVERLAP * min(width, height) * (2 / CROPS_A_SIDE))

    def runs(size: int) -> list[tuple[int, int]]:
        """Start and length of each crop along one side."""
        length = int(np.ceil((shared * (CROPS_A_SIDE - 1) + size) / CROPS_A_SIDE))
        starts = [min((length - shared) * number, size - 1) for number in range(CROPS_A_SIDE)]
        return [(start, min(length, size - start)) for start in starts]

    crops = [Frame(x, y, w, h) for x, w in runs(width) for y, h in runs(height)]
    return [Frame(0, 0, width, height), *crops]


def even_grid(side: int, width: int, height: int) -> np.ndarray:
    """Prompts on an even grid, row by row, at ((i + ½) / n · width, (j + ½) / n · height).

    Args:
        side: Prompts a side, n.
        width: Of the photo, px.
        height: Of the photo, px.

    Returns:
        Points (x, y) in px. float32 [side², 2]

    Raises:
        ValueError: If `side` is not positive.
    """
    if side < 1:
        raise ValueError(f"grid_side must be at least 1, got {side}")
    shares = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(shares * width, shares * height)
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)


def zoomed_grids(side: int, width: int, height: int) -> np.ndarray:
    """The same even grid on the photo and on each of its crops, frame by frame, in px of the photo.

    Args:
        side: Prompts a side of each grid.
        width: Of the photo, px.
        height: Of the photo, px.

    Returns:
        Points (x, y) in px, 5,120 for a side of 32. float32 [5 · side², 2]
    """
    frames = zoomed_frames(width, height)
    grids = [even_grid(side, f.width, f.height) + np.array([f.x, f.y], np.float32) for f in frames]
    return np.concatenate(grids)


def cut_off(boxes: np.ndarray, frame: Frame, width: int, height: int) -> np.ndarray:
    """Which boxes touch an edge of their crop that is not an edge of the photo: their masks may go on there.

    Args:
        boxes: x1, y1, x2, y2 in px of the photo. [N, 4]
        frame: The crop.
        width: Of the photo, px.
        height: Of the photo, px.

    Returns:
        bool [N]
    """
    at_crop = np.abs(boxes - np.array(frame.box)) <= AT_EDGE
    at_photo = np.abs(boxes - np.array([0, 0, width, height])) <= AT_EDGE
    return np.any(at_crop & ~at_photo, axis=1)
