"""What can be asked where texts are in a view, and so can be scored: a language field, or a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.embed.base import Encoder
from gags.query.locate import relevancy_maps, render_features
from gags.query.relevancy import Queries
from gags.splats.gaussians import Gaussians


@dataclass(frozen=True, eq=False)
class RelevancyMaps:
    """Where texts are in one view.

    Attributes:
        maps: Relevancy of every pixel to every text, 0 where nothing was rendered. float32 [T, H, W]
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
