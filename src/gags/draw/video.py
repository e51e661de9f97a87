"""Films: what a camera sees on its way through a scene, as an MP4."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

from gags.capture.camera import Camera
from gags.draw.pictures import heat_overlay
from gags.errors import FileError, QueryError
from gags.files import atomic_write
from gags.gaussians import Gaussians, render
from gags.progress import SILENT, Reporter

QUALITY = 6  # of 10, as imageio-ffmpeg counts: H.264 with a rate factor of 20, hard to tell from the original
NO_H264 = (
    "the film is MPEG-4 part 2, which VLC and video editors play and browsers do not; "
    "for H.264: pip install 'gags[video]'"
)
WriteFrame = Callable[[np.ndarray], object]


@torch.no_grad()
def color_picture(
    gaussians: Gaussians,
    camera: Camera,
    *,
    transparent: bool = False,
    background: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """What a camera sees.

    Args:
        gaussians: The scene.
        camera: The camera.
        transparent: Keep how much of each pixel is covered, instead of a background.
        background: Colour behind everything.

    Returns:
        uint8 RGB [H, W, 3]; RGBA [H, W, 4] if transparent, colours not multiplied by alpha.
    """
    behind = torch.tensor(background).to(gaussians.means) / 255
    seen = render(gaussians, camera, background=None if transparent else behind)
    colors = seen.colors.clamp(0, 1)
    if transparent:
        alphas = seen.alphas[..., None].clamp(0, 1)
        colors = torch.cat([(seen.colors / alphas.clamp(min=1e-6)).clamp(0, 1), alphas], dim=-1)
    return (colors * 255).round().byte().cpu().numpy()


@torch.no_grad()
def glow_picture(gaussians: Gaussians, camera: Camera, strengths: torch.Tensor) -> np.ndarray:
    """What a camera sees, with a glow where strengths are high. [N] → uint8 RGB [H, W, 3]"""
    color = color_picture(gaussians, camera)
    seen = render(gaussians, camera, strengths.to(gaussians.means)[:, None])
    return heat_overlay(color, seen.colors[..., 0].cpu().numpy(), limits=(0.0, 1.0))


def write_film(
    gaussians: Gaussians,
    cameras: list[Camera],
    out: Path,
    *,
    fps: int,
    strengths: torch.Tensor | None = None,
    progress: Reporter = SILENT,
) -> Path:
    """Render a film and write it.

    Args:
        gaussians: The scene.
        cameras: One a frame, all of one size, whose sides are even.
        out: An .mp4.
        fps: Frames a second.
        strengths: Of a text in every Gaussian, for a glow; None shows colours alone. [N]
        progress: Told about progress.

    Returns:
        The path.

    Raises:
        QueryError: If the name does not end in .mp4.
        FileError: If the file cannot be written.
    """
    check_film(out)
    first = cameras[0]
    with (
        progress.stage("Filming", len(cameras), "frames") as bar,
        atomic_write(out) as temporary,
        _writer(temporary, (first.width, first.height), fps, progress) as write,
    ):
        for camera in cameras:
            seen = (
                color_picture(gaussians, camera)
                if strengths is None
                else glow_picture(gaussians, camera, strengths)
            )
            write(seen)
            bar.advance()
    return out


def check_film(out: Path) -> None:
    """Make sure that a film can have this name.

    Raises:
        QueryError: If it does not end in .mp4.
    """
    if out.suffix.lower() != ".mp4":
        raise QueryError(f"a film is written as .mp4; choose another name than {out.name}")


@contextmanager
def _writer(path: Path, size: tuple[int, int], fps: int, progress: Reporter) -> Iterator[WriteFrame]:
    """What takes the frames of a film: H.264 if the extra `video` is there, else what OpenCV can write."""
    path.touch()  # what is wrong with the folder is said before anything is rendered
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        with _h264(path, size, fps) as write:
            yield write
        return
    progress.warn(NO_H264)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), float(fps), size)
    if not film.isOpened():
        raise FileError(
            f"{path.name} cannot be written: OpenCV has no video encoder; pip install 'gags[video]'"
        )
    try:
        yield lambda picture: film.write(np.ascontiguousarray(picture[..., ::-1]))
    finally:
        film.release()


@contextmanager
def _h264(path: Path, size: tuple[int, int], fps: int) -> Iterator[WriteFrame]:
    import imageio_ffmpeg

    frames = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        macro_block_size=2,
        ffmpeg_log_level="error",
        quality=QUALITY,
        output_params=["-movflags", "+faststart"],  # browsers begin before all of it is there
    )
    frames.send(None)
    try:
        yield lambda picture: frames.send(np.ascontiguousarray(picture).tobytes())
    finally:
        frames.close()
