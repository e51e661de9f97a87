"""Eq. 1 against hand-made cases, and the draw of prompts."""

import numpy as np
import pytest
import torch

from gags.capture.camera import Camera
from gags.gaussians import Gaussians
from gags.segment.prompts import (
    PromptPlacer,
    lower_to_seen,
    prompt_density,
    prompts_per_patch,
    released_per_patch,
    render_depth,
    sample_prompts,
)
from gags.segment.settings import DescribeSettings


def _camera(width: int, height: int, *, focal: float) -> Camera:
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Camera(np.eye(4), K, width, height)


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


def test_uniform_prompts_of_a_fractional_number_have_the_right_total():
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
    density = prompt_density(depth, nearest, base=3)
    assert density[0, 1] == 12
    assert np.isnan(density[0, [0, 2, 3]]).all()


def test_prompts_depend_on_seed_and_name_only():
    camera = _camera(160, 80, focal=100)
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


@pytest.mark.parametrize(("ratio", "prompts"), [(1, 1024), (1.5, 2304), (2, 4096), (3, 9216)])
def test_prompts_of_a_photo_whose_patches_are_all_alike(ratio: float, prompts: int):
    camera = _camera(64, 64, focal=64)
    depth, nearest = np.full((64, 64), 2 * ratio, np.float32), np.full((64, 64), 2, np.float32)
    centres = camera.unproject(_one_pixel_a_patch(), np.full(64, 2.0 * ratio))
    assert prompts_per_patch(depth, nearest, base=16).sum() == prompts
    assert released_per_patch(depth, np.full(64, 2.0), camera, centres, base=16).sum() == prompts
    assert prompts_per_patch(depth, nearest, base=4).sum() == prompts // 4


def test_the_literal_law_gives_the_near_photo_more():
    depth, nearest = np.full((8, 8), 2, np.float32), np.full((8, 8), 1, np.float32)
    assert (prompts_per_patch(depth, nearest, base=16, exponent=-2) == 4).all()
    assert (prompts_per_patch(nearest, nearest, base=16, exponent=-2) == 16).all()
    assert (prompts_per_patch(10 * depth, nearest, base=16, exponent=-2) == 1).all()  # 0.04, clamped
    assert (prompts_per_patch(nearest, nearest, base=900, exponent=-2) == 400).all()


def _one_pixel_a_patch() -> np.ndarray:
    """Centre of pixel (4, 4) of each of 8×8 patches of 8 px, patch by patch. [64, 2]"""
    y, x = np.mgrid[:8, :8] * 8 + 4.5
    return np.stack([x.ravel(), y.ravel()], 1)


def test_the_released_law_has_a_cliff():
    camera, depth = _camera(64, 64, focal=64), np.full((64, 64), 2, np.float32)
    centres = camera.unproject(_one_pixel_a_patch()[:-1], np.full(63, 2.0))  # none in the last patch
    least = np.full(63, 2.0)
    # ρ just below 1; 1; 4 ρ just below and above 5; ρ = 6.7, of which 26² would be too many
    least[:5] = [2.001, 2.0, 2 / 1.2499, 2 / 1.2501, 0.3]
    counts = released_per_patch(depth, least, camera, centres, base=16)
    assert counts[0].tolist() == [1, 16, 16, 25, 400, 16, 16, 16]
    assert counts[-1].tolist() == [*[16] * 7, 1]
    assert (counts[1:-1] == 16).all()
    assert released_per_patch(depth, least, camera, centres, base=10)[0, 1] == 9  # ⌊√10⌋²


def test_the_released_law_looks_only_at_pixels_of_centres_and_takes_the_ratio_of_means():
    camera = _camera(64, 64, focal=64)
    depth = np.full((64, 64), 4, np.float32)
    pixels = np.array([[1.5, 1.5], [2.5, 1.5]])
    depth[1, 1:3] = [1, 3]
    centres = camera.unproject(pixels, np.array([1.0, 3.0]))
    hidden = camera.unproject(np.array([[5.5, 5.5]]), np.array([9.0]))
    twice = np.concatenate([centres[:1], centres, hidden])  # a pixel counts once, by its least
    # ρ = (1 + 3) / (1 + 1) = 2; the mean of the ratios' squares would be 5.
    counts = released_per_patch(depth, np.array([1.2, 1, 1, 1]), camera, twice, base=16)
    assert counts[0, 0] == 64
    assert counts[3, 3] == 1


def test_maps_smaller_than_the_photo_are_looked_up_at_their_pixels():
    camera = _camera(128, 64, focal=64)
    depth = np.full((16, 32), 4, np.float32)
    depth[:2] = 2  # the first row of patches
    columns = np.arange(8) * 16 + 8.5
    pixels = np.concatenate([np.stack([columns, np.full(8, y)], 1) for y in (4.5, 12.5)])
    centres = camera.unproject(pixels, np.repeat([2.0, 4.0], 8))
    counts = released_per_patch(depth, np.full(16, 2.0), camera, centres, base=16)
    assert counts[:2].tolist() == [[16] * 8, [64] * 8]


def test_a_centre_s_least_depth_is_that_in_the_view_that_sees_it_from_nearest():
    far, near = _camera(64, 64, focal=64), _camera(64, 64, focal=64)
    near.viewmat[2, 3] = -2
    # On the surface; behind it within a quarter, and beyond that; in front of it; beside both views.
    means = np.array([[0, 0, 4], [0, 0, 4.4], [0, 0, 5.2], [0, 0, 3.2], [9, 0, 4]], float)
    least = np.full(5, np.inf)
    lower_to_seen(least, far, means, np.full((64, 64), 4, np.float32))
    np.testing.assert_allclose(least, [4, 4.4, np.inf, 3.2, np.inf])
    lower_to_seen(least, near, means, np.full((32, 32), 2, np.float32))
    np.testing.assert_allclose(least, [2, 2.4, np.inf, 3.2, np.inf])
    lower_to_seen(least, far, means, np.full((64, 64), 4, np.float32))
    np.testing.assert_allclose(least, [2, 2.4, np.inf, 3.2, np.inf])


def test_centres_behind_the_surface_are_below_the_cliff_in_the_view_from_nearest_alone():
    far, near = _camera(64, 64, focal=64), _camera(64, 64, focal=64)
    near.viewmat[2, 3] = -2
    means = far.unproject(_one_pixel_a_patch(), np.full(64, 4.1))
    depths, least = [np.full((64, 64), 4, np.float32), np.full((64, 64), 2, np.float32)], np.full(64, np.inf)
    for camera, depth in zip((far, near), depths, strict=True):
        lower_to_seen(least, camera, means, depth)
    seen = [released_per_patch(d, least, c, means, base=16) for c, d in zip((far, near), depths, strict=True)]
    assert (seen[1] == 1).all()  # ρ = 2 / 2.1
    # The near view sees the inner half: ρ = 4 / 2.1, and of the rest 4 / 4.1.
    assert (seen[0][2:6, 2:6] == 49).all()
    assert (seen[0][[0, 1, 6, 7]] == 1).all()


def test_every_patch_gets_its_count_of_pixel_centres():
    camera = _camera(161, 83, focal=100)
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
    camera = _camera(160, 80, focal=100)
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
    camera = _camera(160, 80, focal=100)
    depth = np.full((80, 160), 2, np.float32)
    columns, rows = np.meshgrid(np.arange(10) * 2 + 0.5, np.arange(4) + 0.5)
    pixels = np.stack([columns.ravel(), rows.ravel()], 1)  # 40 sub-patches of the first patch show a centre
    means = camera.unproject(pixels, np.full(40, 2.0))
    counts = np.zeros((8, 8), int)
    counts[0, 0] = 40
    points = sample_prompts(counts, camera, means, depth, seed=0, name="x")
    assert len({(x // 2, y // 1) for x, y in points.tolist()}) == 40
    assert (points[:, 1] < 4).all()


def test_with_replacement_a_sub_patch_may_come_again_before_all_did():
    camera = _camera(160, 80, focal=100)
    counts = np.zeros((8, 8), int)
    counts[0, 0] = 100  # of 100 sub-patches, all alike
    place = {"camera": camera, "means": np.zeros((0, 3)), "depth": np.zeros((4, 4)), "seed": 0, "name": "x"}

    def sub_patches(replacement: bool) -> int:
        points = sample_prompts(counts, replacement=replacement, **place)
        assert len(points) == 100
        return len({(x // 2, y // 1) for x, y in points.tolist()})

    assert sub_patches(False) == 100
    assert 50 < sub_patches(True) < 76  # 100 (1 − 1/e) = 63 expected


def _wall(depth: float) -> Gaussians:
    """Opaque Gaussians from −1.6 to 1.6 along x and y."""
    places = torch.linspace(-1.6, 1.6, 33)
    x, y = torch.meshgrid(places, places, indexing="xy")
    count = x.numel()
    return Gaussians(
        means=torch.stack([x.flatten(), y.flatten(), torch.full((count,), depth)], 1),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        log_scales=torch.tensor([-2.5, -2.5, -7.0]).repeat(count, 1),
        logit_opacities=torch.full((count,), 4.0),
        sh=torch.zeros(count, 1, 3),
    )


def test_depth_is_rendered_small_and_0_where_nothing_is():
    camera = _camera(960, 640, focal=480)  # at z = 4 a pixel of the small depth is 1/40 wide
    depth = render_depth(_wall(4.0), camera)
    assert depth.shape == (213, 320)
    np.testing.assert_allclose(depth[60:150, 110:210], 4, rtol=1e-3)
    assert (depth[:, :80] == 0).all()


@pytest.mark.parametrize("prompts", ["density", "released"])
@pytest.mark.parametrize(("width", "height"), [(1000, 1), (2000, 2), (1, 1000)])
def test_photos_of_a_line_of_pixels_have_prompts(width, height, prompts):
    cameras = [_camera(width, height, focal=500), _camera(width, height, focal=400)]
    placer = PromptPlacer(_wall(4.0), cameras, DescribeSettings(prompts=prompts))
    points = placer.place(0, "line.jpg")
    assert len(points) > 0
    assert (points >= 0).all()
    assert (points <= [width, height]).all()


def test_the_part_that_another_photo_sees_from_half_as_far_gets_four_times_the_prompts():
    far, near = _camera(64, 64, focal=64), _camera(64, 64, focal=64)
    near.viewmat[2, 3] = -2  # 2 units nearer: it sees the middle half of what the far one sees
    placer = PromptPlacer(_wall(4.0), [far, near], DescribeSettings(prompts_per_patch=3))
    points = placer.place(0, "far.jpg")
    counts = np.zeros((8, 8), int)
    np.add.at(counts, ((points[:, 1] // 8).astype(int), (points[:, 0] // 8).astype(int)), 1)
    assert (counts[3:5, 3:5] == 12).all()
    assert (counts[[1, 6], 1] == 3).all()
    assert (counts[0] == 3).all()  # beside the wall
    assert (placer.place(0, "far.jpg") == points).all()


def test_the_released_law_of_a_scene():
    far, near = _camera(64, 64, focal=50), _camera(64, 64, focal=50)
    near.viewmat[2, 3] = -2.1  # ρ = 4 / 1.9 = 2.1, ⌊4 ρ⌋ = 8
    settings = DescribeSettings(prompts="released", prompts_per_patch=16, replacement=True)
    placer = PromptPlacer(_wall(4.0), [far, near], settings)
    points = placer.place(0, "far.jpg")
    counts = np.zeros((8, 8), int)
    np.add.at(counts, ((points[:, 1] // 8).astype(int), (points[:, 0] // 8).astype(int)), 1)
    assert (counts[3:5, 3:5] == 64).all()
    assert (counts[0] == 1).all()  # beside the wall: no centre
    assert set(counts[[1, 6], 1].tolist()) <= {1, 16}  # on the cliff: seen from nowhere nearer


@pytest.mark.parametrize(("prompts", "count"), [("grid", 9), ("crops", 45)])
def test_even_grids_do_not_look_at_the_scene(prompts: str, count: int):
    camera = _camera(60, 30, focal=64)
    nothing = _wall(4.0)[torch.zeros(0, dtype=torch.long)]
    placer = PromptPlacer(nothing, [camera], DescribeSettings(prompts=prompts, grid_side=3))
    points = placer.place(0, "a.jpg")
    assert points.shape == (count, 2)
    assert points[:9].tolist() == [[x, y] for y in (5, 15, 25) for x in (10, 30, 50)]
    assert ((points > 0) & (points < [60, 30])).all()
    assert len(np.unique(points, axis=0)) > 0.9 * count
