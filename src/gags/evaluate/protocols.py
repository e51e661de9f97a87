"""Named ways of scoring answers. Each is frozen, because figures are published under its name: a changed rule
is a new protocol with a new name.

A protocol is data: what it asks, and one word for each rule in which protocols differ. `judge` follows the
rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gags.capture import Capture, View
from gags.errors import LabelError
from gags.evaluate.labels import FrameLabels, match_frames
from gags.evaluate.outlines import Polygons
from gags.query import lerf_ovs
from gags.query.answers import fill_uncovered
from gags.query.maps import ValueMaps

ALL = "all"  # means every protocol
CHOSEN_SHARE = 0.5  # of a pixel that the chosen Gaussians must make up in `select-3d` and `things`
NO_PEAK = (-1, -1)


@dataclass(frozen=True)
class Protocol:
    """How an answer becomes a peak and a mask, and which frames count.

    A method that brings masks or peaks of its own (`ValueMaps`) is scored by those, if relevancy is asked.

    Attributes:
        name: Figures are published under it, so it never changes.
        meaning: The rules in a sentence.
        asks: What is scored: "relevancy" in the view, or the "share" of a pixel that chosen Gaussians have.
        frames: "all" labelled frames, or only those that were "held-out".
        size: Answers are asked and scored at the size of the "view", or of the "label", whatever the photos
            were shrunk to.
        polygons: How corners of the truth's polygons become pixels.
        uncovered: What becomes of pixels that show too little of the scene. "left-out": they count as 0 for
            the peak and as the least value for the mask, and are never in a mask that the protocol cuts; a
            method's own mask counts as it is. "kept": they have no rule of their own.
        vote: Which pixels take part in the majority vote.
        one_by_one: Whether single instances are also compared with single labelled things.
        level: Which map counts where a method answers on three levels: the one that the "method" chose; or
            for the mask the level with the "largest" r', for the peak the one with the largest 30×30 mean.
    """

    name: str
    meaning: str
    asks: Literal["relevancy", "share"]
    frames: Literal["all", "held-out"]
    size: Literal["view", "label"] = "view"
    polygons: Polygons = "rounded"
    uncovered: Literal["left-out", "kept"] = "left-out"
    vote: lerf_ovs.Vote = "whole"
    level: Literal["method", "largest"] = "method"
    one_by_one: bool = False

    @property
    def leaves_out_ignored(self) -> bool:
        """Whether pixels that masks ignore in the labelled photo are left out of answer and truth.

        A label of which nothing is left is not scored. Protocols that ask relevancies follow rules of others,
        which know no masks: there, ignored pixels are scored as all others.
        """
        return self.asks == "share"

    def size_in(self, frame: FrameLabels, view: View) -> tuple[int, int]:
        """Width and height at which the answers to a frame are asked and scored, px."""
        if self.size == "label":
            return frame.width, frame.height
        return view.camera.width, view.camera.height


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "lerf-ovs",
            "Relevancy in every labelled view: peak after a 30×30 mean, mask at 0.7 of the range.",
            asks="relevancy",
            frames="all",
        ),
        Protocol(
            "lerf-ovs-strict",
            "Relevancy in every labelled view, as published figures are made: answers at the size of the "
            "label, peak after a 30×30 mean, mask at 0.7 of the range and a majority vote without the last "
            "row and column; no rule for uncovered pixels; of three levels the one with the largest value; "
            "corners of the truth truncated to pixels, or its exact masks where the labels have them.",
            asks="relevancy",
            frames="all",
            size="label",
            polygons="truncated",
            uncovered="kept",
            vote="inner",
            level="largest",
        ),
        Protocol(
            "held-out",
            "The rules of lerf-ovs, but only for labelled views that were not trained on.",
            asks="relevancy",
            frames="held-out",
        ),
        Protocol(
            "select-3d",
            "Gaussians chosen in 3D and rendered among all others: mask where they make up half of a pixel.",
            asks="share",
            frames="all",
        ),
        Protocol(
            "things",
            "Instances in 3D, rendered among all others: the mask is where they make up half of a pixel, the "
            "peak where most of the 30×30 px around it is theirs. That the scene holds what is labelled is "
            "known: the best thing answers, however badly it matches. Instances are also counted one by one: "
            "right are those with an IoU of 0.5 or more with a labelled thing.",
            asks="share",
            frames="all",
            one_by_one=True,
        ),
    )
}


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a protocol makes of the answer to one text in one view.

    Attributes:
        values: The map that the mask was cut from. float32 [H, W]
        mask: bool [H, W]
        peak: Column and row of the peak, px; (−1, −1) for none.
        score: Value at the peak, 0 for none.
        threshold: Value above which pixels are in the mask before the vote; NaN for a method's own mask.
        instances: Masks of the single things that the view shows; None if they are not told apart.
            bool [n, H, W]
    """

    values: Tensor
    mask: Tensor
    peak: tuple[int, int]
    score: float
    threshold: float
    instances: Tensor | None = None


def judge(protocol: Protocol, maps: ValueMaps, text: int) -> Verdict:
    """The peak and the mask of one text, by the rules of a protocol.

    Args:
        protocol: The rules.
        maps: Answers of one view: relevancies or shares, whichever the protocol asks.
        text: Which of the texts.
    """
    if protocol.asks == "share":
        shares, known = maps.values[text], maps.known
        peak = lerf_ovs.peak(shares) if bool((shares > 0).any()) else NO_PEAK
        mask = (shares >= CHOSEN_SHARE) & known
        single = None
        if protocol.one_by_one and maps.instances is not None:
            single = (maps.instances[text] >= CHOSEN_SHARE) & known
            single = single[single.flatten(1).any(dim=1)]
        return Verdict(shares, mask, peak, _value_at(shares, peak), CHOSEN_SHARE, single)
    for_mask, for_peak = _maps_of(protocol, maps, text)
    peak = lerf_ovs.peak(for_peak) if maps.peaks is None else _own_peak(maps.peaks[text])
    if maps.masks is not None:
        mask, threshold = maps.masks[text], float("nan")
    elif protocol.uncovered == "left-out":
        mask, threshold = lerf_ovs.cut(fill_uncovered(for_mask, maps.known), protocol.vote)
        mask = mask & maps.known
    else:
        mask, threshold = lerf_ovs.cut(for_mask, protocol.vote)
    return Verdict(for_mask, mask, peak, _value_at(for_peak, peak), threshold)


def _maps_of(protocol: Protocol, maps: ValueMaps, text: int) -> tuple[Tensor, Tensor]:
    """The maps that the mask and the peak of a text are taken from. [H, W] each"""
    for_mask = for_peak = maps.values[text]
    if protocol.level == "largest" and maps.levels is not None:
        levels = list(maps.levels[:, text])
        for_mask = levels[lerf_ovs.level_for_mask(levels)] if maps.masks is None else for_mask
        for_peak = levels[lerf_ovs.level_for_peak(levels)] if maps.peaks is None else for_peak
    if protocol.uncovered == "left-out":
        # A method asked pixel by pixel has values there, too; for one asked by Gaussian they are 0 already.
        for_mask, for_peak = (torch.where(maps.known, each, 0.0) for each in (for_mask, for_peak))
    return for_mask, for_peak


def _own_peak(peak: Tensor) -> tuple[int, int]:
    x, y = peak.tolist()
    return int(x), int(y)


def _value_at(values: Tensor, peak: tuple[int, int]) -> float:
    """The value at a peak; 0 outside of the picture, where a method puts the peak that it has not found."""
    x, y = peak
    height, width = values.shape
    return float(values[y, x]) if 0 <= x < width and 0 <= y < height else 0.0


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
