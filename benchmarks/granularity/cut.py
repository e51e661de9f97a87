"""Masks of every studied photo and arm, with and without containment, kept on disk."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from benchmarks.granularity.arms import Arm
from gags.files import atomic_write
from gags.segment.masks import Masks
from gags.segment.photo import find_candidates, masks_of_candidates
from gags.segment.segmenter import PromptedMasks, Segmenter
from gags.store import stamp

CUT_FORMAT = 1  # raised when masks change although settings do not, so that those on disk count as stale
CONTAINMENT = (True, False)
"""Whether a mask inside a bigger one is dropped."""


@dataclass(frozen=True, eq=False)
class Cut:
    """What one arm makes of one photo.

    Attributes:
        prompts: How many there were.
        labels: Label maps by whether contained masks are dropped. int16 [3, H, W] each
        levels: Level of each mask, likewise. int8 [M] each
    """

    prompts: int
    labels: dict[bool, np.ndarray]
    levels: dict[bool, np.ndarray]


class EncodedOnce:
    """A segmenter that encodes a picture only once: all arms ask the same photo and the same crops.

    Args:
        segmenter: Model of the SAM family.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._encoded: dict[bytes, Any] = {}
        self.name = segmenter.name

    def encode(self, image: np.ndarray) -> Any:
        """As `Segmenter.encode`; what a picture of the same pixels gave before."""
        key = np.array(image.shape).tobytes() + image.tobytes()
        if key not in self._encoded:
            self._encoded[key] = self._segmenter.encode(image)
        return self._encoded[key]

    def predict(self, encoded: Any, points: np.ndarray, *, min_iou: float = 0.0) -> PromptedMasks:
        """As `Segmenter.predict`."""
        return self._segmenter.predict(encoded, points, min_iou=min_iou)


def cut_photo(image: np.ndarray, prompts: np.ndarray, segmenter: Segmenter, arm: Arm) -> Cut:
    """Masks of one photo; both ways of containment are made of the same candidates."""
    height, width = image.shape[:2]
    candidates = find_candidates(image, prompts, segmenter, arm.settings)
    masks: dict[bool, Masks] = {
        dropped: masks_of_candidates(candidates, width, height, replace(arm.settings, drop_contained=dropped))
        for dropped in CONTAINMENT
    }
    return Cut(
        len(prompts),
        {dropped: found.labels for dropped, found in masks.items()},
        {dropped: found.levels for dropped, found in masks.items()},
    )


def made_by(arm: Arm, segmenter: str, splats_stamp: str, prompts: np.ndarray) -> str:
    """Stamp of the masks of a photo: rules, segmenter, Gaussians and the prompts themselves."""
    rules = replace(arm.settings, drop_contained=False)
    return stamp("granularity", CUT_FORMAT, rules, segmenter, splats_stamp, prompts.tobytes().hex())


def save_cut(cut: Cut, path: Path, made: str) -> None:
    """Write masks of one photo, atomically."""
    arrays = {"made": np.array(made), "prompts": np.array(cut.prompts)}
    for dropped in CONTAINMENT:
        arrays |= {f"labels_{dropped:d}": cut.labels[dropped], f"levels_{dropped:d}": cut.levels[dropped]}
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_cut(path: Path, made: str | None = None) -> Cut | None:
    """Masks of one photo; None if there are none, they are damaged, or were made in another way.

    Args:
        path: The file.
        made: Stamp that they must have; None if any will do.
    """
    try:
        with np.load(path) as file:
            if made is not None and str(file["made"]) != made:
                return None
            labels = {dropped: file[f"labels_{dropped:d}"] for dropped in CONTAINMENT}
            levels = {dropped: file[f"levels_{dropped:d}"] for dropped in CONTAINMENT}
            return Cut(int(file["prompts"]), labels, levels)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
