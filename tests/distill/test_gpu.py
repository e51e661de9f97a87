"""Distillation on a GPU that is not there: the field is that of the CPU, and a step does not wait."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, make_scene, word_vector
from tests.helpers.pretend_gpu import marked, pretend_gpu

from gags.distill.evidence_gpu import DeviceEvidence
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


def test_evidence_stays_where_gaussians_are(scene):
    with pretend_gpu():
        _, evidence = collect(scene.gaussians.to("cuda"), scene.items(), SETTINGS, SILENT)
        assert isinstance(evidence, DeviceEvidence)
        assert marked(evidence.weights)
        assert marked(evidence.columns)


def test_a_step_does_not_wait(scene):
    with pretend_gpu() as work:
        training = begin(scene.gaussians.to("cuda"), scene.items(), SETTINGS)
        features = torch.nn.Parameter(training.field.features)
        for step in (0, 1, 2):
            work.clear()
            loss = training.schedule.terms(features, training.field.decoder, step).total(SETTINGS, step)
            loss.backward()
        assert features.grad is not None
        assert not work.waits, work.waits
        assert work.sent.total() == 2  # which groups, and the numbers that Gaussians are drawn with
