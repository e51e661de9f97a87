"""Things as a number of each Gaussian, and a list that says what the numbers mean."""

from typing import Any

import numpy as np

from gags.distill.field import LanguageField
from gags.gaussians import Gaussians
from gags.query.names import Namer
from gags.query.relevancy import Queries
from gags.query.space import Space
from gags.things.things import Things

NO_THING = -1


def thing_of_each(things: Things, count: int) -> np.ndarray:
    """The smallest thing that each Gaussian belongs to; the others that hold it follow from `part_of`.

    Args:
        things: The C things of the scene.
        count: Number N of Gaussians.

    Returns:
        Rows of `things`, −1 for Gaussians of none. int32 [N]
    """
    sizes = np.diff(things.starts)
    order = np.argsort(-sizes, kind="stable")  # the smallest are written last
    rank = np.empty(len(things), np.int64)
    rank[order] = np.arange(len(things))
    best = np.full(count, NO_THING, np.int64)
    np.maximum.at(best, things.members, np.repeat(rank, sizes))
    return np.where(best >= 0, order[best] if len(order) else NO_THING, NO_THING).astype(np.int32)


def with_wholes(ids: np.ndarray, things: Things) -> list[int]:
    """Things that occur, and all that they are parts of, in order."""
    found: set[int] = set()
    for thing in np.unique(ids[ids >= 0]).tolist():
        while thing >= 0 and thing not in found:
            found.add(thing)
            thing = int(things.parents[thing])
    return sorted(found)


def legend(
    ids: np.ndarray, things: Things, gaussians: Gaussians, field: LanguageField, words: Queries
) -> list[dict[str, Any]]:
    """What the numbers of Gaussians mean: one entry a thing that occurs, and a thing that holds one of these.

    Args:
        ids: Thing of each Gaussian that is written. int [n]
        things: The things of the scene.
        gaussians: The scene.
        field: Its language field.
        words: Words to name things with.

    Returns:
        For each `id` its `name` and `score`, `part_of` (an id, or null), the number of `gaussians` in the
        scene, and `center` and `box` in the frame and units of the capture.
    """
    space = Space.build(gaussians, things)
    namer = Namer.of_scene(field, words, space.opacities, things)
    entries = []
    for thing in with_wholes(ids, things):
        rows = space.without_floaters(things[thing])
        word, score = namer.names(rows)[0]
        box = space.box(rows)
        entries.append(
            {
                "id": thing,
                "name": word,
                "score": round(score, 4),
                "part_of": None if things.parents[thing] < 0 else int(things.parents[thing]),
                "gaussians": len(things[thing]),
                "center": box.center.tolist(),
                "box": {"size": box.size.tolist(), "axes": box.axes.tolist()},
            }
        )
    return entries
