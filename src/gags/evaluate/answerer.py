"""What answers texts in a view, and so can be scored: a language field, or a method to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gags.capture.camera import Camera
from gags.distill.field import LanguageField
from gags.embed.encoder import Encoder
from gags.gaussians import Gaussians
from gags.query.answers import asker
from gags.query.edit import union
from gags.query.instances import locate_instances
from gags.query.maps import ValueMaps, render_values
from gags.query.relevancy import Queries, Taught
from gags.scene import Scene
from gags.things.things import Things


class Answerer(Protocol):
    """What answers texts in a view: a language field, or a method to compare with."""

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Make texts ready to be asked in any number of views.

        Raises:
            QueryError: If there is no text, a text is empty, or the encoder is not the answerer's.
        """
        ...

    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Where the texts are in a view; one map a text, in their order, at the size of the view."""
        ...


@dataclass(frozen=True, eq=False)
class Selections:
    """The Gaussians that each of some texts names.

    Attributes:
        gaussians: The scene.
        chosen: Which of its N Gaussians each text names. bool [T, N]
        instances: The things that they are, one by one, if the method tells them apart. bool [n, N] a text
    """

    gaussians: Gaussians
    chosen: Tensor
    instances: Sequence[Tensor] | None = None

    @torch.no_grad()
    def shares(self, camera: Camera, texts: Sequence[int]) -> ValueMaps:
        """Share of every pixel that the chosen Gaussians make up: Σ w over them / Σ w over all.

        The whole scene is rendered, with value 1 for the chosen Gaussians and 0 for the others, so that a
        Gaussian in front hides those behind it.

        Args:
            camera: The view.
            texts: Rows of `chosen`.
        """
        rows = torch.tensor(list(texts), device=self.chosen.device)
        if self.instances is None:
            return render_values(self.gaussians, self.chosen[rows].T, camera)
        single = [self.instances[text] for text in texts]
        maps = render_values(self.gaussians, torch.cat([self.chosen[rows], *single]).T, camera)
        unions, *apart = maps.values.split([len(rows), *map(len, single)])
        return ValueMaps(unions, maps.known, instances=apart)


@runtime_checkable
class Selector(Protocol):
    """An answerer that also chooses Gaussians, which the protocols `select-3d` and `things` need."""

    def select(self, queries: Queries) -> Selections:
        """The Gaussians that each text names."""
        ...


@dataclass(frozen=True, eq=False)
class FieldAnswerer:
    """A language field as an answerer, asked as the field says: every Gaussian, or every pixel.

    Attributes:
        gaussians: The scene.
        field: Its language field.
        things: Gives what it consists of, when Gaussians are chosen; with none, these are connected pieces of
            what matches.
        taught: Knows the taught names of the scene; None if there are none.
    """

    gaussians: Gaussians
    field: LanguageField
    things: Callable[[], Things] = Things.none
    taught: Taught | None = None

    @classmethod
    def of(cls, scene: Scene) -> "FieldAnswerer":
        """A scene as an answerer: with its things, and the names that it was taught."""
        return cls(scene.gaussians, scene.field, scene.things, scene.taught)

    def prepare(self, texts: Sequence[str], encoder: Encoder) -> Queries:
        """Texts embedded with the encoder that made the field; see `Queries.encode`."""
        return Queries.encode(texts, encoder, self.field, taught=self.taught)

    def relevancy(self, camera: Camera, queries: Queries) -> ValueMaps:
        """Relevancy (GAGS Eq. 8) of the Gaussians rendered into the view, or of its pixels."""
        return asker(self.gaussians, self.field, queries)(camera)

    def select(self, queries: Queries) -> Selections:
        """The Gaussians of all instances that `locate_instances` finds of texts that are there."""
        found = locate_instances(self.gaussians, self.field, queries, self.things(), there=True)
        count = len(self.gaussians)
        chosen = torch.stack([union(instances, count) for instances in found])
        none = torch.zeros(0, count, dtype=torch.bool)
        single = [torch.stack([one.mask for one in each]) if each else none for each in found]
        return Selections(self.gaussians, chosen, single)
