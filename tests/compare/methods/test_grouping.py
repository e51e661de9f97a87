"""Gaussian Grouping: identities of masks, losses and queries by hand, words of a toy scene."""

import math

import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene, word_vector
from tests.helpers.heard import Heard

from gags.capture import View
from gags.compare.detector import NONE
from gags.compare.grounding import Grounded, best_masks
from gags.compare.methods import grouping
from gags.compare.methods.grouping import (
    GaussianGrouping,
    Grouped,
    GroupingSettings,
    filled,
    identities_inside,
    identity_loss,
    mask_identities,
    nearest,
    neighbour_loss,
    numbered,
    peaks_of,
    pixel_identities,
)
from gags.compare.methods.learner import Inputs, bytes_per_gaussian
from gags.embed.description import Description
from gags.errors import CompareError, TrainingError, WorkspaceError
from gags.evaluate.answerer import Selector
from gags.gaussians import render
from gags.progress import SILENT
from gags.segment.masks import Masks

SETTINGS = GroupingSettings(steps=1000, batch=256, detector=NONE)
LEARNER = GaussianGrouping(SETTINGS, pixels_per_photo=1500)


@pytest.fixture(scope="module")
def scene():
    return make_scene(views=6)


@pytest.fixture(scope="module")
def inputs(scene):
    return Inputs(scene.gaussians, scene.items(noise=0.1), ToyEncoder())


@pytest.fixture(scope="module")
def learnt(inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("grouping") / "language.safetensors"
    LEARNER.learn(inputs, 0, path, SILENT)
    return path


@pytest.fixture(scope="module")
def grouped(learnt, inputs):
    return LEARNER.load(learnt, inputs)


def _iou(mask, truth):
    return (mask & truth).sum() / max((mask | truth).sum(), 1)


def test_words_are_found_in_views_and_in_space(scene, grouped):
    queries = grouped.prepare(WORDS, ToyEncoder())
    hits, overlaps = [], []
    for camera, ids in zip(scene.cameras[::2], scene.ids[::2], strict=True):
        answer = grouped.relevancy(camera, queries)
        assert answer.values.shape == (5, 48, 64)
        assert torch.equal(answer.masks, answer.values > 0.2)
        for number in np.unique(ids[ids >= 0]):
            x, y = answer.peaks[number].tolist()
            hits.append(ids[y, x] == number)
            overlaps.append(_iou(answer.masks[number].numpy(), ids == number))
    assert np.mean(hits) > 0.75
    assert np.mean(overlaps) > 0.8
    assert isinstance(grouped, Selector)
    chosen = grouped.select(queries).chosen.numpy()
    assert [_iou(row, scene.owner == number) > 0.7 for number, row in enumerate(chosen)] == [True] * 5


def test_the_same_seed_gives_the_same_file(inputs, tmp_path):
    short = GaussianGrouping(GroupingSettings(steps=6, batch=64, detector=NONE), pixels_per_photo=100)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        short.learn(inputs, seed, tmp_path / name, SILENT)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again != other


def test_sixteen_numbers_a_gaussian_are_kept(scene, inputs, learnt, tmp_path):
    assert bytes_per_gaussian(learnt, len(scene.gaussians)) == 16 * 2
    (tmp_path / "half.safetensors").write_bytes(learnt.read_bytes()[:1000])
    with pytest.raises(WorkspaceError, match=r"half\.safetensors is missing or damaged"):
        Grouped.load(tmp_path / "half.safetensors", inputs)


# --- identities ---


def test_masks_of_one_thing_have_one_identity_in_all_photos(inputs, scene):
    identities = mask_identities(inputs, SILENT)
    first, seen = 0, {}
    for (_, description), ids in zip(inputs.items, scene.ids, strict=True):
        for row in np.flatnonzero(description.masks.levels == 1):
            owner = int(np.median(ids[description.masks.mask(row)]))
            seen.setdefault(owner, set()).add(int(identities[first + row]))
        first += len(description.masks)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    numbers = [max(values) for values in seen.values()]
    assert len(set(numbers)) == 5
    assert all(values <= {0, max(values)} for values in seen.values())


def test_things_are_numbered_by_their_photos_and_at_most_255():
    thing = np.array([7, 7, 2, 2, 2, -1, 5])
    views = np.array([0, 0, 0, 1, 2, 1, 1])
    assert numbered(thing, views).tolist() == [2, 2, 1, 1, 1, 0, 3] or numbered(thing, views).tolist() == [
        3, 3, 1, 1, 1, 0, 2,
    ]  # fmt: skip
    many = np.repeat(np.arange(300), 2)
    numbers = numbered(many, np.tile([0, 1], 300))
    assert numbers.max() == 255
    assert (numbers == 0).sum() == 2 * 45
    with pytest.raises(CompareError, match="no mask is cut out alike in three photos"):
        numbered(np.array([-1, -1]), np.array([0, 1]))


def test_a_thing_takes_masks_from_an_iou_of_a_half_on():
    iou = np.array([[0.5, 0.49, 0.2], [0.3, 0.1, 0.9]])
    assert grouping.best_thing(iou, 3).tolist() == [0, -1, 1]
    assert grouping.best_thing(iou[:0], 3).tolist() == [-1, -1, -1]


def test_pixels_go_by_parts_then_wholes_then_sub_parts():
    identities = torch.tensor([1, 2, 3, 0])
    masks = torch.tensor([[0, 1, 2], [0, -1, 2], [0, 3, 2], [0, 3, 3], [-1, -1, -1], [3, 3, 3]])
    assert pixel_identities(masks, identities).tolist() == [2, 3, 3, 1, 0, 0]


def test_a_scene_without_things_is_an_error(scene, tmp_path):
    nothing = Masks(np.full((3, 8, 8), -1, np.int16), *(np.zeros(0, np.int8),) * 3)
    described = Description(nothing, np.zeros((0, 64), np.float16), "toy")
    lonely = Inputs(scene.gaussians, [(scene.cameras[0], described)], ToyEncoder())
    with pytest.raises(WorkspaceError, match="no photo has a single mask"):
        LEARNER.learn(lonely, 0, tmp_path / "x", SILENT)
    two = Inputs(scene.gaussians, scene.items()[:2], ToyEncoder())
    with pytest.raises(CompareError, match="no mask is cut out alike in three photos"):
        LEARNER.learn(two, 0, tmp_path / "x", SILENT)


# --- losses ---


def test_a_guess_costs_one_and_certainty_nothing():
    assert identity_loss(torch.zeros(4, 256), torch.tensor([0, 7, 255, 3])).item() == pytest.approx(1.0)
    logits = torch.zeros(2, 256)
    logits[0, 5] = math.log(255.0)  # probability ½
    expected = (math.log(2) + math.log(256)) / 2 / math.log(256)
    assert identity_loss(logits, torch.tensor([5, 9])).item() == pytest.approx(expected)


def test_neighbours_by_hand():
    own, other = torch.full((1, 256), -math.inf), torch.full((1, 2, 256), -math.inf)
    own[0, :2] = torch.tensor([0.5, 0.5]).log()
    other[0, 0, :2] = torch.tensor([0.25, 0.75]).log()
    other[0, 1, :2] = torch.tensor([0.5, 0.5]).log()
    finite = own.clamp(min=-80), other.clamp(min=-80)
    divergence = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert neighbour_loss(*finite).item() == pytest.approx(2 / 256 * divergence / 2, rel=1e-4)


def test_nearest_others_against_all_distances():
    means = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    means[1] = means[0]  # two that coincide
    distances = torch.cdist(means, means).fill_diagonal_(math.inf)
    found = nearest(means, 5)
    torch.testing.assert_close(
        torch.cdist(means, means).gather(1, found), distances.sort(dim=1).values[:, :5], atol=1e-4, rtol=0
    )
    assert not (found == torch.arange(60)[:, None]).any()
    assert nearest(means[2:4], 5).tolist() == [[1, 0, 0, 0, 0], [0, 1, 1, 1, 1]]


def test_every_fifth_step_has_neighbours(inputs, monkeypatch):
    calls = []
    monkeypatch.setattr(
        grouping, "neighbour_loss", lambda own, near: calls.append(near.shape) or own.sum() * 0
    )
    pixels = grouping.draw_pixels(
        inputs.gaussians, inputs.items, per_photo=50, top_k=8, seed=0, progress=SILENT
    )
    short = GaussianGrouping(GroupingSettings(steps=11, batch=8, detector=NONE))
    short._train(inputs.gaussians, pixels, mask_identities(inputs, SILENT), 0, Heard())
    assert calls == [(1000, 5, 256)] * 2


def test_rates_are_the_published_ones():
    assert (grouping.FEATURE_RATE, grouping.CLASSIFIER_RATE) == (2.5e-3, 5e-4)
    assert (grouping.IDENTITY_LENGTH, grouping.IDENTITIES) == (16, 256)
    assert (grouping.BOX_SCORE, grouping.LEAST_INSIDE) == (0.3, 0.7)
    assert (grouping.LEAST_IN_VIEW, grouping.LEAST_IN_SPACE) == (0.2, 0.3)


# --- asking ---


def test_identities_must_lie_inside_by_more_than_seven_tenths():
    identities = torch.tensor([1] * 10 + [2] * 10 + [0] * 10)
    mask = torch.zeros(30, dtype=torch.bool)
    mask[:8] = mask[10:17] = mask[20:] = True  # 8 of 10, 7 of 10, and all of "none"
    assert identities_inside(identities, mask).nonzero().flatten().tolist() == [1]


def test_without_a_detector_a_mask_of_the_scene_chooses_identities(scene, inputs, grouped):
    """Those inside the largest of the ten masks that answer best, as its photo reads them."""
    queries = grouped.prepare(["red ball"], ToyEncoder())
    (place,) = best_masks(inputs.items, inputs.embeddings(), queries)
    camera, mask = place
    drawn = render(scene.gaussians, camera, grouped.features).colors.flatten(0, 1)
    read = grouped.classifier(drawn).argmax(dim=1)
    assert torch.equal(grouped.chosen["red ball"], identities_inside(read, mask.flatten()))
    assert grouped.chosen["red ball"].any()


def test_a_mask_that_is_no_identity_does_not_take_the_answer_away(scene, learnt):
    """A scrap says a word best of all; photos repeat it too seldom for an identity."""
    items = scene.items(noise=0.1)
    word = "red ball"
    masks = items[0][1].masks
    scrap = masks.labels[0][masks.labels[0] >= 0][0]
    spot = np.argwhere(masks.labels[0] == scrap)[:5]
    masks.labels[0][masks.labels[0] == scrap] = -1
    masks.labels[0][spot[:, 0], spot[:, 1]] = scrap
    items[0][1].embeddings[scrap] = word_vector(word)
    asked = Grouped.load(learnt, Inputs(scene.gaussians, items, ToyEncoder()))
    answer = asked.relevancy(scene.cameras[3], asked.prepare([word], ToyEncoder()))
    assert _iou(answer.masks[0].numpy(), scene.ids[3] == WORDS.index(word)) > 0.6


def test_the_peak_is_the_centre_of_the_mask_or_of_too_little_for_one_the_best_and_of_nothing_none():
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:7] = True
    values = torch.zeros(3, 6, 8)
    values[1, 5, 3] = 0.1  # too little for a mask
    assert peaks_of(masks, values).tolist() == [[4, 2], [3, 5], [-1, -1]]


def test_what_the_hull_holds_is_chosen_too_but_no_outlier_spans_it():
    shell = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype(float)
    points = np.concatenate([shell, [[0.5, 0.5, 0.5], [30.0, 0.5, 0.5], [1.5, 0.5, 0.5]]])
    members = np.array([True] * 8 + [False, True, False])
    assert filled(points, members).tolist() == [True] * 10 + [False]
    assert not filled(points, np.zeros(11, bool)).any()


class Finder:
    """Finds the ball of a word in photo 2 by its exact mask; "nothing" in no photo."""

    def __init__(self, scene) -> None:
        self.scene, self.asked = scene, []

    def find(self, texts):
        self.asked.append(list(texts))
        return {text: self._place(text) for text in texts}

    def _place(self, text):
        if text not in WORDS:
            return None
        view = View("2", None, self.scene.cameras[2])
        return Grounded(view, self.scene.ids[2] == WORDS.index(text), 0.5)


def test_a_mask_in_one_photo_chooses_identities_for_all(scene, inputs, learnt):
    finder = Finder(scene)
    asked = Grouped.load(learnt, inputs, finder)
    queries = asked.prepare(["red ball", "nothing"], ToyEncoder())
    asked.prepare(["nothing", "red ball"], ToyEncoder())
    assert finder.asked == [["red ball", "nothing"]]  # once
    answer = asked.relevancy(scene.cameras[5], queries)
    assert _iou(answer.masks[0].numpy(), scene.ids[5] == 1) > 0.7
    assert not answer.masks[1].any()
    assert answer.peaks[1].tolist() == [-1, -1]
    assert (answer.values[1] == 0).all()
    assert asked.select(queries).chosen.sum(dim=1).tolist()[1] == 0


def test_titles_say_how_it_is_asked():
    assert GaussianGrouping(SETTINGS).title() == "Gaussian Grouping (asked by mask embeddings)"
    assert GaussianGrouping(GroupingSettings(detector="a/b@c")).title() == "Gaussian Grouping"
    assert GroupingSettings().ready().detector == NONE  # there is no network in the tests


def test_a_training_that_diverges_is_told(inputs, monkeypatch, tmp_path):
    monkeypatch.setattr(grouping, "identity_loss", lambda logits, _: logits.sum() * float("nan"))
    short = GroupingSettings(steps=3, batch=8, detector="none")
    with pytest.raises(TrainingError, match="after step 3, a feature is no finite number"):
        GaussianGrouping(short, pixels_per_photo=50).learn(
            inputs, 0, tmp_path / "language.safetensors", SILENT
        )
    assert list(tmp_path.iterdir()) == []
