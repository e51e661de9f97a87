"""Which views the labels belong to: matched by name, never by position."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from gags.capture import Capture, View
from gags.capture.photos import listed
from gags.errors import LabelError
from gags.evaluate.labels import FrameLabels


def match_view(frame: FrameLabels, capture: Capture) -> View:
    """The view a frame labels: same file stem; folders in the view's name do not count.

    Raises:
        LabelError: If no view or several have that name.
    """
    found = [view for view in capture.views if frame.frame == PurePosixPath(view.name).stem]
    if not found:
        raise LabelError(
            f"{frame.path} labels {frame.frame!r}, but no photo of that name is in the capture "
            f"{capture.root} ({listed([view.name for view in capture.views])}); name it like its photo"
        )
    if len(found) > 1:
        raise LabelError(
            f"{frame.path} labels {frame.frame!r}, but {len(found)} photos of that name are in the capture "
            f"{capture.root} ({listed([view.name for view in found])}); rename all but one"
        )
    return found[0]


def match_frames(labels: Sequence[FrameLabels], capture: Capture) -> list[tuple[FrameLabels, View]]:
    """Every frame with its view.

    Raises:
        LabelError: If a frame matches no view or several, or one of other proportions, or nothing is
            labelled in any.
    """
    if not any(frame.labels for frame in labels):
        where = listed([str(frame.path) for frame in labels]) or "no label files"
        raise LabelError(f"nothing is labelled ({where}); label objects of some photos")
    pairs = [(frame, match_view(frame, capture)) for frame in labels]
    for frame, view in pairs:
        frame.scale_to(view.camera.width, view.camera.height)  # before any of them is scored
    return pairs


def held_out_frames(
    pairs: Sequence[tuple[FrameLabels, View]], capture: Capture
) -> list[tuple[FrameLabels, View]]:
    """Those whose view was not trained on.

    Raises:
        LabelError: If there is none with a label.
    """
    kept = [(frame, view) for frame, view in pairs if view.split != "train"]
    if not any(frame.labels for frame, _ in kept):
        known = listed([view.name for _, view in pairs])
        missing = listed([view.name for view in capture.test]) or "none"
        raise LabelError(
            f"no labelled photo was held out: labelled are {known}; held out are {missing}; "
            "label one of the latter, or run again and hold out one of the former (--test-list)"
        )
    return kept
