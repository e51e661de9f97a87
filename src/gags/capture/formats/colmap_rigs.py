"""Rigs and frames of a COLMAP model, which COLMAP 4 writes beside its cameras, photos and points.

A rig is cameras that are fixed to each other, a frame is what they took at one moment. A photo's pose is that
of its frame, then that of its camera in the rig; `images.bin` holds the product, too. COLMAP goes by rigs and
frames, all other programs by `images.bin`: gags reads the latter, and makes sure that both say the same.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gags.capture.formats.colmap_files import (
    PosedImage,
    check_end,
    data_lines,
    model_file,
    parse_file,
    record_count,
    viewmat_of,
)
from gags.errors import CaptureError
from gags.progress import SILENT, Reporter

_SENSORS = {"CAMERA": 0, "IMU": 1}  # by COLMAP's numbers
_CAMERA = _SENSORS["CAMERA"]
# Of a pose, in radians and as a share of the distance from the origin. Both files have all digits, if COLMAP
# wrote them; other programs may round.
_TOLERANCE = 1e-4

Sensor = tuple[int, int]  # its type and its number: that of a camera


class Rig(NamedTuple):
    """Sensors that are fixed to each other.

    Attributes:
        sensors: For each its sensor-from-rig transform, float64 [4, 4]; None where it is not known.
    """

    sensors: dict[Sensor, np.ndarray | None]


class Frame(NamedTuple):
    """What a rig took at one moment.

    Attributes:
        rig_id: Number of its rig.
        viewmat: World-to-rig transform, float64 [4, 4]; None if the file holds no rotation.
        data: Sensor and number of each piece; of a camera that of the photo.
    """

    rig_id: int
    viewmat: np.ndarray | None
    data: list[tuple[Sensor, int]]


def read_rigs(model: Path) -> dict[int, Rig]:
    """Rigs of a model by number.

    Raises:
        CaptureError: If the file is missing or damaged.
    """
    return parse_file(model, "rigs", _rigs_binary, _rigs_text)


def read_frames(model: Path) -> dict[int, Frame]:
    """Frames of a model by number.

    Raises:
        CaptureError: If the file is missing or damaged.
    """
    return parse_file(model, "frames", _frames_binary, _frames_text)


def check_rigs(model: Path, images: Iterable[PosedImage], progress: Reporter = SILENT) -> None:
    """Make sure that rigs and frames, where a model has them, say the same poses as its list of photos.

    Frames of photos that are no longer in the list are passed over, as are poses that are not known.

    Args:
        model: Folder of the model.
        images: Its photos.
        progress: Told if one of the two files is missing.

    Raises:
        CaptureError: If one of them is damaged, or they contradict each other or the list of photos.
    """
    there = [file for name in ("rigs", "frames") if (file := model_file(model, name)) is not None]
    if len(there) < 2:
        if there:
            progress.say(
                f"{model} has {there[0].name} alone of rigs and frames; poses are those of its photos"
            )
        return
    try:
        _compare(read_rigs(model), read_frames(model), {image.image_id: image for image in images})
    except ValueError as error:
        raise CaptureError(
            f"{model} contradicts itself: {error}; export the COLMAP model again, or remove "
            f"{there[0].name} and {there[1].name} to go by the list of photos alone"
        ) from error


def _compare(rigs: dict[int, Rig], frames: dict[int, Frame], images: dict[int, PosedImage]) -> None:
    """Raise a ValueError at the first contradiction."""
    seen: dict[int, int] = {}
    for frame_id, frame in frames.items():
        if frame.rig_id not in rigs:
            raise ValueError(f"frame {frame_id} is of rig {frame.rig_id}, which it does not have")
        sensors = rigs[frame.rig_id].sensors
        for sensor, number in frame.data:
            if sensor not in sensors:
                raise ValueError(
                    f"frame {frame_id} has data of sensor {sensor[1]}, which is not in rig {frame.rig_id}"
                )
            if sensor[0] != _CAMERA or number not in images:
                continue
            image = images[number]
            if seen.setdefault(number, frame_id) != frame_id:
                raise ValueError(f"photo {image.name} is in two frames, {seen[number]} and {frame_id}")
            if image.camera_id != sensor[1]:
                raise ValueError(
                    f"photo {image.name} is of camera {sensor[1]} in frame {frame_id}, "
                    f"else of {image.camera_id}"
                )
            _compare_pose(image, frame_id, frame.viewmat, sensors[sensor])


def _compare_pose(
    image: PosedImage, frame_id: int, rig_viewmat: np.ndarray | None, from_rig: np.ndarray | None
) -> None:
    if image.viewmat is None or rig_viewmat is None or from_rig is None:
        return
    viewmat = from_rig @ rig_viewmat
    turned = np.abs(viewmat[:3, :3] - image.viewmat[:3, :3]).max()
    moved = np.linalg.norm(viewmat[:3, 3] - image.viewmat[:3, 3])
    if turned > _TOLERANCE or moved > _TOLERANCE * (1 + np.linalg.norm(image.viewmat[:3, 3])):
        raise ValueError(f"the pose of photo {image.name} is another one in frame {frame_id}")


def _rigs_binary(data: bytes) -> dict[int, Rig]:
    rigs: dict[int, Rig] = {}
    count, offset = record_count(data)
    for _ in range(count):
        rig_id, sensors = struct.unpack_from("<II", data, offset)
        offset += 8
        rig = Rig({})
        for index in range(sensors):
            kind, number = struct.unpack_from("<iI", data, offset)
            offset += 8
            if index == 0:  # the reference, which the rig's own frame is that of
                rig.sensors[kind, number] = np.eye(4)
                continue
            (known,) = struct.unpack_from("<B", data, offset)
            offset += 1
            rig.sensors[kind, number] = _pose_at(data, offset) if known else None
            offset += 56 if known else 0
        rigs[rig_id] = rig
    check_end(data, offset)
    return rigs


def _frames_binary(data: bytes) -> dict[int, Frame]:
    frames: dict[int, Frame] = {}
    count, offset = record_count(data)
    for _ in range(count):
        frame_id, rig_id = struct.unpack_from("<II", data, offset)
        viewmat = _pose_at(data, offset + 8)
        (pieces,) = struct.unpack_from("<I", data, offset + 64)
        offset += 68
        frame = Frame(rig_id, viewmat, [])
        for _ in range(pieces):
            kind, sensor, number = struct.unpack_from("<iIQ", data, offset)
            frame.data.append(((kind, sensor), number))
            offset += 16
        frames[frame_id] = frame
    check_end(data, offset)
    return frames


def _pose_at(data: bytes, offset: int) -> np.ndarray | None:
    pose = struct.unpack_from("<7d", data, offset)
    return viewmat_of(pose[:4], pose[4:])


def _rigs_text(lines: list[str]) -> dict[int, Rig]:
    rigs: dict[int, Rig] = {}
    for line in data_lines(lines):
        words = _Words(line)
        rig_id, sensors = int(words.next()), int(words.next())
        rig = Rig({})
        for index in range(sensors):
            sensor = words.sensor()
            known = index == 0 or bool(int(words.next()))
            rig.sensors[sensor] = np.eye(4) if index == 0 else words.pose() if known else None
        words.check_end()
        rigs[rig_id] = rig
    return rigs


def _frames_text(lines: list[str]) -> dict[int, Frame]:
    frames: dict[int, Frame] = {}
    for line in data_lines(lines):
        words = _Words(line)
        frame_id, rig_id = int(words.next()), int(words.next())
        frame = Frame(rig_id, words.pose(), [])
        for _ in range(int(words.next())):
            frame.data.append((words.sensor(), int(words.next())))
        words.check_end()
        frames[frame_id] = frame
    return frames


class _Words:
    """The words of a line, one after the other; too few or too many are a ValueError."""

    def __init__(self, words: list[str]) -> None:
        self._line, self._words = " ".join(words)[:60], iter(words)

    def next(self) -> str:
        try:
            return next(self._words)
        except StopIteration as error:
            raise ValueError(f"`{self._line}` ends too early") from error

    def pose(self) -> np.ndarray | None:
        numbers = tuple(float(self.next()) for _ in range(7))
        return viewmat_of(numbers[:4], numbers[4:])

    def sensor(self) -> Sensor:
        name = self.next()
        if name not in _SENSORS:
            raise ValueError(f"`{self._line}` has a sensor {name[:20]}, not {' or '.join(_SENSORS)}")
        return _SENSORS[name], int(self.next())

    def check_end(self) -> None:
        if next(self._words, None) is not None:
            raise ValueError(f"`{self._line}` has more words than it says")
