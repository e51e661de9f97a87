"""An encoder that is told what a mask covers: embeddings as CLIP's would be, but for its errors of naming.

A picture of a thing, to CLIP, is a vector at a cosine of 0.25 to 0.32 to the thing's name and of 0.12 to 0.24
to other names; pictures of one thing have cosines of 0.8 to 0.9, of different things 0.5 to 0.75. Here
(energies are squared lengths, of about 1 in total for a large mask that covers one thing exactly):

    x = unit( a·μ + b·g + Σ_k ω_k (r_k z_k + l_k p_k) + η·n ),  z_k = s·t_k + v·e_k

- μ is the mean direction of all names, g the common offset of images (the modality gap): a² + b² = 0.6.
- t_k is what name k has beside μ, of length 1: s² = 0.03. It alone tells which name fits.
- e_k is what pictures of thing k have beside its name, of length 1: half of it a fixed turn of t_k, so that
  things of like names look alike, half its own. v² = 0.22. The same in all views: no averaging removes it.
- ω_k are the squared shares of the mask that things cover, summing to 1. A part counts where the mask shows
  more of it than a picture of the whole would; a mask of a whole fork is no fork handle.
- r_k = c^0.3, where the mask covers the share c of what is visible of an object or part: so much of thing k
  is still to be seen in a piece of it, measured on real pictures (see the README). What is lost, 1 − r_k² in
  energy, becomes something else: a third looks like pieces of this thing always do, p_k, which no averaging
  removes, the rest is noise. Pieces of stuff are stuff: r_k = 1.
- n is noise of length 1, half of it of the kind that names differ by, so that it misleads. Its energy η²
  falls with the area of the mask (see `noise_energy`). It is the mean over the mask of a random field on the
  photo: masks that overlap have noise in common, and a thing that comes out alike on two levels gets one
  embedding twice, not two independent ones.

  If asked for, a share of η² is of the same kind but smooth over the places of cameras (`shared`), so that
  photos side by side err alike.

A mask is what its level shows of it, or all of it where whole masks are embedded (setting `crop`).

Not modelled: context around a mask, and things cut by the photo's edge, which count as whole.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from benchmarks.controlled.names import TextVectors, generator, unit
from benchmarks.controlled.shared import SPOTS, Place, SharedNoise
from benchmarks.controlled.truth import Truth
from gags.embed.encoder import CropRule
from gags.errors import ModelError
from gags.segment.masks import Masks

COMMON = 0.23  # a
OFFSET = 0.74  # b
MEANING = 0.17  # s
LOOK = 0.47  # v
LIKENESS = 0.5  # share of e_k, in energy, that things of like names have in common
MISLEADING = 0.5  # share of the noise, in energy, that is of the kind that names differ by
NOISE_CELL = 8  # px, of the random field that the noise is the mean of
LEAST_NOISE = 0.10
SMALL_NOISE, SMALL_AREA = 0.25, 1000  # energy added to vanishing masks; half of it at this area, px
RECOGNISED = 0.3  # measured on real pictures
ALWAYS = 1 / 3  # share, in energy, of what a piece looks like instead that is the same for all its pieces


class ControlledEncoder:
    """Implements `gags.embed.Encoder` for texts; masks are embedded by `embed_masks`, from the truth.

    Args:
        texts: Vectors of texts.
        truth: What the capture shows.
        seed: Of offset, looks and noise.
        recognised: Power of the share of a thing that a mask covers: how much of its vector is left. Larger
            than what was measured, it makes an encoder that knows things as wholes alone.
        shared: Share of the noise, in energy, that photos taken side by side have in common.
    """

    name = "controlled-clip"
    dim = 512
    image_size = 1
    crops: tuple[CropRule, ...] = ()
    temperature = 10.0
    """The paper's. With cosines like CLIP's the relevancy of a thing to its name comes out at about 0.66 and
    to other names at 0.34 to 0.6: a narrow range, but the protocol stretches it."""
    negatives: tuple[str, ...] = ("object", "things", "stuff", "texture")
    same_meaning = 2.0
    """All phrases count against all texts, as in the paper."""

    def __init__(
        self,
        texts: TextVectors,
        truth: Truth,
        seed: int = 0,
        recognised: float = RECOGNISED,
        shared: float = 0.0,
    ) -> None:
        self._texts = texts
        self._truth = truth
        self.seed = seed
        self.recognised = recognised
        self.shared = shared
        rng = generator("looks", seed)
        offset = rng.standard_normal(self.dim)
        self._common = COMMON * texts.mean + OFFSET * unit(texts.own(offset))
        turn, _ = np.linalg.qr(rng.standard_normal((self.dim, self.dim)))
        meaning = unit(texts.own(texts.encode([thing.name for thing in truth.things])))
        single = np.stack([unit(generator("look", seed, t.name).standard_normal(512)) for t in truth.things])
        look = np.sqrt(LIKENESS) * meaning @ turn + np.sqrt(1 - LIKENESS) * single
        self._images = MEANING * meaning + LOOK * unit(look)
        other = np.stack([texts.something(f"piece {seed} {thing.name}") for thing in truth.things])
        self._pieces = MEANING * other + LOOK * unit(rng.standard_normal(other.shape))

    @cached_property
    def _process(self) -> SharedNoise:
        """Noise that photos share; made when it is first needed, since it takes 130 MB."""
        return SharedNoise(self.seed, self._texts.spread, MISLEADING)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        """Refuses: a crop does not say what it shows.

        Raises:
            ModelError: Always.
        """
        raise ModelError("the controlled encoder looks at the truth, not at pictures; call its embed_masks")

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts. Returns L2-normalised float32 [T, D]."""
        return self._texts.encode(texts).astype(np.float32)

    def embed_masks(self, masks: Masks, ids: np.ndarray, view: str, place: Place | None = None) -> np.ndarray:
        """Embed all masks of a view.

        Args:
            masks: The masks, M of them, possibly none.
            ids: Leaf id of every pixel. uint8 [H, W]
            view: Name of the view; with the seed it decides the noise.
            place: Where the view was taken from; needed only if photos share noise.

        Returns:
            L2-normalised. float32 [M, D]

        Raises:
            ValueError: If photos share noise and `place` is missing.
        """
        if not len(masks):
            return np.zeros((0, self.dim), np.float32)
        covered, areas = areas_covered(masks, ids)
        weights, complete = content(covered, np.bincount(ids.ravel(), minlength=256), self._truth)
        seen, lost = (
            weights * complete**self.recognised,
            weights * np.sqrt(1 - complete ** (2 * self.recognised)),
        )
        shown = seen @ self._images + np.sqrt(ALWAYS) * lost @ self._pieces
        energy_lost = (1 - ALWAYS) * (MEANING**2 + LOOK**2) * np.square(lost).sum(axis=1)
        noise = self._noise(masks, view, place) * np.sqrt(noise_energy(areas) + energy_lost)[:, None]
        return unit(self._common + shown + noise).astype(np.float32)

    def _noise(self, masks: Masks, view: str, place: Place | None) -> np.ndarray:
        """Noise of all masks, of length 1, alike for masks that overlap. float64 [M, D]"""
        cells, count = mask_cells(masks)
        rng = generator("noise", self.seed, view)
        any_kind = rng.standard_normal((count, self.dim)) / np.sqrt(self.dim)
        misleading = rng.standard_normal((count, len(self._texts.spread))) @ self._texts.spread
        field = np.sqrt(MISLEADING) * misleading + np.sqrt(1 - MISLEADING) * any_kind
        own = cells @ field
        if self.shared == 0:
            return own
        if place is None:
            raise ValueError("photos share noise: give the place of the view")
        together = unit(pixels_of(masks, place.spots, SPOTS)) @ self._process.seen_from(place.position)
        return np.sqrt(1 - self.shared) * own + np.sqrt(self.shared) * together


def pixels_of(masks: Masks, kinds: np.ndarray, count: int) -> np.ndarray:
    """Pixels of each kind in each mask: as painted, or all of it where whole masks are embedded.

    Args:
        masks: The masks, M of them.
        kinds: Kind of every pixel, below `count`. int [H, W]
        count: Number of kinds.

    Returns:
        int64 [M, count]
    """
    if masks.whole is not None:
        seen = [np.bincount(kinds[whole.window][whole.mask], minlength=count) for whole in masks.whole]
        return np.array(seen, np.int64).reshape(len(masks), count)
    pixels = np.zeros((len(masks), count), np.int64)
    for labels in masks.labels:
        inside = labels >= 0
        pairs = labels[inside].astype(np.int64) * count + kinds[inside]
        pixels += np.bincount(pairs, minlength=pixels.size).reshape(pixels.shape)
    return pixels


def areas_covered(masks: Masks, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each leaf id in each mask, see `pixels_of`. int64 [M, 256], and their sums [M]"""
    covered = pixels_of(masks, ids, 256)
    return covered, covered.sum(axis=1)


def content(covered: np.ndarray, seen: np.ndarray, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Which things masks show, and how much of each.

    Args:
        covered: Pixels of each leaf id in each mask. int [M, 256]
        seen: Pixels of each leaf id in the view. int [256]
        truth: What the ids are.

    Returns:
        Weights ω of the things, 0 in sum for a mask of nothing, else 1. float64 [M, K]
        Share of the visible pixels of each thing that the mask covers; 1 for stuff, which looks the same in
        pieces. float64 [M, K]
    """
    pixels = np.stack([covered[:, list(thing.leaves)].sum(axis=1) for thing in truth.things], axis=1)
    visible = np.array([seen[list(thing.leaves)].sum() for thing in truth.things])
    shares = pixels / np.maximum(covered.sum(axis=1), 1)[:, None]
    complete = pixels / np.maximum(visible, 1)
    parts = np.flatnonzero(truth.parents >= 0)
    wholes = truth.parents[parts]
    usual = visible[parts] / np.maximum(visible[wholes], 1)
    excess = pixels[:, parts] / np.maximum(pixels[:, wholes], 1) - usual
    moved = np.clip(excess / np.maximum(1 - usual, 1e-9), 0, 1) * shares[:, wholes]
    shares[:, parts] = moved
    for column, whole in enumerate(wholes):  # several parts may belong to one object
        shares[:, whole] -= moved[:, column]
    weights = np.square(shares)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    stuff = ~truth.is_object & (truth.parents < 0)
    return weights, np.where(stuff, 1.0, complete)


def noise_energy(areas: np.ndarray) -> np.ndarray:
    """Energy η² of the noise of masks of some areas, px. [M] → [M]"""
    return LEAST_NOISE + SMALL_NOISE * SMALL_AREA / (SMALL_AREA + areas)


def mask_cells(masks: Masks) -> tuple[np.ndarray, int]:
    """How much of each mask lies in each cell of the photo, scaled to a length of 1.

    The product of two rows is |A ∩ B| / √(|A| |B|), but for the width of a cell.

    Returns:
        float64 [M, C], and the number C of cells.
    """
    height, width = masks.labels.shape[1:]
    columns = -(-width // NOISE_CELL)
    cell = (np.arange(height) // NOISE_CELL)[:, None] * columns + np.arange(width) // NOISE_CELL
    count = columns * -(-height // NOISE_CELL)
    return unit(pixels_of(masks, cell, count).astype(float)), count
