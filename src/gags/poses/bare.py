"""A photo that has no pose yet, as its file describes it: size, orientation, lens, mask."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import ExifTags

from gags.capture.masks import kept_of_alpha, kept_of_mask
from gags.capture.photos import exif_orientation, opened, photo_size, read_photo
from gags.errors import CaptureError

FULL_FRAME_DIAGONAL_MM = 43.27  # what "35 mm equivalent" focal lengths refer to
DEFAULT_FOCAL = 1.2  # of the longer side, about 45° across; where EXIF says nothing
DEFAULT_FISHEYE_FOCAL = 0.4  # of the longer side: 180° across the diagonal of a photo of 3:2
JPEG_QUALITY = 95  # of frames, and of undistorted photos


@dataclass(frozen=True)
class BarePhoto:
    """A photo without a pose, as its file describes it.

    Attributes:
        name: File name relative to the folder, with forward slashes.
        path: The file.
        width: Width in pixels once upright.
        height: Height in pixels once upright.
        orientation: EXIF orientation, 1 if the pixels are upright as they are.
        focal: Focal length in pixels from EXIF, None if EXIF does not say.
        maker: Make and model of the camera, "" if EXIF does not say.
        pinhole: fx, fy, cx, cy in pixels where they are known; else they are found with the poses.
        mask: Picture that is black where the photo is to be ignored; None if there is none.
        alpha: Whether what is transparent in the photo itself is to be ignored.
        panorama: Name of the panorama that it was cut from, "" if it is a photo of its own.
        direction: Where it looks in that panorama, in degrees to the right and up.
        visit: Which of several captures it belongs to; each has cameras of its own.
    """

    name: str
    path: Path
    width: int
    height: int
    orientation: int = 1
    focal: float | None = None
    maker: str = ""
    pinhole: tuple[float, float, float, float] | None = None
    mask: Path | None = None
    alpha: bool = False
    panorama: str = ""
    direction: tuple[float, float] = (0.0, 0.0)
    visit: str = ""

    @property
    def key(self) -> str:
        """The name as COLMAP's lists of pairs can hold it, without blanks."""
        return quote(self.name)

    @property
    def camera_key(self) -> tuple[Any, ...]:
        """Photos with equal keys were taken by one camera at one zoom, as far as their files say."""
        focal = None if self.focal is None else round(self.focal, 1)
        return self.width, self.height, self.maker, focal, self.pinhole, self.visit

    def upright(self) -> np.ndarray:
        """The pixels, turned as EXIF says. uint8 RGB [height, width, 3]"""
        return read_photo(self.path, self.orientation)

    def kept(self) -> np.ndarray | None:
        """Which pixels of the upright photo count; None if all do. bool [height, width]"""
        kept = [
            kept_of_mask(self.mask, (self.width, self.height), self.orientation) if self.mask else None,
            kept_of_alpha(self.path, self.orientation) if self.alpha else None,
        ]
        given = [each for each in kept if each is not None]
        return np.logical_and.reduce(given) if given else None


def bare_photo(path: Path, name: str) -> BarePhoto:
    """Size, orientation and camera of a photo, from its header.

    Raises:
        CaptureError: If it is no photo.
    """
    width, height = photo_size(path)
    try:
        with opened(path) as image:
            exif = image.getexif()
    except (OSError, ValueError, SyntaxError) as error:
        raise CaptureError(
            f"photo {path} cannot be read ({type(error).__name__}); replace or remove it"
        ) from error
    orientation = exif_orientation(exif)
    if orientation >= 5:
        width, height = height, width
    details = exif.get_ifd(ExifTags.IFD.Exif)
    equivalent = details.get(ExifTags.Base.FocalLengthIn35mmFilm)
    maker = " ".join(
        str(exif[tag]).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model) if tag in exif
    )
    focal = focal_pixels(equivalent, width, height)
    return BarePhoto(name, path, width, height, orientation=orientation, focal=focal, maker=maker)


def focal_pixels(equivalent_mm: object, width: int, height: int) -> float | None:
    """Focal length in pixels from EXIF's 35 mm equivalent; None if that is missing or nonsense."""
    try:
        millimetres = float(equivalent_mm)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if not 4 <= millimetres <= 2000:
        return None
    return millimetres / FULL_FRAME_DIAGONAL_MM * float(np.hypot(width, height))


def camera_groups(photos: list[BarePhoto]) -> list[list[BarePhoto]]:
    """Photos by the camera that took them, in the order of their first photos."""
    groups: dict[tuple[Any, ...], list[BarePhoto]] = {}
    for photo in photos:
        groups.setdefault(photo.camera_key, []).append(photo)
    return list(groups.values())


def counting_order(name: str) -> list[str | int]:
    """Sort key that takes digits as numbers: "2.jpg" before "10.jpg"; photos are taken in this order."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
