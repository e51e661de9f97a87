"""A segmenter that knows the truth and breaks granularity between views the way SAM does.

What MobileSAM does on photos whose instance maps are known was measured (README), and is imitated:

1. **Regions.** At each place of a photo there is a chain of nested regions (`nest`): small and large patches
   of like colour and place, the same in all views (`textures`), the part, the object, ever larger groups of
   neighbours as this view has them, all things with the table, all.
2. **Answers depend on apparent size** (`choice`). Each level prefers regions of a certain size in px, and
   those that look like things. A large near object is the answer at "whole", its patches at "sub-part"; the
   same object far away is the answer at "sub-part", and "whole" is a group it stands in. Which regions look
   like things is drawn once, most of it for all views, the rest for each: prompts on one object mostly agree.
3. **Quality.** Objects come out sharp and with a high predicted IoU. Patches and groups are fuzzy (low
   stability), and where another region would have been as good an answer, the predicted IoU falls. Some fail
   the usual filters.
4. **Boundaries** are drawn on a grid of 256 cells along the longer side and waver by a third to a half of a
   cell: next to nothing for a large thing, much for a small one.

A prompt is answered for its own place alone, whatever the other prompts are, as SAM does. So how prompts are
spread matters in two ways only, both of which follow from that: a thing that no prompt hits has no mask; and
every further prompt on a thing may hit another patch of it, whose mask is then painted over the thing's. More
prompts cut a thing into more pieces, as many prompts cut it alike in all views. A thing has only so many
patches; with `grow`, prompts go on finding finer ones.

The segmenter knows nothing of other prompts, of what methods learn, or of any method: it gives none an
advantage but the one that follows from where its prompts are.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmarks.controlled.choice import LEVEL_COUNT, Habits, choose, scores
from benchmarks.controlled.names import generator
from benchmarks.controlled.nest import GROUP, OBJECT, PART, PATCH, SCENE, STEPS, STUFF, Nest, build_nest
from benchmarks.controlled.truth import Truth
from gags.segment.segmenter import PromptedMasks

# Of predicted IoU and stability, the median and spread (of the logarithm) of what is missing to 1, by kind.
QUALITY: dict[int, tuple[tuple[float, float], tuple[float, float]]] = {
    PATCH: ((0.09, 0.8), (0.08, 1.0)),
    PART: ((0.06, 0.9), (0.06, 1.1)),
    OBJECT: ((0.025, 1.0), (0.025, 1.2)),
    STUFF: ((0.03, 1.0), (0.06, 1.2)),
    GROUP: ((0.08, 0.9), (0.10, 1.2)),
    SCENE: ((0.08, 0.9), (0.12, 1.2)),
}
TOGETHER = 0.8  # correlation of the two
OF_REGION = 0.8  # share, in variance, of what all prompts on a region have in common
DOUBT = 1.0  # how much the logarithm of the missing IoU grows when another answer is as good
WAVER = {PATCH: 0.5, PART: 0.35, OBJECT: 0.35, STUFF: 0.35, GROUP: 0.5, SCENE: 0.5}  # cells, of a boundary
PROMPT_WAVER = 0.15  # cells, from prompt to prompt
FIELDS = 24  # random fields that boundaries waver by
SMOOTH = 3.0  # cells, of these fields
SHARPEST = 0.05  # cells, from a logit of 0 to one of 1


@dataclass(eq=False)
class EncodedView:
    """What is known of a photo before any prompt.

    Attributes:
        nest: Its regions.
        scored: Their scores at the three levels. [N, 3]
        quality: What all prompts on a region have in common, standard normal: IoU, stability. [N, 2]
        fields: Smooth random fields of variance 1. float32 [FIELDS, h, w]
        size: Width and height of the photo, px.
        distances: Cells from the boundary of regions, positive inside, as they are needed. [h, w] each
    """

    nest: Nest
    scored: np.ndarray
    quality: np.ndarray
    fields: np.ndarray
    size: tuple[int, int]
    distances: dict[int, np.ndarray] = field(default_factory=dict)

    def distance(self, region: int) -> np.ndarray:
        """Cells from the boundary of a region as this view has it, positive inside. float32 [h, w]"""
        if region not in self.distances:
            mask = self.nest.masks[region]
            waver = WAVER[self.nest.kinds[region]] * self.fields[region % FIELDS]
            self.distances[region] = signed_distance(mask) + waver
        return self.distances[region]


class ControlledSegmenter:
    """Implements `gags.segment.Segmenter` for one view.

    Args:
        truth: What the capture shows.
        ids: Leaf id of every pixel of the view. uint8 [H, W]
        patches: Large and small patch of every cell, from `textures.patch_maps`; finer ones, too, if patches
            grow. int64 [2, h, w] or [2 + F, h, w]
        view: Name of the view.
        seed: With the view it decides all that is random; the same prompt always leads to the same masks.
        habits: How regions are chosen.
        grow: Chance that a prompt brings up, at "sub-part", a finer patch than the chain has; that it is one
            step finer still, again; and so on. Of more prompts on a thing more find such a patch, so patches
            keep appearing: the denser the prompts, the finer what a thing is cut into.
    """

    name = "controlled-sam"

    def __init__(
        self,
        truth: Truth,
        ids: np.ndarray,
        patches: np.ndarray,
        view: str,
        seed: int = 0,
        habits: Habits = Habits(),
        grow: float = 0.0,
    ) -> None:
        self._truth = truth
        self._ids = ids
        self._patches = patches
        self._seed = seed
        self._key = ("segmenter", seed, view)
        self._habits = habits
        self._grow = grow

    def encode(self, image: np.ndarray) -> EncodedView:
        """Find the regions of the view, uint8 RGB [H, W, 3].

        Raises:
            ValueError: If the photo is not of the size of the instance map.
        """
        if image.shape[:2] != self._ids.shape:
            raise ValueError(f"the photo is {image.shape[:2]}, the instance map {self._ids.shape}")
        rng = generator(*self._key)
        nest = build_nest(self._ids, self._patches, self._truth, rng)
        scored = scores(nest, self._habits, self._seed, rng)
        quality = rng.standard_normal((len(nest.masks), 2))
        return EncodedView(nest, scored, quality, _fields(nest, rng), (image.shape[1], image.shape[0]))

    def predict(self, encoded: EncodedView, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """Masks on three levels for each prompt, see `Segmenter.predict`."""
        nest = encoded.nest
        columns, rows = (points * np.array(nest.extent) / encoded.size).astype(int).T
        chain = nest.chain_of[rows, columns]
        chains = np.array([*nest.chains, [-1] * STEPS])[chain]  # the last row, −1, is for no chain
        rngs = [generator(*self._key, x, y) for x, y in points]
        noise = np.stack([rng.gumbel(size=(STEPS, LEVEL_COUNT)) for rng in rngs])
        regions, doubts = choose(encoded.scored, chains, self._habits, noise)
        if self._grow > 0:
            finer = self._finer(points, nest.finer[:, rows, columns])
            regions[:, 0] = np.where((regions[:, 0] >= 0) & (finer >= 0), finer, regions[:, 0])
        logits, ious, levels, prompts = [], [], [], []
        for prompt, level in np.ndindex(*regions.shape):
            region, rng = int(regions[prompt, level]), rngs[prompt]
            if region < 0:
                continue
            iou, stability = _quality(encoded, region, float(doubts[prompt, level]), rng)
            waver = PROMPT_WAVER * encoded.fields[rng.integers(FIELDS)]
            if iou > min_iou:
                logits.append(sloped(encoded.distance(region) + waver, stability))
                ious.append(iou)
                levels.append(level)
                prompts.append(prompt)
        shape = (len(logits), *nest.chain_of.shape)
        return PromptedMasks(
            np.array(logits, np.float32).reshape(shape),
            np.array(ious, np.float32),
            np.array(levels, np.int8),
            np.array(prompts, np.int32),
            nest.extent,
        )

    def _finer(self, points: np.ndarray, pieces: np.ndarray) -> np.ndarray:
        """The finer patch that each prompt brings up, -1 for none.

        Args:
            points: Prompts. [B, 2]
            pieces: Halves, quarters, … at their places, -1 where too small. [F, B]

        Returns:
            int64 [B]
        """
        # A prompt's own chance, whatever the other prompts are.
        depths = [generator(*self._key, "finer", x, y).geometric(1 - self._grow) - 1 for x, y in points]
        depth = np.minimum(depths, len(pieces))
        found = pieces[np.maximum(depth - 1, 0), np.arange(len(points))]
        return np.where(depth > 0, found, -1).astype(np.int64)


def _quality(
    encoded: EncodedView, region: int, doubt: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Predicted IoU and stability of one answer, each in [0, 1]."""
    kind = encoded.nest.kinds[region]
    own = np.sqrt(OF_REGION) * encoded.quality[region] + np.sqrt(1 - OF_REGION) * rng.standard_normal(2)
    both = own[0], TOGETHER * own[0] + np.sqrt(1 - TOGETHER**2) * own[1]
    (iou_median, iou_spread), (stability_median, stability_spread) = QUALITY[kind]
    iou = 1 - iou_median * np.exp(iou_spread * both[0] + DOUBT * (doubt - 0.5))
    return max(float(iou), 0.0), max(float(1 - stability_median * np.exp(stability_spread * both[1])), 0.0)


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Cells from the boundary of a mask to each cell's centre, positive inside. bool → float32 [h, w]"""
    inside = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    outside = cv2.distanceTransform((~np.pad(mask, 1, mode="edge")).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(mask, inside - 0.5, 0.5 - outside[1:-1, 1:-1]).astype(np.float32)


def sloped(distance: np.ndarray, stability: float) -> np.ndarray:
    """Logits that rise so steeply that a mask's stability (offset 1) comes out at about what it should.

    A mask of area A and perimeter P grows and shrinks by P·β if its boundary moves by β cells, so that
    stability = (A − P β) / (A + P β).

    Args:
        distance: Cells from the boundary, positive inside. float32 [h, w]
        stability: In [0, 1].

    Returns:
        float32 [h, w], from −20 to 20.
    """
    area = np.count_nonzero(distance > 0)
    perimeter = max(np.count_nonzero(np.abs(distance) < 1) / 2, 1)
    width = max(area / perimeter * (1 - stability) / (1 + stability), SHARPEST)
    return np.clip(distance / width, -20, 20)


def _fields(nest: Nest, rng: np.random.Generator) -> np.ndarray:
    """Smooth random fields of variance 1. float32 [FIELDS, h, w]"""
    noise = rng.standard_normal((FIELDS, *nest.chain_of.shape)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(field, (0, 0), SMOOTH) for field in noise])
    return smooth / smooth.std(axis=(1, 2), keepdims=True)
