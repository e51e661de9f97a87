"""Distillation end to end on a scene whose answers are known."""

import dataclasses
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tests.helpers.blobs import DIM, WORDS, make_scene, word_vector

from gags.distill.presets import PRESETS
from gags.distill.train import LEAST_REPEATABILITY, DistillSettings, repeatability_logits, train_field
from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.files.rows import Rows
from gags.gaussians import render
from gags.progress import Bar, Reporter
from gags.segment.masks import Masks

FAST = DistillSettings(steps=60, batch_regions=64)


@pytest.fixture(scope="module")
def scene():
    return make_scene()


@pytest.fixture(scope="module")
def field(scene):
    return train_field(scene.gaussians, scene.items(), FAST)


def test_gaussians_learn_the_embedding_of_their_object(scene, field):
    words = torch.tensor(np.stack([word_vector(w) for w in WORDS]), dtype=torch.float32)
    cosines = field.decoder.similarities(field.features, words).numpy()
    found = cosines.argmax(axis=1)
    # Those hidden under a ball or inside others are seen by nobody.
    assert (found == scene.owner).mean() > 0.95
    assert np.median(cosines[np.arange(len(found)), scene.owner]) > 0.9


def test_granularity_turns_away_from_the_level_that_contradicts_itself(scene, field):
    """Sub-part embeddings are random in every view; parts and wholes agree."""
    weights = field.decoder.granularity(field.features).softmax(-1)
    assert weights[:, 0].mean() < 0.25


def test_averaging_levels_is_worse_than_learning_them(scene, field):
    averaged = train_field(scene.gaussians, scene.items(), dataclasses.replace(FAST, levels="averaged"))
    words = torch.tensor(np.stack([word_vector(w) for w in WORDS]), dtype=torch.float32)
    owner = torch.from_numpy(scene.owner)[:, None]

    def own(f):
        return f.decoder.similarities(f.features, words).gather(1, owner).mean()

    assert 1 - own(field) < 0.9 * (1 - own(averaged))


def test_consensus_takes_noise_out_of_embeddings(scene):
    noisy = scene.items(noise=1.0)
    words = torch.tensor(np.stack([word_vector(w) for w in WORDS]), dtype=torch.float32)
    owner = torch.from_numpy(scene.owner)[:, None]
    missing = []
    for together in (False, True):
        learnt = train_field(scene.gaussians, noisy, dataclasses.replace(FAST, consensus=together))
        cosines = learnt.decoder.similarities(learnt.features, words).gather(1, owner)
        missing.append(1 - float(cosines.mean()))
    assert missing[1] < 0.9 * missing[0]


def test_the_same_seed_gives_the_same_field(scene):
    short = dataclasses.replace(FAST, steps=5)
    first, again = (train_field(scene.gaussians, scene.items(), short) for _ in range(2))
    assert torch.equal(first.features, again.features)
    for a, b in zip(first.decoder.parameters(), again.decoder.parameters(), strict=True):
        assert torch.equal(a, b)
    other = train_field(scene.gaussians, scene.items(), dataclasses.replace(short, seed=1))
    assert not torch.equal(first.features, other.features)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(scene, tmp_path, monkeypatch):
    settings = dataclasses.replace(FAST, steps=8)
    whole = train_field(scene.gaussians, scene.items(), settings)
    path = tmp_path / "checkpoint.safetensors"

    monkeypatch.setattr("gags.distill.optimize.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KilledError):
        train_field(scene.gaussians, scene.items(), settings, checkpoint=path, progress=Steps(kill_after=5))
    rest = Steps()
    resumed = train_field(scene.gaussians, scene.items(), settings, checkpoint=path, progress=rest)
    assert rest.skipped == 5
    torch.testing.assert_close(resumed.features, whole.features)
    others = Steps()
    train_field(scene.gaussians, scene.items(seed=1), settings, checkpoint=path, progress=others)
    assert others.skipped == 0  # other masks: not this checkpoint


class KilledError(Exception):
    pass


class Steps(Reporter):
    """Hears how many steps a run skips, and ends it like a kill after some."""

    def __init__(self, kill_after: int = 1000) -> None:
        self.kill_after, self.skipped = kill_after, -1

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps"):
        yield CountingBar(self, total) if name == "Distilling language" else Bar(total)


class CountingBar(Bar):
    def __init__(self, listener: Steps, total: int) -> None:
        super().__init__(total)
        self.listener = listener

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        if self.listener.skipped < 0:
            self.listener.skipped = steps
        if self.done == self.listener.kill_after:
            raise KilledError


@pytest.mark.parametrize(
    "change",
    [
        {"levels": "part"},
        {"loss": "mixture"},
        {"region_aware": True},
        {"granularity": "distance"},
        {"steps": 0},
    ],
)
def test_ablations_still_learn_the_objects(scene, change):
    field = train_field(scene.gaussians, scene.items(), dataclasses.replace(FAST, **change))
    words = torch.tensor(np.stack([word_vector(w) for w in WORDS]), dtype=torch.float32)
    found = field.decoder.similarities(field.features, words).argmax(1).numpy()
    assert (found == scene.owner).mean() > 0.9


def test_views_and_levels_without_masks_are_normal(scene):
    items = scene.items()
    height, width = scene.ids[0].shape
    nothing = Masks(
        np.full((3, height, width), -1, np.int16),
        np.zeros(0, np.int8),
        np.zeros((0, 4), np.int32),
        np.zeros(0, np.float32),
    )
    items[0] = (items[0][0], Description(nothing, np.zeros((0, DIM), np.float16), "toy"))
    only_whole = items[1][1].masks.labels
    only_whole[:2] = -1
    field = train_field(scene.gaussians, items, dataclasses.replace(FAST, steps=3))
    assert torch.isfinite(field.features).all()


def test_no_masks_at_all_and_mixed_encoders_are_errors(scene):
    items = scene.items()
    items[0][1].encoder = "other"
    with pytest.raises(WorkspaceError, match="several encoders"):
        train_field(scene.gaussians, items, FAST)
    height, width = scene.ids[0].shape
    empty = Masks(
        np.full((3, height, width), -1, np.int16), np.zeros(0, np.int8), np.zeros((0, 4)), np.zeros(0)
    )
    with pytest.raises(WorkspaceError, match="single mask"):
        train_field(
            scene.gaussians, [(scene.cameras[0], Description(empty, np.zeros((0, DIM)), "toy"))], FAST
        )


def test_weights_by_repeatability_are_its_power_over_the_median_of_the_level():
    repeatability = torch.tensor([0.2, 0.4, 0.6, 0.5, 0.9, 0.0])
    levels = torch.tensor([0, 0, 0, 2, 2, 2])
    found = repeatability_logits(repeatability, levels, 2.0).exp()
    expected = [0.04 / 0.4, 0.16 / 0.4, 0.36 / 0.4, 0.25 / 0.5, 0.81 / 0.5, LEAST_REPEATABILITY**2 / 0.5]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_granularity_goes_to_the_level_that_other_photos_repeat(scene):
    """The balls are the same on all levels, but "sub-part" masks of every photo are cut at random."""
    items, rng = scene.items(), np.random.default_rng(0)
    for _, features in items:
        labels = features.masks.labels[0]
        labels[:] = np.where(rng.random(labels.shape[1])[None] < 0.5, labels, -1)  # half of the columns
    field = train_field(scene.gaussians, items, dataclasses.replace(FAST, steps=60))
    weights = field.decoder.granularity(field.features).softmax(-1).mean(0)
    assert weights[0] < 0.8 * weights[1:].min()


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("paper", {"steps": 100, "batch_regions": 32}),
        ("released", {"steps": 120, "step_pixels": 256, "feature_rate": 1e-2, "decoder_rate": 1e-3}),
    ],
)
def test_pixels_asked_find_every_object_by_its_word(scene, preset, changes):
    """Fewer steps than the presets have, for an easy scene; the rest is theirs."""
    learnt = train_field(
        scene.gaussians, scene.items(), dataclasses.replace(PRESETS[preset].distill, **changes)
    )
    assert (learnt.asked, learnt.decoder.rank) == ("pixels", DIM)
    words = torch.tensor(np.stack([word_vector(w) for w in WORDS]), dtype=torch.float32)
    right, weights = [], []
    for camera, ids in zip(scene.cameras, scene.ids, strict=True):
        with torch.no_grad():
            features = render(scene.gaussians, camera, learnt.features).colors.flatten(0, 1)
            found = learnt.decoder.similarities(features, words).argmax(dim=1).numpy()
            weights.append(learnt.decoder.granularity(features).softmax(-1)[ids.ravel() >= 0].mean(0))
        right.append([(found[ids.ravel() == word] == word).mean() for word in range(len(WORDS))])
    assert np.mean(right, axis=0).min() > 0.9  # of the pixels of each word
    assert torch.stack(weights).mean(0)[0] < 0.1  # sub-part embeddings contradict each other


@pytest.mark.parametrize("schedule", ["mixed", "photo"])
def test_a_field_is_the_same_where_memory_holds_no_samples(scene, monkeypatch, tmp_path, schedule):
    settings = dataclasses.replace(FAST, steps=12, schedule=schedule)
    wanted = train_field(scene.gaussians, scene.items(), settings)
    kept: list[Rows] = []
    start = Rows.__init__

    def noted(rows, *given, **named):
        start(rows, *given, **named)
        kept.append(rows)

    monkeypatch.setattr("gags.files.rows.available_bytes", lambda: 0)
    monkeypatch.setattr(Rows, "__init__", noted)
    found = train_field(scene.gaussians, scene.items(), settings, checkpoint=tmp_path / "checkpoint")
    assert torch.equal(found.features, wanted.features)
    assert all(map(torch.equal, found.decoder.state_dict().values(), wanted.decoder.state_dict().values()))
    # Four arrays of samples, three of evidence as it comes, two as it is merged: no row is in memory.
    assert len(kept) == 9
    assert all(rows.in_file and not rows._parts for rows in kept if len(rows))
