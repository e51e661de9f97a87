"""Encoders: what a mask shows and what a text says, as vectors in one space."""

from gags.embed.base import CropRule, Encoder
from gags.errors import ModelError
from gags.progress import SILENT, Reporter

embedder_names = ("lite",)
"""Names that `load_encoder` knows."""


def load_encoder(name: str, report: Reporter = SILENT) -> Encoder:
    """Load an encoder by name.

    Args:
        name: One of `embedder_names`; also the name that every file made with the encoder records.
        report: Told when something costly is computed for the first time on this machine.

    Raises:
        ModelError: If no encoder has this name, or its weights are not on this machine.
    """
    if name == "lite":
        from gags.embed.lite import LiteEncoder

        return LiteEncoder(report)
    raise ModelError(f"no encoder is called {name!r}; there are: {', '.join(embedder_names)}")


__all__ = ["CropRule", "Encoder", "embedder_names", "load_encoder"]
