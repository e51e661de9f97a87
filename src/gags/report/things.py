"""The page of what a scene consists of: groups, things and their parts as a tree, each with a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from gags._version import __version__
from gags.capture import Camera, View
from gags.draw.lettering import fit_within
from gags.draw.pictures import cutout
from gags.progress import SILENT, Bar, Reporter
from gags.query.boxes import OrientedBox
from gags.query.catalog import LISTED_SHARE
from gags.query.frame import Unit
from gags.query.maps import MAPS_AT_ONCE, how_well_shown, render_values
from gags.report.images import PageImage, Picture, page_images
from gags.report.pages import write_page
from gags.scene import Scene
from gags.things.things import Kind, Things

MOST_SHOWN = 200  # nodes; of more, those that most photos cut out
NAMES_SHOWN = 3
LONGEST_SIDE = 960  # px, of the photos that nodes are cut out of
SHARE = 0.25  # of the size of a photo in a page, for the picture of a node
SEEN = 0.5  # of a pixel that must show a node for the pixel to be of it


@dataclass(eq=False)
class Node:
    """A node of the hierarchy as the page shows it.

    Attributes:
        thing: Its row among the scene's things.
        kind: What it is.
        names: The words that name it best.
        photos: Number of photos that cut it out.
        gaussians: How many it has.
        view: Photo that its picture is cut out of.
        image: The picture; None if the page has no room for it, or no photo shows it.
        size_text: How long the sides of its box are, "0.12 × 0.08 × 0.08 m"; empty if no unit is known.
        within: What lies in it.
    """

    thing: int
    kind: Kind
    names: list[str]
    photos: int
    gaussians: int
    view: str = ""
    image: PageImage | None = None
    size_text: str = ""
    within: list["Node"] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Nodes below it."""
        return sum(1 + node.size for node in self.within)


def write_things_page(scene: Scene, *, progress: Reporter = SILENT) -> Path:
    """Write `things.html` into the folder of a scene's report.

    Args:
        scene: The scene.
        progress: Told about progress.

    Returns:
        Path of the page.
    """
    things = scene.things(progress)
    shown = shown_nodes(things, scene.photos_with_masks)
    nodes = dict(zip(shown, _nodes(scene, things, shown), strict=True))
    pictures = pictures_of_nodes(scene, things, shown, progress=progress)
    images = page_images([Picture(str(node), pixels, SHARE) for node, (_, pixels) in pictures.items()])
    roots: list[Node] = []
    for thing, node in nodes.items():
        node.image = images.get(str(thing))
        node.view = pictures[thing][0] if thing in pictures else ""
        above = next((nodes[other] for other in things.chain(thing)[1:] if other in nodes), None)
        (roots if above is None else above.within).append(node)
    kinds = things.kinds()
    return write_page(
        scene.workspace.report / "things.html",
        "things.html",
        scene=scene.capture.root.name,
        roots=roots,
        counts={kind: kinds.count(kind) for kind in ("group", "thing", "part")},
        left_out=len(things) - len(nodes),
        version=__version__,
    )


def shown_nodes(things: Things, photos: int) -> list[int]:
    """Nodes that a page shows, wholes before what lies in them.

    Those that enough of the photos cut out, see `gags.query.catalog`; and what holds several of them, though
    hardly any photo cuts it out in one piece.
    """
    often = things.photos >= LISTED_SHARE * photos
    order = np.argsort(-things.photos, kind="stable")
    shown = set(order[often[order]][:MOST_SHOWN].tolist())
    below = [0] * len(things)  # shown nodes directly below each, those that are not shown passed over
    for thing in range(len(things) - 1, -1, -1):  # each comes after what it lies in
        if below[thing] >= 2:
            shown.add(thing)
        if (parent := int(things.parents[thing])) >= 0:
            below[parent] += 1 if thing in shown else below[thing]
    return sorted(shown)


def _nodes(scene: Scene, things: Things, shown: Sequence[int]) -> list[Node]:
    """The nodes with their names, and sizes if a unit is known, without pictures."""
    namer, kinds, unit, space = scene.namer(), things.kinds(), scene.frame.unit, scene.space()
    return [
        Node(
            thing,
            kinds[thing],
            [word for word, _ in namer.names(things[thing], NAMES_SHOWN)],
            int(things.photos[thing]),
            len(things[thing]),
            size_text="" if unit is None else _size(space.box(space.without_floaters(things[thing])), unit),
        )
        for thing in shown
    ]


def _size(box: OrientedBox, unit: Unit) -> str:
    """The sides of a box in a unit, as `gags locate` tells them."""
    return f"{' × '.join(f'{side:.3g}' for side in unit.of(box.size))} {unit.name}"


def pictures_of_nodes(
    scene: Scene, things: Things, nodes: Sequence[int], *, progress: Reporter = SILENT
) -> dict[int, tuple[str, np.ndarray]]:
    """Each node cut out of the photo that shows most of it, from near, the rest of the photo dimmed.

    Args:
        scene: The scene.
        things: Its things.
        nodes: Rows of some of them.
        progress: Told about progress.

    Returns:
        Name of the photo, and the picture, uint8 RGB [h, w, 3], by node; nodes that no photo shows are left
        out, as are photos that are no longer where they were.
    """
    views = views_of_nodes(scene, things, nodes, progress)
    drawn: dict[int, tuple[str, np.ndarray]] = {}
    wanted = [view for view in scene.capture.train if view in views]
    with progress.stage("Drawing the things", len(wanted), "photos") as bar:
        for view in wanted:
            here = [node for node, best in zip(nodes, views, strict=True) if best is view]
            photo = fit_within(view.image(), LONGEST_SIDE)
            camera = view.camera.resized(photo.shape[1], photo.shape[0])
            for first in range(0, len(here), MAPS_AT_ONCE):
                some = here[first : first + MAPS_AT_ONCE]
                members = torch.zeros(len(scene.gaussians), len(some))
                for column, node in enumerate(some):
                    members[torch.from_numpy(things[node].astype(np.int64)), column] = 1
                shares = render_values(scene.gaussians, members, camera).maps
                for node, share in zip(some, shares, strict=True):
                    if (share >= SEEN).any():
                        picture = cutout(photo, share >= SEEN, background="dim", margin=0.25)
                        drawn[node] = view.name, picture
            bar.advance()
    return drawn


def views_of_nodes(
    scene: Scene, things: Things, nodes: Sequence[int], progress: Reporter
) -> list[View | None]:
    """Of the photos that are there, the one that shows each node best; None if none does."""
    photos = [view for view in scene.capture.train if view.path.is_file()]

    def cameras(bar: Bar) -> Iterator[Camera]:
        for view in photos:
            yield view.camera
            bar.advance()

    with progress.stage("Looking for views", len(photos), "photos") as bar:
        scores = how_well_shown(scene.gaussians, cameras(bar), [things[node] for node in nodes])
    best = scores.argmax(axis=0) if len(photos) else [-1] * len(nodes)
    return [photos[row] if row >= 0 and scores[row, number] > 0 else None for number, row in enumerate(best)]
