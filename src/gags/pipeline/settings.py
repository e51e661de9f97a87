"""What a run can be asked for, and which preset it takes; light to import, for the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gags import models
from gags.capture.mask_files import AUTO as AUTO_MASKS
from gags.capture.settings import CameraKind, PanoramaSettings, UndistortSettings
from gags.distill.presets import (
    AUTO_PRESET,
    Changes,
    ChosenSettings,
    changed_settings,
    choose_settings,
    preset_for,
)
from gags.distill.settings import DistillSettings
from gags.files.ranges import Range, Settings, check_value, ranged
from gags.models.choose import AUTO
from gags.models.hub import without_revision
from gags.poses.settings import PoseSettings
from gags.progress import SILENT, Reporter
from gags.reconstruct.settings import ReconstructSettings
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace


@dataclass(frozen=True)
class CaptureSettings(Settings):
    """How photos are read."""

    downscale: float = ranged(1.0, Range(1, 1000))
    """Shrink the photos by this factor."""
    max_size: int | None = ranged(None, Range(1, 65_535))
    """Shrink photos whose longer side is above this, px."""
    test_list: Path | None = None
    """File that names the photos to hold out, one a line."""
    test_every: int | None = ranged(None, Range(0, 1_000_000))
    """Hold out every Nth photo, 0 for none. Default: the capture's own test.txt, else every 8th."""
    images: str | None = None
    """Folder of the photos in a COLMAP or nerfstudio capture, such as images_4 beside cameras of full size.
    Default: images, or the largest of images_2, images_4 … if that is missing."""
    masks: str = AUTO_MASKS
    """What is ignored in photos: what is black in the masks of a folder, or in one mask of all photos; none:
    nothing; auto: by masks/ beside the photos, mask_path of transforms.json, and alpha channels."""
    camera: CameraKind = "auto"
    """equirectangular: the photos, or frames of a video, are 360° panoramas, which are cut into views.
    perspective: they are ordinary photos, also if they look like panoramas; a capture that says otherwise is
    refused. auto: what the capture says of its cameras; of photos without poses, panoramas are refused."""
    panorama: PanoramaSettings = field(default_factory=PanoramaSettings)
    """How panoramas are cut."""
    undistort: UndistortSettings = field(default_factory=UndistortSettings)
    """How much is kept of photos of distorting lenses."""


@dataclass(frozen=True)
class RunSettings(Settings):
    """Settings of every stage after reading the photos."""

    reconstruct: ReconstructSettings = field(default_factory=ReconstructSettings)
    """Training of the Gaussians."""
    describe: DescribeSettings | Changes | None = None
    """Prompts and masks: settings that stand for themselves, changes to those of the preset by name, or None
    for the preset's."""
    distill: DistillSettings | Changes | None = None
    """Distillation of the language field: likewise."""
    segmenter: str = AUTO
    """Model that cuts photos into masks: a name of `gags models`, a SAM, SAM-HQ or SAM 2 by hub id or folder,
    or auto (SAM ViT-H on an NVIDIA GPU, else mobile-sam)."""
    encoder: str = AUTO
    """Model that embeds masks and texts: a name of `gags models`, a CLIP or SigLIP by hub id or folder, or
    auto (the paper's CLIP where it can be loaded, else lite)."""
    preset: str = AUTO_PRESET
    """Settings that belong together: paper (every formula as in the paper), released (what the authors'
    program does), lite (best with the two small models); or auto: those that the scene was made with before,
    else paper for SAM ViT-H with a CLIP or SigLIP, lite for all other models."""
    poses: PoseSettings = field(default_factory=PoseSettings)
    """How poses and points are found where a capture lacks them."""


def check_settings(settings: RunSettings) -> None:
    """Find out what is wrong with settings before anything starts, for whichever preset it will be.

    Raises:
        ModelError: If a model is named that there is not, or one of the other kind.
        SettingsError: If a change is to a value out of its range.
        WorkspaceError: If there is no such preset, or a change names no setting or one without effect.
    """
    check_value("settings", settings, RunSettings)
    if settings.preset != AUTO_PRESET:
        choose_settings(settings.preset, settings.describe, settings.distill)
    else:  # whichever it will be, it takes the same names and values
        changed_settings(DescribeSettings(), settings.describe)
        changed_settings(DistillSettings(), settings.distill)
    if settings.segmenter != AUTO:
        models.find(settings.segmenter, "segmenter")
    if settings.encoder != AUTO:
        models.find(settings.encoder, "encoder")


def given_seed(settings: Settings | Changes | None) -> int | None:
    """The seed that a user asked for with the settings of a stage; None for none, or the default."""
    if isinstance(settings, Mapping):
        return settings.get("seed")
    return getattr(settings, "seed", None) or None


def chosen_settings(
    workspace: Workspace,
    settings: RunSettings,
    *,
    segmenter: str,
    encoder: str,
    progress: Reporter = SILENT,
) -> ChosenSettings:
    """Settings that a scene is described and distilled with: those of a preset, with the user's changes.

    Args:
        workspace: The scene; what it was made with before decides if the preset is "auto".
        settings: What was asked for.
        segmenter: The model that cuts its masks, from `choose_models`.
        encoder: The model that embeds them.
        progress: Told which preset was taken, and why.

    Raises:
        WorkspaceError: If there is no such preset, or a change names no setting or one without effect.
    """
    record = workspace.record("describe")
    before = record.settings.get("preset") if record else None
    name = chosen_preset(settings.preset, before, segmenter=segmenter, encoder=encoder, progress=progress)
    return choose_settings(name, settings.describe, settings.distill)


def chosen_preset(
    name: str, before: str | None, *, segmenter: str, encoder: str, progress: Reporter = SILENT
) -> str:
    """Name of the preset that is meant by one that may be "auto".

    Args:
        name: What was asked for.
        before: What was taken before, if anything was; it decides if the preset is "auto".
        segmenter: The model that cuts masks, from `choose_models`.
        encoder: The model that embeds them.
        progress: Told what "auto" stands for, and why.
    """
    if name != AUTO_PRESET:
        return name
    name = before or preset_for(segmenter, encoder)
    models_of = f"for {without_revision(segmenter)} and {without_revision(encoder)}"
    progress.say(f"Preset: {name}, {'as before' if before else models_of} (--preset chooses another)")
    return name
