"""The COLMAP reader, against models that pycolmap wrote, and against damaged ones."""

import numpy as np
import pycolmap
import pytest
from tests.helpers.made_capture import LENSES, pose, write_colmap

from gags.capture import load_capture
from gags.capture.formats.colmap import read_colmap
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
    with pytest.raises(CaptureError, match=rf"{file}\.{suffix} is damaged|not supported"):
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
@pytest.mark.parametrize("model", ["OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "FOV"])
def test_fisheye_is_one_error(tmp_path, model, text):
    params = {
        "OPENCV_FISHEYE": [210.0, 210, 100, 75, 0, 0, 0, 0],
        "SIMPLE_RADIAL_FISHEYE": [210.0, 100, 75, 0],
    }
    write_colmap(tmp_path, NAMES, model=model, params=params.get(model, [210.0, 210, 100, 75, 1]), text=text)
    with pytest.raises(CaptureError, match=rf"{model} is not supported.*image_undistorter"):
        load_capture(tmp_path)


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
