"""What a text names in one photo, as a mask: Grounding DINO finds boxes, SAM cuts out what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gags.capture import View
from gags.compare.detector import Detections, load_detector
from gags.progress import SILENT, Reporter, part
from gags.segment.sam.boxes import load_box_segmenter

PHOTOS_LOOKED_AT = 8
"""Photos that the detector looks at, evenly spread over those trained on; on two cores one takes seconds."""


@dataclass(frozen=True, eq=False)
class Grounded:
    """A text in the photo where it is found best.

    Attributes:
        view: The photo.
        mask: All that the text names there; the masks of all boxes together. bool [H, W]
        score: Of the best box, in (0, 1).
    """

    view: View
    mask: np.ndarray
    score: float


@dataclass(frozen=True)
class Grounder:
    """Grounding DINO and a SAM, loaded when they are needed and then let go.

    Attributes:
        detector: Name of the Grounding DINO.
        segmenter: Name of the SAM, the one that cut the scene's masks.
        views: Photos to look for texts in.
        threshold: Least score of a box.
    """

    detector: str
    segmenter: str
    views: Sequence[View]
    threshold: float

    @part("image encoding")
    def find(self, texts: Sequence[str], progress: Reporter = SILENT) -> dict[str, Grounded | None]:
        """Every text in the photo in which its best box scores highest; None where no photo has a box.

        Args:
            texts: The texts.
            progress: Told about progress.
        """
        best = self._detect(list(dict.fromkeys(texts)), progress)
        if not any(best.values()):
            return dict.fromkeys(best)
        segmenter = load_box_segmenter(self.segmenter, progress)
        found: dict[str, Grounded | None] = {}
        for text, place in best.items():
            if place is None:
                found[text] = None
                continue
            view, detected = place
            mask = np.logical_or.reduce(segmenter.masks(view.image(), detected.boxes))
            found[text] = Grounded(view, mask, float(detected.scores[0]))
        return found

    def _detect(self, texts: Sequence[str], progress: Reporter) -> dict[str, tuple[View, Detections] | None]:
        """The best photo of every text, with its boxes there."""
        detector = load_detector(self.detector, progress)
        views = evenly(self.views, PHOTOS_LOOKED_AT)
        best: dict[str, tuple[View, Detections] | None] = dict.fromkeys(texts)
        with progress.stage("Grounding texts", len(views), "photos") as bar:
            for view in views:
                image = view.image()
                for text in texts:
                    detected, before = detector.detect(image, text, self.threshold), best[text]
                    if len(detected) and (before is None or detected.scores[0] > before[1].scores[0]):
                        best[text] = view, detected
                bar.advance()
        return best


def evenly(views: Sequence[View], most: int) -> list[View]:
    """At most so many of some photos, evenly spread."""
    count = min(most, len(views))
    return [views[number * len(views) // count] for number in range(count)]
