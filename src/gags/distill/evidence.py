"""What all photos together say about every Gaussian: which masks cover it, and how much of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn.functional import embedding_bag

from gags.capture import Camera
from gags.distill import entries, evidence_gpu
from gags.distill.entries import add_entries, add_photos, blocks_of, hand_out, keep_columns
from gags.distill.evidence_gpu import LEAST_WEIGHT
from gags.embed.description import Description
from gags.files.rows import Rows
from gags.gaussians import Gaussians, blend_weights
from gags.progress import SILENT, Reporter
from gags.render.cuda_view import to_device

READ_AT_ONCE = 1 << 17  # entries of Gaussians here and there: each brings 64 KB of its file along
UPLIFTED_ENTRIES = 1 << 21  # at once: of each, numbers of 40 bytes are made
GRID_PIXELS = 40_000  # of every photo: enough that next to no visible Gaussian is missed


@dataclass(eq=False)
class ViewEvidence:
    """What one photo says: a sparse matrix of Gaussians and masks, entries sorted by Gaussian.

    The sum of blending weights, over the pixels looked at, of Gaussian i in mask m is the entry (i, m). One
    more column, M, holds the weights over all pixels, covered by a mask or not.

    Attributes:
        gaussians: Gaussian of each entry. int32 [E]
        masks: Mask of each entry, M for the photo as a whole. int32 [E]
        weights: float32 [E]
        count: Number M of masks of the photo.
    """

    gaussians: np.ndarray
    masks: np.ndarray
    weights: np.ndarray
    count: int


@dataclass(eq=False)
class Evidence:
    """The same for all photos: rows are Gaussians, columns all masks (M), then all photos (V).

    Entries of many photos lie in a file (`gags.files.rows`); whoever reads all of them does so in `blocks`.

    Attributes:
        starts: First entry of each Gaussian, and the end. int64 [N + 1]
        columns: Mask, or M + photo. int32 [E]
        weights: Sum of blending weights over the pixels looked at. float32 [E]
        view_of: Photo of each column. int32 [M + V]
        stored: What the entries lie in, if that is to be told that they were read.
    """

    starts: np.ndarray
    columns: np.ndarray
    weights: np.ndarray
    view_of: np.ndarray
    stored: tuple[Rows, ...] = ()

    @property
    def mask_count(self) -> int:
        """Number M of masks of all photos."""
        return len(self.view_of) - self.view_count

    @property
    def view_count(self) -> int:
        """Number V of photos."""
        return int(self.view_of[-1]) + 1 if len(self.view_of) else 0

    def masks_of(self, view: int) -> range:
        """Masks of one photo."""
        first, end = np.searchsorted(self.view_of[: self.mask_count], [view, view + 1]).tolist()
        return range(first, end)

    def blocks(self, most: int | None = None) -> Iterator[tuple[int, int]]:
        """First Gaussian of every block, and the end: with at most so many entries, by default as many as one
        works on at once."""
        yield from blocks_of(self.starts, entries.BLOCK_ENTRIES if most is None else most, self.release)

    def release(self) -> None:
        """Let go of entries that lie in a file; they are read anew when needed."""
        for rows in self.stored:
            rows.release()

    def sizes(self) -> np.ndarray:
        """Weight in every mask, and in every photo. float64 [M + V]"""
        sums = np.zeros(len(self.view_of))
        for first, end in self.blocks():
            add_entries(self.starts, self.columns, self.weights, np.arange(first, end), sums)
        return sums

    def seen(self) -> np.ndarray:
        """Weight of every Gaussian over all pixels looked at of all photos. float64 [N]"""
        sums = np.zeros(len(self.starts) - 1)
        for first, end in self.blocks():
            add_photos(self.starts, self.columns, self.weights, self.mask_count, first, end, sums)
        return sums

    def shared(self, rows: np.ndarray) -> np.ndarray:
        """Weight that Gaussians [n] share with every mask, and with every photo. float64 [M + V]"""
        sums = np.zeros(len(self.view_of))
        add_entries(self.starts, self.columns, self.weights, np.ascontiguousarray(rows, np.int64), sums)
        self.release()
        return sums

    def of_gaussians(self, rows: np.ndarray) -> "Evidence":
        """What is known of some Gaussians [n] alone; all masks and photos stay. Much of it lies in a file."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        folder = self.stored[0].folder if self.stored else None
        columns, weights = Rows((), np.int32, folder), Rows((), np.float32, folder)
        for first, end in blocks_of(starts, READ_AT_ONCE):
            here = lengths[first:end]
            places = np.repeat(self.starts[rows[first:end]] - (starts[first:end] - starts[first]), here)
            places += np.arange(len(places))
            columns.append(self.columns[places])
            weights.append(self.weights[places])
            self.release()
        return Evidence(starts, columns.array(), weights.array(), self.view_of, (columns, weights))

    def of_photos(self, photos: np.ndarray) -> "Evidence":
        """What some photos [n], in order, and their masks say; both are numbered anew."""
        kept = np.isin(self.view_of, photos)
        place = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
        view_of = np.searchsorted(photos, self.view_of[kept]).astype(np.int32)
        starts, columns, weights = keep_columns(self.starts, self.columns, self.weights, place)
        return Evidence(starts, columns, weights, view_of)


def pixel_grid(width: int, height: int, most: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Pixels of a photo on a regular grid.

    Args:
        width: Of the photo, px.
        height: Of the photo, px.
        most: About how many pixels, at most.
        rng: Draws where the grid begins; without it, it lies in the middle.

    Returns:
        x, y of each. int64 [P, 2]
    """
    stride = max(1, int(np.ceil(np.sqrt(width * height / most))))
    left, top = (stride // 2, stride // 2) if rng is None else rng.integers(stride, size=2)
    xs, ys = np.arange(left, width, stride), np.arange(top, height, stride)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def kept_pixels(pixels: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """Those of some pixels (x, y) [P, 2] that count, see `Masks.kept`. int64 [≤ P, 2]"""
    return pixels if kept is None else pixels[kept[pixels[:, 1], pixels[:, 0]]]


def view_evidence(indices: Tensor, weights: Tensor, labels: np.ndarray, mask_count: int) -> ViewEvidence:
    """Sum up one photo's pixels, where they lie.

    Args:
        indices: Gaussians that make up each pixel, -1 for padding. [P, K]
        weights: Their blending weights. [P, K]
        labels: Masks that cover each pixel on the three levels, -1 where there is none. int [P, 3]
        mask_count: Number M of masks of the photo.
    """
    if indices.device.type == "cuda":
        there = to_device(np.ascontiguousarray(labels, np.int32), indices.device)
        summed = evidence_gpu.view_entries(indices, weights, there, mask_count)
        # A GPU holds the entries of one photo at a time: those of all would grow with the photos.
        gaussians, masks, sums = (part.cpu().numpy() for part in summed)
        return ViewEvidence(gaussians, masks, sums, mask_count)
    flat, blend = indices.cpu().numpy().reshape(-1), weights.cpu().numpy().reshape(-1)
    used = np.flatnonzero((flat >= 0) & (blend > LEAST_WEIGHT))
    order = used[np.argsort(flat[used], kind="stable")]
    gaussians, masks, sums = _sum_entries(
        flat[order].astype(np.int32),
        blend[order].astype(np.float32),
        np.ascontiguousarray(labels[order // indices.shape[1]], np.int32),
        mask_count,
    )
    return ViewEvidence(gaussians, masks, sums, mask_count)


@torch.no_grad()
def gather_evidence(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    *,
    stage: str,
    folder: Path | None = None,
    progress: Reporter = SILENT,
) -> tuple[Evidence, np.ndarray]:
    """Which masks of which photos cover every Gaussian, looked up on a grid of pixels of each photo.

    Distillation, which needs the weights of other pixels as well, gathers its own in the same pass
    (`gags.distill.samples`).

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo, each read once.
        stage: Name of what is done, for the progress.
        folder: Where entries of many photos lie meanwhile, see `gags.files.rows.Rows`.
        progress: Told about progress.

    Returns:
        The evidence, and the level (0, 1, 2) of every mask, int8 [M].
    """
    gathered = Gathered(len(gaussians), folder)
    levels = [np.zeros(0, np.int8)]
    with progress.stage(stage, len(items), "photos") as bar:
        for camera, description in items:
            masks = description.masks
            height, width = masks.labels.shape[1:]
            grid = kept_pixels(pixel_grid(width, height, GRID_PIXELS), masks.kept)
            pixels = to_device(grid, gaussians.means.device)
            blend = blend_weights(gaussians, camera.resized(width, height), pixels)
            labels = masks.labels[:, grid[:, 1], grid[:, 0]].T
            gathered.add(view_evidence(blend.indices, blend.weights, labels, len(masks)))
            levels.append(masks.levels)
            bar.advance()
    return gathered.merged(), np.concatenate(levels)


class Gathered:
    """Evidence of photo after photo, to be merged.

    Args:
        gaussian_count: Number N of Gaussians.
        folder: Where entries of many photos lie, see `gags.files.rows.Rows`.
    """

    def __init__(self, gaussian_count: int, folder: Path | None = None) -> None:
        self._folder = folder
        self._gaussians, self._masks = Rows((), np.int32, folder), Rows((), np.int32, folder)
        self._weights = Rows((), np.float32, folder)
        self._starts = [0]  # first entry of each photo
        self._mask_counts: list[int] = []  # of each photo
        self._entry_counts = np.zeros(gaussian_count, np.int64)  # of each Gaussian

    def add(self, view: ViewEvidence) -> None:
        """Add the next photo."""
        self._gaussians.append(view.gaussians)
        self._masks.append(view.masks)
        self._weights.append(view.weights)
        self._starts.append(len(self._gaussians))
        self._mask_counts.append(view.count)
        self._entry_counts += np.bincount(view.gaussians, minlength=len(self._entry_counts))

    def merged(self) -> Evidence:
        """Put the photos' entries together, Gaussian by Gaussian."""
        starts = np.zeros(len(self._entry_counts) + 1, np.int64)
        np.cumsum(self._entry_counts, out=starts[1:])
        columns, weights = Rows((), np.int32, self._folder), Rows((), np.float32, self._folder)
        added = (self._gaussians, self._masks, self._weights)
        firsts = np.cumsum([0, *self._mask_counts])

        def release() -> None:
            for rows in added:
                rows.release()

        for first, end in blocks_of(starts, entries.BLOCK_ENTRIES, release):
            size = int(starts[end] - starts[first])
            block_columns, block_weights = np.empty(size, np.int32), np.empty(size, np.float32)
            hand_out(
                *(rows.array() for rows in added),
                photos=np.array(self._starts, np.int64),
                firsts=firsts,
                cursors=starts[first:end] - starts[first],
                first=first,
                columns=block_columns,
                out_weights=block_weights,
            )
            columns.append(block_columns)
            weights.append(block_weights)
        numbers = np.arange(len(self._mask_counts), dtype=np.int32)
        view_of = np.concatenate([np.repeat(numbers, self._mask_counts), numbers])
        return Evidence(starts, columns.array(), weights.array(), view_of, (columns, weights))


def merge(views: Sequence[ViewEvidence], gaussian_count: int) -> Evidence:
    """Put the photos' entries together, Gaussian by Gaussian."""
    gathered = Gathered(gaussian_count)
    for view in views:
        gathered.add(view)
    return gathered.merged()


def uplift(evidence: Evidence, values: Tensor, mask_weights: Tensor) -> Tensor:
    """Weighted mean of what every Gaussian's pixels see, Σ w F / Σ w (Occam's LGS).

    It is computed where the values are, to which entries are sent block by block.

    Args:
        evidence: Of N Gaussians and M masks.
        values: What each mask says. [M, d]
        mask_weights: How much each mask counts, 0 to leave it out. [M]

    Returns:
        float32 [N, d]; 0 for Gaussians that no mask covers.
    """
    device = values.device
    with_ones = torch.cat([values.float(), torch.ones(len(values), 1, device=device)], dim=1)
    counts, means = mask_weights.to(device), [values[:0].float()]
    for first, end in evidence.blocks(UPLIFTED_ENTRIES):
        begin, behind = evidence.starts[first], evidence.starts[end]
        is_mask = evidence.columns[begin:behind] < evidence.mask_count
        columns = to_device(evidence.columns[begin:behind][is_mask].astype(np.int64), device)
        offsets = np.concatenate([[0], np.cumsum(is_mask)])[evidence.starts[first:end] - begin]
        weights = to_device(evidence.weights[begin:behind][is_mask], device) * counts[columns]
        sums = embedding_bag(
            columns, with_ones, to_device(offsets, device), mode="sum", per_sample_weights=weights
        )
        means.append(sums[:, :-1] / sums[:, -1:].clamp(min=1e-8))
    return torch.cat(means)


@njit(cache=True)
def _sum_entries(
    gaussians: np.ndarray, weights: np.ndarray, labels: np.ndarray, mask_count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Entries of ViewEvidence from contributions sorted by Gaussian, each with its pixel's labels.

    Args:
        gaussians: Gaussian of each contribution, in order. int32 [C]
        weights: Their blending weights. float32 [C]
        labels: Masks that cover each one's pixel on the three levels, -1 where there is none. int32 [C, 3]
        mask_count: Number M of masks; the photo as a whole counts as mask M.

    Returns:
        Gaussian, mask and sum of weights of each entry. int32 [E], int32 [E], float32 [E]
    """
    size = len(gaussians)
    # A contribution adds to the photo and to at most one mask on each level, so to four entries at most.
    out_gaussians = np.empty(4 * size, np.int32)
    out_masks = np.empty(4 * size, np.int32)
    out_weights = np.empty(4 * size, np.float32)
    sums = np.zeros(mask_count + 1, np.float32)
    touched = np.empty(mask_count + 1, np.int32)
    count, first = 0, 0
    while first < size:
        # Sum one Gaussian's weights mask by mask, and list which masks it touches.
        last, found = first, 0
        while last < size and gaussians[last] == gaussians[first]:
            for level in range(labels.shape[1] + 1):
                mask = mask_count if level == labels.shape[1] else labels[last, level]
                if mask < 0:
                    continue
                if sums[mask] == 0:
                    touched[found] = mask
                    found += 1
                sums[mask] += weights[last]
            last += 1
        # Write its entries, and clear the sums of these masks alone.
        for k in range(found):
            mask = touched[k]
            out_gaussians[count], out_masks[count], out_weights[count] = gaussians[first], mask, sums[mask]
            sums[mask] = 0
            count += 1
        first = last
    return out_gaussians[:count].copy(), out_masks[:count].copy(), out_weights[:count].copy()
