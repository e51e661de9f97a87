"""Which settings have an effect under which others; one that a chosen mode ignores is refused."""

from collections.abc import Iterable
from dataclasses import dataclass

from gags.distill.settings import DistillSettings
from gags.errors import SettingsError, WorkspaceError
from gags.segment.settings import DescribeSettings


@dataclass(frozen=True)
class Need:
    """What another setting must be, or must not be, for a setting to have an effect.

    Attributes:
        name: The other setting.
        values: Values of it that will do; or, if `none_of`, that will not.
        none_of: See `values`.
    """

    name: str
    values: tuple[object, ...]
    none_of: bool = False

    def met(self, settings: object) -> bool:
        """Whether these settings meet it."""
        return (getattr(settings, self.name) in self.values) != self.none_of

    def wanted(self) -> str:
        """What to set, in words."""
        listed = " or ".join(_word(value) for value in self.values)
        return f"{self.name} to something other than {listed}" if self.none_of else f"{self.name} to {listed}"


def _word(value: object) -> str:
    """A value as the command line takes it."""
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


FLOATS_A_NUMBER = 4  # that is learnt: itself, its gradient, Adam's two moments
Needs = tuple[Need, ...]  # one of them has to be met
ALWAYS: tuple[Needs, ...] = ()
_TRAINED: Needs = (Need("steps", (0,), none_of=True),)
_MIXED: Needs = (Need("schedule", ("mixed",)),)
_PHOTO: Needs = (Need("schedule", ("photo",)),)
_KEPT_PIXELS: Needs = (Need("schedule", ("mixed",)), Need("step_pixels", (0,), none_of=True))
_LEARNT: Needs = (Need("levels", ("learnt",)),)
_CONSISTENT: Needs = (Need("consistency_weight", (0.0,), none_of=True),)
_DRAWN: Needs = (Need("prompts", ("density", "released")),)
_GRID: Needs = (Need("prompts", ("grid", "crops")),)
_CONTAINED: Needs = (Need("drop_contained", (True,)),)

DISTILL_NEEDS: dict[str, tuple[Needs, ...]] = {
    "feature_dim": ALWAYS,
    "decoder": ALWAYS,
    "hidden": ((Need("decoder", ("principal",)),),),
    "start": ALWAYS,
    "schedule": ALWAYS,
    "photo_scale": (_PHOTO,),
    "step_pixels": (_PHOTO, _TRAINED),
    "steps": ALWAYS,
    "batch_regions": (_MIXED, _TRAINED),
    "pixels_per_photo": (_KEPT_PIXELS, _TRAINED),
    "single_share": (_MIXED, _TRAINED),
    "consensus": ALWAYS,
    "levels": ALWAYS,
    "loss": (_TRAINED,),
    "units": (_TRAINED,),
    "counted": (_TRAINED,),
    "region_aware": (_TRAINED,),
    "region_smoothing": (
        _PHOTO,
        _LEARNT,
        _TRAINED,
        (Need("region_aware", (True,)), Need("consistency_weight", (0.0,), none_of=True)),
    ),
    "granularity": (_LEARNT, _TRAINED),
    "sharpness": (_LEARNT, (Need("granularity", ("repeatability",)),), _TRAINED),
    "entropy_weight": (_LEARNT, (Need("granularity", ("distance",)),), _TRAINED),
    "consistency_weight": (_TRAINED,),
    "consistency_by": (_CONSISTENT, _TRAINED),
    "detach_granularity": (_LEARNT, _TRAINED),
    "feature_rate": (_TRAINED,),
    "decoder_rate": (_TRAINED,),
    "rate_decay": (_TRAINED,),
    "top_k": (_KEPT_PIXELS,),
    "seed": ALWAYS,
    "asked": ALWAYS,
}
"""What every setting of distillation needs to have an effect: all of these, of each at least one."""

DESCRIBE_NEEDS: dict[str, tuple[Needs, ...]] = {
    "prompts": ALWAYS,
    "grid_side": (_GRID,),
    "prompts_per_patch": (_DRAWN,),
    "exponent": ((Need("prompts", ("density",)),),),
    "replacement": (_DRAWN,),
    "least_novelty": ALWAYS,
    "min_iou": ALWAYS,
    "min_stability": ALWAYS,
    "stability_offset": ALWAYS,
    "stability_at": ALWAYS,
    "score_first": ALWAYS,
    "box_nms_iou": ALWAYS,
    "second_box_nms": ALWAYS,
    "mask_nms_iou": ALWAYS,
    "min_score": ALWAYS,
    "drop_contained": ALWAYS,
    "contained_share": (_CONTAINED,),
    "container_share": (_CONTAINED,),
    "min_area": ALWAYS,
    "keep_largest": ALWAYS,
    "paint_by": ALWAYS,
    "crop": ALWAYS,
    "crop_filter": ALWAYS,
    "seed": ALWAYS,
}
"""The same for describing."""


def refuse_ignored(given: Iterable[str], settings: DescribeSettings | DistillSettings) -> None:
    """Make sure that every setting a user gave has an effect under the settings as a whole.

    Args:
        given: Names of what the user set.
        settings: The settings that come of it.

    Raises:
        WorkspaceError: If one has none; the message names it, why, and what would give it an effect.
    """
    table = DISTILL_NEEDS if isinstance(settings, DistillSettings) else DESCRIBE_NEEDS
    for name in given:
        for needs in table[name]:
            if any(need.met(settings) for need in needs):
                continue
            now = " and ".join(f"{n.name} {_word(getattr(settings, n.name))}" for n in needs)
            wanted = ", or ".join(need.wanted() for need in needs)
            raise WorkspaceError(f"{name} has no effect with {now}; leave it out, or set {wanted}")


def refuse_unfit(settings: DistillSettings, *, gaussians: int, dim: int, free_bytes: int) -> None:
    """Refuse values that are too large for a scene, as soon as it is known.

    Below the defaults, everything goes: a toy may have fewer Gaussians or numbers than these.

    Args:
        settings: The final settings.
        gaussians: Number of Gaussians.
        dim: Length of the embeddings.
        free_bytes: Memory that the features, their gradients and Adam's two moments may take.

    Raises:
        SettingsError: If there is one.
    """
    limits = {
        "feature_dim": (dim, f"{dim}, the length of an embedding"),
        "top_k": (gaussians, f"{gaussians}, the number of Gaussians"),
    }
    for name, (most, words) in limits.items():
        value = getattr(settings, name)
        if value > max(most, getattr(DistillSettings, name)):
            raise SettingsError(settings.named(name), f"must be at most {words}, got {value}")
    needed = gaussians * settings.feature_dim * FLOATS_A_NUMBER * 4
    if needed > free_bytes:
        raise SettingsError(
            settings.named("feature_dim"),
            f"{settings.feature_dim} takes {needed / 1e9:.1f} GB for {gaussians} Gaussians, and "
            f"{free_bytes / 1e9:.1f} GB are free; set a smaller one",
        )


def refuse_impossible(settings: DistillSettings) -> None:
    """Refuse values that no training can have, before any work.

    Args:
        settings: The final settings.

    Raises:
        SettingsError: If a value is none that this schedule can have.
        WorkspaceError: If values do not go together.
    """
    if settings.start == "zero" and settings.steps < 1:
        raise WorkspaceError(f"features that start at 0 learn nothing in {settings.steps} steps; set steps")
    if settings.schedule == "photo" and settings.region_smoothing and settings.region_smoothing % 2 == 0:
        raise SettingsError(
            settings.named("region_smoothing"), f"must be odd or 0, got {settings.region_smoothing}"
        )
