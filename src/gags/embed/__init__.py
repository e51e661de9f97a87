"""Encoders: what a mask shows and what a text says, as vectors in one space."""

from pathlib import Path

from gags import models
from gags.embed.encoder import CropRule, Encoder
from gags.progress import SILENT, Reporter

__all__ = ["CropRule", "Encoder", "load_encoder"]


def load_encoder(name: str, progress: Reporter = SILENT) -> Encoder:
    """Load an encoder, fetched first if it is not on this machine.

    Args:
        name: "lite", or a CLIP, SigLIP or SigLIP 2 by hub id or folder, see `gags.models.find`; also the name
            that a file made with an encoder records.
        progress: Told when something is fetched, or costly and computed for the first time on this machine;
            later if the model needs more than half precision.

    Raises:
        ModelError: If there is no such encoder, or its weights cannot be fetched.
    """

    def lite(folder: Path) -> Encoder:
        from gags.embed.lite.encoder import LiteEncoder

        return LiteEncoder(progress)

    def clip(folder: Path, name: str) -> Encoder:
        from gags.embed.clip.encoder import load_clip

        return load_clip(folder, name, progress=progress)

    return models.load(name, "encoder", own={"lite": lite}, hub=clip, progress=progress)
