"""Messages of the viewer: what is packed is unpacked, and what is no message is refused."""

import json
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gags.errors import QueryError
from gags.viewer.wire import MOST_JSON, packed, unpacked


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(
    st.dictionaries(
        st.text(max_size=5).filter(lambda key: key != "parts"), st.integers() | st.text(), max_size=4
    ),
    st.dictionaries(st.text(max_size=5), st.binary(max_size=20), max_size=4),
)
def test_what_is_packed_is_unpacked(message, parts):
    sent = packed(message, parts)
    assert isinstance(sent, str) == (not parts)
    assert unpacked(sent) == (message, parts)


def _binary(head: object, content: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text) if length is None else length) + text + content


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "[]",
        "3",
        '{"a":',
        "{" * 3000,
        '{"a":' * 20 + "1" + "}" * 20,
        '"' + "x" * MOST_JSON + '"',
        b"",
        b"\x01\x00",
        _binary({"parts": []}, length=1 << 31),
        _binary({"parts": [["a", 5]]}, b"1234"),
        _binary({"parts": [["a", 3]]}, b"1234"),
        _binary({"parts": [["a", -1]]}),
        _binary({"parts": [["a", 1.0]]}, b"1"),
        _binary({"parts": [["a", True]]}, b"1"),
        _binary({"parts": [[3, 1]]}, b"1"),
        _binary({"parts": [["a"]]}, b"1"),
        _binary({"parts": 3}),
        _binary({"parts": [["a", 0]] * 9}),
        struct.pack("<I", 2) + b"\xff\xfe",
    ],
)
def test_what_is_no_message_is_refused(sent):
    with pytest.raises(QueryError, match="no message of the viewer"):
        unpacked(sent)
