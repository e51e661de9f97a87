"""Answers: what texts get in one view."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gags.capture import View
from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.gaussians import Gaussians, render
from gags.query import lerf_ovs
from gags.query.maps import KNOWN_ALPHA, Renderer, ValueMaps, how_well_shown, render_values
from gags.query.relevancy import Queries
from gags.render import Backend

SHOWN_SHARE = 0.5  # of a pixel that what answers a text must make up


@dataclass(eq=False)
class Answer:
    """What a text points at in one view.

    Attributes:
        text: The query.
        view: Name of the view.
        relevancy: Relevancy of every pixel (Eq. 8), 0 where nothing was rendered. float32 [H, W]
        mask: Pixels that belong to the answer; none where the view does not show it. bool [H, W]
        peak: Column and row of the best place, px; in the mask, if it has any pixel.
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


@torch.no_grad()
def pixel_relevancy(
    gaussians: Gaussians,
    field: LanguageField,
    camera: Camera,
    queries: Queries,
    *,
    backend: Backend = "auto",
) -> ValueMaps:
    """Relevancy (Eq. 8) of rendered features, decoded pixel by pixel, as the paper asks.

    Features are blended before a black background, without division by alpha, as they were in training. So
    pixels that show next to nothing have a relevancy, too: that of the decoded 0.

    Args:
        gaussians: The scene.
        field: Its language field.
        camera: The view.
        queries: The texts, made ready by `Queries.encode`.
        backend: Rasteriser.

    Returns:
        One map a text, with values at all pixels, those that are not known included.
    """
    rendering = render(gaussians, camera, field.features, backend=backend)
    rows = queries.relevancy(rendering.colors.flatten(0, 1), field)  # [H·W, T]
    maps = rows.T.reshape(-1, camera.height, camera.width)
    return ValueMaps(maps.contiguous(), rendering.alphas >= KNOWN_ALPHA)


Asker = Callable[[Camera], ValueMaps]
"""Relevancy of some texts in a view."""


def asker(
    gaussians: Gaussians,
    field: LanguageField,
    queries: Queries,
    *,
    backend: Backend = "auto",
    renderer: Renderer | None = None,
) -> Asker:
    """What answers texts in any number of views, in the way that a field is asked (`LanguageField.asked`).

    "gaussians": relevancy is taken of every Gaussian, once for all views, and rendered, one number a text.
    "pixels" is the paper's way, see `pixel_relevancy`: it costs more, and where things overlap a pixel's
    mean feature may be decoded to something that neither of them is.

    Args:
        gaussians: The scene.
        field: Its language field.
        queries: The texts, made ready by `Queries.encode`.
        backend: Rasteriser.
        renderer: See `gags.query.maps.render_values`; not for pixels.
    """
    if field.asked == "pixels":
        shown = [row for row in range(len(queries.texts)) if queries.example(row) is not None]
        ask = partial(pixel_relevancy, gaussians, field, queries=queries, backend=backend)
        return partial(_with_examples, gaussians, field, queries, shown, ask) if shown else ask
    relevancies = queries.of_gaussians(field)
    return lambda camera: render_values(gaussians, relevancies, camera, backend=backend, renderer=renderer)


def _with_examples(
    gaussians: Gaussians,
    field: LanguageField,
    queries: Queries,
    shown: Sequence[int],
    ask: Asker,
    camera: Camera,
) -> ValueMaps:
    """Maps of pixels, but for texts that mean an example (rows `shown`): these name Gaussians."""
    maps = ask(camera)
    values = maps.values.clone()
    relevancies = queries.subset(shown).of_gaussians(field)
    values[list(shown)] = render_values(gaussians, relevancies, camera).values
    return replace(maps, values=values)


def answer_view(
    gaussians: Gaussians,
    field: LanguageField,
    camera: Camera,
    queries: Queries,
    *,
    chosen: Tensor | None = None,
    view: str = "",
    backend: Backend = "auto",
    renderer: Renderer | None = None,
) -> list[Answer]:
    """Answer texts in one view, in the way that the field is asked (`asker`).

    Args:
        gaussians: The scene.
        field: Its language field.
        camera: The view.
        queries: The texts, made ready by `Queries.encode`.
        chosen: The Gaussians that answer each text in 3D: the mask is what the view shows of them, and the
            peak lies in it. Without, the mask is cut from the relevancy, as the protocol lerf-ovs does.
            bool [T, N]
        view: Name of the view, for the answers.
        backend: Rasteriser.
        renderer: See `gags.query.maps.render_values`.

    Returns:
        One answer a text.
    """
    ask = asker(gaussians, field, queries, backend=backend, renderer=renderer)
    if chosen is None:
        drawn = shown(ask(camera))
        found = zip(queries.texts, drawn.values, strict=True)
        return [_answer_of_map(text, view, relevancy, drawn.known) for text, relevancy in found]
    values, drawn = chosen.T.to(gaussians.means), None
    if field.asked == "pixels":
        drawn = ask(camera)
    else:  # both in one picture
        values = torch.cat([queries.of_gaussians(field), values], dim=1)
    maps = render_values(gaussians, values, camera, backend=backend, renderer=renderer)
    relevancies = maps.values[: -len(chosen)] if drawn is None else shown(drawn).values
    masks = (maps.values[-len(chosen) :] >= SHOWN_SHARE) & maps.known
    found = zip(queries.texts, relevancies, masks, strict=True)
    return [_answer_of_instances(text, view, relevancy, mask) for text, relevancy, mask in found]


def best_views(
    gaussians: Gaussians,
    field: LanguageField,
    views: Sequence[View],
    queries: Queries,
    rows: Sequence[np.ndarray],
    count: int,
) -> list[list[View]]:
    """Photos that show what answers each text, best first; see `gags.Scene.best_views`.

    Args:
        gaussians: The scene.
        field: Its language field.
        views: The photos.
        queries: The texts.
        rows: Gaussians of the best instance of each text, none where nothing answers. int64 [n] each
        count: Photos wanted for each text.
    """
    scores = np.zeros((len(views), len(rows)))
    if any(len(members) for members in rows):
        scores = how_well_shown(gaussians, [view.camera for view in views], rows)
    lost = np.flatnonzero(~scores.any(axis=0)).tolist()
    if lost:
        ask = asker(gaussians, field, queries.subset(lost))
        for number, view in enumerate(views):
            camera = view.camera.within(max(view.camera.width, view.camera.height) // 4)
            scores[number, lost] = view_scores(ask(camera))
    order = np.argsort(-scores, axis=0, kind="stable")[:count]
    return [[views[row] for row in column] for column in order.T]


def view_scores(maps: ValueMaps) -> list[float]:
    """The scores that `answer_view` gives for maps of T texts, without their masks."""
    return [_score(relevancy, lerf_ovs.peak(relevancy)) for relevancy in shown(maps).values]


def shown(maps: ValueMaps) -> ValueMaps:
    """Maps that are 0 where nothing is known."""
    return replace(maps, values=maps.values * maps.known)


def _answer_of_map(text: str, view: str, relevancy: Tensor, known: Tensor) -> Answer:
    mask = lerf_ovs.mask(fill_uncovered(relevancy, known)) & known
    return _answer(text, view, relevancy, mask, lerf_ovs.peak(relevancy))


def _answer_of_instances(text: str, view: str, relevancy: Tensor, mask: Tensor) -> Answer:
    if bool(mask.any()):
        smoothed = torch.where(mask, lerf_ovs.smooth(torch.where(mask, relevancy, 0.0)), -1.0)
        row, column = divmod(int(smoothed.argmax()), relevancy.shape[1])
        peak = column, row
    else:
        peak = lerf_ovs.peak(relevancy)
    return _answer(text, view, relevancy, mask, peak)


def _answer(text: str, view: str, relevancy: Tensor, mask: Tensor, peak: tuple[int, int]) -> Answer:
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
