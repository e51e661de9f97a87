"""The schedule `photo`: a step learns from one photo, at a share of its size, as in the released program."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, embedding_bag

from gags.capture.camera import Camera
from gags.distill import losses
from gags.distill.decoder import Decoder
from gags.distill.mixed import RELEASED_EVERY, batch_of
from gags.distill.objective import Targets, Terms, Units, Weighed, pixel_losses, weigh_levels
from gags.distill.samples import batch_for, blended, counted_labels
from gags.distill.settings import DistillSettings
from gags.embed.description import Description
from gags.files.rows import Rows
from gags.gaussians import Gaussians, blend_weights, render
from gags.progress import Reporter
from gags.render.cuda_view import to_device

CPU_PIXELS = 1024  # a step, where the settings leave it open: a CPU would take 6 s for all of 320×240
# Levels from smoothed ω need the whole photo rendered, 20 times the work of 1024 pixels. They change fast at
# first, then slowly: every visit of a photo renews them at first, later only some do.
RENEWED_ALWAYS = 10  # visits
RENEWED_EVERY = 10  # visits
NOTHING = torch.zeros(0)  # stands for what lies in a file until all photos do


@dataclass(eq=False)
class PhotoPixels:
    """Pixels of one photo that a step may draw; P of them.

    All but the levels lies in the host's memory or in a file, wherever Gaussians are: a GPU gets what a step
    needs, so that its memory does not grow with the photos.

    Attributes:
        camera: Of the photo, at the size that it is learnt from.
        places: Row · width + column of each pixel. int64 [P]
        targets: Masks of all photos that cover each pixel on the three levels, -1 where there is none.
            int32 [P, 3]
        indices: Gaussians that make up each pixel, or None where whole photos are rendered. int32 [P, K]
        weights: Their weights, as `samples.blended` gives them. float32 [P, K]
        levels: Level of the largest smoothed ω at each pixel, as of the last time it was renewed; where the
            Gaussians are. int8 [P]
        stored: What all photos lie in, if that is to be told that they were read.
    """

    camera: Camera
    places: Tensor
    targets: Tensor
    indices: Tensor | None
    weights: Tensor | None
    levels: Tensor
    stored: tuple[Rows, ...] = ()

    def __len__(self) -> int:
        return len(self.levels)

    def release(self) -> None:
        """Let go of pixels that lie in a file, of all photos; they are read anew when needed."""
        for rows in self.stored:
            rows.release()


class PhotoSchedule:
    """Steps on one photo each: permutation after permutation of the photos.

    With `step_pixels` above 0, a step draws so many pixels of a photo from at most `pixels_per_photo` whose
    blending weights were computed once. With 0, the whole photo is rendered at every step, with all of its
    Gaussians, which is faster on a GPU and needs no memory that grows with the photos.

    Args:
        gaussians: The scene.
        photos: Pixels of all photos that have any.
        targets: What the masks say.
        settings: Settings.
    """

    def __init__(
        self, gaussians: Gaussians, photos: list[PhotoPixels], targets: Targets, settings: DistillSettings
    ) -> None:
        self.gaussians, self.photos, self.targets, self.settings = gaussians, photos, targets, settings
        self._smoothed = settings.region_smoothing > 1 and targets.logits is None
        self._pixels = step_pixels(settings, gaussians.means.device)

    def state(self) -> dict[str, Tensor]:
        """Levels of all pixels, which are not renewed at every visit. int8 [sum of P]"""
        kept = self._smoothed and self._pixels > 0
        return {"levels": torch.cat([photo.levels for photo in self.photos])} if kept else {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        if "levels" in tensors:
            parts = tensors["levels"].split([len(photo) for photo in self.photos])
            for photo, levels in zip(self.photos, parts, strict=True):
                photo.levels = levels.to(photo.levels.device)

    def terms(self, features: Tensor, decoder: Decoder, step: int) -> Terms:
        """Terms of Eq. 7 on pixels of the photo of one step.

        Args:
            features: Features of the Gaussians. [N, d]
            decoder: The decoder.
            step: Number of this step.
        """
        seed = self.settings.seed
        photo = self.photos[int(batch_of(len(self.photos), 1, step, seed))]
        if step % RELEASED_EVERY == 0:
            photo.release()
        if self._pixels == 0:
            return self._whole_photo(features, decoder, photo)
        visits = step // len(self.photos)
        if self._smoothed and (visits < RENEWED_ALWAYS or visits % RENEWED_EVERY == 0):
            with torch.no_grad():
                photo.levels = self.smoothed_levels(decoder, photo, self._rendered(features, photo)[0])
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        grows = self.settings.step_pixels is None and self.settings.start == "zero"
        size = batch_for(self._pixels, len(features)) if grows else self._pixels
        rows = torch.randperm(len(photo), generator=rng)[:size]
        return self.pixel_terms(features, decoder, photo, rows)

    def pixel_terms(self, features: Tensor, decoder: Decoder, photo: PhotoPixels, rows: Tensor) -> Terms:
        """Terms of Eq. 7 on some pixels of a photo whose blending weights are known.

        Args:
            features: Features of the Gaussians. [N, d]
            decoder: The decoder.
            photo: The photo.
            rows: Which of its pixels; on the CPU. int64 [Q]
        """
        assert photo.indices is not None
        assert photo.weights is not None
        device = features.device
        indices, weights = to_device(photo.indices[rows], device), to_device(photo.weights[rows], device)
        rendered = embedding_bag(indices, features, per_sample_weights=weights, mode="sum")
        hit = weights.sum(dim=-1) > 0
        levels = photo.levels[to_device(rows, device)] if self._smoothed else None
        return self._terms(decoder, rendered, hit, to_device(photo.targets[rows], device), levels)

    def _whole_photo(self, features: Tensor, decoder: Decoder, photo: PhotoPixels) -> Terms:
        """The same on all pixels, from the photo rendered with all of its Gaussians."""
        image, alphas = self._rendered(features, photo)
        places, targets = to_device(photo.places, image.device), to_device(photo.targets, image.device)
        rendered = image.flatten(0, 1)[places]
        levels = None
        if self._smoothed:
            with torch.no_grad():
                levels = self.smoothed_levels(decoder, photo, image.detach())
        return self._terms(decoder, rendered, alphas.flatten()[places] > 0, targets, levels)

    def _rendered(self, features: Tensor, photo: PhotoPixels) -> tuple[Tensor, Tensor]:
        """Features of all pixels of a photo [h, w, d], as the field is asked, and alphas [h, w]."""
        rendering = render(self.gaussians, photo.camera, features)
        if self.settings.asked == "pixels":
            return rendering.colors, rendering.alphas
        return rendering.colors / rendering.alphas.clamp(min=1e-8)[..., None], rendering.alphas

    def smoothed_levels(self, decoder: Decoder, photo: PhotoPixels, image: Tensor) -> Tensor:
        """Level of the largest ω after a mean filter over the photo, among the levels with a mask.

        Args:
            decoder: The decoder.
            photo: The photo.
            image: Features of all of its pixels. [h, w, d]

        Returns:
            For each pixel that may be drawn. int8 [P]
        """
        side = self.settings.region_smoothing
        parts = [decoder.granularity(part) for part in decoder.chunks(image.flatten(0, 1))]
        omega = torch.cat(parts).softmax(dim=-1).T.reshape(-1, *image.shape[:2])
        # At the photo's edge, the mean is one over the pixels that are there.
        smooth = avg_pool2d(omega, side, stride=1, padding=side // 2, count_include_pad=False)
        smooth = smooth.flatten(1)[:, to_device(photo.places, image.device)].T
        nothing = to_device(photo.targets, image.device) < 0
        return smooth.masked_fill(nothing, -1.0).argmax(dim=-1).to(torch.int8)

    def _terms(
        self, decoder: Decoder, rendered: Tensor, hit: Tensor, targets: Tensor, levels: Tensor | None
    ) -> Terms:
        """Terms of Eq. 7 on pixels of one photo, whatever they were rendered from.

        Args:
            decoder: The decoder.
            rendered: Features of the pixels. [Q, d]
            hit: Whether there is a Gaussian at the pixel. bool [Q]
            targets: Masks of all photos that cover each pixel, -1 where there is none. int32 [Q, 3]
            levels: Level of the region that each pixel is in; None for that of the largest ω. [Q]
        """
        settings = self.settings
        valid = (targets >= 0) & hit[:, None]
        masks = targets.long().clamp(min=0)
        weighed = weigh_levels(decoder, rendered, valid, masks, self.targets, settings)
        pixel_loss = pixel_losses(decoder, weighed, masks, self.targets, settings)
        covered = weighed.omega.sum(dim=-1) > 0
        regions, count = _regions(weighed, masks, levels, covered)
        pixel_loss = pixel_loss[covered]
        if settings.region_aware:
            pixel_loss = losses.mean_of_regions(pixel_loss, regions, count)
        spread = losses.spread_of_pixels(rendered[covered], regions, count)
        if settings.consistency_by == "region":
            spread = losses.mean_of_regions(spread, regions, count)
        consistency = _mean(spread) * Units.of(settings, decoder).variance
        return Terms(_mean(pixel_loss), consistency, weighed.entropy, weighed.divergence)


def _regions(weighed: Weighed, masks: Tensor, levels: Tensor | None, covered: Tensor) -> tuple[Tensor, int]:
    """Number of the region of each covered pixel, and how many regions there are."""
    level = weighed.omega.detach().argmax(dim=-1) if levels is None else levels.long()
    ids, regions = torch.unique(masks.gather(-1, level[:, None])[covered, 0], return_inverse=True)
    return regions, len(ids)


def _mean(values: Tensor) -> Tensor:
    """The mean; 0 of nothing."""
    return values.sum() / max(1, len(values))


def step_pixels(settings: DistillSettings, device: torch.device) -> int:
    """Pixels a step, 0 for all: the setting, or what suits the device."""
    if settings.step_pixels is not None:
        return settings.step_pixels
    return 0 if device.type == "cuda" else CPU_PIXELS


@torch.no_grad()
def collect_photos(
    gaussians: Gaussians,
    items: Sequence[tuple[Camera, Description]],
    settings: DistillSettings,
    progress: Reporter,
    *,
    folder: Path | None = None,
) -> list[PhotoPixels]:
    """The pixels of all photos that steps may draw; photos without any are left out.

    Args:
        gaussians: The scene.
        items: Camera and masks of every photo.
        settings: Settings of distillation.
        progress: Told about progress.
        folder: Where the pixels of many photos lie, see `gags.files.rows.Rows`.
    """
    photos: list[PhotoPixels] = []
    first_mask = 0
    drawn = step_pixels(settings, gaussians.means.device) > 0
    kept = _kept_rows(settings.top_k, drawn, folder)
    with progress.stage("Blending weights", len(items), "photos") as bar:
        for view, (camera, description) in enumerate(items):
            photo = _photo_pixels(gaussians, camera, description, first_mask, settings, view)
            if len(photo):
                for name, rows in kept.items():
                    rows.append(getattr(photo, name).numpy())
                photos.append(replace(photo, stored=tuple(kept.values()), **dict.fromkeys(kept, NOTHING)))
            first_mask += len(description.masks)
            bar.advance()
    first = 0
    for photo in photos:
        behind = first + len(photo)
        for name, rows in kept.items():
            setattr(photo, name, torch.from_numpy(rows.array()[first:behind]))
        first = behind
    return photos


def _kept_rows(top_k: int, drawn: bool, folder: Path | None) -> dict[str, Rows]:
    """What of `PhotoPixels` lies in a file if there are many photos; whole photos need no Gaussians."""
    kept = {"targets": Rows((3,), np.int32, folder), "places": Rows((), np.int64, folder)}
    if drawn:
        kept |= {"indices": Rows((top_k,), np.int32, folder), "weights": Rows((top_k,), np.float32, folder)}
    return kept


def _photo_pixels(
    gaussians: Gaussians,
    camera: Camera,
    description: Description,
    first_mask: int,
    settings: DistillSettings,
    view: int,
) -> PhotoPixels:
    """Pixels of one photo, whose masks count from `first_mask`."""
    labels = shrink_labels(description.masks.labels, settings.photo_scale)
    _, height, width = labels.shape
    small = camera.resized(width, height)
    labels = counted_labels(labels, settings.counted).reshape(3, -1)
    places = np.flatnonzero((labels >= 0).any(axis=0))
    device = gaussians.means.device
    drawn = step_pixels(settings, device) > 0
    if drawn and len(places) > settings.pixels_per_photo:
        rng = np.random.default_rng([settings.seed, view])
        places = np.sort(rng.choice(places, settings.pixels_per_photo, replace=False))
    targets = labels[:, places].T.astype(np.int32)
    targets = torch.from_numpy(np.where(targets >= 0, targets + first_mask, -1).astype(np.int32))
    indices = weights = None
    if drawn:
        pixels = to_device(np.stack([places % width, places // width], axis=-1), device)
        blend = blend_weights(gaussians, small, pixels, top_k=settings.top_k)
        indices, weights = (part.cpu() for part in blended(blend, settings))
    levels = torch.zeros(1, dtype=torch.int8, device=device).expand(len(places))  # one number until renewed
    return PhotoPixels(small, torch.from_numpy(places), targets, indices, weights, levels)


def shrink_labels(labels: np.ndarray, scale: float) -> np.ndarray:
    """Label maps at another size: every pixel takes the label at its centre.

    Args:
        labels: [3, H, W]
        scale: Above 0, at most 1.

    Returns:
        [3, h, w], both sides at least 1.
    """
    _, height, width = labels.shape
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    rows = ((np.arange(h) + 0.5) * height / h).astype(np.int64)
    columns = ((np.arange(w) + 0.5) * width / w).astype(np.int64)
    return labels[:, rows[:, None], columns[None]]
