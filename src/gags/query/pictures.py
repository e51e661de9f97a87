"""Queries by example: a picture of what is meant, read and embedded as a mask of a photo is."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gags.capture.photos import read_photo
from gags.embed.crops import embed_masks
from gags.embed.encoder import Encoder
from gags.errors import CaptureError, QueryError
from gags.segment.masks import LEVELS, Masks

ORIENTATION = 0x0112  # the EXIF tag


def read_example(image: Path | str | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture of an example, upright, and which of its pixels show it: those that are not transparent.

    Args:
        image: A file; or an array, uint8 RGB [H, W, 3] or RGBA [H, W, 4].

    Returns:
        uint8 RGB [H, W, 3], bool [H, W]

    Raises:
        QueryError: If it is no picture, or all of it is transparent.
    """
    where = "the image" if isinstance(image, np.ndarray) else str(image)
    pixels, shown = _of_array(image) if isinstance(image, np.ndarray) else _of_file(Path(image))
    if not shown.any():
        raise QueryError(f"{where} shows nothing, all of it is transparent; give a picture of what is meant")
    return np.ascontiguousarray(pixels), shown


def _of_array(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        raise QueryError(
            f"an image is uint8 of shape (H, W, 3) or (H, W, 4), not {image.dtype} of {image.shape}"
        )
    opaque = np.ones(image.shape[:2], bool) if image.shape[2] == 3 else image[..., 3] > 127
    return image[..., :3], opaque


def _of_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise QueryError(f"there is no picture {path}; give the file of a picture of what is meant")
    try:
        pixels = Image.fromarray(read_photo(path))
        with Image.open(path) as picture:
            turned = picture.getexif().get(ORIENTATION, 1)
            see_through = picture.has_transparency_data
            alpha = (
                picture.convert("RGBA").getchannel("A") if see_through else Image.new("L", pixels.size, 255)
            )
    except CaptureError as error:
        reason = error.__cause__ or error
        raise QueryError(f"{path} is no picture that can be read ({reason}); give a JPEG or PNG") from error
    # Somebody's snapshot is meant as it looks; photos of a capture lie as their poses have them.
    pixels.getexif()[ORIENTATION] = alpha.getexif()[ORIENTATION] = turned
    upright = (ImageOps.exif_transpose(each) for each in (pixels, alpha))
    rgb, shown = (np.asarray(each) for each in upright)
    return rgb, shown > 127


def embed_example(image: np.ndarray, shown: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Embed a picture as a mask that covers what it shows.

    Args:
        image: uint8 RGB [H, W, 3]
        shown: Its pixels that count. bool [H, W]
        encoder: The encoder.

    Returns:
        L2-normalised. float32 [D]
    """
    labels = np.full((len(LEVELS), *shown.shape), -1, np.int16)
    labels[-1][shown] = 0
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.int32)
    masks = Masks(labels, np.array([len(LEVELS) - 1], np.int8), box, np.ones(1, np.float32))
    return embed_masks(image, masks, encoder)[0]
