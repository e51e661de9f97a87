"""Ground truth in the format of LERF-OVS: one JSON file of polygons a frame, and the view it belongs to."""

import re
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from gags.capture import Capture, View
from gags.capture.formats.colmap import posed_photos
from gags.capture.names import resolve
from gags.capture.photos import listed, photos_in
from gags.errors import CaptureError, LabelError
from gags.evaluate.outlines import FrameLabels, Label
from gags.files import is_file
from gags.files.text import read_json
from gags.progress import SILENT, Reporter

LabelsBy = Literal["name", "position"]
"""How label files find their photos: by the name of the photo, or by its place among all photos."""

BACKGROUND = "__background__"  # ISAT's category of holes


def load_labels(folder: Path, progress: Reporter = SILENT) -> list[FrameLabels]:
    """Read every `<frame>.json` of a folder, sorted by frame; hidden files are passed over.

    Exact masks are taken from `<frame>/<category>.png` beside the JSON file where they exist. Outlines of
    ISAT's category `__background__` are no label: they are holes in what lies below them, by `layer`, or in
    the order of the file where there are no layers. Objects without an outline are left out.

    Args:
        folder: Where the files are.
        progress: Warned of objects without an outline.

    Raises:
        LabelError: If the folder holds no labels, a file is not in the format, or most outlines are empty.
    """
    paths = sorted(path for path in Path(folder).glob("*.json") if not path.name.startswith("."))
    if not paths:
        raise LabelError(f"{folder} holds no label files; expected <photo>.json in the LERF-OVS format")
    empty: list[str] = []
    frames = [_read_frame(path, empty) for path in paths]
    count = sum(len(label.polygons) for frame in frames for label in frame.labels)
    if empty:
        problem = f"{folder}: {len(empty)} objects have no outline ({listed(empty)})"
        if len(empty) >= max(1, count):
            raise LabelError(f"{problem}, as most have; export the labels again")
        progress.warn(f"{problem}; left out")
    return frames


def _read_frame(path: Path, empty: list[str]) -> FrameLabels:
    """The labels of one file; objects without an outline are added to `empty`."""
    try:
        data = read_json(path)
        info = data["info"]
        grouped: dict[str, list[dict[str, Any]]] = {}
        background: list[dict[str, Any]] = []
        for place, thing in enumerate(_from_below(data["objects"])):
            category = _category(thing["category"])
            outlines = _polygons(thing["segmentation"])
            if not outlines:
                empty.append(f"{path.name}: {category}")
                continue
            thing = thing | {"outlines": outlines, "place": place}
            if category == BACKGROUND:
                background.append(thing)
            else:
                grouped.setdefault(category, []).append(thing)
        labels = [_label(path, category, things, background) for category, things in grouped.items()]
        width, height = int(info["width"]), int(info["height"])
        if width < 1 or height < 1:
            raise ValueError(f"a picture of {width}x{height}")
        return FrameLabels(path.stem, width, height, labels, path)
    except (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        raise LabelError(
            f"{path} is not a LERF-OVS label file ({type(error).__name__}: {error}); it needs "
            "info {name, width, height} and objects [{category, segmentation, bbox}]"
        ) from error


def _from_below(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects in the order in which they cover each other, if there is a background to cover with."""
    if not any(isinstance(thing, dict) and thing.get("category") == BACKGROUND for thing in things):
        return things
    return sorted(things, key=lambda thing: float(thing.get("layer") or 0))


def _category(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"category must be a text that is not empty, not {name!r}")
    return name.strip()


def _label(
    path: Path, category: str, things: list[dict[str, Any]], background: list[dict[str, Any]]
) -> Label:
    """The label of all objects of one category; they come from below, as those of the background do."""
    polygons = [polygon for thing in things for polygon in thing["outlines"]]
    boxes = [_box(thing["bbox"]) if "bbox" in thing else _bounds(thing["outlines"]) for thing in things]
    holes = []
    for hole in background:
        below = sum(len(thing["outlines"]) for thing in things if thing["place"] < hole["place"])
        holes += [(below, outline) for outline in hole["outlines"] if below]
    exact = path.with_suffix("") / f"{category}.png"
    return Label(category, polygons, np.stack(boxes), exact if is_file(exact) else None, holes)


def _polygons(segmentation: list[Any]) -> list[np.ndarray]:
    """One polygon [[x, y], …] or a list of them; those without corners are left out."""
    nested = bool(segmentation) and isinstance(segmentation[0], list) and not _is_corner(segmentation[0])
    polygons = [np.asarray(p, np.float64) for p in (segmentation if nested else [segmentation]) if p]
    if any(p.ndim != 2 or p.shape[1] != 2 or not np.isfinite(p).all() for p in polygons):
        raise ValueError("segmentation must be a list of [x, y]")
    return polygons


def _is_corner(point: list[Any]) -> bool:
    return bool(point) and not isinstance(point[0], list)


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
        bare = {PurePosixPath(view.name).name: view for view in capture.views}
        name = resolve([frame.frame], bare).get(frame.frame) if len(bare) == len(capture) else None
        found = [] if name is None else [bare[name]]
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


def with_photos(
    labels: Sequence[FrameLabels], capture: Capture, labels_by: LabelsBy, progress: Reporter = SILENT
) -> list[FrameLabels]:
    """Labels that know the photos they label.

    By position, the number at the end of a label file's name counts all photos of the capture in the order of
    their names, from 1: `frame_00007` labels the seventh, trained on or held out. So are the labels of
    Mip-NeRF360-OVS numbered. Of a COLMAP capture, photos in the folder that have no pose count, too, and so
    do posed ones that are not there.

    Args:
        labels: Ground truth, from `load_labels`.
        capture: The photos.
        labels_by: "name", which leaves the labels as they are, or "position".
        progress: Warned of labels whose photo the capture leaves out, which are left out, too.

    Raises:
        LabelError: If a file has no number, one that no photo has or that of another file, if its photo is
            not there, or if the capture leaves out the photos of all labels.
    """
    if labels_by not in ("name", "position"):
        raise LabelError(f"labels are matched by name or by position, not by {labels_by!r} (--labels-by)")
    placed = list(labels) if labels_by == "name" else _by_position(labels, capture)
    gone = {name for frame in placed if (name := _left_out(frame, capture))}
    if not gone:
        return placed
    kept = [frame for frame in placed if _left_out(frame, capture) not in gone]
    problem = (
        f"{len(placed) - len(kept)} of {len(placed)} labelled photos are left out of the capture "
        f"{capture.root} ({listed(sorted(gone))}): they have no pose, cannot be read, or masks ignore all of "
        "them"
    )
    if not any(frame.labels for frame in kept):
        raise LabelError(f"{problem}; label others, or take a capture that has them")
    progress.warn(f"{problem}; their labels are not counted")
    return kept


def _left_out(frame: FrameLabels, capture: Capture) -> str:
    """Name of the photo of a frame if it lies among those of a capture, which leaves it out; else empty."""
    if frame.photo is not None:
        return "" if frame.photo in capture else frame.photo
    posed = [PurePosixPath(view.name).name for view in capture]
    if frame.frame in [PurePosixPath(name).stem for name in posed] or resolve([frame.frame], posed):
        return ""
    beside = sorted({path.name for folder in _folders(capture) for path in photos_in(folder, deep=False)})
    same = [name for name in beside if PurePosixPath(name).stem == frame.frame]
    return same[0] if same else resolve([frame.frame], beside).get(frame.frame) or ""


def _folders(capture: Capture) -> dict[Path, PurePosixPath]:
    """Folders on disk that hold the photos of a capture, and what their names begin with."""
    return {view.path.parent: PurePosixPath(view.name).parent for view in capture}


def _by_position(labels: Sequence[FrameLabels], capture: Capture) -> list[FrameLabels]:
    """Labels that know their photos by the number in their name; see `with_photos`."""
    posed = _posed_names(capture)
    called = posed | {view.name for view in capture}
    beside = _names_beside(capture, called)
    # A photo that is missing must not make the others move up: they would get the labels of their neighbours.
    names = sorted(called | beside)
    owners: dict[int, FrameLabels] = {}
    for frame in labels:
        place = _position(frame, capture, len(names))
        other = owners.setdefault(place, frame)
        if other is not frame:
            raise LabelError(
                f"{other.path} and {frame.path} both label photo {place} by position; remove one of them"
            )
        name = names[place - 1]
        if name in posed - beside:
            raise LabelError(
                f"{frame.path} labels photo {place} by position, {name}, which is not there in "
                f"{capture.root}; remove the labels, or put the photo back"
            )
    return [replace(frame, photo=names[place - 1]) for place, frame in owners.items()]


def _names_beside(capture: Capture, called: Set[str]) -> set[str]:
    """Names of all photos in the folders of a COLMAP capture, also of those without a pose.

    A file that has a pose is called as its pose, whatever its own suffix and case, so that it counts once.
    """
    if capture.format != "colmap":
        return set()
    files = {
        (within / path.name).as_posix()
        for folder, within in _folders(capture).items()
        for path in photos_in(folder, deep=False)
    }
    names = {file: name for name, file in resolve(sorted(called), files).items()}
    return {names.get(file, file) for file in files}


def _posed_names(capture: Capture) -> set[str]:
    """Names of the photos that a COLMAP model has poses of; none if the model itself has gone meanwhile."""
    if capture.format != "colmap":
        return set()
    try:
        return set(posed_photos(capture.root, images=capture.options.get("images")))
    except CaptureError:
        return set()


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
    labels: Sequence[FrameLabels],
    capture: Capture,
    labels_by: LabelsBy = "name",
    progress: Reporter = SILENT,
) -> list[tuple[FrameLabels, View]]:
    """Every frame with its view.

    Args:
        labels: Ground truth, from `load_labels`.
        capture: The photos.
        labels_by: How labels find their photos; see `with_photos`.
        progress: Warned of labels whose photo the capture leaves out.

    Raises:
        LabelError: If a frame matches no view or several, or one of other proportions, or nothing is
            labelled in any.
    """
    if not any(frame.labels for frame in labels):
        where = listed([str(frame.path) for frame in labels]) or "no label files"
        raise LabelError(f"nothing is labelled ({where}); label objects of some photos")
    frames = with_photos(labels, capture, labels_by, progress)
    pairs = [(frame, match_view(frame, capture)) for frame in frames]
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
