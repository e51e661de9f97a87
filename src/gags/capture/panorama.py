"""360° panoramas (equirectangular photos): how they are recognised, and cut into views of pinhole cameras.

All views of a panorama are taken from one point, so they differ by known rotations alone: a rig.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from gags.capture.lens import Lens, panorama_lens
from gags.capture.photos import listed, opened
from gags.capture.settings import PanoramaSettings
from gags.errors import CaptureError

SLACK_PX = 2  # by which a width may differ from twice the height, after rounding
_PROJECTION_TAGS = (b'ProjectionType="equirectangular"', b"ProjectionType>equirectangular<")
_HEADER = 1 << 17  # bytes of a file in which cameras write what they made
# The ends of a panorama are neighbours: they differ as columns beside each other do. Of other photos, they
# differ several times as much.
_MOST_SEAM = 2.0
_FEW_PHOTOS = 5  # that are decoded to look for seams


def is_panorama_size(width: int, height: int) -> bool:
    """Whether a photo is twice as wide as high, as whole panoramas are."""
    return abs(width - 2 * height) <= SLACK_PX


def check_panorama(path: Path, width: int, height: int) -> None:
    """Make sure that a photo can be a whole panorama.

    Raises:
        CaptureError: If it is not twice as wide as high.
    """
    if not is_panorama_size(width, height):
        raise CaptureError(
            f"photo {path} is {width}×{height}, and a 360° panorama is twice as wide as high; export it "
            "whole (equirectangular, 2:1), or read the photos without --camera equirectangular"
        )


def directions(settings: PanoramaSettings) -> dict[str, tuple[float, float]]:
    """Where the views of a panorama look: degrees to the right and up, by name; the first looks ahead."""
    chosen = {}
    for index in range(settings.around):
        right = 360 * index / settings.around
        chosen[f"yaw{round(right):03d}"] = (right, 0.0)
    for pole, up in (("up", 90.0), ("down", -90.0)):
        if settings.poles in (pole, "both"):
            chosen[pole] = (0.0, up)
    return chosen


def view_name(photo: str, direction: str) -> str:
    """Name of a view: `walk/pano_01.jpg` looking at yaw045 is `walk/pano_01/yaw045.jpg`."""
    path = PurePosixPath(photo)
    return (path.with_suffix("") / f"{direction}{path.suffix}").as_posix()


def looking(lens: Lens, direction: tuple[float, float]) -> Lens:
    """The lens of a panorama whose picture looks in a direction, in degrees to the right and up."""
    return replace(lens, direction=direction)


def picture_viewmat(viewmat: np.ndarray, lens: Lens) -> np.ndarray:
    """World-to-camera transform of the picture of a lens, from that of the lens. [4, 4] → [4, 4]"""
    turn = np.eye(4)
    turn[:3, :3] = lens.R_lens_picture.T
    return turn @ viewmat


def pinhole_of_view(lens: Lens, settings: PanoramaSettings) -> Lens:
    """The pinhole of every view of a panorama: square, as sharp in its middle as the panorama is there."""
    reach = math.tan(math.radians(settings.fov / 2))
    side = max(1, round(2 * reach * lens.fx))
    return Lens(side, side, fx=side / 2 / reach, fy=side / 2 / reach, cx=side / 2, cy=side / 2)


def lens_of_photo(path: Path, width: int, height: int) -> Lens:
    """The lens of a panorama of this size.

    Raises:
        CaptureError: If the photo is not twice as wide as high.
    """
    check_panorama(path, width, height)
    return panorama_lens(width, height)


def panoramas_among(photos: Sequence[tuple[Path, int, int]]) -> tuple[list[Path], list[Path]]:
    """Photos that are panoramas, and those that may be, by their looks.

    Args:
        photos: Path, width and height of each.

    Returns:
        Those that say so or whose ends fit to each other; and all that are twice as wide as high.
    """
    wide = [path for path, width, height in photos if is_panorama_size(width, height) and height >= 16]
    sure = [path for path in wide if _says_so(path)]
    few = wide[:: max(1, len(wide) // _FEW_PHOTOS)]
    if wide and not sure and sum(map(_ends_meet, few)) > len(few) / 2:
        sure = wide
    return sure, wide


def _says_so(path: Path) -> bool:
    """Whether the file calls itself equirectangular (Google's Photo Sphere metadata)."""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER)
    except OSError:
        return False
    return any(tag in header for tag in _PROJECTION_TAGS)


def _ends_meet(path: Path) -> bool:
    """Whether the picture goes on from its right end to its left one."""
    try:
        with opened(path) as photo:
            photo.draft("RGB", (2048, 1024))  # decodes JPEG at a smaller size, if there is one
            image = np.asarray(photo.convert("RGB")).astype(np.float32)
    except (OSError, ValueError, SyntaxError):
        return False  # it is told of where photos are decoded
    seam = np.abs(image[:, -1] - image[:, 0]).mean()
    usual = np.abs(image[:, 1:] - image[:, :-1]).mean(axis=(0, 2))
    return bool(seam <= _MOST_SEAM * np.median(usual) + 1) and bool(image.std() > 1)


def about_panoramas(sure: list[Path], wide: list[Path], folder: Path) -> str:
    """One line that says which photos seem to be panoramas, and what to do."""
    names = listed([path.name for path in sure or wide])
    if sure:
        return (
            f"{folder}: {len(sure)} photos are 360° panoramas ({names}); add --camera equirectangular to cut "
            "them into views, or --camera perspective if they are not"
        )
    return (
        f"{folder}: {len(wide)} photos are twice as wide as high ({names}), as 360° panoramas are, and are "
        "taken as ordinary ones; if they are panoramas, add --camera equirectangular"
    )
