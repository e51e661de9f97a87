"""The captures that can be made: the bundled demo, and one that tests what the demo has not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from . import textures
from .meshes import Look
from .things import THINGS, Looks, Thing, blendswap, scopia


@dataclass(frozen=True)
class Layout:
    """What stands on the table, and how many photos are taken.

    `counts` are training photos near, in the middle, and far away; `plate` is the thing that a plate on a mat
    stands under. A `bundled` capture comes with documents, another with the truth of every single thing.
    `absent` are texts of things that are not there.
    """

    seed: int
    things: tuple[Thing, ...]
    counts: tuple[int, int, int]
    plate: str | None = None
    bundled: bool = False
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """What has a number of its own in the truth: a thing without what is named within it, or such a part."""

    thing: int
    name: str
    materials: tuple[str, ...] | None  # None: all that no other leaf of the thing has


def leaves(layout: Layout) -> list[Leaf]:
    """All leaves of a layout, things in order, each before what is within it."""
    return [leaf for i, thing in enumerate(layout.things) for leaf in _leaves_of(i, thing)]


def _leaves_of(i: int, thing: Thing) -> Iterator[Leaf]:
    yield Leaf(i, thing.category, None)
    for name, each in thing.within:
        for materials in each:
            yield Leaf(i, name, materials)


def answers(layout: Layout) -> dict[str, list[list[int]]]:
    """What is right by text: instances, each the numbers (from 1) of its leaves."""
    every = leaves(layout)
    result: dict[str, list[list[int]]] = {}
    for number, leaf in enumerate(every, 1):
        whole = leaf.materials is None
        own = [n for n, other in enumerate(every, 1) if other.thing == leaf.thing] if whole else [number]
        result.setdefault(leaf.name, []).append(own)
    return result


def _red_mug_looks(rng: np.random.Generator) -> Looks:
    return {
        "White_ceramic": Look(
            color=(0.42, 0.02, 0.02), grain=textures.grain(rng, contrast=0.06), roughness=0.4
        )
    }


def _named(category: str) -> Thing:
    return next(thing for thing in THINGS if thing.category == category)


def _stand(category: str, at: tuple[float, float, float], turn: float, **changes) -> Thing:
    return replace(_named(category), at=at, turn_deg=turn, **changes)


FRUITS = (
    ("pear", (("pear",), ("pear2",), ("pear3",))),
    ("orange", (("orange",), ("orange2",))),
    ("apple", (("apple", "applePal"), ("apple2", "applePal2"))),
    ("banana", (("banana",), ("banana2",))),
)

DEMO = Layout(20241213, THINGS, (16, 14, 10), plate="hamburger", bundled=True)

KINDS = Layout(
    20261129,
    (
        _stand("coffee mug", (0.04, -0.04, 0.0), -50),
        _stand("coffee mug", (-0.06, -0.30, 0.0), 120, looks=_red_mug_looks),
        _stand("wine bottle", (0.02, 0.27, 0.0), 8),
        _stand("wine bottle", (0.115, 0.23, 0.0), 80),
        _stand("wine bottle", (0.32, 0.30, 0.0), 200),
        _stand("teddy bear", (-0.62, 0.22, 0.0), 20),
        _stand("teddy bear", (-0.60, -0.06, 0.0), 40, size_m=0.19),
        _stand("soccer ball", (-0.29, -0.22, 0.0), 70, size_m=0.18),
        _stand(
            "laptop",
            (-0.26, 0.16, 0.0),
            12,
            within=(("keyboard", (("Keyboard",),)), ("screen", (("Screen",),))),
        ),
        _stand(
            "table lamp",
            (0.64, 0.30, 0.0),
            0,
            within=(("lamp shade", (("squares_multilamps.jpg", "border_multilamps.jpg", "whitesop"),)),),
        ),
        Thing(
            "fruit bowl",
            ("bowl of fruit", "bowl with fruits"),
            scopia("bowlWithFruits/bowlWithFruits", "Bowl with fruits"),
            0.28,
            (0.30, -0.14, 0.0),
            30,
            within=FRUITS,
        ),
        Thing(
            "cardboard box",
            ("carton", "box"),
            scopia("cardboard-box/cardboard-box", "Cardboard box"),
            0.24,
            (0.62, -0.06, 0.0),
            15,
            roughness=0.9,
        ),
        Thing(
            "open book",
            ("book",),
            blendswap("BY", "book", "Book", ""),
            0.20,
            (0.62, -0.06, 0.132),
            50,
            roughness=0.8,
        ),
        _stand("cowboy hat", (-0.62, -0.33, 0.0), 35, size_m=0.28),
    ),
    (11, 10, 7),
    absent=("hammer", "toaster", "hamburger", "flower pot", "bicycle", "umbrella", "guitar", "fire hydrant"),
)

CAPTURES = {"demo": DEMO, "kinds": KINDS}
