"""Which segmenter and encoder `gags run` takes: what was asked for, else the best that is available here."""

from gags import models
from gags.errors import ModelError
from gags.models.device import neural_device
from gags.models.hub import HubError
from gags.models.known import PAPER_ENCODER, PAPER_SEGMENTER, Kind
from gags.progress import SILENT, Reporter

AUTO = "auto"
"""Name that leaves the choice to this module."""

SMALL_SEGMENTER, SMALL_ENCODER = "mobile-sam", "lite"
"""What runs anywhere."""


def choose_segmenter(name: str = AUTO, *, before: str | None = None, progress: Reporter = SILENT) -> str:
    """A segmenter whose weights are on this machine, fetched if they have to be.

    Args:
        name: A name, a hub id, a folder, or "auto": what the scene was made with before, else SAM ViT-H on an
            NVIDIA GPU if it is available, else MobileSAM.
        before: What the scene was made with before, if it was.
        progress: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.models.canonical`.

    Raises:
        ModelError: If there is no such model, it is of the other kind, or it cannot be fetched.
    """
    if name == AUTO and before is None and neural_device().type != "cuda":
        progress.say(
            f"Segmenter: {SMALL_SEGMENTER}, since there is no NVIDIA GPU (--segmenter chooses another)"
        )
        return _have(SMALL_SEGMENTER, "segmenter", progress)
    return _choose("segmenter", name, before, PAPER_SEGMENTER, SMALL_SEGMENTER, progress)


def choose_encoder(name: str = AUTO, *, before: str | None = None, progress: Reporter = SILENT) -> str:
    """An encoder whose weights are on this machine, fetched if they have to be.

    Args:
        name: A name, a hub id, a folder, or "auto": what the scene was made with before, else the paper's
            CLIP if it is available, else `lite`.
        before: What the scene was made with before, if it was.
        progress: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.models.canonical`.

    Raises:
        ModelError: If there is no such model, it is of the other kind, or it cannot be fetched.
    """
    return _choose("encoder", name, before, PAPER_ENCODER, SMALL_ENCODER, progress)


def _choose(kind: Kind, name: str, before: str | None, best: str, small: str, progress: Reporter) -> str:
    if name != AUTO:
        return _have(name, kind, progress)
    title, option = kind.capitalize(), f"(--{kind} chooses another)"
    if before is not None:
        try:
            return _have(before, kind, progress)
        except ModelError as error:
            progress.warn(f"the {kind} that the scene was made with is no longer available: {error}")
    try:
        found = _have(best, kind, progress)
    except ModelError as error:
        reason = error.reason if isinstance(error, HubError) else str(error)
        progress.say(f"{title}: {small}; {best} is not on this machine, and {reason} {option}")
        return _have(small, kind, progress)
    progress.say(f"{title}: {found} {option}")
    return found


def _have(name: str, kind: Kind, progress: Reporter) -> str:
    models.find(name, kind)  # refuses a model of the other kind before hours of work
    models.ensure(name, progress)
    return models.canonical(name)
