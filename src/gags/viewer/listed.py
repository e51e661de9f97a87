"""What the page lists: the tree of things with names, boxes and thumbnails, and whose Gaussians are whose."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from gags.progress import SILENT, Reporter
from gags.query.choose import Chooser
from gags.query.examples import CERTAIN
from gags.query.ids import thing_of_each
from gags.query.instances import Instance, locate_instances
from gags.query.names import EVERYDAY, NAMES, Namer
from gags.query.space import Space
from gags.report.things import pictures_of_nodes, shown_nodes
from gags.scene import Scene
from gags.things.things import Things
from gags.viewer.payload import box_json

THUMBNAIL = 72  # px, the longer side
THUMBNAIL_QUALITY = 75  # of JPEG, in percent
WORDS_AT_ONCE = 64  # texts that are compared with all Gaussians together, to bound memory


@dataclass(frozen=True, eq=False)
class Listed:
    """The things of a scene for the page.

    Attributes:
        things: One entry a node of the hierarchy, each after what it lies in: `id` (its row), `parent` (an
            id, or −1), `kind`, `listed`, `level`, `count` and `box`; of those that are listed also `name`,
            `names` (words with scores), `sure` and `score`.
        owner: Smallest thing of each Gaussian of the scene, −1 for none. int32 [N]
        lacks: What is missing in it and why, a sentence; empty if it is complete.
    """

    things: list[dict[str, Any]]
    owner: np.ndarray
    lacks: str = ""

    @property
    def ids(self) -> list[int]:
        """Rows of the things that are listed."""
        return [thing["id"] for thing in self.things if thing["listed"]]


def list_of_words(scene: Scene, words: Sequence[str] = EVERYDAY, *, progress: Reporter = SILENT) -> Listed:
    """Name and frame the things of a scene, by words alone: names that it was taught come later.

    A name is sure if the scene, asked for it, answers with the thing, with a part of it, or with what it is a
    part of: what fits a bare wall best of all words is no name of it.

    Args:
        scene: The scene.
        words: Words to name things with.
        progress: Told about progress.
    """
    things, space = scene.things(progress), scene.space(progress)
    namer = Namer.of_scene(scene.field, scene.queries(words), space.opacities, things)
    names = {node: namer.names(things[node]) for node in shown_nodes(things, scene.photos_with_masks)}
    answers = answers_of_words(scene, sorted({found[0][0] for found in names.values()}), progress=progress)
    named = {node: _named(found, answers, things, node) for node, found in names.items()}
    return _listed(things, space, named)


def list_without_names(scene: Scene, lacks: str, *, progress: Reporter = SILENT) -> Listed:
    """The things of a scene by kind and number, for where no word can be compared with them.

    Args:
        scene: The scene.
        lacks: Why they have no names.
        progress: Told about progress.
    """
    things, space = scene.things(progress), scene.space(progress)
    kinds, nodes = things.kinds(), shown_nodes(things, scene.photos_with_masks)
    plain = {node: {"name": f"{kinds[node]} {node + 1}", "names": [], "score": 0.0} for node in nodes}
    return _listed(things, space, plain, lacks)


def _listed(things: Things, space: Space, named: Mapping[int, dict[str, Any]], lacks: str = "") -> Listed:
    """The list, with what is said of the names of those that are listed, by row."""
    kinds = things.kinds()
    rows: list[dict[str, Any]] = []
    for node in range(len(things)):
        row = {"id": node, "parent": int(things.parents[node]), "kind": kinds[node], "listed": node in named}
        row |= named.get(node, {})
        row |= {"level": round(float(things.levels[node]), 3), "count": len(things[node])}
        row["box"] = box_json(space.box(space.without_floaters(things[node])))
        rows.append(row)
    return Listed(rows, owners(things, space), lacks)


def with_taught_names(scene: Scene, listed: Listed, *, progress: Reporter = SILENT) -> Listed:
    """The list with the names that the scene was taught before those of words."""
    taught = scene.taught.examples()
    if not taught or not listed.things:
        return listed
    things, opacities = scene.things(progress), scene.space(progress).opacities
    names = {node: [one.name for one in taught if one.is_of(things[node], opacities)] for node in listed.ids}
    names = {node: found for node, found in names.items() if found}
    answers = answers_of_words(scene, sorted({found[0] for found in names.values()}), progress=progress)
    rows = list(listed.things)
    for node, found in names.items():
        both = [*((name, CERTAIN) for name in found), *map(tuple, rows[node]["names"])][:NAMES]
        rows[node] = rows[node] | _named(both, answers, things, node)
    return replace(listed, things=rows)


def _named(
    names: Sequence[tuple[str, float]], answers: dict[str, list[Instance]], things: Things, node: int
) -> dict[str, Any]:
    """What an entry says of its names, best first."""
    word, score = names[0]
    return {
        "name": word,
        "names": [[name, round(fit, 4)] for name, fit in names],
        "sure": _answers_with(answers[word], things, node),
        "score": round(score, 4),
    }


def thumbnails_of(scene: Scene, nodes: Sequence[int], *, progress: Reporter = SILENT) -> dict[int, bytes]:
    """A small picture of some things, a JPEG by row; those that no photo shows are left out."""
    pictures = pictures_of_nodes(scene, scene.things(progress), nodes, progress=progress)
    return {node: _thumbnail(picture) for node, (_, picture) in pictures.items()}


def _answers_with(instances: Sequence[Instance], things: Things, node: int) -> bool:
    """Whether a thing, something in it, or what it lies in is among the answers to its name."""
    related = things.within(node)
    related[things.chain(node)] = True
    return any(
        one.certain or related[[row for row in (one.thing, *one.also) if row is not None]].any()
        for one in instances
    )


def owners(things: Things, space: Space) -> np.ndarray:
    """Smallest thing of each Gaussian; what lies close around one and belongs to none counts to it. [N]"""
    owner = thing_of_each(things, len(space.means))
    for node in np.flatnonzero((things.parents < 0) & ~things.is_leftover).tolist():
        around = space.filled(things[node]) & (owner < 0)
        owner[around] = node
    return owner


def answers_of_words(
    scene: Scene, words: Sequence[str], *, progress: Reporter = SILENT
) -> dict[str, list[Instance]]:
    """What `Scene.locate` answers to many words, photos not counted; nothing where there are no things."""
    things, space = scene.things(progress), scene.space(progress)
    chooser = Chooser(things, space.opacities, space.means)
    found: dict[str, list[Instance]] = {}
    with progress.stage("Answering words", len(words), "words") as bar, torch.no_grad():
        for first in range(0, len(words), WORDS_AT_ONCE):
            some = list(words[first : first + WORDS_AT_ONCE])
            instances: list[list[Instance]] = [[] for _ in some]
            if len(things):
                queries = scene.queries(some)
                instances = locate_instances(
                    scene.gaussians, scene.field, queries, things, space=space, chooser=chooser
                )
            found |= dict(zip(some, instances, strict=True))
            bar.advance(len(some))
    return found


def _thumbnail(picture: np.ndarray) -> bytes:
    """A small JPEG. uint8 RGB [h, w, 3]"""
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()
