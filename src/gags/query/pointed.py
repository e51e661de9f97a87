"""What a pixel of a photo points at: the thing there, as much of it as is meant.

Of all that lies under a pixel, from the largest down, one is meant. What photos cut out as a whole may be
several things that touch, as a bowl with fruit; the apple in it is then cut out by as many photos. So if
nothing is said, one goes down from the largest as long as what lies in it is cut out about as often.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch

from gags.capture import View
from gags.errors import QueryError
from gags.gaussians import Gaussians, blend_weights
from gags.query.maps import KNOWN_ALPHA
from gags.segment.masks import LEVELS
from gags.things.things import Things

Level = Literal["whole", "part", "sub-part"]
"""How much of what is at a pixel is meant, in the words of the masks."""

HIT = 0.5  # share of a pixel that a thing must make up to be there
AS_OFTEN = 0.9  # of the photos that cut out something: what lies in it is meant, if so many cut out that
LEAST_SIZE = 0.1  # of the Gaussians of what it lies in, below which it is a mark on it, such as a letter


def thing_at(
    gaussians: Gaussians, things: Things, view: View, at: tuple[int, int], level: Level | None = None
) -> int:
    """The thing that a pixel of a photo shows.

    Args:
        gaussians: The scene.
        things: What it consists of.
        view: The photo.
        at: Column and row of the pixel, px of the photo as the capture loads it.
        level: How much of what is there is meant; see `meant`.

    Returns:
        Row of the things.

    Raises:
        QueryError: If the pixel lies outside of the photo, or shows no thing, or the level is none.
    """
    check_click(view, at, level)
    x, y = at
    hit = things_under(gaussians, things, view, at)
    if not hit:
        raise QueryError(
            f"there is no thing at ({x}, {y}) in {view.name}, only background; point at the middle of a thing"
        )
    return meant(things, hit, level)


def check_click(view: View, at: tuple[int, int], level: Level | None = None) -> None:
    """Make sure that a click can be looked at, before what takes long is done for it.

    Raises:
        QueryError: If the pixel lies outside of the photo, or the level is none.
    """
    (x, y), camera = at, view.camera
    if level is not None and level not in get_args(Level):
        raise QueryError(f"there is no level {level!r}; one of: {', '.join(get_args(Level))}")
    if not (0 <= x < camera.width and 0 <= y < camera.height):
        raise QueryError(
            f"({x}, {y}) lies outside of {view.name}, which is {camera.width}x{camera.height} px; "
            f"x goes from 0 to {camera.width - 1}, y from 0 to {camera.height - 1}, downwards"
        )


VIEWS_TRIED, PIXELS_TRIED = 8, 16  # in which a pixel that shows a thing is looked for


@torch.no_grad()
def pixel_of(
    gaussians: Gaussians, views: Sequence[View], rows: np.ndarray, opacities: np.ndarray
) -> tuple[View, tuple[int, int]]:
    """A photo and a pixel of it that some Gaussians make up, more than other pixels.

    Args:
        gaussians: The scene.
        views: Photos, at least one.
        rows: The Gaussians. int64 [n], n ≥ 1
        opacities: Of all Gaussians. [N]
    """
    solid = rows[opacities[rows] >= min(0.5, float(opacities[rows].max()))]
    means = gaussians.means.cpu().double().numpy()[solid]
    order = np.argsort([-_inside(view, means)[0].sum() for view in views], kind="stable")
    member = torch.zeros(len(gaussians) + 1, dtype=torch.bool, device=gaussians.means.device)
    member[torch.from_numpy(rows).to(member.device)] = True
    best: tuple[float, View, tuple[int, int]] | None = None
    for view in (views[row] for row in order[:VIEWS_TRIED].tolist()):
        seen, xy = _inside(view, means)
        if not seen.any():
            continue
        central = np.argsort(np.linalg.norm(xy[seen] - np.median(xy[seen], axis=0), axis=1))[:PIXELS_TRIED]
        pixels = torch.from_numpy(xy[seen][central]).to(member.device)
        blend = blend_weights(gaussians, view.camera, pixels)
        shares = (blend.weights * member[blend.indices]).sum(dim=1)  # −1, none, is the last, no member
        if best is None or float(shares.max()) > best[0]:
            x, y = pixels[int(shares.argmax())].tolist()
            best = float(shares.max()), view, (x, y)
    if best is None:  # no photo shows it
        camera = views[0].camera
        return views[0], (camera.width // 2, camera.height // 2)
    return best[1:]


def _inside(view: View, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which points a photo could show, and at which pixels. [n, 3] → bool [n], int64 [n, 2]"""
    xy, depth = view.camera.project(means)
    size = np.array([view.camera.width, view.camera.height])
    seen = (depth > 0) & ((xy >= 0) & (xy < size)).all(axis=1)
    return seen, np.where(seen[:, None], xy, 0).astype(np.int64)


def things_under(gaussians: Gaussians, things: Things, view: View, at: tuple[int, int]) -> list[int]:
    """Things that make up half of a pixel, or more, wholes before what lies in them; none of background."""
    pixel = torch.tensor([at], device=gaussians.means.device)
    blend = blend_weights(gaussians, view.camera, pixel)
    if float(blend.alphas[0]) < KNOWN_ALPHA:
        return []
    there = blend.indices[0] >= 0
    rows, weights = blend.indices[0][there].cpu().numpy(), blend.weights[0][there].double().cpu().numpy()
    values = np.zeros((len(gaussians), 1))
    values[rows, 0] = weights
    counts = np.diff(things.starts)
    sums = things.means(values, np.ones(len(gaussians)))[:, 0] * counts
    return np.flatnonzero(sums >= HIT * weights.sum()).tolist()


def meant(things: Things, hit: list[int], level: Level | None = None) -> int:
    """Which of the things under a pixel is meant.

    Args:
        things: What the scene consists of.
        hit: Rows of those under the pixel, at least one.
        level: The "whole" is the largest that is no group, a "sub-part" the smallest; a "part" is what lies
            between them, and is nearest to that level by its masks. None goes down from the largest as long
            as what lies in it is cut out by about as many photos.

    Returns:
        One of `hit`.
    """
    sizes = np.diff(things.starts)
    order = sorted(hit, key=lambda thing: (bool(things.is_group[thing]), -int(sizes[thing])))
    alone = [thing for thing in order if not things.is_group[thing]] or order
    if level == "whole":
        return alone[0]
    if level == "sub-part":
        return alone[-1]
    if level == "part":
        between = alone[1:-1] or alone[-1:]
        return min(between, key=lambda thing: abs(float(things.levels[thing]) - LEVELS.index("part")))
    chosen = alone[0]
    for thing in alone[1:]:
        as_often = things.photos[thing] >= AS_OFTEN * things.photos[chosen]
        if as_often and sizes[thing] >= LEAST_SIZE * sizes[chosen]:
            chosen = thing
    return chosen
