"""The nerfstudio reader."""

import json
import math
import os
import re

import numpy as np
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import plain_photo, pose, write_nerfstudio, write_photo
from tests.helpers.wide import panorama, picture, pixel_centres

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.capture.formats.colmap_files import lens_of_model
from gags.capture.lens import rays_through
from gags.capture.settings import PanoramaSettings
from gags.capture.undistort import pinhole_of
from gags.errors import CaptureError

NAMES = [f"images/frame_{i:02}.png" for i in range(4)]


def test_poses_become_world_to_camera_with_opencv_axes(tmp_path):
    write_nerfstudio(tmp_path, NAMES)
    capture = load_capture(tmp_path)
    assert [view.name for view in capture] == [f"frame_{i:02}.png" for i in range(4)]
    for index, view in enumerate(capture):
        np.testing.assert_allclose(view.camera.viewmat, pose(index), atol=1e-12)
        np.testing.assert_array_equal(view.image(), plain_photo(index))
    np.testing.assert_array_equal(capture.points, [[1, 2, 3], [-1.5, 0, 2]])
    np.testing.assert_array_equal(capture.points_rgb, [[10, 20, 30], [255, 0, 1]])
    assert capture.format == "nerfstudio"


def test_identity_pose_looks_down_minus_z(tmp_path):
    transforms = write_nerfstudio(tmp_path, NAMES[:1])
    transforms["frames"][0]["transform_matrix"] = np.eye(4).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    camera = load_capture(tmp_path / "transforms.json", test_every=0).views[0].camera
    xy, depth = camera.project(np.array([[0.0, 0, -2], [0.2, 0, -2], [0, 0.2, -2]]))
    np.testing.assert_allclose(depth, 2)
    np.testing.assert_allclose(xy, [[100, 75], [121, 75], [100, 54]])  # +x is right, +y is up


@pytest.mark.parametrize(
    ("keys", "K"),
    [
        ({"fl_y": 215.0, "cx": 90.0, "cy": 80.5}, (210, 215, 90, 80.5)),
        ({}, (210, 210, 100, 75)),
        ({"fl_x": None, "camera_angle_x": math.pi / 2}, (100, 100, 100, 75)),
        (
            {"fl_x": None, "camera_angle_x": math.pi / 2, "camera_angle_y": 2 * math.atan(0.5)},
            (100, 150, 100, 75),
        ),
        ({"w": None, "h": None}, (210, 210, 100, 75)),
        ({"camera_model": "PINHOLE", "k1": 0.0}, (210, 210, 100, 75)),
    ],
)
def test_intrinsics_of_the_file(tmp_path, keys, K):
    write_nerfstudio(tmp_path, NAMES, **keys)
    fx, fy, cx, cy = K
    for view in load_capture(tmp_path):
        np.testing.assert_allclose(view.camera.K, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        assert view.lens is None


def test_intrinsics_of_a_frame_come_first(tmp_path):
    transforms = write_nerfstudio(tmp_path, NAMES, k1=0.05)
    transforms["frames"][2] |= {"fl_x": 190.0, "fl_y": 195.0, "cx": 99.0, "cy": 70.0, "k1": 0.0}
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    capture = load_capture(tmp_path)
    np.testing.assert_allclose(capture["frame_02"].camera.K, [[190, 0, 99], [0, 195, 70], [0, 0, 1]])
    assert capture["frame_02"].lens is None
    assert capture["frame_01"].lens.distortion[0] == 0.05


def test_distortion_keys_have_opencvs_meaning(tmp_path):
    write_nerfstudio(tmp_path, NAMES, k1=-0.2, k2=0.05, p1=0.004, p2=-0.006)
    assert load_capture(tmp_path).views[0].lens.distortion[:4] == (-0.2, 0.05, 0.004, -0.006)


def test_file_path_without_suffix_or_with_dots(tmp_path):
    transforms = write_nerfstudio(tmp_path, NAMES)
    for frame in transforms["frames"]:
        frame["file_path"] = "./" + os.path.splitext(frame["file_path"])[0]
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    assert [view.name for view in load_capture(tmp_path)] == [f"frame_{i:02}.png" for i in range(4)]


def test_several_folders_stay_in_the_names(tmp_path):
    write_nerfstudio(tmp_path, ["train/a.png", "test/a.png", "test/b.png"])
    write_photo(tmp_path / "masks" / "m.png", plain_photo(0))
    write_photo(tmp_path / "train" / "unposed.png", plain_photo(0))
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert [view.name for view in capture] == ["test/a.png", "test/b.png", "train/a.png"]
    assert len(heard.warned) == 1
    assert "1 photos have no pose and are left out (train/unposed.png)" in heard.warned[0]


def test_own_test_frames(tmp_path):
    write_nerfstudio(tmp_path, NAMES, test_filenames=[NAMES[2]])
    assert [view.name for view in load_capture(tmp_path).test] == ["frame_02.png"]
    assert [view.name for view in load_capture(tmp_path, test_every=3).test] == [
        "frame_00.png",
        "frame_03.png",
    ]


def test_no_points(tmp_path):
    write_nerfstudio(tmp_path, NAMES, points=False)
    with pytest.raises(CaptureError, match="ply_file_path"):
        load_capture(tmp_path)
    assert load_capture(tmp_path, require_points=False).points.shape == (0, 3)


def test_points_without_colours_are_grey(tmp_path):
    write_nerfstudio(tmp_path, NAMES)
    vertices = np.array([[1, 2, 3], [4, 5, 6], [np.nan, 0, 0]], "<f8")
    header = b"ply\nformat binary_little_endian 1.0\nelement vertex 3\n"
    header += b"property double x\nproperty double y\nproperty double z\nend_header\n"
    (tmp_path / "points.ply").write_bytes(header + vertices.tobytes())
    capture = load_capture(tmp_path)
    np.testing.assert_array_equal(capture.points, vertices[:2])
    np.testing.assert_array_equal(capture.points_rgb, np.full((2, 3), 128))


@pytest.mark.parametrize("content", [None, b"", b"no ply", b"ply\nformat ascii 1.0\nelement vertex 2\n"])
def test_unreadable_points(tmp_path, content):
    write_nerfstudio(tmp_path, NAMES)
    (tmp_path / "points.ply").unlink()
    if content is not None:
        (tmp_path / "points.ply").write_bytes(content)
    with pytest.raises(CaptureError, match=r"points\.ply"):
        load_capture(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("{}", "no list `frames`"),
        ('{"frames": {"a": 1}}', "no list `frames`"),
        ('{"frames": []}', "no posed views"),
        ('{"frames": [{}]}', "without `file_path`"),
    ],
)
def test_broken_transforms(tmp_path, content, message):
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(CaptureError, match=message):
        load_capture(tmp_path, require_points=False)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fl_x": None}, "frame_00.*no focal length"),
        ({"fl_x": "wide"}, "not a number"),
        ({"fl_x": -3}, "no focal length"),
        ({"k1": float("nan")}, "not finite"),
        ({"camera_model": "ORTHOPHOTO"}, "ORTHOPHOTO is not read.*OPENCV_FISHEYE"),
        ({"camera_model": "EQUIRECTANGULAR"}, "200×150.*panorama is twice as wide as high"),
        ({"camera_model": "OPENCV_FISHEYE", "k3": float("inf")}, "not finite"),
        ({"camera_model": "OPENCV_FISHEYE", "cx": -300}, "its axis.*outside of the photo"),
        ({"w": 201}, "is 200×150, but its camera is 201×150"),
    ],
)
def test_bad_intrinsics(tmp_path, keys, message):
    write_nerfstudio(tmp_path, NAMES, **keys)
    with pytest.raises(CaptureError, match=message):
        load_capture(tmp_path)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (None, "no `transform_matrix`"),
        ([[1, 2], [3, 4]], "not 4×4"),
        ("up", "not 4×4"),
        ([[1, 0, 0, 0], [0, 1, 0, float("inf")], [0, 0, 1, 0], [0, 0, 0, 1]], "not 4×4"),
        (np.diag([2.0, 2, 2, 1]).tolist(), "no rotation"),
        (np.diag([1.0, 1, -1, 1]).tolist(), "no rotation"),
    ],
)
def test_bad_poses(tmp_path, matrix, message):
    transforms = write_nerfstudio(tmp_path, NAMES)
    del transforms["frames"][1]["transform_matrix"]
    if matrix is not None:
        transforms["frames"][1]["transform_matrix"] = matrix
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert [view.name for view in capture] == ["frame_00.png", "frame_02.png", "frame_03.png"]
    (warning,) = heard.warned
    assert re.search(f"1 of 4 poses cannot be used: .*frame_01.*{message}.*; left out$", warning)
    for frame in transforms["frames"]:
        frame["transform_matrix"] = matrix
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    with pytest.raises(CaptureError, match=r"4 of 4 poses cannot be used .*frame_00"):
        load_capture(tmp_path)


def test_a_pose_of_zeros_is_left_out(tmp_path):
    """Programs write one for photos that they could not place."""
    transforms = write_nerfstudio(tmp_path, NAMES)
    transforms["frames"][2]["transform_matrix"] = np.zeros((4, 4)).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    heard = Heard()
    assert len(load_capture(tmp_path, progress=heard)) == 3
    assert "frame_02.png" in heard.warned[0]


def test_masks_that_are_named_and_not_there_are_told(tmp_path):
    transforms = write_nerfstudio(tmp_path, NAMES)
    transforms["frames"][0]["mask_path"] = "masks/frame_00.png"
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    heard = Heard()
    load_capture(tmp_path, progress=heard)
    assert "1 masks that its files name are not there" in heard.warned[0]


def test_missing_photo(tmp_path):
    write_nerfstudio(tmp_path, NAMES)
    (tmp_path / NAMES[1]).unlink()
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert [view.name for view in capture] == ["frame_00.png", "frame_02.png", "frame_03.png"]
    tried = tmp_path / NAMES[1]
    assert heard.warned == [
        f"{tmp_path}: 1 of 4 posed photos are not there (frame_01.png; looked for {tried}); left out"
    ]
    (tmp_path / NAMES[0]).unlink()  # half of them
    with pytest.raises(CaptureError, match=r"2 of 4 posed photos are not there \(frame_00\.png, frame_01"):
        load_capture(tmp_path)


def test_photos_of_another_machine_are_found_by_their_names(tmp_path):
    """As exported with absolute paths of Linux and Windows; photos of one name are told by their folder."""
    paths = ["/home/a/room/images/left/1.png", "C:\\room\\images\\right\\1.png", "D:/x/images/right/2.png"]
    transforms = write_nerfstudio(tmp_path, ["images/left/1.png", "images/right/1.png", "images/right/2.png"])
    for frame, path in zip(transforms["frames"], paths, strict=True):
        frame["file_path"] = path
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert [view.name for view in capture] == ["left/1.png", "right/1.png", "right/2.png"]
    for index, view in enumerate(capture):
        np.testing.assert_allclose(view.camera.viewmat, pose(index), atol=1e-12)
    assert "3 photos were found under another name (first /home/a/room/images/left/1.png: " in heard.said[0]
    (tmp_path / "images" / "right" / "2.png").unlink()
    load_capture(tmp_path, progress=heard)
    assert f"looked for {tmp_path / 'images' / 'right' / '2.png'}" in heard.warned[0]


@pytest.mark.parametrize("held_out", [("test",), ("val",), ("test", "val")])
def test_splits_of_blender(tmp_path, held_out):
    """A file a split; the test photos are held out, those of validation if there are no others."""
    splits = {"train": NAMES, **{name: [f"{name}/r_{i}.png" for i in range(2)] for name in held_out}}
    for split, names in splits.items():
        transforms = write_nerfstudio(tmp_path, names, points=False, fl_x=None, camera_angle_x=0.8)
        for frame in transforms["frames"]:
            frame["file_path"] = "./" + frame["file_path"].removesuffix(".png")
        (tmp_path / "transforms.json").unlink()
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(transforms))
    capture = load_capture(tmp_path, require_points=False)
    assert [v.name for v in capture.test] == [f"{held_out[0]}/r_0.png", f"{held_out[0]}/r_1.png"]
    assert [v.name for v in capture.train] == NAMES
    np.testing.assert_allclose(capture[NAMES[1]].camera.viewmat, pose(1), atol=1e-12)
    assert capture[NAMES[1]].camera.K[0, 0] == pytest.approx(100 / math.tan(0.4))
    again = load_capture(tmp_path / "transforms_train.json", require_points=False)
    assert again.fingerprint() == capture.fingerprint()


def test_k4_is_the_fourth_coefficient_of_a_polynomial(tmp_path):
    """1 + k1 r² + k2 r⁴ + k3 r⁶ + k4 r⁸, not OpenCV's denominator: worked out by hand for one ray."""
    write_nerfstudio(tmp_path, NAMES, k1=0.1, k2=-0.02, k3=0.03, k4=0.3)
    view = load_capture(tmp_path).views[0]
    x, y = 0.3, -0.4  # r² = 0.25
    factor = 1 + 0.1 * 0.25 - 0.02 * 0.25**2 + 0.03 * 0.25**3 + 0.3 * 0.25**4
    lens = view.lens
    pixel = np.array([100 + 210 * x * factor, 75 + 210 * y * factor])
    np.testing.assert_allclose(rays_through(lens, pixel), [x, y], atol=1e-9)
    write_nerfstudio(tmp_path, NAMES, k1=0.1, k4=0.3, camera_model="FULL_OPENCV")
    factor = (1 + 0.1 * 0.25) / (1 + 0.3 * 0.25)
    pixel = np.array([100 + 210 * x * factor, 75 + 210 * y * factor])
    np.testing.assert_allclose(rays_through(load_capture(tmp_path).views[0].lens, pixel), [x, y], atol=1e-9)


def test_same_photo_twice(tmp_path):
    write_nerfstudio(tmp_path, [*NAMES, NAMES[0]])
    with pytest.raises(CaptureError, match=r"several poses \(frame_00\.png\)"):
        load_capture(tmp_path)


def test_fisheye_is_that_of_opencv(tmp_path):
    bends = {"k1": -0.03, "k2": 0.004, "k3": -0.002, "k4": 0.0003}
    keys = {"fl_x": 80.0, "fl_y": 82.0, "cx": 95.0, "cy": 80.0, **bends}
    lens = lens_of_model("OPENCV_FISHEYE", 200, 150, [80.0, 82, 95, 80, *bends.values()])
    for index, model in enumerate(({"camera_model": "OPENCV_FISHEYE"}, {"is_fisheye": True})):
        root = tmp_path / str(index)
        write_nerfstudio(root, NAMES, **keys, **model)
        view = load_capture(root).views[0]
        assert view.lens == lens
        np.testing.assert_array_equal(view.camera.K, pinhole_of(lens).K)
    transforms = write_nerfstudio(
        root, NAMES, **keys, camera_model="OPENCV_FISHEYE", fisheye_crop_radius=60.0
    )
    assert transforms["fisheye_crop_radius"] == 60
    round_ = load_capture(root).views[0]
    assert round_.lens.radius == 60
    assert round_.camera.K[0, 0] * 200 / round_.camera.width > view.camera.K[0, 0] * 200 / view.camera.width


def write_panoramas(root, count=9, height=120, **keys):
    """Panoramas of the sky with pose(i); the rotation alone counts, since the sky is far away."""
    names = [f"images/pano_{index:02}.png" for index in range(count)]
    write_nerfstudio(root, names, camera_model="EQUIRECTANGULAR", w=2 * height, h=height, **keys)
    for index, name in enumerate(names):
        write_photo(root / name, panorama(height, pose(index)[:3, :3]))


def test_panoramas_with_poses_become_views_with_poses(tmp_path):
    write_panoramas(tmp_path)
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    assert "9 panoramas are cut into 8 views each" in heard.said[0]
    names = [f"yaw{yaw:03}" for yaw in range(0, 360, 45)]
    assert [view.name for view in capture.views[:8]] == [f"pano_00/{name}.png" for name in names]
    assert len(capture) == 72
    # Of every eighth panorama, all views are held out.
    assert {view.name.split("/")[0] for view in capture.test} == {"pano_00", "pano_08"}
    assert len(capture.test) == 16
    for view in (capture["pano_03/yaw000"], capture["pano_03/yaw135"], capture["pano_05/yaw270"]):
        camera, index = view.camera, int(view.name[5:7])
        np.testing.assert_allclose(camera.position, -pose(index)[:3, :3].T @ pose(index)[:3, 3], atol=1e-9)
        assert (camera.width, camera.height) == (76, 76)  # 240 px for 2π, 90° across
        assert np.degrees(2 * np.arctan(camera.width / 2 / camera.K[0, 0])) == pytest.approx(90)
        rays = camera.unproject(pixel_centres((76, 76)), np.ones((76, 76))) - camera.position
        assert np.abs(view.image().astype(float) - picture(rays)).mean() < 1.5
    saved = tmp_path / "capture.json"
    save_capture(capture, saved)
    again = read_saved_capture(saved)
    assert again.fingerprint() == capture.fingerprint()
    assert json.loads(saved.read_text())["version"] == 2  # versions of gags before would misread it
    np.testing.assert_array_equal(again["pano_03/yaw135"].image(), capture["pano_03/yaw135"].image())


def test_how_panoramas_are_cut_can_be_chosen(tmp_path):
    write_panoramas(tmp_path, test_filenames=["images/pano_02.png"])
    capture = load_capture(tmp_path, panorama=PanoramaSettings(around=4, poles="both"), max_size=50)
    assert [v.name.split("/")[1] for v in capture.views[:6]] == [
        "down.png", "up.png", "yaw000.png", "yaw090.png", "yaw180.png", "yaw270.png",
    ]  # fmt: skip
    assert all(view.camera.width <= 50 for view in capture)
    assert [view.name.split("/")[0] for view in capture.test] == ["pano_02"] * 6
    up = capture["pano_01/up"].camera
    above = up.viewmat[:3, :3] @ (pose(1)[:3, :3].T @ [0, -1.0, 0])  # −y is up in the panorama's frame
    np.testing.assert_allclose(above, [0, 0, 1], atol=1e-12)
    (tmp_path / "hold.txt").write_text("pano_04\npano_05.png\npano_06/yaw090\n")
    capture = load_capture(tmp_path, panorama=PanoramaSettings(around=4), test_list=tmp_path / "hold.txt")
    assert len(capture.test) == 4 + 4 + 1


def test_photos_can_be_called_panoramas(tmp_path):
    write_panoramas(tmp_path)
    path = tmp_path / "transforms.json"
    transforms = json.loads(path.read_text())
    del transforms["camera_model"]
    path.write_text(json.dumps(transforms))
    capture = load_capture(tmp_path, camera="equirectangular")
    assert len(capture) == 72
    assert capture.options["camera"] == "equirectangular"
    assert len(load_capture(tmp_path, camera="perspective", test_every=0)) == 9


def test_panoramas_cannot_be_called_ordinary_photos(tmp_path):
    """Their poses are those of panoramas, so that they cannot be obeyed; it was passed over before."""
    write_panoramas(tmp_path, count=3)
    with pytest.raises(CaptureError, match=r"pano_00\.png has an equirectangular .*--camera perspective"):
        load_capture(tmp_path, camera="perspective")
