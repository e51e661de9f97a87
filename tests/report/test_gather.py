"""What a finished scene has to show: views spread over its photos, and answers, beside the truth if known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.blobs import WORDS, ToyEncoder
from tests.helpers.finished_scene import write_scene

from gags import scene as scene_module
from gags.embed.description import Description
from gags.evaluate.labels import FrameLabels, Label
from gags.report import gather as gather_module
from gags.report.gather import gather, spread
from gags.report.pages import write_scene_report
from gags.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
        loaded = Scene.load(write_scene(tmp_path_factory.mktemp("gather")))
        assert loaded.encoder.name == "toy"
    first, *others = loaded.capture.train
    for view in others:
        loaded.workspace.description(view.name).unlink()
    _enlarge_masks(loaded.workspace.description(first.name), 4)  # to the size of the photo
    return loaded


def _enlarge_masks(path: Path, times: int) -> None:
    known = Description.load(path)
    labels = known.masks.labels.repeat(times, axis=1).repeat(times, axis=2)
    replace(known, masks=replace(known.masks, labels=labels)).save(path)


def test_views_are_spread_over_all(scene):
    views = scene.capture.views[:10]
    assert spread(views, 4) == [views[0], views[3], views[6], views[9]]
    assert spread(views[:2], 4) == views[:2]
    assert spread([], 4) == []


def test_every_text_is_shown_where_it_answers_best(scene):
    report = gather(scene, ["red ball", "floor"])
    assert [card.text for card in report.answers] == ["red ball"] * 3 + ["floor"] * 3
    best = scene.best_views(scene.queries(["red ball"]), 3)[0]
    assert [card.view for card in report.answers[:3]] == [view.name for view in best]
    assert all(card.iou is None and card.hit is None for card in report.answers)
    assert (report.photos, report.held_out, report.gaussians) == (12, 0, len(scene.gaussians))
    assert [view.name for view in report.views] == [view.name for view in spread(scene.capture.train, 4)]
    titles = ["Depth", "Meaning", "Granularity", "Masks: sub-part", "Masks: part", "Masks: whole", "Prompts"]
    assert [picture.title for picture in report.views[0].pictures] == titles
    assert [picture.title for picture in report.views[1].pictures] == titles[:3]
    view = report.views[0]
    assert view.render is not None
    error = np.mean((view.render / 255 - view.photo / 255) ** 2)
    assert view.psnr == pytest.approx(-10 * np.log10(error), abs=0.05)  # of colours before rounding to 8 bits


def test_with_labels_answers_stand_beside_the_truth(scene):
    view = scene.capture.views[3]
    mask = scene.query("red ball", view)[0].mask
    ys, xs = np.nonzero(mask)
    x1, y1, x2, y2 = box = np.array([xs.min(), ys.min(), xs.max(), ys.max()], np.float64)
    label = Label("red ball", [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])], box[None])
    size = view.camera.width, view.camera.height
    frame = FrameLabels(Path(view.name).stem, *size, [label], Path("label.json"))
    (card,) = gather(scene, labels=[frame]).answers
    assert (card.text, card.view, card.hit) == ("red ball", view.name, True)
    filled = np.zeros(mask.shape, bool)
    filled[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
    assert card.iou == (mask & filled).sum() / (mask | filled).sum()


def test_a_scene_s_page_is_in_its_folder(scene):
    page = write_scene_report(scene, WORDS[1:3])
    assert page == scene.workspace.report / "index.html"
    assert len(list((page.parent / "pictures").glob("answer_*.jpg"))) == 6


def test_words_that_are_suggested_name_whole_things_and_find_them(tmp_path, monkeypatch):
    monkeypatch.setattr(scene_module, "load_encoder", lambda name, progress=None: ToyEncoder())
    monkeypatch.setattr(scene_module, "EVERYDAY", ("anvil", *WORDS, "zebra"))
    whole = Scene.load(write_scene(tmp_path))
    found = gather_module._words_of_things(whole)
    assert set(found) <= set(WORDS)
    assert {"red ball", "blue ball"} <= set(found)
    located = gather_module.locate_instances

    def elsewhere(gaussians, field, queries, *more, **named):
        answers = located(gaussians, field, queries, *more, **named)
        answers[queries.texts.index("red ball")] = answers[queries.texts.index("blue ball")]
        return answers

    monkeypatch.setattr(gather_module, "locate_instances", elsewhere)
    assert gather_module._words_of_things(whole) == [word for word in found if word != "red ball"]
