"""Pictures of a scene: answers as files, and its things framed and named."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gags.capture import View
from gags.capture.camera import Camera
from gags.draw.colors import label_colors
from gags.draw.lettering import resize, tag
from gags.draw.pictures import heat_overlay, outline
from gags.files import atomic_write
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.query.answers import Answer
from gags.query.catalog import Entry
from gags.query.instances import Instance
from gags.query.maps import seen_in
from gags.query.relevancy import Queries
from gags.scene import Scene, by_view

_ENDINGS = {"mask": "_mask.png", "relevancy": "_relevancy.npy", "overlay": "_overlay.png"}
LONGEST_STEM = 40  # letters of a text in the name of its files


def write_answers(
    scene: Scene,
    queries: Queries,
    views: Sequence[View] | None,
    out: Path,
    *,
    progress: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Answer every text in every view and write the results.

    Args:
        scene: The scene.
        queries: The texts.
        views: Views to answer in; None takes the best three for each text.
        out: Folder for `<view>/<text>_mask.png` (8-bit, 0 or 255), `_relevancy.npy` (float32) and
            `_overlay.png`, all at the size of the view; the overlay has a caption below.
        progress: Told about progress.

    Returns:
        One row a text and view: text, view, peak (x, y), score, 3D box, paths of the files.
    """
    located = scene.locate(queries, progress=progress)
    if views is None:
        plan = by_view(scene.best_views(queries))
    else:
        plan = [(view, list(range(len(queries.texts)))) for view in views]
    rows = []
    with progress.stage("Answering", len(plan), "views") as bar:
        for view, wanted in plan:
            photo = view.image()
            for answer in scene.query(queries.subset(wanted), view):
                instances = located[queries.texts.index(answer.text)]
                rows.append(_describe(answer, instances) | write_answer(answer, photo, out))
            bar.advance()
    order = {text: row for row, text in enumerate(queries.texts)}
    return sorted(rows, key=lambda row: order[row["text"]])


def write_answer(answer: Answer, photo: np.ndarray, out: Path) -> dict[str, str]:
    """Write one answer's files; returns their absolute paths by kind."""
    stem = out / Path(answer.view).with_suffix("") / slug(answer.text)
    files = {kind: stem.with_name(stem.name + end) for kind, end in _ENDINGS.items()}
    with atomic_write(files["relevancy"]) as path:
        np.save(path, answer.relevancy.astype(np.float32))
    _write_png(files["mask"], np.where(answer.mask, 255, 0).astype(np.uint8))
    overlay = heat_overlay(
        photo, answer.relevancy, answer.mask, answer.peak, text=answer.text, score=answer.score
    )
    _write_png(files["overlay"], cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
    return {kind: str(path.resolve()) for kind, path in files.items()}


def slug(text: str) -> str:
    """A file name for a text; a checksum keeps texts apart that would have the same name."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST_STEM]
    if plain and text.strip() == plain.replace("-", " "):  # "red-mug", whose hyphen is its own, is not
        return plain
    return f"{plain or 'text'}-{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def _describe(answer: Answer, instances: Sequence[Instance]) -> dict[str, Any]:
    box = None
    if instances:
        corners = instances[0].box.corners
        box = {"min": corners.min(0).tolist(), "max": corners.max(0).tolist()}
    return {
        "text": answer.text,
        "view": answer.view,
        "peak": [int(answer.peak[0]), int(answer.peak[1])],
        "score": round(answer.score, 4),
        "instances": len(instances),
        "box": box,
    }


def _write_png(path: Path, picture: np.ndarray) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


OWNED_SHARE = 0.5  # of a pixel that a thing must make up, for the pixel to be the thing's
LEAST_PICTURE_WIDTH = 1200  # px; smaller photos are enlarged by a whole number
LEAST_FRAMED_AREA = 0.0005  # of the picture; a thing that covers less is not framed


def picture_of_entries(scene: Scene, entries: Sequence[Entry]) -> np.ndarray:
    """The photo that shows most things of a catalogue, each framed and named; parts are left out.

    Returns:
        uint8 RGB, at least 1200 px wide.
    """
    wholes = [entry for entry in entries if entry.part_of is None]
    masks = [entry.mask for entry in wholes]
    views = scene.capture.views
    seen = seen_in(scene.gaussians, [view.camera for view in views], masks)
    view = views[int(seen.sum(axis=1).argmax())]
    photo = view.image()
    regions = (
        np.zeros((0, *photo.shape[:2]), bool)
        if not wholes
        else things_in_view(scene.gaussians, masks, view.camera)
    )
    return labelled_picture(photo, regions, [entry.name for entry in wholes])


def things_in_view(gaussians: Gaussians, masks: Sequence[Tensor], camera: Camera) -> np.ndarray:
    """Where each of some things is seen, without the parts that something else hides.

    Args:
        gaussians: The scene.
        masks: Gaussians of n things; a Gaussian of several belongs to the smallest of them. bool [N] each
        camera: The view.

    Returns:
        bool [n, H, W]
    """
    owner = torch.full((len(gaussians),), len(masks))
    for row in sorted(range(len(masks)), key=lambda row: -int(masks[row].sum())):
        owner[masks[row]] = row
    colors = one_hot(owner, len(masks) + 1).float().to(gaussians.means.device)
    with torch.no_grad():
        shares = render(gaussians, camera, colors).colors
    return (shares[..., :-1] >= OWNED_SHARE).permute(2, 0, 1).cpu().numpy()


def labelled_picture(photo: np.ndarray, regions: np.ndarray, names: list[str]) -> np.ndarray:
    """A photo with a frame, an outline and a name for every thing in it.

    Args:
        photo: uint8 RGB [H, W, 3]
        regions: Where each thing is seen. bool [n, H, W]
        names: Of the things.

    Returns:
        uint8 RGB [k H, k W, 3], enlarged k times so that it is at least 1200 px wide
    """
    height, width = photo.shape[:2]
    scale = max(1, -(-LEAST_PICTURE_WIDTH // width))  # names need room
    picture = resize(photo, height * scale, width * scale)
    picture = picture.copy() if scale == 1 else picture
    colors = label_colors(len(names))
    frames = []
    for region, name, shade in zip(regions, names, colors.tolist(), strict=True):
        if region.sum() < LEAST_FRAMED_AREA * region.size:
            continue
        color = (shade[0], shade[1], shade[2])
        region = region.repeat(scale, axis=0).repeat(scale, axis=1)
        picture = outline(picture, region, color)
        ys, xs = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        frames.append((name, color, (int(xs[0]), int(ys[0])), (int(xs[-1]), int(ys[-1]))))
    for _, color, low, high in frames:
        cv2.rectangle(picture, low, high, color, 1)
    for name, color, low, _ in frames:
        tag(picture, name, low, color)
    return picture
