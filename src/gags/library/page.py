"""The page of what was found in a library: a picture each, by encoder and scene."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gags._version import __version__
from gags.errors import LibraryError
from gags.library.records import STATE_WORDS, Found
from gags.report.images import PageImage
from gags.report.pages import write_page


@dataclass(frozen=True)
class Card:
    """A result as the page shows it: its number from 1 on, and its picture, if there is one."""

    number: int
    found: Found
    image: PageImage | None

    @property
    def state(self) -> str:
        """What the reader should know of its scene."""
        return STATE_WORDS[self.found.state]


def write_found(path: Path | str, asked: str, found: Sequence[Found], *, library: str = "") -> Path:
    """Write a page of what a library found.

    Args:
        path: The HTML file.
        asked: What was asked, as the reader would say it.
        found: What `Library.search` gave.
        library: Where the library is.

    Returns:
        The path.

    Raises:
        LibraryError: If the file cannot be written.
    """
    cards: dict[str, list[Card]] = {}
    for result in found:
        cards.setdefault(result.encoder, []).append(
            Card(len(cards.get(result.encoder, ())) + 1, result, _image(result))
        )
    scenes = sorted({(result.scene, result.path) for result in found})
    try:
        return write_page(
            Path(path),
            "library.html",
            asked=asked,
            library=library,
            encoders=cards,
            scenes=scenes,
            version=__version__,
        )
    except OSError as error:
        raise LibraryError(f"cannot write {path} ({error.strerror}); choose another --out") from error


def _image(found: Found) -> PageImage | None:
    try:
        with Image.open(io.BytesIO(found.thumbnail)) as picture:
            width, height = picture.size
    except OSError:  # there is none, or the library is damaged there
        return None
    return PageImage("data:image/jpeg;base64," + base64.b64encode(found.thumbnail).decode(), width, height)
