"""What a service allows."""

from dataclasses import dataclass

from gags.files.ranges import Range, Settings, ranged

THIS_MACHINE = "127.0.0.1"
LOCAL_ADDRESSES = (THIS_MACHINE, "localhost", "::1")
LONGEST_TEXT = 200  # characters: CLIP reads 77 tokens
MOST_TEXTS = 32  # of one request
MOST_FOUND = 200  # rows of a search
LONGEST_SIDE = 2048  # px, of pictures


@dataclass(frozen=True)
class ServeSettings(Settings, prefix=""):
    """Where a service listens, who may ask, and how much."""

    host: str = THIS_MACHINE
    """Address to listen on. With another one than the default, other machines reach the scenes."""
    port: int = ranged(8090, Range(0, 65_535))
    """Port to listen on; 0 takes any that is free."""
    token: str | None = None
    """What clients send as `Authorization: Bearer TOKEN`; "" lets everybody in, None makes one up."""
    memory_gb: float = ranged(0.0, Range(0, 100_000))
    """Scenes are dropped, those asked longest ago first, once they take more than this; 0 takes half of the
    memory that is free, of a GPU if they lie on one."""
    rate: float = ranged(100.0, Range(0, 1_000_000, low_open=True))
    """Requests a second that one address may send, for long; for a moment twice as many."""
    waiting: int = ranged(256, Range(1, 100_000))
    """Requests that may wait at once; further ones are told to come back (503)."""
    largest_body_mb: float = ranged(16.0, Range(0, 1_000, low_open=True))
    """Of a request, in MB."""
