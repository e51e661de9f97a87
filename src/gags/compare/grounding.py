"""What a text names in one photo, as a mask: Grounding DINO finds boxes, SAM cuts out what they hold.

Where there is no Grounding DINO, a mask of the scene that answers the text takes its place: `best_masks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture import Camera, View
from gags.compare.detector import Detections, load_detector
from gags.embed.description import Description
from gags.progress import SILENT, Reporter, part
from gags.query.relevancy import Queries
from gags.segment.sam.boxes import load_box_segmenter

PHOTOS_LOOKED_AT = 8
"""Photos that the detector looks at, evenly spread over those trained on; on two cores one takes seconds."""

BEST_MASKS = 10
"""Masks of all photos that answer a text best; the largest of them shows what the text names."""
PHOTOS_A_MASK = 7
"""Of more photos than ten times this, one in so many adds a mask to the best: a thing has some in each."""

Place = tuple[Camera, Tensor]
"""The camera of a photo, at the size of the mask, and the mask of what a text names there. bool [H, W]"""


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


def places_of(
    queries: Queries,
    grounder: Grounder | None,
    items: Sequence[tuple[Camera, Description]],
    embeddings: Tensor,
) -> list[Place | None]:
    """Where a photo shows what each text names: found by a grounder, or, without one, by `best_masks`."""
    if grounder is None:
        return best_masks(items, embeddings, queries)
    found = grounder.find(queries.texts)
    return [p and (p.view.camera, torch.from_numpy(p.mask)) for p in map(found.get, queries.texts)]


def best_masks(
    items: Sequence[tuple[Camera, Description]], embeddings: Tensor, queries: Queries
) -> list[Place | None]:
    """Where a photo shows what a text names: of the masks that answer it best (GAGS Eq. 8), the largest.

    The very best one is often a scrap of few pixels, seen from far or at the edge of its thing.

    Args:
        items: Camera and masks of every photo.
        embeddings: Of all masks of all photos, in their order, L2-normalised. [M, D]
        queries: T texts.

    Returns:
        One for each text.
    """
    cosines = embeddings @ torch.cat([queries.vectors, queries.negatives]).T
    relevancies = queries.relevancy_from_cosines(cosines)
    most = max(BEST_MASKS, len(items) // PHOTOS_A_MASK)
    best = relevancies.topk(min(most, len(relevancies)), dim=0).indices.T.tolist()
    found: list[Place | None] = [None] * len(best)
    sizes, first = [0.0] * len(best), 0
    for camera, description in items:
        behind = first + len(description.masks)
        for text, rows in enumerate(best):
            for row in (row - first for row in rows if first <= row < behind):
                mask = torch.from_numpy(description.masks.mask(row))
                size = float(mask.double().mean())  # its share of the photo: photos may differ in size
                if size > sizes[text]:
                    sizes[text] = size
                    found[text] = camera.resized(mask.shape[1], mask.shape[0]), mask
        first = behind
    return found
