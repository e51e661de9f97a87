"""Distillation on a GPU that is not there: the field is that of the CPU, and a step does not wait."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, make_scene, word_vector
from tests.helpers.pretend_gpu import marked, pretend_gpu

from gags.distill.photo import collect_photos
from gags.distill.presets import PRESETS
from gags.distill.samples import collect
from gags.distill.settings import DistillSettings
from gags.distill.train import begin, train_field
from gags.progress import SILENT

SETTINGS = DistillSettings(steps=30)


@pytest.fixture(scope="module")
def scene():
    return make_scene(6)


def test_the_field_is_that_of_the_cpu(scene):
    words = torch.from_numpy(np.stack([word_vector(word) for word in WORDS])).float()
    plain = train_field(scene.gaussians, scene.items(), SETTINGS)
    with pretend_gpu():
        there = train_field(scene.gaussians.to("cuda"), scene.items(), SETTINGS)
        assert marked(there.features)
        found = there.similarities(words.to("cuda")).cpu()
    expected = plain.similarities(words)
    assert expected.amax(dim=1).median() > 0.8
    assert (found - expected).abs().mean() < 0.01
    assert (found.argmax(dim=1) == expected.argmax(dim=1)).float().mean() > 0.98


def test_what_is_known_of_many_photos_does_not_stay_on_a_gpu(scene, monkeypatch, tmp_path):
    monkeypatch.setattr("gags.distill.samples.RESIDENT_BYTES", 0)
    monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    plain, _ = collect(scene.gaussians, scene.items(), SETTINGS, SILENT)
    with pretend_gpu():
        there = scene.gaussians.to("cuda")
        samples, evidence = collect(there, scene.items(), SETTINGS, SILENT, folder=tmp_path)
        kept = (samples.indices, samples.weights, samples.targets, samples.density, samples.levels)
        assert not any(marked(tensor) for tensor in kept)
        assert marked(samples.areas)
        for step_pixels in (0, 64):
            settings = replace(PRESETS["released"].distill, step_pixels=step_pixels)
            photos = collect_photos(there, scene.items(), settings, SILENT, folder=tmp_path)
            for photo in photos:
                tensors = [photo.places, photo.targets, photo.indices, photo.weights]
                assert not any(marked(tensor) for tensor in tensors if tensor is not None)
            assert all(rows.in_file for rows in photos[0].stored)
    assert all(rows.in_file for rows in (*samples.stored, *evidence.stored))
    assert torch.equal(samples.targets, plain.targets)
    torch.testing.assert_close(samples.weights, plain.weights)


@pytest.mark.parametrize("step_pixels", [0, 64])
def test_steps_on_one_photo_are_those_of_the_cpu(scene, step_pixels):
    settings = replace(PRESETS["released"].distill, step_pixels=step_pixels)

    @torch.no_grad()
    def losses(gaussians) -> list[float]:
        training = begin(gaussians, scene.items(), settings)
        rng = torch.Generator().manual_seed(0)
        features = torch.randn(training.field.features.shape, generator=rng).to(gaussians.means.device)
        terms = training.schedule.terms
        steps = [terms(features, training.field.decoder, step) for step in range(3)]
        return [float(found.total(settings, step)) for step, found in enumerate(steps)]

    expected = losses(scene.gaussians)
    with pretend_gpu():
        found = losses(scene.gaussians.to("cuda"))
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("resident", "by", "sent"),
    [(1 << 30, "area", 2), (1 << 30, "region", 2), (0, "area", 6), (0, "region", 7)],
)
def test_a_step_does_not_wait(scene, monkeypatch, resident, by, sent):
    """Few photos stay on the GPU: a step sends which groups it takes, and what Gaussians are drawn with."""
    monkeypatch.setattr("gags.distill.samples.RESIDENT_BYTES", resident)
    settings = replace(SETTINGS, consistency_by=by)
    with pretend_gpu() as work:
        training = begin(scene.gaussians.to("cuda"), scene.items(), settings)
        features = torch.nn.Parameter(training.field.features)
        for step in (0, 1, 2):
            work.clear()
            loss = training.schedule.terms(features, training.field.decoder, step).total(settings, step)
            loss.backward()
        assert features.grad is not None
        assert not work.waits, work.waits
        # Of many photos Gaussians, weights, masks, density and level of the pixels are sent instead of the
        # groups; by region also how many groups each has.
        assert work.sent.total() == sent
