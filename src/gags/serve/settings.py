"""What a service allows."""

from dataclasses import dataclass

THIS_MACHINE = "127.0.0.1"
LOCAL_ADDRESSES = (THIS_MACHINE, "localhost", "::1")
LONGEST_TEXT = 200  # characters: CLIP reads 77 tokens
MOST_TEXTS = 32  # of one request
MOST_FOUND = 200  # rows of a search
LONGEST_SIDE = 2048  # px, of pictures


@dataclass(frozen=True)
class ServeSettings:
    """Where a service listens, who may ask, and how much.

    Attributes:
        host: Address to listen on. With another one than the default, other machines reach the scenes.
        port: Port to listen on; 0 takes any that is free.
        token: What clients send as `Authorization: Bearer TOKEN`; "" lets everybody in, None makes one up.
        memory_gb: Scenes are dropped, least recently asked first, once they take more than this; 0 takes half
            of the memory that is free.
        rate: Requests a second that one address may send, for long; for a moment twice as many.
        waiting: Requests that may wait at once; further ones are told to come back (503).
        largest_body_mb: Of a request, in MB.
    """

    host: str = THIS_MACHINE
    port: int = 8090
    token: str | None = None
    memory_gb: float = 0.0
    rate: float = 100.0
    waiting: int = 256
    largest_body_mb: float = 16.0
