"""Questions as the service puts them to a scene: each runs in the one thread that answers."""

import base64
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from gags.draw.lettering import fit_within
from gags.draw.pictures import depth_picture, heat_overlay
from gags.errors import QueryError
from gags.gaussians import render
from gags.gaussians.files import save_gaussians
from gags.query.names import EVERYDAY
from gags.query.relevancy import Queries
from gags.scene import Scene

MOST_IMAGE_PIXELS = 50_000_000


class NothingMatches(QueryError):  # noqa: N818  # what happened, as clients read it
    """Nothing in the scene answers the texts."""


def details(scene: Scene, name: str) -> dict[str, Any]:
    """What `SceneDetails` says."""
    views = [
        {
            "name": view.name,
            "width": view.camera.width,
            "height": view.camera.height,
            "K": np.asarray(view.camera.K).tolist(),
            "world_to_camera": np.asarray(view.camera.viewmat).tolist(),
        }
        for view in scene.capture.views
    ]
    return {
        "name": name,
        "encoder": scene.field.encoder_name,
        "gaussians": len(scene.gaussians),
        "views": views,
    }


def located(scene: Scene, queries: Queries) -> list[dict[str, Any]]:
    """Instances of each text."""
    found = scene.locate(queries)
    return [
        {"text": text, "instances": [instance.to_json() for instance in instances]}
        for text, instances in zip(queries.texts, found, strict=True)
    ]


def in_views(scene: Scene, queries: Queries, views: Sequence[str]) -> list[dict[str, Any]]:
    """What each text points at, in some photos or in its best three."""
    matched = {text for text, one in zip(queries.texts, scene.locate(queries), strict=True) if one}
    if views:
        answers = [answer for view in views for answer in scene.query(queries, view)]
    else:
        answers = scene.query(queries)
    rows = []
    for answer in answers:
        ys, xs = np.nonzero(answer.mask)
        rectangle = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
        rows.append(
            {
                "text": answer.text,
                "view": answer.view,
                "found": answer.text in matched,
                "score": round(float(answer.score), 4),
                "peak": [int(value) for value in answer.peak],
                "pixels": len(xs),
                "rectangle": rectangle and [int(value) for value in rectangle],
            }
        )
    return sorted(rows, key=lambda row: queries.texts.index(row["text"]))


def catalog(scene: Scene) -> list[dict[str, Any]]:
    """The things of the scene, named."""
    return [entry.to_json() for entry in scene.catalog(EVERYDAY)]


@torch.no_grad()
def picture(scene: Scene, view: str, what: str, longest: int) -> bytes:
    """What a photo's camera sees, as PNG; see `gags.serve.messages.What`."""
    seen = scene.capture[view]
    if what == "photo":
        return _png(fit_within(seen.image(), longest))
    rendered = render(scene.gaussians, seen.camera.within(longest))
    if what == "depth":
        return _png(depth_picture(rendered.depths.cpu().numpy(), rendered.alphas.cpu().numpy()))
    rgb = rendered.colors.clamp(0, 1).mul(255).round().byte()
    return _png(rgb.cpu().numpy())


def answer_picture(scene: Scene, queries: Queries, view: str, what: str, longest: int) -> bytes:
    """What one text points at in a photo, as PNG; see `gags.serve.messages.WhatOfText`."""
    seen = scene.capture[view]
    (answer,) = scene.query(queries, seen)
    if what == "mask":  # at the size of the photo, so that its pixels are the camera's
        return _png(np.where(answer.mask, 255, 0).astype(np.uint8))
    overlay = heat_overlay(
        seen.image(), answer.relevancy, answer.mask, answer.peak, text=answer.text, score=answer.score
    )
    return _png(fit_within(overlay, longest))


def cutout(scene: Scene, queries: Queries, *, suffix: str, invert: bool) -> bytes:
    """The Gaussians that texts name as a file.

    Raises:
        NothingMatches: If there are none.
    """
    gaussians = scene.extract(queries, invert=invert)
    if not len(gaussians):
        raise NothingMatches("nothing in the scene matches, so there is nothing to cut out")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"cutout.{suffix}"
        save_gaussians(gaussians.to("cpu"), path)
        return path.read_bytes()


def decoded_image(encoded: str) -> np.ndarray:
    """The image that a client sent, upright. uint8 RGB [H, W, 3], or RGBA [H, W, 4] if some is transparent

    Raises:
        QueryError: If it is none.
    """
    try:
        content = io.BytesIO(base64.b64decode(encoded, validate=True))
        with Image.open(content, formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MOST_IMAGE_PIXELS:
                raise QueryError(f"the image has more than {MOST_IMAGE_PIXELS:,} pixels; send a smaller one")
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError, SyntaxError) as error:
        raise QueryError("the image is no PNG or JPEG in base64; send such a one") from error


def found_in_library(library: Any, name: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one library, best first."""
    return [
        {
            "library": name,
            "scene": found.scene,
            "thing": found.thing,
            "names": list(found.names),
            "score": round(float(found.score), 4),
            "matches": found.matches,
            "encoder": found.encoder,
            "box": None if found.box is None else np.asarray(found.box).tolist(),
            "thumbnail": base64.b64encode(found.thumbnail).decode(),
        }
        for found in library.search(**wanted)
    ]


def _png(picture: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    return cv2.imencode(".png", bgr)[1].tobytes()
