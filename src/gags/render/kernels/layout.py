"""How the memory of the CPU kernels is laid out: numbers of a Gaussian, a tile, a gradient; scratch."""

import threading
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from gags.render.types import MAX_ALPHA, MIN_ALPHA
from gags.simd.vectors import LANES, NATIVE_LANES

# The record of a Gaussian is what blending needs of it, in one piece. With d = (dx, dy) from its projected
# mean to the pixel and its conic Σ'⁻¹, α = o exp(-½ dᵀ Σ'⁻¹ d) becomes
# log2 α = peak + xx dx² + xy dx dy + yy dy². Then the features: colours, depth, zeros up to a whole group.
CENTRE_X, CENTRE_Y, QUAD_XX, QUAD_XY, QUAD_YY, PEAK, FIRST_FEATURE = range(7)
FEATURE_GROUP = 4  # features that are blended together

# The outline is the ellipse in which α of a Gaussian reaches MIN_ALPHA: its centre, half the width and height
# of its box, the curve y = tilt dx ± bulge √(half width² - dx²), dx of its top, first and last column of
# tiles.
OUTLINE = 16
OUTLINE_X, OUTLINE_Y, HALF_X, HALF_Y, TILT, BULGE, TOP, FIRST_TILE, LAST_TILE = range(9)

# Planes hold one number of every Gaussian each: screen radius, depth, number of tiles in its box.
PLANE_RADIUS, PLANE_DEPTH, PLANE_SLOTS, PLANES = range(4)

# A slot is one Gaussian in one tile. Its gradient: sums over the pixels of the tile of g = dL/d ln α, alone
# and times products of dx and dy; then the gradients of the features.
SUM, SUM_X, SUM_Y, SUM_XX, SUM_XY, SUM_YY, SUM_FEATURES = range(7)

# Blocks of 16 Gaussians that a thread takes at once; others take the rest while it is held up. With fewer,
# threads work so near each other in memory that they wait for lines in each other's caches.
BLOCKS_A_TURN = 256

TILE_WIDTH = 16
TILE_HEIGHT = 32  # the rows a Gaussian touches are the bits of an int32
STRIP = NATIVE_LANES  # columns that are blended at once: one vector holds one row of a strip
STRIPS = TILE_WIDTH // STRIP  # in a tile
MEMBER = 1 + STRIPS  # numbers a member of a tile has
LOG2E = 1.4426950408889634
LOG2_MIN_ALPHA = float(np.log2(MIN_ALPHA))
LOG2_MAX_ALPHA = float(np.log2(MAX_ALPHA))
_SLACK = 0.01  # px by which an outline is widened against rounding,
_SLACK_SHARE = 1e-3  # and this share of its size


class Geometry(NamedTuple):
    """N Gaussians without their colours, as flat float32 arrays; no offsets are an empty array."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    offsets: np.ndarray


class Pictures(NamedTuple):
    """What blending writes, or the gradients of that, as flat float32 arrays."""

    image: np.ndarray
    depths: np.ndarray
    alphas: np.ndarray


class TileLists(NamedTuple):
    """The members of every tile in depth order; one member is one Gaussian in one tile.

    Attributes:
        shown: Indices of the M Gaussians in the picture, padded with the last one to whole blocks
            of 16. int32
        spans: Every member has a slot, those of one Gaussian lie together: first and last + 1 of each
            Gaussian in `shown`. int64 [M, 2]
        slot_count: Number of slots, used or not.
        members: Of all tiles, one tile after the other, each front to back: Gaussian index, then for every
            strip of the tile the rows it touches there as bits. int32 [members or more, MEMBER]
        slots: The slot of each member. int32
        starts: Where the members of each tile start. int64 [tiles + 1]
    """

    shown: np.ndarray
    spans: np.ndarray
    slot_count: int
    members: np.ndarray
    slots: np.ndarray
    starts: np.ndarray


@register_jitable
def groups_of(channels: int) -> int:
    """Groups of features that hold the colour channels and the depth."""
    return channels // FEATURE_GROUP + 1


@register_jitable
def record_stride(channels: int) -> int:
    """Numbers between two records; whole cache lines."""
    return -(-(FIRST_FEATURE + FEATURE_GROUP * groups_of(channels)) // LANES) * LANES


@register_jitable
def sums_stride(channels: int) -> int:
    """Numbers between the gradients of two slots; whole cache lines."""
    return -(-(SUM_FEATURES + FEATURE_GROUP * groups_of(channels)) // LANES) * LANES


@register_jitable
def rows_of_tile(members: np.ndarray, k: int) -> int:
    """The rows of its tile that a member touches in any strip, as bits."""
    rows = members[k, 1]
    for part in range(2, MEMBER):
        rows |= members[k, part]
    return rows


@register_jitable
def slack(half_side: Any) -> Any:
    """How far an outline of that half size (number or vector) is widened against rounding, px."""
    return _SLACK + _SLACK_SHARE * half_side


_LINE = 64  # bytes
_MOST_KEPT = 1 << 28  # bytes; larger memory is freed at once


def aligned(size: int, dtype: type = np.float32) -> np.ndarray:
    """Uninitialised memory for `size` numbers that starts at a cache line."""
    number = np.dtype(dtype).itemsize
    memory = np.empty(size * number + _LINE, np.uint8)
    skip = -memory.ctypes.data % _LINE
    return memory[skip : skip + size * number].view(dtype)


class Scratch:
    """Memory that one call needs; fresh pages in each call would take longer than the work on them.

    Whoever takes memory must hold `lock` until done with it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._kept: dict[str, np.ndarray] = {}

    def take(self, name: str, size: int, dtype: type = np.float32) -> np.ndarray:
        """Memory for `size` numbers, with any content; the same memory for the same name."""
        need = size * np.dtype(dtype).itemsize
        memory = self._kept.get(name)
        if memory is None or len(memory) < need:
            memory = aligned(need + need // 4, np.uint8)
            if len(memory) <= _MOST_KEPT:
                self._kept[name] = memory
        return memory[:need].view(dtype)
