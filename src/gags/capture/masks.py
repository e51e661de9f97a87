"""Which pixels of a photo count, and which are to be ignored: people, the sky, a turntable.

A mask is a picture of the same shape as its photo: what is black in it is ignored, everything else counts, as
in COLMAP, nerfstudio, Brush and OpenSplat. In photos with an alpha channel, what is transparent is ignored.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from gags.capture.photos import (
    AVIF_SUFFIXES,
    HEIF_SUFFIXES,
    decoded,
    photo_size,
    with_alpha,
)
from gags.errors import CaptureError

# Formats that do not keep pixels exactly: black comes back as nearly black, so half counts as the border.
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp", *HEIF_SUFFIXES, *AVIF_SUFFIXES)
LEAST_LOSSY = 128  # of 255
LEAST_ALPHA = 128  # of 255: what is less opaque shows more of what is behind than of the photo
SLACK_PX = 1.0  # each side of a mask that was made smaller is rounded, up or down


def kept_of_alpha(path: Path, orientation: int = 1) -> np.ndarray:
    """Which pixels of a photo are opaque.

    Args:
        path: The photo.
        orientation: EXIF's, by which its pixels are turned.

    Returns:
        bool [H, W]

    Raises:
        CaptureError: If the photo cannot be read.
    """
    return decoded(path, lambda photo: np.asarray(photo.convert("RGBA"))[..., 3] >= LEAST_ALPHA, orientation)


def kept_of_mask(path: Path, size: tuple[int, int], orientation: int = 1) -> np.ndarray:
    """Which pixels of a photo a mask keeps.

    Args:
        path: The mask. A mask of another size, but of the shape of its photo, is resized.
        size: Width and height of the photo once it is turned.
        orientation: EXIF's, by which the photo is turned. A mask that has the shape of the photo as its
            pixels lie in the file is turned with it.

    Returns:
        bool [H, W]

    Raises:
        CaptureError: If the mask cannot be read or has another shape than its photo.
    """
    kept = decoded(path, _is_kept(path), check_mask(path, size, orientation))
    return kept if kept.shape == (size[1], size[0]) else _nearest(kept, *size)


def check_mask(path: Path, size: tuple[int, int], orientation: int = 1) -> int:
    """Make sure that a mask has the shape of its photo, by its header; see `kept_of_mask`.

    Returns:
        The orientation by which the mask is to be turned.

    Raises:
        CaptureError: If it has another shape.
    """
    try:
        own = photo_size(path)
    except CaptureError as error:
        raise _unreadable(path, error) from error
    if same_shape(own, size):
        return 1
    if orientation >= 5 and same_shape((own[1], own[0]), size):
        return orientation
    raise CaptureError(
        f"mask {path} is {own[0]}×{own[1]}, but its photo is {size[0]}×{size[1]}, which is another shape; "
        "make the mask from the photo, or leave masks out (--masks none)"
    )


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two pictures are the same but for their size, each side rounded; width and height of each."""
    small, large = sorted((one, other))
    least = max((side - SLACK_PX) / full for side, full in zip(small, large, strict=True))
    most = min((side + SLACK_PX) / full for side, full in zip(small, large, strict=True))
    return one == other or least < most


def resized_kept(kept: np.ndarray, width: int, height: int) -> np.ndarray:
    """The same for a photo that was resized.

    A pixel of a smaller photo is a mean of several: it counts if all of them do, so that nothing of what is
    ignored gets into it. If no pixel would be left, the nearest one decides.

    Args:
        kept: bool [H, W]
        width: Of the resized photo, px.
        height: Of the resized photo, px.

    Returns:
        bool [height, width]
    """
    import cv2

    if kept.shape == (height, width):
        return kept
    if kept.shape[0] >= height and kept.shape[1] >= width:
        ignored = cv2.resize((~kept).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        if (ignored < 1e-6).any():
            return ignored < 1e-6
    return _nearest(kept, width, height)


def _nearest(kept: np.ndarray, width: int, height: int) -> np.ndarray:
    """The value at the centre of every pixel. bool [height, width]"""
    rows = ((np.arange(height) + 0.5) * kept.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * kept.shape[1] / width).astype(np.int64)
    return kept[rows[:, None], columns]


def mask_digest(path: Path) -> bytes:
    """Hash of all bytes of a mask: it is small, and where a few pixels change, its size may stay.

    Raises:
        CaptureError: If the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise CaptureError(f"mask {path} cannot be read ({error.strerror}); put it back") from error


def _is_kept(path: Path) -> Callable[[Image.Image], np.ndarray]:
    """A function from an opened mask to which of its pixels are not black. → bool [H, W]"""
    least = LEAST_LOSSY if path.suffix.lower() in LOSSY_SUFFIXES else 1

    def read(mask: Image.Image) -> np.ndarray:
        if mask.mode.startswith("I") or mask.mode == "F":  # 16 bits; Pillow would clip them
            return np.asarray(mask) > 0
        if with_alpha(mask):
            rgba = np.asarray(mask.convert("RGBA"))
            return (rgba[..., :3].max(axis=-1) >= least) & (rgba[..., 3] > 0)
        values = np.asarray(mask if mask.mode == "L" else mask.convert("RGB"))
        return values >= least if values.ndim == 2 else values.max(axis=-1) >= least

    return read


def _unreadable(path: Path, error: CaptureError) -> CaptureError:
    if not path.is_file():
        return CaptureError(
            f"mask {path} is not there; put it back, or run `gags run` with the capture again"
        )
    return CaptureError(f"mask: {error}")
