"""Named ways of scoring answers. Each is frozen, because figures are published under its name: a changed rule
is a new protocol with a new name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from gags.capture import Capture
from gags.errors import LabelError
from gags.evaluate.labels import FrameLabels, match_frames
from gags.query import lerf_ovs
from gags.query.answers import fill_uncovered

ALL = "all"  # means every protocol
CHOSEN_SHARE = 0.5  # of a pixel that the chosen Gaussians must make up in `select-3d`


@dataclass(frozen=True)
class Protocol:
    """How an answer becomes a peak and a mask, and which frames count.

    Attributes:
        name: Figures are published under it, so it never changes.
        meaning: The rules in a sentence.
        asks: What is scored: "relevancy" in the view, or the "share" of a pixel that chosen Gaussians have.
        cut: From the map of an answer [H, W] and where it is known, bool [H, W]: its mask, bool [H, W], and
            the threshold of that mask.
        frames: "all" labelled frames, or only those that were "held-out".
    """

    name: str
    meaning: str
    asks: Literal["relevancy", "share"]
    cut: Callable[[Tensor, Tensor], tuple[Tensor, float]]
    frames: Literal["all", "held-out"]


def _cut_relevancy(relevancy: Tensor, known: Tensor) -> tuple[Tensor, float]:
    mask, threshold = lerf_ovs.cut(fill_uncovered(relevancy, known))
    return mask & known, threshold


def _cut_share(share: Tensor, known: Tensor) -> tuple[Tensor, float]:
    return (share >= CHOSEN_SHARE) & known, CHOSEN_SHARE


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "lerf-ovs",
            "Relevancy in every labelled view: peak after a 30×30 mean, mask at 0.7 of the range.",
            "relevancy",
            _cut_relevancy,
            "all",
        ),
        Protocol(
            "held-out",
            "The rules of lerf-ovs, but only for labelled views that were not trained on.",
            "relevancy",
            _cut_relevancy,
            "held-out",
        ),
        Protocol(
            "select-3d",
            "Gaussians chosen in 3D and rendered among all others: mask where they make up half of a pixel.",
            "share",
            _cut_share,
            "all",
        ),
    )
}


def named_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        LabelError: If there is none.
    """
    if name not in PROTOCOLS:
        raise LabelError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}, {ALL}")
    return PROTOCOLS[name]


def protocols_called(name: str, labels: Sequence[FrameLabels], capture: Capture) -> list[Protocol]:
    """The protocol of a name, or for "all" every one that can be scored with these labels.

    Raises:
        LabelError: If there is none of that name, or a frame matches no view.
    """
    if name != ALL:
        return [named_protocol(name)]
    held_out = any(view.split != "train" for frame, view in match_frames(labels, capture) if frame.labels)
    return [protocol for protocol in PROTOCOLS.values() if held_out or protocol.frames == "all"]
