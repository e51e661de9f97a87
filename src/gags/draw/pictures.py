"""Pictures of what the stages make: pure functions from arrays to uint8 RGB.

Pictures have the size of their arrays; a caption, where one is wanted, is added below. Numbers that are not
finite count as "nothing here", and so do empty masks.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from gags.draw import lettering
from gags.draw.colors import (
    ANSWER_OUTLINE,
    HALO,
    LEVEL_COLORS,
    NOTHING,
    PROMPT_DOT,
    TRUTH_OUTLINE,
    colorize,
    label_colors,
    luminance,
)
from gags.segment.masks import LEVELS

HEAT_COLORMAP = "inferno"  # brightness rises all the way, so the picture also reads in grey
DEPTH_COLORMAP = "magma"
DESATURATION = 0.55  # of the photo under a heat map, so that its own colours do not compete
HEAT_OPACITY = 0.75  # the rest lets the structure of the photo through
HEAT_STARTS = 0.4  # share of the relevancy's range below which the photo stays a photo
HEAT_FULL = 0.9  # share of it from which the heat is as opaque as it gets
LARGE_PIECE_SHARE = 0.1  # of the largest piece's area; so that specks far away do not widen a cut-out


def desaturate(photo: np.ndarray, amount: float = DESATURATION) -> np.ndarray:
    """The photo mixed with its own grey. uint8 RGB [H, W, 3] → the same"""
    rgb = _checked_photo(photo).astype(np.float32)
    grey = luminance(rgb)[..., None]
    return _to_bytes(rgb + amount * (grey - rgb))


def heat_overlay(
    photo: np.ndarray,
    relevancy: np.ndarray,
    mask: np.ndarray | None = None,
    peak: tuple[float, float] | None = None,
    text: str | None = None,
    score: float | None = None,
    *,
    truth: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """Where a text is found: the photo, a glow that grows with relevancy, the mask's outline and the peak.

    Args:
        photo: uint8 RGB [H, W, 3]
        relevancy: Answer to the text at every pixel. [H, W]
        mask: The answer's mask, outlined in white. [H, W]
        peak: x, y of the best pixel, ringed.
        text: Written in a band below the picture.
        score: Written beside the text.
        truth: Ground-truth mask, outlined in light blue. [H, W]
        limits: Relevancies drawn as nothing and as brightest; by default the range of this map (its first
            percentile to its maximum), which shows where the text is found; the score says how well.

    Returns:
        uint8 RGB [H, W, 3], with text or score [H + band, max(W, 200), 3]

    Raises:
        ValueError: If the arrays differ in size.
    """
    base = desaturate(photo).astype(np.float32)
    _same_size(photo, relevancy=relevancy, mask=mask, truth=truth)
    heat = _normalized(np.asarray(relevancy, np.float32), limits)
    ramp = np.clip((heat - HEAT_STARTS) / (HEAT_FULL - HEAT_STARTS), 0.0, 1.0)
    opacity = HEAT_OPACITY * ramp * ramp * (3 - 2 * ramp)
    picture = _to_bytes(base + opacity[..., None] * (colorize(heat, HEAT_COLORMAP) - base))
    if truth is not None:
        picture = outline(picture, truth, TRUTH_OUTLINE)
    if mask is not None:
        picture = outline(picture, mask, ANSWER_OUTLINE)
    if peak is not None:
        picture = mark(picture, peak)
    if text is None and score is None:
        return picture
    return lettering.caption(picture, text or "", "" if score is None else f"score {score:.2f}")


def outline(
    picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = ANSWER_OUTLINE
) -> np.ndarray:
    """The picture with the border of a mask drawn on it, anti-aliased, with a dark rim.

    The line runs along the mask's outermost pixels, not along the edge of the picture. It is 2 px wide on
    pictures up to 640 px and grows with larger ones, which are looked at scaled down.
    """
    _same_size(picture, mask=mask)
    inside = _as_bool(mask).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    elsewhere = 1 - (inside - cv2.erode(inside, cross))
    if elsewhere.all():
        return picture.copy()
    distance = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[..., None]
    half = max(2.0, max(picture.shape[:2]) / 320) / 2
    drawn = picture.astype(np.float32)
    for paint, reach in ((HALO, half + 1.5), (color, half + 0.5)):
        drawn += np.clip(reach - distance, 0, 1) * (np.array(paint, np.float32) - drawn)
    return _to_bytes(drawn)


def mark(picture: np.ndarray, xy: tuple[float, float]) -> np.ndarray:
    """The picture with a ring and cross hairs at a pixel; unchanged if xy is not finite."""
    if not np.isfinite(xy).all():
        return picture
    drawn = picture.copy()
    longest = max(picture.shape[:2])
    radius, width = max(4.0, longest / 100), max(2, round(longest / 480))
    center = np.clip(np.asarray(xy, np.float64), -longest, 2 * longest)
    for color, extra in ((HALO, 2), (ANSWER_OUTLINE, 0)):
        cv2.circle(drawn, _subpixel(center), round(radius * 16), color, width + extra, cv2.LINE_AA, 4)
        for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            ends = [_subpixel(center + reach * radius * np.array(direction)) for reach in (0.7, 1.7)]
            cv2.line(drawn, ends[0], ends[1], color, width + extra, cv2.LINE_AA, 4)
    return drawn


def cutout(
    photo: np.ndarray,
    mask: np.ndarray,
    *,
    background: Literal["checker", "dim"] = "checker",
    margin: float = 0.08,
) -> np.ndarray:
    """What the mask covers, cropped to its large pieces (those of at least a tenth of the largest).

    Args:
        photo: uint8 RGB [H, W, 3]
        mask: [H, W]; if it is empty the whole photo is shown dimmed.
        background: A checkerboard, or the dimmed grey photo.
        margin: Space around the mask's box, as a share of the box's longer side.

    Returns:
        uint8 RGB [h, w, 3]
    """
    _same_size(photo, mask=mask)
    inside = _as_bool(mask)
    dimmed = _to_bytes(0.3 * desaturate(photo, 0.9).astype(np.float32) + 0.5 * np.array(NOTHING, np.float32))
    if not inside.any():
        return dimmed
    main = _large_pieces(inside)
    ys, xs = np.flatnonzero(main.any(axis=1)), np.flatnonzero(main.any(axis=0))
    space = max(4, round(margin * max(np.ptp(ys) + 1, np.ptp(xs) + 1)))
    crop = (
        slice(max(0, ys[0] - space), ys[-1] + 1 + space),
        slice(max(0, xs[0] - space), xs[-1] + 1 + space),
    )
    coverage = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.7)[crop][..., None]
    front = photo[crop].astype(np.float32)
    back = dimmed[crop] if background == "dim" else _checkerboard(*front.shape[:2])
    return _to_bytes(back + coverage * (front - back))


def depth_picture(
    depth: np.ndarray, alpha: np.ndarray | None = None, *, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Depth as brightness, near is bright; equal ratios of depth are equal steps.

    Args:
        depth: Along the optical axis; 0 or less and what is not finite counts as nothing. [H, W]
        alpha: Accumulated opacity, fades the picture to grey where there is little. [H, W]
        limits: Nearest and farthest depth drawn; by default the 2nd and 98th percentile of the depths.

    Returns:
        uint8 RGB [H, W, 3]
    """
    depth = np.asarray(depth, np.float32)
    there = np.isfinite(depth) & (depth > 0)
    cover = _cover(there, alpha)
    solid = depth[there & (cover > 0.5)]
    if limits is None:
        near, far = np.percentile(solid, [2, 98]) if solid.size else (1.0, 1.0)
        limits = float(near), float(far)
    near, far = limits
    steps = np.log(far / np.where(there, depth, far))
    scale = steps / np.log(far / near) if far > near * (1 + 1e-6) else np.full_like(depth, 0.5)
    return _fade(colorize(0.08 + 0.9 * np.clip(scale, 0, 1), DEPTH_COLORMAP), cover)


def label_picture(labels: np.ndarray, photo: np.ndarray | None = None) -> np.ndarray:
    """The masks of one level in distinct colours with thin light borders, grey where there is none.

    Args:
        labels: Row of the mask at every pixel, negative for none; a row always has the same colour. [H, W]
        photo: Seen through the colours. uint8 RGB [H, W, 3]

    Returns:
        uint8 RGB [H, W, 3]
    """
    labels = np.asarray(labels)
    palette = np.concatenate([label_colors(max(0, int(labels.max(initial=-1)) + 1)), [NOTHING]])
    picture = palette[np.where(labels < 0, -1, labels)].astype(np.float32)
    if photo is not None:
        _same_size(photo, labels=labels)
        grey = luminance(photo)[..., None]
        picture = np.where(labels[..., None] < 0, 0.3 * grey + 0.45 * picture, 0.45 * grey + 0.6 * picture)
    picture[_borders(labels)] = (250, 250, 250)
    return _to_bytes(picture)


@dataclass(frozen=True, eq=False)
class FeatureBasis:
    """Three directions that turn language features into colours, the same in every view.

    Attributes:
        mean: Middle of the features. float32 [d]
        directions: Orthonormal, by falling variance. float32 [3, d]
        low: Coordinates drawn as black. float32 [3]
        high: Coordinates drawn as full colour. float32 [3]
    """

    mean: np.ndarray
    directions: np.ndarray
    low: np.ndarray
    high: np.ndarray


def feature_basis(features: np.ndarray, *, samples: int = 100_000) -> FeatureBasis:
    """Fit the three principal directions of some features: those of the Gaussians, or of a few views.

    Args:
        features: Rows that are zero or not finite are left out. [..., d]
        samples: At most this many rows are used, evenly spread.

    Returns:
        A basis for `feature_picture`; its signs and order depend only on the features.
    """
    d = features.shape[-1]
    rows = np.asarray(features, np.float32).reshape(-1, d)
    rows = rows[:: max(1, -(-len(rows) // samples))]
    rows = rows[np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)]
    if not len(rows):
        rows = np.zeros((1, d), np.float32)
    mean = rows.mean(axis=0)
    _, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean))
    directions = np.zeros((3, d), np.float32)
    directions[: min(3, d)] = vectors.T[::-1][:3]
    strongest = directions[np.arange(3), np.abs(directions).argmax(axis=1)]
    directions *= np.where(strongest < 0, -1.0, 1.0)[:, None].astype(np.float32)
    low, high = np.percentile((rows - mean) @ directions.T, [1, 99], axis=0).astype(np.float32)
    return FeatureBasis(mean, directions, low, high)


def feature_picture(
    features: np.ndarray, alpha: np.ndarray | None = None, basis: FeatureBasis | None = None
) -> np.ndarray:
    """Rendered language features as colours: what means the same looks the same.

    Args:
        features: [H, W, d]
        alpha: Accumulated opacity; fades to grey where there is little. [H, W]
        basis: Fit it once and pass it for every view; by default fitted to these features.

    Returns:
        uint8 RGB [H, W, 3]
    """
    features = np.asarray(features, np.float32)
    basis = basis or feature_basis(features)
    there = np.asarray(np.isfinite(features).all(axis=-1))
    coordinates = (np.where(there[..., None], features, basis.mean) - basis.mean) @ basis.directions.T
    span = basis.high - basis.low
    colors = np.where(span > 1e-9, (coordinates - basis.low) / np.maximum(span, 1e-9), 0.5)
    cover = _cover(there, alpha)
    return _fade(255 * np.clip(colors, 0.0, 1.0), cover)


def granularity_picture(
    omega: np.ndarray, alpha: np.ndarray | None = None, *, legend: bool = True
) -> np.ndarray:
    """Which level was learnt at each pixel; grey where no level is clearly best.

    Args:
        omega: Weights of sub-part, part and whole, summing to 1. [H, W, 3]
        alpha: Accumulated opacity; fades to grey where there is little. [H, W]
        legend: Add a band below that names the colours.

    Returns:
        uint8 RGB [H, W, 3], with the legend [H + band, max(W, 200), 3]
    """
    omega = np.asarray(omega, np.float32)
    there = np.asarray(np.isfinite(omega).all(axis=-1))
    omega = np.where(there[..., None], omega, 1 / 3)
    certainty = np.clip(1.5 * omega.max(axis=-1) - 0.5, 0.0, 1.0)[..., None]
    picture = 150 + certainty * (LEVEL_COLORS[omega.argmax(axis=-1)].astype(np.float32) - 150)
    cover = _cover(there, alpha)
    picture = _fade(picture, cover)
    if not legend:
        return picture
    names = lettering.swatch_legend(
        [*zip(LEVEL_COLORS, LEVELS, strict=True), ((150, 150, 150), "undecided")], width=picture.shape[1]
    )
    return lettering.stack([picture, names])


def prompt_picture(photo: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """The points a segmenter was asked about, as dots on the dimmed photo.

    Args:
        photo: uint8 RGB [H, W, 3]
        prompts: x, y in px; points that are not finite are left out. [B, 2]

    Returns:
        uint8 RGB [H, W, 3]
    """
    picture = _to_bytes(0.6 * desaturate(photo).astype(np.float32))
    points = np.asarray(prompts, np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    longest = max(picture.shape[:2])
    radius = max(14, round(longest / 40))  # in sixteenths of a pixel
    for point in points[(np.abs(points) < 2 * longest).all(axis=1)]:
        cv2.circle(picture, _subpixel(point), radius, PROMPT_DOT, -1, cv2.LINE_AA, 4)
    return picture


def _normalized(values: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """Values as shares of a range, 0 where they are not finite or all alike."""
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros_like(values)
    low, high = limits or (float(np.percentile(values[finite], 1)), float(values[finite].max()))
    if high - low < 1e-6:
        return np.zeros_like(values)
    return np.where(finite, np.clip((np.where(finite, values, low) - low) / (high - low), 0.0, 1.0), 0.0)


def _large_pieces(mask: np.ndarray) -> np.ndarray:
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # of the pixels outside the mask
    return (areas >= LARGE_PIECE_SHARE * areas.max())[pieces] & (pieces > 0) if count > 1 else mask


def _checkerboard(height: int, width: int) -> np.ndarray:
    side = int(np.clip(max(height, width) / 24, 4, 24))
    odd = (np.arange(height)[:, None] // side + np.arange(width) // side) % 2
    return np.where(odd[..., None], np.float32(176), np.float32(200)).repeat(3, axis=-1)


def _borders(labels: np.ndarray) -> np.ndarray:
    """Pixels of a mask whose right or lower neighbour, or left or upper one without a mask, differs."""
    edge = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, :-1] |= across
    edge[:-1] |= down
    edge[:, 1:] |= across & (labels[:, :-1] < 0)
    edge[1:] |= down & (labels[:-1] < 0)
    return edge & (labels >= 0)


def _fade(picture: np.ndarray, cover: np.ndarray) -> np.ndarray:
    nothing = np.array(NOTHING, np.float32)
    return _to_bytes(nothing + cover[..., None] * (picture.astype(np.float32) - nothing))


def _subpixel(xy: np.ndarray) -> tuple[int, int]:
    return round(float(xy[0]) * 16), round(float(xy[1]) * 16)


def _cover(there: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Opacity to draw with: 0 where there is nothing, else alpha or 1. float32 [H, W]"""
    if alpha is None:
        return there.astype(np.float32)
    clean = np.nan_to_num(np.asarray(alpha, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.where(there, np.clip(clean, 0.0, 1.0), np.float32(0))


def _as_bool(mask: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(mask)) > 0


def _to_bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 255)).astype(np.uint8)


def _checked_photo(photo: np.ndarray) -> np.ndarray:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo is uint8 [H, W, 3], not {photo.dtype} {list(photo.shape)}")
    return photo


def _same_size(photo: np.ndarray, **maps: np.ndarray | None) -> None:
    for name, values in maps.items():
        if values is not None and np.shape(values) != photo.shape[:2]:
            size, expected = list(np.shape(values)), list(photo.shape[:2])
            raise ValueError(f"{name} is {size}, the photo {expected}: they must be of one size")
