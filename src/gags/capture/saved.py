"""capture.json: cameras, photos and split of a capture, as a scene's folder keeps them."""

import json
import os
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gags.capture.camera import Camera
from gags.capture.capture import Capture, View
from gags.capture.formats import format_named
from gags.capture.lens import Lens
from gags.capture.photos import listed
from gags.capture.projections import FORMULAS, PERSPECTIVE
from gags.capture.undistort import is_own_pinhole
from gags.errors import CaptureError
from gags.files import atomic_write
from gags.files.trouble import check_file, refused
from gags.store import newer_version
from gags.workspace import Workspace

_VERSION = 2  # 1 of captures that version 1 undistorts in the same way
_CHECKSUM = "checksum"  # of cameras, split and points
_MOVABLE = ("root", "masks")  # folders, which may be changed by hand
MOST_SIDE = 1 << 20  # px of a photo
MOST_NUMBER = 1e12  # of a camera: focal lengths in px, distances in world units


def save_capture(capture: Capture, path: Path | str) -> None:
    """Write capture.json, atomically: where the photos are, their cameras and split; readable by people.

    Args:
        capture: What to write; photos are named relative to its folder.
        path: The file.
    """
    path = Path(path)
    root, home = Path(os.path.abspath(capture.root)), Path(os.path.abspath(path)).parent
    inside = home in root.parents  # a capture inside the scene's own folder moves with it
    masks, samples = _folder_of_masks(capture, root), capture.samples()
    content = {
        "version": 1 if all(map(_is_plain, capture.views)) else _VERSION,
        "root": root.relative_to(home).as_posix() if inside else str(root),
        **({} if masks == root else {"masks": str(masks)}),
        "format": capture.format,
        "options": capture.options,
        "points": {"count": len(capture.points), "sha256": capture.points_digest()},
        "views": [
            _view_to_json(view, root, masks) | {"sample": samples[view.name]} for view in capture.views
        ],
    }
    content[_CHECKSUM] = _checksum(content)
    with atomic_write(path) as temporary:
        temporary.write_text(_dumps(content), encoding="utf-8")


def read_saved_capture(path: Path | str, *, need_photos: bool = True) -> Capture:
    """Read what `save_capture` wrote; sparse points are read from the capture's folder when first needed.

    Args:
        path: capture.json, or the folder that holds it.
        need_photos: Whether the photos must be where they were; their cameras are known in any case.

    Raises:
        CaptureError: If the file is missing or damaged, its format is unknown, or photos are no longer where
            they were.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "capture.json"
    try:
        check_file(path)
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if type(version) is not int or version < 1:
            raise ValueError(f"version {version!r}")
        if version > _VERSION:
            raise newer_version(path, f"version {version}", f"version {_VERSION}")
        root = path.parent / content["root"]
        masks = path.parent / content.get("masks", content["root"])
        views = [_view_from_json(view, root, masks) for view in content["views"]]
        if not views:
            raise ValueError("it names no photo")
        source = format_named(content["format"], path)
        options, points_digest = dict(content["options"]), str(content["points"]["sha256"])
        if content.get(_CHECKSUM, _checksum(content)) != _checksum(content):
            raise ValueError(
                "its checksum is wrong: cameras, split or points are not those that were written"
            )
    except FileNotFoundError as error:
        raise CaptureError(f"{path} is not there; run `gags run` or `gags reconstruct` first") from error
    except OSError as error:
        raise refused(error, path, "cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error if type(error) is ValueError else repr(error)
        raise CaptureError(f"{path} is damaged ({reason}); run `gags run` with the capture again") from error
    missing = [view.name for view in views if not view.path.is_file()] if need_photos else []
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


def saved_checksum(path: Path) -> str:
    """Checksum that capture.json says of itself, for the record of the stage; empty if it says none."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get(_CHECKSUM, ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def read_capture_of(workspace: Workspace, *, need_photos: bool = True) -> Capture:
    """Read capture.json of a scene, and make sure that it is the one that its Gaussians were made with.

    Args:
        workspace: The scene's folder.
        need_photos: Whether the photos must be where they were.

    Raises:
        CaptureError: If the file is missing, damaged, that of another scene, or its photos are not there.
        NewerError: If a newer version of gags wrote it.
    """
    capture = read_saved_capture(workspace.capture, need_photos=need_photos)
    record = workspace.record("reconstruct")
    written = record.checksums.get(workspace.capture.name) if record else None
    if written is not None and written != saved_checksum(workspace.capture):
        raise CaptureError(
            f"{workspace.capture} is not that of this scene: its Gaussians were made with other photos or "
            "poses; run `gags run` with the capture again"
        )
    # Names with a dot in front are files that are being written.
    described = list(workspace.descriptions.glob("**/[!.]*.safetensors"))
    if described and not any(workspace.description(view.name).exists() for view in capture.views):
        raise CaptureError(
            f"{workspace.capture} is not that of this scene: none of its {len(capture)} photos is among the "
            f"{len(described)} that have masks; run `gags run` with the capture again"
        )
    return capture


def _checksum(content: dict[str, Any]) -> str:
    """CRC-32 of all that must not change: not the folders, which people may set when they move photos."""
    kept = {name: value for name, value in content.items() if name not in (*_MOVABLE, _CHECKSUM)}
    return f"crc32:{zlib.crc32(json.dumps(kept, sort_keys=True).encode()):08x}"


def _folder_of_masks(capture: Capture, root: Path) -> Path:
    """What the names of masks count from: the capture's folder, unless masks lie outside of it.

    Then it is the folder that holds all of them; or the one mask itself, if there is only one.
    """
    masks = [Path(os.path.abspath(view.mask)) for view in capture.views if view.mask is not None]
    if all(mask.is_relative_to(root) for mask in masks):
        return root
    return Path(os.path.commonpath(masks))


def _view_to_json(view: View, root: Path, masks: Path) -> dict[str, Any]:
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
        if not _is_plain(view):
            record["lens"]["size"] = [lens.width, lens.height]
            record["lens"]["projection"] = lens.projection
            record["lens"]["direction"] = list(lens.direction)
            record["lens"]["radius"] = lens.radius
    if view.orientation != 1:
        record["orientation"] = view.orientation
    if view.mask is not None:
        record["mask"] = Path(os.path.relpath(view.mask, masks)).as_posix()
    if view.alpha:
        record["alpha"] = True
    return record


def _view_from_json(record: dict[str, Any], root: Path, masks: Path) -> View:
    name, (width, height) = record["name"], record["size"]
    K, viewmat = (
        _numbers(record["K"], (3, 3), "K", name),
        _numbers(record["viewmat"], (4, 4), "viewmat", name),
    )
    sides = (width, height, *(record["photo_size"] or ()))
    if not all(type(side) is int and 0 < side <= MOST_SIDE for side in sides) or len(sides) not in (2, 4):
        raise ValueError(f"the sizes of {name} are {record['size']} and {record['photo_size']}")
    if min(K[0, 0], K[1, 1]) <= 0 or list(K[2]) != [0, 0, 1]:
        raise ValueError(f"K of {name} is that of no camera")
    if not _is_pose(viewmat):
        raise ValueError(f"viewmat of {name} is no rotation and translation")
    if record["split"] not in ("train", "test"):
        raise ValueError(f"the split of {name} is {record['split']!r}")
    lens = _lens_from_json(record["lens"], name, (width, height)) if record.get("lens") else None
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
        mask=Path(os.path.normpath(masks / record["mask"])) if "mask" in record else None,
        alpha=record.get("alpha", False) is True,
        sample=str(record.get("sample", "")),
    )


def _is_plain(view: View) -> bool:
    """Whether versions of gags that undistort perspective lenses alone, in one way, read a view rightly."""
    camera = view.camera
    return view.lens is None or is_own_pinhole(view.lens, camera.K, (camera.width, camera.height))


def _lens_from_json(record: dict[str, Any], name: str, picture: tuple[int, int]) -> Lens:
    """The lens of a photo, whose undistorted picture has this size."""
    (fx, _, cx), (_, fy, cy), _ = _numbers(record["K"], (3, 3), "lens", name).tolist()
    bends = record["distortion"]
    distortion = tuple(_numbers(bends, (len(bends),), "distortion", name).tolist())
    radial8 = float(_numbers([record.get("radial8", 0.0)], (1,), "radial8", name)[0])
    width, height = record.get("size", picture)
    if not all(type(side) is int and 0 < side <= MOST_SIDE for side in (width, height)):
        raise ValueError(f"the size of the lens of {name} is {record['size']}")
    projection = record.get("projection", PERSPECTIVE)
    most = 8 if projection == PERSPECTIVE else FORMULAS[projection][0] if projection in FORMULAS else -1
    if len(distortion) > most:
        raise ValueError(f"the lens of {name} is of an unknown kind, {projection!r}, or has too many numbers")
    radius = record.get("radius")
    if radius is not None:
        radius = float(_numbers([radius], (1,), "radius", name)[0])
    right, up = _numbers(record.get("direction", (0.0, 0.0)), (2,), "direction", name).tolist()
    return Lens(
        width,
        height,
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        distortion=distortion,
        radial8=radial8,
        projection=projection,
        direction=(right, up),
        radius=radius,
    )


def _numbers(values: Any, shape: tuple[int, ...], what: str, name: str) -> np.ndarray:
    """An array of numbers of a camera. float64 [shape]

    Raises:
        ValueError: If it has another shape, or a number is not finite or absurdly large.
    """
    array = np.array(values, dtype=np.float64)
    if array.shape != shape or not (np.abs(array) <= MOST_NUMBER).all():
        raise ValueError(f"{what} of {name} is no array {list(shape)} of usual numbers")
    return array


def _is_pose(viewmat: np.ndarray) -> bool:
    """Whether a matrix turns and moves, and does nothing else; poses of phones are right to 1 % alone."""
    R = viewmat[:3, :3]
    turns = np.allclose(R @ R.T, np.eye(3), atol=0.05) and np.linalg.det(R) > 0
    return bool(turns and np.array_equal(viewmat[3], [0, 0, 0, 1]))


def _dumps(content: dict[str, Any]) -> str:
    """JSON with a key a line, but matrices, which would fill pages, on one."""
    views = [
        "    {\n" + ",\n".join(f"      {json.dumps(k)}: {json.dumps(v)}" for k, v in view.items()) + "\n    }"
        for view in content["views"]
    ]
    head = json.dumps({k: v for k, v in content.items() if k != "views"}, indent=2)
    return head[: head.rindex("}")].rstrip() + ',\n  "views": [\n' + ",\n".join(views) + "\n  ]\n}\n"
