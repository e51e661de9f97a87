"""One study: the photos, the prompts of every arm, the masks on disk, and the figures of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.granularity.arms import Arm, Counts, all_arms, place_all
from benchmarks.granularity.cut import CONTAINMENT, Cut, EncodedOnce, cut_photo, load_cut, made_by, save_cut
from benchmarks.granularity.measures import BestMasks, best_masks, found_in_both, surface_iou
from benchmarks.granularity.photos import RINGS, Objects, StudiedPhoto, known_objects, studied_photos
from benchmarks.granularity.tables import Outcome, Outcomes
from gags.capture import read_saved_capture
from gags.distill.evidence import ViewEvidence, merge, pixel_grid, view_evidence
from gags.errors import CompareError
from gags.gaussians import Gaussians, blend_weights
from gags.gaussians.ply import load_ply
from gags.progress import SILENT, Reporter
from gags.render.types import BlendWeights
from gags.segment.masks import LEVELS
from gags.segment.segmenter import Segmenter
from gags.store import file_stamp
from gags.workspace import Workspace

SURFACE_PIXELS = (
    80_000  # of every photo, on which masks become sets of Gaussians; small things need them dense
)


@dataclass(frozen=True, eq=False)
class Study:
    """What all arms share.

    Attributes:
        gaussians: The scene.
        splats_stamp: Hash of the Gaussians.
        photos: Photos that are studied, the nearest and the farthest ring first.
        objects: Their truth.
        out: Folder of what is kept.
        arms: Ways to place prompts.
        prompts: Prompts of every photo, by name of the arm. [P, 2] each
    """

    gaussians: Gaussians
    splats_stamp: str
    photos: list[StudiedPhoto]
    objects: Objects
    out: Path
    arms: list[Arm]
    prompts: dict[str, list[np.ndarray]]

    def path(self, arm: Arm, photo: StudiedPhoto) -> Path:
        """Where masks of a photo are kept."""
        return self.out / "masks" / arm.name / f"{photo.view.stem}.npz"


def open_study(
    capture: Path, scene: Path, out: Path, a_ring: int, wanted: Sequence[str], *, progress: Reporter = SILENT
) -> Study:
    """Choose photos and place prompts.

    Args:
        capture: Folder of the capture.
        scene: Folder of a scene of it.
        out: Folder of what is kept.
        a_ring: At most how many photos of each ring.
        wanted: Names of arms; none for all.
        progress: Told about progress.

    Raises:
        CompareError: If there is no such arm.
        GagsError: If capture or scene are unfit.
    """
    workspace = Workspace.open(scene)
    saved, gaussians = read_saved_capture(workspace.capture), load_ply(workspace.splats)
    objects = known_objects(capture)
    photos = studied_photos(saved, gaussians, objects, a_ring)
    # d_min goes by the photos that are learnt from, and by those studied if they are others.
    train = {view.name for view in saved.train}
    views = [*saved.train, *(photo.view for photo in photos if photo.view.name not in train)]
    rows = [[view.name for view in views].index(photo.view.name) for photo in photos]
    cameras = [view.camera for view in views]
    arms = all_arms(Counts(gaussians, cameras, rows), len(photos))
    if unknown := set(wanted) - {arm.name for arm in arms}:
        known = ", ".join(arm.name for arm in arms)
        raise CompareError(f"there is no arm {sorted(unknown)[0]!r}; --arms takes {known}")
    arms = [arm for arm in arms if not wanted or arm.name in wanted]
    prompts = {}
    for arm in arms:
        prompts[arm.name] = place_all(gaussians, cameras, rows, photos, arm)
        total = sum(map(len, prompts[arm.name]))
        progress.say(f"{arm.name}: {total} prompts, {total / len(photos):.0f} a photo")
    return Study(gaussians, file_stamp(workspace.splats), photos, objects, out, arms, prompts)


def cut_all(study: Study, segmenter: Segmenter, *, progress: Reporter = SILENT) -> None:
    """Masks of all photos and arms; those that are there already are kept."""
    with progress.stage("Cutting masks", len(study.photos) * len(study.arms), "photos") as bar:
        for number, photo in enumerate(study.photos):
            image, model = None, EncodedOnce(segmenter)
            for arm in study.arms:
                prompts, path = study.prompts[arm.name][number], study.path(arm, photo)
                made = made_by(arm, segmenter.name, study.splats_stamp, prompts)
                if load_cut(path, made) is None:
                    image = photo.view.image() if image is None else image
                    save_cut(cut_photo(image, prompts, model, arm), path, made)
                bar.advance(note=f"{arm.name}, {photo.view.name}")


class ArmPhotos:
    """What one arm, with contained masks dropped or kept, makes of photo after photo.

    Args:
        dropped: Whether contained masks are dropped.
    """

    def __init__(self, dropped: bool) -> None:
        self._dropped = dropped
        self._best: list[BestMasks] = []
        self._views: list[ViewEvidence] = []
        self._levels: list[np.ndarray] = []
        self._prompts: list[int] = []

    def add(self, cut: Cut, objects: np.ndarray, grid: np.ndarray, blend: BlendWeights) -> None:
        """Take in one photo.

        Args:
            cut: Its masks.
            objects: What every object covers. bool [K, H, W]
            grid: Pixels x, y that are looked at. int64 [P, 2]
            blend: Weights of the Gaussians there.
        """
        labels, levels = cut.labels[self._dropped], cut.levels[self._dropped]
        seen = labels[:, grid[:, 1], grid[:, 0]].T
        self._best.append(best_masks(labels, objects))
        self._views.append(view_evidence(blend.indices, blend.weights, seen, len(levels)))
        self._levels.append(levels)
        self._prompts.append(cut.prompts)

    def outcome(self, rings: np.ndarray, compared: tuple[int, int], gaussian_count: int) -> Outcome:
        """Figures of the photos taken in.

        Args:
            rings: Ring of each. [P]
            compared: The two rings that are compared.
            gaussian_count: Gaussians of the scene.
        """
        near, far = (np.flatnonzero(rings == ring).tolist() for ring in compared)
        prompts, masks = np.full(len(RINGS), np.nan), np.full((len(RINGS), len(LEVELS)), np.nan)
        counts = np.array([np.bincount(levels, minlength=len(LEVELS)) for levels in self._levels])
        for ring in np.unique(rings):
            prompts[ring] = np.mean(np.array(self._prompts)[rings == ring])
            masks[ring] = counts[rings == ring].mean(axis=0)
        evidence, levels = merge(self._views, gaussian_count), np.concatenate(self._levels)
        return Outcome(
            prompts=prompts,
            masks=masks,
            found=found_in_both([self._best[u] for u in near], [self._best[v] for v in far]),
            surface=surface_iou(evidence, levels, self._best, near, far),
        )


@torch.no_grad()
def measured(study: Study, rings: tuple[int, int] = (0, 2), *, progress: Reporter = SILENT) -> Outcomes:
    """Figures of all arms, with contained masks dropped and kept, from the masks on disk.

    Args:
        study: The study; photos that not all arms have cut are left out.
        rings: The two rings that are compared, rows of `RINGS`.
        progress: Told about progress.

    Raises:
        CompareError: If one of the two rings has no such photo.
    """
    photos = [p for p in study.photos if all(study.path(arm, p).is_file() for arm in study.arms)]
    ring_of = np.array([photo.ring for photo in photos])
    if missing := [ring for ring in rings if ring not in ring_of]:
        raise CompareError(f"no photo of the {RINGS[missing[0]]} ring has masks of all arms yet; run again")
    gathered = {(arm.name, dropped): ArmPhotos(dropped) for arm in study.arms for dropped in CONTAINMENT}
    with progress.stage("Comparing masks", len(photos), "photos") as bar:
        for photo in photos:
            camera, objects = photo.view.camera, study.objects.masks(photo.view)
            grid = pixel_grid(camera.width, camera.height, SURFACE_PIXELS)
            # The weights are the same for all arms.
            blend = blend_weights(study.gaussians, camera, torch.from_numpy(grid))
            for arm in study.arms:
                cut = load_cut(study.path(arm, photo))
                if cut is None:
                    raise CompareError(f"{study.path(arm, photo)} is damaged; remove it and run again")
                for dropped in CONTAINMENT:
                    gathered[arm.name, dropped].add(cut, objects, grid, blend)
            bar.advance()
    count = len(study.gaussians)
    return {key: of_arm.outcome(ring_of, rings, count) for key, of_arm in gathered.items()}
