"""What can be asked where texts are in a view, and so can be scored: a language field, or a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.embed.base import Encoder
from gags.query.locate import MIN_ALPHA, relevancy_maps, render_features
from gags.query.relevancy import Queries
from gags.query.select import select
from gags.render import rasterize
from gags.splats.gaussians import Gaussians

TEXTS_AT_ONCE = 32  # channels rendered together, to bound memory


@dataclass(frozen=True, eq=False)
class RelevancyMaps:
    """Where texts are in one view.

    Attributes:
        maps: Relevancy of every pixel to every text, or the share of it that the Gaussians chosen for a text
            make up; 0 where nothing was rendered. float32 [T, H, W]
        covered: Pixels where enough was rendered to know. bool [H, W]
    """

    maps: np.ndarray
    covered: np.ndarray


class Answerer(Protocol):
    """What can be asked where texts are in a view: a language field, or a baseline."""

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Make texts ready to be asked in any number of views.

        Raises:
            QueryError: If there is no text, a text is empty, or the encoder is not the answerer's.
        """
        ...

    def relevancy(self, camera: Camera, queries: Queries) -> RelevancyMaps:
        """Where the texts are in a view; one map a text, in their order, at the size of the view."""
        ...


@dataclass(frozen=True, eq=False)
class Selections:
    """The Gaussians that each of some texts names.

    Attributes:
        gaussians: The scene.
        chosen: Which of its N Gaussians each text names. bool [T, N]
    """

    gaussians: Gaussians
    chosen: Tensor

    @torch.no_grad()
    def shares(self, camera: Camera, texts: Sequence[int]) -> RelevancyMaps:
        """Share of every pixel that the chosen Gaussians make up: Σ w over them / Σ w over all.

        The whole scene is rendered, with colour 1 for the chosen and 0 for the others, so that what stands
        in front hides what is behind.

        Args:
            camera: The view.
            texts: Rows of `chosen`.
        """
        g = self.gaussians
        parts = []
        alphas = torch.zeros(camera.height, camera.width)
        for rows in torch.tensor(list(texts)).split(TEXTS_AT_ONCE):
            colors = self.chosen[rows.to(self.chosen.device)].T.to(g.means)
            rendering = rasterize(g.means, g.quats, g.scales, g.opacities, colors, camera)
            alphas = rendering.alphas
            share = rendering.colors / alphas.clamp(min=1e-6)[..., None]
            parts.append(torch.where(alphas[..., None] >= MIN_ALPHA, share, 0).permute(2, 0, 1).cpu())
        return RelevancyMaps(torch.cat(parts).contiguous().numpy(), (alphas >= MIN_ALPHA).cpu().numpy())


@runtime_checkable
class Selector(Protocol):
    """What also chooses Gaussians, as the protocol `select-3d` needs."""

    def select(self, queries: Queries) -> Selections:
        """The Gaussians that each text names."""
        ...


@dataclass(frozen=True, eq=False)
class FieldAnswerer:
    """A language field that is asked by rendering its features.

    Attributes:
        gaussians: The scene.
        field: Its language field.
    """

    gaussians: Gaussians
    field: LanguageField

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the field; see `Queries.encode`."""
        return Queries.encode(texts, encoder, self.field)

    def relevancy(self, camera: Camera, queries: Queries) -> RelevancyMaps:
        """Relevancy (GAGS Eq. 8) of the features rendered into the view."""
        rendered = render_features(self.gaussians, self.field, camera)
        return RelevancyMaps(relevancy_maps(rendered, self.field, queries), rendered.covered.cpu().numpy())

    def select(self, queries: Queries) -> Selections:
        """The Gaussians that `gags.query.select` chooses."""
        found = select(self.gaussians, self.field, queries)
        return Selections(self.gaussians, torch.stack([selection.mask for selection in found]))
