"""Which segmenter and encoder `gags run` takes: what was asked for, else the best that is to be had here."""

from gags.errors import ModelError
from gags.models import hub
from gags.models import own as models
from gags.models.device import neural_device
from gags.models.known import PAPER_ENCODER, PAPER_SEGMENTER
from gags.models.own import AUTO
from gags.progress import SILENT, Reporter

SMALL_SEGMENTER, SMALL_ENCODER = "mobile-sam", "lite"
"""What runs anywhere."""


def choose_segmenter(name: str = AUTO, *, before: str | None = None, progress: Reporter = SILENT) -> str:
    """A segmenter whose weights are on this machine, fetched if they have to be.

    Args:
        name: A name, a hub id, a folder, or "auto": what the scene was made with before, else SAM ViT-H on an
            NVIDIA GPU if it is to be had, else MobileSAM.
        before: What the scene was made with before, if it was.
        progress: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.models.hub.canonical`.

    Raises:
        ModelError: If it is not to be had.
    """
    if name == AUTO and before is None and neural_device().type != "cuda":
        progress.say(f"Segmenter: {SMALL_SEGMENTER}, for want of an NVIDIA GPU (--segmenter chooses another)")
        return _have(SMALL_SEGMENTER, progress)
    return _choose("segmenter", name, before, PAPER_SEGMENTER, SMALL_SEGMENTER, progress)


def choose_encoder(name: str = AUTO, *, before: str | None = None, progress: Reporter = SILENT) -> str:
    """An encoder whose weights are on this machine, fetched if they have to be.

    Args:
        name: A name, a hub id, a folder, or "auto": what the scene was made with before, else the paper's
            CLIP if it is to be had, else `lite`.
        before: What the scene was made with before, if it was.
        progress: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.models.hub.canonical`.

    Raises:
        ModelError: If it is not to be had.
    """
    return _choose("encoder", name, before, PAPER_ENCODER, SMALL_ENCODER, progress)


def _choose(kind: str, name: str, before: str | None, best: str, small: str, progress: Reporter) -> str:
    if name != AUTO:
        return _have(name, progress)
    title, option = kind.capitalize(), f"(--{kind} chooses another)"
    if before is not None:
        try:
            return _have(before, progress)
        except ModelError as error:
            progress.warn(f"the {kind} that the scene was made with is not to be had any more: {error}")
    try:
        found = _have(best, progress)
    except ModelError as error:
        reason = error.reason if isinstance(error, hub.HubError) else str(error)
        progress.say(f"{title}: {small}; {best} is not on this machine, and {reason} {option}")
        return _have(small, progress)
    progress.say(f"{title}: {found} {option}")
    return found


def _have(name: str, progress: Reporter) -> str:
    models.ensure(name, progress)
    return name if models.is_own(name) else hub.canonical(name)
