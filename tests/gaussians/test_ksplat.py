"""`.ksplat`: files written here byte by byte, on each level and with buckets, and what is read from them."""

import struct

import numpy as np
import pytest
import torch
from tests.helpers.varied import pictures, varied

from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.files import load_gaussians

BLOCK, BUCKET = 0.5, 8  # side of a bucket's cube, Gaussians in a full one


def made_ksplat(g: Gaussians, level: int, *, sections: int = 1) -> tuple[bytes, np.ndarray]:
    """The file, and the order in which it holds the Gaussians: those of one bucket behind each other."""
    heads, bodies, order = b"", b"", []
    for rows in np.array_split(np.arange(len(g)), sections):
        cells = np.floor(g.means[rows].numpy() / BLOCK).astype(int)
        cubes, owner = np.unique(cells, axis=0, return_inverse=True)
        groups = [
            rows[owner == cube][i : i + BUCKET] for cube in range(len(cubes)) for i in range(0, 99, BUCKET)
        ]
        groups = [group for group in groups if len(group)]
        full = [group for group in groups if len(group) == BUCKET]
        partial = [group for group in groups if len(group) < BUCKET]
        centres = [(np.floor(g.means[group[0]].numpy() / BLOCK) + 0.5) * BLOCK for group in full + partial]
        body = b""
        if level > 0:
            body += struct.pack(f"<{len(partial)}I", *map(len, partial))
            body += np.array(centres, "<f4").tobytes()
        for group, centre in zip(full + partial, centres, strict=True):
            body += b"".join(_row(g, row, centre, level) for row in group)
            order += group.tolist()
        head = struct.pack("<IIIIfHxxI", len(rows), len(rows), BUCKET, len(groups), BLOCK, 12, 32767)
        if level == 0:
            head = struct.pack("<IIIIfHxxI", len(rows), len(rows), 0, 0, 0.0, 0, 0)
        head += struct.pack("<I", len(body))
        head += struct.pack("<II", *((len(full), len(partial)) if level else (0, 0)))
        heads += (head + struct.pack("<H", g.sh_degree)).ljust(1024, b"\0")
        bodies += body
    header = bytes([0, 1, 0, 0]) + struct.pack("<4I", sections, sections, len(g), len(g))
    header += struct.pack("<Hxx3f2f", level, 0, 0, 0, -2.0, 2.5)
    return header.ljust(4096, b"\0") + heads + bodies, np.array(order)


def _row(g: Gaussians, row: int, centre: np.ndarray, level: int) -> bytes:
    kind = "<f4" if level == 0 else "<f2"
    mean = g.means[row].numpy()
    if level:
        steps = np.round((mean - centre) / (BLOCK / 2) * 32767) + 32767
        data = steps.clip(0, 65535).astype("<u2").tobytes()
    else:
        data = mean.astype("<f4").tobytes()
    quat = g.quats[row].numpy() / np.linalg.norm(g.quats[row])
    data += g.scales[row].numpy().astype(kind).tobytes() + quat.astype(kind).tobytes()
    rgb = (0.5 + 0.28209479 * g.sh[row, 0].numpy()).clip(0, 1)
    data += np.round(255 * np.append(rgb, g.opacities[row])).astype(np.uint8).tobytes()
    rest = g.sh[row, 1:].numpy()
    by_channel = np.concatenate([rest[:3].T.ravel(), rest[3:8].T.ravel()])[: 3 * len(rest)]
    if level == 2:
        return data + np.floor((by_channel + 2.0) / 4.5 * 255).clip(0, 255).astype(np.uint8).tobytes()
    return data + by_channel.astype(kind).tobytes()


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_every_level_and_degree(tmp_path, level, degree):
    g = varied(50, degree=degree)
    data, order = made_ksplat(g, level, sections=2)
    (tmp_path / "a.ksplat").write_bytes(data)
    again, g = load_gaussians(tmp_path / "a.ksplat"), g[torch.from_numpy(order)]
    assert again.sh_degree == degree
    close = {"rtol": 0, "atol": 1e-6 if level == 0 else 2e-3}
    torch.testing.assert_close(again.means, g.means, rtol=0, atol=1e-6 if level == 0 else 1e-5)
    torch.testing.assert_close(again.log_scales, g.log_scales, **close)
    torch.testing.assert_close(again.quats, g.quats / g.quats.norm(dim=1, keepdim=True), **close)
    torch.testing.assert_close(again.opacities, g.opacities, rtol=0, atol=0.51 / 255)
    colors = (0.5 + 0.28209479 * g.sh[:, 0]).clamp(0, 1)
    torch.testing.assert_close(0.5 + 0.28209479 * again.sh[:, 0], colors, rtol=0, atol=0.51 / 255)
    step = {0: 1e-6, 1: 2e-3, 2: 4.5 / 255}[level]
    torch.testing.assert_close(again.sh[:, 1:], g.sh[:, 1:].clamp(-2, 2.5), rtol=0, atol=step)
    assert (pictures(again) - pictures(g)).abs().mean() < 0.01


def test_buckets_that_hold_too_many(tmp_path):
    data, _ = made_ksplat(varied(50, degree=0), 1)
    for place, value, message in [
        (4096 + 8, 10**6, "more Gaussians than there are"),
        (4096 + 32, 0, "do not hold all"),
        (4096 + 4, 2 * 10**9, "behind the end"),
        (4, 10**6, "1000000 sections are claimed"),
        (20, 3, "level 3"),
        (0, 9, "version 9.0"),
    ]:
        changed = bytearray(data)
        struct.pack_into("<I" if place != 20 else "<H", changed, place, value)
        (tmp_path / "a.ksplat").write_bytes(changed)
        with pytest.raises(SplatsError, match=message):
            load_gaussians(tmp_path / "a.ksplat")
    for content in (b"", data[:4000], data[:5000]):
        (tmp_path / "a.ksplat").write_bytes(content)
        with pytest.raises(SplatsError, match=r"a\.ksplat is damaged"):
            load_gaussians(tmp_path / "a.ksplat")
