"""Gaussian Grouping (Ye et al., ECCV 2024): every Gaussian has an identity of 16 numbers; texts choose some.

Written from the paper. What differs:

- The identities of masks, the same in all photos, come from our masks and things: a mask has the identity of
  the thing that it cuts out. A pixel has the identity of its mask on the level "part"; where that has none,
  of "whole", then of "sub-part". (On the capture `desk`, "part" is the level of single objects: mIoU was 21 %
  with that level alone, 11 % with "whole" alone, 30 % in this order.) The paper takes SAM's masks, which DEVA
  tracks through the photos as through a video.
- A text is looked for by Grounding DINO and SAM in one photo, as in the paper, but in the one of several
  where it scores best, not in a picture that is rendered in the first view that is asked. The detector's
  second threshold, 0.45 on single words, is left out: a text is one phrase.
- Gaussians and their colours are given; in the paper all is trained together. So pixels of all photos are
  mixed in a step, from blending weights that are computed once.
- Where there is no Grounding DINO, the row is titled "asked by mask embeddings": the mask of a text in one
  photo is the largest of the ten masks, of all photos and levels, whose embeddings have the highest
  relevancy. Identities are chosen by it as by SAM's. (To take the one identity whose masks have the highest
  mean relevancy instead favours identities of few masks: mIoU 25 % instead of 40 % on the capture `desk`.)
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from gags.capture import Camera
from gags.compare.detector import AUTO, NONE, SWIN_B, choose_detector
from gags.compare.grounding import Grounder, Place, places_of
from gags.compare.hull import inliers, inside_hull
from gags.compare.identities import identities
from gags.compare.methods.learner import DAMAGED_EMBEDDINGS, REMEDY, Inputs
from gags.compare.pixels import Pixels, draw_pixels
from gags.distill.evidence import gather_evidence
from gags.distill.samples import batch_for
from gags.embed.encoder import Encoder
from gags.errors import CompareError
from gags.evaluate.answerer import Selections
from gags.files.ranges import BATCH, PIXELS, STEPS, TOP_K, Settings, ranged
from gags.gaussians import SH_C0, Gaussians, render
from gags.progress import SILENT, Reporter
from gags.query.maps import KNOWN_ALPHA, ValueMaps
from gags.query.relevancy import Queries
from gags.segment.masks import LEVELS
from gags.store import check_finite, damaged, load_tensors, loss_note, save_tensors

IDENTITY_LENGTH = 16  # numbers of an identity; they do not depend on where one looks from
IDENTITIES = 256  # that the classifier tells apart; 0 is "none"
FEATURE_RATE = 2.5e-3  # of Adam
CLASSIFIER_RATE = 5e-4
NEIGHBOUR_STEPS = 5  # every so many, neighbours count as well
NEIGHBOUR_SAMPLES = 1000  # Gaussians of such a step, in scenes of up to 100,000
NEIGHBOURS = 5  # nearest others of each
NEIGHBOUR_WEIGHT = 2.0
BOX_SCORE = 0.3  # of Grounding DINO
LEAST_INSIDE = 0.7  # of the area of an identity that must lie in the mask of a text
LEAST_IN_VIEW = 0.2  # probability of the chosen identities, for a pixel to be in the mask
LEAST_IN_SPACE = 0.3  # the same for a Gaussian
SAME_IOU = 0.5  # of a mask and a thing as its photo sees it, for the mask to be one of the thing
LEVEL_ORDER = ("part", "whole", "sub-part")
PIXELS_AT_ONCE = 1 << 16  # classified together; bounds memory


@dataclass(frozen=True)
class GroupingSettings(Settings, prefix="grouping"):
    """How Gaussian Grouping is trained; the defaults converge."""

    steps: int = ranged(3000, STEPS)
    """Optimisation steps."""
    batch: int = ranged(4096, BATCH)
    """Pixels a step, for up to 100,000 Gaussians; for more, as many times more."""
    detector: str = AUTO
    """What looks for texts in photos: a Grounding DINO by hub id or folder, none, or auto: Grounding DINO
    with Swin-B if it is on this machine or can be fetched, else none."""

    def ready(self, progress: Reporter = SILENT) -> "GroupingSettings":
        """The same, with the detector that is meant on this machine.

        Raises:
            ModelError: If a detector is asked for that is not there and cannot be fetched.
        """
        return replace(self, detector=choose_detector(self.detector, SWIN_B, progress))


@dataclass(frozen=True)
class GaussianGrouping(Settings):
    """Learns identities and their classifier."""

    answers: ClassVar[int] = 5

    settings: GroupingSettings = GroupingSettings()
    """Settings of its own."""
    pixels_per_photo: int = ranged(24_000, PIXELS)
    """Pixels drawn from every photo."""
    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per pixel."""

    def title(self) -> str:
        """What it is, for the table."""
        asked = " (asked by mask embeddings)" if self.settings.detector == NONE else ""
        return f"Gaussian Grouping{asked}"

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Give masks their identities, then train; see `Learner.learn`."""
        inputs.embeddings()  # refuses a scene without masks
        identities = mask_identities(inputs, progress)
        pixels = draw_pixels(
            inputs.gaussians,
            inputs.items,
            per_photo=self.pixels_per_photo,
            top_k=self.top_k,
            seed=seed,
            progress=progress,
        )
        features, classifier = self._train(inputs.gaussians, pixels, identities, seed, progress)
        Grouped(inputs, features, classifier, inputs.encoder.name).save(path)

    def load(self, path: Path, inputs: Inputs) -> "Grouped":
        """What `learn` wrote."""
        grounder = None
        detector = self.settings.ready().detector
        if detector != NONE:
            grounder = Grounder(detector, inputs.segmenter, inputs.views, BOX_SCORE)
        return Grouped.load(path, inputs, grounder)

    def _train(
        self, gaussians: Gaussians, pixels: Pixels, identities: Tensor, seed: int, progress: Reporter
    ) -> tuple[Tensor, nn.Linear]:
        """Optimise identities [N, 16] and classifier."""
        device = gaussians.means.device
        rng = torch.Generator().manual_seed(seed)
        # The start is that of random colours, kept as spherical harmonics of degree 0.
        start = (torch.rand(len(gaussians), IDENTITY_LENGTH, generator=rng) - 0.5) / SH_C0
        features, classifier = nn.Parameter(start.to(device)), new_classifier(seed, device)
        optimizer = torch.optim.Adam(
            [
                {"params": [features], "lr": FEATURE_RATE},
                {"params": classifier.parameters(), "lr": CLASSIFIER_RATE},
            ]
        )
        neighbours = nearest(gaussians.means, NEIGHBOURS)
        targets = pixel_identities(pixels.masks, identities.to(device))
        steps, size = self.settings.steps, batch_for(self.settings.batch, len(gaussians))
        near = batch_for(NEIGHBOUR_SAMPLES, len(gaussians))
        with progress.stage("Training identities", steps, "steps") as bar:
            for step in range(1, steps + 1):
                batch = torch.randint(len(pixels), (size,), generator=rng).to(device)
                loss = identity_loss(classifier(pixels.blended(features, batch)), targets[batch])
                if step % NEIGHBOUR_STEPS == 0:
                    rows = torch.randint(len(gaussians), (near,), generator=rng).to(device)
                    loss = loss + neighbour_loss(
                        classifier(features[rows]), classifier(features[neighbours[rows]])
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                bar.advance(note=loss_note(loss, step, DAMAGED_EMBEDDINGS))
        check_finite(steps, {"a feature": features}, DAMAGED_EMBEDDINGS)
        return features.detach(), classifier.requires_grad_(False)


def new_classifier(seed: int, device: torch.device) -> nn.Linear:
    """The 1×1 convolution from 16 numbers to 256 identities, with PyTorch's random start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(IDENTITY_LENGTH, IDENTITIES).to(device)


# --- identities of masks ---


def mask_identities(inputs: Inputs, progress: Reporter) -> Tensor:
    """Identity of every mask of all photos, the same in all: the number of its thing.

    A mask belongs to the thing with which it has the highest IoU in its photo, if that is at least a half.
    Things are numbered from 1, those of most photos first; at most 255 are kept.

    Returns:
        int64 [M], 0 for masks of no thing; on the CPU.

    Raises:
        CompareError: If no mask belongs to a thing.
    """
    evidence, levels = gather_evidence(
        inputs.gaussians, inputs.items, stage="Joining masks", progress=progress
    )
    things = identities(evidence, levels)
    count = evidence.mask_count
    sizes, views = evidence.sizes()[:count], evidence.view_of[:count]

    def ious() -> Iterator[np.ndarray]:
        for thing in range(len(things)):
            shared = evidence.shared(things[thing].astype(np.int64))
            in_mask, in_photo = shared[:count], shared[count + views]
            yield in_mask / np.maximum(sizes + in_photo - in_mask, 1e-9)

    return torch.from_numpy(numbered(best_thing(ious(), count), views))


def best_thing(ious: Iterable[np.ndarray], count: int) -> np.ndarray:
    """The thing of highest IoU of each mask, -1 if that is less than a half.

    Args:
        ious: Of one thing after the other with all masks: together they may not fit into memory. [M] each
        count: Number M of masks.

    Returns:
        int64 [M]
    """
    best, highest = np.full(count, -1), np.full(count, SAME_IOU)
    for thing, iou in enumerate(ious):
        better = (iou > highest) | ((iou == highest) & (best < 0))
        best[better], highest[better] = thing, iou[better]
    return best


def numbered(thing: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Numbers of the things that masks belong to, in the order of how many photos each has masks in.

    Args:
        thing: Of each mask, -1 for none. int [M]
        views: Photo of each mask. int [M]

    Returns:
        1 to 255, 0 for none and for things of too few photos. int64 [M]

    Raises:
        CompareError: If no mask belongs to a thing.
    """
    owned = thing >= 0
    pairs = np.unique(np.stack([thing[owned], views[owned]], axis=1), axis=0)
    found, photos = np.unique(pairs[:, 0], return_counts=True)
    if not len(found):
        raise CompareError(
            "no mask is cut out alike in three photos, so Gaussian Grouping has no identities to learn; "
            "take more photos of the same place"
        )
    kept = found[np.argsort(-photos, kind="stable")][: IDENTITIES - 1]
    number = np.zeros(int(thing.max()) + 2, np.int64)  # the last serves -1
    number[kept] = np.arange(1, len(kept) + 1)
    return number[thing]


def pixel_identities(masks: Tensor, identities: Tensor) -> Tensor:
    """Identity of every pixel: of its mask on the first level of `LEVEL_ORDER` where that has one, else 0.

    Args:
        masks: Masks that cover each pixel on the three levels, -1 where there is none. int [P, 3]
        identities: Of every mask. int64 [M]

    Returns:
        int64 [P]
    """
    found = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
    for level in LEVEL_ORDER:
        rows = masks[:, LEVELS.index(level)].long()
        found = torch.where((found == 0) & (rows >= 0), identities[rows.clamp(min=0)], found)
    return found


# --- losses ---


def identity_loss(logits: Tensor, identities: Tensor) -> Tensor:
    """Cross-entropy of the pixels' identities, over its value for a guess, log 256. [B, 256], [B] → []"""
    return cross_entropy(logits, identities) / math.log(IDENTITIES)


def neighbour_loss(logits: Tensor, neighbours: Tensor) -> Tensor:
    """Gaussians that are close together should have one identity: 2/256 · mean KL(p ‖ p of a neighbour).

    Args:
        logits: Of some Gaussians. [S, 256]
        neighbours: Of those nearest to each. [S, 5, 256]
    """
    own, others = logits.log_softmax(dim=-1)[:, None], neighbours.log_softmax(dim=-1)
    divergence = (own.exp() * (own - others)).sum(dim=-1).mean()
    return NEIGHBOUR_WEIGHT / IDENTITIES * divergence


def nearest(means: Tensor, count: int) -> Tensor:
    """The nearest others of every point; with too few others, itself instead. [N, 3] → int64 [N, count]"""
    points = np.ascontiguousarray(means.detach().cpu().numpy(), np.float32)
    wanted = min(count + 1, len(points))
    tree = cv2.flann.Index(points, {"algorithm": 4})  # an exact k-d tree
    rows, _ = tree.knnSearch(points, wanted, params={"checks": -1})
    own = np.arange(len(points))[:, None]
    rows = np.where(rows == own, -1, rows).astype(np.int64)
    # Of points that coincide, the tree may list others before the point itself: that goes to the end.
    rows = np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), axis=1)[:, :count]
    rows = np.pad(rows, ((0, 0), (0, count - rows.shape[1])), constant_values=-1)
    return torch.from_numpy(np.where(rows < 0, own, rows)).to(means.device)


# --- asking ---


@dataclass(frozen=True, eq=False)
class Grouped:
    """Gaussians with identities; implements `Answerer` and `Selector`.

    Attributes:
        inputs: What it was learnt from: the masks are needed where there is no `grounder`.
        features: What is kept of every Gaussian. float32 [N, 16]
        classifier: From 16 numbers to 256 identities.
        encoder_name: Encoder of the embeddings.
        grounder: What looks for texts in photos; None to ask the embeddings.
        chosen: Identities of the texts that were prepared. bool [256] each
    """

    inputs: Inputs
    features: Tensor
    classifier: nn.Linear
    encoder_name: str
    grounder: Grounder | None = None
    chosen: dict[str, Tensor] = field(default_factory=dict)

    @property
    def gaussians(self) -> Gaussians:
        """The scene."""
        return self.inputs.gaussians

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Choose the identities of every text; what was chosen before is remembered."""
        queries = Queries.encode(texts, encoder, self)
        new = [text for text in dict.fromkeys(texts) if text not in self.chosen]
        if not new:
            return queries
        rows = queries.subset([queries.texts.index(text) for text in new])
        places = places_of(rows, self.grounder, self.inputs.items, self.inputs.embeddings())
        self.chosen.update({text: self._inside(place) for text, place in zip(new, places, strict=True)})
        return queries

    @torch.no_grad()
    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Probability of each text's identities at every pixel; masks and peaks by this method's own rule."""
        drawn = render(self.gaussians, camera, self.features)
        chosen = [self.chosen[text] for text in queries.texts]
        values = self._probabilities(drawn.colors.flatten(0, 1), chosen).T
        values = values.unflatten(1, drawn.alphas.shape)
        masks = values > LEAST_IN_VIEW
        return ValueMaps(values, drawn.alphas >= KNOWN_ALPHA, masks=masks, peaks=peaks_of(masks, values))

    @torch.no_grad()
    def select(self, queries: Queries) -> Selections:
        """Gaussians of each text's identities, and all within the convex hull of these without outliers."""
        probabilities = self._probabilities(self.features, [self.chosen[text] for text in queries.texts])
        means = self.gaussians.means.cpu().double().numpy()
        members = (probabilities > LEAST_IN_SPACE).cpu().numpy()
        found = torch.from_numpy(np.stack([filled(means, column) for column in members.T]))
        return Selections(self.gaussians, found.to(self.features.device))

    @torch.no_grad()
    def _inside(self, place: Place | None) -> Tensor:
        """Identities that lie in the mask [H, W] of a text in one view; none if there is none. bool [256]"""
        if place is None:
            return torch.zeros(IDENTITIES, dtype=torch.bool, device=self.features.device)
        camera, mask = place
        features = render(self.gaussians, camera, self.features).colors.flatten(0, 1)
        best = torch.cat([self._logits(part).argmax(dim=1) for part in features.split(PIXELS_AT_ONCE)])
        return identities_inside(best, mask.flatten().to(best.device))

    def _logits(self, features: Tensor) -> Tensor:
        return linear(features, self.classifier.weight, self.classifier.bias)

    def _probabilities(self, features: Tensor, chosen: Sequence[Tensor]) -> Tensor:
        """Highest probability of any identity that each of T texts chose. [P, 16] → [P, T]"""
        parts, numbers = [], [rows.nonzero()[:, 0] for rows in chosen]
        for part in features.split(PIXELS_AT_ONCE):
            probabilities = self._logits(part).softmax(dim=-1)
            of_none = probabilities.new_zeros(len(part), 1)
            columns = [torch.cat([of_none, probabilities[:, rows]], dim=1).amax(dim=1) for rows in numbers]
            parts.append(torch.stack(columns, dim=1))
        return torch.cat(parts)

    def save(self, path: Path) -> None:
        """Write to a safetensors file, atomically; features and embeddings are kept as float16."""
        tensors = {
            "features": self.features.half(),
            "classifier.weight": self.classifier.weight,
            "classifier.bias": self.classifier.bias,
        }
        save_tensors(path, tensors, {"encoder": self.encoder_name})

    @classmethod
    def load(cls, path: Path, inputs: Inputs, grounder: Grounder | None = None) -> "Grouped":
        """Read what `save` wrote.

        Raises:
            WorkspaceError: If the file is missing or damaged.
        """
        stored = load_tensors(path, remedy=REMEDY)
        device = inputs.gaussians.means.device
        try:
            tensors = {name: tensor.to(device) for name, tensor in stored.tensors.items()}
            classifier = new_classifier(0, device).requires_grad_(False)
            classifier.load_state_dict({name: tensors[f"classifier.{name}"] for name in ("weight", "bias")})
            features, name = tensors["features"].float(), stored.metadata["encoder"]
            return cls(inputs, features, classifier, name, grounder)
        except (KeyError, RuntimeError) as error:
            raise damaged(path, error, REMEDY) from error


def identities_inside(identities: Tensor, mask: Tensor) -> Tensor:
    """Identities of which more than 0.7 of the pixels lie in a mask; never 0, which is "none".

    Args:
        identities: Of each pixel. int64 [P]
        mask: bool [P]

    Returns:
        bool [256]
    """
    areas = torch.bincount(identities, minlength=IDENTITIES)
    inside = torch.bincount(identities[mask], minlength=IDENTITIES)
    chosen = inside > LEAST_INSIDE * areas
    chosen[0] = False
    return chosen


def peaks_of(masks: Tensor, values: Tensor) -> Tensor:
    """Column and row of the mean of each mask's pixels.

    Of an empty mask, those of the highest probability, which is too low for a mask but may be right;
    (−1, −1), no peak, where there is none at all.

    Args:
        masks: bool [T, H, W]
        values: Probabilities. [T, H, W]

    Returns:
        int64 [T, 2]
    """
    height, width = masks.shape[1:]
    columns, rows = (torch.arange(size, device=masks.device, dtype=torch.float64) for size in (width, height))
    counts = masks.sum(dim=(1, 2)).clamp(min=1).double()
    x = (masks.sum(dim=1) * columns).sum(dim=1) / counts
    y = (masks.sum(dim=2) * rows).sum(dim=1) / counts
    found = torch.stack([x, y], dim=1).round().long()
    best, place = values.flatten(1).max(dim=1)
    highest = torch.stack([place % width, place // width], dim=1)
    highest = torch.where(best[:, None] > 0, highest, -1)
    return torch.where(masks.flatten(1).any(dim=1)[:, None], found, highest)


def filled(means: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Some points, and those in the convex hull of them without outliers. [N, 3], bool [N] → bool [N]"""
    if not members.any():
        return members
    own = means[members]
    return members | inside_hull(means, own[inliers(own)])
