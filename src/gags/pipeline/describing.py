"""The stage `describe` in pieces: what there is to do, the photos one by one, and its record at the end.

`gags.pipeline.describe` puts them together in one process; on a cluster the photos go to many.
"""

import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

import numpy as np

from gags.capture import Capture, View
from gags.capture.photos import listed
from gags.distill.presets import ChosenSettings, changed_fields
from gags.distill.settings import DistillSettings
from gags.embed.crops import embed_masks
from gags.embed.description import Description, Descriptions
from gags.embed.encoder import Encoder
from gags.files import read_table, write_json
from gags.gaussians.own import load_splats_of
from gags.models.device import scene_device
from gags.progress import SILENT, Bar, Reporter
from gags.segment.masks import LEVELS, Masks
from gags.segment.photo import is_kept, segment_photo
from gags.segment.prompts import PromptPlacer
from gags.segment.segmenter import Segmenter
from gags.segment.settings import DescribeSettings
from gags.store import stamp
from gags.threads import ahead
from gags.workspace import Workspace

Segment = Callable[[View, np.ndarray], tuple[Masks, np.ndarray]]
"""From a photo of the capture, and its pixels, to its masks and the prompts that were asked."""


@dataclass(frozen=True)
class DescribePlan:
    """What the stage `describe` is to do in a scene.

    Attributes:
        chosen: Preset and settings.
        segmenter: Model that cuts photos into masks, as `gags.models.canonical` names it.
        encoder: Model that embeds masks: likewise.
        splats: Stamp of the Gaussians.
        stamps: What the description of every photo must hold under `stamps`.
        waiting: Names of the photos that have no description of these stamps yet.
        unsegmented: Those of them that need new masks, too.
    """

    chosen: ChosenSettings
    segmenter: str
    encoder: str
    splats: str
    stamps: dict[str, str]
    waiting: tuple[str, ...]
    unsegmented: frozenset[str]

    @property
    def settings(self) -> DescribeSettings:
        """Prompts and masks."""
        return self.chosen.describe

    @property
    def stamp(self) -> str:
        """Stamp of the finished stage."""
        return self.stamps["embeddings"]

    def is_done(self, workspace: Workspace) -> bool:
        """Whether the scene's record says that all of it is finished."""
        record = workspace.record("describe")
        return not self.waiting and record is not None and record.stamp == self.stamp


def plan_describe(
    workspace: Workspace,
    capture: Capture,
    chosen: ChosenSettings,
    *,
    splats: str,
    segmenter: str,
    encoder: str,
    embeddings: tuple[str, int],
    progress: Reporter = SILENT,
) -> DescribePlan:
    """Find out what the stage `describe` is to do.

    Args:
        workspace: Folder of a scene whose Gaussians are there.
        capture: Its photos.
        chosen: Preset and settings.
        splats: Stamp of the Gaussians.
        segmenter: Name of the segmenter, from `gags.pipeline.choose_models`.
        encoder: Name of the encoder, likewise.
        embeddings: `name` and `dim` of the encoder once it is loaded.
        progress: Is warned of damaged files, which are made again.
    """
    ignored = capture.masks_digest()  # Gaussians that were adopted stay when masks change
    masks = stamp("masks", splats, chosen.describe, segmenter, *([ignored] if ignored else []))
    stamps = {"masks": masks, "embeddings": stamp(masks, *embeddings)}
    known = Descriptions(workspace, capture.train).whole("masks", masks, progress)
    waiting = tuple(view.name for view in capture.train if known[view.name] != stamps)
    if others := [name for name in waiting if known[name]]:
        names = listed([workspace.description(name).name for name in others])
        progress.say(f"Of other settings or of another scene, to be made again: {names}")
    unsegmented = frozenset(name for name in waiting if known[name].get("masks") != masks)
    return DescribePlan(chosen, segmenter, encoder, splats, stamps, waiting, unsegmented)


def segmenting(
    workspace: Workspace,
    capture: Capture,
    settings: DescribeSettings,
    model: Segmenter,
    *,
    progress: Reporter,
) -> Segment:
    """A function from a photo of the capture, and its pixels, to its masks and the prompts asked."""
    rows = {view.name: row for row, view in enumerate(capture.train)}
    cameras = [view.camera for view in capture.train]
    gaussians = load_splats_of(workspace).to(scene_device(progress))
    placer = PromptPlacer(gaussians, cameras, settings, progress=progress)

    def segment(view: View, image: np.ndarray) -> tuple[Masks, np.ndarray]:
        points, kept = placer.place(rows[view.name], view.name), view.kept()
        masks = segment_photo(image, points, model, settings, kept)
        return masks, points if kept is None else points[is_kept(points, kept)]

    return segment


def describe_photos(
    workspace: Workspace,
    views: Sequence[View],
    plan: DescribePlan,
    embedder: Encoder,
    segment: Segment | None,
) -> Iterator[tuple[View, int]]:
    """Describe photos, and keep what they get in the scene's folder.

    Args:
        workspace: Folder of the scene.
        views: The photos.
        plan: Says which of them need new masks.
        embedder: The encoder.
        segment: Makes masks; None if no photo needs any.

    Yields:
        Each photo when its file is written, and how many masks it has.
    """
    settings = plan.settings
    for view, image, masks, prompts in ahead(_segmented(workspace, views, plan.unsegmented, segment)):
        embeddings = embed_masks(
            image, masks, embedder, crop=settings.crop, crop_filter=settings.crop_filter
        ).astype(np.float16)
        described = Description(masks, embeddings, embedder.name, plan.stamps, prompts)
        described.save(workspace.description(view.name))
        yield view, len(masks)


def _segmented(
    workspace: Workspace, views: Sequence[View], unsegmented: Container[str], segment: Segment | None
) -> Iterator[tuple[View, np.ndarray, Masks, np.ndarray]]:
    """Photos with pixels, masks and prompts; masks are kept where only the encoder changed."""
    for view in views:
        image = view.image()
        if segment is not None and view.name in unsegmented:
            yield view, image, *segment(view, image)
        else:
            kept = Description.load(workspace.description(view.name))
            yield view, image, kept.masks, kept.prompts


def keep_preset(
    workspace: Workspace,
    stage: str,
    settings: DescribeSettings | DistillSettings,
    preset: str,
    progress: Reporter = SILENT,
) -> None:
    """Note the preset that a finished stage was asked for with, where the same settings had another name.

    Later stages take the preset that is recorded, so it has to be the one of the last call.

    Args:
        workspace: Folder of the scene.
        stage: "describe" or "distill".
        settings: What the stage ran with.
        preset: Name of the preset that it was asked for with now.
        progress: Told about it.
    """
    record = workspace.record(stage)
    before = record.settings.get("preset") if record else None
    if before in (None, preset):  # scenes of earlier versions have none
        return
    workspace.rename_settings(stage, {"preset": preset, "changed": changed_fields(settings, preset)})
    progress.say(f"{workspace.config.name}: {stage} has the preset {preset} now, not {before}")


class SpentTime:
    """Seconds that photos took to describe, in a file until all are done, so that a resumed run adds its own.

    Args:
        workspace: Folder of the scene.
        plan: What is to do. The time of another plan does not count, also where its masks are kept.
    """

    def __init__(self, workspace: Workspace, plan: DescribePlan) -> None:
        self._workspace, self._path, self._stamp = workspace, workspace.describe_time, plan.stamp
        self._photos, self._earlier, self._began = 0, 0.0, time.monotonic()

    def begin(self, bar: Bar, done: int) -> None:
        """The photos begin: tell their bar how many are done, and how long these took."""
        self._photos, self._earlier = done, self._spent_on(done, bar.total)
        bar.resume(done, self._earlier)
        self._began = time.monotonic()

    def _spent_on(self, done: int, total: int) -> float:
        """Seconds that so many photos took: of a run that was stopped, or their share of a finished one."""
        known, finished = read_table(self._path), self._workspace.record("describe")
        seconds, photos = known.get("seconds"), known.get("photos")
        if known.get("stamp") == self._stamp and isinstance(seconds, float) and isinstance(photos, int):
            sound = isfinite(seconds) and seconds > 0 < photos
            return seconds * min(1.0, done / photos) if sound else 0.0
        if finished is None or finished.stamp != self._stamp:
            return 0.0
        return finished.seconds * done / total

    def save(self) -> None:
        """Note the time after one more photo."""
        self._photos += 1
        seconds = round(self._earlier + time.monotonic() - self._began, 2)
        write_json(self._path, {"stamp": self._stamp, "photos": self._photos, "seconds": seconds})

    def forget(self) -> None:
        """All photos are done, and on record."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # locks of other runs are there
            self._path.parent.rmdir()


def finish_describe(workspace: Workspace, capture: Capture, plan: DescribePlan, seconds: float) -> None:
    """Record that all photos are described.

    Args:
        workspace: Folder of the scene.
        capture: Its photos.
        plan: What was to do.
        seconds: How long it took.
    """
    workspace.update_metrics({"masks": count_masks(workspace, capture)})
    as_run = {
        "preset": plan.chosen.preset,
        "changed": changed_fields(plan.settings, plan.chosen.preset),
        "segment": plan.settings,
        "segmenter": plan.segmenter,
        "encoder": plan.encoder,
        "splats": plan.splats,
    }
    workspace.finish("describe", plan.stamp, seconds, as_run)


def count_masks(workspace: Workspace, capture: Capture) -> dict[str, int]:
    """How many masks all photos have on each level."""
    counts = np.zeros(len(LEVELS), int)
    for view in capture.train:
        levels = Description.load(workspace.description(view.name)).masks.levels
        counts += np.bincount(levels, minlength=len(LEVELS))
    return dict(zip(LEVELS, counts.tolist(), strict=True))
