"""The page of an evaluation: all it says, the worst answers as they were scored, safe whatever names hold."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.blobs import ToyEncoder
from tests.helpers.html_page import EVIL, Page

from gags.capture import Camera, Capture, View
from gags.draw.colors import TRUTH_OUTLINE
from gags.evaluate.labels import FrameLabels, Label
from gags.evaluate.metrics import Evaluation, summarise
from gags.evaluate.score import evaluate
from gags.query.maps import ValueMaps
from gags.query.relevancy import Queries
from gags.report.worst import draw_worst, worst_rows, write_worst

WIDTH, HEIGHT = 80, 60
WORDS = ("left", "middle", "right")


def square(center_x: int) -> np.ndarray:
    """bool [H, W]"""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (np.abs(x - center_x) < 8) & (np.abs(y - 30) < 8)


class Stubborn:
    """Answers every text with the square in the middle; notes how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def prepare(self, texts, encoder) -> Queries:
        vectors = torch.from_numpy(encoder.encode_texts(texts))
        return Queries(tuple(texts), vectors, vectors[:1], 10.0)

    def relevancy(self, camera, queries) -> ValueMaps:
        self.asked.append(queries.texts)
        one = np.where(square(40), 0.9, 0.1).astype(np.float32)
        return ValueMaps.of(np.stack([one] * len(queries.texts)), np.ones((HEIGHT, WIDTH), bool))


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    camera = Camera(np.eye(4), np.eye(3), WIDTH, HEIGHT)
    views = []
    for name, split in (("a.png", "train"), ("b.png", "test")):
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90)).save(tmp_path / name)
        views.append(View(name, tmp_path / name, camera, split))
    return Capture(tmp_path, views)


@pytest.fixture
def labels(tmp_path: Path) -> list[FrameLabels]:
    found = []
    for word, center in zip(WORDS, (15, 40, 65), strict=True):
        truth = square(center)
        cv2.imwrite(str(tmp_path / f"{word}.png"), truth.astype(np.uint8) * 255)
        box = np.array([[center - 8, 22, center + 8, 38]], np.float64)
        found.append(Label(word, [], box, tmp_path / f"{word}.png"))
    return [FrameLabels(name, WIDTH, HEIGHT, found, tmp_path / f"{name}.json") for name in ("b", "a")]


@pytest.fixture
def evaluation(capture, labels) -> Evaluation:
    return evaluate(Stubborn(), capture, labels, ToyEncoder())


LINES = """
desk: evaluation lerf-ovs · gags
desk
Answers scored by the protocol lerf-ovs. Relevancy in every labelled view: peak after a 30×30 mean, mask at \\
0.7 of the range. The encoder is toy.
33.3 %found (mAcc)
30.4 %overlap (mIoU)
36.5 %best overlap of any threshold
36.5 %average precision
6answers, in 2 photos
Photos trained on and held out By category, worst first By photo Worst answers
Photos trained on and held out
answers pairs of photo and text; found share of answers whose best pixel lies in a box of the truth (mAcc); \\
IoU mean overlap of answer and truth (mIoU); best IoU mean overlap at the best threshold there is; AP mean \\
average precision of the answer as a ranking of pixels.
photos answers found IoU best IoU AP
all 6 33.3 % 0.30 0.36 0.36
trained on 3 33.3 % 0.30 0.36 0.36
held out 3 33.3 % 0.30 0.36 0.36
By category, worst first
category answers found IoU best IoU AP
left 2 0.0 % 0.00 0.05 0.05
right 2 0.0 % 0.00 0.05 0.05
middle 2 100.0 % 0.91 1.00 1.00
By photo
photo answers found IoU best IoU AP
a.png 3 33.3 % 0.30 0.36 0.36
b.png 3 33.3 % 0.30 0.36 0.36
Worst answers
the brighter, the better it answers
answer
truth
best pixel
left ✗ miss
IoU 0.00, best 0.05 · AP 0.05 · score 0.90
a.png · answer 205 px, truth 225 px
left ✗ miss held out
IoU 0.00, best 0.05 · AP 0.05 · score 0.90
b.png · answer 205 px, truth 225 px
right ✗ miss
IoU 0.00, best 0.05 · AP 0.05 · score 0.90
a.png · answer 205 px, truth 225 px
right ✗ miss held out
IoU 0.00, best 0.05 · AP 0.05 · score 0.90
b.png · answer 205 px, truth 225 px
middle ✓ hit
IoU 0.91, best 1.00 · AP 1.00 · score 0.90
a.png · answer 205 px, truth 225 px
middle ✓ hit held out
IoU 0.91, best 1.00 · AP 1.00 · score 0.90
b.png · answer 205 px, truth 225 px
Written by gags 1.0. This page is complete: it loads nothing from anywhere. Every answer with its figures is \
in evaluation_lerf-ovs.json beside it.
"""


def test_the_worst_are_drawn_as_they_were_scored(capture, labels, evaluation):
    answerer = Stubborn()
    worst = draw_worst(answerer, capture, labels, ToyEncoder(), evaluation, count=5, per_category=1)
    assert [answer.row.category for answer in worst] == ["left", "right", "middle"]
    assert all(answer.row in evaluation.rows for answer in worst)
    assert [answer.row.iou for answer in worst][:2] == [0, 0]
    assert worst[2].row.iou > 0.6
    assert [set(texts) for texts in answerer.asked] == [set(WORDS)]  # one photo, asked once
    for answer in worst:
        assert answer.overlay.shape == (HEIGHT, WIDTH, 3)
    blue = (np.abs(worst[0].overlay.astype(int) - TRUTH_OUTLINE) < 30).all(-1)
    assert blue[22:39, 7:23].sum() > 30  # the outline of the truth
    assert blue.sum() == blue[20:41, 5:26].sum()
    assert len(draw_worst(answerer, capture, labels, ToyEncoder(), evaluation, count=5)) == 5
    assert draw_worst(answerer, capture, labels, ToyEncoder(), summarise("lerf-ovs", [])) == []


def test_strict_answers_are_drawn_at_the_size_of_the_label(capture, labels):
    small = [replace(view, camera=view.camera.resized(WIDTH // 2, HEIGHT // 2)) for view in capture.views]
    shrunk = Capture(capture.root, small)
    evaluation = evaluate(Stubborn(), shrunk, labels, ToyEncoder(), "lerf-ovs-strict")
    worst = draw_worst(Stubborn(), shrunk, labels, ToyEncoder(), evaluation)
    assert len(worst) == 6
    assert all(answer.row in evaluation.rows for answer in worst)
    for answer in worst:
        assert answer.overlay.shape == (HEIGHT, WIDTH, 3)
    left = next(answer.overlay for answer in worst if answer.row.category == "left")
    blue = (np.abs(left.astype(int) - TRUTH_OUTLINE) < 30).all(-1)
    assert blue[22:39, 7:23].sum() > 30
    assert blue.sum() == blue[20:41, 5:26].sum()


def test_page_says_and_shows_all_there_is(capture, labels, evaluation, tmp_path):
    worst = draw_worst(Stubborn(), capture, labels, ToyEncoder(), evaluation)
    target = tmp_path / "report" / "evaluation_lerf-ovs.html"
    path = write_worst(target, evaluation, worst, scene="desk", encoder="toy", version="1.0")
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.lines == LINES.replace("\\\n", "").strip().split("\n")
    assert "http" not in html.replace("http-equiv", "")
    assert [image["alt"] for image in page.images[:2]] == [
        f"“left” on {name}.png, IoU 0.00, score 0.90" for name in "ab"
    ]
    assert len(page.images) == 6
    for image in page.images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (WIDTH, HEIGHT)
    assert page.links() == ["#splits", "#categories", "#photos", "#worst"]
    assert page.ids == ["splits", "categories", "photos", "worst", *(f"worst-{k}" for k in range(1, 7))]
    assert list(path.parent.glob("*.tmp*")) == []


def test_names_cannot_break_the_page(capture, labels, evaluation, tmp_path):
    (answer, *_) = draw_worst(Stubborn(), capture, labels, ToyEncoder(), evaluation, count=1)
    honest = Page(
        write_worst(
            tmp_path / "honest.html",
            summarise("lerf-ovs", [answer.row]),
            [answer],
            scene="desk",
            encoder="toy",
        ).read_text(encoding="utf-8")
    )
    row = replace(answer.row, category=EVIL, frame=EVIL, average_precision=float("nan"))
    path = write_worst(
        tmp_path / (EVIL.replace("/", "") + ".html"),
        summarise("lerf-ovs", [row]),
        [replace(answer, row=row)],
        scene=EVIL,
        encoder=EVIL,
        version=EVIL,
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags == honest.tags
    assert page.code == honest.code
    assert page.styles() == honest.styles()
    assert {key for key, value in page.attributes if EVIL in value} == {"alt"}
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    head, tables, answer, foot = 3, 2, 2, 1
    assert page.text.count(EVIL) == head + tables + answer + foot
    assert page.text.count(path.with_suffix(".json").name) == 1
    assert "IoU 0.00, best 0.05 · AP – · score 0.90" in page.lines
    assert "1answers, in 1 photo" in page.lines


def test_worst_rows_are_of_least_iou_and_several_categories(evaluation):
    row = evaluation.rows[0]
    known = [("a", 0.1, True), ("a", 0.0, True), ("a", 0.0, False), ("b", 0.5, True), ("c", 0.2, False)]
    rows = [
        replace(row, category=c, iou=iou, hit=hit, best_iou=0.6, frame=str(k))
        for k, (c, iou, hit) in enumerate(known)
    ]
    assert [r.frame for r in worst_rows(rows, 3, 2)] == ["2", "1", "4"]
    assert [r.frame for r in worst_rows(rows, 9, 9)] == ["2", "1", "0", "4", "3"]
    assert worst_rows([], 3, 2) == []
