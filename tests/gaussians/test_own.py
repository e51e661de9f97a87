"""splats.ply of a scene: anything but what its stage wrote is damage."""

import numpy as np
import pytest
import torch
from tests.helpers.heard import Heard

from gags.errors import DamagedError, FileError, SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.own import (
    load_splats_of,
    sane,
    save_splats_of,
    splats_are_whole,
    splats_checksum,
    without_absurd,
)  # fmt: skip
from gags.gaussians.ply import save_ply
from gags.workspace import Workspace


def some(count: int = 20) -> Gaussians:
    rng = torch.Generator().manual_seed(0)
    sizes = ((count, 3), (count, 4), (count, 3), (count,), (count, 4, 3))
    return Gaussians(*(torch.randn(size, generator=rng) for size in sizes))


@pytest.fixture
def workspace(tmp_path):
    made = Workspace.create(tmp_path / "ws")
    checksum = save_splats_of(made, some())
    made.finish("reconstruct", "abc", 1.0, checksums={"splats.ply": checksum})
    return made


def test_what_was_written_comes_back(workspace):
    loaded = load_splats_of(workspace)
    for name, tensor in vars(some()).items():
        assert torch.equal(getattr(loaded, name), tensor)
    assert splats_are_whole(workspace)


def test_every_number_counts(workspace):
    content = workspace.splats.read_bytes()
    start = content.index(b"end_header\n") + 11
    for offset in np.random.default_rng(0).integers(start, len(content), 12):
        if (offset - start) // 4 % 26 in (3, 4, 5):  # normals, which are no numbers of Gaussians
            continue
        flipped = bytearray(content)
        flipped[offset] ^= 1
        workspace.splats.write_bytes(flipped)
        with pytest.raises(DamagedError, match=r"splats\.ply is missing or damaged .*gags run") as caught:
            load_splats_of(workspace)
        assert caught.value.path == workspace.splats


def test_scenes_without_checksum_are_read_but_not_with_absurd_numbers(workspace):
    workspace.finish("reconstruct", "abc", 1.0)  # as 0.1.0 did
    assert len(load_splats_of(workspace)) == 20
    for name, value, said in (
        ("log_scales", 1e38, "1 of 20 Gaussians have values that no scene has"),
        ("means", 1e30, "1 of 20 Gaussians have values"),
        ("sh", float("nan"), "1 of 20 Gaussians are not finite"),
        ("quats", float("inf"), "1 of 20 Gaussians are not finite"),
    ):
        odd = some()
        getattr(odd, name)[3, 0] = value
        save_ply(odd, workspace.splats)
        with pytest.raises(DamagedError, match=said):
            load_splats_of(workspace)


def test_what_is_no_file(workspace):
    workspace.splats.unlink()
    with pytest.raises(DamagedError, match="missing"):
        load_splats_of(workspace)
    workspace.splats.mkdir()
    heard = Heard()
    with pytest.raises(FileError, match="it is a folder"):
        splats_are_whole(workspace, heard)
    workspace.splats.rmdir()
    workspace.splats.write_bytes(b"junk")
    assert not splats_are_whole(workspace, heard)
    assert "is not a PLY file" in heard.warned[0]


def test_absurd_gaussians_of_others_are_dropped():
    odd = some()
    odd.log_scales[2, 1], odd.means[5, 0], odd.logit_opacities[7] = 41, -2e18, float("-inf")
    odd.log_scales[9, 0] = float("-inf")  # flat
    assert sane(odd).tolist() == [row not in (2, 5) for row in range(20)]
    heard = Heard()
    left = without_absurd(odd, "their.ply", heard)
    assert splats_checksum(left) == splats_checksum(odd[sane(odd)])
    assert heard.warned == ["their.ply: 2 of 20 Gaussians have values that no scene has, dropped"]
    assert without_absurd(some(), "their.ply", heard) is not None
    assert len(heard.warned) == 1
    odd.means[:] = 1e20
    with pytest.raises(SplatsError, match=r"their\.ply: no Gaussian"):
        without_absurd(odd, "their.ply")
