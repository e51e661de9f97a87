"""Photos that have no poses yet: which there are, how large, and which share a camera."""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import ExifTags, Image

from gags.capture.photos import SUFFIXES, listed, photos_in, read_photo
from gags.errors import CaptureError

LEAST_PHOTOS = 3  # two photos show no scale, and nothing to check a third against
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".3gp")
UNREADABLE_SUFFIXES = (".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf")

# EXIF's orientation → what NumPy does to the raw pixels to put them upright.
_UPRIGHT = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
FULL_FRAME_DIAGONAL_MM = 43.27  # what "35 mm equivalent" focal lengths refer to
DEFAULT_FOCAL = 1.2  # of the longer side, about 45° across; where EXIF says nothing


@dataclass(frozen=True)
class BarePhoto:
    """A photo without a pose, as its file describes it.

    Attributes:
        name: File name relative to the folder, with forward slashes.
        path: The file.
        width: Width in pixels once upright.
        height: Height in pixels once upright.
        turned: EXIF orientation, 1 if the pixels are upright as they are.
        focal: Focal length in pixels from EXIF, None if EXIF does not tell.
        maker: Make and model of the camera, "" if EXIF does not tell.
        pinhole: fx, fy, cx, cy in pixels where they are known and need not be found.
    """

    name: str
    path: Path
    width: int
    height: int
    turned: int = 1
    focal: float | None = None
    maker: str = ""
    pinhole: tuple[float, float, float, float] | None = None

    @property
    def key(self) -> str:
        """The name as COLMAP's lists of pairs can hold it, without blanks."""
        return quote(self.name)

    @property
    def camera_key(self) -> tuple[Any, ...]:
        """Photos with equal keys were taken by one camera, at one zoom, as far as can be told."""
        focal = None if self.focal is None else round(self.focal, 1)
        return self.width, self.height, self.maker, focal, self.pinhole

    def upright(self) -> np.ndarray:
        """The pixels, turned as EXIF says. uint8 RGB [height, width, 3]"""
        image = read_photo(self.path)
        return np.ascontiguousarray(_UPRIGHT[self.turned](image)) if self.turned != 1 else image


def is_video(path: Path) -> bool:
    """Whether a path is a video, by its suffix."""
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


def bare_photos(folder: Path, *, ignore: Path | None = None) -> list[BarePhoto]:
    """All photos of a folder and the folders below it, in the order of their names as people count: 9, 10.

    Args:
        folder: Where to look.
        ignore: Folder to leave out, such as that of the result.

    Raises:
        CaptureError: If there are none or too few, one is damaged, or two differ by their suffix alone.
    """
    if not folder.is_dir():
        raise CaptureError(
            f"{folder} is {'no folder of photos and no video' if folder.exists() else 'not there'}; "
            f"give a folder of photos ({', '.join(SUFFIXES)}) or a video ({', '.join(VIDEO_SUFFIXES)})"
        )
    ours = None if ignore is None else ignore.resolve()
    paths = [p for p in photos_in(folder, deep=True) if ours is None or ours not in p.resolve().parents]
    if len(paths) < LEAST_PHOTOS:
        raise CaptureError(_too_few(folder, len(paths)))
    common = Path(os.path.commonpath([path.parent for path in paths]))
    names = {path.relative_to(common).as_posix(): path for path in paths}
    photos = [bare_photo(names[name], name) for name in sorted(names, key=counting_order)]
    stems = [PurePosixPath(photo.name).with_suffix("").as_posix() for photo in photos]
    twins = sorted({photo.name for photo, stem in zip(photos, stems, strict=True) if stems.count(stem) > 1})
    if twins:
        raise CaptureError(
            f"{folder}: photos share a name but for the suffix ({listed(twins)}); rename one of each"
        )
    return photos


def counting_order(name: str) -> list[str | int]:
    """Sort key that takes digits as numbers: "2.jpg" before "10.jpg"; photos are taken in this order."""
    parts = re.split("([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def bare_photo(path: Path, name: str) -> BarePhoto:
    """Size, orientation and camera of a photo, from its header.

    Raises:
        CaptureError: If it is no photo.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            exif = image.getexif()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaptureError(
            f"photo {path} cannot be read ({type(error).__name__}); replace or remove it"
        ) from error
    turned = exif.get(ExifTags.Base.Orientation, 1)
    turned = turned if turned in _UPRIGHT else 1
    if turned >= 5:
        width, height = height, width
    details = exif.get_ifd(ExifTags.IFD.Exif)
    equivalent = details.get(ExifTags.Base.FocalLengthIn35mmFilm)
    maker = " ".join(
        str(exif[tag]).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model) if tag in exif
    )
    return BarePhoto(name, path, width, height, turned, focal_pixels(equivalent, width, height), maker)


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


def _too_few(folder: Path, count: int) -> str:
    found = "no photos" if count == 0 else f"only {count} photo{'s' if count > 1 else ''}"
    others = sorted(path for path in folder.rglob("*") if path.is_file())
    videos = [path for path in others if path.suffix.lower() in VIDEO_SUFFIXES]
    raw = [path for path in others if path.suffix.lower() in UNREADABLE_SUFFIXES]
    if videos:
        remedy = f"there is a video: give {videos[0]} itself"
    elif raw:
        suffix = raw[0].suffix
        remedy = f"its {len(raw)} files {suffix} cannot be read: convert them to JPEG first"
    else:
        remedy = f"give a folder with {LEAST_PHOTOS} or more, better 30 or more ({', '.join(SUFFIXES)})"
    return f"{folder} holds {found}, and poses need {LEAST_PHOTOS}; {remedy}"
