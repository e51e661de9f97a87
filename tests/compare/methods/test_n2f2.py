"""Weighted fusion against numbers by hand, and on a toy scene."""

import math

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene, word_vector

from gags.compare.methods.learner import Inputs
from gags.compare.methods.n2f2 import PHRASES, WeightedFusion, fusion_logits
from gags.distill.losses import granularity_weights
from gags.distill.settings import DistillSettings
from gags.progress import SILENT


def test_weights_are_the_softmax_of_the_best_phrase():
    phrases = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    embeddings = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    logits = fusion_logits(embeddings, phrases, temperature=10.0)
    torch.testing.assert_close(logits, torch.tensor([10.0, 8.0, 0.0]))
    # Three pixels: all levels; sub-part and part; whole alone.
    masks = torch.tensor([[0, 1, 2], [0, 1, -1], [-1, -1, 2]])
    omega = granularity_weights(logits[masks.clamp(min=0)], masks >= 0)
    a, b, c = math.exp(10), math.exp(8), 1.0
    expected = [[a / (a + b + c), b / (a + b + c), c / (a + b + c)], [a / (a + b), b / (a + b), 0], [0, 0, 1]]
    np.testing.assert_allclose(omega.numpy(), expected, rtol=1e-5)


def test_masks_that_look_like_a_thing_win(tmp_path):
    """Sub-parts say "texture" itself, so their weight is near 1 and the field learns nothing else."""
    scene = make_scene(views=6)
    items = scene.items(noise=0.05)
    for _, features in items:
        features.embeddings[features.masks.levels == 0] = word_vector("texture")
    learner = WeightedFusion(DistillSettings(steps=30, batch_regions=64, consensus=False))
    inputs = Inputs(scene.gaussians, items, ToyEncoder())
    learner.learn(inputs, 0, tmp_path / "f.safetensors", SILENT)
    field = learner.load(tmp_path / "f.safetensors", inputs).field
    vectors = torch.from_numpy(np.stack([word_vector(word) for word in ("texture", *WORDS)])).float()
    similar = field.decoder.similarities(field.features, vectors)
    assert similar[:, 0].median() > 0.95
    assert similar[:, 1:].median() < 0.5


def test_words_are_found_where_sub_parts_look_like_nothing(tmp_path):
    scene = make_scene(views=6)
    learner = WeightedFusion(DistillSettings(steps=60, batch_regions=64))
    inputs = Inputs(scene.gaussians, scene.items(), ToyEncoder())
    learner.learn(inputs, 0, tmp_path / "f.safetensors", SILENT)
    answerer = learner.load(tmp_path / "f.safetensors", inputs)
    answer = answerer.relevancy(scene.cameras[0], answerer.prepare(WORDS, ToyEncoder()))
    for number, relevancy in enumerate(answer.maps):
        truth = scene.ids[0] == number
        assert relevancy[truth].mean() > relevancy[~truth & answer.covered].mean() + 0.3


def test_phrases_are_those_of_the_paper():
    assert PHRASES == ("object", "thing", "stuff", "part", "texture")
    assert pytest.approx(1.0) == np.linalg.norm(ToyEncoder().encode_texts(PHRASES), axis=1)
