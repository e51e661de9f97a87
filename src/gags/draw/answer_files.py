"""Answers of a scene as files: for every text and view a mask, a relevancy map and a picture to look at."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gags.capture import View
from gags.draw.pictures import heat_overlay
from gags.files import atomic_write
from gags.progress import SILENT, Reporter
from gags.query.answers import Answer
from gags.query.relevancy import Queries
from gags.query.select import Selection
from gags.scene import Scene

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
    selections = scene.select(queries)
    if views is None:
        plan = _by_view(scene.best_views(queries))
    else:
        plan = [(view, list(range(len(queries.texts)))) for view in views]
    rows = []
    with progress.stage("Answering", len(plan), "views") as bar:
        for view, wanted in plan:
            photo = view.image()
            for answer in scene.query(queries.subset(wanted), view):
                selection = selections[queries.texts.index(answer.text)]
                rows.append(_describe(answer, selection) | write_answer(answer, photo, out))
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
    readable = plain == re.sub(r"\s+", "-", text.strip()) and plain
    return plain if readable else f"{plain or 'text'}-{zlib.crc32(text.encode()):08x}"


def _describe(answer: Answer, selection: Selection) -> dict[str, Any]:
    low, high = selection.box.tolist()
    return {
        "text": answer.text,
        "view": answer.view,
        "peak": [int(answer.peak[0]), int(answer.peak[1])],
        "score": round(answer.score, 4),
        "box": {"min": low, "max": high},
    }


def _by_view(best: list[list[View]]) -> list[tuple[View, list[int]]]:
    """Views with the rows of the texts to answer in them, from each text's best views."""
    plan: dict[str, tuple[View, list[int]]] = {}
    for row, views in enumerate(best):
        for view in views:
            plan.setdefault(view.name, (view, []))[1].append(row)
    return list(plan.values())


def _write_png(path: Path, picture: np.ndarray) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
