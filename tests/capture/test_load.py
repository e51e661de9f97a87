"""From a folder to views: matching, sizes, split, lookup."""

import re

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.helpers.heard import Heard
from tests.helpers.made_capture import plain_photo, pose, write_colmap, write_photo

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.errors import CaptureError

NAMES = [f"frame_{i:02}.png" for i in range(10)]


def resize_photos(root, size):
    for path in (root / "images").iterdir():
        with Image.open(path) as photo:
            photo.resize(size).save(path)


def test_views_carry_camera_and_picture(tmp_path):
    write_colmap(tmp_path, NAMES[::-1])
    capture = load_capture(tmp_path)
    assert [view.name for view in capture] == NAMES
    assert len(capture) == 10
    for index, view in enumerate(capture):
        made = 9 - index  # written in the other order: photos are matched by name
        np.testing.assert_allclose(view.camera.viewmat, pose(made), atol=1e-12)
        np.testing.assert_array_equal(view.camera.K, [[210, 0, 110], [0, 220, 62], [0, 0, 1]])
        np.testing.assert_array_equal(view.image(), plain_photo(made))
    assert capture.points.dtype == np.float32
    assert capture.points.shape == capture.points_rgb.shape == (5, 3)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"downscale": 2}, (100, 75)),
        ({"downscale": 3.0}, (67, 50)),
        ({"max_size": 80}, (80, 60)),
        ({"max_size": 500}, (200, 150)),
        ({"downscale": 2, "max_size": 60}, (60, 45)),
        ({"downscale": 4, "max_size": 60}, (50, 38)),
        ({"downscale": 1000}, (1, 1)),
    ],
)
def test_smaller_images_keep_the_field_of_view(tmp_path, options, size):
    write_colmap(tmp_path, NAMES[:2])
    view = load_capture(tmp_path, **options).views[0]
    assert view.image().shape == (size[1], size[0], 3)
    assert (view.camera.width, view.camera.height) == size
    x, y = size[0] / 200, size[1] / 150
    np.testing.assert_allclose(view.camera.K, [[210 * x, 0, 110 * x], [0, 220 * y, 62 * y], [0, 0, 1]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"downscale": 0.5}, "downscale"),
        ({"downscale": float("nan")}, "downscale"),
        ({"max_size": 0}, "max_size"),
        ({"test_every": -1}, "test_every"),
        ({"test_every": 8, "test_list": "x.txt"}, "not by both"),
    ],
)
def test_senseless_options(tmp_path, options, message):
    write_colmap(tmp_path, NAMES[:2])
    with pytest.raises(CaptureError, match=message):
        load_capture(tmp_path, **options)


def test_photos_without_a_pose_are_left_out_with_one_warning(tmp_path):
    write_colmap(tmp_path, NAMES)
    for name in ("x.jpg", "more/y.PNG", "z.png", "zz.png", ".hidden.png"):
        write_photo(tmp_path / "images" / name, plain_photo(0))
    (tmp_path / "images" / "notes.txt").write_text("no photo")
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 10
    assert len(heard.warned) == 1
    assert heard.warned[0].startswith("4 photos have no pose")
    assert "more/y.PNG, x.jpg, z.png and 1 more" in heard.warned[0]


def test_poses_without_photos_are_an_error(tmp_path):
    write_colmap(tmp_path, NAMES)
    for name in NAMES[3:8]:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(CaptureError, match=r"5 of 10 .*frame_03.*frame_04.*frame_05.* 2 more"):
        load_capture(tmp_path)


@pytest.mark.parametrize("divisor", [2, 4, 8, 0.5])
def test_uniformly_resized_photos_rescale_the_cameras(tmp_path, divisor):
    write_colmap(tmp_path, NAMES, size=(202, 151), photo=lambda i: plain_photo(i, (202, 151)))
    size = (int(202 / divisor), int(151 / divisor))
    resize_photos(tmp_path, size)
    heard = Heard()
    view = load_capture(tmp_path, progress=heard).views[0]
    assert (view.camera.width, view.camera.height) == size
    x, y = size[0] / 202, size[1] / 151
    np.testing.assert_allclose(view.camera.K, [[210 * x, 0, 110 * x], [0, 220 * y, 62 * y], [0, 0, 1]])
    assert len(heard.said) == 1
    assert "10 photos" in heard.said[0]


@pytest.mark.parametrize("size", [(100, 150), (199, 150), (200, 151), (100, 77), (133, 133), (201, 151)])
def test_contradicting_photo_sizes_are_an_error(tmp_path, size):
    write_colmap(tmp_path, NAMES)
    resize_photos(tmp_path, size)
    with pytest.raises(
        CaptureError, match=rf"frame_0\d\.png is {size[0]}×{size[1]}, but its camera is 200×150"
    ):
        load_capture(tmp_path)


def test_turned_photos_are_named_as_such(tmp_path):
    write_colmap(tmp_path, NAMES)
    resize_photos(tmp_path, (150, 200))
    with pytest.raises(CaptureError, match=r"150×200, but its camera is 200×150.*EXIF"):
        load_capture(tmp_path)


def test_unreadable_photo_is_found_when_loading(tmp_path):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "images" / NAMES[4]).write_bytes(b"broken")
    heard = Heard()
    assert NAMES[4] not in [view.name for view in load_capture(tmp_path, progress=heard)]
    assert re.search(r"1 of 10 posed photos cannot be read: .*frame_04\.png", heard.warned[0])
    for name in NAMES[:5]:
        (tmp_path / "images" / name).write_bytes(b"broken")
    with pytest.raises(CaptureError, match=r"5 of 10 posed photos cannot be read .*frame_00\.png"):
        load_capture(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photo_that_is_cut_short_is_found_when_loading(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    names = [f"{i}.{suffix}" for i in range(4)]
    write_colmap(tmp_path, names, photo=lambda index: noise)
    whole = (tmp_path / "images" / names[1]).read_bytes()
    (tmp_path / "images" / names[1]).write_bytes(whole[: len(whole) // 2])
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 3
    assert re.search(rf"1 of 4 .*1\.{suffix} cannot be read \(.*truncated.*; left out", heard.warned[0])
    (tmp_path / "images" / names[1]).write_bytes(whole + b"\0" * 9000)  # what some cameras put behind a photo
    assert len(load_capture(tmp_path)) == 4


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_poses_of_photos_that_were_turned_first(tmp_path, orientation):
    """Cameras as high as the upright photo: the pixels are turned as EXIF says; Pillow is the judge."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)  # 150 wide
    write_colmap(tmp_path, NAMES[:2])
    for name in NAMES[:2]:
        Image.fromarray(raw).save(tmp_path / "images" / name, exif=exif)
    capture = load_capture(tmp_path, test_every=0)
    with Image.open(tmp_path / "images" / NAMES[0]) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(capture.views[0].image(), upright)
    np.testing.assert_array_equal(capture.views[0].camera.K, [[210, 0, 110], [0, 220, 62], [0, 0, 1]])
    save_capture(capture, tmp_path / "capture.json")
    again = read_saved_capture(tmp_path / "capture.json")
    np.testing.assert_array_equal(again.views[0].image(), upright)
    assert again.fingerprint() == capture.fingerprint()


def test_poses_of_photos_as_they_lie_in_the_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_colmap(tmp_path, NAMES[:2])
    for index, name in enumerate(NAMES[:2]):
        Image.fromarray(plain_photo(index)).save(tmp_path / "images" / name, exif=exif)
    assert [view.orientation for view in load_capture(tmp_path, test_every=0)] == [1, 1]


def test_photos_of_other_formats_are_named(tmp_path):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "images" / "IMG_7.CR2").write_bytes(b"x")
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 10
    assert "IMG_7.CR2" in heard.warned[0]


def test_photo_that_changes_its_size_later(tmp_path):
    write_colmap(tmp_path, NAMES)
    view = load_capture(tmp_path).views[0]
    resize_photos(tmp_path, (100, 75))
    with pytest.raises(CaptureError, match=r"is now 100×75, but was 200×150"):
        view.image()


def test_no_points(tmp_path):
    write_colmap(tmp_path, NAMES, points=0)
    with pytest.raises(CaptureError, match="no sparse points"):
        load_capture(tmp_path)
    capture = load_capture(tmp_path, require_points=False)
    assert capture.points.shape == capture.points_rgb.shape == (0, 3)


def test_no_views(tmp_path):
    write_colmap(tmp_path, [])
    (tmp_path / "images").mkdir()
    with pytest.raises(CaptureError, match="no posed views"):
        load_capture(tmp_path)


def test_no_capture(tmp_path):
    with pytest.raises(CaptureError, match="not there"):
        load_capture(tmp_path / "nowhere")
    with pytest.raises(CaptureError, match=r"neither a COLMAP model.*nor transforms\.json"):
        load_capture(tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"")
    with pytest.raises(CaptureError, match="not a folder"):
        load_capture(tmp_path / "video.mp4")


def names(views):
    return [view.name for view in views]


def test_every_eighth_view_is_held_out_by_default(tmp_path):
    write_colmap(tmp_path, NAMES)
    capture = load_capture(tmp_path)
    assert names(capture.test) == [NAMES[0], NAMES[8]]
    assert names(capture.train) == NAMES[1:8] + NAMES[9:]


def test_every_nth_view(tmp_path):
    write_colmap(tmp_path, NAMES)
    assert names(load_capture(tmp_path, test_every=3).test) == NAMES[::3]
    assert load_capture(tmp_path, test_every=0).test == []
    with pytest.raises(CaptureError, match="none is left to train on"):
        load_capture(tmp_path, test_every=1)


def test_single_view_needs_test_every_0(tmp_path):
    write_colmap(tmp_path, NAMES[:1])
    with pytest.raises(CaptureError, match="test_every=0"):
        load_capture(tmp_path)
    assert len(load_capture(tmp_path, test_every=0).train) == 1


def test_list_of_test_views(tmp_path):
    write_colmap(tmp_path, NAMES)
    test_list = tmp_path / "held_out.txt"
    test_list.write_text("# chosen by hand\nframe_03.png\r\n\nframe_07\n")
    assert names(load_capture(tmp_path, test_list=test_list).test) == ["frame_03.png", "frame_07.png"]
    test_list.write_text("frame_03.png\nframe_77.png\nother\n")
    with pytest.raises(CaptureError, match=r"held_out\.txt names 2 views .*\(frame_77\.png, other\)"):
        load_capture(tmp_path, test_list=test_list)
    with pytest.raises(CaptureError, match=r"gone\.txt cannot be read"):
        load_capture(tmp_path, test_list=tmp_path / "gone.txt")


def test_listed_photo_without_a_pose_is_only_left_out(tmp_path):
    write_colmap(tmp_path, NAMES)
    write_photo(tmp_path / "images" / "lost.png", plain_photo(0))
    (tmp_path / "test.txt").write_text("lost.png\nframe_02\n")
    heard = Heard()
    assert names(load_capture(tmp_path, progress=heard).test) == ["frame_02.png"]
    assert "lost.png" in heard.warned[0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_list_of_test_views_by_names_of_other_systems(tmp_path, encoding):
    write_colmap(tmp_path, ["Küche 1.png", "Küche 2.png", "c.png"])
    (tmp_path / "test.txt").write_bytes("KÜCHE 2.JPG\r\nC:\\photos\\c.png\r\n".encode(encoding))
    assert names(load_capture(tmp_path).test) == ["Küche 2.png", "c.png"]


def test_own_test_list_counts_unless_told_otherwise(tmp_path):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "test.txt").write_text("frame_05\n")
    (tmp_path / "mine.txt").write_text("frame_06\n")
    assert names(load_capture(tmp_path).test) == ["frame_05.png"]
    assert names(load_capture(tmp_path, test_every=5).test) == ["frame_00.png", "frame_05.png"]
    assert names(load_capture(tmp_path, test_list=tmp_path / "mine.txt").test) == ["frame_06.png"]


def test_views_are_found_by_name_stem_and_bare_name(tmp_path):
    write_colmap(tmp_path, ["left/a.png", "left/b.x.png", "right/a.png"])
    capture = load_capture(tmp_path)
    assert capture["left/a.png"].stem == "left/a"
    assert capture["right/a"].name == "right/a.png"
    assert capture["b.x"].name == capture["b.x.png"].name == "left/b.x.png"
    assert "left/a" in capture
    assert "a" not in capture  # two views could be meant
    with pytest.raises(CaptureError, match=r"no view 'left/c\.png'.*left/a\.png"):
        capture["left/c.png"]


def test_photos_that_differ_in_suffix_only_are_an_error(tmp_path):
    write_colmap(tmp_path, ["a.png", "a.jpg"])
    with pytest.raises(CaptureError, match=r"but for the suffix.*rename"):
        load_capture(tmp_path)


@pytest.mark.parametrize(
    ("name", "views", "test", "size"), [("desk", 70, 9, (962, 539)), ("pantry", 84, 12, (640, 480))]
)
def test_real_captures(captures, name, views, test, size):
    capture = load_capture(captures / name)
    assert (len(capture), len(capture.test)) == (views, test)
    view = capture.test[0]
    assert view.image().shape == (size[1], size[0], 3)
    assert (view.camera.width, view.camera.height) == size
    xy, depth = view.camera.project(capture.points)
    assert ((depth > 0) & (xy > 0).all(axis=1) & (xy < size).all(axis=1)).mean() > 0.1
    if name == "pantry":
        assert all(view.name.startswith("test_") for view in capture.test)
