"""Answers: what texts get in one view."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.gaussians import Gaussians, render
from gags.query import lerf_ovs
from gags.query.maps import KNOWN_ALPHA, render_values
from gags.query.relevancy import Queries
from gags.render import Backend


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
    """Render the features of a field into a view; queries need no such picture, see `answer_view`."""
    rendering = render(gaussians, camera, field.features, backend=backend)
    alphas = rendering.alphas
    return RenderedFeatures(rendering.colors / alphas.clamp(min=1e-6)[..., None], alphas >= KNOWN_ALPHA)


def answer_view(
    gaussians: Gaussians,
    field: LanguageField,
    camera: Camera,
    queries: Queries,
    *,
    view: str = "",
    backend: Backend = "auto",
) -> list[Answer]:
    """Answer texts in one view.

    Relevancy is taken of every Gaussian and rendered, one number a text. The paper renders features and
    decodes every pixel: that costs more, and where things overlap a pixel's mean feature may be decoded to
    something that neither of them is.

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
    return answers_in_view(
        gaussians, queries.of_gaussians(field), queries.texts, camera, view=view, backend=backend
    )


def answers_in_view(
    gaussians: Gaussians,
    relevancies: Tensor,
    texts: Sequence[str],
    camera: Camera,
    *,
    view: str = "",
    backend: Backend = "auto",
) -> list[Answer]:
    """The answers of `answer_view`, from the relevancy of every Gaussian to every text [N, T]."""
    drawn = render_values(gaussians, relevancies, camera, backend=backend)
    found = zip(texts, drawn.values, strict=True)
    return [_answer(text, view, relevancy, drawn.known) for text, relevancy in found]


def scores_in_view(gaussians: Gaussians, relevancies: Tensor, camera: Camera) -> list[float]:
    """The scores that `answers_in_view` gives the T texts, without their masks."""
    drawn = render_values(gaussians, relevancies, camera)
    return [_score(relevancy, lerf_ovs.peak(relevancy)) for relevancy in drawn.values]


def _answer(text: str, view: str, relevancy: Tensor, known: Tensor) -> Answer:
    peak = lerf_ovs.peak(relevancy)
    mask = lerf_ovs.mask(fill_uncovered(relevancy, known)) & known
    score = _score(relevancy, peak)
    return Answer(text, view, relevancy.cpu().numpy(), mask.cpu().numpy(), peak, score)


def _score(relevancy: Tensor, peak: tuple[int, int]) -> float:
    return float(relevancy[peak[1], peak[0]])


def fill_uncovered(relevancy: Tensor, known: Tensor) -> Tensor:
    """Give pixels that show nothing the least relevancy of the others, to keep its range. [H, W]"""
    if relevancy.device.type == "cpu":
        values, there = relevancy.numpy(), known.numpy()
        if there.all() or not there.any():
            return relevancy
        return torch.from_numpy(np.where(there, values, values[there].min()))
    least = relevancy.masked_fill(~known, float("inf")).min()  # a GPU is not asked whether there is any
    return torch.where(known | ~known.any(), relevancy, least)


@torch.no_grad()
def granularity_map(rendered: RenderedFeatures, field: LanguageField) -> np.ndarray:
    """Granularity weights ω of sub-part, part and whole at every pixel, 0 where nothing was rendered.

    Returns:
        Weights that sum to 1 where something was rendered. float32 [H, W, 3]
    """
    weights = torch.zeros(*rendered.covered.shape, 3, device=rendered.covered.device)
    weights[rendered.covered] = field.decoder.granularity(rendered.features[rendered.covered]).softmax(dim=-1)
    return weights.cpu().numpy()
