"""Labelled photos of a text, for several benchmarks."""

from collections.abc import Iterator, Sequence

import numpy as np

from gags.capture import View
from gags.evaluate.labels import FrameLabels

Pairs = Sequence[tuple[FrameLabels, View]]


def truths(pairs: Pairs, text: str) -> Iterator[tuple[View, np.ndarray]]:
    """Every photo that has a label, and its mask at the size of the photo. bool [H, W]"""
    for frame, view in pairs:
        for label in frame.labels:
            if label.category == text:
                yield view, frame.mask(label, view.camera.width, view.camera.height)
