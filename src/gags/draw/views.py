"""What views show of a scene, as files: colours, depth, normals, relevancies; numbers beside pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch

from gags.capture import View
from gags.capture.camera import Camera
from gags.draw.pictures import depth_picture, heat_overlay
from gags.draw.scenes import slug
from gags.draw.video import color_picture
from gags.errors import QueryError
from gags.files import atomic_write
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter
from gags.query.relevancy import Queries
from gags.render.reference import rotation_matrices
from gags.scene import Scene

What = Literal["color", "depth", "normals", "relevancy"]
SURFACE_ALPHA = 0.5  # a pixel with less shows no surface: its depth and its normal are 0


def checked_what(what: Sequence[str], texts: Sequence[str]) -> list[str]:
    """What is asked for, each once.

    Raises:
        QueryError: If it is unknown, nothing, or relevancy without a text.
    """
    unknown = [one for one in what if one not in get_args(What)]
    if unknown or not what:
        names = ", ".join(map(repr, unknown)) or "asked for"
        raise QueryError(f"there is no map {names}; one of: {', '.join(get_args(What))}")
    if "relevancy" in what and not [text for text in texts if text.strip()]:
        raise QueryError('relevancy needs a text; add --text "red mug"')
    return list(dict.fromkeys(what))


@torch.no_grad()
def normals_of(gaussians: Gaussians, camera: Camera) -> np.ndarray:
    """Normals of the surface that each pixel shows, towards the camera.

    The shortest axis of a Gaussian is normal to the surface that it lies on; these axes are blended as
    colours are. (Differences of neighbouring depths would show every unevenness of the depth.)

    Args:
        gaussians: The scene.
        camera: The view.

    Returns:
        Of length 1 in the frame of the capture, 0 where no surface is. float32 [H, W, 3]
    """
    shortest = gaussians.log_scales.argmin(dim=1)
    rows = torch.arange(len(gaussians), device=shortest.device)
    axes = rotation_matrices(gaussians.quats)[rows, :, shortest]
    position = torch.as_tensor(camera.position, dtype=axes.dtype, device=axes.device)
    away = ((position - gaussians.means) * axes).sum(dim=1, keepdim=True) < 0
    seen = render(gaussians, camera, torch.where(away, -axes, axes))
    normals = torch.nn.functional.normalize(seen.colors, dim=-1)
    return torch.where(seen.alphas[..., None] >= SURFACE_ALPHA, normals, 0.0).cpu().numpy()


def normals_picture(normals: np.ndarray, camera: Camera) -> np.ndarray:
    """Normals as colours: red to the right, green upwards, blue towards the camera; grey is none.

    Args:
        normals: In the frame of the capture. [H, W, 3]
        camera: The view they were made for.

    Returns:
        uint8 RGB [H, W, 3]
    """
    local = normals @ camera.viewmat[:3, :3].T * [1, -1, -1]
    return np.round((local + 1) * 127.5).astype(np.uint8)


def write_views(
    scene: Scene,
    views: Sequence[View],
    what: Sequence[str],
    queries: Queries | None,
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    transparent: bool = False,
    progress: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Write maps of views; see `gags.write_views`.

    Args:
        scene: The scene.
        views: Views to render, at the size of their photos unless another one is given.
        what: From `checked_what`.
        queries: Texts, for relevancy.
        out: Folder of the files.
        size: Width and height, px; None takes the photo's.
        transparent: Pictures of colours without a background.
        progress: Told about progress.

    Returns:
        One row a map: view, what, text (of a relevancy), picture, and `values` (path of the numbers) if any.
    """
    rows = []
    with progress.stage("Rendering", len(views), "views") as bar:
        for view in views:
            folder = out / Path(view.name).with_suffix("")
            camera = view.camera if size is None else framed(view.camera, *size)
            for name, picture, values in _maps(scene, camera, what, queries, transparent):
                row = {"view": view.name, "what": name[0], "text": name[1]}
                stem = folder / (f"{slug(name[1])}_relevancy" if name[1] else name[0])
                rows.append(row | _written(stem, picture, values))
            bar.advance()
    return rows


Map = tuple[tuple[str, str | None], np.ndarray, np.ndarray | None]


@torch.no_grad()
def _maps(
    scene: Scene, camera: Camera, what: Sequence[str], queries: Queries | None, transparent: bool
) -> list[Map]:
    """Names, pictures (RGB or RGBA) and numbers of what one camera sees."""
    found: list[Map] = []
    seen = render(scene.gaussians, camera)
    color = (seen.colors.clamp(0, 1) * 255).round().byte().cpu().numpy()
    if "color" in what:
        clear = color_picture(scene.gaussians, camera, transparent=True) if transparent else color
        found.append((("color", None), clear, None))
    if "depth" in what:
        depth = torch.where(seen.alphas >= SURFACE_ALPHA, seen.depths, 0.0).float().cpu().numpy()
        found.append((("depth", None), depth_picture(depth, seen.alphas.cpu().numpy()), depth))
    if "normals" in what:
        normals = normals_of(scene.gaussians, camera)
        found.append((("normals", None), normals_picture(normals, camera), normals))
    if "relevancy" in what and queries is not None:
        for answer in scene.query(queries, camera):
            relevancy = answer.relevancy.astype(np.float32)
            found.append((("relevancy", answer.text), heat_overlay(color, relevancy), relevancy))
    return found


def framed(camera: Camera, width: int, height: int) -> Camera:
    """The same camera with a picture of another size, in whose middle lies all that it showed before."""
    scale = min(width / camera.width, height / camera.height)
    K = camera.K.copy()
    K[:2] *= scale
    K[0, 2] += (width - scale * camera.width) / 2
    K[1, 2] += (height - scale * camera.height) / 2
    return replace(camera, K=K, width=width, height=height)


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture as a PNG. uint8 RGB [H, W, 3] or RGBA [H, W, 4]"""
    swapped = picture[..., [2, 1, 0, 3]] if picture.shape[-1] == 4 else picture[..., ::-1]
    return cv2.imencode(".png", np.ascontiguousarray(swapped))[1].tobytes()


def _written(stem: Path, picture: np.ndarray, values: np.ndarray | None) -> dict[str, str]:
    """Write a picture and its numbers; returns their absolute paths."""
    paths = {"picture": stem.with_name(stem.name + ".png")}
    try:
        with atomic_write(paths["picture"]) as path:
            path.write_bytes(png_bytes(picture))
        if values is not None:
            paths["values"] = stem.with_name(stem.name + ".npy")
            with atomic_write(paths["values"]) as path:
                np.save(path, values)
    except OSError as error:
        raise QueryError(f"cannot write to {stem.parent} ({error.strerror}); choose another --out") from error
    return {kind: str(path.resolve()) for kind, path in paths.items()}
