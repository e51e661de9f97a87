"""Rigs and frames of COLMAP 4: the same poses as pycolmap reads, and what contradicts itself is refused."""

import shutil
import struct

import numpy as np
import pycolmap
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import LENSES, SIZE, plain_photo, turned, write_colmap, write_photo

from gags.capture import load_capture
from gags.capture.formats.colmap import read_colmap
from gags.capture.formats.colmap_rigs import read_frames, read_rigs
from gags.errors import CaptureError

FRAMES = 4
FROM_RIG = pycolmap.Rigid3d(pycolmap.Rotation3d(turned(0.4, [1, 2, -1])), np.array([0.3, -0.1, 0.05]))


def write_rig(root, *, text=False, pose_known=True):
    """Two cameras side by side, `cam0/0001.jpg` … and `cam1/0001.jpg` …; returns pycolmap's own model."""
    model = pycolmap.Reconstruction()
    cameras = [
        pycolmap.Camera(model=name, width=SIZE[0], height=SIZE[1], params=LENSES[name], camera_id=number)
        for number, name in ((3, "PINHOLE"), (8, "SIMPLE_RADIAL"))
    ]
    rig = pycolmap.Rig(rig_id=2)
    rig.add_ref_sensor(cameras[0].sensor_id)
    rig.add_sensor(cameras[1].sensor_id, FROM_RIG if pose_known else None)
    for camera in cameras:
        model.add_camera(camera)
    model.add_rig(rig)
    for index in range(FRAMES):
        frame = pycolmap.Frame(frame_id=10 + index, rig_id=2)
        viewmat = turned(0.1 * (index + 1), [1.0, 2.0 - index, 0.5])
        images = []
        for side, camera in enumerate(cameras):
            name = f"cam{side}/{index + 1:04d}.png"
            image = pycolmap.Image(
                name=name, camera_id=camera.camera_id, image_id=1 + 2 * index + side, frame_id=10 + index
            )
            frame.add_data_id(image.data_id)
            images.append(image)
            write_photo(root / "images" / name, plain_photo(2 * index + side))
        frame.rig_from_world = pycolmap.Rigid3d(pycolmap.Rotation3d(viewmat), np.array([0.1 * index, 0, 3.0]))
        model.add_frame(frame)
        for image in images:
            model.add_image(image)
    model.add_point3D(np.zeros(3), pycolmap.Track(), np.array([1, 2, 3], np.uint8))
    folder = root / "sparse" / "0"
    folder.mkdir(parents=True)
    (model.write_text if text else model.write_binary)(str(folder))
    return model


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_poses_are_those_that_pycolmap_reads(tmp_path, text):
    write_rig(tmp_path, text=text)
    folder = tmp_path / "sparse" / "0"
    theirs = pycolmap.Reconstruction(str(folder))
    assert {file.stem for file in folder.iterdir()} == {"cameras", "frames", "images", "points3D", "rigs"}
    images = {image.name: image for image in theirs.images.values()}
    poses = read_colmap(tmp_path).poses
    assert len(poses) == 2 * FRAMES
    for pose in poses:
        image = images[pose.name]
        np.testing.assert_allclose(pose.viewmat[:3], image.cam_from_world().matrix(), atol=1e-9)
        frame = theirs.frames[image.frame_id]
        assert (pose.lens.distortion != ()) == (image.camera_id == 8)
        product = image.cam_from_world().matrix()
        if image.camera_id == 8:  # the pose of the frame, then that of the camera in the rig
            product = (FROM_RIG * frame.rig_from_world).matrix()
        np.testing.assert_allclose(pose.viewmat[:3], product, atol=1e-9)


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_what_the_two_files_hold(tmp_path, text):
    write_rig(tmp_path, text=text)
    rigs, frames = read_rigs(tmp_path / "sparse/0"), read_frames(tmp_path / "sparse/0")
    assert set(rigs) == {2}
    assert set(rigs[2].sensors) == {(0, 3), (0, 8)}
    np.testing.assert_allclose(rigs[2].sensors[0, 8][:3], FROM_RIG.matrix(), atol=1e-12)
    assert sorted(frames) == [10, 11, 12, 13]
    assert frames[12].data == [((0, 3), 5), ((0, 8), 6)]
    np.testing.assert_allclose(frames[12].viewmat[:3, 3], [0.2, 0, 3.0])


def test_photos_in_folders_have_smaller_copies(tmp_path):
    """`images_2/cam0/0001.png` beside cameras of full size, though both folders hold a 0001.png."""
    write_rig(tmp_path)
    for path in (tmp_path / "images").rglob("*.png"):
        target = tmp_path / "images_2" / path.relative_to(tmp_path / "images")
        write_photo(target.with_suffix(".jpg"), np.full((75, 100, 3), 90, np.uint8))
    full, half = load_capture(tmp_path), load_capture(tmp_path, images="images_2")
    assert [view.name for view in half] == [view.name for view in full]
    assert len(half) == 2 * FRAMES
    for a, b in zip(full, half, strict=True):
        assert (b.camera.width, b.camera.height) == (100, 75)
        assert b.path.relative_to(tmp_path).as_posix() == f"images_2/{a.stem}.jpg"
        np.testing.assert_array_equal(a.camera.viewmat, b.camera.viewmat)
        np.testing.assert_allclose(np.diag([0.5, 0.5, 1]) @ a.camera.K, b.camera.K)
    shutil.rmtree(tmp_path / "images")
    assert load_capture(tmp_path).views[0].path == half.views[0].path


def test_a_photo_that_was_removed_from_the_list_is_no_contradiction(tmp_path):
    write_rig(tmp_path, text=True)
    path = tmp_path / "sparse/0/images.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "cam1/0003" not in line))
    assert len(read_colmap(tmp_path).poses) == 2 * FRAMES - 1


def test_a_camera_whose_place_in_the_rig_is_not_known(tmp_path):
    """Only frames of its own tell of its photos; others in the rig count."""
    write_colmap(tmp_path, ["a.png"], text=True)
    folder = tmp_path / "sparse/0"
    (folder / "rigs.txt").write_text("3 2 CAMERA 3 CAMERA 8 0\n")
    rig = read_rigs(folder)[3]
    assert rig.sensors[0, 8] is None
    assert len(read_colmap(tmp_path).poses) == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("frames", "12 2 ", "12 7 ", "frame 12 is of rig 7, which it does not have"),
        ("frames", "CAMERA 8 6", "CAMERA 9 6", "frame 12 has data of sensor 9, which is not in rig 2"),
        ("frames", "CAMERA 8 6", "CAMERA 8 4", r"photo cam1/0002.png is in two frames, 11 and 12"),
        ("frames", "CAMERA 8 6", "CAMERA 3 6", "photo cam1/0003.png is of camera 3 in frame 12, else of 8"),
        ("frames", " 3 2 CAMERA 3 5", " 3.01 2 CAMERA 3 5", "the pose of photo cam0/0003.png is another one"),
        ("rigs", "CAMERA 8 1", "CAMERA 8 1 0.5 0.5 0.5 0.5 0 0 0 #", "more words than it says"),
    ],
)
def test_a_contradiction_is_one_line(tmp_path, file, old, new, message):
    write_rig(tmp_path, text=True)
    path = tmp_path / f"sparse/0/{file}.txt"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(CaptureError, match=message) as caught:
        load_capture(tmp_path)
    assert "export the COLMAP model again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("file", ["rigs", "frames"])
def test_files_that_are_cut_short(tmp_path, file, share):
    write_rig(tmp_path)
    path = tmp_path / f"sparse/0/{file}.bin"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CaptureError, match=rf"{file}.bin is damaged: it ends too early"):
        load_capture(tmp_path)


@pytest.mark.parametrize("file", ["rigs", "frames"])
def test_counts_beyond_the_file_and_bytes_behind_it(tmp_path, file):
    write_rig(tmp_path)
    path = tmp_path / f"sparse/0/{file}.bin"
    data = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 10**12) + data[8:])
    with pytest.raises(CaptureError, match="it ends too early"):
        load_capture(tmp_path)
    path.write_bytes(data + b"12345")
    with pytest.raises(CaptureError, match="5 bytes follow its last record"):
        load_capture(tmp_path)


def test_text_that_is_none(tmp_path):
    write_rig(tmp_path, text=True)
    (tmp_path / "sparse/0/rigs.txt").write_text("2 2 CAMERA 3 LIDAR 8 0\n")
    with pytest.raises(CaptureError, match=r"rigs.txt is damaged: .* has a sensor LIDAR, not CAMERA or IMU"):
        load_capture(tmp_path)
    (tmp_path / "sparse/0/rigs.txt").write_text("2 2 CAMERA 3\n")
    with pytest.raises(CaptureError, match=r"rigs.txt is damaged: `2 2 CAMERA 3` ends too early"):
        load_capture(tmp_path)


def test_one_of_the_two_alone_is_told(tmp_path):
    write_rig(tmp_path)
    (tmp_path / "sparse/0/rigs.bin").unlink()
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 2 * FRAMES
    assert any("has frames.bin alone of rigs and frames" in line for line in heard.said)
