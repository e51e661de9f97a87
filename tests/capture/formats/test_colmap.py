"""The COLMAP reader, against models that pycolmap wrote, and against damaged ones."""

import shutil

import numpy as np
import pycolmap
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import LENSES, plain_photo, pose, write_colmap, write_photo
from tests.helpers.wide import SIZE as WIDE
from tests.helpers.wide import WIDE_LENSES, photo_of, picture, pixel_centres

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.capture.formats.colmap import read_colmap
from gags.capture.formats.colmap_files import lens_of_model
from gags.capture.settings import UndistortSettings
from gags.capture.undistort import pinhole_of
from gags.errors import CaptureError

NAMES = ["a.png", "b c.png", "inner/d.png"]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("model", LENSES)
def test_reads_what_pycolmap_wrote(tmp_path, model, text):
    written = write_colmap(tmp_path, NAMES, model=model, text=text)
    source = read_colmap(tmp_path)
    assert [p.name for p in source.poses] == NAMES
    for index, read in enumerate(source.poses):
        np.testing.assert_allclose(read.viewmat, pose(index), atol=1e-12)
        lens = read.lens
        camera = written.cameras[3]
        assert (lens.width, lens.height) == (camera.width, camera.height)
        np.testing.assert_allclose(lens.K, camera.calibration_matrix())
        assert lens.distortion == tuple(camera.params[len(camera.params) - len(lens.distortion) :])
        assert len(lens.distortion) == len(camera.extra_params_idxs())
    np.testing.assert_array_equal(source.points, [[i, -i, 0.5 * i] for i in range(5)])
    np.testing.assert_array_equal(source.points_rgb, [[i, 2 * i, 250 - i] for i in range(5)])
    assert source.points.dtype == np.float32
    assert source.points_rgb.dtype == np.uint8


def test_agrees_with_pycolmap_on_a_real_model(captures):
    source = read_colmap(captures / "desk")
    theirs = pycolmap.Reconstruction(str(captures / "desk" / "sparse" / "0"))
    images = {image.name: image for image in theirs.images.values()}
    assert {p.name for p in source.poses} == set(images)
    for read in source.poses:
        np.testing.assert_allclose(read.viewmat[:3], images[read.name].cam_from_world().matrix(), atol=1e-12)
    points = [theirs.points3D[i] for i in sorted(theirs.points3D)]
    np.testing.assert_array_equal(source.points, np.array([p.xyz for p in points], dtype=np.float32))
    np.testing.assert_array_equal(source.points_rgb, [p.color for p in points])


def test_tracks_are_passed_over(captures):
    source = read_colmap(captures / "pantry")
    assert (len(source.poses), len(source.points)) == (84, 21520)


def test_model_may_lie_in_sparse_itself(tmp_path):
    write_colmap(tmp_path, NAMES)
    for file in (tmp_path / "sparse" / "0").iterdir():
        file.rename(tmp_path / "sparse" / file.name)
    (tmp_path / "sparse" / "0").rmdir()
    assert len(load_capture(tmp_path)) == 3


def test_points_that_are_not_finite_are_dropped(tmp_path):
    write_colmap(tmp_path, NAMES, text=True)
    path = tmp_path / "sparse" / "0" / "points3D.txt"
    path.write_text(
        "1 0 1 2 3 4 5 0.5\n2 nan 1 2 3 4 5 0.5\n3 inf 1 2 3 4 5 0.5 1 2\n9 6 7 8 9 8 7 0.1 1 2 3 4\n"
    )
    source = read_colmap(tmp_path)
    np.testing.assert_array_equal(source.points, [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(source.points_rgb, [[3, 4, 5], [9, 8, 7]])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
def test_truncated_binary_model_is_one_error(tmp_path, file, share):
    write_colmap(tmp_path, NAMES)
    path = tmp_path / "sparse" / "0" / f"{file}.bin"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CaptureError, match=rf"^.*{file}\.bin is damaged: it ends too early.*$"):
        load_capture(tmp_path)


@pytest.mark.parametrize("file", ["cameras", "images"])
def test_line_of_a_text_model_that_is_cut_is_one_error(tmp_path, file):
    write_colmap(tmp_path, NAMES, text=True)
    path = tmp_path / "sparse" / "0" / f"{file}.txt"
    path.write_text(path.read_text().rstrip()[:-10].rsplit(maxsplit=1)[0])
    with pytest.raises(CaptureError, match=rf"^.*{file}\.txt is damaged: .*$"):
        load_capture(tmp_path)


@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("suffix", ["bin", "txt"])
def test_junk_model_is_one_error(tmp_path, file, suffix):
    write_colmap(tmp_path, NAMES, text=suffix == "txt")
    path = tmp_path / "sparse" / "0" / f"{file}.{suffix}"
    path.write_bytes(np.random.default_rng(0).integers(97, 122, 5000, dtype=np.uint8).tobytes())
    with pytest.raises(CaptureError, match=rf"{file}\.{suffix} is damaged|is unknown"):
        load_capture(tmp_path)


@pytest.mark.parametrize("file", ["cameras", "images"])
def test_missing_model_file_is_an_error(tmp_path, file):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "sparse" / "0" / f"{file}.bin").unlink()
    with pytest.raises(CaptureError, match=r"cameras|images\.bin"):
        load_capture(tmp_path)


def test_missing_points_file_means_no_points(tmp_path):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "sparse" / "0" / "points3D.bin").unlink()
    assert len(load_capture(tmp_path, require_points=False).points) == 0
    with pytest.raises(CaptureError, match="no sparse points"):
        load_capture(tmp_path)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("model", WIDE_LENSES)
def test_wide_lenses_are_read(tmp_path, model, text):
    def photo(_):
        return photo_of(
            pycolmap.Camera(model=model, width=WIDE[0], height=WIDE[1], params=WIDE_LENSES[model])
        )

    write_colmap(
        tmp_path, ["a.png"], model=model, params=WIDE_LENSES[model], size=WIDE, photo=photo, text=text
    )
    (view,) = load_capture(tmp_path, test_every=0).views
    pinhole = pinhole_of(lens_of_model(model, *WIDE, WIDE_LENSES[model]))
    np.testing.assert_array_equal(view.camera.K, pinhole.K)
    np.testing.assert_allclose(view.camera.viewmat, pose(0), atol=1e-12)
    rays = (pixel_centres((pinhole.width, pinhole.height)) - pinhole.K[:2, 2]) / pinhole.fx
    truth = picture(np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1))
    assert np.abs(view.image().astype(float) - truth).mean() < 1.5
    assert view.seen() is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 KANNALA 200 150 210 100 75", "camera model KANNALA is unknown.*OPENCV_FISHEYE"),
        ("3 OPENCV_FISHEYE 200 150 210 210 100 75 0 0 0", "takes 8 parameters, not 7"),
        ("3 OPENCV_FISHEYE 200 150 210 210 100 75 0 0 nan 0", "is no camera"),
        ("3 FISHEYE 200 150 -1 210 100 75", "is no camera"),
        ("3 FISHEYE 200 150 210 210 -100 75", "its axis.*outside of the photo"),
        ("3 EQUIRECTANGULAR 200 150 200 150", "200×150.*panorama is twice as wide as high"),
    ],
)
def test_wide_lenses_that_are_none(tmp_path, line, message):
    write_colmap(tmp_path, NAMES, text=True)
    (tmp_path / "sparse" / "0" / "cameras.txt").write_text(f"{line}\n")
    with pytest.raises(CaptureError, match=message):
        load_capture(tmp_path)


def test_settings_of_undistortion_are_kept_with_the_capture(tmp_path):
    params = [100.0, 102, 100, 75, 0.4]
    write_colmap(tmp_path, NAMES, model="DIVISION", params=params)
    asked = UndistortSettings(fov=50.0, border="keep")
    capture = load_capture(tmp_path, undistort=asked)
    assert capture.options["undistort"] == {"fov": 50.0, "border": "keep"}
    assert "undistort" not in load_capture(tmp_path).options
    views = [load_capture(tmp_path).views[0], capture.views[0]]
    assert views[0].camera.K[0, 2] > views[1].camera.K[0, 2]
    assert len({each.fingerprint() for each in (capture, load_capture(tmp_path))}) == 2
    assert capture.fingerprint() == load_capture(tmp_path, undistort=asked).fingerprint()


def test_wide_photos_are_shrunk_like_others(tmp_path):
    write_colmap(tmp_path, NAMES, model="FISHEYE", params=[100.0, 100, 100, 75])
    whole = load_capture(tmp_path).views[0].camera
    half = load_capture(tmp_path, downscale=2).views[0].camera
    small = load_capture(tmp_path, max_size=60).views[0]
    assert half.width == pytest.approx(whole.width / 2, abs=1)
    assert half.K[0, 0] == pytest.approx(whole.K[0, 0] / 2, rel=0.01)
    assert max(small.camera.width, small.camera.height) == 60
    assert small.image().shape == (small.camera.height, 60, 3)


def test_photo_of_an_unknown_camera_is_an_error(tmp_path):
    write_colmap(tmp_path, NAMES, text=True)
    path = tmp_path / "sparse" / "0" / "cameras.txt"
    path.write_text("1 PINHOLE 200 150 210 220 110 62\n")
    with pytest.raises(CaptureError, match=r"a\.png belongs to camera 3"):
        load_capture(tmp_path)


def test_missing_images_folder_is_an_error(tmp_path):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "images").rename(tmp_path / "photos")
    with pytest.raises(CaptureError, match="no folder images/"):
        load_capture(tmp_path)


def move_model(root, to):
    target = root / to
    target.mkdir(parents=True, exist_ok=True)
    for file in (root / "sparse" / "0").iterdir():
        file.rename(target / file.name)
    (root / "sparse" / "0").rmdir()
    (root / "sparse").rmdir()


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    "place", ["colmap/sparse/0", "colmap/sparse", "distorted/sparse/0", "colmap_text", "."]
)
def test_models_where_people_have_them(tmp_path, place, text):
    write_colmap(tmp_path, NAMES, text=text)
    move_model(tmp_path, place)
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert [view.name for view in capture] == NAMES
    assert len(capture.points) == 5
    assert heard.said == [f"reading the COLMAP model in {tmp_path / place}"]
    save_capture(capture, tmp_path / "ws" / "capture.json")
    assert len(read_saved_capture(tmp_path / "ws").points) == 5


def test_a_model_beside_its_photos(tmp_path):
    write_colmap(tmp_path, ["a.png", "b.png", "c.png"], text=True)
    move_model(tmp_path, ".")
    for photo in (tmp_path / "images").iterdir():
        photo.rename(tmp_path / photo.name)
    (tmp_path / "images").rmdir()
    assert [view.path.parent for view in load_capture(tmp_path)] == [tmp_path] * 3


def test_photos_of_a_distorted_model_are_those_it_was_made_of(tmp_path):
    """3DGS's convert.py: photos as they were taken in input/, undistorted ones in images/."""
    write_colmap(tmp_path, NAMES, model="OPENCV")
    move_model(tmp_path, "distorted/sparse/0")
    (tmp_path / "images").rename(tmp_path / "input")
    write_photo(tmp_path / "images" / "a.png", plain_photo(0, (190, 140)))
    assert {view.path.relative_to(tmp_path).parts[0] for view in load_capture(tmp_path)} == {"input"}


@pytest.mark.parametrize("text", [False, True])
def test_the_model_with_most_photos_is_read(tmp_path, text):
    write_colmap(tmp_path, NAMES[:1], text=text)
    for number, names in ((2, NAMES), (10, NAMES[:2])):
        write_colmap(tmp_path / "made", names, text=text)
        (tmp_path / "made" / "sparse" / "0").rename(tmp_path / "sparse" / str(number))
        shutil.copytree(tmp_path / "made" / "images", tmp_path / "images", dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "made")
    (tmp_path / "sparse" / ".hidden").mkdir()
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 3
    assert "(photos in each: sparse/0 1, sparse/2 3, sparse/10 2); reading sparse/2" in heard.said[0]


def hand_written(root, second_lines):
    """images.txt with what follows each pose."""
    write_colmap(root, ["a b 1.png", "a b 2.png", "a b 3.png", "a b 4.png"], text=True)
    path = root / "sparse" / "0" / "images.txt"
    poses = [line for line in path.read_text().splitlines() if line.endswith(".png")]
    path.write_text("# by hand\n" + "".join(f"{pose}\n{second_lines}" for pose in poses))


@pytest.mark.parametrize(
    "second_lines", ["", "\n", "1.5 2.5 -1\n", "# none\n", "1 2 3 4 5 6 7 8 9 10 11 12\n", "\n\n"]
)
def test_the_line_of_2d_points_may_be_missing(tmp_path, second_lines):
    """A pose whose name holds two blanks has 12 words, and so have four 2D points."""
    hand_written(tmp_path, second_lines)
    capture = load_capture(tmp_path)
    assert [view.name for view in capture] == ["a b 1.png", "a b 2.png", "a b 3.png", "a b 4.png"]
    for index, view in enumerate(capture):
        np.testing.assert_allclose(view.camera.viewmat, pose(index), atol=1e-12)


def test_points_need_no_error_and_no_track(tmp_path):
    write_colmap(tmp_path, NAMES, text=True)
    (tmp_path / "sparse" / "0" / "points3D.txt").write_text("7 1 2 3 10 20 30\n5 0 1 2 3 4 5 0.1\n")
    source = read_colmap(tmp_path)
    np.testing.assert_array_equal(source.points, [[0, 1, 2], [1, 2, 3]])
    np.testing.assert_array_equal(source.points_rgb, [[3, 4, 5], [10, 20, 30]])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_models_in_any_encoding(tmp_path, encoding):
    write_colmap(tmp_path, ["Küche/1.png", "Küche/2.png"], text=True)
    for path in (tmp_path / "sparse" / "0").glob("*.txt"):
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    capture = load_capture(tmp_path)
    assert [view.name for view in capture] == ["Küche/1.png", "Küche/2.png"]
    assert all(view.path.is_file() for view in capture)


def test_a_pose_of_zeros_is_left_out(tmp_path):
    write_colmap(tmp_path, ["a.png", "b.png", "c.png"], text=True)
    path = tmp_path / "sparse" / "0" / "images.txt"
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.endswith("b.png"))
    lines[row] = "6 0 0 0 0 0 0 0 3 b.png"
    path.write_text("\n".join(lines))
    heard = Heard()
    assert [view.name for view in load_capture(tmp_path, progress=heard)] == ["a.png", "c.png"]
    assert "1 of 3 poses cannot be used: " in heard.warned[0]
    assert "photo b.png is no rotation" in heard.warned[0]


def test_photos_in_other_case_with_another_suffix_or_accents_stored_apart(tmp_path):
    files = ["IMG_1.png", "b.png", "Ku\u0308che.png"]
    write_colmap(tmp_path, files, text=True)
    path = tmp_path / "sparse" / "0" / "images.txt"
    text = path.read_text()
    for file, name in zip(files, ["img_1.PNG", "b.jpg", "Küche.png"], strict=True):
        text = text.replace(file, name)
    path.write_text(text)
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert sorted(view.name for view in capture) == sorted(["img_1.PNG", "b.jpg", "Küche.png"])
    assert sorted(view.path.name for view in capture) == sorted(files)
    assert "3 photos were found under another name" in heard.said[0]
