"""From a folder to a `Capture`: find the format, match photos to poses, check sizes, split off a test set."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gags.capture.camera import Camera
from gags.capture.capture import Capture, View
from gags.capture.folders import is_copy
from gags.capture.formats import FORMATS, formats_in
from gags.capture.formats.base import LEAST_USABLE_SHARE, Format, Pose, Source
from gags.capture.lens import Lens
from gags.capture.mask_files import AUTO, NONE, MaskedPhoto, find_masks, looked_at, without_ignored
from gags.capture.panorama import (
    directions,
    lens_of_photo,
    looking,
    picture_viewmat,
    pinhole_of_view,
    view_name,
)
from gags.capture.photos import is_scene, listed, photo_orientation, photo_size
from gags.capture.projections import EQUIRECTANGULAR, PERSPECTIVE
from gags.capture.settings import CameraKind, PanoramaSettings, UndistortSettings
from gags.capture.split import held_out
from gags.capture.undistort import pinhole_of
from gags.capture.usable import usable
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter
from gags.store import plain

SLACK_PX = 1.0  # each side of a resized photo is rounded, up or down
LOOKED_AT_SIDE = 256  # px of a view that is looked at for whether it shows anything that counts
COPY_SLACK_PX = 2.0  # images_4 may have been made from images_2, by programs that round otherwise


@dataclass(frozen=True)
class Cut:
    """What `load_capture` was asked to make of each photo; see there."""

    downscale: float
    max_size: int | None
    camera: CameraKind
    undistort: UndistortSettings
    panorama: PanoramaSettings


def load_capture(
    path: str | Path,
    *,
    downscale: float = 1.0,
    max_size: int | None = None,
    test_list: str | Path | None = None,
    test_every: int | None = None,
    images: str | None = None,
    masks: str = AUTO,
    camera: CameraKind = "auto",
    undistort: UndistortSettings = UndistortSettings(),
    panorama: PanoramaSettings = PanoramaSettings(),
    require_points: bool = True,
    progress: Reporter = SILENT,
) -> Capture:
    """Load a capture of COLMAP, nerfstudio, Polycam or Record3D.

    Photos are matched to poses by name. Distorted photos are undistorted when they are decoded
    (see `gags.capture.undistort.pinhole_of`), and of a 360° panorama, several views are cut. Where photos are
    a smaller or larger copy of what their cameras describe, the cameras are rescaled to the real size of the
    photos, in x and y apart.

    Args:
        path: Folder with `images/` and `sparse/0` (COLMAP), `transforms.json` (nerfstudio), `keyframes/`
            (Polycam), or `metadata` and `rgb/` (Record3D).
        downscale: Images are made smaller by this factor, ≥ 1.
        max_size: Then, if the longer side still exceeds this many pixels, they are made smaller again.
        test_list: File with the held-out views, a name or stem a line; the name of a panorama or a folder
            stands for all its views.
        test_every: Hold out every Nth view in the order of names, the first included; 0 holds out none.
            If neither is given, the capture's own `test.txt` (or nerfstudio's `test_filenames`) decides, or
            else every 8th is held out.
        images: Folder of the photos in a COLMAP or nerfstudio capture, such as `images_4` beside cameras of
            full size. Default: `images`, or the largest of `images_2`, `images_4` … if that is missing.
        masks: Which pixels are ignored, see `gags.capture.mask_files`. "auto": what is black in the masks
            beside the photos, and what is transparent in the photos. A folder of masks, or one mask of all
            photos. "none": nothing.
        camera: "equirectangular" takes all photos as 360° panoramas, whatever the capture says of their
            cameras; else these say which are. "perspective" refuses those that are.
        undistort: How much is kept of photos of distorting lenses.
        panorama: How panoramas are cut.
        require_points: Whether a capture without sparse points is an error.
        progress: Told which photos are left out, and how much is ignored.

    Raises:
        CaptureError: If the capture is missing, damaged or contradicts itself.
    """
    _check_options(downscale, max_size, test_list, test_every)
    root = capture_folder(path)
    format = _format_of(root, progress)
    source = format.read(root, progress, images=images)
    source = usable(root, source, progress)
    if require_points and len(source.points) == 0:
        raise CaptureError(
            f"{root} has no sparse points, from which the Gaussians start; add points3D.bin (COLMAP) or "
            f"ply_file_path (nerfstudio), or find some: gags poses {root} --out my_capture"
        )
    cut = Cut(downscale, max_size, camera, undistort, panorama)
    groups = _masked(root, source, _views(source, cut, progress), masks, progress)
    options = {  # files by name alone: on a worker without the disk they lie elsewhere
        "downscale": downscale,
        "max_size": max_size,
        "test_list": None if test_list is None else Path(test_list).name,
        "test_every": test_every,
    }
    if images is not None:
        options["images"] = images
    if masks != AUTO:
        options["masks"] = Path(masks).name
    options |= _options_of_lenses(cut)
    views = [view for group in groups.values() for view in group]
    capture = Capture(root, views, source.points, source.points_rgb, format=format.name, options=options)
    names = {photo: [view.name for view in group] for photo, group in groups.items()}
    capture = capture.with_split(held_out(capture, names, source, test_list, test_every))
    if not capture.train:
        raise CaptureError(
            f"{root}: all {len(capture)} views are held out for testing, none is left to train on; "
            "list fewer, or use test_every=0 to hold out none"
        )
    return capture


def capture_folder(path: str | Path) -> Path:
    """The folder of a capture, which may be named by its main file, such as `transforms.json`."""
    path = Path(path).expanduser()
    is_main = path.name in [name for each in FORMATS for name in each.main_files] and not path.is_dir()
    return path.parent if is_main else path


def _check_options(
    downscale: float, max_size: int | None, test_list: str | Path | None, test_every: int | None
) -> None:
    if not 1 <= downscale < float("inf"):
        raise CaptureError(f"downscale must be 1 or more, not {downscale}")
    if max_size is not None and max_size < 1:
        raise CaptureError(f"max_size must be 1 pixel or more, not {max_size}")
    if test_every is not None and test_every < 0:
        raise CaptureError(f"test_every must be 0 (hold out none) or more, not {test_every}")
    if test_list is not None and test_every is not None:
        raise CaptureError("choose the test views by test_list or by test_every, not by both")


def _options_of_lenses(cut: Cut) -> dict[str, Any]:
    """What was asked for beside the defaults, so that captures of earlier versions read the same."""
    asked = {"camera": cut.camera} if cut.camera != "auto" else {}
    given = {"undistort": cut.undistort, "panorama": cut.panorama}
    return asked | {name: plain(value) for name, value in given.items() if value != type(value)()}


def _format_of(root: Path, progress: Reporter) -> Format:
    """The format of a folder; says so if it holds several, and fails if it holds none."""
    if not root.is_dir():
        reason = "not a folder" if root.exists() else "not there"
        packed = root.suffix.lower() in [each.packed_suffix for each in FORMATS]
        remedy = "; it is a zip file: unpack it, and give the folder" if packed else ""
        raise CaptureError(f"capture {root} is {reason}{remedy}")
    found = formats_in(root)
    if not found and is_scene(root):
        raise CaptureError(of_a_scene(root))
    if not found:
        none_of = " nor ".join(each.layout for each in FORMATS)
        raise CaptureError(
            f"{root} holds neither {none_of}; if these are photos without poses: "
            f"gags poses {root} --out my_capture"
        )
    if len(found) > 1:
        all_of = " and ".join(each.layout for each in found)
        progress.say(f"{root} holds {all_of}; reading the {found[0].title}")
    return found[0]


def of_a_scene(folder: Path) -> str:
    """The message if a scene is given where photos are wanted."""
    try:
        made_of = json.loads((folder / "capture.json").read_text(encoding="utf-8"))["root"]
        where = f" ({os.path.normpath(folder / made_of)})"
    except (OSError, ValueError, KeyError, TypeError):
        where = ""
    return f"{folder} is a scene of gags, not a capture; give the capture that it was made of{where}"


def _views(source: Source, cut: Cut, progress: Reporter) -> dict[str, list[View]]:
    """The views of all posed photos, by name of photo; says so where photos are smaller or larger copies."""
    views, rescaled = {}, []
    for pose in source.poses:
        photo, orientation = _turned_size(pose)
        if cut.camera == EQUIRECTANGULAR:
            pose = replace(pose, lens=lens_of_photo(pose.path, *photo))
        elif cut.camera == PERSPECTIVE and pose.lens.projection == EQUIRECTANGULAR:
            raise CaptureError(
                f"photo {pose.path} has an equirectangular camera in the capture: it is a 360° panorama, and "
                "its pose fits no other camera; leave out --camera perspective, or give the folder of the "
                "photos alone"
            )
        ratio = _size_ratio(pose, photo, copied=is_copy(source.folder))
        views[pose.name] = [replace(view, orientation=orientation) for view in _cut(pose, photo, cut)]
        if ratio != 1:
            rescaled.append((pose.name, ratio))
    if rescaled:
        name, ratio = rescaled[0]
        progress.say(
            f"{len(rescaled)} photos are not as large as their cameras say (first {name}: {ratio:.4g} times "
            "the size); the cameras were rescaled to them"
        )
    panoramas = [pose for pose in source.poses if len(views[pose.name]) > 1]
    if panoramas:
        count = len(views[panoramas[0].name])
        progress.say(f"{len(panoramas)} panoramas are cut into {count} views each (--panorama.around)")
    return views


def _masked(
    root: Path, source: Source, groups: dict[str, list[View]], masks: str, progress: Reporter
) -> dict[str, list[View]]:
    """The views with their masks, by photo, without the photos of which masks ignore everything."""
    if masks == NONE:
        return groups
    firsts = {name: group[0] for name, group in groups.items()}
    photos = source.photos | {name: view.path for name, view in firsts.items()}
    found = find_masks(photos, root, masks, given=source.masks, progress=progress)
    asked = [
        MaskedPhoto(name, v.path, v.photo_size, v.orientation, mask=found.get(name), alpha=True)
        for name, v in firsts.items()
        if v.photo_size is not None
    ]
    left = {p.name: p for p in without_ignored(looked_at(asked), root, LEAST_USABLE_SHARE, progress)}
    masked = {
        name: [replace(view, mask=left[name].mask, alpha=left[name].alpha) for view in group]
        for name, group in groups.items()
        if name in left
    }
    with ThreadPoolExecutor() as pool:
        shown = dict(zip(masked, pool.map(_with_something, masked.values()), strict=True))
    gone = [v.name for name, group in masked.items() for v in group if v not in shown[name]]
    if gone:
        progress.say(f"{len(gone)} views show only what is to be ignored ({listed(gone)}); left out")
    if not any(shown.values()):
        raise CaptureError(f"{root}: masks leave nothing of any view; leave masks out (--masks none)")
    return {name: group for name, group in shown.items() if group}


def _with_something(group: list[View]) -> list[View]:
    """The views of a photo that show something that counts, as seen at a small size.

    A mask leaves something of every photo, but of a view that is cut out of it, or undistorted, perhaps not.
    """
    first = group[0]
    if first.lens is None or (first.mask is None and not first.alpha):
        return group
    kept = first.kept_of_photo()
    return [view for view in group if _small(view).kept_in(kept).any()]


def _small(view: View) -> View:
    """The same view, of a small picture from a photo that is as much smaller."""
    camera = view.camera.within(LOOKED_AT_SIDE)
    assert view.lens is not None
    share = camera.width / view.camera.width
    lens = view.lens.resized(*_scaled((view.lens.width, view.lens.height), share))
    return replace(view, camera=camera, lens=lens)


def _turned_size(pose: Pose) -> tuple[tuple[int, int], int]:
    """Size of a photo, and the EXIF orientation to apply: that of the pixels that the camera describes.

    COLMAP takes pixels as they lie in the file, other programs turn them first. Where sides are swapped,
    only one of the two fits.
    """
    width, height = photo_size(pose.path)
    swapped = (width > height) != (pose.lens.width > pose.lens.height) and width != height
    if not swapped or pose.lens.width == pose.lens.height:
        return (width, height), 1
    orientation = photo_orientation(pose.path)
    return ((height, width), orientation) if orientation >= 5 else ((width, height), 1)


def _cut(pose: Pose, photo: tuple[int, int], cut: Cut) -> list[View]:
    """The views of a posed photo, whose width and height fit its camera: one, or those of a panorama."""
    scale = 1 / cut.downscale
    if pose.lens.projection == EQUIRECTANGULAR:
        return _views_of_panorama(pose, photo, scale, cut)
    if cut.max_size is not None:
        scale = min(scale, cut.max_size / max(photo))
    lens = pose.lens.resized(*_scaled(photo, scale))
    try:
        pinhole = pinhole_of(lens, cut.undistort)
    except ValueError as error:
        raise CaptureError(f"camera of photo {pose.path}: {error}; calibrate it again") from error
    camera = Camera(pose.viewmat, pinhole.K, pinhole.width, pinhole.height)
    camera = camera if cut.max_size is None else camera.within(cut.max_size)
    return [View(pose.name, pose.path, camera, "train", lens if lens.is_distorted else None, photo)]


def _views_of_panorama(pose: Pose, photo: tuple[int, int], scale: float, cut: Cut) -> list[View]:
    """The views of a panorama; limits of size hold for the views."""
    lens_of_photo(pose.path, *photo)
    side = pinhole_of_view(pose.lens.resized(*_scaled(photo, scale)), cut.panorama).width
    if cut.max_size is not None and side > cut.max_size:
        scale *= cut.max_size / side
    whole = pose.lens.resized(*_scaled(photo, scale))
    pinhole = pinhole_of_view(whole, cut.panorama)
    views = []
    for name, direction in directions(cut.panorama).items():
        lens = looking(whole, direction)
        viewmat = picture_viewmat(pose.viewmat, lens)
        camera = Camera(viewmat, pinhole.K, pinhole.width, pinhole.height)
        camera = camera if cut.max_size is None else camera.within(cut.max_size)  # after rounding
        views.append(View(view_name(pose.name, name), pose.path, camera, "train", lens, photo))
    return views


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _size_ratio(pose: Pose, photo: tuple[int, int], *, copied: bool) -> float:
    """Size of a photo over that of its camera, 1 or clearly another size of the same shape.

    Args:
        pose: The posed photo.
        photo: Width and height of its file.
        copied: Whether it lies in a folder of smaller copies, such as `images_4`.

    Raises:
        CaptureError: If it is no copy of what its camera describes.
    """
    lens: Lens = pose.lens
    if photo == (lens.width, lens.height):
        return 1.0
    ratio = max(photo) / max(lens.width, lens.height)
    if _same_shape(photo, lens, COPY_SLACK_PX if copied else SLACK_PX) and abs(ratio - 1) > 0.05:
        return ratio
    if copied:
        raise CaptureError(
            f"photo {pose.path} is {photo[0]}×{photo[1]}, but its camera is {lens.width}×{lens.height}, of "
            "which it is no smaller copy; make the copies from the photos that the poses were made from, or "
            "choose another folder of photos (--images)"
        )
    turned = " (it seems to be turned: write its EXIF rotation into the pixels, or undo it)"
    raise CaptureError(
        f"photo {pose.path} is {photo[0]}×{photo[1]}, but its camera is {lens.width}×{lens.height}"
        f"{turned if photo == (lens.height, lens.width) else ''}; "
        "use the photos that the poses were made from"
    )


def _same_shape(photo: tuple[int, int], lens: Lens, slack_px: float) -> bool:
    """Whether one factor takes both sides of a camera to those of a photo, each up to less than the slack."""
    (width, height), full = photo, (lens.width, lens.height)
    least = max((width - slack_px) / full[0], (height - slack_px) / full[1])
    return least < min((width + slack_px) / full[0], (height + slack_px) / full[1])
