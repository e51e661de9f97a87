"""Which segmenter and encoder `gags run` takes: what was asked for, else the best that is to be had here."""

from gags import hub, models
from gags.device import neural_device
from gags.errors import ModelError
from gags.hub_models import PAPER_ENCODER, PAPER_SEGMENTER
from gags.models import AUTO
from gags.progress import SILENT, Reporter

SMALL_SEGMENTER, SMALL_ENCODER = "mobile-sam", "lite"
"""What runs anywhere."""


def choose_segmenter(name: str = AUTO, *, before: str | None = None, report: Reporter = SILENT) -> str:
    """A segmenter whose weights are on this machine, fetched if they have to be.

    Args:
        name: A name, a hub id, a folder, or "auto": what the scene was made with before, else SAM ViT-H on an
            NVIDIA GPU if it is to be had, else MobileSAM.
        before: What the scene was made with before, if it was.
        report: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.hub.canonical`.

    Raises:
        ModelError: If it is not to be had.
    """
    if name == AUTO and before is None and neural_device().type != "cuda":
        report.say(f"Segmenter: {SMALL_SEGMENTER}, for want of an NVIDIA GPU (--segmenter chooses another)")
        return _have(SMALL_SEGMENTER, report)
    return _choose("segmenter", name, before, PAPER_SEGMENTER, SMALL_SEGMENTER, report)


def choose_encoder(name: str = AUTO, *, before: str | None = None, report: Reporter = SILENT) -> str:
    """An encoder whose weights are on this machine, fetched if they have to be.

    Args:
        name: A name, a hub id, a folder, or "auto": what the scene was made with before, else the paper's
            CLIP if it is to be had, else `lite`.
        before: What the scene was made with before, if it was.
        report: Told what "auto" chose, and why.

    Returns:
        The name that identifies it, see `gags.hub.canonical`.

    Raises:
        ModelError: If it is not to be had.
    """
    return _choose("encoder", name, before, PAPER_ENCODER, SMALL_ENCODER, report)


def _choose(kind: str, name: str, before: str | None, best: str, small: str, report: Reporter) -> str:
    if name != AUTO:
        return _have(name, report)
    title, option = kind.capitalize(), f"(--{kind} chooses another)"
    if before is not None:
        try:
            return _have(before, report)
        except ModelError as error:
            report.warn(f"the {kind} that the scene was made with is not to be had any more: {error}")
    try:
        found = _have(best, report)
    except ModelError as error:
        reason = error.reason if isinstance(error, hub.HubError) else str(error)
        report.say(f"{title}: {small}; {best} is not on this machine, and {reason} {option}")
        return _have(small, report)
    report.say(f"{title}: {found} {option}")
    return found


def _have(name: str, report: Reporter) -> str:
    models.ensure(name, report)
    return name if models.is_own(name) else hub.canonical(name)
