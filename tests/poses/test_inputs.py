"""Photos without poses: sizes, EXIF, cameras, bad folders; the sharpest frame of each interval of a video."""

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from tests.helpers.made_capture import CAPTURES

from gags.errors import CaptureError
from gags.poses.bare import bare_photo, camera_groups, focal_pixels
from gags.poses.inputs import bare_photos, lacks_poses
from gags.poses.video import extract_frames, frame_interval, is_video, sharpest_of_each, sharpness


def write(path, size=(40, 30), **tags):
    """A picture that is red in its left top corner; `tags` by their EXIF names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = [255, 0, 0]
    image, exif = Image.fromarray(pixels), Image.Exif()
    for name, value in tags.items():
        tag = ExifTags.Base[name]
        if name == "FocalLengthIn35mmFilm":
            exif.get_ifd(ExifTags.IFD.Exif)[tag] = value
        else:
            exif[tag] = value
    image.save(path, exif=exif, quality=95) if path.suffix == ".jpg" else image.save(path)


def test_photos_of_different_sizes_and_folders(tmp_path):
    write(tmp_path / "b.jpg", (40, 30))
    write(tmp_path / "deep" / "a.jpg", (50, 30))
    write(tmp_path / "c.png", (40, 30))
    write(tmp_path / ".hidden.jpg")
    photos = bare_photos(tmp_path)
    assert [(p.name, p.width, p.height) for p in photos] == [
        ("b.jpg", 40, 30),
        ("c.png", 40, 30),
        ("deep/a.jpg", 50, 30),
    ]
    assert [[p.name for p in group] for group in camera_groups(photos)] == [
        ["b.jpg", "c.png"],
        ["deep/a.jpg"],
    ]


def test_names_begin_where_the_photos_do(tmp_path):
    for name in ("x 1.jpg", "y.jpg", "z.jpg"):
        write(tmp_path / "trip" / "images" / name)
    photos = bare_photos(tmp_path)
    assert [p.name for p in photos] == ["x 1.jpg", "y.jpg", "z.jpg"]
    assert photos[0].key == "x%201.jpg"  # COLMAP's lists of pairs are split at blanks


def test_photos_come_in_the_order_people_count(tmp_path):
    for name in ("10.jpg", "9.jpg", "100.jpg", "a2.jpg", "a11.jpg"):
        write(tmp_path / name)
    assert [p.name for p in bare_photos(tmp_path)] == ["9.jpg", "10.jpg", "100.jpg", "a2.jpg", "a11.jpg"]


def test_the_result_inside_the_folder_is_left_out(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "out/images/a.jpg"):
        write(tmp_path / name)
    assert len(bare_photos(tmp_path, ignore=[tmp_path / "out"])) == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright(tmp_path, orientation):
    """Pillow's own transposition is the judge."""

    write(tmp_path / "a.jpg", Orientation=orientation)
    photo = bare_photo(tmp_path / "a.jpg", "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(photo.upright(), upright)
    assert (photo.height, photo.width) == upright.shape[:2]


@pytest.mark.parametrize(
    ("millimetres", "pixels"),
    [(43.27, 50.0), (21.635, 25.0), (0, None), (None, None), ("x", None), (9000, None), (float("nan"), None)],
)
def test_focal_length_from_exif(millimetres, pixels):
    found = focal_pixels(millimetres, 40, 30)
    assert found == (None if pixels is None else pytest.approx(pixels))


def test_exif_tells_cameras_apart(tmp_path):
    write(tmp_path / "a.jpg", FocalLengthIn35mmFilm=26, Make="Some", Model="Phone")
    write(tmp_path / "b.jpg", FocalLengthIn35mmFilm=13, Make="Some", Model="Phone")
    write(tmp_path / "c.jpg", FocalLengthIn35mmFilm=26, Make="Some", Model="Phone")
    photos = bare_photos(tmp_path)
    assert photos[0].maker == "Some Phone"
    assert photos[0].focal == pytest.approx(26 / 43.27 * 50)
    assert [[p.name for p in group] for group in camera_groups(photos)] == [["a.jpg", "c.jpg"], ["b.jpg"]]


def test_a_folder_without_photos(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(
        CaptureError, match=r"holds no photos, and poses need 3; give a folder with 3 or more"
    ):
        bare_photos(tmp_path)


def test_too_few_photos(tmp_path):
    write(tmp_path / "a.jpg")
    with pytest.raises(CaptureError, match="holds only 1 photo, and poses need 3"):
        bare_photos(tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("clip.MOV", r"give .*clip\.MOV itself"),
        ("IMG_1.CR2", r"1 photos are of a format that is not read \(IMG_1\.CR2\); convert them to JPEG"),
    ],
)
def test_what_is_there_instead(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CaptureError, match=remedy):
        bare_photos(tmp_path)


def test_not_there_or_no_folder(tmp_path):
    with pytest.raises(CaptureError, match="not there"):
        bare_photos(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CaptureError, match="no folder of photos and no video"):
        bare_photos(tmp_path / "a.txt")


def test_equal_stems_and_damaged_photos(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg"):
        write(tmp_path / name)
    with pytest.raises(CaptureError, match=r"share a name but for the suffix \(a\.jpg, a\.png\)"):
        bare_photos(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    with pytest.raises(CaptureError, match=r"b\.jpg cannot be read"):
        bare_photos(tmp_path)


def test_is_video(tmp_path):
    (tmp_path / "a.MP4").write_bytes(b"")
    assert is_video(tmp_path / "a.MP4")
    assert not is_video(tmp_path / "b.mp4")
    assert not is_video(tmp_path)


@pytest.mark.parametrize("format", CAPTURES)
def test_captures_do_not_lack_poses(tmp_path, format):
    CAPTURES[format](tmp_path / "capture", 3)
    assert not lacks_poses(tmp_path / "capture")


def test_photos_and_videos_lack_poses(tmp_path):
    write(tmp_path / "trip" / "day 1" / "a.jpg")
    (tmp_path / "walk.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert lacks_poses(tmp_path / "trip")
    assert lacks_poses(tmp_path / "walk.mp4")
    assert not lacks_poses(tmp_path / "empty")
    assert not lacks_poses(tmp_path / "nowhere")


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
