"""The stages in order, each one skipped when its settings and inputs have not changed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gags.capture import Camera, Capture, View, load_capture
from gags.capture.load import has_poses
from gags.capture.photos import photos_in
from gags.distill.field import LanguageField
from gags.distill.train import DistillSettings, train_field
from gags.embed import load_encoder
from gags.embed.crops import embed_masks
from gags.embed.description import Description
from gags.errors import CaptureError, WorkspaceError
from gags.gaussians.ply import load_ply, save_ply
from gags.models.choose import choose_encoder, choose_segmenter
from gags.models.device import scene_device
from gags.models.own import AUTO
from gags.poses import find_points, find_poses
from gags.poses.inputs import is_video
from gags.progress import SILENT, Reporter
from gags.reconstruct.adopt import adopt
from gags.reconstruct.quality import held_out_quality
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.train import train_gaussians
from gags.scene import Scene
from gags.segment import load_segmenter
from gags.segment.base import LEVELS
from gags.segment.masks import segment_photo
from gags.segment.placing import PromptPlacer
from gags.segment.settings import DescribeSettings
from gags.workspace import Workspace, file_stamp, stamp

ADOPTED = "adopted"  # key of the record that tells adopted Gaussians from trained ones


@dataclass(frozen=True)
class CaptureSettings:
    """How photos are read."""

    downscale: float = 1.0
    """Shrink the photos by this factor."""
    max_size: int | None = None
    """Shrink photos whose longer side is above this, px."""
    test_list: Path | None = None
    """File that names the photos to hold out, one a line."""
    test_every: int | None = None
    """Hold out every Nth photo, 0 for none. Default: the capture's own test.txt, else every 8th."""


@dataclass(frozen=True)
class RunSettings:
    """Settings of every stage after reading the photos."""

    reconstruct: ReconstructSettings = field(default_factory=ReconstructSettings)
    """Training of the Gaussians."""
    describe: DescribeSettings = field(default_factory=DescribeSettings)
    """Prompts and masks."""
    distill: DistillSettings = field(default_factory=DistillSettings)
    """Distillation of the language field."""
    segmenter: str = AUTO
    """Model that cuts photos into masks: a name of `gags models`, a SAM, SAM-HQ or SAM 2 by hub id or folder,
    or auto (SAM ViT-H on an NVIDIA GPU, else mobile-sam)."""
    encoder: str = AUTO
    """Model that embeds masks and texts: a name of `gags models`, a CLIP or SigLIP by hub id or folder, or
    auto (the paper's CLIP if it is to be had, else lite)."""


def read_capture(
    path: Path,
    settings: CaptureSettings = CaptureSettings(),
    *,
    require_points: bool = True,
    find_poses_in: Path | None = None,
    progress: Reporter = SILENT,
) -> Capture:
    """Read photos, poses and points of a folder as the settings say; see `load_capture`.

    Photos without poses, or a video, get theirs in the scene's folder `find_poses_in`, if it is given; so do
    poses without the points that are required.
    """
    if find_poses_in is not None:
        path = with_poses(path, find_poses_in, adopting=not require_points, progress=progress)
    required = require_points and find_poses_in is None
    capture = load_capture(path, **vars(settings), require_points=required, progress=progress)
    if find_poses_in is None or not require_points or len(capture.points):
        return capture
    found = Workspace.create(find_poses_in).poses
    progress.say(f"{path} has poses, but no points: finding some first; they are kept in {found}")
    return load_capture(find_points(path, found, progress=progress), **vars(settings), progress=progress)


def with_poses(path: Path, scene: Path, *, adopting: bool = False, progress: Reporter = SILENT) -> Path:
    """A capture with poses: `path` itself, or what is found from photos alone, kept in a scene's folder."""
    path = path.expanduser()
    bare = is_video(path) or (path.is_dir() and not has_poses(path) and bool(photos_in(path, deep=True)))
    if not bare:
        return path
    if adopting:
        raise CaptureError(
            f"{path} holds no poses, and Gaussians that exist need those they were trained with; give the "
            "capture they come from, or leave --splats out"
        )
    found = Workspace.create(scene).poses
    progress.say(f"{path} holds no poses: finding them first; they are kept in {found}")
    return find_poses(path, found, progress=progress)


def run(
    capture: Capture | Path | str,
    out: Path | str,
    settings: RunSettings = RunSettings(),
    *,
    splats: Path | None = None,
    progress: Reporter = SILENT,
) -> Scene:
    """Photos with poses → a scene that answers text; goes on where an earlier run of the same folder stopped.

    Args:
        capture: Photos, poses and points, or the folder they are in; poses are found if it has none.
        out: Folder of the scene.
        settings: Settings of every stage.
        splats: 3DGS `.ply` to adopt instead of training Gaussians.
        progress: Told about progress.

    Returns:
        The scene, ready to be asked.

    Raises:
        GagsError: If an input is unfit or a model is missing; finished pieces stay.
    """
    if not isinstance(capture, Capture):
        need = splats is None
        capture = read_capture(Path(capture), require_points=need, find_poses_in=Path(out), progress=progress)
    workspace = Workspace.create(out)
    # Before the long work, so that a model that is not to be had is told at once.
    segmenter, encoder = choose_models(workspace, settings.segmenter, settings.encoder, progress=progress)
    reconstruct(capture, workspace, settings.reconstruct, splats=splats, progress=progress)
    describe(workspace, settings.describe, segmenter, encoder, progress=progress)
    distill_scene(workspace, settings.distill, progress=progress)
    return Scene.load(workspace.root)


def reconstruct(
    capture: Capture,
    workspace: Workspace,
    settings: ReconstructSettings = ReconstructSettings(),
    *,
    splats: Path | None = None,
    progress: Reporter = SILENT,
) -> None:
    """Stage 1: Gaussians, trained from the photos or adopted from a file (`splats.ply`).

    A scene whose Gaussians were adopted keeps them when it is run again without naming a file.
    """
    record = workspace.record("splats")
    kept = record is not None and workspace.splats.exists()
    adopted = {ADOPTED: str(splats)} if splats else None
    if splats is not None:
        goal = stamp(ADOPTED, capture.fingerprint(), file_stamp_of(splats))
    else:
        goal = stamp("fit", capture.fingerprint(), settings)
        if record is not None and kept and ADOPTED in record.settings:
            progress.say(f"Gaussians: keeping the ones adopted from {record.settings[ADOPTED]}")
            capture.save(workspace.capture)
            return
    if record is not None and kept and record.stamp == goal:
        progress.say(f"Gaussians: done already, {workspace.splats}")
        return
    if kept:
        progress.say("Gaussians: photos or settings have changed, making them again")
    started, device = time.monotonic(), scene_device(progress)
    if splats is not None:
        gaussians = adopt(splats, capture, device=device, progress=progress)
    else:
        gaussians = train_gaussians(
            capture, settings, checkpoint=workspace.checkpoint, device=device, progress=progress
        )
    capture.save(workspace.capture)
    save_ply(gaussians, workspace.splats)
    workspace.finish("splats", goal, time.monotonic() - started, adopted or settings)
    workspace.checkpoint.unlink(missing_ok=True)
    workspace.update_metrics(
        {"gaussians": len(gaussians), **held_out_quality(gaussians, capture, progress=progress)}
    )


def file_stamp_of(splats: Path) -> str:
    """Stamp of a file the user named."""
    try:
        return file_stamp(splats)
    except OSError as error:
        raise WorkspaceError(f"{splats} cannot be read ({error.strerror}); check --splats") from error


def choose_models(
    workspace: Workspace, segmenter: str = AUTO, encoder: str = AUTO, *, progress: Reporter = SILENT
) -> tuple[str, str]:
    """Names of the segmenter and the encoder that a scene takes; weights are fetched if need be."""
    record = workspace.record("describe")
    before = record.settings if record else {}
    return (
        choose_segmenter(segmenter, before=before.get("segmenter"), progress=progress),
        choose_encoder(encoder, before=before.get("encoder"), progress=progress),
    )


def describe(
    workspace: Workspace,
    settings: DescribeSettings = DescribeSettings(),
    segmenter: str = AUTO,
    encoder: str = AUTO,
    *,
    progress: Reporter = SILENT,
) -> None:
    """Stage 2: masks on three levels and an embedding a mask for every training photo (`features/`).

    Photos that are done with the same settings are skipped; where only the encoder changed, masks are kept.
    """
    capture, splats_stamp = _reconstructed(workspace)
    segmenter, encoder = choose_models(workspace, segmenter, encoder, progress=progress)
    mask_stamp = stamp("masks", splats_stamp, settings, segmenter)
    embedder = load_encoder(encoder, progress)
    goal = stamp(mask_stamp, embedder.name, embedder.dim)
    stamps = {"masks": mask_stamp, "embeddings": goal}
    files = Descriptions(workspace, capture.train)
    known = files.stamps()
    waiting = [view for view in capture.train if known[view.name] != stamps]
    record = workspace.record("describe")
    if not waiting and record is not None and record.stamp == goal:
        progress.say(f"Masks and embeddings: done already for {len(capture.train)} photos")
        return
    started = time.monotonic()
    rows = {view.name: row for row, view in enumerate(capture.train)}
    chosen = placer = None
    if any(known[view.name].get("masks") != mask_stamp for view in waiting):
        cameras = [view.camera for view in capture.train]
        placer = PromptPlacer(
            load_ply(workspace.splats).to(scene_device()), cameras, settings, progress=progress
        )
        chosen = load_segmenter(segmenter)
    with progress.stage("Segmenting and embedding", len(capture.train), "photos") as bar:
        bar.advance(len(capture.train) - len(waiting))
        for view in waiting:
            image = view.image()
            if chosen and placer and known[view.name].get("masks") != mask_stamp:
                points = placer.place(rows[view.name], view.name)
                masks = segment_photo(image, points, chosen, settings)
            else:  # only the encoder changed
                kept = Description.load(files.path(view))
                masks, points = kept.masks, kept.prompts
            embeddings = embed_masks(image, masks, embedder).astype(np.float16)
            features = Description(masks, embeddings, embedder.name, stamps, points)
            features.save(files.path(view))
            bar.advance(note=f"{len(masks)} masks in {view.name}")
    workspace.update_metrics({"masks": count_masks(workspace, capture)})
    as_run = {"segment": settings, "segmenter": segmenter, "encoder": encoder, "splats": splats_stamp}
    workspace.finish("describe", goal, time.monotonic() - started, as_run)


def distill_scene(
    workspace: Workspace,
    settings: DistillSettings = DistillSettings(),
    *,
    progress: Reporter = SILENT,
) -> None:
    """Stage 3: one language field from all masks and embeddings (`field.safetensors`)."""
    capture, splats_stamp = _reconstructed(workspace)
    described = workspace.record("describe")
    if described is None or described.settings.get("splats") != splats_stamp:
        state = "no masks yet" if described is None else "masks that were made with other Gaussians"
        raise WorkspaceError(f"{workspace.root} has {state}; run `gags describe {workspace.root}` first")
    goal = stamp("field", described.stamp, settings)
    record = workspace.record("field")
    if record is not None and record.stamp == goal and workspace.field.exists():
        progress.say(f"Language field: done already, {workspace.field}")
        return
    started = time.monotonic()
    checkpoint = workspace.root / "field_checkpoint.safetensors"
    items = Descriptions(workspace, capture.train)
    gaussians = load_ply(workspace.splats).to(scene_device())
    learnt: LanguageField = train_field(gaussians, items, settings, checkpoint=checkpoint, progress=progress)
    learnt.save(workspace.field)
    workspace.finish("field", goal, time.monotonic() - started, settings)
    checkpoint.unlink(missing_ok=True)


class Descriptions(Sequence[tuple[Camera, Description]]):
    """Cameras and features of photos, read from disk when asked for: memory does not grow with them.

    Args:
        where: The scene, or what names the file of a photo's features.
        views: The photos.
    """

    def __init__(self, where: Workspace | Callable[[str], Path], views: Sequence[View]) -> None:
        self._find = where.description if isinstance(where, Workspace) else where
        self._views = views

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[Camera, Description]:  # type: ignore[override]
        view = self._views[index]
        return view.camera, Description.load(self.path(view))

    def path(self, view: View) -> Path:
        """File of a photo's features, there or not."""
        return self._find(view.name)

    def stamps(self) -> dict[str, dict[str, str]]:
        """Stamps of every photo's features by its name; empty if there are none or they are damaged."""
        return {view.name: self._stamps(view) for view in self._views}

    def _stamps(self, view: View) -> dict[str, str]:
        try:
            return Description.stamps_of(self.path(view))
        except WorkspaceError:
            return {}


def count_masks(workspace: Workspace, capture: Capture) -> dict[str, int]:
    """How many masks all photos have on each level."""
    counts = np.zeros(len(LEVELS), int)
    for view in capture.train:
        levels = Description.load(workspace.description(view.name)).masks.levels
        counts += np.bincount(levels, minlength=len(LEVELS))
    return dict(zip(LEVELS, counts.tolist(), strict=True))


def _reconstructed(workspace: Workspace) -> tuple[Capture, str]:
    """Capture and stamp of a scene whose Gaussians are there."""
    record = workspace.record("splats")
    if record is None or not workspace.splats.exists():
        raise WorkspaceError(f"{workspace.root} has no Gaussians yet; run `gags reconstruct` first")
    return Capture.load(workspace.capture), record.stamp
