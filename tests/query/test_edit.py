"""Cutting out and deleting are each other's rest; colouring changes colours alone."""

from dataclasses import fields
from types import SimpleNamespace

import pytest
import torch

from gags.errors import QueryError
from gags.gaussians import SH_C0, Gaussians
from gags.query.edit import LUMINANCE, deleted, extracted, painted, parse_color, recolored, union
from gags.render.reference import sh_colors


@pytest.fixture
def gaussians():
    torch.manual_seed(0)
    shapes = [(9, 3), (9, 4), (9, 3), (9,), (9, 4, 3)]
    return Gaussians(*(torch.randn(*shape) for shape in shapes))


MASK = torch.tensor([1, 0, 0, 1, 1, 0, 0, 0, 1], dtype=torch.bool)


def test_extract_and_delete_partition_the_scene_and_keep_its_order(gaussians):
    inside, outside = extracted(gaussians, MASK), deleted(gaussians, MASK)
    for field in fields(Gaussians):
        values = getattr(gaussians, field.name)
        assert torch.equal(getattr(inside, field.name), torch.stack([values[i] for i in (0, 3, 4, 8)]))
        assert torch.equal(getattr(outside, field.name), torch.stack([values[i] for i in (1, 2, 5, 6, 7)]))


def test_recolor_gives_the_colour_from_every_side_and_keeps_all_else(gaussians):
    before = gaussians.sh.clone()
    result = recolored(gaussians, MASK, (1.0, 0.5, 0.25))
    colors = 0.5 + 0.28209479 * result.sh[MASK, 0]
    torch.testing.assert_close(colors, torch.tensor([[1.0, 0.5, 0.25]]).repeat(4, 1))
    assert (result.sh[MASK, 1:] == 0).all()
    assert torch.equal(result.sh[~MASK], before[~MASK])
    assert torch.equal(gaussians.sh, before)
    for name in ("means", "quats", "log_scales", "logit_opacities"):
        assert torch.equal(getattr(result, name), getattr(gaussians, name))


def test_union_of_instances_and_its_inverse():
    one, two = SimpleNamespace(mask=MASK), SimpleNamespace(mask=torch.arange(9) == 1)
    assert union([one, two], 9).tolist() == [bool(m) or k == 1 for k, m in enumerate(MASK)]
    assert union([one], 9, invert=True).tolist() == (~MASK).tolist()
    assert not union([], 9).any()


@pytest.mark.parametrize(
    ("text", "rgb"),
    [
        ("#ff0000", (1, 0, 0)),
        ("#0f0", (0, 1, 0)),
        ("blue", (0, 0, 1)),
        (" #804000 ", (128 / 255, 64 / 255, 0)),
    ],
)
def test_colours_as_people_write_them(text, rgb):
    assert parse_color(text) == pytest.approx(rgb)


@pytest.mark.parametrize("text", ["", "blurple", "#12", "ff0000"])
def test_what_is_no_colour_is_an_error(text):
    with pytest.raises(QueryError, match="no colour"):
        parse_color(text)


def test_painting_multiplies_the_colour_by_the_brightness_of_each_place():
    generator = torch.Generator().manual_seed(0)
    sh = 0.2 * torch.randn(6, 4, 3, generator=generator)
    sh[:, 0] += 1.0
    some = Gaussians(torch.zeros(6, 3), torch.ones(6, 4), torch.zeros(6, 3), torch.arange(6.0), sh)
    mask = torch.tensor([True, True, False, True, False, True])
    color = torch.tensor([0.2, 0.6, 0.1])
    result = painted(some, mask, (0.2, 0.6, 0.1))
    direction = torch.tensor([[0.3, -0.5, 0.8]]).expand(6, 3)
    before, after = sh_colors(some.sh, direction, 1), sh_colors(result.sh, direction, 1)
    grey = torch.tensor(LUMINANCE)
    base, weights = (0.5 + SH_C0 * sh[mask, 0]) @ grey, some.opacities[mask]
    wanted = (before @ grey)[:, None] * color / ((base * weights).sum() / weights.sum())
    torch.testing.assert_close(after[mask], wanted[mask])
    torch.testing.assert_close(result.sh[~mask], some.sh[~mask])
    assert torch.equal(some.sh, sh)
