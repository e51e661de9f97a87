"""Photos → masks on three levels, with prompts that follow distance."""

from functools import partial
from pathlib import Path

from gags import models
from gags.progress import SILENT, Reporter
from gags.segment.segmenter import Segmenter

__all__ = ["Segmenter", "load_segmenter"]


def load_segmenter(name: str, progress: Reporter = SILENT) -> Segmenter:
    """Load a segmenter, fetched first if it is not on this machine.

    Args:
        name: "mobile-sam", or a SAM, SAM-HQ or SAM 2 by hub id or folder, see `gags.models.find`.
        progress: Told when something is fetched, and later if the model needs more than half precision.

    Raises:
        ModelError: If there is no such segmenter, or its weights cannot be fetched.
    """
    hub = partial(_hub_sam, progress=progress)
    return models.load(name, "segmenter", own={"mobile-sam": _mobile_sam}, hub=hub, progress=progress)


def _mobile_sam(folder: Path) -> Segmenter:
    from gags.segment.sam.mobile import MobileSam

    return MobileSam(folder)


def _hub_sam(folder: Path, name: str, progress: Reporter) -> Segmenter:
    from gags.segment.sam.hub import HubSam

    return HubSam(folder, name, progress=progress)
