"""What one browser has asked, selected and edited in the viewer. Values only: no viewer is needed here.

Every browser has a state of its own: what one asks, hides or deletes, another does not see. The scene on disk
never changes.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from gags.draw.colors import label_colors
from gags.gaussians import Gaussians
from gags.query.edit import recolored
from gags.query.reach import MATCHES

Mode = Literal["colour", "relevancy", "granularity", "features", "depth"]
MODES: tuple[Mode, ...] = ("colour", "relevancy", "granularity", "features", "depth")
"""What the colours can show; "features" shows the embeddings that the features decode to."""

Rgb = tuple[int, int, int]  # 0 to 255 each
BEST_SHARE = 0.002  # of the solid Gaussians: the mean relevancy of the best ones is a layer's score …
LEAST_BEST = 10  # … of at least this many, so that no single Gaussian decides it


@dataclass(eq=False)
class Layer:
    """One text that the scene was asked.

    Attributes:
        text: The text.
        relevancy: Of every Gaussian, in [0, 1]. float32 [N]
        strength: How well every Gaussian matches, spread over [0, 1] for any encoder: 0 is typical of the
            scene, `MATCHES` just counts as a match, 1 is the best (`Reach.strengths`). float32 [N]
        score: Mean relevancy of the solid Gaussians that match best.
        color: In which what matches is shown.
        visible: Whether it is shown.
    """

    text: str
    relevancy: np.ndarray
    strength: np.ndarray
    score: float
    color: Rgb
    visible: bool = True

    def matching(self, threshold: float) -> np.ndarray:
        """Gaussians whose strength reaches the threshold. bool [N]"""
        return self.strength >= threshold


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of the Gaussians: coloured, or deleted if there is no colour.

    Attributes:
        mask: Which. bool [N]
        color: Their new colour; None deletes them.
    """

    mask: np.ndarray
    color: Rgb | None = None


@dataclass(eq=False)
class ViewerState:
    """Layers, mode, selection and edits of one browser.

    Attributes:
        count: Number N of Gaussians in the scene.
        layers: Texts that were kept, oldest first.
        draft: The text being typed, None if the box is empty.
        threshold: Strength from which on a Gaussian matches a text.
        mode: What the colours show.
        selected: The Gaussians that are highlighted; None for none. bool [N]
        edits: Changes so far, oldest first.
    """

    count: int
    layers: list[Layer] = field(default_factory=list)
    draft: Layer | None = None
    threshold: float = MATCHES
    mode: Mode = "relevancy"
    selected: np.ndarray | None = None
    edits: list[Edit] = field(default_factory=list)

    def copy(self) -> "ViewerState":
        """The state as it is now: later changes of this one do not reach the copy. Arrays are shared."""
        return replace(self, layers=[replace(layer) for layer in self.layers], edits=list(self.edits))

    def next_color(self) -> Rgb:
        """The first of the distinct colours that no kept layer has."""
        taken = {layer.color for layer in self.layers}
        row = [tuple(color) for color in label_colors(len(self.layers) + 1).tolist()]
        return next(color for color in row if color not in taken)

    def keep(self) -> Layer | None:
        """Make the text being typed a layer; if it is one already, show that one again.

        Returns:
            The layer; None if the box is empty.
        """
        layer, self.draft = self.draft, None
        if layer is None:
            return None
        known = next((kept for kept in self.layers if kept.text == layer.text), None)
        if known is None:
            self.layers.append(layer)
            return layer
        known.visible = True
        return known

    def shown(self) -> list[Layer]:
        """The layers to show: visible ones, and what is being typed on top."""
        kept = [layer for layer in self.layers if layer.visible]
        return kept if self.draft is None else [*kept, self.draft]

    @property
    def alive(self) -> np.ndarray:
        """Gaussians that are not deleted. bool [N]"""
        alive = np.ones(self.count, bool)
        for edit in self.edits:
            if edit.color is None:
                alive &= ~edit.mask
        return alive

    def edit(self, mask: np.ndarray, color: Rgb | None = None) -> int:
        """Colour Gaussians, or delete them if there is no colour; returns how many were not deleted yet."""
        mask = mask & self.alive
        changed = int(mask.sum())
        if changed:
            self.edits.append(Edit(mask, color))
            if color is None:
                self.selected = None
        return changed

    def undo(self) -> Edit | None:
        """Take back the last change; None if there is none."""
        return self.edits.pop() if self.edits else None

    def painted(self, colors: np.ndarray) -> np.ndarray:
        """Colours of the scene with the changes of colour. uint8 [N, 3] → the same"""
        painted = colors.copy()
        for edit in self.edits:
            if edit.color is not None:
                painted[edit.mask] = edit.color
        return painted

    def edited(self, gaussians: Gaussians, mask: np.ndarray | None = None) -> Gaussians:
        """The Gaussians with all changes, every other value as it was.

        Args:
            gaussians: The scene; stays as it is.
            mask: Only these; None for all. bool [N]
        """
        for change in self.edits:
            if change.color is not None:
                red, green, blue = (channel / 255 for channel in change.color)
                gaussians = recolored(gaussians, torch.from_numpy(change.mask), (red, green, blue))
        kept = self.alive if mask is None else self.alive & mask
        chosen = torch.from_numpy(kept).to(gaussians.means.device)
        return replace(gaussians[chosen])


def layer_score(relevancy: np.ndarray, solid: np.ndarray) -> float:
    """How well the best of the solid Gaussians match.

    Args:
        relevancy: [N]
        solid: Which Gaussians are solid; all count if none is. bool [N]

    Returns:
        Their mean relevancy, in [0, 1].
    """
    values = relevancy[solid] if solid.any() else relevancy
    count = min(len(values), max(LEAST_BEST, round(BEST_SHARE * len(values))))
    return float(np.partition(values, len(values) - count)[len(values) - count :].mean())
