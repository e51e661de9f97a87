"""The scenes that methods learn from: one set of Gaussians, one set of masks for each way of prompting."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gags import pipeline
from gags.capture import Capture, read_capture_of
from gags.compare.methods.learner import Prompts
from gags.distill.presets import AUTO_PRESET, PRESETS
from gags.embed.description import Descriptions
from gags.errors import CompareError, WorkspaceError
from gags.files import atomic_write
from gags.pipeline import RunSettings
from gags.progress import SILENT, Reporter
from gags.segment.prompts import PATCHES
from gags.segment.settings import DescribeSettings
from gags.workspace import StageRecord, Workspace


@dataclass(frozen=True, eq=False)
class Described:
    """A scene that has Gaussians, masks and embeddings.

    Attributes:
        workspace: Its folder.
        capture: Photos and poses.
        splats: Record of how the Gaussians were made.
        masks: Record of how masks and embeddings were made.
    """

    workspace: Workspace
    capture: Capture
    splats: StageRecord
    masks: StageRecord

    @classmethod
    def open(cls, root: Path) -> "Described":
        """Take up a scene that `gags run` or `gags describe` made.

        Raises:
            WorkspaceError: If it has no Gaussians, no masks, or masks that were made with other Gaussians.
        """
        workspace = Workspace.open(root)
        splats, masks = workspace.record("reconstruct"), workspace.record("describe")
        if splats is None or not workspace.splats.exists():
            raise WorkspaceError(f"{root} has no Gaussians yet; run `gags run` first")
        if masks is None or masks.settings.get("splats") != splats.stamp:
            raise WorkspaceError(
                f"{root} has no masks of its Gaussians yet; run `gags describe {root}` first"
            )
        return cls(workspace, read_capture_of(workspace), splats, masks)

    @property
    def encoder(self) -> str:
        """Name of the encoder that embedded the masks."""
        return str(self.masks.settings["encoder"])

    @property
    def segmenter(self) -> str:
        """Name of the model that cut the masks."""
        return str(self.masks.settings["segmenter"])

    @property
    def preset(self) -> str:
        """Name of the preset of its settings; "auto" if this version does not know it."""
        name = self.masks.settings.get("preset")
        return name if name in PRESETS else AUTO_PRESET

    def segment_settings(self) -> DescribeSettings:
        """Settings the masks were made with."""
        try:
            return DescribeSettings(**self.masks.settings["segment"])
        except (KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{self.workspace.config} has settings of masks that this version does not know ({error}); "
                f"run `gags describe {self.workspace.root}` again"
            ) from error

    def descriptions(self) -> Descriptions:
        """Camera, masks and embeddings of every photo to learn from, read when asked for."""
        return Descriptions(self.workspace, self.capture.train)

    def prompts(self) -> int:
        """How many prompts all photos were given."""
        return sum(len(description.prompts) for _, description in self.descriptions())

    def figures(self) -> dict[str, Any]:
        """What a table says of the scene: prompts, masks, seconds of its stages."""
        return {
            "prompts": self.prompts(),
            "masks": pipeline.count_masks(self.workspace, self.capture),
            "seconds": {"gaussians": self.splats.seconds, "masks": self.masks.seconds},
        }


def shared_scene(
    capture: Capture,
    folder: Path,
    settings: RunSettings = RunSettings(),
    *,
    splats: Path | None = None,
    progress: Reporter = SILENT,
) -> Described:
    """Gaussians, masks and embeddings of a capture; what is done already is kept (`gags.pipeline`)."""
    workspace = Workspace.create(folder)
    # Before the long work, so that a missing model is told at once.
    segmenter, encoder = pipeline.choose_models(
        workspace, settings.segmenter, settings.encoder, progress=progress
    )
    models = {"segmenter": segmenter, "encoder": encoder}
    chosen = pipeline.chosen_settings(workspace, settings, **models, progress=progress)
    pipeline.reconstruct(capture, workspace, settings.reconstruct, splats=splats, progress=progress)
    pipeline.describe(workspace, chosen.describe, preset=chosen.preset, **models, progress=progress)
    return Described.open(folder)


def prompted_scene(
    scene: Described,
    prompts: Prompts,
    folder: Path,
    *,
    own: DescribeSettings | None = None,
    progress: Reporter = SILENT,
) -> Described:
    """The same Gaussians with masks of other prompts.

    Args:
        scene: The scene with granularity-aware prompts.
        prompts: How the photos are prompted: "uniform", as many prompts in total as `scene` has, spread
            evenly; "crops", LangSplat's own prompts and rules for masks; or a preset's prompts and rules.
        folder: Folder of the new scene; what is done already is kept.
        own: For a preset's prompts: its settings with the user's changes, instead of its own.
        progress: Told about progress.

    Returns:
        The new scene; `scene` itself if nothing else is asked for than it has.

    Raises:
        CompareError: If `scene` was made with uniform prompts itself, so that there is nothing to compare.
    """
    described = scene.segment_settings()
    if prompts == "granularity-aware":
        return scene
    if prompts in PRESETS:
        wanted = replace(own or PRESETS[prompts].describe, seed=described.seed)
    elif prompts == "crops":
        wanted = crops_settings(described)
    elif described.exponent == 0 or described.prompts in ("grid", "crops"):
        raise CompareError(
            f"{scene.workspace.root} was itself made with uniform prompts; "
            "describe it with granularity-aware ones to compare the two"
        )
    else:
        wanted = uniform_settings(described, scene.prompts(), len(scene.capture.train))
    if wanted == described:
        return scene
    workspace = take_gaussians(scene.workspace.root, folder)
    pipeline.describe(
        workspace,
        wanted,
        preset=prompts if prompts in PRESETS else scene.preset,
        segmenter=scene.segmenter,
        encoder=scene.encoder,
        progress=progress,
    )
    return Described.open(folder)


def take_gaussians(scene: Path, folder: Path) -> Workspace:
    """Give another scene the photos and Gaussians of one that has them, unless it has these already.

    Args:
        scene: Folder of the scene that has Gaussians.
        folder: Folder of the scene that gets them; made if it is not there.

    Raises:
        WorkspaceError: If the first scene has no Gaussians.
    """
    source, target = Workspace.open(scene), Workspace.create(folder)
    made, record = source.record("reconstruct"), target.record("reconstruct")
    if made is None or not source.splats.exists():
        raise WorkspaceError(f"{scene} has no Gaussians yet; run `gags reconstruct` first")
    if record is None or record.stamp != made.stamp or not target.splats.exists():
        _copy(source.capture, target.capture)
        _copy(source.splats, target.splats)
        target.finish("reconstruct", made.stamp, made.seconds, made.settings, checksums=made.checksums)
    return target


def uniform_settings(settings: DescribeSettings, prompts: int, photos: int) -> DescribeSettings:
    """Settings that spread as many prompts evenly over all patches of all photos."""
    per_patch = prompts / (max(photos, 1) * PATCHES**2)
    return replace(settings, prompts="density", exponent=0.0, prompts_per_patch=per_patch)


def crops_settings(settings: DescribeSettings) -> DescribeSettings:
    """LangSplat's own prompts and rules for masks; thresholds, which are LangSplat's by default, stay.

    An even grid over the photo and over four zoomed crops, 5,120 prompts in all. Masks are measured and
    suppressed at the size of the photo, contained ones are dropped, and all of a mask is embedded.
    """
    default = DescribeSettings()
    return replace(
        settings,
        prompts="crops",
        grid_side=default.grid_side,
        # Of no effect with a grid:
        prompts_per_patch=default.prompts_per_patch,
        exponent=default.exponent,
        replacement=default.replacement,
        least_novelty=0.0,
        stability_at="photo",
        score_first=False,
        second_box_nms=True,
        keep_largest=True,
        drop_contained=True,
        paint_by="iou",
        crop="whole",
        crop_filter="bilinear",
    )


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
