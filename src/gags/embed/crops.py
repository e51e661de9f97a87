"""Cut the crops of every mask out of a photo, the way an encoder takes them, and embed them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import cv2
import numpy as np
import torch
from PIL import Image

from gags.embed.encoder import CropRule, Encoder
from gags.segment.masks import Masks
from gags.threads import ahead

MASKS_A_BATCH = 32
"""Masks that are cut and embedded at a time, where the encoder does not say how many; bounds memory (two
crops of 260 px a mask: 13 MB)."""

RELEASED_RULE = CropRule(padding=0.0, keep_background=False, fill=0, square="pad")
"""The released program's crop: the mask's box, black around the mask, padded to a square."""


def embed_masks(
    image: np.ndarray,
    masks: Masks,
    encoder: Encoder,
    *,
    crop: Literal["visible", "whole"] = "visible",
    crop_filter: Literal["encoder", "bilinear"] = "encoder",
    batch: int | None = None,
) -> np.ndarray:
    """Embed every mask of a photo.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        masks: Its masks (M of them, possibly none).
        encoder: The encoder; its `crops` say which crops it takes of a mask.
        crop: What of a mask is embedded, see `cut_crops`.
        crop_filter: How crops are resized, see `cut_crops`.
        batch: Masks at a time; by default as many as the encoder asks for.

    Returns:
        One L2-normalised embedding a mask. float32 [M, D]
    """
    at_once: int = batch or getattr(encoder, "masks_a_batch", MASKS_A_BATCH)
    embeddings = [np.empty((0, encoder.dim), np.float32)]
    batches = cut_crops(image, masks, encoder, crop=crop, crop_filter=crop_filter, batch=at_once)
    for crops in ahead(batches):  # the next crops are cut while these are encoded
        embeddings.append(encoder.encode_images(crops))
    return np.concatenate(embeddings)


def cut_crops(
    image: np.ndarray,
    masks: Masks,
    encoder: Encoder,
    *,
    crop: Literal["visible", "whole"] = "visible",
    crop_filter: Literal["encoder", "bilinear"] = "encoder",
    batch: int = MASKS_A_BATCH,
) -> Iterator[np.ndarray]:
    """Cut the crops of all masks of a photo, in order, a batch at a time; a thread a mask.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        masks: Its masks.
        encoder: Gives the crop rules C and the side S of the crops.
        crop: Whether a crop shows what other masks of its level leave visible, or the whole mask in the box
            of the whole mask.
        crop_filter: "encoder" takes the encoder's own rules. "bilinear" does as the released program, if the
            encoder takes one crop padded to a square (CLIP, SigLIP): black around the mask, the mask's box,
            OpenCV's bilinear filter, which does not average when it shrinks. An encoder of other or several
            crops (`lite`) was trained on these and keeps its own rules.
        batch: Masks at a time.

    Yields:
        Crops of the next up to `batch` masks. uint8 RGB [B, C, S, S, 3]

    Raises:
        ValueError: If the label maps are not of the photo's size, or whole masks are wanted and not there.
    """
    if masks.labels.shape[1:] != image.shape[:2]:
        raise ValueError(f"label maps are {masks.labels.shape[1:]}, the photo is {image.shape[:2]}")
    whole = masks.whole
    if crop == "whole" and whole is None:
        raise ValueError("these masks were kept without their hidden parts; describe with crop = whole")
    size, rules, interpolation = encoder.image_size, encoder.crops, cv2.INTER_CUBIC
    if crop_filter == "bilinear" and [rule.square for rule in rules] == ["pad"]:
        rules, interpolation = (RELEASED_RULE,), cv2.INTER_LINEAR

    def cut(row: int) -> list[np.ndarray]:
        if crop == "whole" and whole is not None:
            cropped, box = whole[row], whole.boxes[row]
            mask = np.zeros(image.shape[:2], bool)
            mask[cropped.window] = cropped.mask
        else:
            mask, box = masks.mask(row), masks.boxes[row]
        return [
            cut_crop(image, mask, box, rule, size, interpolation=interpolation, kept=masks.kept)
            for rule in rules
        ]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(masks), batch):
            yield np.array(list(pool.map(cut, range(start, min(start + batch, len(masks))))))


def cut_crop(
    image: np.ndarray,
    mask: np.ndarray,
    box: np.ndarray,
    rule: CropRule,
    size: int,
    *,
    interpolation: int = cv2.INTER_CUBIC,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Cut one mask out of a photo.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        mask: The mask. bool [H, W]
        box: x1, y1, x2, y2 of the mask in px, the far edges exclusive. int [4]
        rule: Margin, background and shape of the crop.
        size: Side of the crop, px.
        interpolation: OpenCV's filter for resizing, where the rule names none of Pillow's.
        kept: Which pixels of the photo count; the others are no background either. None for all. bool [H, W]

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
        around = True if kept is None else kept[y1:y2, x1:x2, None]
        np.copyto(target, pixels, where=around if rule.keep_background else inside[..., None])
    if rule.resample is not None:
        return np.asarray(Image.fromarray(canvas).resize((size, size), rule.resample))
    return cv2.resize(canvas, (size, size), interpolation=interpolation)


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
