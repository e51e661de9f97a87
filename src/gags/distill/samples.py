"""Which pixels distillation learns from, which Gaussians make them up, what they should say; evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.evidence import (
    Evidence,
    Gathered,
    ViewEvidence,
    kept_pixels,
    pixel_grid,
    view_evidence,
)
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.files.rows import Rows
from gags.gaussians import Gaussians, blend_weights
from gags.progress import Reporter
from gags.render.cuda_view import to_device
from gags.render.types import BlendWeights
from gags.segment.masks import Masks

GROUP = 16  # pixels of one region that always travel together, so that Eq. 6 has something to compare
LEAST_GROUPS = 2  # of even the smallest region
ENOUGH_FOR = 100_000  # Gaussians that a step's pixels suffice for, see `batch_for`
ROUNDING = 1e-5  # of a sum of weights
RESIDENT_BYTES = 1 << 30  # of samples that a GPU keeps; with more, it gets those of every step anew


def batch_for(size: int, gaussians: int) -> int:
    """A batch grown with the scene, so that its Gaussians are in as many pixels as those of a smaller one.

    What starts at a mean of all photos needs no such thing, what starts at 0 or at random learns from these
    pixels alone.

    Args:
        size: Pixels, or groups of them, that a step takes in scenes of up to `ENOUGH_FOR` Gaussians.
        gaussians: Number of Gaussians.
    """
    return -(-size * max(gaussians, ENOUGH_FOR) // ENOUGH_FOR)


@dataclass(eq=False)
class PixelGroups:
    """Pixels of one photo in groups of `GROUP`, all pixels of a group from one mask.

    Attributes:
        pixels: Column and row. int64 [G, S, 2]
        rows: Mask that each group was drawn from, a row of the photo's masks. int64 [G]
        targets: Masks that cover each pixel on the three levels, -1 where there is none. int64 [G, S, 3]
        density: Expected number of samples per px at each pixel. float32 [G, S]
    """

    pixels: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    density: np.ndarray


@dataclass(eq=False)
class Samples:
    """Sampled pixels of all photos; rows of masks count through all photos.

    Those of many photos lie in the host's memory or in a file, wherever Gaussians are: a GPU gets those of
    one step, so that its memory does not grow with the photos. It keeps those of few photos.

    Attributes:
        indices: Gaussians that make up each pixel; 0 with weight 0 for padding. int32 [G, S, K]
        weights: Their weights as `blended` gives them; all 0 where nothing was hit. float32 [G, S, K]
        targets: Masks that cover each pixel on the three levels, -1 where there is none. int32 [G, S, 3]
        density: Expected number of samples per px at each pixel. float32 [G, S]
        levels: Level of the mask that each group was drawn from. int64 [G]
        areas: Visible area of every mask, px; on the device of the Gaussians. float32 [M]
        stored: What they lie in, if that is to be told that they were read.
    """

    indices: Tensor
    weights: Tensor
    targets: Tensor
    density: Tensor
    levels: Tensor
    areas: Tensor
    stored: tuple[Rows, ...] = ()

    def __len__(self) -> int:
        return self.levels.shape[0]

    def beside(self, device: torch.device) -> "Samples":
        """The same, on a GPU if it is one and they take little of its memory."""
        pixels = [self.indices, self.weights, self.targets, self.density, self.levels]
        if device.type != "cuda" or sum(tensor.nbytes for tensor in pixels) > RESIDENT_BYTES:
            return self
        indices, weights, targets, density, levels = (to_device(tensor, device) for tensor in pixels)
        return Samples(indices, weights, targets, density, levels, self.areas)

    def release(self) -> None:
        """Let go of samples that lie in a file; they are read anew when needed."""
        for rows in self.stored:
            rows.release()


def mask_areas(masks: Masks) -> np.ndarray:
    """Visible area of every mask in its level's label map, px. float32 [M]"""
    areas = np.zeros(len(masks), np.float32)
    for labels in masks.labels:
        areas += np.bincount(labels[labels >= 0].astype(np.int64), minlength=len(masks))
    return areas


def counted_labels(labels: np.ndarray, counted: str) -> np.ndarray:
    """Label maps without the pixels that do not count.

    Args:
        labels: Mask of each pixel on the three levels, -1 where there is none. int [3, H, W]
        counted: The setting: "any-level" leaves the maps as they are, "all-levels" asks for three masks.
    """
    return labels if counted == "any-level" else np.where((labels >= 0).all(axis=0), labels, -1)


def groups_per_region(areas: np.ndarray, pixels: int) -> np.ndarray:
    """How many groups each region of a photo gives: by its area, but at least a few for small ones.

    Args:
        areas: Visible areas of the masks of all levels, px. [M]
        pixels: Pixels to draw from the photo if they all go by area.

    Returns:
        Number of groups, 0 for masks that are painted over. int64 [M]
    """
    wanted = np.round(areas / max(float(areas.sum()), 1.0) * pixels / GROUP)
    return np.where(areas > 0, np.maximum(wanted, LEAST_GROUPS), 0).astype(np.int64)


def draw_pixels(masks: Masks, groups: np.ndarray, rng: np.random.Generator) -> PixelGroups:
    """Draw `groups[m]` groups of pixels from every mask m, spread over the mask.

    Args:
        masks: The photo's masks.
        groups: Number of groups to draw from each mask; 0 for masks of no visible area. int64 [M]
        rng: Random generator.
    """
    areas = mask_areas(masks)
    drawn = [_draw_level(masks, level, areas, groups, rng) for level in range(3)]
    flat = np.concatenate([pixels for pixels, _ in drawn])
    rows = np.concatenate([rows for _, rows in drawn])
    targets = masks.labels.reshape(3, -1)[:, flat].astype(np.int64)
    per_px = np.append(groups * GROUP / np.maximum(areas, 1), 0.0).astype(np.float32)  # [-1] serves "no mask"
    width = masks.labels.shape[2]
    return PixelGroups(
        pixels=np.stack([flat % width, flat // width], axis=-1).reshape(-1, GROUP, 2),
        rows=rows,
        targets=targets.T.reshape(-1, GROUP, 3),
        density=per_px[targets].sum(axis=0).reshape(-1, GROUP),
    )


def _draw_level(
    masks: Masks, level: int, areas: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flat pixel indices [G·S] and the mask of each group [G], for the masks of one level."""
    labels = masks.labels[level].ravel()
    members = np.flatnonzero(masks.levels == level)
    members = members[groups[members] > 0]
    order = np.argsort(labels, kind="stable")  # the pixels of each mask in a row, -1 first
    first = np.searchsorted(labels[order], members)
    wanted = groups[members] * GROUP
    ends = np.cumsum(wanted)
    owner = np.repeat(np.arange(len(members)), wanted)
    rank = np.arange(len(owner)) - (ends - wanted)[owner]
    # Stratified: sample i of n takes a pixel of the i-th n-th of the mask, in raster order.
    position = (rank + rng.random(len(owner))) / wanted[owner] * areas[members][owner]
    position = np.minimum(position.astype(np.int64), areas[members][owner].astype(np.int64) - 1)
    # Group j takes samples j, j + g, j + 2g, ...: every group spans the whole mask.
    group_count = groups[members][owner]
    slot = (ends - wanted)[owner] + rank % group_count * GROUP + rank // group_count
    flat = np.empty(len(owner), np.int64)
    flat[slot] = order[first[owner] + position]
    return flat, np.repeat(members, groups[members])


def one_gaussian(weights: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Let some pixels be made up of one of their Gaussians alone, drawn by its weight.

    Queries ask single Gaussians. If only blended pixels are fitted, single Gaussians are not constrained. If
    only single Gaussians are fitted, each takes the mean of what its pixels show, blurred where things meet.

    Args:
        weights: Blending weights of P pixels, 0 for padding. They sum to 1, or to less where the rest is
            background. [P, K]
        share: Share of the pixels.
        rng: Random generator; on the CPU.

    Returns:
        The weights, one-hot at the chosen pixels; pixels of which nothing was hit stay 0. [P, K]
    """
    uniform = to_device(torch.rand(2, len(weights), 1, generator=rng), weights.device)
    summed, total = weights.cumsum(dim=-1), weights.sum(dim=-1, keepdim=True)
    whole = torch.where(total < 1 - ROUNDING, total, 1.0)
    last = torch.where(weights > 0, torch.arange(weights.shape[1], device=weights.device), 0).amax(-1, True)
    drawn = (summed < uniform[0] * whole).sum(dim=-1, keepdim=True).minimum(last)
    alone = torch.zeros_like(weights).scatter_(1, drawn, 1.0)
    chosen = (uniform[1] < share) & (total > 0)
    return torch.where(chosen, alone, weights)


def normalised(indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Blending weights [..., K] over their sum, padding (-1) turned into index 0 with weight 0."""
    weights = torch.where(indices >= 0, weights, torch.zeros_like(weights))
    total = weights.sum(dim=-1, keepdim=True)
    weights = torch.where(total > 0, weights / total.clamp(min=1e-8), torch.zeros_like(weights))
    return indices.clamp(min=0), weights


def blended(blend: BlendWeights, settings: DistillSettings) -> tuple[Tensor, Tensor]:
    """What pixels are made up of, as the field is asked: see `DistillSettings.asked`.

    Args:
        blend: The strongest Gaussians of P pixels.
        settings: Settings of distillation.

    Returns:
        Gaussians int32 [P, K], 0 for padding, and weights [P, K], 0 for padding, that sum to 1 if Gaussians
        are asked, else to the pixel's alpha: those of the Gaussians that were left out go to the others.
    """
    indices, weights = normalised(blend.indices, blend.weights)
    return indices, weights if settings.asked == "gaussians" else weights * blend.alphas[:, None]


EVIDENCE_PIXELS = 60_000  # of every photo, on a grid: enough that next to no visible Gaussian is missed


@torch.no_grad()
def collect(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    settings: DistillSettings,
    progress: Reporter,
    *,
    with_evidence: bool = True,
    folder: Path | None = None,
) -> tuple[Samples, Evidence]:
    """Sample pixels of all photos and find the Gaussians they are made of.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        settings: Settings of distillation.
        progress: Told about progress.
        with_evidence: Whether evidence is wanted; it is empty if not.
        folder: Where samples and evidence of many photos lie, see `gags.files.rows.Rows`.

    Returns:
        The samples, and which masks every Gaussian is seen in.
    """
    gathered = GatheredSamples(settings.top_k, folder)
    seen = Gathered(len(gaussians), folder)
    first_mask = 0
    with progress.stage("Blending weights", len(items), "photos") as bar:
        for view, (camera, description) in enumerate(items):
            masks = description.masks
            if len(masks):
                rng = np.random.default_rng([settings.seed, view])
                most = EVIDENCE_PIXELS if with_evidence else 0
                samples, evidence = _collect_view(gaussians, camera, masks, first_mask, settings, rng, most)
                gathered.add(samples)
                seen.add(evidence)
            first_mask += len(masks)
            bar.advance()
    return gathered.joined().beside(gaussians.means.device), seen.merged()


class GatheredSamples:
    """Samples of photo after photo: those of many photos lie in a file (`gags.files.rows`).

    Args:
        top_k: Number K of Gaussians of a pixel.
        folder: Where the file lies.
    """

    def __init__(self, top_k: int, folder: Path | None = None) -> None:
        self._rows = {
            "indices": Rows((GROUP, top_k), np.int32, folder),
            "weights": Rows((GROUP, top_k), np.float32, folder),
            "targets": Rows((GROUP, 3), np.int32, folder),
            "density": Rows((GROUP,), np.float32, folder),
        }
        self._parts: dict[str, list[Tensor]] = {"levels": [], "areas": []}

    def add(self, samples: Samples) -> None:
        """Add those of the next photo."""
        for name, rows in self._rows.items():
            rows.append(getattr(samples, name).numpy())
        for name, parts in self._parts.items():
            parts.append(getattr(samples, name))

    def joined(self) -> Samples:
        """Those of all photos."""
        tensors = {name: torch.from_numpy(rows.array()) for name, rows in self._rows.items()}
        tensors |= {name: torch.cat(parts) for name, parts in self._parts.items() if parts}
        return Samples(**tensors, stored=tuple(self._rows.values()))


def _collect_view(
    gaussians: Gaussians,
    camera: Camera,
    masks: Masks,
    first_mask: int,
    settings: DistillSettings,
    rng: np.random.Generator,
    grid_pixels: int,
) -> tuple[Samples, ViewEvidence]:
    """Samples of one photo, and its evidence from a grid of about so many pixels."""
    height, width = masks.labels.shape[1:]
    counted = replace(masks, labels=counted_labels(masks.labels, settings.counted))
    areas = mask_areas(counted)
    drawn = draw_pixels(counted, groups_per_region(areas, settings.pixels_per_photo), rng)
    grid = pixel_grid(width, height, grid_pixels, rng) if grid_pixels else np.zeros((0, 2), np.int64)
    grid = kept_pixels(grid, masks.kept)
    pixels = to_device(np.concatenate([drawn.pixels.reshape(-1, 2), grid]), gaussians.means.device)
    blend = blend_weights(
        gaussians,
        camera.resized(width, height),
        pixels,
        top_k=settings.top_k,
    )
    count = drawn.pixels.shape[0] * GROUP
    labels = masks.labels[:, grid[:, 1], grid[:, 0]].T
    evidence = view_evidence(blend.indices[count:], blend.weights[count:], labels, len(masks))
    samples = BlendWeights(blend.indices[:count], blend.weights[:count], blend.alphas[:count])
    indices, weights = blended(samples, settings)
    return _samples(drawn, indices, weights, masks, areas, first_mask), evidence


def _samples(
    drawn: PixelGroups, indices: Tensor, weights: Tensor, masks: Masks, areas: np.ndarray, first_mask: int
) -> Samples:
    device = indices.device
    targets = np.where(drawn.targets >= 0, drawn.targets + first_mask, -1).astype(np.int32)
    return Samples(
        indices=indices.reshape(-1, GROUP, indices.shape[-1]).cpu(),
        weights=weights.reshape(-1, GROUP, weights.shape[-1]).cpu(),
        targets=torch.from_numpy(targets),
        density=torch.from_numpy(drawn.density),
        levels=torch.from_numpy(masks.levels[drawn.rows].astype(np.int64)),
        areas=to_device(areas, device),
    )
