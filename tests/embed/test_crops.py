"""Crops of masks against hand-made cases."""

from collections.abc import Sequence

import numpy as np
import pytest

from gags.embed.crops import cut_crop, cut_crops, embed_masks
from gags.embed.encoder import CropRule
from gags.segment.masks import Masks

RECIPE = CropRule(padding=0.0, keep_background=False, fill=127, square="box")


class MeanColor:
    """An encoder that returns the mean colour of each crop."""

    name = "mean"
    dim = 6
    image_size = 8
    crops = (CropRule(), CropRule(keep_background=True))
    temperature = 1.0
    negatives: tuple[str, ...] = ("object",)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        self.seen = [*getattr(self, "seen", []), len(crops)]
        return crops.mean((2, 3), dtype=np.float32).reshape(len(crops), -1)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros((len(texts), self.dim), np.float32)


def numbered_image(height: int, width: int) -> np.ndarray:
    """Every pixel different: red counts columns, green counts rows."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, None]
    image[..., 2] = 200
    return image


def full_masks(labels: np.ndarray, levels: Sequence[int], boxes: Sequence[Sequence[int]]) -> Masks:
    count = len(levels)
    return Masks(
        labels.astype(np.int16),
        np.array(levels, np.int8),
        np.array(boxes, np.int32).reshape(count, 4),
        np.ones(count, np.float32),
    )


def test_square_box_keeps_pixels_and_greys_out_the_rest() -> None:
    image = numbered_image(20, 30)
    mask = np.zeros((20, 30), bool)
    mask[5:9, 10:14] = True
    mask[5, 10] = False
    crop = cut_crop(image, mask, np.array([10, 5, 14, 9]), RECIPE, 4)
    expected = image[5:9, 10:14].copy()
    expected[0, 0] = 127
    np.testing.assert_array_equal(crop, expected)


def test_wide_box_is_centred_in_a_square_window() -> None:
    image = numbered_image(20, 30)
    mask = np.zeros((20, 30), bool)
    mask[8:10, 10:16] = True
    crop = cut_crop(image, mask, np.array([10, 8, 16, 10]), RECIPE, 6)
    expected = np.full((6, 6, 3), 127, np.uint8)
    expected[2:4] = image[8:10, 10:16]
    np.testing.assert_array_equal(crop, expected)


def test_window_beyond_the_photo_is_filled() -> None:
    image = numbered_image(20, 30)
    mask = np.zeros((20, 30), bool)
    mask[0:8, 0:2] = True
    rule = CropRule(keep_background=True, fill=127, square="box")
    crop = cut_crop(image, mask, np.array([0, 0, 2, 8]), rule, 8)
    np.testing.assert_array_equal(crop[:, :3], np.full((8, 3, 3), 127))
    np.testing.assert_array_equal(crop[:, 3:], image[:8, :5])


def test_padding_is_a_share_of_the_longer_side() -> None:
    image = numbered_image(40, 40)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 12:22] = True
    rule = CropRule(padding=0.10, keep_background=True, fill=127, square="box")
    crop = cut_crop(image, mask, np.array([12, 10, 22, 30]), rule, 24)
    np.testing.assert_array_equal(crop, image[8:32, 5:29])


def test_pad_crops_to_the_box_and_pads_to_a_square() -> None:
    image = numbered_image(20, 30)
    mask = np.zeros((20, 30), bool)
    mask[4:8, 3:13] = True
    crop = cut_crop(image, mask, np.array([3, 4, 13, 8]), CropRule(fill=9, keep_background=True), 10)
    expected = np.full((10, 10, 3), 9, np.uint8)
    expected[3:7] = image[4:8, 3:13]
    np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("square", ["box", "pad"])
def test_one_pixel_mask_in_the_last_corner(square: str) -> None:
    image = numbered_image(20, 30)
    mask = np.zeros((20, 30), bool)
    mask[19, 29] = True
    crop = cut_crop(image, mask, np.array([29, 19, 30, 20]), CropRule(0.03, square=square), 5)
    np.testing.assert_array_equal(crop, np.broadcast_to(image[19, 29], (5, 5, 3)))


def test_enlarged_crop_of_a_plain_mask_stays_plain() -> None:
    image = np.full((20, 30, 3), (10, 200, 90), np.uint8)
    mask = np.ones((20, 30), bool)
    crop = cut_crop(image, mask, np.array([5, 5, 12, 12]), RECIPE, 260)
    np.testing.assert_array_equal(crop, np.broadcast_to((10, 200, 90), (260, 260, 3)))


def test_masks_of_all_levels_in_bounded_batches() -> None:
    image = numbered_image(10, 10)
    labels = np.full((3, 10, 10), -1)
    labels[0, :2, :2], labels[0, 5:7, 5:7], labels[2, :4, :4] = 0, 1, 2
    masks = full_masks(labels, [0, 0, 2], [[0, 0, 2, 2], [5, 5, 7, 7], [0, 0, 4, 4]])
    encoder = MeanColor()
    batches = list(cut_crops(image, masks, encoder, batch=2))
    assert [batch.shape for batch in batches] == [(2, 2, 8, 8, 3), (1, 2, 8, 8, 3)]
    embeddings = embed_masks(image, masks, encoder, batch=2)
    assert encoder.seen == [2, 1]
    np.testing.assert_allclose(
        embeddings[:, :3], [[0.5, 0.5, 200], [5.5, 5.5, 200], [1.5, 1.5, 200]], atol=0.3
    )


def test_no_masks_give_no_embeddings() -> None:
    masks = full_masks(np.full((3, 10, 10), -1), [], [])
    embeddings = embed_masks(numbered_image(10, 10), masks, MeanColor())
    assert embeddings.shape == (0, 6)
    assert embeddings.dtype == np.float32


def test_label_maps_of_another_size() -> None:
    masks = full_masks(np.full((3, 10, 12), -1), [], [])
    with pytest.raises(ValueError, match=r"label maps are \(10, 12\), the photo is \(10, 10\)"):
        list(cut_crops(numbered_image(10, 10), masks, MeanColor()))
