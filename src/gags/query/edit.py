"""Take things out of a scene, or colour them: new Gaussians, what was there stays as it is."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gags.errors import QueryError
from gags.gaussians import SH_C0, Gaussians
from gags.query.instances import Instance


def union(instances: Sequence[Instance], count: int, *, invert: bool = False) -> Tensor:
    """Gaussians of any of the instances.

    Args:
        instances: Of one text or of many.
        count: Number N of Gaussians in the scene.
        invert: All others instead.

    Returns:
        bool [N]
    """
    mask = torch.zeros(count, dtype=torch.bool)
    for instance in instances:
        mask |= instance.mask
    return ~mask if invert else mask


def extracted(gaussians: Gaussians, mask: Tensor) -> Gaussians:
    """The masked Gaussians alone, in their order, every value as it was. bool [N] → n Gaussians"""
    return gaussians[mask.to(gaussians.means.device)]


def deleted(gaussians: Gaussians, mask: Tensor) -> Gaussians:
    """All but the masked Gaussians, in their order, every value as it was."""
    return gaussians[~mask.to(gaussians.means.device)]


def recolored(gaussians: Gaussians, mask: Tensor, color: tuple[float, float, float]) -> Gaussians:
    """All Gaussians, the masked ones in one colour from every side.

    Their coefficients of degree 0 give the colour, those above become 0; geometry, opacity and the degree
    stay.

    Args:
        gaussians: The scene; stays as it is.
        mask: Which to colour. bool [N]
        color: RGB in [0, 1].
    """
    sh = gaussians.sh.clone()
    mask = mask.to(sh.device)
    sh[mask] = 0
    sh[mask, 0] = (torch.tensor(color).to(sh) - 0.5) / SH_C0
    return replace(gaussians, sh=sh)


def parse_color(text: str) -> tuple[float, float, float]:
    """A colour as people write it: "#ff0000", "#f00", "red".

    Returns:
        RGB in [0, 1].

    Raises:
        QueryError: If it is none.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text.strip())[:3]
    except ValueError as error:
        raise QueryError(f'{text!r} is no colour; write one as "#ff0000" or "red"') from error
    return red / 255, green / 255, blue / 255


def checked_color(color: Sequence[float]) -> tuple[float, float, float]:
    """A colour as three numbers.

    Raises:
        QueryError: If they are not three, or not in [0, 1].
    """
    values = tuple(float(value) for value in color)
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise QueryError(f"{tuple(color)} is no colour; give red, green and blue from 0 to 1, or a name")
    return values
