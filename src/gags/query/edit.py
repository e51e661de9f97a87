"""Take things out of a scene, or colour them: new Gaussians, what was there stays as it is."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

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


def texts_and_instances(wanted: Any, count: int) -> tuple[list[str], list[Instance]]:
    """Sort what somebody wants out of a scene, nested in any way, into texts and instances.

    Args:
        wanted: A text, an instance of `locate`, or any of these in lists.
        count: Number N of Gaussians in the scene.

    Raises:
        QueryError: If it is anything else, or an instance of another scene.
    """
    if isinstance(wanted, str):
        return [wanted], []
    if isinstance(wanted, Instance):
        if len(wanted.mask) != count:
            raise QueryError(
                f"{wanted.text!r} was located in another scene: it is of {len(wanted.mask):,} Gaussians, "
                f"this scene has {count:,}; locate it here"
            )
        return [], [wanted]
    if not isinstance(wanted, Iterable):
        kind = type(wanted).__name__
        raise QueryError(f"texts or instances of `locate` are wanted here, not an object of type {kind}")
    texts: list[str] = []
    instances: list[Instance] = []
    for one in wanted:
        more_texts, more_instances = texts_and_instances(one, count)
        texts += more_texts
        instances += more_instances
    return texts, instances


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


LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue
LEAST_BRIGHTNESS = 0.02  # of what is painted: nearly black things would be made to glow


def painted(gaussians: Gaussians, mask: Tensor, color: tuple[float, float, float]) -> Gaussians:
    """All Gaussians, the masked ones in one colour with their shading kept.

    A place gets the colour times its own brightness over the mean brightness of what is painted, from every
    side: brightness is linear in the coefficients, so they are changed exactly.

    Args:
        gaussians: The scene; stays as it is.
        mask: Which to paint. bool [N]
        color: RGB in [0, 1].
    """
    sh = gaussians.sh.clone()
    mask = mask.to(sh.device)
    own, weights = sh[mask], gaussians.opacities[mask]
    grey = torch.tensor(LUMINANCE).to(sh)
    base = (0.5 + SH_C0 * own[:, 0]).clamp_min(0) @ grey
    mean = float((base * weights).sum() / weights.sum().clamp_min(1e-9))
    share = torch.tensor(color).to(sh) / max(mean, LEAST_BRIGHTNESS)
    shaded = (own @ grey)[..., None] * share
    shaded[:, 0] += (0.5 * share - 0.5) / SH_C0
    sh[mask] = shaded
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
