"""Dense features: tiles, grids and their file, against sums by hand and interpolation along one axis."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.helpers.tiny_vit import write_vit

from gags.capture import Camera, View
from gags.compare import dense
from gags.compare.dense import (
    TILE_SHARES,
    DenseFeatures,
    Grid,
    compute,
    dense_features,
    embed_tiles,
    tile_boxes,
    tile_count,
    tile_starts,
)
from gags.embed.crops import embed_masks
from gags.embed.dino.encoder import Dino
from gags.embed.encoder import CropRule
from gags.segment.masks import Masks

HEIGHT, WIDTH = 60, 80


class MeanColor:
    """A crop means its mean colour; counts what it embeds."""

    name = "mean-color"
    dim = 3
    image_size = 6
    crops = (CropRule(padding=0.1, fill=127, square="box"), CropRule())
    temperature = 10.0
    negatives = ("object",)
    same_meaning = 2.0

    def __init__(self, fail_after: int | None = None) -> None:
        self.embedded = 0
        self.fail_after = fail_after

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        if self.fail_after is not None and self.embedded >= self.fail_after:
            raise KeyboardInterrupt
        self.embedded += len(crops)
        means = crops.reshape(len(crops), -1, 3).mean(axis=1) + 1
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(self, texts) -> np.ndarray:
        raise NotImplementedError


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_seven_sizes_from_a_twentieth_to_half_of_the_height():
    assert pytest.approx([0.05, 0.125, 0.2, 0.275, 0.35, 0.425, 0.5]) == TILE_SHARES
    sides = [np.ptp(tile_boxes(480, 640, share)[0, 0, 0::2]) for share in TILE_SHARES]
    assert sides == [24, 60, 96, 132, 168, 204, 240]


def test_tiles_of_a_photo_are_counted():
    # 39·53 + 15·21 + 9·13 + 7·9 + 5·7 + 4·6 + 3·5
    assert tile_count(480, 640) == 2067 + 315 + 117 + 63 + 35 + 24 + 15 == 2636


@given(length=st.integers(1, 500), side=st.integers(1, 500))
def test_tiles_go_from_edge_to_edge_and_overlap_by_half(length, side):
    side = min(length, side)
    starts = tile_starts(length, side)
    assert starts[0] == 0
    assert starts[-1] == length - side
    if len(starts) > 1:
        assert np.diff(starts).min() >= 0
        assert np.diff(starts).max() <= side / 2 + 1  # starts are rounded


def test_boxes_lie_inside_row_by_row():
    boxes = tile_boxes(100, 40, 0.5)  # a tile can be no wider than the photo
    assert boxes.tolist() == [[[0, y, 40, y + 40]] for y in (0, 20, 40, 60)]


def test_a_tile_is_a_mask_that_fills_its_box(image):
    boxes = np.array([[0, 0, 20, 20], [30, 10, 50, 30], [60, 40, 80, 60]])
    labels = np.full((3, HEIGHT, WIDTH), -1, np.int16)
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        labels[2, y1:y2, x1:x2] = row
    masks = Masks(labels, np.full(3, 2, np.int8), boxes.astype(np.int32), np.ones(3, np.float32))
    expected = embed_masks(image, masks, MeanColor())
    np.testing.assert_array_equal(embed_tiles(image, boxes, MeanColor()), expected)


def test_tiles_are_embedded_in_order_whatever_the_batch(image, monkeypatch):
    boxes = tile_boxes(HEIGHT, WIDTH, 0.2).reshape(-1, 4)
    whole = embed_tiles(image, boxes, MeanColor())
    monkeypatch.setattr(dense, "TILES_A_BATCH", 7)
    np.testing.assert_array_equal(embed_tiles(image, boxes, MeanColor()), whole)


def test_between_four_points_lies_their_bilinear_mean():
    values = torch.tensor([[[0.0], [4.0]], [[8.0], [16.0]]]).half()
    grid = Grid(values, torch.tensor([0.25, 0.25, 0.75, 0.75]))
    points = torch.tensor([[0.25, 0.25], [0.5, 0.25], [0.375, 0.625], [0.0, 1.0], [0.9, 0.9]])
    # The third: a quarter of the way right, three quarters down: ¼(¾·0 + ¼·4) + ¾(¾·8 + ¼·16).
    expected = torch.tensor([[0.0], [2.0], [7.75], [8.0], [16.0]])
    torch.testing.assert_close(grid.at(points), expected)


def test_a_grid_of_one_point_is_the_same_everywhere():
    grid = Grid(torch.tensor([[[3.0, 5.0]]]).half(), torch.tensor([0.5, 0.5, 0.5, 0.5]))
    found = grid.at(torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 0.2]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 5.0]]).repeat(3, 1))


def test_a_pixel_takes_the_mean_of_all_sizes(image):
    """Against tiles embedded one by one and NumPy's interpolation along rows, then along columns."""
    found = compute(image, MeanColor(), None)
    assert found.keys is None
    pixels = np.array([[0, 0], [13, 41], [40, 30], [79, 59], [71, 3]])
    total = np.zeros((len(pixels), 3))
    for share in (0.05, 0.125, 0.2, 0.275, 0.35, 0.425, 0.5):
        side = round(share * HEIGHT)
        xs, ys = tile_starts(WIDTH, side), tile_starts(HEIGHT, side)
        grid = np.array(
            [
                [embed_tiles(image, np.array([[x, y, x + side, y + side]]), MeanColor())[0] for x in xs]
                for y in ys
            ]
        )
        # The grid is taken as even, though starts are rounded to whole pixels.
        xs, ys = (np.linspace(s[0] + side / 2, s[-1] + side / 2, len(s)) for s in (xs, ys))
        for row, (x, y) in enumerate(pixels + 0.5):
            for channel in range(3):
                along_x = [np.interp(x, xs, line) for line in grid[..., channel]]
                total[row, channel] += np.interp(y, ys, along_x)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    points = torch.from_numpy((pixels + 0.5) / [WIDTH, HEIGHT]).float()
    np.testing.assert_allclose(found.embeddings(points).numpy(), expected, atol=1e-3)


def test_keys_stand_in_the_middle_of_their_patches(image, tmp_path):
    dino = Dino(write_vit(tmp_path / "vit"), device=torch.device("cpu"))
    found = compute(image, None, dino)
    assert found.tiles == ()
    keys = dino.keys(image)
    rows, columns = keys.shape[:2]
    middles = torch.tensor([[(2 + 0.5) / columns, (4 + 0.5) / rows], [1.0, 0.0]])
    expected = np.stack([keys[4, 2], keys[0, -1]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found.keys_at(middles).numpy(), expected, atol=2e-3)


def test_without_dino_keys_have_no_length():
    nothing = DenseFeatures((), None).keys_at(torch.zeros(4, 2))
    assert nothing.shape == (4, 0)


# --- the file ---


def make_view(folder: Path, name: str, image: np.ndarray) -> View:
    folder.mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / name)
    camera = Camera(np.eye(4), np.diag([50.0, 50.0, 1.0]), image.shape[1], image.shape[0])
    return View(name, folder / name, camera)


@pytest.fixture
def view(tmp_path, image) -> View:
    return make_view(tmp_path / "images", "a.png", image)


@pytest.fixture
def dino(tmp_path) -> Dino:
    return Dino(write_vit(tmp_path / "vit"), device=torch.device("cpu"))


def test_what_is_kept_is_what_was_computed(view, dino, tmp_path, image):
    encoder, file = MeanColor(), tmp_path / "dense" / "a.safetensors"
    first = dense_features(view, encoder, dino, file)
    assert encoder.embedded == tile_count(HEIGHT, WIDTH)
    again = dense_features(view, encoder, dino, file)
    assert encoder.embedded == tile_count(HEIGHT, WIDTH)
    assert len(again.tiles) == 7
    assert again.keys is not None
    assert first.keys is not None
    for kept, made in zip([*again.tiles, again.keys], [*first.tiles, first.keys], strict=True):
        assert torch.equal(kept.values, made.values)
        assert torch.equal(kept.extent, made.extent)


def test_other_pixels_or_models_and_damage_make_it_anew(view, dino, tmp_path, image):
    file = tmp_path / "a.safetensors"
    encoder = MeanColor()

    def embedded(view, encoder, dino) -> bool:
        encoder.embedded = 0
        dense_features(view, encoder, dino, file)
        return encoder.embedded > 0

    assert embedded(view, encoder, None)
    assert not embedded(view, encoder, None)
    assert embedded(view, encoder, dino)
    other = MeanColor()
    other.name = "other"
    assert embedded(view, other, dino)
    Image.fromarray(255 - image).save(view.path)
    assert embedded(view, other, dino)
    assert not embedded(view, other, dino)
    half = replace(view, camera=view.camera.resized(WIDTH // 2, HEIGHT // 2))
    assert embedded(half, other, dino)
    file.write_bytes(file.read_bytes()[:500])
    assert embedded(half, other, dino)
    assert not embedded(half, other, dino)


def test_after_an_interruption_only_the_rest_is_computed(tmp_path, image):
    views = [make_view(tmp_path / "images", f"{k}.png", np.roll(image, k, axis=1)) for k in range(3)]
    each = tile_count(HEIGHT, WIDTH)
    stopped = MeanColor(fail_after=each)  # the first photo, and nothing of the second
    files = {view.name: tmp_path / "dense" / f"{view.name}.safetensors" for view in views}
    dense_features(views[0], stopped, None, files["0.png"])
    with pytest.raises(KeyboardInterrupt):
        dense_features(views[1], stopped, None, files["1.png"])
    assert [path.name for path in (tmp_path / "dense").iterdir()] == ["0.png.safetensors"]
    resumed = MeanColor()
    for view in views:
        dense_features(view, resumed, None, files[view.name])
    assert resumed.embedded == 2 * each
