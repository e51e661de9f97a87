"""Photo files: which there are, their size without decoding, their pixels as RGB, and a hash of them.

Pixels are taken as they lie in the file; an EXIF orientation is not applied. That is how COLMAP reads photos,
so the poses belong to the raw pixels.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from gags.errors import CaptureError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")


def listed(names: list[str], most: int = 3) -> str:
    """The first names of a list, for messages: "a.jpg, b.jpg, c.jpg and 4 more"."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def photos_in(folder: Path, *, deep: bool) -> list[Path]:
    """All photos in a folder (and below it, if `deep`), hidden ones left out."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(
        path
        for path in found
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height from the header of a photo.

    Raises:
        CaptureError: If the file is not a photo.
    """
    try:
        with Image.open(path) as photo:
            return photo.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def read_photo(path: Path) -> np.ndarray:
    """Decode a photo; grey becomes RGB, 16 bits become 8, transparent parts become black.

    Returns:
        uint8 RGB [H, W, 3]

    Raises:
        CaptureError: If the file is missing, damaged, or holds no picture of 8 or 16 bits a channel.
    """
    try:
        with Image.open(path) as photo:
            photo.load()
            return _rgb(photo)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def photo_sample(path: Path, block: int = 1 << 16) -> bytes:
    """Hash of a file's size in bytes and of its first, middle and last 64 KiB; changes when the photo does.

    Raises:
        CaptureError: If the file cannot be read.
    """
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with open(path, "rb") as file:
            for start in sorted({0, max(0, size // 2 - block // 2), max(0, size - block)}):
                file.seek(start)
                digest.update(file.read(block))
    except OSError as error:
        raise CaptureError(f"photo {path} cannot be read ({error.strerror}); put it back") from error
    return digest.digest()


def _rgb(photo: Image.Image) -> np.ndarray:
    if photo.mode.startswith("I"):  # Pillow would clip 16-bit greys at 255 instead of scaling them
        deep = np.asarray(photo).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if photo.mode == "F":
        raise ValueError("floating-point pixels")
    if photo.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in photo.info:
        rgba = photo.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba))[
            ..., :3
        ].copy()
    return np.array(photo.convert("RGB"))


def _unreadable(path: Path, error: Exception) -> CaptureError:
    if isinstance(error, FileNotFoundError):
        return CaptureError(f"photo {path} is not there; put it back or make the capture again")
    reason = str(error).replace(f" {str(path)!r}", "")
    return CaptureError(
        f"photo {path} cannot be read ({reason}); replace it by a whole JPEG or PNG, or remove its pose"
    )
