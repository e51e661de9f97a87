"""What every promptable segmenter offers: a photo is encoded once, then prompts get masks on three levels."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(eq=False)
class PromptedMasks:
    """Masks that a segmenter gives for prompts, on its own coarse grid, cut to the photo's part of it.

    Attributes:
        logits: Mask logits, positive inside. float32 [K, h, w]
        ious: IoU that the model predicts for each mask. float32 [K]
        levels: Level (0 sub-part, 1 part, 2 whole) of each mask. int8 [K]
        prompts: Row of the prompt that each mask belongs to. int32 [K]
        extent: Width and height of the photo in cells of the grid; w and h are these rounded up. Cell (0, 0)
            covers the photo's top-left corner, its centre lies at (0.5, 0.5).
    """

    logits: np.ndarray
    ious: np.ndarray
    levels: np.ndarray
    prompts: np.ndarray
    extent: tuple[float, float]

    def measure(self, offset: float) -> tuple[np.ndarray, np.ndarray]:
        """Stability and box of every mask on the grid, see `gags.segment.suppress.measure`."""
        from gags.segment.suppress import measure  # compiled; not every user of this module measures

        return measure(self.logits, offset)

    def measure_resized(
        self, wanted: np.ndarray, *, offset: float, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of masks at the size of the photo, see `gags.segment.suppress.measure_resized`."""
        from gags.segment.suppress import measure_resized

        return measure_resized(self.logits, wanted, offset, self.extent, width, height)

    def holds(self, rows: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Whether some masks hold cells of the grid.

        Args:
            rows: Which masks. int64 [R]
            cells: Column and row of each cell. int64 [P, 2]

        Returns:
            bool [R, P]
        """
        return self.logits[rows][:, cells[:, 1], cells[:, 0]] > 0

    def cut(self, rows: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Logits of some masks inside their boxes, and one cell around them where the grid has it.

        The border of a mask can be interpolated then.

        Args:
            rows: Which masks. int64 [R]
            boxes: x1, y1, x2, y2 of each in cells of the grid, far edges exclusive. int64 [R, 4]

        Returns:
            Column and row of the grid where each begins int64 [R, 2]; the logits, float16 [h, w] each.
        """
        windows = self._windows(boxes)
        pairs = zip(rows, windows, strict=True)
        cut = [self.logits[row, y1:y2, x1:x2].astype(np.float16) for row, (x1, y1, x2, y2) in pairs]
        return windows[:, :2], cut

    def _windows(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes and one cell around them, inside the grid. int64 [R, 4]"""
        columns, rows = (int(np.ceil(cells)) for cells in self.extent)
        return np.clip(boxes.reshape(-1, 4) + np.array([-1, -1, 1, 1]), 0, (columns, rows, columns, rows))


class Segmenter(Protocol):
    """A model of the SAM family.

    An attribute `prompts_a_call` may say how many prompts suit a call of `predict`, `calls_at_once` how many
    threads may call it at once: while one looks through its answers, another's prompts are answered.

    Attributes:
        name: Identifies model and weights; stored in every file made with it.
    """

    name: str

    def encode(self, image: np.ndarray) -> Any:
        """Run the image encoder once on a photo, uint8 RGB [H, W, 3]; the result goes into `predict`."""
        ...

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """Masks on three levels for each prompt.

        Args:
            encoded: The result of `encode` for the photo.
            points: Prompts (x, y) in px of the photo; the centre of its top-left pixel is (0.5, 0.5).
                float32 [B, 2]
            min_iou: Masks whose predicted IoU is not above this are left out, and not computed.
        """
        ...


@runtime_checkable
class SeesPlaces(Protocol):
    """A segmenter that also says how places of a photo look to it.

    With it, prompts that repeat others are known before they are answered (`gags.segment.novelty`). A
    segmenter without it answers all.
    """

    def features_at(self, encoded: Any, points: np.ndarray) -> np.ndarray:
        """What the image encoder says of places, to compare these by cosine.

        Args:
            encoded: The result of `encode` for the photo.
            points: Places (x, y) in px of the photo, as in `predict`. float32 [P, 2]

        Returns:
            float32 [P, C]
        """
        ...
