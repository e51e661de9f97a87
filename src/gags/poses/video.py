"""The sharpest frames of a video."""

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gags.errors import CaptureError
from gags.files import read_table, write_json
from gags.poses.bare import JPEG_QUALITY
from gags.progress import SILENT, Reporter

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".3gp")
LEAST_INTERVAL_S = 0.2  # frames closer in time show the same
DEFAULT_RATE = 30.0  # frames a second, where the file does not say
SHARPNESS_SIDE = 640  # px; blur that matters shows at this size, noise of the sensor does not


def is_video(path: Path) -> bool:
    """Whether a path is a video, by its suffix."""
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


def check_video(path: Path) -> None:
    """Make sure that a video has a frame that can be read.

    Raises:
        CaptureError: If it has none.
    """
    import cv2

    reader = cv2.VideoCapture(str(path))
    there, _ = reader.read()
    reader.release()
    if not there:
        raise CaptureError(
            f"no frame of {path} can be read: it is empty, damaged, or in a format that OpenCV does not "
            "know; convert it to an .mp4 (H.264), or give photos"
        )


def sharpness(image: np.ndarray) -> float:
    """How sharp a picture is: the variance of its Laplacian, at a small size.

    Only comparable between pictures of the same thing, as frames that follow each other are.

    Args:
        image: uint8 [H, W, 3] or [H, W]

    Returns:
        0 for a plain picture, larger is sharper.
    """
    import cv2

    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = SHARPNESS_SIDE / max(grey.shape)
    if shrink < 1:
        grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def frame_interval(count: int, rate: float, most: int) -> int:
    """How many frames of a video one photo is chosen from.

    Args:
        count: Frames of the video, 0 if unknown.
        rate: Frames a second.
        most: Most photos wanted.

    Returns:
        At least as many frames as pass in `LEAST_INTERVAL_S`, and so many that no more than `most` photos
        come out.
    """
    return max(1, round(LEAST_INTERVAL_S * rate), math.ceil(count / most))


def sharpest_of_each(frames: Iterable[np.ndarray], interval: int) -> Iterator[tuple[int, np.ndarray]]:
    """The sharpest frame of every `interval` frames; only one frame is kept in memory.

    Args:
        frames: Frames of the video, in order. uint8 [H, W, 3] or [H, W] each
        interval: How many frames one is chosen from.

    Yields:
        Number of the frame in the video, from 0, and the frame as it was given.
    """
    best: tuple[float, int, np.ndarray] | None = None
    for number, frame in enumerate(frames):
        if number % interval == 0 and best is not None:
            yield best[1:]
            best = None
        score = sharpness(frame)
        if best is None or score > best[0]:
            best = score, number, frame
    if best is not None:
        yield best[1:]


def extract_frames(video: Path, folder: Path, most: int, progress: Reporter = SILENT) -> int:
    """Write the sharpest frames of a video as `frame_000123.jpg`, numbered as in the video.

    Frames that an earlier call wrote with the same settings stay as they are.

    Args:
        video: The file.
        folder: Where to write; made if it is not there.
        most: Most frames wanted.
        progress: Told about progress.

    Returns:
        How many there are.

    Raises:
        CaptureError: If no frame can be read.
    """
    import cv2

    done = folder / "done.json"
    state = video.stat()
    key = {"video": video.name, "bytes": state.st_size, "modified": state.st_mtime_ns, "most": most}
    known = read_table(done)
    if known.get("key") == key:
        return int(known["frames"])
    reader = cv2.VideoCapture(str(video))
    total = max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)))
    rate = reader.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate < 1000 else DEFAULT_RATE
    check_video(video)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("frame_*.jpg"):
        old.unlink()
    written = 0
    with progress.stage("Choosing sharp frames", max(1, total), "frames") as bar:
        frames = _frames(reader, bar.advance)
        for number, frame in sharpest_of_each(frames, frame_interval(total, rate, most)):
            options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            cv2.imwrite(str(folder / f"frame_{number:06d}.jpg"), frame[..., ::-1], options)
            written += 1
    reader.release()
    write_json(done, {"key": key, "frames": written})
    return written


def _frames(reader: Any, advance: Callable[[], None]) -> Iterator[np.ndarray]:
    """Every frame of a video; `advance` is called at each. uint8 RGB [H, W, 3] each"""
    while True:
        there, frame = reader.read()
        if not there:
            return
        advance()
        yield frame[..., ::-1]
