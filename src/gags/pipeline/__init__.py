"""The stages in order, each one skipped when its settings and inputs have not changed."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from gags.capture import Capture, read_capture_of
from gags.capture.photos import listed
from gags.distill.field import splats_hash
from gags.distill.presets import AUTO_PRESET, Changes, changed_fields
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.embed import load_encoder
from gags.embed.description import Descriptions
from gags.errors import CaptureError, WorkspaceError
from gags.files.ranges import check_value
from gags.gaussians.own import load_splats_of, without_absurd
from gags.gaussians.sog import META
from gags.models.choose import AUTO, choose_encoder, choose_segmenter
from gags.models.device import scene_device
from gags.outputs import report as write_report
from gags.pipeline.describing import (
    SpentTime,
    count_masks,
    describe_photos,
    finish_describe,
    keep_preset,
    plan_describe,
    segmenting,
)
from gags.pipeline.inputs import Captured, Source, capture_of, read_capture
from gags.pipeline.kept import (
    ADOPTED,
    check_names,
    keep_gaussians,
    keeps_field,
    keeps_gaussians,
    settled,
    update_quality,
)
from gags.pipeline.settings import CaptureSettings, RunSettings, check_settings, chosen_settings
from gags.poses.settings import PoseSettings
from gags.progress import SILENT, Reporter, StageClock
from gags.reconstruct.adopt import adopt
from gags.reconstruct.settings import ReconstructSettings
from gags.reconstruct.train import train_gaussians
from gags.scene import Scene
from gags.segment import load_segmenter
from gags.segment.settings import DescribeSettings
from gags.store import file_stamp, plain, raised, stamp
from gags.things.find import things_of_scene
from gags.things.things import Things
from gags.workspace import StageRecord, Workspace

__all__ = [
    "CaptureSettings", "RunSettings", "capture_of", "choose_models", "chosen_settings", "count_masks",
    "describe", "distill", "read_capture", "reconstruct", "reconstructed", "run", "things",
]  # fmt: skip

TRAINED = "fit"  # in the stamps of Gaussians, as ADOPTED is; they stay what they were in 0.1.0


def run(
    capture: Source,
    out: Path | str,
    settings: RunSettings = RunSettings(),
    *,
    photos: CaptureSettings = CaptureSettings(),
    splats: Path | None = None,
    report: bool = True,
    progress: Reporter = SILENT,
) -> Scene:
    """Photos → a scene that answers text; resumes an earlier run of the same folder.

    Args:
        capture: Photos, poses and points, or the folder they are in; poses are found if it has none. A video.
            A list of several captures of one place becomes one scene, see `gags.poses`.
        out: Folder of the scene.
        settings: Settings of every stage.
        photos: How photos are read, if `capture` is a folder.
        splats: A file of Gaussians (see `gags.load_gaussians`) to adopt instead of training them.
        report: Whether the pages of the report are written at the end.
        progress: Told about progress.

    Returns:
        The scene, ready to be asked.

    Raises:
        GagsError: If an input is unfit or a model is missing; finished pieces stay.
    """
    check_settings(settings)
    check_value("photos", photos, CaptureSettings)
    captured = capture_of(capture, photos, settings.poses, require_points=splats is None, progress=progress)
    workspace = Workspace.create(out)
    with workspace.lock():
        return _run(captured, workspace, settings, splats, report=report, progress=progress)


def _run(
    captured: Captured,
    workspace: Workspace,
    settings: RunSettings,
    splats: Path | None,
    *,
    report: bool,
    progress: Reporter,
) -> Scene:
    capture = captured.completed(workspace, progress)
    # Before the long work, so that a missing model is told at once.
    segmenter, encoder = choose_models(workspace, settings.segmenter, settings.encoder, progress=progress)
    models = {"segmenter": segmenter, "encoder": encoder}
    chosen = chosen_settings(workspace, settings, **models, progress=progress)
    reconstruct(capture, workspace, settings.reconstruct, splats=splats, progress=progress)
    describe(workspace, chosen.describe, preset=chosen.preset, **models, progress=progress)
    distill(workspace, chosen.distill, preset=chosen.preset, progress=progress)
    things(workspace, progress=progress)
    scene = Scene.load(workspace.root, progress=progress)
    if report:
        write_report(scene, progress=progress)
    return scene


def reconstruct(
    capture: Source,
    out: Workspace | Path | str,
    settings: ReconstructSettings = ReconstructSettings(),
    *,
    photos: CaptureSettings = CaptureSettings(),
    poses: PoseSettings = PoseSettings(),
    splats: Path | None = None,
    progress: Reporter = SILENT,
) -> Workspace:
    """The stage `reconstruct`: Gaussians, trained from the photos or adopted from a file (`splats.ply`).

    A scene whose Gaussians were adopted keeps them when it is run again without naming a file.

    Args:
        capture: Photos, poses and points, or the folder they are in; poses are found if it has none. A video.
            A list of several captures of one place becomes one scene, see `gags.poses`.
        out: Folder of the scene; made if it is not there.
        settings: Training of the Gaussians.
        photos: How photos are read, if `capture` is a folder.
        poses: How poses and points are found that a capture lacks.
        splats: A file of Gaussians (see `gags.load_gaussians`) to adopt instead of training them.
        progress: Told about progress.

    Returns:
        The folder of the scene, for the next stage.

    Raises:
        GagsError: If an input is unfit; an unfinished training is kept, and resumes at the next call.
    """
    check_value("settings", settings, ReconstructSettings)
    check_value("photos", photos, CaptureSettings)
    check_value("poses", poses, PoseSettings)
    captured = capture_of(capture, photos, poses, require_points=splats is None, progress=progress)
    workspace = Workspace.create(out.root if isinstance(out, Workspace) else out)
    with workspace.lock():
        capture = settled(workspace, captured.completed(workspace, progress))
        check_names(workspace, capture)
        if splats is not None:
            wanted = stamp(ADOPTED, capture.fingerprint(), _stamp_of_splats(splats))
        else:
            wanted = stamp(TRAINED, capture.fingerprint(), settings)
        if keeps_gaussians(workspace, capture, wanted, splats, progress):
            return workspace
        clock, device = StageClock(progress), scene_device(progress)
        checkpoint = workspace.reconstruct_checkpoint
        if splats is not None:
            gaussians = adopt(splats, capture, device=device, progress=clock)
            gaussians = without_absurd(gaussians, splats, progress)
        else:
            gaussians = train_gaussians(
                capture, settings, checkpoint=checkpoint, device=device, progress=clock
            )
        keep_gaussians(
            workspace, capture, gaussians, wanted, clock, {ADOPTED: str(splats)} if splats else settings
        )
        checkpoint.unlink(missing_ok=True)
        update_quality(workspace, gaussians, capture, progress)
    return workspace


def _stamp_of_splats(splats: Path) -> str:
    """Stamp of a file the user named."""
    try:
        if splats.is_dir() or splats.name.lower() == META:  # a SOG that is no archive: several files
            folder = splats if splats.is_dir() else splats.parent
            return stamp(*(file_stamp(file) for file in sorted(folder.iterdir()) if file.is_file()))
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
    scene: Workspace | Path | str,
    settings: DescribeSettings | Changes | None = None,
    *,
    preset: str = AUTO_PRESET,
    segmenter: str = AUTO,
    encoder: str = AUTO,
    progress: Reporter = SILENT,
) -> Workspace:
    """The stage `describe`: masks on three levels and an embedding a mask for every training photo.

    Photos that are done with the same settings are skipped; where only the encoder changed, masks are kept.

    Args:
        scene: Folder of a scene whose Gaussians are there.
        settings: Prompts and masks: settings that stand for themselves, changes to those of the preset by
            name, or None for the preset's.
        preset: lite, paper, released, or auto, see `RunSettings`.
        segmenter: Model that cuts photos into masks: a name of `gags models`, a hub id, a folder, or auto.
        encoder: Model that embeds masks and texts: likewise.
        progress: Told about progress.

    Returns:
        The folder of the scene, for the next stage.

    Raises:
        GagsError: If there are no Gaussians yet or a model is missing; finished photos stay.
    """
    workspace = _opened(scene)
    with workspace.lock():
        _describe(workspace, settings, preset, segmenter, encoder, progress)
    return workspace


def _describe(
    workspace: Workspace,
    settings: DescribeSettings | Changes | None,
    preset: str,
    segmenter: str,
    encoder: str,
    progress: Reporter,
) -> None:
    capture, splats_stamp = reconstructed(workspace)
    check_settings(RunSettings(describe=settings, preset=preset))
    segmenter, encoder = choose_models(workspace, segmenter, encoder, progress=progress)
    chosen = chosen_settings(
        workspace,
        RunSettings(describe=settings, preset=preset),
        segmenter=segmenter,
        encoder=encoder,
        progress=progress,
    )
    embedder = load_encoder(encoder, progress)
    plan = plan_describe(
        workspace,
        capture,
        chosen,
        splats=splats_stamp,
        segmenter=segmenter,
        encoder=encoder,
        embeddings=(embedder.name, embedder.dim),
        progress=progress,
    )
    spent = SpentTime(workspace, plan)
    if plan.is_done(workspace):
        spent.forget()
        progress.say(f"Masks and embeddings: done already for {len(capture.train)} photos")
        keep_preset(workspace, "describe", chosen.describe, chosen.preset, progress)
        return
    clock, segment = StageClock(progress), None
    if plan.unsegmented:
        model = load_segmenter(segmenter, progress)
        segment = segmenting(workspace, capture, plan.settings, model, progress=progress)
    waiting = [capture[name] for name in plan.waiting]
    with clock.stage("Segmenting and embedding", len(capture.train), "photos") as bar:
        spent.begin(bar, len(capture.train) - len(waiting))
        for view, masks in describe_photos(workspace, waiting, plan, embedder, segment):
            spent.save()
            bar.advance(note=f"{masks} masks in {view.name}")
    finish_describe(workspace, capture, plan, clock.elapsed)
    spent.forget()


def distill(
    scene: Workspace | Path | str,
    settings: DistillSettings | Changes | None = None,
    *,
    preset: str = AUTO_PRESET,
    progress: Reporter = SILENT,
) -> Workspace:
    """The stage `distill`: one language field from all masks and embeddings (`field.safetensors`).

    Args:
        scene: Folder of a scene that has been described.
        settings: Settings that stand for themselves, changes to those of the preset by name, or None for the
            preset's.
        preset: lite, paper, released, or auto, the one that the scene was described with.
        progress: Told about progress.

    Returns:
        The folder of the scene, for the next stage.

    Raises:
        WorkspaceError: If masks are missing or belong to other Gaussians; an unfinished training is kept.
    """
    workspace = _opened(scene)
    with workspace.lock():
        _distill(workspace, settings, preset, progress)
    return workspace


def _distill(
    workspace: Workspace, settings: DistillSettings | Changes | None, preset: str, progress: Reporter
) -> None:
    capture, splats_stamp = reconstructed(workspace)
    described = workspace.record("describe")
    if described is None or described.settings.get("splats") != splats_stamp:
        state = "no masks yet" if described is None else "masks that were made with other Gaussians"
        raise WorkspaceError(f"{workspace.root} has {state}; run `gags describe {workspace.root}` first")
    chosen = chosen_settings(
        workspace,
        RunSettings(distill=settings, preset=preset),
        segmenter=_recorded(workspace, described, "segmenter"),
        encoder=_recorded(workspace, described, "encoder"),
    )
    settings = chosen.distill
    items = Descriptions(workspace, capture.train)
    items.check(described.stamp)
    rules = raised("lessons", settings.lessons)
    wanted_stamp, content = stamp("field", described.stamp, settings, *rules), items.content()
    gaussians = load_splats_of(workspace)
    if keeps_field(workspace, gaussians, wanted_stamp, content, progress):
        progress.say(f"Language field: done already, {workspace.field}")
        keep_preset(workspace, "distill", settings, chosen.preset, progress)
        return
    clock, checkpoint = StageClock(progress), workspace.distill_checkpoint
    gaussians = gaussians.to(scene_device(progress))
    field = train_field(gaussians, items, settings, checkpoint=checkpoint, progress=clock)
    field.save(workspace.field)
    as_run = {"preset": chosen.preset, "changed": changed_fields(settings, chosen.preset)}
    checksums = {workspace.descriptions.name: content} if content else None
    workspace.finish("distill", wanted_stamp, clock.elapsed, as_run | plain(settings), checksums=checksums)
    checkpoint.unlink(missing_ok=True)


def things(scene: Workspace | Path | str, *, progress: Reporter = SILENT) -> Things:
    """The stage `things`: which Gaussians are one thing, and which things are parts of others.

    Args:
        scene: Folder of a scene that has been described.
        progress: Told about progress.

    Returns:
        The things, which are kept in `things.safetensors`.

    Raises:
        WorkspaceError: If there are no Gaussians or no masks yet.
    """
    workspace = _opened(scene)
    with workspace.lock():
        capture, _ = reconstructed(workspace)
        described = workspace.record("describe")
        if described is None:
            raise WorkspaceError(
                f"{workspace.root} has no masks yet; run `gags describe {workspace.root}` first"
            )
        Descriptions(workspace, capture.train).check(described.stamp)
        gaussians = load_splats_of(workspace).to(scene_device(progress))
        started, record = time.monotonic(), workspace.record("things")
        found, key = things_of_scene(workspace, capture, gaussians, splats_hash(gaussians), progress=progress)
        if record is None or record.stamp != key:
            workspace.finish("things", key, time.monotonic() - started)
    return found


def _opened(scene: Workspace | Path | str) -> Workspace:
    return scene if isinstance(scene, Workspace) else Workspace.open(scene)


def reconstructed(workspace: Workspace, photos: Sequence[str] | None = None) -> tuple[Capture, str]:
    """Capture, and stamp of the Gaussians of a scene that has these.

    Args:
        workspace: The scene.
        photos: Those that must be the ones that the scene was made of, by name; all by default.

    Raises:
        WorkspaceError: If there are none.
        CaptureError: If the capture cannot be read, or photos are others now than those of the scene.
    """
    record = workspace.record("reconstruct")
    if record is None or not os.path.lexists(workspace.splats):
        raise WorkspaceError(f"{workspace.root} has no Gaussians yet; run `gags reconstruct` first")
    capture = read_capture_of(workspace)
    changed = capture.changed_photos(names=photos)
    if changed:
        raise CaptureError(
            f"{len(changed)} of {len(capture)} photos in {capture.root} have changed since the scene was "
            f"made of them ({listed(changed)}); put the former ones back, or run `gags run` with the capture "
            "again"
        )
    return capture, record.stamp


def _recorded(workspace: Workspace, record: StageRecord, name: str) -> str:
    """A setting that a stage ran with."""
    value = record.settings.get(name)
    if not isinstance(value, str):
        raise WorkspaceError(
            f"{workspace.config} does not say which {name} the masks were made with; "
            f"run `gags describe {workspace.root}` again"
        )
    return value
