"""Eq. 1 against hand-made cases, d_min against plain Python, the draw of prompts."""

import numpy as np
import pytest

from gags.capture.camera import Camera
from gags.segment.prompts import granularity_map, nearest_depths, prompts_per_patch, sample_prompts


def _camera(
    width: int, height: int, *, focal: float, position: tuple[float, float, float], yaw: float = 0.0
) -> Camera:
    c, s = np.cos(yaw), np.sin(yaw)
    viewmat = np.eye(4)
    viewmat[:3, :3] = [[c, 0, -s], [0, 1, 0], [s, 0, c]]
    viewmat[:3, 3] = -viewmat[:3, :3] @ np.array(position)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(viewmat, K, width, height)


def _plane_and_wall(camera: Camera) -> np.ndarray:
    """Depth of a plane z = 3 with a wall z = 2 in front of its right part (x > 0.3). float32 [H, W]"""
    depth = np.zeros((camera.height, camera.width), np.float32)
    rotation = camera.viewmat[:3, :3]
    for row, column in np.ndindex(depth.shape):
        ray = rotation.T @ np.linalg.inv(camera.K) @ np.array([column + 0.5, row + 0.5, 1.0])
        if ray[2] <= 0:
            continue
        wall = (2 - camera.position[2]) / ray[2]
        if wall > 0 and camera.position[0] + wall * ray[0] > 0.3:
            depth[row, column] = wall
        elif (3 - camera.position[2]) / ray[2] > 0:
            depth[row, column] = (3 - camera.position[2]) / ray[2]
    return depth


def _brute_force(depths: list[np.ndarray], cameras: list[Camera]) -> list[np.ndarray]:
    """METHOD §1.2, pixel by pixel."""
    nearest = []
    for depth, camera in zip(depths, cameras, strict=True):
        least = depth.copy()
        for row, column in np.ndindex(depth.shape):
            if depth[row, column] == 0:
                continue
            point = camera.unproject(np.array([column + 0.5, row + 0.5]), depth[row, column])
            for other, seen in zip(cameras, depths, strict=True):
                (x, y), z = other.project(point)
                if z <= 0 or not (0 <= x < other.width and 0 <= y < other.height):
                    continue
                surface = seen[int(y), int(x)]
                if surface > 0 and abs(surface - z) <= 0.25 * surface:
                    least[row, column] = min(least[row, column], z)
        nearest.append(least)
    return nearest


def test_nearest_depths_of_a_scene_with_occlusion_match_plain_python():
    cameras = [
        _camera(24, 16, focal=20, position=(0.0, 0.0, 0.0)),
        _camera(20, 20, focal=25, position=(-0.4, 0.1, 1.2), yaw=0.15),
        _camera(24, 16, focal=20, position=(0.6, 0.0, -1.0), yaw=-0.3),
        _camera(16, 16, focal=20, position=(0.0, 0.0, 5.0)),  # behind everything, sees nothing
    ]
    depths = [_plane_and_wall(camera) for camera in cameras]
    depths[0][:3] = 0
    found = nearest_depths(depths, cameras)
    expected = _brute_force(depths, cameras)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert (found[0][:3] == 0).all()
    assert (found[0] < depths[0] - 0.1).any()  # the second camera is nearer to what the first one sees
    assert (found[3] == depths[3]).all()


def test_a_surface_hidden_from_the_near_camera_keeps_its_own_depth():
    far = _camera(8, 8, focal=8, position=(0, 0, 0))
    near = _camera(8, 8, focal=8, position=(0, 0, 1))
    surface, obstacle = np.full((8, 8), 4, np.float32), np.full((8, 8), 1, np.float32)
    hidden = nearest_depths([surface, obstacle], [far, near])
    np.testing.assert_allclose(hidden[0], 4)
    seen = nearest_depths([surface, surface - 1], [far, near])
    np.testing.assert_allclose(seen[0][3:5, 3:5], 3)


def test_sampled_depths_give_d_min_at_full_size():
    far = _camera(64, 48, focal=64, position=(0, 0, 0))
    near = _camera(64, 48, focal=64, position=(0, 0, 1))
    depths = [np.full((48, 64), 2, np.float32), np.full((48, 64), 1, np.float32)]
    found = nearest_depths(depths, [far, near], work_width=16)
    assert found[0].shape == (48, 64)
    np.testing.assert_allclose(found[0][13:35, 17:47], 1)  # what the near camera sees, in the far picture
    np.testing.assert_allclose(found[0][:12], 2)
    np.testing.assert_allclose(found[1], 1)


def test_as_many_depths_as_cameras_are_asked_for():
    with pytest.raises(ValueError, match="1 depths for 0 cameras"):
        nearest_depths([np.ones((2, 2), np.float32)], [])


def test_twice_the_distance_takes_four_times_the_prompts():
    depth = np.full((16, 16), 2, np.float32)
    nearest = np.full((16, 16), 2, np.float32)
    nearest[:, 8:] = 1
    counts = prompts_per_patch(depth, nearest, base=16)
    assert counts.shape == (8, 8)
    assert (counts[:, :4] == 16).all()
    assert (counts[:, 4:] == 64).all()


def test_exponent_zero_is_uniform_and_one_is_linear():
    depth, nearest = np.full((8, 8), 3, np.float32), np.full((8, 8), 1, np.float32)
    assert (prompts_per_patch(depth, nearest, base=5, exponent=0) == 5).all()
    assert (prompts_per_patch(depth, nearest, base=5, exponent=1) == 15).all()


def test_uniform_prompts_of_a_broken_number_have_the_right_total():
    depth = np.ones((80, 80), np.float32)
    counts = prompts_per_patch(depth, depth, base=4.3, exponent=0)
    assert set(np.unique(counts)) == {4, 5}
    assert counts.sum() == round(4.3 * 64)
    assert counts.sum(axis=1).min() >= 34  # of 8 patches of 4.3: no row is left behind


def test_counts_are_the_mean_of_the_ratio_rounded_and_clamped():
    nearest = np.ones((2, 4), np.float32)
    depth = np.array([[1, 2, 30, 30], [1, 1, 1, 1]], np.float32)
    # Patch of the left half: mean of 1, 4, 1, 1 = 1.75; times 2 = 3.5, rounded up; the right one is clamped.
    counts = prompts_per_patch(depth, nearest, base=2, grid=1)
    assert counts.tolist() == [[400]]
    assert prompts_per_patch(depth[:, :2], nearest[:, :2], base=2, grid=1).tolist() == [[4]]
    assert prompts_per_patch(depth[:, :1], nearest[:, :1], base=0.1, grid=1).tolist() == [[1]]


def test_pixels_without_depth_do_not_count():
    depth = np.array([[0, 2, 0, 0]], np.float32)
    nearest = np.array([[0, 1, 0, 0]], np.float32)
    assert prompts_per_patch(np.tile(depth, (4, 1)), np.tile(nearest, (4, 1)), base=3, grid=2).tolist() == [
        [12, 3],
        [12, 3],
    ]
    wanted = granularity_map(depth, nearest, base=3)
    assert wanted[0, 1] == 12
    assert np.isnan(wanted[0, [0, 2, 3]]).all()


def test_prompts_depend_on_seed_and_name_only():
    camera = _camera(160, 80, focal=100, position=(0, 0, 0))
    means = np.random.default_rng(0).uniform((-0.7, -0.3, 1.9), (0.7, 0.3, 2.1), (200, 3))
    depth = np.full((80, 160), 2, np.float32)
    counts = np.arange(64).reshape(8, 8)

    def draw(seed: int, name: str) -> np.ndarray:
        return sample_prompts(counts, camera, means, depth, seed=seed, name=name)

    first = draw(0, "a.jpg")
    draw(0, "b.jpg")
    assert (draw(0, "a.jpg") == first).all()
    assert (draw(0, "b.jpg") != first).any()
    assert (draw(1, "a.jpg") != first).any()


def test_every_patch_gets_its_count_of_pixel_centres():
    camera = _camera(161, 83, focal=100, position=(0, 0, 0))
    counts = np.random.default_rng(1).integers(0, 30, (8, 8))
    points = sample_prompts(counts, camera, np.zeros((0, 3)), np.zeros((4, 4)), seed=3, name="x")
    assert len(points) == counts.sum()
    assert (points % 1 == 0.5).all()
    columns = np.searchsorted(np.arange(1, 8) * 161 // 8, points[:, 0], side="right")
    rows = np.searchsorted(np.arange(1, 8) * 83 // 8, points[:, 1], side="right")
    found = np.zeros((8, 8), int)
    np.add.at(found, (rows, columns), 1)
    assert (found == counts).all()


def test_prompts_fall_where_visible_centres_project():
    camera = _camera(160, 80, focal=100, position=(0, 0, 0))
    depth = np.full((80, 160), 2, np.float32)
    # Sub-patches are 2×1 px. Three pixels of the first patch show a centre: two in one sub-patch.
    pixels = np.array([[0.5, 0.5], [1.5, 0.5], [10.5, 5.5]])
    hidden = camera.unproject(np.array([[4.5, 4.5], [16.5, 8.5]]), np.array([9.0, 1.0]))
    behind = np.array([[0.0, 0.0, -2.0]])
    means = np.concatenate([camera.unproject(pixels, np.full(3, 2.1)), hidden, behind])
    counts = np.zeros((8, 8), int)
    counts[0, 0] = 3000
    points = sample_prompts(counts, camera, np.concatenate([means, means[:1]]), depth, seed=0, name="x")
    sub_patches = (points // [2, 1]).astype(int)
    assert {tuple(cell) for cell in sub_patches.tolist()} == {(0, 0), (5, 5)}
    assert abs((sub_patches[:, 0] == 0).mean() - 2 / 3) < 0.03
    assert set(points[:, 0].tolist()) == {0.5, 1.5, 10.5, 11.5}


def test_few_prompts_never_share_a_sub_patch():
    camera = _camera(160, 80, focal=100, position=(0, 0, 0))
    depth = np.full((80, 160), 2, np.float32)
    columns, rows = np.meshgrid(np.arange(10) * 2 + 0.5, np.arange(4) + 0.5)
    pixels = np.stack([columns.ravel(), rows.ravel()], 1)  # 40 sub-patches of the first patch show a centre
    means = camera.unproject(pixels, np.full(40, 2.0))
    counts = np.zeros((8, 8), int)
    counts[0, 0] = 40
    points = sample_prompts(counts, camera, means, depth, seed=0, name="x")
    assert len({(x // 2, y // 1) for x, y in points.tolist()}) == 40
    assert (points[:, 1] < 4).all()
