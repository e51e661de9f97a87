"""From what a user names to a capture with poses and points: read first, then what it lacks is found.

Nothing is written before all that is there has been read, so that a mistyped path leaves no folder behind.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gags.capture import Capture, load_capture
from gags.capture.mask_files import AUTO, NONE
from gags.capture.projections import EQUIRECTANGULAR
from gags.capture.split import check_test_list, every_nth, views_by_folder
from gags.errors import CaptureError
from gags.files.ranges import check_value
from gags.pipeline.settings import CaptureSettings
from gags.poses import find_points, find_poses
from gags.poses.inputs import bare_photos, lacks_poses
from gags.poses.learnt import check_features
from gags.poses.mapping import check_mapper
from gags.poses.merge import merge_captures
from gags.poses.panoramas import check_panoramas
from gags.poses.settings import PoseSettings
from gags.poses.video import check_video, is_video
from gags.poses.visits import read_visits
from gags.progress import SILENT, Reporter
from gags.workspace import Workspace

Source = Capture | Path | str | Sequence[Path | str]
"""A capture, the folder it is in, a video, or several of these that show one place."""


@dataclass(frozen=True, eq=False)
class Captured:
    """What a scene is to be made of, as far as it could be read without writing anything.

    Attributes:
        paths: What the user named; empty if that was a capture.
        capture: The capture; None if poses or points have to be found first.
        photos: How photos are read.
        poses: How poses and points are found.
    """

    paths: tuple[Path, ...]
    capture: Capture | None
    photos: CaptureSettings
    poses: PoseSettings

    def completed(self, workspace: Workspace, progress: Reporter = SILENT) -> Capture:
        """The capture with poses and points; what has to be found is kept in a scene's folder.

        Args:
            workspace: The scene.
            progress: Told about progress.

        Raises:
            CaptureError: If too few photos can be placed, or too few points found.
        """
        if self.capture is not None:
            return self.capture
        found = workspace.poses
        first, *others = self.paths
        poses, masks = _with_lenses(self.poses, self.photos), self.photos.masks
        named = " and ".join(map(str, self.paths))
        if others:
            progress.say(f"{named} are put into one frame first; their poses are kept in {found}")
            made = merge_captures(self.paths, found, poses, progress, masks=masks)
        elif lacks_poses(first):
            progress.say(f"{named} holds no poses: finding them first; they are kept in {found}")
            made = find_poses(first, found, poses, progress, masks=masks)
        else:
            progress.say(f"{named} has poses, but no points: finding some first; they are kept in {found}")
            made = find_points(first, found, poses, progress, images=self.photos.images, masks=masks)
        # What is made are pinhole views, with the masks beside them.
        plain = replace(self.photos, images=None, camera="auto", masks=NONE if masks == NONE else AUTO)
        capture = load_capture(made, **vars(plain), progress=progress)
        if poses.camera == EQUIRECTANGULAR and plain.test_every is not None:
            panoramas = views_by_folder(view.name for view in capture)
            held_out = every_nth(panoramas, plain.test_every)
            capture = capture.with_split([name for each in held_out for name in panoramas[each]])
        return capture


def capture_of(
    source: Source,
    photos: CaptureSettings = CaptureSettings(),
    poses: PoseSettings = PoseSettings(),
    *,
    require_points: bool = True,
    progress: Reporter = SILENT,
) -> Captured:
    """Read what a user names; nothing is written.

    Args:
        source: What a scene is to be made of.
        photos: How photos are read, if it is not a capture yet.
        poses: How poses and points are found, if it lacks them.
        require_points: Whether it needs sparse points; Gaussians that exist do without, but need their poses.
        progress: Told what is left out.

    Raises:
        CaptureError: If something cannot be read, or the settings do not fit what is there.
    """
    check_value("photos", photos, CaptureSettings)
    if isinstance(source, Capture):
        return Captured((), source, photos, poses)
    named = [source] if isinstance(source, str | os.PathLike) else source
    paths = tuple(Path(path).expanduser() for path in named)
    if len(paths) == 1 and not lacks_poses(paths[0]):
        capture = load_capture(paths[0], **vars(photos), require_points=False, progress=progress)
        lacking = require_points and not len(capture.points)
        return Captured(paths, None if lacking else capture, photos, poses)
    _check_unposed(paths, photos, adopting=not require_points)
    poses = _with_lenses(poses, photos)
    check_mapper(poses)
    check_features(poses)
    if len(paths) != 1:
        visits = read_visits(paths, poses, masks=photos.masks)
        names = [name for visit in visits for name in visit.names()]
        known = not any(is_video(path) for path in paths)
    elif is_video(paths[0]):
        check_video(paths[0])
        names, known = [], False
    else:
        there = bare_photos(paths[0], masks=photos.masks)
        check_panoramas(there, paths[0], poses)
        names, known = [photo.name for photo in there], True
    if photos.test_list is not None:
        check_test_list(photos.test_list, names if known else None)
    return Captured(paths, None, photos, poses)


def _with_lenses(poses: PoseSettings, photos: CaptureSettings) -> PoseSettings:
    """How poses are found: what is said of lenses with the photos holds for them, too."""
    names = ("camera", "panorama", "undistort")
    defaults = CaptureSettings()
    said = {name: getattr(photos, name) for name in names if getattr(photos, name) != getattr(defaults, name)}
    return replace(poses, **said)


def _check_unposed(paths: Sequence[Path], photos: CaptureSettings, *, adopting: bool) -> None:
    """Refuse options that do not go with photos whose poses have to be found."""
    one = len(paths) == 1
    what = str(paths[0]) if one else " and ".join(map(str, paths))
    if photos.images is not None:
        lack = f"{what} holds no poses" if one else f"{what} are several captures"
        raise CaptureError(
            f"--images {photos.images} chooses between copies of posed photos, and {lack}; "
            f"give the folder{'' if one else 's'} of the photos, without --images"
        )
    if adopting:
        lack = f"{what} holds no poses" if one else f"{what} are several captures"
        raise CaptureError(
            f"{lack}, and Gaussians that exist need the poses they were trained with; give the capture they "
            "come from, or leave --splats out"
        )


def read_capture(
    path: Path,
    settings: CaptureSettings = CaptureSettings(),
    *,
    require_points: bool = True,
    find_poses_in: Path | None = None,
    poses: PoseSettings = PoseSettings(),
    progress: Reporter = SILENT,
) -> Capture:
    """Read photos, poses and points of a folder as the settings say; see `load_capture`.

    Photos without poses, or a video, get theirs in the scene's folder `find_poses_in`, if it is given; so do
    poses without the points that are required.
    """
    if find_poses_in is not None:
        captured = capture_of(path, settings, poses, require_points=require_points, progress=progress)
        if captured.capture is not None:
            return captured.capture
        return captured.completed(Workspace.create(find_poses_in), progress)
    check_value("photos", settings, CaptureSettings)
    if settings.images is not None and lacks_poses(path.expanduser()):
        _check_unposed([path], settings, adopting=False)
    return load_capture(path, **vars(settings), require_points=require_points, progress=progress)
