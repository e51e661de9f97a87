"""Messages between page and server: some JSON, and arrays of bytes behind it.

A message without arrays is a text: the JSON. One with arrays is binary: four bytes that say how long the JSON
is, little-endian; the JSON, whose `parts` are names and lengths; then the arrays, one behind the other.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

from gags.errors import QueryError

MOST_JSON = 1 << 20  # bytes
MOST_PARTS = 8
DEEPEST = 12  # lists in lists


def packed(message: Mapping[str, Any], parts: Mapping[str, bytes] | None = None) -> str | bytes:
    """A message as it is sent.

    Args:
        message: What JSON can hold.
        parts: Arrays by name.
    """
    if not parts:
        return json.dumps(message, allow_nan=False)
    lengths = [[name, len(content)] for name, content in parts.items()]
    head = json.dumps({**message, "parts": lengths}, allow_nan=False).encode()
    return struct.pack("<I", len(head)) + head + b"".join(parts.values())


def unpacked(received: str | bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A message and its arrays.

    Raises:
        QueryError: If it is no message.
    """
    try:
        if isinstance(received, str):
            return _table(received), {}
        (length,) = struct.unpack_from("<I", received)
        if length > MOST_JSON:
            raise ValueError("its JSON is too long")
        message = _table(received[4 : 4 + length].decode())
        return message, _parts(message.pop("parts", []), received[4 + length :])
    except (ValueError, struct.error, RecursionError, TypeError) as error:
        raise QueryError(f"this is no message of the viewer ({error})") from error


def _table(text: str) -> dict[str, Any]:
    if len(text) > MOST_JSON:
        raise ValueError("its JSON is too long")
    message = json.loads(text)
    if not isinstance(message, dict) or _depth(message) > DEEPEST:
        raise ValueError("its JSON is no table")
    return message


def _depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inside), default=0)


def _parts(lengths: Any, content: bytes) -> dict[str, bytes]:
    if not isinstance(lengths, list) or len(lengths) > MOST_PARTS:
        raise ValueError("its parts are no list")
    parts, start = {}, 0
    for name, length in lengths:
        if not isinstance(name, str) or type(length) is not int or not 0 <= length <= len(content) - start:
            raise ValueError("a part is longer than the message")
        parts[name] = content[start : start + length]
        start += length
    if start != len(content):
        raise ValueError("it is longer than its parts")
    return parts
