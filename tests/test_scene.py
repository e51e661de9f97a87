"""Answers in 2D and 3D on a scene whose truth is known."""

import numpy as np
import pytest
import torch

from gags.distill import field as field_module
from gags.distill.field import LanguageField
from gags.distill.train import DistillSettings, train_field
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.metrics import iou, rank
from gags.gaussians import render
from gags.query.answers import answer_view, fill_uncovered, granularity_map, render_features
from gags.query.instances import locate_instances
from gags.query.relevancy import Queries, relevancy
from gags.things.find import find_things
from gags.things.things import Things
from gags.things.voxels import Voxels
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture(scope="module")
def field(scene):
    return train_field(scene.gaussians, scene.items(), DistillSettings(steps=100, batch_regions=64))


@pytest.fixture(scope="module")
def queries(field):
    return Queries.encode(WORDS, ToyEncoder(), field)


def test_the_right_thing_lights_up(scene, field, queries):
    for camera, ids in list(zip(scene.cameras, scene.ids, strict=True))[:3]:
        answers = answer_view(scene.gaussians, field, camera, queries, view="v")
        for number, answer in enumerate(answers):
            truth = ids == number
            x, y = answer.peak
            assert (answer.text, answer.view) == (WORDS[number], "v")
            assert answer.relevancy.dtype == np.float32
            assert answer.mask.dtype == bool
            assert answer.score == answer.relevancy[y, x]
            assert rank(answer.relevancy, truth).best_iou > 0.8  # the balls have soft edges
            assert iou(answer.relevancy > 0.9, truth) > 0.75


def test_maps_are_rendered_relevancies_of_the_gaussians_and_zero_off_the_scene(scene, field, queries):
    g, camera = scene.gaussians, scene.cameras[0]
    with torch.no_grad():
        embeddings = field.decoder.embeddings(field.features)
    own = relevancy(embeddings, queries.vectors[2], queries.negatives, temperature=10.0)[:, None]
    drawn = render(g, camera, own, backend="reference")
    covered = (drawn.alphas >= 0.5).numpy()
    found = answer_view(g, field, camera, queries)[2].relevancy
    assert 0 < (~covered).sum() < covered.size
    assert (found[~covered] == 0).all()
    expected = (drawn.colors[..., 0] / drawn.alphas.clamp(min=1e-6)).numpy()
    np.testing.assert_allclose(found[covered], expected[covered], atol=2e-3)


def test_a_field_too_large_to_be_kept_decoded_answers_alike(field, queries, monkeypatch):
    kept = queries.of_gaussians(field)
    monkeypatch.setattr(field_module, "KEPT_BYTES", 0)
    again = LanguageField(field.features, field.decoder, field.encoder_name, field.splats_hash)
    torch.testing.assert_close(queries.of_gaussians(again), kept)


def test_uncovered_pixels_do_not_stretch_the_range():
    relevancy = torch.tensor([[0.0, 0.4], [0.6, 0.0]])
    covered = torch.tensor([[False, True], [True, False]])
    np.testing.assert_array_equal(
        fill_uncovered(relevancy, covered), np.array([[0.4, 0.4], [0.6, 0.4]], np.float32)
    )


def test_granularity_map_sums_to_one(scene, field):
    rendered = render_features(scene.gaussians, field, scene.cameras[0])
    weights = granularity_map(rendered, field)
    covered = rendered.covered.numpy()
    np.testing.assert_allclose(weights[covered].sum(-1), 1, atol=1e-5)
    assert (weights[~covered] == 0).all()


@pytest.mark.parametrize("with_masks", [True, False])
def test_instances_are_the_right_gaussians(scene, field, queries, with_masks):
    things = find_things(scene.gaussians, scene.items()) if with_masks else Things.none()
    found = locate_instances(scene.gaussians, field, queries, things)
    for number in range(1, len(WORDS)):
        (instance,) = found[number]
        truth = scene.owner == number
        assert iou(instance.mask.numpy(), truth) > 0.8
        true_centre = scene.gaussians.means.numpy()[truth].mean(axis=0)
        assert np.abs(instance.box.center - true_centre).max() < 0.2
        assert 0.8 < instance.score <= 1
        assert (instance.thing is None) == (not with_masks)


def test_the_mask_in_a_view_is_what_it_shows_of_the_instances(scene, field, queries):
    things = find_things(scene.gaussians, scene.items())
    found = locate_instances(scene.gaussians, field, queries, things)
    chosen = torch.stack([instances[0].mask for instances in found])
    chosen[2] = False  # nothing matches
    for camera, ids in zip(scene.cameras, scene.ids, strict=True):
        answers = answer_view(scene.gaussians, field, camera, queries, chosen=chosen)
        for number, answer in enumerate(answers):
            truth = ids == number
            if number == 2:
                assert not answer.mask.any()
                assert answer.relevancy[answer.peak[::-1]] > 0  # where the map is brightest, all the same
            elif truth.sum() > 20:
                assert iou(answer.mask, truth) > 0.8
                assert truth[answer.peak[::-1]]


def test_voxels_find_neighbours_and_pieces():
    xyz = np.array([[0, 0, 0], [0.9, 0, 0], [1.1, 0, 0], [2.5, 1.5, 0], [9, 9, 9], [9.2, 9, 9]])
    voxels = Voxels.build(xyz, 1.0)
    assert len(voxels) == 4
    np.testing.assert_array_equal(voxels.sums(np.ones(6))[voxels.owner], [2, 2, 1, 1, 2, 2])
    around = voxels.spread(voxels.sums(np.ones(6)))[voxels.owner]
    np.testing.assert_array_equal(around, [3, 3, 4, 2, 2, 2])
    pieces = voxels.pieces(np.ones(4, bool))[voxels.owner]
    np.testing.assert_array_equal(pieces, [0, 0, 0, 0, 1, 1])
    chosen = np.ones(4, bool)
    chosen[voxels.owner[2]] = False  # the link
    pieces = voxels.pieces(chosen)[voxels.owner]
    np.testing.assert_array_equal(pieces, [0, 0, -1, 1, 2, 2])


def test_a_long_chain_is_one_piece():
    xyz = np.random.default_rng(0).permutation(np.arange(300))[:, None] * np.array([[1.0, 1.0, 0.0]])
    voxels = Voxels.build(xyz, 1.0)
    assert (voxels.pieces(np.ones(300, bool)) == 0).all()


def test_a_field_that_is_asked_by_pixel_decodes_what_was_rendered(scene, field, queries):
    """Nothing is divided by alpha; where nothing was rendered, f = 0 is decoded."""
    g, camera = scene.gaussians, scene.cameras[0]
    by_pixel = LanguageField(
        field.features, field.decoder, field.encoder_name, field.splats_hash, asked="pixels"
    )
    drawn = render(g, camera, field.features, backend="reference")
    with torch.no_grad():
        embeddings = field.decoder.embeddings(drawn.colors)
    expected = relevancy(embeddings, queries.vectors[2], queries.negatives, temperature=10.0).numpy()
    covered = (drawn.alphas >= 0.5).numpy()
    maps = FieldAnswerer(g, by_pixel).relevancy(camera, queries)
    np.testing.assert_array_equal(maps.covered, covered)
    np.testing.assert_allclose(maps.maps[2], expected, atol=5e-3)
    (answer,) = answer_view(g, by_pixel, camera, queries.subset([2]))
    np.testing.assert_allclose(answer.relevancy, np.where(covered, expected, 0), atol=5e-3)
    assert (answer_view(g, field, camera, queries)[2].relevancy != answer.relevancy).any()
