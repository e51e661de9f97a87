"""Photos → masks on three levels, with prompts that follow distance."""

from gags.errors import ModelError
from gags.models import hub
from gags.models import own as models
from gags.progress import SILENT, Reporter
from gags.segment.segmenter import Segmenter

__all__ = ["Segmenter", "load_segmenter"]


def load_segmenter(name: str, progress: Reporter = SILENT) -> Segmenter:
    """Load a segmenter.

    Args:
        name: "mobile-sam", whose weights must be on this machine, or a SAM, SAM-HQ or SAM 2 by hub id
            (fetched if it is not on this machine) or folder; see `gags.models.hub`.
        progress: Told when something is fetched.

    Raises:
        ModelError: If there is no such segmenter, or its weights are not to be had.
    """
    if models.is_own(name) or not hub.is_name(name):
        if name != "mobile-sam":
            raise ModelError(
                f"no segmenter is called {name!r}; there are: mobile-sam, and SAM, SAM-HQ and SAM 2 by hub "
                "id or folder"
            )
        from gags.segment.sam.mobile import MobileSam

        return MobileSam(models.path(name))
    from gags.segment.sam.hub import HubSam

    folder = hub.ensure(name, progress)
    return HubSam(folder, hub.canonical(name))
