"""LangSplat without its autoencoder: sums of a level against the definition, and a toy scene."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM, WORDS, ToyEncoder, make_scene, word_vector

from gags.compare.methods import uncompressed
from gags.compare.methods.learner import Inputs, bytes_per_gaussian
from gags.compare.methods.uncompressed import Uncompressed
from gags.errors import WorkspaceError
from gags.progress import SILENT
from gags.render import blend_weights

LEARNER = Uncompressed()


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=3)


@pytest.fixture(scope="module")
def learnt(scene, tmp_path_factory):
    path = tmp_path_factory.mktemp("uncompressed") / "language.safetensors"
    LEARNER.learn(Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder()), 0, path, SILENT)
    return path


def test_every_level_has_its_own_mean(scene, learnt, tmp_path, monkeypatch):
    """Against the definition, pixel by pixel."""
    g = scene.gaussians
    sums = np.zeros((len(g), 3, DIM))
    for camera, described in scene.items(noise=0.1):
        labels = described.masks.labels.reshape(3, -1)
        pixels = torch.from_numpy(np.stack(np.divmod(np.arange(labels.shape[1]), camera.width)[::-1], -1))
        blend = blend_weights(g.means, g.quats, g.scales, g.opacities, camera, pixels)
        for p in np.flatnonzero((labels >= 0).any(0)):
            for level in np.flatnonzero(labels[:, p] >= 0):
                embedding = described.embeddings[labels[level, p]].astype(np.float64)
                for i, w in zip(blend.indices[p].tolist(), blend.weights[p].tolist(), strict=True):
                    if i >= 0:
                        sums[i, level] += w * embedding
    expected = sums / np.maximum(np.linalg.norm(sums, axis=-1, keepdims=True), 1e-12)
    inputs = Inputs(g, scene.items(noise=0.1), ToyEncoder())
    np.testing.assert_allclose(LEARNER.load(learnt, inputs).features.numpy(), expected, atol=2e-3)
    monkeypatch.setattr(uncompressed, "PAIRS_AT_ONCE", 5 * len(g))  # masks in several goes
    LEARNER.learn(inputs, 1, tmp_path / "again.safetensors", SILENT)
    again = LEARNER.load(tmp_path / "again.safetensors", inputs)
    np.testing.assert_allclose(again.features.numpy(), expected, atol=2e-3)


def test_parts_and_wholes_know_the_words(scene, learnt):
    """The sub-parts of the toy scene are noise."""
    loaded = LEARNER.load(learnt, Inputs(scene.gaussians, [], ToyEncoder()))
    words = torch.from_numpy(np.stack([word_vector(word) for word in WORDS])).float()
    shown = loaded.features.norm(dim=-1) > 0
    right = (loaded.features @ words.T).argmax(-1).numpy() == scene.owner[:, None]
    assert right[:, 1][shown[:, 1].numpy()].mean() > 0.9
    assert right[:, 2][shown[:, 2].numpy()].mean() > 0.9
    answer = loaded.relevancy(scene.cameras[0], loaded.prepare(WORDS, ToyEncoder()))
    assert answer.levels is not None
    assert answer.levels.shape == (3, 5, 48, 64)
    for number, relevancy in enumerate(answer.levels[2].numpy()):
        truth = scene.ids[0] == number
        assert relevancy[truth].mean() > relevancy[~truth & answer.covered].mean() + 0.3


def test_three_whole_embeddings_are_kept(scene, learnt):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 3 * 2 * DIM


def test_a_damaged_file_is_an_error(scene, learnt, tmp_path):
    half = tmp_path / "half.safetensors"
    half.write_bytes(learnt.read_bytes()[:100])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        LEARNER.load(half, Inputs(scene.gaussians, [], ToyEncoder()))
