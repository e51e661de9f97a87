"""Pictures inside a page: as data URIs, small enough together for the page to open quickly."""

import base64
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gags.draw.lettering import fit_within
from gags.report.parts import Embedded

PAGE_BYTES = 12_000_000  # of pictures in the page, base64 included; larger pages open slowly
SIZES = (
    (1100, 82),
    (900, 76),
    (700, 70),
    (500, 62),
    (340, 52),
    (240, 40),
)  # longest side in px, WebP quality
BATCH = 16  # pictures encoded at once, so that a full page is noticed early


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture on its way into a file or the page; `share` of the page's picture size, 1 for photos."""

    key: str
    pixels: np.ndarray
    share: float


def embed(wanted: Sequence[Picture]) -> dict[str, Embedded]:
    """Pictures as data URIs, all at the largest size at which they fit into a page together."""
    embedded: dict[str, Embedded] = {}
    for longest, quality in SIZES:
        embedded = dict(_encoded(wanted, longest, quality))
        if len(embedded) == len(wanted):
            break
    return embedded


def _encoded(wanted: Sequence[Picture], longest: int, quality: int) -> Iterator[tuple[str, Embedded]]:
    """Encode until the page is full."""

    def encode(picture: Picture) -> Embedded:
        pixels = fit_within(picture.pixels, max(160, round(longest * picture.share)))
        return Embedded(_data_uri(pixels, quality), pixels.shape[1], pixels.shape[0])

    total = 0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            for picture, embedded in zip(batch, pool.map(encode, batch), strict=True):
                total += len(embedded.uri)
                if total > PAGE_BYTES:
                    return
                yield picture.key, embedded


def _data_uri(pixels: np.ndarray, quality: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
