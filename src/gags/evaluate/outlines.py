"""What is labelled in one frame, as outlines, and the masks that these are at the size of a view."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from gags.errors import LabelError

_FARTHEST_PX = 1 << 20  # OpenCV looks at every row from the first corner on, however far above the picture

Polygons = Literal["rounded", "truncated"]
"""How corners of polygons become pixels: to the nearest one, or without what follows the point."""


@dataclass(eq=False)
class Label:
    """One category in one frame.

    Attributes:
        category: What it is, also the query.
        polygons: Outlines that are united, in px of the labelled picture. float64 [P, 2] each
        boxes: x1, y1, x2, y2 of each of its things. float64 [B, 4]
        exact: PNG file with the exact mask, if there is one.
        holes: Outlines of the background that are cut out, each with the number of `polygons` that lie below
            it: the first ones.
    """

    category: str
    polygons: list[np.ndarray]
    boxes: np.ndarray
    exact: Path | None = None
    holes: list[tuple[int, np.ndarray]] = field(default_factory=list)


@dataclass(eq=False)
class FrameLabels:
    """All labels of one frame.

    Attributes:
        frame: Stem of the photo's file name, which is that of the label file.
        width: Width of the labelled picture, px.
        height: Height of the labelled picture, px.
        labels: One a category, in the order of the file.
        path: The JSON file.
        photo: Name of the view that is labelled; None if it is the one that `frame` names.
    """

    frame: str
    width: int
    height: int
    labels: list[Label]
    path: Path
    photo: str | None = None

    def scale_to(self, width: int, height: int) -> np.ndarray:
        """Factors (x, y) from the labelled picture to a view of another size.

        Raises:
            LabelError: If the two have different proportions.
        """
        if not _same_proportions((self.width, self.height), (width, height)):
            raise LabelError(
                f"{self.path} labels a picture of {self.width}x{self.height}, the view has {width}x{height}; "
                "label the photo that the capture loads"
            )
        return np.array([width / self.width, height / self.height])

    def mask(self, label: Label, width: int, height: int, *, polygons: Polygons = "rounded") -> np.ndarray:
        """Mask of a label at the size of a view: the exact one where there is one, else its polygons.

        Args:
            label: One of `labels`.
            width: Width of the view, px.
            height: Height of the view, px.
            polygons: How corners become pixels.

        Returns:
            bool [H, W]

        Raises:
            LabelError: If the exact mask cannot be read or the view has other proportions.
        """
        scale = self.scale_to(width, height)
        if label.exact is not None:
            picture = cv2.imread(str(label.exact), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise LabelError(f"{label.exact} cannot be read as a picture; repair or remove it")
            if not _same_proportions(picture.shape[::-1], (self.width, self.height)):
                raise LabelError(
                    f"{label.exact} is {picture.shape[1]}x{picture.shape[0]}, but {self.path} labels a "
                    f"picture of {self.width}x{self.height}; repair or remove it"
                )
            return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST) > 127
        return _filled(label.polygons, label.holes, scale, width, height, polygons)

    def outlined(self, label: Label, width: int, height: int) -> list[np.ndarray]:
        """What each polygon of a label holds at the size of a view. bool [H, W] each"""
        scale = self.scale_to(width, height)
        return [
            _filled(
                [polygon], [(1, hole) for below, hole in label.holes if below > number], scale, width, height
            )
            for number, polygon in enumerate(label.polygons)
        ]

    def boxes(self, label: Label, width: int, height: int) -> np.ndarray:
        """Boxes of a label at the size of a view. float64 [B, 4]"""
        return label.boxes * np.tile(self.scale_to(width, height), 2)


def _filled(
    outlines: Sequence[np.ndarray],
    holes: Sequence[tuple[int, np.ndarray]],
    scale: np.ndarray,
    width: int,
    height: int,
    polygons: Polygons = "rounded",
) -> np.ndarray:
    """The pixels in any of some polygons and in no hole above it.

    Args:
        outlines: Polygons, the lowest first.
        holes: Each with the number of polygons below it.
        scale: Factors that corners are multiplied by. [2]
        width: Width of the mask, px.
        height: Height of the mask, px.
        polygons: How corners become pixels.

    Returns:
        bool [H, W]
    """
    canvas = np.zeros((height, width), np.uint8)
    to_pixels = np.round if polygons == "rounded" else np.trunc

    def paint(polygon: np.ndarray, value: int) -> None:
        corners = to_pixels(polygon * scale).clip(-_FARTHEST_PX, _FARTHEST_PX)
        cv2.fillPoly(canvas, [corners.astype(np.int32)], value)

    for number, polygon in enumerate(outlines, 1):
        paint(polygon, 1)
        for below, hole in holes:
            if below == number:
                paint(hole, 0)
    return canvas.astype(bool)


def _same_proportions(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a picture (width, height) can be the other one resized and rounded to pixels."""
    across, down = other[0] / one[0], other[1] / one[1]
    return abs(across * one[1] - other[1]) <= 2 or abs(down * one[0] - other[0]) <= 2
