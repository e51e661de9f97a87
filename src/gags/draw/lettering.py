"""Words on pictures: captions, tags, legends, and sheets of several pictures."""

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gags.draw.colors import colorize

PAPER = (22, 24, 29)  # background of captions and sheets
INK = (236, 238, 242)
FAINT_INK = (160, 166, 176)
LEAST_TAG_LETTERS = 11  # px
LEAST_CAPTION_WIDTH = 200  # px; on narrower pictures the letters could not be read
FONT_SCALE = 1.09  # makes the letters of Pillow's font as large as those of most fonts of the same size
SYSTEM_FONTS = (  # the first that is installed writes what Pillow's font cannot: accents, Greek, Cyrillic
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
)
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def caption(picture: np.ndarray, text: str, right: str = "") -> np.ndarray:
    """A picture with a line of text in a band below it; nothing of the picture is covered.

    The letters grow with the picture. A picture under 200 px wide is centred on a 200 px wide band.

    Args:
        picture: uint8 RGB [H, W, 3]
        text: Shortened with an ellipsis if it does not fit.
        right: Short text set at the right end of the band, never shortened.

    Returns:
        uint8 RGB [H + band, max(W, 200), 3]
    """
    height, width = picture.shape[:2]
    size = _letter_size(height, width)
    band = np.empty((size * 2, max(width, LEAST_CAPTION_WIDTH), 3), np.uint8)
    band[:] = PAPER
    pad = size * 2 // 3
    right = _one_line(right)
    room = band.shape[1] - 2 * pad - (_text_width(right, size) + pad if right else 0)
    _write(band, _fit(_one_line(text), size, room), (pad, size // 2), size)
    if right:
        _write(band, right, (band.shape[1] - pad - _text_width(right, size), size // 2), size, FAINT_INK)
    return stack([picture, band])


def tag(picture: np.ndarray, text: str, xy: tuple[float, float], color: Sequence[int] | np.ndarray) -> None:
    """Write a short text into a picture, on a plate of a colour, moved so that all of it is inside.

    The letters are smaller than those of captions.

    Args:
        picture: uint8 RGB [H, W, 3]; changed in place.
        text: Cut off if it is wider than the picture.
        xy: Top left corner of the plate, px.
        color: Of the plate, RGB; the letters are dark.
    """
    height, width = picture.shape[:2]
    size = max(1, min(max(LEAST_TAG_LETTERS, width // 80), height // 2))
    text = _fit(_one_line(text), size, width - size)
    plate = (_text_width(text, size) + size // 2, round(size * 1.3))
    x, y = (
        round(min(max(0, at), max(0, room - side)))
        for at, room, side in zip(xy, (width, height), plate, strict=True)
    )
    picture[y : y + plate[1], x : x + plate[0]] = np.asarray(color, np.uint8)
    _write(picture, text, (x + size // 4, y + size // 8), size, PAPER)


def scale_legend(colormap: str, low: str, high: str, *, width: int = 480) -> np.ndarray:
    """A colour scale from left to right with the meaning of its two ends written below.

    Args:
        colormap: Name of a colour map; see `colorize`.
        low: Meaning of the left end.
        high: Meaning of the right end.
        width: Width in px, at least 200.

    Returns:
        uint8 RGB [h, width, 3]
    """
    width = max(width, LEAST_CAPTION_WIDTH)
    size = _letter_size(0, width)
    ramp = np.repeat(colorize(np.linspace(0, 1, width), colormap)[None], size, axis=0)
    return caption(ramp, low, high)


def swatch_legend(entries: Sequence[tuple[Sequence[int] | np.ndarray, str]], *, width: int) -> np.ndarray:
    """Coloured squares with their names, in as many lines as it takes.

    Args:
        entries: Pairs of an RGB colour and its meaning.
        width: Width in px, at least 200.

    Returns:
        uint8 RGB [h, width, 3]
    """
    width = max(width, LEAST_CAPTION_WIDTH)
    size = _letter_size(0, width)
    gap = size * 2 // 3
    places: list[tuple[int, int, str]] = []
    x, line = gap, 0
    for _, name in entries:
        name = _fit(_one_line(name), size, width - 3 * gap - size)
        step = size + gap // 2 + _text_width(name, size)
        if x > gap and x + step + gap > width:
            x, line = gap, line + 1
        places.append((x, line * 2 * size + size // 2, name))
        x += step + 2 * gap
    picture = np.empty(((line + 1) * 2 * size, width, 3), np.uint8)
    picture[:] = PAPER
    for (color, _), (x, y, name) in zip(entries, places, strict=True):
        picture[y : y + size, x : x + size] = np.asarray(color, np.uint8)
        _write(picture, name, (x + size + gap // 2, y), size)
    return picture


def grid(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    *,
    columns: int | None = None,
    cell_width: int | None = None,
    gap: int = 8,
) -> np.ndarray:
    """Several pictures on one sheet, row by row, each scaled to the width of a cell.

    Args:
        pictures: uint8 RGB [h, w, 3], of any sizes; at least one.
        captions: One a picture, or none at all.
        columns: How many side by side; by default a sheet about as wide as high.
        cell_width: Width of a picture on the sheet in px; by default that of the widest.
        gap: Space between pictures in px.

    Returns:
        uint8 RGB [H, W, 3]

    Raises:
        ValueError: If there is no picture, or the captions are not as many as the pictures.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns = min(columns or int(np.ceil(np.sqrt(len(pictures)))), len(pictures))
    width = cell_width or max(picture.shape[1] for picture in pictures)
    cells = [fit_width(picture, width) for picture in pictures]
    if captions:
        cells = [caption(cell, text) for cell, text in zip(cells, captions, strict=True)]
    width = max(cell.shape[1] for cell in cells)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    sheet = np.empty((sum(heights) + gap * (len(rows) - 1), columns * (width + gap) - gap, 3), np.uint8)
    sheet[:] = PAPER
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            x = column * (width + gap) + (width - cell.shape[1]) // 2
            sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        y += height + gap
    return sheet


def side_by_side(left: np.ndarray, right: np.ndarray, captions: Sequence[str] = ()) -> np.ndarray:
    """Two pictures next to each other at the same width. uint8 RGB [h, w, 3] → [H, W, 3]"""
    return grid([left, right], captions, columns=2)


def fit_width(picture: np.ndarray, width: int) -> np.ndarray:
    """The picture scaled to a width, its proportions kept. uint8 RGB [h, w, 3] → [H, width, 3]"""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return resize(picture, height, width)


def fit_within(picture: np.ndarray, longest: int) -> np.ndarray:
    """The picture scaled down until no side is longer than `longest` px; never enlarged."""
    scale = longest / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return resize(picture, max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture at another size, averaged when it shrinks. uint8 RGB [h, w, 3] → [height, width, 3]"""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = width < picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures one below the other, each centred. uint8 RGB [h, w, 3] → [sum of h, greatest w, 3]"""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([_pad_to(picture, picture.shape[0], width) for picture in pictures])


def _letter_size(height: int, width: int) -> int:
    return int(np.clip(round(0.026 * max(width, 0.6 * height)), 13, 96))


def _one_line(text: str) -> str:
    """The text on one line; without accents, if no font here can write them."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if _has_letters(line) or _system_font(LEAST_TAG_LETTERS) is not None:
        return line
    return "".join(c for c in unicodedata.normalize("NFKD", line) if not unicodedata.combining(c))


def _font(text: str, size: int) -> _Font:
    """Pillow's own font, which is the same everywhere; a font of the system for texts it cannot write."""
    other = None if _has_letters(text) else _system_font(size)
    return other or _pillow_font(size)


@cache
def _pillow_font(size: int) -> _Font:
    return ImageFont.load_default(FONT_SCALE * size)


@cache
def _system_font(size: int) -> _Font | None:
    for name in SYSTEM_FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return None


def _has_letters(text: str) -> bool:
    """Whether Pillow's own font has all letters of a text."""
    return all(map(_has_letter, text))


@cache
def _has_letter(letter: str) -> bool:
    return _drawn(letter) != _drawn("\uffff")  # which is no letter of any font


def _drawn(letter: str) -> bytes:
    canvas = Image.new("L", (2 * LEAST_TAG_LETTERS, 2 * LEAST_TAG_LETTERS))
    ImageDraw.Draw(canvas).text((0, 0), letter, fill=255, font=_pillow_font(LEAST_TAG_LETTERS))
    return canvas.tobytes()


def _text_width(text: str, size: int) -> int:
    return int(np.ceil(_font(text, size).getlength(text)))


def _fit(text: str, size: int, room: int) -> str:
    """The text, or as much of its beginning as fits into `room` px with an ellipsis."""
    if _text_width(text, size) <= room:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _text_width(text[:middle].rstrip() + "…", size) <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + "…" if fits else ""


def _write(
    picture: np.ndarray, text: str, xy: tuple[int, int], size: int, color: tuple[int, int, int] = INK
) -> None:
    canvas = Image.fromarray(picture)
    baseline = (xy[0], xy[1] + round(size * 0.86))
    ImageDraw.Draw(canvas).text(baseline, text, fill=color, font=_font(text, size), anchor="ls")
    picture[:] = np.asarray(canvas)


def _pad_to(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    if picture.shape[:2] == (height, width):
        return picture
    padded = np.empty((height, width, 3), np.uint8)
    padded[:] = PAPER
    y, x = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    padded[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return padded
