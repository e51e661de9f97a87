"""N2F2's fusion after training: numbers by hand, files, a toy scene."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, make_scene, word_vector

from gags.compare.methods import n2f2
from gags.compare.methods.learner import Inputs, bytes_per_gaussian
from gags.compare.methods.n2f2 import PHRASES, FusedLevels, fuse, fused, load_fields
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.errors import WorkspaceError
from gags.progress import SILENT

SETTINGS = DistillSettings(steps=30, batch_regions=64, consensus=False)


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=4)


@pytest.fixture(scope="module")
def learnt(scene, tmp_path_factory):
    """Sub-parts say "texture" itself, one of the phrases; parts and wholes say what they are."""
    path = tmp_path_factory.mktemp("n2f2") / "language.safetensors"
    items = scene.items(noise=0.05)
    for _, described in items:
        described.embeddings[described.masks.levels == 0] = word_vector("texture")
    FusedLevels(SETTINGS).learn(Inputs(scene.gaussians, items, ToyEncoder()), 0, path, SILENT)
    return path


def test_levels_are_weighed_by_the_softmax_of_their_best_phrase():
    """One Gaussian by hand: cosines 1, 0.8 and 0 with the phrase that each level resembles most, τ = 10."""
    phrases = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    levels = torch.tensor([[[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1.0]]])
    a, b, c = (e / (math.exp(10) + math.exp(8) + 1) for e in (math.exp(10), math.exp(8), 1.0))
    mixed = np.array([a + 0.6 * b, 0.8 * b, c])
    np.testing.assert_allclose(
        fuse(levels, phrases, 10.0)[0].numpy(), mixed / np.linalg.norm(mixed), rtol=1e-5, atol=1e-7
    )
    # At τ = 0 all levels count the same.
    mean = np.array([1.6, 0.8, 1.0])
    np.testing.assert_allclose(fuse(levels, phrases, 0.0)[0].numpy(), mean / np.linalg.norm(mean), rtol=1e-5)


def test_a_level_that_shows_nothing_of_a_gaussian_has_no_weight():
    """Its embedding is that of the feature 0. Where no level shows anything, all count."""
    phrases = torch.tensor([[1.0, 0, 0]])
    levels = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]]).expand(3, 3, 3)
    learnt = torch.tensor([[False, True, True], [False, False, True], [False, False, False]])
    half = math.sqrt(0.5)
    mixed = fuse(levels, phrases, 10.0, learnt)
    torch.testing.assert_close(mixed[:2], torch.tensor([[0, half, half], [0, 0, 1.0]]))
    torch.testing.assert_close(mixed[2:], fuse(levels[2:], phrases, 10.0))


def test_gaussians_are_fused_from_the_levels_that_show_them(scene, tmp_path):
    """Of "whole" there are masks of the green ball alone: other Gaussians say what their parts say."""
    items = scene.items(noise=0.05)
    green = word_vector("green ball")
    for _, described in items:
        others = np.flatnonzero((described.masks.levels == 2) & (described.embeddings @ green < 0.5))
        described.masks.labels[2][np.isin(described.masks.labels[2], others)] = -1
    inputs = Inputs(scene.gaussians, items, ToyEncoder())
    learner = FusedLevels(replace(SETTINGS, levels="learnt"))
    learner.learn(inputs, 0, tmp_path / "f.safetensors", SILENT)
    fields = load_fields(tmp_path / "f.safetensors", scene.gaussians)
    hidden = ~fields[2].features.any(dim=1) & fields[1].features.any(dim=1)
    assert hidden[torch.from_numpy(scene.owner == WORDS.index("red ball"))].float().mean() > 0.5
    assert not hidden[torch.from_numpy(scene.owner == WORDS.index("green ball"))].all()
    phrases = torch.from_numpy(ToyEncoder().encode_texts(PHRASES))
    expected = fused(fields[:2], phrases, ToyEncoder.temperature)[hidden]
    torch.testing.assert_close(learner.load(tmp_path / "f.safetensors", inputs).features[hidden, 0], expected)


def test_three_fields_are_trained_one_a_level(scene, learnt):
    """Each is the field that distillation of its level alone gives."""
    items = scene.items(noise=0.05)
    for _, described in items:
        described.embeddings[described.masks.levels == 0] = word_vector("texture")
    fields = load_fields(learnt, scene.gaussians)
    for field, level in zip(fields, ("sub-part", "part", "whole"), strict=True):
        alone = train_field(scene.gaussians, items, replace(SETTINGS, levels=level))
        torch.testing.assert_close(field.features, alone.features.half().float())
        ours, expected = (f.decoder.embeddings(field.features) for f in (field, alone))
        torch.testing.assert_close(ours, expected)


def test_levels_that_look_like_a_phrase_win(scene, learnt):
    """Of every Gaussian, after training: what is kept of parts and wholes is next to nothing."""
    answerer = FusedLevels(SETTINGS).load(learnt, Inputs(scene.gaussians, [], ToyEncoder()))
    vectors = torch.from_numpy(np.stack([word_vector(word) for word in ("texture", *WORDS)])).float()
    similar = answerer.features[:, 0] @ vectors.T
    assert similar[:, 0].median() > 0.9
    assert similar[:, 1:].median() < 0.5
    torch.testing.assert_close(answerer.features.norm(dim=-1), torch.ones(len(scene.gaussians), 1))


def test_words_are_found_where_sub_parts_look_like_nothing(scene, tmp_path):
    learner = FusedLevels(DistillSettings(steps=60, batch_regions=64, consensus=False))
    inputs = Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder())
    learner.learn(inputs, 0, tmp_path / "f.safetensors", SILENT)
    answerer = learner.load(tmp_path / "f.safetensors", inputs)
    answer = answerer.relevancy(scene.cameras[0], answerer.prepare(WORDS, ToyEncoder()))
    for number, relevancy in enumerate(answer.maps):
        truth = scene.ids[0] == number
        assert relevancy[truth].mean() > relevancy[~truth & answer.covered].mean() + 0.2


def test_embeddings_are_fused_some_at_a_time(scene, learnt, monkeypatch):
    fields = load_fields(learnt, scene.gaussians)
    phrases = torch.from_numpy(ToyEncoder().encode_texts(PHRASES))
    whole = fused(fields, phrases, 10.0)
    assert whole.shape == (len(scene.gaussians), DIM)
    monkeypatch.setattr(n2f2, "DECODED_AT_ONCE", 99)
    torch.testing.assert_close(fused(fields, phrases, 10.0), whole)


def test_three_features_are_kept(scene, learnt):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 3 * SETTINGS.feature_dim * 2


def test_a_level_without_masks_is_left_out(scene, tmp_path):
    items = scene.items(noise=0.05)
    for _, described in items:
        described.masks.levels[described.masks.levels == 0] = 1
    inputs = Inputs(scene.gaussians, items, ToyEncoder())
    FusedLevels(DistillSettings(steps=2, batch_regions=8)).learn(
        inputs, 0, tmp_path / "f.safetensors", SILENT
    )
    assert len(load_fields(tmp_path / "f.safetensors", scene.gaussians)) == 2
    nothing = Inputs(scene.gaussians, [], ToyEncoder())
    with pytest.raises(WorkspaceError, match="no photo has a single mask"):
        FusedLevels(SETTINGS).learn(nothing, 0, tmp_path / "g.safetensors", SILENT)


def test_damaged_files_and_other_gaussians_are_errors(scene, learnt, tmp_path):
    half = tmp_path / "half.safetensors"
    half.write_bytes(learnt.read_bytes()[:100])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        load_fields(half, scene.gaussians)
    with pytest.raises(WorkspaceError, match=r"language\.safetensors was made for other splats"):
        load_fields(learnt, make_scene(views=1, seed=1).gaussians)


def test_phrases_are_those_of_the_paper():
    assert PHRASES == ("object", "thing", "stuff", "part", "texture")
    assert pytest.approx(1.0) == np.linalg.norm(ToyEncoder().encode_texts(PHRASES), axis=1)
