"""The sharpest frame of each interval, and videos that are none."""

import cv2
import numpy as np
import pytest

from gags.errors import CaptureError
from gags.poses.video import extract_frames, frame_interval, sharpest_of_each, sharpness


@pytest.mark.parametrize(
    ("count", "rate", "most", "interval"),
    [
        (9000, 30.0, 150, 60),
        (9001, 30.0, 150, 61),  # never more than asked for
        (60, 30.0, 150, 6),  # 0.2 s at least
        (0, 30.0, 150, 6),
        (5, 2.0, 150, 1),
    ],
)
def test_interval(count, rate, most, interval):
    assert frame_interval(count, rate, most) == interval


def test_sharpness_is_the_variance_of_the_laplacian():
    image = np.zeros((5, 5), np.uint8)
    image[2, 2] = 10
    # The kernel 0 1 0 / 1 -4 1 / 0 1 0 gives one -40 and four 10 in 25 pixels; their mean is 0.
    assert sharpness(image) == pytest.approx((40**2 + 4 * 10**2) / 25)
    assert sharpness(np.full((40, 50, 3), 77, np.uint8)) == 0


def test_blur_lowers_sharpness():
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    blurred = [cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0)]
    values = [sharpness(image) for image in (picture, *blurred)]
    assert values == sorted(values, reverse=True)


def plain_and_sharp(sharp: list[int], count: int) -> list[np.ndarray]:
    """Frames of which those at `sharp` hold a stripe, the more contrast the later."""
    frames = [np.zeros((12, 16, 3), np.uint8) for _ in range(count)]
    for number in sharp:
        frames[number][:, 8] = 100 + number
    return frames


def test_the_sharpest_of_each_interval_is_kept():
    frames = plain_and_sharp([1, 2, 5, 6], 8)
    kept = list(sharpest_of_each(frames, 3))
    assert [number for number, _ in kept] == [2, 5, 6]
    for number, frame in kept:
        np.testing.assert_array_equal(frame, frames[number])
    assert list(sharpest_of_each([], 3)) == []


def write_video(path, frames):
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, size)
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_frames_of_a_video(tmp_path):
    frames = [np.full((48, 64, 3), 60, np.uint8) for _ in range(12)]
    for number in (3, 4, 11):
        frames[number][:, 20:40:4] = 200 if number != 4 else 90
    write_video(tmp_path / "clip.avi", frames)
    count = extract_frames(tmp_path / "clip.avi", tmp_path / "frames", most=3)
    names = sorted(path.name for path in (tmp_path / "frames").glob("*.jpg"))
    assert count == 3
    assert names[0] == "frame_000003.jpg"
    assert names[2] == "frame_000011.jpg"
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "frames").glob("*.jpg"))]
    assert extract_frames(tmp_path / "clip.avi", tmp_path / "frames", most=3) == 3
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "frames").glob("*.jpg"))] == before
    assert extract_frames(tmp_path / "clip.avi", tmp_path / "frames", most=2) == 2
    assert len(list((tmp_path / "frames").glob("*.jpg"))) == 2


@pytest.mark.parametrize("content", [b"", b"this is no video"])
def test_a_video_without_frames_is_an_error(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(CaptureError, match=r"no frame of .*clip\.mp4.*convert it"):
        extract_frames(tmp_path / "clip.mp4", tmp_path / "frames", most=10)
