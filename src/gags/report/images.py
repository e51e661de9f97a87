"""Pictures of a report: as files beside the page, and as data URIs inside it, small enough to open fast."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gags.draw.lettering import fit_within
from gags.files.trouble import refused
from gags.report.data import (
    MOST_ANSWERS,
    MOST_VIEWS,
    ReportData,
    answer_keys,
    thumb_key,
    view_key,
    worst_answers,
)

PAGE_BYTES = 12_000_000  # of pictures in the page, base64 included; larger pages open slowly
PAGE_SIZES = (
    (1100, 82),
    (900, 76),
    (700, 70),
    (500, 62),
    (340, 52),
    (240, 40),
)  # longest side in px, WebP quality
LEAST_SIDE = 160  # px, of the longest side of a picture in the page
ENCODED_AT_ONCE = 16  # pictures, so that a full page is noticed early

_FILES = ("answer_*.jpg", "cutout_*.jpg", "view_*.jpg")  # what a report may replace in its folder


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture on its way into a file or a page.

    Attributes:
        key: Its name: that of its file, and the one under which a template finds it.
        pixels: uint8 RGB [H, W, 3]
        share: Of the size of a photo in the page.
    """

    key: str
    pixels: np.ndarray
    share: float


@dataclass(frozen=True)
class PageImage:
    """A picture inside a page: its data URI and its size in px."""

    uri: str
    width: int
    height: int


Images = Mapping[str, PageImage]  # by key; a page leaves out what is missing


def report_pictures(report: ReportData) -> list[Picture]:
    """Every picture of a report that becomes a file, in the order of the page."""
    found: list[Picture] = []
    for card, (overlay, cutout) in zip(report.answers, answer_keys(report), strict=True):
        found.append(Picture(overlay, card.overlay, 0.75))
        if card.cutout is not None:
            found.append(Picture(cutout, card.cutout, 0.4))
    for index, view in enumerate(report.views):
        found.append(Picture(view_key(report, index, "photo"), view.photo, 1.0))
        if view.render is not None:
            found.append(Picture(view_key(report, index, "render"), view.render, 1.0))
        for picture in view.pictures:
            found.append(Picture(view_key(report, index, picture.title), picture.pixels, 0.7))
    return found


def pictures_in_page(report: ReportData, pictures: Sequence[Picture]) -> list[Picture]:
    """Those pictures of a report that its page shows, and small copies of the worst answers."""
    answers = answer_keys(report)
    hidden = {key for pair in answers[MOST_ANSWERS:] for key in pair}
    for index in range(MOST_VIEWS, len(report.views)):
        titles = ["photo", "render", *(picture.title for picture in report.views[index].pictures)]
        hidden |= {view_key(report, index, title) for title in titles}
    thumbs = [
        Picture(thumb_key(answers[index][0]), report.answers[index].overlay, 0.35)
        for index in worst_answers(report)
    ]
    return [picture for picture in pictures if picture.key not in hidden] + thumbs


def write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Write pictures as JPEG files; an earlier report's pictures go, other files in the folder stay."""
    try:
        _write_pictures(folder, pictures)
    except OSError as error:
        raise refused(error, error.filename or folder, "cannot be written") from error


def _write_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = {picture.key for picture in pictures}
    for pattern in _FILES:
        for path in folder.glob(pattern):
            if path.stem not in kept:
                path.unlink()

    def save(picture: Picture) -> None:
        Image.fromarray(picture.pixels).save(folder / f"{picture.key}.jpg", quality=90, subsampling=0)

    with ThreadPoolExecutor() as pool:
        list(pool.map(save, pictures))


def page_images(pictures: Sequence[Picture]) -> dict[str, PageImage]:
    """Pictures as data URIs, all at the largest size at which they fit into a page together.

    If they do not fit at the smallest size, the last ones are left out.
    """
    images: dict[str, PageImage] = {}
    for longest, quality in PAGE_SIZES:
        images = dict(_encoded(pictures, longest, quality))
        if len(images) == len(pictures):
            break
    return images


def _encoded(pictures: Sequence[Picture], longest: int, quality: int) -> Iterator[tuple[str, PageImage]]:
    """Encode until the page is full."""

    def encode(picture: Picture) -> PageImage:
        pixels = fit_within(picture.pixels, max(LEAST_SIDE, round(longest * picture.share)))
        return PageImage(_data_uri(pixels, quality), pixels.shape[1], pixels.shape[0])

    total = 0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(pictures), ENCODED_AT_ONCE):
            batch = pictures[start : start + ENCODED_AT_ONCE]
            for picture, image in zip(batch, pool.map(encode, batch), strict=True):
                total += len(image.uri)
                if total > PAGE_BYTES:
                    return
                yield picture.key, image


def _data_uri(pixels: np.ndarray, quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
