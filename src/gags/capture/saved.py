"""capture.json: cameras, photos and split of a capture, as a scene's folder keeps them."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.camera import Camera
from gags.capture.capture import Capture, View
from gags.capture.formats import format_named
from gags.capture.lens import Lens
from gags.capture.photos import listed
from gags.errors import CaptureError
from gags.files import atomic_write

_VERSION = 1


def save_capture(capture: Capture, path: Path | str) -> None:
    """Write capture.json, atomically: where the photos are, their cameras and split; readable by people.

    Args:
        capture: What to write; photos are named relative to its folder.
        path: The file.
    """
    path = Path(path)
    root, home = Path(os.path.abspath(capture.root)), Path(os.path.abspath(path)).parent
    inside = home in root.parents  # a capture inside the scene's own folder moves with it
    content = {
        "version": _VERSION,
        "root": root.relative_to(home).as_posix() if inside else str(root),
        "format": capture.format,
        "options": capture.options,
        "points": {"count": len(capture.points), "sha256": capture.points_digest()},
        "views": [_view_to_json(view, root) for view in capture.views],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(_dumps(content), encoding="utf-8")


def read_saved_capture(path: Path | str) -> Capture:
    """Read what `save_capture` wrote; sparse points are read from the capture's folder when first needed.

    Args:
        path: capture.json, or the folder that holds it.

    Raises:
        CaptureError: If the file is missing or damaged, its format is unknown, or photos are no longer where
            they were.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "capture.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise CaptureError(f"{path} was written by another version of gags; run `gags run` again")
        root = path.parent / content["root"]
        views = [_view_from_json(view, root) for view in content["views"]]
        source = format_named(content["format"], path)
        options, points_digest = content["options"], content["points"]["sha256"]
    except FileNotFoundError as error:
        raise CaptureError(f"{path} is not there; run `gags run` or `gags reconstruct` first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path} is damaged ({error!r}); run `gags run` with the capture again") from error
    missing = [view.name for view in views if not view.path.is_file()]
    if missing:
        raise CaptureError(
            f"{len(missing)} of {len(views)} photos of {path} are no longer in {root} ({listed(missing)}); "
            f'put them back, or set "root" in {path} to the folder where the capture is now'
        )
    return Capture(
        root,
        views,
        read_points=partial(source.points, root),
        format=source.name,
        options=options,
        points_digest=points_digest,
    )


def _view_to_json(view: View, root: Path) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": view.name,
        "file": Path(os.path.relpath(view.path, root)).as_posix(),
        "photo_size": view.photo_size,
        "size": [view.camera.width, view.camera.height],
        "split": view.split,
        "K": np.asarray(view.camera.K, dtype=np.float64).tolist(),
        "viewmat": np.asarray(view.camera.viewmat, dtype=np.float64).tolist(),
    }
    if view.lens is not None:
        lens = view.lens
        record["lens"] = {"K": lens.K.tolist(), "distortion": list(lens.distortion)}
        if lens.radial8:
            record["lens"]["radial8"] = lens.radial8
    if view.orientation != 1:
        record["orientation"] = view.orientation
    return record


def _view_from_json(record: dict[str, Any], root: Path) -> View:
    width, height = (int(side) for side in record["size"])
    K, viewmat = np.array(record["K"], dtype=np.float64), np.array(record["viewmat"], dtype=np.float64)
    if K.shape != (3, 3) or viewmat.shape != (4, 4) or record["split"] not in ("train", "test"):
        raise ValueError(f"view {record['name']}")
    lens = None
    if record.get("lens"):
        (fx, _, cx), (_, fy, cy), _ = record["lens"]["K"]
        distortion = tuple(record["lens"]["distortion"])
        radial8 = float(record["lens"].get("radial8", 0.0))
        lens = Lens(width, height, fx=fx, fy=fy, cx=cx, cy=cy, distortion=distortion, radial8=radial8)
    photo_size = tuple(record["photo_size"]) if record["photo_size"] else None
    path = Path(os.path.normpath(root / record["file"]))
    return View(
        record["name"],
        path,
        Camera(viewmat, K, width, height),
        record["split"],
        lens,
        photo_size,
        orientation=int(record.get("orientation", 1)),
    )


def _dumps(content: dict[str, Any]) -> str:
    """JSON with a key a line, but matrices, which would fill pages, on one."""
    views = [
        "    {\n" + ",\n".join(f"      {json.dumps(k)}: {json.dumps(v)}" for k, v in view.items()) + "\n    }"
        for view in content["views"]
    ]
    head = json.dumps({k: v for k, v in content.items() if k != "views"}, indent=2)
    return head[: head.rindex("}")].rstrip() + ',\n  "views": [\n' + ",\n".join(views) + "\n  ]\n}\n"
