"""Films of a way through a scene."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gags.draw.paths import KeyView, along, keys_of_photos, load_path
from gags.draw.video import check_film, write_film
from gags.files.ranges import Range, check_value
from gags.progress import SILENT, Reporter
from gags.query.reach import OPAQUE, strengths_of
from gags.scene import Scene
from gags.viewer.first_view import middle_of, up_direction

SIDES = Range(16, 8192)  # px
SECONDS = Range(0, 600, low_open=True)
FPS = Range(1, 120)


def write_video(
    scene: Scene | Path | str,
    out: Path | str,
    path: Path | str | Sequence[KeyView] | None = None,
    *,
    texts: str | Sequence[str] = (),
    seconds: float = 10.0,
    fps: int = 30,
    size: tuple[int, int] = (1280, 720),
    progress: Reporter = SILENT,
) -> Path:
    """Write a film of a way through a scene, as an .mp4.

    Args:
        scene: The scene, or its folder.
        out: The file. H.264 with the extra `video`, else MPEG-4 part 2, which browsers do not play.
        path: Key views, or a JSON file of them, as the viewer saves them; None goes along the photos.
        texts: What glows in the film; nothing by default.
        seconds: How long it is.
        fps: Frames a second.
        size: Width and height, px; odd ones are made even.
        progress: Told about progress.

    Returns:
        The path of the film.

    Raises:
        SettingsError: If a number is out of its range.
        QueryError: If the path cannot be read, a text is empty, or `out` is no .mp4.
    """
    check_value("seconds", seconds, float, SECONDS)
    check_value("fps", fps, int, FPS)
    width, height = (check_value("size", side, int, SIDES) for side in size)
    check_film(Path(out))
    texts = [texts] if isinstance(texts, str) else list(texts)
    keys = load_path(Path(path)) if isinstance(path, str | Path) else path
    loaded = scene if isinstance(scene, Scene) else Scene.load(scene, progress=progress)
    opacities = loaded.gaussians.opacities.cpu().double().numpy()
    if keys is None:
        keys = _keys_of_photos(loaded, opacities)
    strengths = None
    if texts:
        strengths = torch.from_numpy(strengths_of(loaded.field, loaded.queries(texts), opacities))
    views = along(list(keys), max(1, round(seconds * fps)))
    cameras = [view.camera(width - width % 2, height - height % 2) for view in views]
    return write_film(loaded.gaussians, cameras, Path(out), fps=fps, strengths=strengths, progress=progress)


def _keys_of_photos(scene: Scene, opacities: np.ndarray) -> list[KeyView]:
    cameras = [view.camera for view in scene.capture.views]
    means = scene.gaussians.means.cpu().double().numpy()
    solid = means[opacities > OPAQUE] if (opacities > OPAQUE).any() else means
    up = np.array(scene.frame.up) if scene.frame.up else up_direction(cameras, solid)
    middles = [
        np.linalg.norm(middle_of(camera, solid) - camera.position)
        for camera in cameras[:: len(cameras) // 8 or 1]
    ]
    return keys_of_photos(cameras, up, float(np.median(middles)))
