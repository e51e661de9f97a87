"""What a text names in 3D: every single thing, part or union of things, as Gaussians with a box."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox
from gags.query.choose import Chooser, Fits, fits_of_means, margins_of_masks
from gags.query.frame import Unit
from gags.query.pieces import pieces_of
from gags.query.reach import Reach, needed_margin
from gags.query.relevancy import Queries
from gags.query.space import Space
from gags.things.things import Things

PART_SCORE = 0.5  # of the score of the plain answer that a part and its whole must reach both
NAME_SAY = 0.75  # of the part's name, against all of the text, in which part of a whole it is
PART_UNSURE = 0.3  # below `least_match` that a part's name may score: encoders know parts less well


@dataclass(eq=False)
class Instance:
    """One thing that answers a text.

    Attributes:
        text: The query.
        mask: Its Gaussians, on the CPU. bool [N]
        score: Their mean relevancy without floaters, weighted by opacity, in [0, 1].
        around: Makes `box`.
        views: Number of photos that see it (`gags.query.maps`), those held out included; 0 if not counted.
        thing: Row of the scene's things; None for a connected piece of a scene without masks.
        part_of: Row of the thing that it is a part of, None if it stands for itself.
        also: Further things that are pieces of it, where no mask holds all of it.
        certain: Whether it was pointed at, by a click or by one that taught the text.
    """

    text: str
    mask: Tensor
    score: float
    around: Callable[[], OrientedBox] = field(repr=False)
    views: int = 0
    thing: int | None = None
    part_of: int | None = None
    also: tuple[int, ...] = ()
    certain: bool = False

    @cached_property
    def box(self) -> OrientedBox:
        """The box around them, in the capture's own frame and units: gags keeps both as they are.

        It is made when it is first wanted; an answer in a view needs none.
        """
        return self.around()

    def to_json(self, unit: Unit | None = None) -> dict[str, Any]:
        """What `gags locate --json` prints of it; lengths and coordinates in the units of the capture.

        Args:
            unit: Adds `unit`: its name, and center and size of the box in it.
        """
        found = {
            "text": self.text,
            "score": round(self.score, 4),
            "views": self.views,
            "gaussians": int(self.mask.sum()),
            "thing": self.thing,
            "part_of": self.part_of,
            "also": list(self.also),
            "center": self.box.center.tolist(),
            "box": {
                "size": self.box.size.tolist(),
                "axes": self.box.axes.tolist(),
                "corners": self.box.corners.tolist(),
            },
        }
        return found if unit is None else found | {"unit": unit.to_json(self.box)}


@torch.no_grad()
def locate_instances(
    gaussians: Gaussians,
    field: LanguageField,
    queries: Queries,
    things: Things,
    *,
    space: Space | None = None,
    chooser: Chooser | None = None,
    there: bool = False,
) -> list[list[Instance]]:
    """Find every instance of what each text names.

    Which thing it is, how much of it, and which others are of its kind, is chosen in the hierarchy of things
    (`Chooser`). A scene without masks has none: connected pieces of what matches answer there.

    Args:
        gaussians: The scene.
        field: Its language field.
        queries: The texts.
        things: What the scene consists of; `Things.none()` leaves the connected pieces.
        space: Where its Gaussians are, if that is known already.
        chooser: Of the same things and Gaussians, likewise.
        there: Whether it is known that the scene holds what the texts name: then the best thing answers,
            however badly it matches.

    Returns:
        Instances of each text: first what fits it best, then others by their score; none where the scene does
        not hold what the text names.
    """
    space = Space.build(gaussians, things) if space is None else space
    asked = Compared.of(field, queries, things, space)
    if not len(things):
        return [
            asked.shown(row, things, space, there) or asked.pieces(row, space, there)
            for row in range(len(queries.texts))
        ]
    chooser = Chooser(things, space.opacities, space.means) if chooser is None else chooser
    wholes = None if queries.wholes is None else Compared.of(field, queries.wholes, things, space)
    parts = None if queries.parts is None else Compared.of(field, queries.parts, things, space)
    found: list[list[Instance]] = []
    for row in range(len(queries.texts)):
        if queries.example(row) is not None:
            found.append(asked.shown(row, things, space, there))
            continue
        node = asked.chosen(chooser, row, there)
        names_a_part = bool(queries.whole_of) and queries.whole_of[row] >= 0
        if wholes is not None and parts is not None and names_a_part:
            node = asked.part_of(wholes, parts, chooser, row, node, there)
        if node is None:
            found.append([])
            continue
        others = [] if names_a_part else chooser.others(asked.fit, row, node)
        pieces = [] if names_a_part else chooser.pieces(asked.fit, row, node, others)
        rest = [asked.thing(row, other, (), things, space) for other in others]
        rest.sort(key=lambda instance: -instance.score)
        found.append([asked.thing(row, node, pieces, things, space), *rest])
    return found


@dataclass(frozen=True, eq=False)
class Compared:
    """Texts compared with a scene.

    Attributes:
        queries: The T texts.
        margins: Of every Gaussian. [N, T]
        relevancies: [N, T]
        reaches: What each text reaches.
        fit: Of every thing.
        scores: What says whether a text is in the scene: its cosine with what a thing's own masks say, plus
            its mean margin there. [C, T]
    """

    queries: Queries
    margins: np.ndarray
    relevancies: np.ndarray
    reaches: list[Reach]
    fit: Fits
    scores: np.ndarray

    @classmethod
    def of(cls, field: LanguageField, queries: Queries, things: Things, space: Space) -> "Compared":
        tensor = queries.margins_of_gaussians(field)
        margins, weights = tensor.cpu().numpy(), space.opacities
        needed = needed_margin(field, queries, weights)
        reaches = [
            # An example's margins say themselves what is needed.
            Reach.of(margins[:, row], weights, needed if queries.example(row) is None else 0.0)
            for row in range(len(queries.texts))
        ]
        scores = things.means(margins, weights)
        fit = fits_of_means(scores, margins_of_masks(things, queries), reaches)
        if things.embeddings.shape[1] == queries.vectors.shape[1]:
            scores = scores + things.embeddings.astype(np.float32) @ queries.vectors.cpu().numpy().T
        relevancies = queries.relevancy_of_margins(tensor).cpu().numpy()
        return cls(queries, margins, relevancies, reaches, fit, scores)

    def chosen(self, chooser: Chooser, row: int, there: bool = False) -> int | None:
        """The thing that answers a text; None if the scene does not hold what it names."""
        example = self.queries.example(row)
        if example is not None:
            return example.matches[0].thing if example.matches else None
        least = self.queries.least_match
        matches = self.reaches[row].matches if least is None else self.score(chooser, row) >= least
        return chooser.best(self.fit, row) if there or matches else None

    def score(self, chooser: Chooser, row: int) -> float:
        """The best score of the nodes from where a text fits best up to its answer, see `least_match`."""
        between = chooser.between(chooser.first(self.fit, row), chooser.best(self.fit, row))
        return float(self.scores[between, row].max())

    def part_of(
        self,
        wholes: "Compared",
        parts: "Compared",
        chooser: Chooser,
        row: int,
        plain: int | None,
        there: bool = False,
    ) -> int | None:
        """What answers a text that asks for a part of something.

        Which part it is goes by the part's name more than by the text, which names the whole, too.

        Args:
            wholes: What the texts ask for parts of.
            parts: What these parts are called by themselves.
            chooser: Of the scene.
            row: The text.
            plain: What answers the text if it is taken as the name of a thing.
            there: Whether it is known that the scene holds what the text names.

        Returns:
            The part; the plain answer if the scene does not hold the whole or no part of it, or if the plain
            answer is no part of the whole and fits far better; None if the whole has no part that its name
            fits.
        """
        whole, name = self.queries.whole_of[row], self.queries.part_of[row]
        holder = wholes.chosen(chooser, whole)
        part = None if holder is None else chooser.part(self._mixed(parts, row, name), 0, holder)
        if holder is None or part is None:
            return plain
        if not (there or parts.is_called(part, name, chooser.things)):
            return None if plain is None or chooser.related(holder)[plain] else plain
        if wholes.queries.example(whole) is not None:  # it is certain what the whole is
            return part
        if plain is None or (plain != holder and chooser.things.within(holder)[plain]):
            return part
        both = min(wholes.weight(holder, whole), self.weight(part, row))
        return part if both >= PART_SCORE * self.weight(plain, row) else plain

    def is_called(self, part: int, row: int, things: Things) -> bool:
        """Whether the name of a part fits a node.

        By its score, where the encoder says from which on (`least_match`); else if any of its Gaussians has
        the margin that everything in the scene needs to match.
        """
        least = self.queries.least_match
        if least is not None:
            return bool(self.scores[part, row] >= least - PART_UNSURE)
        return bool(self.margins[things[part], row].max() >= self.reaches[row].needed)

    def weight(self, node: int, row: int) -> float:
        """How well a text fits a node, to be compared with how well another one does.

        Its score, where the encoder's scores say something by themselves; else the share of the text's range.
        With CLIP, cosines of all texts with everything lie close together, and far from 0.
        """
        of = self.fit.where if self.queries.least_match is None else self.scores
        return float(of[node, row])

    def _mixed(self, parts: "Compared", row: int, name: int) -> Fits:
        """How well nodes fit a text and the name of the part that it asks for. [C, 1]"""

        def mixed(text: np.ndarray, part: np.ndarray) -> np.ndarray:
            return ((1 - NAME_SAY) * text[:, row] + NAME_SAY * part[:, name])[:, None]

        mine, named = self.fit, parts.fit
        return Fits(mixed(mine.of_gaussians, named.of_gaussians), mixed(mine.of_masks, named.of_masks))

    def shown(self, row: int, things: Things, space: Space, there: bool) -> list[Instance]:
        """What answers an example, best first; none for a text that has none."""
        example = self.queries.example(row)
        if example is None:
            return []
        matches = example.matches
        if there and not matches and example.nearest is not None:
            matches = (example.nearest,)
        found = []
        for match in matches:
            instance = self._instance(row, match.rows, space.without_floaters(match.rows), space)
            instance.thing, instance.certain = match.thing, match in example.pointed
            instance.part_of = None if match.thing is None else things.whole_of(match.thing)
            found.append(instance)
        return found

    def pieces(self, row: int, space: Space, there: bool) -> list[Instance]:
        """Connected pieces that match a text, best first."""
        if not (there or self.reaches[row].matches):
            return []
        found = [
            self._instance(row, members, members, space)
            for members in pieces_of(self.reaches[row], self.margins[:, row], space)
        ]
        return sorted(found, key=lambda instance: -instance.score)

    def thing(self, row: int, node: int, pieces: Sequence[int], things: Things, space: Space) -> Instance:
        """A thing, with further pieces of it, as an instance."""
        members = np.unique(np.concatenate([things[each] for each in (node, *pieces)]))
        instance = self._instance(row, members, space.without_floaters(members), space)
        instance.thing = node
        instance.part_of = things.whole_of(node)
        instance.also = tuple(pieces)
        return instance

    def _instance(self, row: int, members: np.ndarray, compact: np.ndarray, space: Space) -> Instance:
        """Some Gaussians [n] as an instance, its box around those that are no floaters [m]."""
        mask = np.zeros(len(space.means), bool)
        mask[members] = True
        score = float(np.average(self.relevancies[compact, row], weights=space.opacities[compact]))
        return Instance(self.queries.texts[row], torch.from_numpy(mask), score, partial(space.box, compact))
