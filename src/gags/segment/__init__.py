"""Photos → masks on three levels, with prompts that follow distance."""

from gags import models
from gags.errors import ModelError
from gags.segment.base import Segmenter

__all__ = ["Segmenter", "load_segmenter"]


def load_segmenter(name: str) -> Segmenter:
    """Load a segmenter by name; its weights must be on this machine.

    Raises:
        ModelError: If there is no segmenter of that name, or its weights are missing.
    """
    if name != "mobile-sam":
        raise ModelError(f"no segmenter is called {name!r}; there is: mobile-sam")
    from gags.segment.sam import MobileSam

    return MobileSam(models.path(name))
