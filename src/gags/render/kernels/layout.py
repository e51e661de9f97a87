"""How the memory of the CPU kernels is laid out: the numbers of a Gaussian, a tile and a gradient."""

from typing import Any

import numpy as np
from numba.extending import register_jitable

from gags.render.types import MIN_ALPHA
from gags.simd.vectors import LANES

# What blending needs of one Gaussian lies in one piece, its record. With dx, dy from the centre to the pixel,
# log2 α = peak + xx dx² + xy dx dy + yy dy². Then the features: colours, depth, zeros up to a whole group.
CENTRE_X, CENTRE_Y, QUAD_XX, QUAD_XY, QUAD_YY, PEAK, FEATURES = range(7)
GROUP = 4  # features that are blended together
# The outline in which a Gaussian is drawn, in one piece: centre, half width and height of its box, the curve
# y = tilt dx ± bulge √(half width² − dx²), dx of its top, first and last column of tiles.
OUTLINE = 16
OUTLINE_X, OUTLINE_Y, HALF_X, HALF_Y, TILT, BULGE, TOP, FIRST_TILE, LAST_TILE = range(9)
# Planes of what is needed of all Gaussians: screen radius, depth, number of tiles in the box.
RADIUS, DEPTH, ROOM, PLANES = range(4)

# The gradient of one slot (a Gaussian in a tile): sums over its pixels of g = dL/d ln α, alone and times
# products of dx and dy; then the gradients of the features.
SUM, SUM_X, SUM_Y, SUM_XX, SUM_XY, SUM_YY, SUM_FEATURES = range(7)

TILE_WIDTH = LANES  # one vector holds a row of a tile
TILE_HEIGHT = 32  # the rows a Gaussian touches are the bits of half an int64
LOG2E = 1.4426950408889634
_SLACK = 0.01  # px by which an outline is widened against rounding,
_SLACK_SHARE = 1e-3  # and this share of its size
FAINTEST = float(np.log2(MIN_ALPHA))  # log2 of the least alpha drawn


@register_jitable
def groups_of(channels: int) -> int:
    """Groups of features that hold the colour channels and the depth."""
    return channels // GROUP + 1


@register_jitable
def record_stride(channels: int) -> int:
    """Numbers between two records; whole cache lines."""
    return -(-(FEATURES + GROUP * groups_of(channels)) // LANES) * LANES


@register_jitable
def sums_stride(channels: int) -> int:
    """Numbers between the gradients of two slots; whole cache lines."""
    return -(-(SUM_FEATURES + GROUP * groups_of(channels)) // LANES) * LANES


@register_jitable
def slack(half_side: Any) -> Any:
    """How far an outline of that half size (number or vector) is widened against rounding, px."""
    return _SLACK + _SLACK_SHARE * half_side
