"""Photo files: which there are, their size without decoding, their pixels as RGB, and a hash of them.

Pixels are taken as they lie in the file; an EXIF orientation is applied only if that is asked for. COLMAP
reads photos without it, so poses usually belong to the raw pixels.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, features

from gags.errors import CaptureError
from gags.files.looks import sample_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")  # of telephones; with the extra `heif`
AVIF_SUFFIXES = (".avif",)  # with Pillow, from version 11.3 on
OTHER_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".jxl")  # never read
PICTURE_SUFFIXES = (*SUFFIXES, *HEIF_SUFFIXES, *AVIF_SUFFIXES, *OTHER_SUFFIXES)
# Folders of thumbnails and deleted files, of network drives and of zip files made on a Mac.
_NO_PHOTOS = {"@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot", "__macosx", "$recycle.bin"}
# Folders beside the photos that hold a picture of each, which is no photo; masks_4 goes with images_4.
_MAPS = re.compile(r"(mask|depth|normal)s?(_map)?s?(_\d+)?")
# What gags itself writes into its results: a scene, and a capture whose poses were found.
_SCENE_RECORD, _POSES_RECORD = "config.toml", "matching/record.json"
_SCENE_KEY = b"gags = "
_MOST_SHOWN = 255  # letters of a name in a message; damaged files have longer ones
_TAIL = 1 << 12  # bytes at the end of a file, in which its last marker is looked for

# EXIF's orientation → what NumPy does to the raw pixels to put them upright.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def listed(names: list[str], most: int = 3) -> str:
    """The first names of a list, for messages: "a.jpg, b.jpg, c.jpg and 4 more"."""
    rest = len(names) - most
    shown = [name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…" for name in names[:most]]
    text = ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # bytes that are no UTF-8 can be shown


def photos_in(folder: Path, *, deep: bool) -> list[Path]:
    """All photos in a folder (and below it, if `deep`) that can be read.

    Left out are hidden files, folders that are called like photos, thumbnails of network drives, masks and
    other maps in a folder of their own beside the photos, and scenes and captures that gags wrote below it.
    """
    return [path for path in _pictures(folder, deep) if path.suffix.lower() in readable_suffixes()]


def unreadable_photos(folder: Path, *, deep: bool) -> list[Path]:
    """Photos in formats that cannot be read here: raw ones, and HEIC without the extra `heif`."""
    return [path for path in _pictures(folder, deep) if path.suffix.lower() not in readable_suffixes()]


def why_unreadable(paths: list[Path]) -> str:
    """What is wrong with photos from `unreadable_photos`, and what to do: a clause for messages."""
    heif = [path for path in paths if path.suffix.lower() in HEIF_SUFFIXES]
    names = listed([path.name for path in paths])
    if heif:
        return (
            f"{len(paths)} photos cannot be read without the extra heif ({names}); pip install 'gags[heif]'"
        )
    return f"{len(paths)} photos are of a format that is not read ({names}); convert them to JPEG first"


def map_folders(folder: Path) -> list[Path]:
    """Folders of masks, depths or normals in a folder of photos: `photos_in` leaves their pictures out."""
    found = (path for path in folder.rglob("*") if path.is_dir() and _MAPS.fullmatch(path.name.lower()))
    return sorted(path for path in found if _is_visible(path, folder))


@cache
def readable_suffixes() -> tuple[str, ...]:
    """Suffixes of the photos that can be read here, lower case."""
    avif = AVIF_SUFFIXES if features.check("avif") else ()
    return (*SUFFIXES, *(HEIF_SUFFIXES if _reads_heif() else ()), *avif)


@cache
def _reads_heif() -> bool:
    """Whether the extra `heif` is here; tells Pillow about it."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _pictures(folder: Path, deep: bool) -> list[Path]:
    found = [
        path
        for path in (folder.rglob("*") if deep else folder.glob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES and _is_visible(path, folder) and path.is_file()
    ]
    made = {parent: is_result(parent) for path in found for parent in _between(path, folder)}
    found = [path for path in found if not any(made[parent] for parent in _between(path, folder))]
    photos = [path for path in found if not _is_map(path, folder)]
    return sorted(photos or found)  # a folder of nothing but masks was meant to be read


def is_scene(folder: Path) -> bool:
    """Whether a folder is a scene that gags made: its pictures are those of a report, not photos."""
    config = folder / _SCENE_RECORD
    try:
        if not config.is_file():
            return False
        with open(config, "rb") as file:
            return _SCENE_KEY in file.read(256)
    except OSError:
        return False


def is_result(folder: Path) -> bool:
    """Whether a folder is a scene, or a capture whose poses gags found."""
    return is_scene(folder) or (folder / _POSES_RECORD).is_file()


def _between(path: Path, folder: Path) -> list[Path]:
    """The folders that a file lies in, below another one."""
    return [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]


def _is_visible(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return not any(part.startswith(".") or part.lower() in _NO_PHOTOS for part in parts)


def _is_map(path: Path, folder: Path) -> bool:
    return any(_MAPS.fullmatch(part.lower()) for part in path.relative_to(folder).parts[:-1])


def opened(path: Path) -> Image.Image:
    """A photo of which the header was read; to be closed."""
    if path.suffix.lower() in HEIF_SUFFIXES:
        _reads_heif()
    return Image.open(path)


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height from the header of a photo, of its raw pixels.

    Raises:
        CaptureError: If the file is not a photo.
    """
    try:
        with opened(path) as photo:
            return photo.size
    except _DAMAGES as error:
        raise _unreadable(path, error) from error


def photo_orientation(path: Path) -> int:
    """EXIF's orientation of a photo from 1 to 8; 1, which is upright, where it says none.

    Raises:
        CaptureError: If the file is not a photo.
    """
    try:
        with opened(path) as photo:
            return exif_orientation(photo.getexif())
    except _DAMAGES as error:
        raise _unreadable(path, error) from error


def has_alpha(path: Path) -> bool:
    """Whether a photo says which of its pixels are transparent, by its header.

    Raises:
        CaptureError: If the file is not a photo.
    """
    try:
        with opened(path) as photo:
            return with_alpha(photo)
    except _DAMAGES as error:
        raise _unreadable(path, error) from error


def with_alpha(photo: Image.Image) -> bool:
    """Whether an opened picture has an alpha channel, or a colour that stands for transparent."""
    return photo.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in photo.info


def exif_orientation(exif: Image.Exif) -> int:
    """Orientation from 1 to 8, 1 where it is missing or nonsense."""
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in _UPRIGHT else 1


def check_whole(path: Path) -> None:
    """Make sure that a photo is there to its end, at little cost: most files end in a marker.

    Raises:
        CaptureError: If it is cut short or damaged.
    """
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            tail = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    suffix = path.suffix.lower()
    if suffix in (".jpg", ".jpeg") and tail.endswith(b"\xff\xd9"):
        return
    if suffix == ".png" and tail.endswith(b"IEND\xaeB`\x82"):
        return
    read_photo(path)


def read_photo(path: Path, orientation: int = 1) -> np.ndarray:
    """Decode a photo; grey becomes RGB, 16 bits become 8, transparent parts become black.

    Args:
        path: The file.
        orientation: EXIF's, by which the pixels are turned; 1 leaves them as they are.

    Returns:
        uint8 RGB [H, W, 3]

    Raises:
        CaptureError: If the file is missing, damaged, or holds no picture of 8 or 16 bits a channel.
    """
    return decoded(path, _rgb, orientation)


def decoded(path: Path, read: Callable[[Image.Image], np.ndarray], orientation: int = 1) -> np.ndarray:
    """What is made of the pixels of a picture, turned.

    Args:
        path: The file.
        read: Makes an array of the opened picture. [H, W, ...]
        orientation: EXIF's, by which the array is turned; 1 leaves it as it is.

    Raises:
        CaptureError: If the file is missing or damaged, or `read` cannot take it.
    """
    try:
        with opened(path) as photo:
            photo.load()
            image = read(photo)
    except _DAMAGES as error:
        raise _unreadable(path, error) from error
    return np.ascontiguousarray(_UPRIGHT[orientation](image)) if orientation in _UPRIGHT else image


def photo_sample(path: Path) -> bytes:
    """Hash of a photo's file, which changes when the photo does; see `gags.files.looks.sample_of`.

    Raises:
        CaptureError: If the file cannot be read.
    """
    try:
        return bytes.fromhex(sample_of(path))
    except OSError as error:
        raise CaptureError(f"photo {path} cannot be read ({error.strerror}); put it back") from error


def _rgb(photo: Image.Image) -> np.ndarray:
    if photo.mode.startswith("I"):  # Pillow would clip 16-bit greys at 255 instead of scaling them
        deep = np.asarray(photo).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if photo.mode == "F":
        raise ValueError("floating-point pixels")
    if with_alpha(photo):
        rgba = photo.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba))[
            ..., :3
        ].copy()
    return np.array(photo.convert("RGB"))


# What Pillow raises at files that are damaged, or of a format that it does not know.
_DAMAGES = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def _unreadable(path: Path, error: Exception) -> CaptureError:
    if isinstance(error, FileNotFoundError):
        return CaptureError(f"photo {path} is not there; put it back or make the capture again")
    if path.suffix.lower() in PICTURE_SUFFIXES and path.suffix.lower() not in readable_suffixes():
        return CaptureError(f"photo {path} cannot be read: {why_unreadable([path])}")
    reason = str(error).replace(f" {str(path)!r}", "")
    return CaptureError(
        f"photo {path} cannot be read ({reason}); replace it by a whole JPEG or PNG, or remove it"
    )
