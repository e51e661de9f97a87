"""Photos without poses: sizes, EXIF, cameras, bad folders."""

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from gags.errors import CaptureError
from gags.poses.inputs import bare_photo, bare_photos, camera_groups, focal_pixels, is_video


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
    assert len(bare_photos(tmp_path, ignore=tmp_path / "out")) == 3


@pytest.mark.parametrize("turned", range(1, 9))
def test_photos_are_turned_upright(tmp_path, turned):
    """Pillow's own transposition is the judge."""

    write(tmp_path / "a.jpg", Orientation=turned)
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
    [("clip.MOV", r"give .*clip\.MOV itself"), ("IMG_1.HEIC", "1 files .HEIC cannot be read")],
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


def test_twins_and_damaged_photos(tmp_path):
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
