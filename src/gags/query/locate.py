"""Where in a view the thing is that a text asks for."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.query import lerf_ovs
from gags.query.relevancy import Queries
from gags.render import Backend, rasterize
from gags.splats.gaussians import Gaussians

MIN_ALPHA = 0.5  # pixels with less are background: nothing is known about them


@dataclass(eq=False)
class Answer:
    """What a text points at in one view.

    Attributes:
        text: The query.
        view: Name of the view.
        relevancy: Relevancy of every pixel (Eq. 8), 0 where nothing was rendered. float32 [H, W]
        mask: Pixels that belong to the answer. bool [H, W]
        peak: Column and row of the best place, px.
        score: Relevancy at the peak, in [0, 1].
    """

    text: str
    view: str
    relevancy: np.ndarray
    mask: np.ndarray
    peak: tuple[int, int]
    score: float


@dataclass(eq=False)
class RenderedFeatures:
    """Features of one view: Σ w f / Σ w.

    Attributes:
        features: Mean feature of what each pixel shows. [H, W, d]
        covered: Pixels where enough was rendered to know. bool [H, W]
    """

    features: Tensor
    covered: Tensor


@torch.no_grad()
def render_features(
    gaussians: Gaussians, field: LanguageField, camera: Camera, *, backend: Backend = "auto"
) -> RenderedFeatures:
    """Render the features of a field into a view; one rendering serves any number of texts."""
    rendering = rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        field.features,
        camera,
        backend=backend,
    )
    alphas = rendering.alphas
    return RenderedFeatures(rendering.colors / alphas.clamp(min=1e-6)[..., None], alphas >= MIN_ALPHA)


def relevancy_maps(rendered: RenderedFeatures, field: LanguageField, queries: Queries) -> np.ndarray:
    """Relevancy of every pixel to every text, 0 where nothing was rendered. float32 [T, H, W]"""
    height, width = rendered.covered.shape
    maps = torch.zeros(height, width, len(queries.texts), device=rendered.covered.device)
    maps[rendered.covered] = queries.relevancy(rendered.features[rendered.covered], field)
    return maps.permute(2, 0, 1).contiguous().cpu().numpy()


def locate(
    gaussians: Gaussians,
    field: LanguageField,
    camera: Camera,
    queries: Queries,
    *,
    view: str = "",
    backend: Backend = "auto",
) -> list[Answer]:
    """Answer texts in one view.

    Args:
        gaussians: The scene.
        field: Its language field.
        camera: The view.
        queries: The texts, made ready by `Queries.encode`.
        view: Name of the view, for the answers.
        backend: Rasteriser.

    Returns:
        One answer a text.
    """
    rendered = render_features(gaussians, field, camera, backend=backend)
    covered = rendered.covered.cpu().numpy()
    maps = relevancy_maps(rendered, field, queries)
    return [
        _answer(text, view, relevancy, covered) for text, relevancy in zip(queries.texts, maps, strict=True)
    ]


def _answer(text: str, view: str, relevancy: np.ndarray, covered: np.ndarray) -> Answer:
    peak = lerf_ovs.peak(relevancy)
    mask = lerf_ovs.mask(fill_uncovered(relevancy, covered)) & covered
    return Answer(text, view, relevancy, mask, peak, float(relevancy[peak[1], peak[0]]))


def fill_uncovered(relevancy: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Give pixels that show nothing the least relevancy of the others, to keep its range."""
    if covered.all() or not covered.any():
        return relevancy
    return np.where(covered, relevancy, relevancy[covered].min())


@torch.no_grad()
def granularity_map(rendered: RenderedFeatures, field: LanguageField) -> np.ndarray:
    """Granularity weights ω of sub-part, part and whole at every pixel, 0 where nothing was rendered.

    Returns:
        Weights that sum to 1 where something was rendered. float32 [H, W, 3]
    """
    weights = torch.zeros(*rendered.covered.shape, 3, device=rendered.covered.device)
    weights[rendered.covered] = field.decoder.granularity(rendered.features[rendered.covered]).softmax(dim=-1)
    return weights.cpu().numpy()
