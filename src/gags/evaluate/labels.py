"""Ground truth in the format of LERF-OVS: one JSON file of polygons a frame, and the view it belongs to."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np

from gags.capture import Capture, View
from gags.capture.photos import listed, photos_in
from gags.errors import LabelError

LabelsBy = Literal["name", "position"]
"""How label files find their photos: by the name of the photo, or by its place among all photos."""

Polygons = Literal["rounded", "truncated"]
"""How corners of polygons become pixels: to the nearest one, or without what follows the point."""


@dataclass(eq=False)
class Label:
    """One category in one frame.

    Attributes:
        category: What it is, also the query.
        polygons: Outlines that are united, in px of the labelled picture. float64 [P, 2] each
        boxes: x1, y1, x2, y2 of each of its things. float64 [B, 4]
        exact: PNG file with the exact mask, if there is one.
    """

    category: str
    polygons: list[np.ndarray]
    boxes: np.ndarray
    exact: Path | None = None


@dataclass(eq=False)
class FrameLabels:
    """All labels of one frame.

    Attributes:
        frame: Stem of the photo's file name, which is that of the label file.
        width: Width of the labelled picture, px.
        height: Height of the labelled picture, px.
        labels: One a category, in the order of the file.
        path: The JSON file.
        photo: Name of the view that is labelled; None if it is the one that `frame` names.
    """

    frame: str
    width: int
    height: int
    labels: list[Label]
    path: Path
    photo: str | None = None

    def scale_to(self, width: int, height: int) -> np.ndarray:
        """Factors (x, y) from the labelled picture to a view of another size.

        Raises:
            LabelError: If the two have different proportions.
        """
        if not _same_proportions((self.width, self.height), (width, height)):
            raise LabelError(
                f"{self.path} labels a picture of {self.width}x{self.height}, the view has {width}x{height}; "
                "label the photo that the capture loads"
            )
        return np.array([width / self.width, height / self.height])

    def mask(self, label: Label, width: int, height: int, *, polygons: Polygons = "rounded") -> np.ndarray:
        """Mask of a label at the size of a view: the exact one where there is one, else its polygons.

        Args:
            label: One of `labels`.
            width: Width of the view, px.
            height: Height of the view, px.
            polygons: How corners become pixels.

        Returns:
            bool [H, W]

        Raises:
            LabelError: If the exact mask cannot be read or the view has other proportions.
        """
        scale = self.scale_to(width, height)
        if label.exact is not None:
            picture = cv2.imread(str(label.exact), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise LabelError(f"{label.exact} cannot be read as a picture; repair or remove it")
            if not _same_proportions(picture.shape[::-1], (self.width, self.height)):
                raise LabelError(
                    f"{label.exact} is {picture.shape[1]}x{picture.shape[0]}, but {self.path} labels a "
                    f"picture of {self.width}x{self.height}; repair or remove it"
                )
            return cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST) > 127
        return _filled(label.polygons, scale, width, height, polygons)

    def outlined(self, label: Label, width: int, height: int) -> list[np.ndarray]:
        """What each polygon of a label holds at the size of a view. bool [H, W] each"""
        scale = self.scale_to(width, height)
        return [_filled([polygon], scale, width, height, "rounded") for polygon in label.polygons]

    def boxes(self, label: Label, width: int, height: int) -> np.ndarray:
        """Boxes of a label at the size of a view. float64 [B, 4]"""
        return label.boxes * np.tile(self.scale_to(width, height), 2)


def _filled(
    outlines: Sequence[np.ndarray], scale: np.ndarray, width: int, height: int, polygons: Polygons
) -> np.ndarray:
    """The pixels in any of some polygons, whose corners are multiplied by `scale` [2]. bool [H, W]"""
    canvas = np.zeros((height, width), np.uint8)
    to_pixels = np.round if polygons == "rounded" else np.trunc
    for polygon in outlines:
        cv2.fillPoly(canvas, [to_pixels(polygon * scale).astype(np.int32)], 1)
    return canvas.astype(bool)


def _same_proportions(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a picture (width, height) can be the other one resized and rounded to pixels."""
    across, down = other[0] / one[0], other[1] / one[1]
    return abs(across * one[1] - other[1]) <= 2 or abs(down * one[0] - other[0]) <= 2


def load_labels(folder: Path) -> list[FrameLabels]:
    """Read every `<frame>.json` of a folder, sorted by frame.

    Exact masks are taken from `<frame>/<category>.png` beside the JSON file where they exist.

    Raises:
        LabelError: If the folder holds no labels or a file is not in the format.
    """
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise LabelError(f"{folder} holds no label files; expected <photo>.json in the LERF-OVS format")
    return [_read_frame(path) for path in paths]


def _read_frame(path: Path) -> FrameLabels:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        info = data["info"]
        grouped: dict[str, list[dict[str, Any]]] = {}
        for thing in data["objects"]:
            grouped.setdefault(_category(thing["category"]), []).append(thing)
        labels = [_label(path, category, things) for category, things in grouped.items()]
        width, height = int(info["width"]), int(info["height"])
        if width < 1 or height < 1:
            raise ValueError(f"a picture of {width}x{height}")
        return FrameLabels(path.stem, width, height, labels, path)
    except (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        raise LabelError(
            f"{path} is not a LERF-OVS label file ({type(error).__name__}: {error}); it needs "
            "info {name, width, height} and objects [{category, segmentation, bbox}]"
        ) from error


def _category(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"category must be a text that is not empty, not {name!r}")
    return name.strip()


def _label(path: Path, category: str, things: list[dict[str, Any]]) -> Label:
    polygons = [polygon for thing in things for polygon in _polygons(thing["segmentation"])]
    boxes = [
        _box(thing["bbox"]) if "bbox" in thing else _bounds(_polygons(thing["segmentation"]))
        for thing in things
    ]
    exact = path.with_suffix("") / f"{category}.png"
    return Label(category, polygons, np.stack(boxes), exact if exact.is_file() else None)


def _polygons(segmentation: list[Any]) -> list[np.ndarray]:
    """One polygon [[x, y], …] or a list of them."""
    nested = bool(segmentation) and isinstance(segmentation[0][0], list)
    polygons = [np.asarray(p, np.float64) for p in (segmentation if nested else [segmentation])]
    if any(p.ndim != 2 or p.shape[1] != 2 or not np.isfinite(p).all() for p in polygons):
        raise ValueError("segmentation must be a list of [x, y]")
    return polygons


def _box(box: list[Any]) -> np.ndarray:
    x1, y1, x2, y2 = np.asarray(box, np.float64).reshape(4)
    if not np.isfinite([x1, y1, x2, y2]).all():
        raise ValueError("bbox must be four numbers")
    return np.array([min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)])


def _bounds(polygons: list[np.ndarray]) -> np.ndarray:
    points = np.concatenate(polygons)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def match_view(frame: FrameLabels, capture: Capture) -> View:
    """The view a frame labels: its `photo`, or the one of the same stem; folders in the name do not count.

    Raises:
        LabelError: If no view or several have that name.
    """
    if frame.photo is not None:
        return capture[frame.photo]
    found = [view for view in capture.views if frame.frame == PurePosixPath(view.name).stem]
    if not found:
        raise LabelError(
            f"{frame.path} labels {frame.frame!r}, but no photo of that name is in the capture "
            f"{capture.root} ({listed([view.name for view in capture.views])}); name it like its photo, or "
            "match labels by position (--labels-by position) if they are numbered as Mip-NeRF360-OVS's are"
        )
    if len(found) > 1:
        raise LabelError(
            f"{frame.path} labels {frame.frame!r}, but {len(found)} photos of that name are in the capture "
            f"{capture.root} ({listed([view.name for view in found])}); rename all but one"
        )
    return found[0]


def with_photos(labels: Sequence[FrameLabels], capture: Capture, labels_by: LabelsBy) -> list[FrameLabels]:
    """Labels that know the photos they label.

    By position, the number at the end of a label file's name counts all photos of the capture in the order of
    their names, from 1, with those in the folder that COLMAP found no pose for: `frame_00007` labels the
    seventh, trained on or held out. So are the labels of Mip-NeRF360-OVS numbered.

    Args:
        labels: Ground truth, from `load_labels`.
        capture: The photos.
        labels_by: "name", which leaves the labels as they are, or "position".

    Raises:
        LabelError: If a file has no number, one that no photo has or that of another file, or if its photo
            has no pose.
    """
    if labels_by == "name":
        return list(labels)
    if labels_by != "position":
        raise LabelError(f"labels are matched by name or by position, not by {labels_by!r} (--labels-by)")
    names, posed = _photo_names(capture), {view.name for view in capture}
    owners: dict[int, FrameLabels] = {}
    for frame in labels:
        place = _position(frame, capture, len(names))
        other = owners.setdefault(place, frame)
        if other is not frame:
            raise LabelError(
                f"{other.path} and {frame.path} both label photo {place} by position; remove one of them"
            )
        if names[place - 1] not in posed:
            raise LabelError(
                f"{frame.path} labels photo {place} by position, {names[place - 1]}, which has no pose in "
                f"{capture.root}; remove the labels, or take poses of all photos"
            )
    return [replace(frame, photo=names[place - 1]) for place, frame in owners.items()]


def _photo_names(capture: Capture) -> list[str]:
    """Names of all photos; those that COLMAP found no pose for lie in the folders of the posed ones."""
    names = {view.name for view in capture}
    if capture.format == "colmap":
        folders = {view.path.parent: PurePosixPath(view.name).parent for view in capture}
        for folder, within in folders.items():
            names |= {(within / path.name).as_posix() for path in photos_in(folder, deep=False)}
    return sorted(names)


def _position(frame: FrameLabels, capture: Capture, count: int) -> int:
    """Which photo a frame labels by the number in its name, from 1 to the number of photos."""
    number = re.search("[0-9]+$", frame.frame)
    if number is None:
        raise LabelError(
            f"{frame.path} has no number at the end of its name, so it labels no photo by position; call it "
            "frame_00012 if it labels the 12th photo by name, or match labels by name (--labels-by name)"
        )
    place = int(number[0])
    if not 1 <= place <= count:
        raise LabelError(
            f"{frame.path} labels photo {place} by position, but those of {capture.root} count from 1 to "
            f"{count}; take the capture that was labelled, with all its photos, or correct the name"
        )
    return place


def match_frames(
    labels: Sequence[FrameLabels], capture: Capture, labels_by: LabelsBy = "name"
) -> list[tuple[FrameLabels, View]]:
    """Every frame with its view.

    Args:
        labels: Ground truth, from `load_labels`.
        capture: The photos.
        labels_by: How labels find their photos; see `with_photos`.

    Raises:
        LabelError: If a frame matches no view or several, or one of other proportions, or nothing is
            labelled in any.
    """
    if not any(frame.labels for frame in labels):
        where = listed([str(frame.path) for frame in labels]) or "no label files"
        raise LabelError(f"nothing is labelled ({where}); label objects of some photos")
    pairs = [(frame, match_view(frame, capture)) for frame in with_photos(labels, capture, labels_by)]
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
