"""Settings of distillation."""

from dataclasses import dataclass
from typing import Literal

from gags.files.ranges import PIXELS, RATE, SEED, SHARE, TOP_K, Range, Settings, ranged
from gags.store import added


@dataclass(frozen=True)
class DistillSettings(Settings, prefix="distill"):
    """Settings of distillation; the defaults are those of the preset `lite`."""

    feature_dim: int = ranged(16, Range(1, 512))
    """Length d of a Gaussian's feature."""
    decoder: Literal["principal", "one-net", "two-nets"] = added("principal")
    """What turns features into embeddings (Eq. 2): a small net into the principal directions of the scene's
    embeddings; one net for embedding and granularity, as in the paper; or the released program's two nets."""
    hidden: int = ranged(128, Range(1, 2048))
    """Width of the hidden layers of the decoder `principal`."""
    start: Literal["uplift", "zero"] = added("uplift")
    """Where features start: at the uplift of the masks' principal components, or at 0."""
    schedule: Literal["mixed", "photo"] = added("mixed")
    """What a step learns from: pixels of all photos mixed, or, as released, pixels of one photo."""
    photo_scale: float = added(0.5, Range(0, 1, low_open=True))
    """Size at which photos are learnt from in the schedule `photo`, as a share of theirs."""
    step_pixels: int | None = ranged(None, Range(0, 100_000_000))
    """Pixels a step in the schedule `photo`; 0 takes all. Default: all on a GPU; on a CPU 1024 for up to
    100,000 Gaussians, where features start at 0 as many times more for more."""
    steps: int = ranged(1000, Range(0, 1_000_000))
    """Optimisation steps; 0 keeps the weighted mean of what every Gaussian's pixels see."""
    batch_regions: int = ranged(256, Range(1, 16_384))
    """Groups of pixels a step, each from one mask of any photo. Where features start at 0, that many for up
    to 100,000 Gaussians; for more, as many times more."""
    pixels_per_photo: int = ranged(24_000, PIXELS)
    """Pixels drawn from every photo; more where it has many small masks."""
    single_share: float = ranged(0.5, SHARE)
    """Share of the pixels of a step that are replaced by one of their Gaussians, drawn by its blending
    weight, so that single Gaussians answer queries; the paper has 0."""
    consensus: bool = True
    """Whether masks take the mean embedding of the masks of other photos that cover the same thing."""
    levels: Literal["learnt", "averaged", "sub-part", "part", "whole"] = "learnt"
    """How the three levels are weighed: learnt granularity, all alike, or one level alone (ablations)."""
    loss: Literal["weighted", "mixture"] = "weighted"
    """Eq. 3 as in the paper (weighted squared distances) or as released (L1 distance to the mixture)."""
    units: Literal["sums", "means"] = added("sums")
    """Whether distances, entropy and variance are summed over channels and levels, as the paper's formulas
    are, or averaged, as released. λ_e and λ_c belong to one of the two."""
    counted: Literal["any-level", "all-levels"] = added("any-level")
    """Which pixels count: those with a mask on some level, or, as released, those with one on all three."""
    region_aware: bool = False
    """Whether every region counts the same (Eq. 5) rather than every pixel. Off: small regions, most of them
    seen from far, have the worst embeddings, and would count as much as the same things seen from near."""
    region_smoothing: int = added(0, Range(0, 255))
    """Side of the mean filter over ω before the level of the largest ω says which region a pixel is in, px of
    the photo as it is learnt from; the released program has 5. Only in the schedule `photo`."""
    granularity: Literal["repeatability", "distance"] = "repeatability"
    """What learnt granularity weights go by: how well other photos repeat the mask of a level, or, as in the
    paper, the distances of Eq. 3 and the entropy of Eq. 4."""
    sharpness: float = ranged(2.0, Range(0, 100))
    """Exponent of repeatability r: weights learnt by it go towards r^sharpness over the level's median r."""
    entropy_weight: float = ranged(-0.12, Range(-100, 100))
    """λ_e of Eq. 7 in the second half, half of it in the first, for weights learnt by distance. The paper's
    0.002 drives every pixel to one level, and all of them to the one whose embeddings vary least; below 0 the
    levels that are nearly as good keep a part."""
    consistency_weight: float = ranged(0.05, Range(0, 1000))
    """λ_c of Eq. 7 in the second half; 0 in the first."""
    consistency_by: Literal["area", "region"] = added("area")
    """Whether regions count in Eq. 6 by their area, as released, or all alike, as in the paper's formula."""
    detach_granularity: bool = True
    """Whether the granularity logits leave the features alone (released program)."""
    feature_rate: float = ranged(3e-3, RATE)
    """Learning rate of the features."""
    decoder_rate: float = ranged(1e-3, RATE)
    """Learning rate of the decoder."""
    rate_decay: Literal["cosine", "constant"] = added("cosine")
    """Whether learning rates fall to a twentieth on a cosine, or stay."""
    top_k: int = ranged(16, TOP_K)
    """Gaussians kept per sampled pixel."""
    seed: int = ranged(0, SEED)
    """Seed of sampling and training."""
    asked: Literal["gaussians", "pixels"] = added("gaussians")
    """How the field is asked in a view, and so what it learns from: every Gaussian, its relevancy rendered;
    or, as in the paper, every pixel, decoded from rendered features that are not divided by alpha."""

    @property
    def lessons(self) -> int:
        """Number of the rules that these settings learn by, part of what tells whether a field is stale.

        1 where they are what they always were. 2 where the entropy became a mean over photos, or where one
        Gaussian is drawn in front of the background.
        """
        by_distance = self.levels == "learnt" and self.granularity == "distance" and self.entropy_weight != 0
        drawn = self.asked == "pixels" and self.single_share > 0
        return 2 if self.schedule == "mixed" and (by_distance or drawn) else 1
