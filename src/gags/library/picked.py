"""What may be shown of several scenes, and the best of it."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from gags.library.nodes import Nodes
from gags.library.rank import Asked, Node, best_unrelated
from gags.library.tables import Key
from gags.query.relevancy import Queries


class Picked(NamedTuple):
    """A thing that may be shown.

    Attributes:
        key: Which it is.
        value: What it ranks by; see `gags.library.rank.Fit` and `gags.library.nodes.Chosen`.
        score: What is shown.
        matches: Whether it is what a text names; None if that is not known.
    """

    key: Key
    value: float
    score: float
    matches: bool | None


class Candidate(NamedTuple):
    """A thing near a question."""

    node: Node
    picked: Picked


def picked_of_scenes(
    near: Mapping[str, Sequence[Candidate]], trees: Mapping[str, Nodes], asked: Asked, top: int
) -> list[Picked]:
    """What a text names in several scenes, the best of all of them.

    Args:
        near: What is near the text of each scene, by the run that put it in; at least one thing each.
        trees: Of these scenes, by run. One that has none is judged by what is near, thing by thing.
        asked: The text.
        top: How many, at most.
    """
    ranked = [
        _chosen(own, trees[run], asked.queries)
        if run in trees and asked.queries is not None
        else _unrelated(own, top)
        for run, own in near.items()
    ]
    return list(islice(heapq.merge(*ranked, key=lambda picked: -picked.value), top))


def _chosen(near: Sequence[Candidate], tree: Nodes, queries: Queries) -> Iterator[Picked]:
    """What is chosen in a scene; where in the table it lies, is known of what is near."""
    keys = {one.node.thing: one.picked.key for one in near}
    scene, run = near[0].node.scene, near[0].picked.key.run
    for thing, value, score, matches in tree.chosen(queries):
        yield Picked(keys.get(thing, Key(scene, run, thing)), value, score, matches)


def _unrelated(near: Sequence[Candidate], top: int) -> list[Picked]:
    """The best of a scene's things that are near, none in another."""
    values = np.array([one.picked.value for one in near])
    return [near[k].picked for k in best_unrelated([one.node for one in near], values, top)]
