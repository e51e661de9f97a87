"""Masks and embeddings of every training photo from the controlled segmenter and encoder, kept on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.controlled.choice import Habits
from benchmarks.controlled.encoder import ControlledEncoder
from benchmarks.controlled.nest import on_grid
from benchmarks.controlled.segmenter import ControlledSegmenter
from benchmarks.controlled.shared import Place
from benchmarks.controlled.textures import find_patches, patch_maps, see
from benchmarks.controlled.truth import Truth
from gags.capture import View
from gags.compare.scenes import uniform_settings
from gags.embed.description import Description, Descriptions
from gags.gaussians import Gaussians
from gags.progress import SILENT, Reporter
from gags.segment.masks import LEVELS, Masks
from gags.segment.photo import segment_photo
from gags.segment.prompts import PromptPlacer, render_depth
from gags.segment.settings import DescribeSettings
from gags.store import stamp

FEATURES_FORMAT = 3  # raised when segmenter or encoder change, so that masks on disk count as stale


class DescribedViews(Descriptions):
    """Cameras and features of photos, read from disk when asked for.

    Args:
        views: The photos.
        folder: Where their features are.
    """

    def __init__(self, views: Sequence[View], folder: Path) -> None:
        super().__init__(lambda name: folder / f"{name}.safetensors", views)

    def prompts(self) -> int:
        """How many prompts all photos were given."""
        return sum(len(described.prompts) for _, described in self)

    def masks(self) -> list[int]:
        """How many masks all photos have on each level. [3]"""
        counts = [np.bincount(described.masks.levels, minlength=len(LEVELS)) for _, described in self]
        return np.sum(counts, axis=0).tolist()


def describe(
    views: Sequence[View],
    gaussians: Gaussians,
    splats_stamp: str,
    truth: Truth,
    encoder: ControlledEncoder,
    settings: DescribeSettings,
    folder: Path,
    *,
    grow: float = 0.0,
    world: int | None = None,
    progress: Reporter = SILENT,
) -> DescribedViews:
    """Segment and embed photos; those on disk that were made with the same settings are kept.

    Args:
        views: Photos to learn from.
        gaussians: The scene, for its depth and the places of prompts.
        splats_stamp: Hash of the Gaussians.
        truth: What the capture shows.
        encoder: Embeds the masks.
        settings: Prompts and filters.
        folder: Where features go.
        grow: Chance of finer patches, see `ControlledSegmenter`.
        world: Seed of the segmenter and its patches. Default: that of the prompts.
        progress: Told about progress.
    """
    seed = settings.seed if world is None else world
    made_by = [FEATURES_FORMAT, splats_stamp, settings, Habits(), encoder.seed, encoder.recognised]
    made_by += [("grow", grow)] * (grow > 0) + [("shared", encoder.shared)] * (encoder.shared > 0)
    made_by += [("world", seed)] * (seed != settings.seed)
    goal = {"embeddings": stamp("controlled", *made_by)}
    files = DescribedViews(views, folder)
    known = files.stamps()
    waiting = [view for view in views if known[view.name] != goal]
    if waiting:
        placer = PromptPlacer(gaussians, [view.camera for view in views], settings, progress=progress)
        patches = all_patches(views, gaussians, truth, seed, finer=grow > 0, progress=progress)
        with progress.stage("Controlled masks", len(views), "photos") as bar:
            bar.advance(len(views) - len(waiting))
            for row, view in enumerate(views):
                if view not in waiting:
                    continue
                points = placer.place(row, view.name)
                ids = truth.ids(view.stem, view.camera.width, view.camera.height)
                segmenter = ControlledSegmenter(truth, ids, patches[view.name], view.name, seed, grow=grow)
                masks = segment_photo(view.image(), points, segmenter, settings)
                features = _embedded(masks, view, ids, encoder, gaussians)
                features.prompts = points
                features.stamps = goal
                features.save(files.path(view))
                bar.advance(note=f"{len(features.masks)} masks in {view.name}")
    return files


def all_patches(
    views: Sequence[View],
    gaussians: Gaussians,
    truth: Truth,
    seed: int,
    *,
    finer: bool = False,
    progress: Reporter = SILENT,
) -> dict[str, np.ndarray]:
    """Patches of the surfaces that photos show, by the photo's name; see `textures.patch_maps`."""
    surfaces, ids = [], []
    with progress.stage("Seeing surfaces", len(views), "photos") as bar:
        for view in views:
            depth = render_depth(gaussians, view.camera)
            ids.append(on_grid(truth.ids(view.stem, view.camera.width, view.camera.height)))
            surfaces.append(see(view.image(), depth, view.camera, *ids[-1].shape[::-1]))
            bar.advance()
    patches = find_patches(surfaces, ids, truth, seed)
    maps = [
        patch_maps(surface, here, patches, finer=finer) for surface, here in zip(surfaces, ids, strict=True)
    ]
    return {view.name: found for view, found in zip(views, maps, strict=True)}


def _embedded(
    masks: Masks, view: View, ids: np.ndarray, encoder: ControlledEncoder, gaussians: Gaussians
) -> Description:
    """Masks of one photo with their embeddings."""
    # Only noise that photos share asks where a view was taken from.
    place = Place.of(view.camera, render_depth(gaussians, view.camera)) if encoder.shared > 0 else None
    embeddings = encoder.embed_masks(masks, ids, view.name, place).astype(np.float16)
    return Description(masks, embeddings, encoder.name)


def uniform(settings: DescribeSettings, aware: DescribedViews) -> DescribeSettings:
    """Settings that spread as many prompts as granularity-aware ones took evenly over all photos."""
    return uniform_settings(settings, aware.prompts(), len(aware))
