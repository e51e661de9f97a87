"""mkkellogg's `.ksplat` (GaussianSplats3D), version 0.1, levels 0 to 2 of its compression; read.

A header of 4096 bytes, a header of 1024 bytes a section, then the sections. Level 0 holds float32; levels 1
and 2 hold half floats and centres in 16 bits from the middle of a bucket; level 2 has harmonics in 8 bits.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gags.errors import SplatsError
from gags.gaussians.foreign import content_of, damage_of, gathered, logarithms_of, logits_of
from gags.gaussians.gaussians import SH_C0, Gaussians
from gags.progress import SILENT, Reporter

_HEADER_BYTES, _SECTION_BYTES = 4096, 1024
_FLOATS = {0: ("<f4", "<f4", "<f4"), 1: ("<u2", "<f2", "<f2"), 2: ("<u2", "<f2", "u1")}
"""Types of centres, of sizes and rotations, and of harmonics, by level."""
_RANGE = {0: 1, 1: 32767, 2: 32767}  # of a centre's number either way, where a section does not say
_HARMONICS = {0: 0, 1: 9, 2: 24}  # numbers above degree 0, by degree
_WHOLE_SH_RANGE = 1.5  # harmonics of level 2 lie within ± this, where the header does not say


@dataclass(frozen=True)
class _Section:
    """What the header of a section says; sizes in bytes, places from the start of the file."""

    count: int
    degree: int
    start: int
    bucket_size: int
    buckets: int
    block: float  # side of the cube that a bucket's centres lie in
    bytes_a_bucket: int
    scale_range: int
    full: int
    partial: int

    @property
    def data(self) -> int:
        """Where its Gaussians start."""
        return self.start + 4 * self.partial + self.bytes_a_bucket * self.buckets


def load_ksplat(path: Path, progress: Reporter = SILENT) -> Gaussians:
    """Read such a file; see `files.load_gaussians`.

    Raises:
        SplatsError: If the file is missing, damaged, or of another format.
    """
    data = content_of(path)
    with damage_of(path, "a .ksplat file"):
        if len(data) < _HEADER_BYTES:
            raise ValueError(f"{len(data)} bytes, and its header alone has {_HEADER_BYTES}")
        major, minor, sections = data[0], data[1], struct.unpack_from("<I", data, 4)[0]
        level = struct.unpack_from("<H", data, 20)[0]
        if (major, minor) != (0, 1) or level not in _FLOATS:
            raise ValueError(f"version {major}.{minor}, level {level}; version 0.1, levels 0 to 2 are read")
        low, high = struct.unpack_from("<2f", data, 36)
        limits = (low or -_WHOLE_SH_RANGE, high or _WHOLE_SH_RANGE)
        parts = [_gaussians(data, section, level, limits) for section in _sections(data, sections, level)]
        degree = max((part[4].shape[1] for part in parts), default=1)
        for part in parts:
            part[4] = np.pad(part[4], ((0, 0), (0, degree - part[4].shape[1]), (0, 0)))
        arrays = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        if not arrays:
            raise SplatsError(f"{path} holds no Gaussians")
        return gathered(*arrays, path=path, progress=progress)


def _sections(data: bytes, count: int, level: int) -> list[_Section]:
    """Sections by their headers, each within the file."""
    start = _HEADER_BYTES + count * _SECTION_BYTES
    if start > len(data):
        raise ValueError(f"{count} sections are claimed in {len(data)} bytes")
    found = []
    for number in range(count):
        head = data[_HEADER_BYTES + number * _SECTION_BYTES :][:_SECTION_BYTES]
        _, most, size, buckets, block, storage, scale_range = struct.unpack_from("<4IfHxxI", head)
        full, partial, degree = struct.unpack_from("<IIH", head, 32)
        found.append(
            _Section(
                count=most,
                degree=degree,
                start=start,
                bucket_size=size,
                buckets=buckets,
                block=block,
                bytes_a_bucket=storage,
                scale_range=scale_range or _RANGE[level],
                full=full,
                partial=partial,
            )
        )
        start = found[-1].data + most * _row(level, degree).itemsize
        if start > len(data):
            raise ValueError(f"section {number} ends behind the end of the file")
    return found


def _row(level: int, degree: int) -> np.dtype:
    """The layout of one Gaussian."""
    centre, plain, harmonic = _FLOATS[level]
    return np.dtype(
        [
            ("centre", centre, 3),
            ("scale", plain, 3),
            ("quat", plain, 4),
            ("rgba", "u1", 4),
            ("sh", harmonic, _HARMONICS[degree]),
        ]
    )


def _gaussians(data: bytes, section: _Section, level: int, limits: tuple[float, float]) -> list[np.ndarray]:
    """Means, quats, log-scales, logits and harmonics of a section."""
    rows = np.frombuffer(data, _row(level, section.degree), section.count, section.data)
    means = rows["centre"].astype(np.float64)
    if level > 0:
        factor = section.block / 2 / section.scale_range
        means = (means - section.scale_range) * factor + _bucket_centres(data, section)
    rest = rows["sh"].astype(np.float64)
    if level == 2:
        rest = limits[0] + rest / 255 * (limits[1] - limits[0])
    colors = (rows["rgba"][:, :3] / 255 - 0.5) / SH_C0
    return [
        means,
        rows["quat"].astype(np.float64),
        logarithms_of(rows["scale"].astype(np.float64)),
        logits_of(rows["rgba"][:, 3] / 255),
        np.concatenate([colors[:, None], _by_coefficient(rest)], axis=1),
    ]


def _by_coefficient(rest: np.ndarray) -> np.ndarray:
    """All of red, of green, of blue, degree by degree, as RGB a coefficient. [N, R] → [N, R / 3, 3]"""
    ends = [(0, 9), (9, 24)][: {0: 0, 9: 1, 24: 2}[rest.shape[1]]]
    degrees = [rest[:, a:b].reshape(len(rest), 3, (b - a) // 3).transpose(0, 2, 1) for a, b in ends]
    return np.concatenate([np.zeros((len(rest), 0, 3)), *degrees], axis=1)


def _bucket_centres(data: bytes, section: _Section) -> np.ndarray:
    """The middle of the bucket that each Gaussian lies in: full buckets come first. [N, 3]"""
    if section.full * section.bucket_size > section.count:
        raise ValueError("its buckets hold more Gaussians than there are")
    sizes = np.frombuffer(data, "<u4", section.partial, section.start).astype(np.int64)
    sizes = np.concatenate([np.full(section.full, section.bucket_size), sizes])
    if int(sizes.sum()) != section.count or len(sizes) > section.buckets or section.bytes_a_bucket != 12:
        raise ValueError("its buckets do not hold all Gaussians")
    start = section.start + 4 * section.partial
    centres = np.frombuffer(data, "<f4", 3 * section.buckets, start).reshape(-1, 3)
    return np.repeat(centres[: len(sizes)], sizes, axis=0)
