"""What training makes small (GAGS Eq. 7): what both schedules share, in the units of the settings."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from gags.distill import losses
from gags.distill.decoder import LEVEL_COUNT, Decoder
from gags.distill.settings import DistillSettings


@dataclass(frozen=True, eq=False)
class Targets:
    """What the M masks of all photos say.

    Attributes:
        coordinates: Their unit embeddings in the decoder's coordinates. float32 or float16 [M, r]
        repeatability_logits: Logits that granularity weights learn, if they learn from repeatability. [M]
        logits: Their granularity logits if these are given, not learnt. [M]
    """

    coordinates: Tensor
    repeatability_logits: Tensor | None = None
    logits: Tensor | None = None

    @cached_property
    def squared(self) -> Tensor:
        """‖F‖² of every mask. [M]"""
        return self.coordinates.float().square().sum(dim=-1)

    def tensors(self) -> list[Tensor]:
        """The tensors that are not None."""
        given = (self.coordinates, self.repeatability_logits, self.logits)
        return [tensor for tensor in given if tensor is not None]


@dataclass(frozen=True)
class Units:
    """What distances, entropy and squared deviations, all of them sums, are multiplied by."""

    distance: float = 1.0
    entropy: float = 1.0
    variance: float = 1.0

    @classmethod
    def of(cls, settings: DistillSettings, decoder: Decoder) -> "Units":
        """1 for sums; for means, 1 over the number of channels of an embedding, of levels, of a feature."""
        if settings.units == "sums":
            return cls()
        return cls(1 / decoder.dim, 1 / LEVEL_COUNT, 1 / settings.feature_dim)


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of Eq. 7 for one step, each a scalar, none of them weighted yet.

    Attributes:
        distillation: L_r, Eq. 3 with the weights of Eq. 5.
        consistency: L_c, Eq. 6.
        entropy: L_e, Eq. 4; None if weights do not learn by distance.
        divergence: Of the weights from repeatability; None if they do not learn by that.
    """

    distillation: Tensor
    consistency: Tensor
    entropy: Tensor | None = None
    divergence: Tensor | None = None

    def total(self, settings: DistillSettings, step: int) -> Tensor:
        """L = L_r + λ_e L_e + λ_c L_c (Eq. 7); λ_e is halved and λ_c is 0 in the first half of training.

        Args:
            settings: Settings; λ_e and λ_c are those of the second half.
            step: Number of this step.
        """
        late = 2 * step >= settings.steps
        own = 0.0
        if self.entropy is not None:
            own = settings.entropy_weight * (1.0 if late else 0.5) * self.entropy
        if self.divergence is not None:
            own = self.divergence
        return self.distillation + own + settings.consistency_weight * late * self.consistency


@dataclass(frozen=True, eq=False)
class Weighed:
    """Decoded pixels, and what their levels weigh.

    Attributes:
        decoded: Unit embeddings in the decoder's coordinates. [P, r]
        omega: Granularity weights, 0 for levels without a mask. [P, 3]
        entropy: As in `Terms`. []
        divergence: As in `Terms`. []
        logits: Granularity logits, where they are learnt. [P, 3]
    """

    decoded: Tensor
    omega: Tensor
    entropy: Tensor | None = None
    divergence: Tensor | None = None
    logits: Tensor | None = None


def weigh_levels(
    decoder: Decoder,
    rendered: Tensor,
    valid: Tensor,
    masks: Tensor,
    targets: Targets,
    settings: DistillSettings,
    density: Tensor | None = None,
) -> Weighed:
    """Decode rendered features, and weigh the three levels at each pixel.

    Weights are fixed by the logits of the masks, or learnt: by distance, which is Eq. 3 and the entropy of
    Eq. 4, or by repeatability, so that Eq. 3 teaches the features alone.

    Args:
        decoder: The decoder.
        rendered: Features of the pixels. [P, d]
        valid: Whether a mask of the level covers the pixel. bool [P, 3]
        masks: Which mask does, anything where none does. int64 [P, 3]
        targets: What the masks say.
        settings: Settings.
        density: How many samples were drawn per px at each pixel, so that the mean of Eq. 4 is that over the
            photos; None if all were drawn alike. [P]
    """
    if targets.logits is not None:
        fixed = targets.logits[masks]
        omega = losses.granularity_weights(fixed, valid & fixed.isfinite())
        return Weighed(decoder.coordinates(rendered), omega)
    decoded, logits = decoder.decode(rendered, detach_granularity=settings.detach_granularity)
    omega = losses.granularity_weights(logits, valid)
    if targets.repeatability_logits is None:
        mean = losses.mean_entropy(omega, density) * Units.of(settings, decoder).entropy
        return Weighed(decoded, omega, entropy=mean, logits=logits)
    wanted = losses.granularity_weights(targets.repeatability_logits[masks], valid)
    divergence = losses.divergence(omega, wanted).mean()
    return Weighed(decoded, omega.detach(), divergence=divergence, logits=logits)


def pixel_losses(
    decoder: Decoder, weighed: Weighed, masks: Tensor, targets: Targets, settings: DistillSettings
) -> Tensor:
    """Eq. 3 of every pixel, in the units of the settings.

    Args:
        decoder: The decoder.
        weighed: The pixels.
        masks: Masks that cover them, anything where ω is 0. int64 [P, 3]
        targets: What the masks say.
        settings: Settings.

    Returns:
        [P]
    """
    unit = Units.of(settings, decoder).distance
    decoded, omega = weighed.decoded, weighed.omega
    if not omega.requires_grad:  # `lite`: its coordinates are short, its fields stay the same to the digit
        measure = losses.weighted_distillation if settings.loss == "weighted" else losses.mixture_distillation
        return measure(decoded, targets.coordinates[masks].to(decoded), omega) * unit
    mixture = losses.blended_targets(targets.coordinates.to(decoded), masks, omega)
    if settings.loss == "mixture":
        return (decoded - mixture).abs().sum(dim=-1) * unit
    return losses.weighted_by_products(decoded, mixture, targets.squared[masks].to(decoded), omega) * unit
