"""What is in a scene: its things, each with the words that name it best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gags.distill.field import LanguageField
from gags.gaussians import Gaussians
from gags.query.boxes import OrientedBox
from gags.query.examples import Example
from gags.query.names import Namer
from gags.query.relevancy import Queries
from gags.query.space import Space
from gags.things.things import Things

LISTED_SHARE = 0.08  # of the photos that must agree on a thing for it to be listed


@dataclass(eq=False)
class Entry:
    """One thing of a scene.

    Attributes:
        names: The best words, best first, each with its relevancy; see `Namer.names`.
        mask: Its Gaussians, on the CPU. bool [N]
        box: Around them, in the frame and units of the capture.
        photos: Number of photos whose masks agree on it.
        part_of: Row of the catalogue that it is a part of, None if it stands for itself.
    """

    names: list[tuple[str, float]]
    mask: Tensor
    box: OrientedBox
    photos: int
    part_of: int | None = None

    @property
    def name(self) -> str:
        """The best word."""
        return self.names[0][0]

    def to_json(self) -> dict[str, Any]:
        """What catalog.json holds of it; lengths and coordinates in the units of the capture."""
        return {
            "name": self.name,
            "score": round(self.names[0][1], 4),
            "names": [{"word": word, "score": round(score, 4)} for word, score in self.names],
            "photos": self.photos,
            "gaussians": int(self.mask.sum()),
            "part_of": self.part_of,
            "center": self.box.center.tolist(),
            "box": {"size": self.box.size.tolist(), "axes": self.box.axes.tolist()},
        }


@torch.no_grad()
def catalog(
    gaussians: Gaussians,
    field: LanguageField,
    words: Queries,
    things: Things,
    photos: int,
    *,
    taught: Sequence[Example] = (),
) -> list[Entry]:
    """List the things of a scene that many photos agree on, wholes before their parts; groups are left out.

    Args:
        gaussians: The scene.
        field: Its language field.
        words: Words to name things with.
        things: The things of the scene.
        photos: Number of photos that they were found from.
        taught: What taught names mean; a thing that somebody named is listed, however few photos agree on it.

    Returns:
        Things, and parts of them that stand out nearly as often as the whole; fragments are left out.
    """
    space = Space.build(gaussians, things)
    namer = Namer.of_scene(field, words, space.opacities, things, taught=taught)
    named = {match.thing for example in taught for match in example.pointed}
    entries: list[Entry] = []
    row_of: dict[int, int] = {}  # of the things that are listed
    for thing in range(len(things)):
        whole = known_whole(things, thing, photos)
        rare = things.photos[thing] < LISTED_SHARE * photos
        unlisted = rare or things.is_group[thing] or not things.apart_from(thing, whole)
        if thing not in named and (unlisted or not (whole is None or whole in row_of)):
            continue
        whole = whole if whole in row_of else None
        rows = space.without_floaters(things[thing])
        mask, box = space.filled(rows), space.box(rows)
        wholes = [entry for entry in entries if entry.part_of is None]
        alone = whole is None and thing not in named
        if alone and any(space.is_fragment(mask, entry.mask.numpy(), entry.box) for entry in wholes):
            continue
        names = namer.names(rows)
        row_of[thing] = len(entries)
        agree = int(things.photos[thing])
        part_of = None if whole is None else row_of[whole]
        entries.append(Entry(names, torch.from_numpy(mask), box, agree, part_of))
    return entries


def known_whole(things: Things, thing: int, photos: int) -> int | None:
    """What a thing is a part of, unions that hardly any mask holds passed over; None if it is no part.

    Args:
        things: The things of a scene.
        thing: One of them.
        photos: Number of photos that they were found from.
    """
    whole = things.whole_of(thing)
    while whole is not None and things.photos[whole] < LISTED_SHARE * photos:
        whole = things.whole_of(whole)
    return whole
