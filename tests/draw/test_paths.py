"""Ways for a camera: curves through key views, files of them, calm ways along photos."""

import json

import numpy as np
import pytest
from tests.helpers.blobs import make_scene

from gags.draw.paths import KeyView, along, keys_from_json, keys_of_photos, load_path
from gags.errors import QueryError

UP = np.array([0, 0, 1.0])


def _key(position, target=(0, 0, 0), fov=0.8):
    return KeyView(np.asarray(position, float), np.asarray(target, float), UP, fov)


def test_a_key_is_a_camera_without_roll():
    camera = _key([3, 0, 4]).camera(64, 48)
    np.testing.assert_allclose(camera.position, [3, 0, 4])
    xy, depth = camera.project(np.zeros(3))
    np.testing.assert_allclose([*xy, depth], [32, 24, 5], atol=1e-9)
    np.testing.assert_allclose(camera.viewmat[:3, :3] @ camera.viewmat[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.viewmat[:3, :3]) == pytest.approx(1)
    assert camera.project(np.array([0, 0, 0.1]))[0][1] < 24  # up in the scene is up in the picture
    assert camera.K[1, 1] == pytest.approx(24 / np.tan(0.4))
    down = _key([0, 0, 5]).camera(64, 48)  # straight down, where up says nothing
    np.testing.assert_allclose(down.project(np.zeros(3))[0], [32, 24], atol=1e-9)


def test_the_curve_goes_through_the_keys_and_straight_where_they_are_on_a_line():
    keys = [_key([x, 0, 2], [x, 1, 0], 0.5 + 0.1 * x) for x in range(4)]
    views = along(keys, 7)
    np.testing.assert_allclose(
        [view.position for view in views], [[x, 0, 2] for x in np.linspace(0, 3, 7)], atol=1e-12
    )
    np.testing.assert_allclose([view.fov_y for view in views], np.linspace(0.5, 0.8, 7))
    corner = [_key([0, 0, 0], [0, 9, 0]), _key([1, 0, 0], [0, 9, 0]), _key([1, 1, 0], [0, 9, 0])]
    middle = along(corner, 5)
    np.testing.assert_allclose(middle[2].position, [1, 0, 0])
    # Catmull-Rom by hand, halfway between the first two: (9 P₀ + 9 P₁ − P₋₁ − P₂) / 16, P₋₁ = 2 P₀ − P₁.
    np.testing.assert_allclose(
        middle[1].position, (-np.array([-1, 0, 0]) + 9 * np.array([1, 0, 0]) - [1, 1, 0]) / 16
    )


def test_one_key_stands_still():
    assert [view.position.tolist() for view in along([_key([1, 2, 3])], 3)] == [[1, 2, 3]] * 3
    assert len(along([_key([0, 0, 1]), _key([1, 0, 1])], 1)) == 1


def test_a_way_along_photos_is_upright_and_near_them():
    cameras = make_scene(12).cameras
    keys = keys_of_photos(cameras, UP, 5.0)
    assert len(keys) == 12
    away = [np.linalg.norm(key.position - camera.position) for key, camera in zip(keys, cameras, strict=True)]
    assert max(away[3:-3]) < 1.5
    rough = np.linalg.norm(np.diff([camera.position for camera in cameras], axis=0, n=2), axis=1).mean()
    assert np.linalg.norm(np.diff([key.position for key in keys], axis=0, n=2), axis=1).mean() < rough
    assert all(key.up is UP for key in keys)
    assert len(keys_of_photos(cameras * 20, UP, 1.0)) == 60


def test_keys_are_kept_in_json(tmp_path):
    keys = [_key([1, 2, 3], [4, 5, 6], 0.7), _key([0, 0, 1])]
    path = tmp_path / "path.json"
    for content in ({"version": 1, "keys": [key.to_json() for key in keys]}, [key.to_json() for key in keys]):
        path.write_text(json.dumps(content))
        for read, key in zip(load_path(path), keys, strict=True):
            assert read.to_json() == key.to_json()


GOOD = _key([1, 2, 3]).to_json()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "no list of 1 to"),
        ({}, "no list of 1 to"),
        (3, "no list of 1 to"),
        ({"version": 2, "keys": [GOOD]}, "of version 2"),
        ([GOOD] * 1001, "no list of 1 to"),
        ([GOOD, 3], "key 2 of"),
        ([{**GOOD, "position": [1, 2]}], "numbers that no camera has"),
        ([{**GOOD, "position": [1, 2, float("nan")]}], "numbers that no camera has"),
        ([{**GOOD, "fov_y": 4}], "numbers that no camera has"),
        ([{**GOOD, "target": GOOD["position"]}], "looks nowhere"),
        ([{**GOOD, "up": [0, 0, 0]}], "looks nowhere"),
        ([{"position": [0, 0, 0]}], "wants position, target and up"),
    ],
)
def test_what_is_no_path_is_one_line(content, said):
    with pytest.raises(QueryError, match=said):
        keys_from_json(content, "path.json")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(QueryError, match="cannot be read"):
        load_path(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(QueryError, match="cannot be read"):
        load_path(tmp_path / "bad.json")
