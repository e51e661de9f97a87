"""Cut the crops of every mask out of a photo, the way an encoder takes them, and embed them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from PIL import Image

from gags.embed.encoder import CropRule, Encoder
from gags.segment.masks import Masks

MASKS_A_BATCH = 32
"""Masks that are cut and embedded at a time; bounds memory (two crops of 260 px a mask: 13 MB)."""


def embed_masks(
    image: np.ndarray, masks: Masks, encoder: Encoder, *, batch: int = MASKS_A_BATCH
) -> np.ndarray:
    """Embed every mask of a photo.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        masks: Its masks (M of them, possibly none).
        encoder: The encoder; its `crops` say which crops it takes of a mask.
        batch: Masks at a time.

    Returns:
        One L2-normalised embedding a mask. float32 [M, D]
    """
    embeddings = [np.empty((0, encoder.dim), np.float32)]
    batches = cut_crops(image, masks, encoder, batch=batch)
    with ThreadPoolExecutor(1) as ahead:  # the next crops are cut while these are encoded
        waiting = ahead.submit(next, batches, None)
        while (crops := waiting.result()) is not None:
            waiting = ahead.submit(next, batches, None)
            embeddings.append(encoder.encode_images(crops))
    return np.concatenate(embeddings)


def cut_crops(
    image: np.ndarray, masks: Masks, encoder: Encoder, *, batch: int = MASKS_A_BATCH
) -> Iterator[np.ndarray]:
    """Cut the crops of all masks of a photo, in order, a batch at a time; a thread a mask.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        masks: Its masks.
        encoder: Gives the crop rules C and the side S of the crops.
        batch: Masks at a time.

    Yields:
        Crops of the next up to `batch` masks. uint8 RGB [B, C, S, S, 3]

    Raises:
        ValueError: If the label maps are not of the photo's size.
    """
    if masks.labels.shape[1:] != image.shape[:2]:
        raise ValueError(f"label maps are {masks.labels.shape[1:]}, the photo is {image.shape[:2]}")
    size, rules = encoder.image_size, encoder.crops

    def cut(row: int) -> list[np.ndarray]:
        mask = masks.mask(row)
        return [cut_crop(image, mask, masks.boxes[row], rule, size) for rule in rules]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(masks), batch):
            yield np.array(list(pool.map(cut, range(start, min(start + batch, len(masks))))))


def cut_crop(image: np.ndarray, mask: np.ndarray, box: np.ndarray, rule: CropRule, size: int) -> np.ndarray:
    """Cut one mask out of a photo.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        mask: The mask. bool [H, W]
        box: x1, y1, x2, y2 of the mask in px, the far edges exclusive. int [4]
        rule: Margin, background and shape of the crop.
        size: Side of the crop, px.

    Returns:
        The crop, resized as the rule says. uint8 RGB [size, size, 3]
    """
    left, top, right, bottom = _window(box, rule)
    side = max(right - left, bottom - top)
    canvas = np.full((side, side, 3), rule.fill, np.uint8)
    # Where the window starts on the square canvas: a "pad" window sits in its middle.
    offset_x, offset_y = (side - (right - left)) // 2 - left, (side - (bottom - top)) // 2 - top
    height, width = mask.shape
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if x1 < x2 and y1 < y2:
        target = canvas[y1 + offset_y : y2 + offset_y, x1 + offset_x : x2 + offset_x]
        pixels, inside = image[y1:y2, x1:x2], mask[y1:y2, x1:x2]
        np.copyto(target, pixels, where=True if rule.keep_background else inside[..., None])
    if rule.resample is not None:
        return np.asarray(Image.fromarray(canvas).resize((size, size), rule.resample))
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_CUBIC)


def _window(box: np.ndarray, rule: CropRule) -> tuple[int, int, int, int]:
    """The part of the photo that a rule takes, px; may reach beyond the photo."""
    x1, y1, x2, y2 = (int(edge) for edge in box)
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    margin = rule.padding * max(width, height)
    if rule.square == "box":
        side = max(round(max(width, height) + 2 * margin), 1)
        left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
        return left, top, left + side, top + side
    return x1 - round(margin), y1 - round(margin), x1 + width + round(margin), y1 + height + round(margin)
