"""Encoders: what a mask shows and what a text says, as vectors in one space."""

from gags.embed.encoder import CropRule, Encoder
from gags.errors import ModelError
from gags.models import hub
from gags.models import own as models
from gags.progress import SILENT, Reporter

embedder_names = ("lite",)
"""Encoders of gags's own; CLIP, SigLIP and SigLIP 2 go by hub id or folder."""


def load_encoder(name: str, progress: Reporter = SILENT) -> Encoder:
    """Load an encoder.

    Args:
        name: One of `embedder_names`, or a CLIP, SigLIP or SigLIP 2 by hub id (fetched if it is not on this
            machine) or folder, see `gags.models.hub`; also the name that a file made with an encoder records.
        progress: Told when something is fetched, or costly and computed for the first time on this machine.

    Raises:
        ModelError: If no encoder has this name, or its weights are not to be had.
    """
    if name == "lite":
        from gags.embed.lite.encoder import LiteEncoder

        return LiteEncoder(progress)
    if models.is_own(name) or not hub.is_name(name):
        raise ModelError(
            f"no encoder is called {name!r}; there are: {', '.join(embedder_names)}, and CLIP, SigLIP and "
            "SigLIP 2 by hub id or folder"
        )
    from gags.embed.clip.encoder import load_clip

    folder = hub.ensure(name, progress)
    return load_clip(folder, hub.canonical(name))


__all__ = ["CropRule", "Encoder", "embedder_names", "load_encoder"]
