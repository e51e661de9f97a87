"""Shares of pixels that chosen Gaussians make up, against blending by hand."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene

from gags.capture import Camera
from gags.distill.train import DistillSettings, train_field
from gags.evaluate.answerer import FieldAnswerer, Selections
from gags.gaussians import Gaussians
from gags.query import maps as module
from gags.query.answers import answer_view
from gags.query.instances import locate_instances
from gags.query.relevancy import Queries
from gags.things.find import find_things

CAMERA = Camera(np.eye(4), np.array([[20.0, 0, 10.5], [0, 20.0, 8.5], [0, 0, 1]]), 21, 17)


def one_behind_the_other() -> Gaussians:
    """A front one of opacity 0.6 on the axis, a larger one of opacity 0.9 behind it."""
    means = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0]])
    opacities = torch.tensor([0.6, 0.9]).logit()
    scales = torch.tensor([[0.1] * 3, [1.0] * 3]).log()
    return Gaussians(means, torch.tensor([[1.0, 0, 0, 0]] * 2), scales, opacities, torch.zeros(2, 1, 3))


@pytest.mark.parametrize("at_once", [1, 32])
def test_shares_are_of_what_is_seen_from_the_front(monkeypatch, at_once):
    monkeypatch.setattr(module, "MAPS_AT_ONCE", at_once)
    chosen = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    answer = Selections(one_behind_the_other(), chosen).shares(CAMERA, [0, 1, 2, 3])
    # On the axis the front one takes 0.6 of the light; the one behind 0.9 of the remaining 0.4.
    np.testing.assert_allclose(answer.maps[:, 8, 10], [0.6 / 0.96, 0.36 / 0.96, 1, 0], atol=2e-3)
    assert answer.covered[8, 10]
    assert not answer.covered[0, 0]
    assert (answer.maps[:, ~answer.covered] == 0).all()
    np.testing.assert_allclose(answer.maps[:2].sum(0)[answer.covered], 1, atol=1e-4)
    one = Selections(one_behind_the_other(), chosen).shares(CAMERA, [1])
    np.testing.assert_array_equal(one.maps[0], answer.maps[1])


def test_a_field_answers_as_it_does_elsewhere():
    scene = make_scene(views=4)
    field = train_field(scene.gaussians, scene.items(), DistillSettings(steps=0))
    asked = FieldAnswerer(scene.gaussians, field)
    queries = asked.prepare(WORDS, ToyEncoder())
    answer = asked.relevancy(scene.cameras[1], queries)
    expected = answer_view(
        scene.gaussians, field, scene.cameras[1], Queries.encode(WORDS, ToyEncoder(), field)
    )
    for values, other in zip(answer.maps, expected, strict=True):
        np.testing.assert_array_equal(values, other.relevancy)
    things = find_things(scene.gaussians, scene.items())
    knowing = FieldAnswerer(scene.gaussians, field, lambda: things)
    located = locate_instances(scene.gaussians, field, queries, things, there=True)
    expected_masks = [torch.stack([one.mask for one in instances]).any(0) for instances in located]
    assert torch.equal(knowing.select(queries).chosen, torch.stack(expected_masks))
