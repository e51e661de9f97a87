"""SuperSplat's compressed PLY: 256 Gaussians share bounds, within which each is stored in 16 bytes.

The layout is PlayCanvas's (blog.playcanvas.com/compressing-gaussian-splats); files from before it knew bounds
of colours are read, too.
"""

import numpy as np

from gags.gaussians.gaussians import SH_C0

GAUSSIANS_A_CHUNK = 256  # Gaussians that share bounds
SH_RANGE = 8.0  # harmonics above degree 0 lie in −4 … 4
_AXES = ("x", "y", "z")
_SCALES = ("scale_x", "scale_y", "scale_z")
_COLORS = ("r", "g", "b")


def unpacked(elements: dict[str, np.ndarray]) -> np.ndarray:
    """Gaussians as 3DGS files store them, from the elements of a compressed PLY.

    Args:
        elements: `chunk` and `vertex`, and `sh` if there are harmonics above degree 0.

    Returns:
        Means, wxyz rotations, log-scales, logit opacity, DC and the rest channel by channel.
        float32 [N, 14 + R]

    Raises:
        ValueError: If elements or properties are missing or do not fit each other.
    """
    chunks, vertices, rest = elements.get("chunk"), elements["vertex"], elements.get("sh")
    count = len(vertices)
    if chunks is None or len(chunks) * GAUSSIANS_A_CHUNK < count:
        raise ValueError(f"lacks bounds for some of its {count} Gaussians")
    if rest is not None and len(rest) != count:
        raise ValueError(f"holds harmonics of {len(rest)} of {count} Gaussians")
    rows = np.arange(count) // GAUSSIANS_A_CHUNK
    colors = _bytes(vertices["packed_color"]) / 255
    rgb = (
        _within(colors[:, :3], chunks, rows, _COLORS)
        if "min_r" in (chunks.dtype.names or ())
        else colors[:, :3]
    )
    alphas = colors[:, 3].clip(1e-6, 1 - 1e-6)
    columns = [
        _within(_fractions(vertices["packed_position"]), chunks, rows, _AXES),
        _rotations(vertices["packed_rotation"]),
        _within(_fractions(vertices["packed_scale"]), chunks, rows, _SCALES),
        np.log(alphas / (1 - alphas))[:, None],
        (rgb - 0.5) / SH_C0,
    ]
    if rest is not None:
        values = np.stack([rest[f"f_rest_{i}"] for i in range(len(rest.dtype.names or ()))], axis=1)
        columns.append((_centres(values) - 0.5) * SH_RANGE)
    return np.concatenate(columns, axis=1).astype(np.float32)


def _within(
    fractions: np.ndarray, chunks: np.ndarray, rows: np.ndarray, names: tuple[str, str, str]
) -> np.ndarray:
    """Fractions of the way from the least to the greatest of each chunk. [N, 3]"""
    try:
        low, high = (np.stack([chunks[f"{end}_{n}"] for n in names], axis=1)[rows] for end in ("min", "max"))
    except ValueError as error:
        raise ValueError(f"lacks bounds in its chunks ({error})") from error
    return low + fractions * (high.astype(np.float64) - low)


def _fractions(words: np.ndarray) -> np.ndarray:
    """Three numbers from 0 to 1 in 11, 10 and 11 bits, the first in the highest. [N] → [N, 3]"""
    words = words.astype(np.uint32)
    return np.stack([(words >> 21) / 2047, ((words >> 11) & 1023) / 1023, (words & 2047) / 2047], axis=1)


def _bytes(words: np.ndarray) -> np.ndarray:
    """Four bytes, the highest first. [N] → [N, 4]"""
    words = words.astype(np.uint32)
    return np.stack([(words >> shift) & 255 for shift in (24, 16, 8, 0)], axis=1).astype(np.float64)


def _rotations(words: np.ndarray) -> np.ndarray:
    """wxyz, from the number of the largest component in 2 bits and the others in 10 bits each. [N, 4]"""
    words = words.astype(np.uint32)
    small = np.stack([(words >> shift) & 1023 for shift in (20, 10, 0)], axis=1) / 1023
    small = (small - 0.5) * np.sqrt(2)
    largest = np.sqrt((1 - (small**2).sum(axis=1)).clip(0))
    quats = np.empty((len(words), 4))
    for place in range(4):
        those = (words >> 30) == place
        quats[those] = np.insert(small[those], place, largest[those], axis=1)
    return quats


def _centres(values: np.ndarray) -> np.ndarray:
    """Bytes as numbers from 0 to 1: the middle of their step, but for the first and last, which are exact."""
    return np.where(values == 0, 0.0, np.where(values == 255, 1.0, (values.astype(np.float64) + 0.5) / 256))
