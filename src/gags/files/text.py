"""Text that other programs wrote, whatever encoding they used."""

import json
from pathlib import Path
from typing import Any

_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_text(path: Path) -> str:
    """A text file: UTF-8 with a mark or without, or UTF-16 with one.

    Bytes that are none of these stay in the text as `surrogateescape` keeps them; `gags.capture.names` knows
    what they mean in names of photos.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it begins as UTF-16 and is not.
    """
    data = path.read_bytes()
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "strict")
    return data.decode("utf-8", "surrogateescape")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no JSON, or nested deeper than any program would write it.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
