"""The formats of captures: one file each, and this list of them.

To add a format: write a file that ends in a `Format`, as `record3d.py` does, and add that to `FORMATS`.
"""

from pathlib import Path

from gags.capture.formats.base import Format
from gags.capture.formats.colmap import COLMAP
from gags.capture.formats.nerfstudio import NERFSTUDIO
from gags.capture.formats.polycam import POLYCAM
from gags.capture.formats.record3d import RECORD3D
from gags.errors import CaptureError

# In the order in which they are tried: where a folder holds several, the first one counts.
FORMATS: tuple[Format, ...] = (COLMAP, NERFSTUDIO, POLYCAM, RECORD3D)


def formats_in(root: Path) -> list[Format]:
    """All formats that a folder holds a capture of, the one that counts first."""
    return [each for each in FORMATS if each.find(root) is not None]


def find_format(root: Path) -> Format | None:
    """The format of the capture in a folder; None if it holds none, such as photos without poses."""
    return next(iter(formats_in(root)), None)


def format_named(name: str, file: Path) -> Format:
    """The format of this name.

    Args:
        name: What `file` calls it.
        file: Where the name was read, for the message.

    Raises:
        CaptureError: If no format has this name.
    """
    for each in FORMATS:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in FORMATS)
    raise CaptureError(
        f"{file} says that the capture has the format {name!r}, but only these are known: {known}; "
        "correct it, or run `gags run` with the capture again"
    )
