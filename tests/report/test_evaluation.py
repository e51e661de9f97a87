"""The page of an evaluation: the worst answers as they were scored, complete in itself and safe."""

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
from gags.evaluate.protocols import PROTOCOLS, evaluate
from gags.evaluate.results import Evaluation, summarise
from gags.query.maps import ValueMaps
from gags.query.relevancy import Queries
from gags.report.evaluation import draw_worst, write_page
from gags.report.evaluation_page import EvaluationPage

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


def page_of(evaluation: Evaluation, worst) -> EvaluationPage:
    return EvaluationPage("desk", evaluation, PROTOCOLS["lerf-ovs"], "toy", worst, "rows.json", "1.0")


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


def test_page_is_complete_and_tells_the_figures(capture, labels, evaluation, tmp_path):
    worst = draw_worst(Stubborn(), capture, labels, ToyEncoder(), evaluation)
    path = write_page(tmp_path / "report" / "evaluation_lerf-ovs.html", page_of(evaluation, worst))
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert "http" not in html.replace("http-equiv", "")
    assert page.tags.count("script") == 1
    assert [image["alt"].split(",")[0] for image in page.images[:2]] == ["“left” on a.png", "“left” on b.png"]
    for image in page.images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/webp;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (WIDTH, HEIGHT)
    assert len(page.images) == 6
    assert page.text.count("✗ miss") == 4
    assert page.text.count("✓ hit") == 2
    for words in (
        "33.3 %found (mAcc)",
        "6answers, in 2 photos",
        "held out333.3 %",
        "rows.json",
        "by the proto",
    ):
        assert words in page.text
    assert page.text.index("left2") < page.text.index("middle2")  # worst category first
    targets = [value[1:] for key, value in page.attributes if key == "href"]
    assert set(targets) == {"splits", "categories", "photos", "worst"}
    assert list(path.parent.glob("*.tmp*")) == []


def test_names_cannot_break_the_page(capture, labels, evaluation, tmp_path):
    (answer, *_) = draw_worst(Stubborn(), capture, labels, ToyEncoder(), evaluation, count=1)
    row = replace(answer.row, category=EVIL, frame=EVIL, average_precision=float("nan"))
    data = page_of(summarise("lerf-ovs", [row]), [replace(answer, row=row)])
    path = write_page(
        tmp_path / "page.html", replace(data, scene=EVIL, encoder=EVIL, rows_file=EVIL, version=EVIL)
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert "onerror" not in dict(page.attributes)
    assert page.text.count(EVIL) == 9  # all that comes from outside
    assert "AP –" in page.text
    assert "1answers, in 1 photo" in page.text
