"""The page is complete in itself, safe against what texts contain, and of bounded size."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.html_page import EVIL, Page

from gags.report import embedding
from gags.report.data import answer_keys, worst_answers
from gags.report.report import (
    Evaluation,
    QueryCard,
    QueryScore,
    ReportData,
    StageTime,
    query_card,
    view_page,
    write_report,
)
from gags.report.style import JS


@pytest.fixture
def photo() -> np.ndarray:
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    return np.stack([np.tile(ramp, (120, 1))] * 3, axis=-1)


def card(photo: np.ndarray, text: str = "red mug", view: str = "a/b.jpg", **known: object) -> QueryCard:
    ys, xs = np.mgrid[: photo.shape[0], : photo.shape[1]]
    relevancy = np.exp(-((xs - 80) ** 2 + (ys - 60) ** 2) / 500)
    mask = relevancy > 0.7
    return query_card(text, view, photo, relevancy, mask, (80, 60), 0.83, truth=mask, **known)  # type: ignore[arg-type]


@pytest.fixture
def full(photo: np.ndarray) -> ReportData:
    height, width = photo.shape[:2]
    labels = np.full((3, height, width), -1, np.int16)
    labels[2, 20:60, 20:60] = 0
    labels[2, 70:90, 90:120] = 4
    view = view_page(
        "a/b.jpg",
        photo,
        render=photo // 2,
        depth=np.ones((height, width)),
        omega=np.full((height, width, 3), 1 / 3),
        features=np.random.default_rng(0).normal(size=(height, width, 8)),
        labels=labels,
        prompts=np.array([[3.0, 4.0]]),
        held_out=True,
        psnr=23.456,
        ssim=0.8712,
    )
    return ReportData(
        "my desk",
        61,
        212_345,
        "lite",
        "mobile-sam",
        "CPU, 2 cores",
        held_out=9,
        stages=[StageTime("Gaussians", 612.0), StageTime("masks", 61.0)],
        queries=[
            card(photo, iou=0.71, hit=True),
            card(photo, view="c.jpg", iou=0.0, hit=False),
            card(photo, "lamp", iou=0.1, hit=True),
        ],
        views=[view, view_page("c.jpg", photo)],
        psnr=23.4,
        ssim=0.87,
        evaluations=[
            Evaluation("held-out views", "lerf-ovs", 0.725, 0.364, [QueryScore("red mug", 2, 0.5, 0.355)])
        ],
        workspace="desk ws",
        notes=["10 photos have no pose"],
        version="0.1.0",
    )


def read(path: Path) -> tuple[str, Page]:
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def test_page_is_complete_in_itself(tmp_path: Path, full: ReportData) -> None:
    html, page = read(write_report(tmp_path, full))
    assert not re.findall(
        r"(?:https?:)?//[a-z0-9.]+|url\(|@import|srcset|<link|<iframe", re.sub(r"base64,[^\"]+", "", html)
    )
    assert page.tags.count("script") == 1
    assert len(page.images) == 3 * 2 + 2 + 7 + 1 + 2  # answers, pair, panels, bare view, worst
    for image in page.images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/webp;base64"
        decoded = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        decoded.load()
        assert decoded.size == (int(image["width"]), int(image["height"]))
        assert image["alt"].strip()
    assert len(set(page.ids)) == len(page.ids)
    targets = [value[1:] for key, value in page.attributes if key == "href"]
    assert set(targets) <= set(page.ids)
    assert {"answers", "scene", "numbers", "next"} <= set(targets)


def test_page_tells_the_figures(tmp_path: Path, full: ReportData) -> None:
    _, page = read(write_report(tmp_path, full))
    for words in (
        "my desk",
        "212,345",
        "11 min 13 s",
        "Gaussians 10 min 12 s",
        "23.4 dB",
        "72.5 %",
        "36.4 %",
        "found in 1 of 2 views, mean IoU 0.35",
        "score 0.83 · IoU 0.71",
        "✗ miss",
        "PSNR 23.5 dB · SSIM 0.871",
        "2 masks, grey where there is none.",
        "10 photos have no pose",
        "The encoder “lite” is a stopgap",
        "gags query 'desk ws' 'red mug' --out answers",
        "Worst answers",
    ):
        assert words in page.text, words


def test_only_lite_is_called_a_stopgap(tmp_path: Path, full: ReportData) -> None:
    _, page = read(write_report(tmp_path, replace(full, encoder="openai/clip-vit-base-patch16")))
    assert "stopgap" not in page.text
    assert "openai/clip-vit-base-patch16" in page.text


def test_texts_cannot_become_markup(tmp_path: Path, full: ReportData, photo: np.ndarray) -> None:
    _, honest_page = read(write_report(tmp_path / "honest", full))
    evil = replace(
        full,
        scene=EVIL,
        encoder=EVIL,
        segmenter=EVIL,
        device=EVIL,
        version=EVIL,
        workspace=EVIL,
        notes=[EVIL],
        stages=[StageTime(EVIL, 612.0), StageTime(EVIL, 61.0)],
        queries=[replace(item, text=EVIL + item.text, view=EVIL) for item in full.queries],
        views=[replace(item, name=EVIL) for item in full.views],
        evaluations=[Evaluation(EVIL, EVIL, 0.1, 0.1, [QueryScore(EVIL, 1, 0.1, 0.1)])],
    )
    html, page = read(write_report(tmp_path / "evil", evil))
    lite_notice = 1  # a paragraph and its bold words, which only lite has
    assert len(page.tags) == len(honest_page.tags) - 2 * lite_notice
    assert page.tags.count("script") == honest_page.tags.count("script") == 1
    assert "<script>alert" not in html
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert page.text.count(EVIL) >= 14
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.images)


def test_policy_allows_only_the_page_s_own_script(tmp_path: Path, full: ReportData) -> None:
    html, page = read(write_report(tmp_path, full))
    policy = next(value for key, value in page.attributes if key == "content" and "default-src" in value)
    script = html.split("<script>")[1].split("</script>")[0]
    assert script == JS
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_odd_texts_survive(tmp_path: Path, full: ReportData, photo: np.ndarray) -> None:
    texts = ["", "../../etc/passwd", "красная кружка", "\udcff broken", "a\nb\x00c", "x" * 3000]
    odd = replace(full, queries=[card(photo, text) for text in texts], evaluations=[])
    _, page = read(write_report(tmp_path / "r", odd))
    assert "“красная кружка”" in page.text
    assert len(list((tmp_path / "r" / "pictures").glob("answer_*.jpg"))) == len(texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


def test_pictures_lie_beside_the_page(tmp_path: Path, full: ReportData) -> None:
    write_report(tmp_path, full)
    files = {path.name: Image.open(path) for path in (tmp_path / "pictures").iterdir()}
    assert len(files) == 3 * 2 + 2 + 7 + 1
    assert files["answer_001_red-mug_a-b-jpg.jpg"].size == (160, 120)
    assert files["view_01_a-b-jpg_masks-sub-part.jpg"].size == (160, 120)
    assert "view_02_c-jpg_photo.jpg" in files


def test_a_new_report_replaces_the_old_one_s_pictures_only(tmp_path: Path, full: ReportData) -> None:
    write_report(tmp_path, full)
    (tmp_path / "pictures" / "mine.jpg").write_bytes(b"x")
    write_report(tmp_path, replace(full, queries=full.queries[:1], views=[]))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "answer_001_red-mug_a-b-jpg.jpg",
        "cutout_001_red-mug_a-b-jpg.jpg",
        "mine.jpg",
    ]


def test_a_bare_report_has_no_empty_sections(tmp_path: Path) -> None:
    html, page = read(write_report(tmp_path, ReportData("s", 3, 5, "clip", "")))
    assert page.images == []
    assert page.ids == []
    assert "NaN" not in html
    assert "None" not in page.text
    assert "segmenter" not in page.text


def test_an_empty_mask_says_nothing_found(tmp_path: Path, full: ReportData, photo: np.ndarray) -> None:
    zeros = np.zeros(photo.shape[:2])
    empty = query_card("ghost", "c.jpg", photo, zeros, zeros)
    assert empty.cutout is None
    _, page = read(write_report(tmp_path, replace(full, queries=[empty])))
    assert "nothing found" in page.text


def test_worst_answers_are_misses_then_poor_overlaps(full: ReportData, photo: np.ndarray) -> None:
    known = [(0.9, True), (0.2, True), (0.0, False), (0.3, False), (0.0, True), (None, None), (0.25, True)]
    cards = [card(photo, iou=iou, hit=hit) for iou, hit in known]
    assert worst_answers(replace(full, queries=cards)) == [2, 3, 4, 1]
    assert len(worst_answers(replace(full, queries=[cards[2]] * 20))) == 6


@pytest.mark.slow
def test_page_stays_small_however_much_there_is(tmp_path: Path, full: ReportData) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 1200, 3), dtype=np.uint8)
    noisy = QueryCard("noise", "a.jpg", noise, noise[:300, :400], 0.5, 0.1, False)
    path = write_report(tmp_path, replace(full, queries=[noisy] * 30, views=[view_page("n", noise)] * 4))
    assert path.stat().st_size < 15_000_000
    _, page = read(path)
    assert len(page.images) == 30 * 2 + 4 + 6


def test_pictures_shrink_before_any_is_left_out(
    tmp_path: Path, full: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedding.PAGE_BYTES < 14_000_000
    big = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    many = replace(full, queries=[QueryCard("n", "a.jpg", big, None)] * 20, views=[], evaluations=[])
    _, page = read(write_report(tmp_path / "free", many))
    assert {image["width"] for image in page.images} == {"300"}
    monkeypatch.setattr(embedding, "PAGE_BYTES", 450_000)
    path = write_report(tmp_path / "tight", many)
    _, page = read(path)
    assert len(page.images) == 20
    assert {int(image["width"]) for image in page.images} < set(range(160, 300))
    assert path.stat().st_size < 550_000
    monkeypatch.setattr(embedding, "PAGE_BYTES", 60_000)
    path = write_report(tmp_path / "tiny", many)
    _, page = read(path)
    assert 0 < len(page.images) < 20
    assert f"{20 - len(page.images)} more answers are in pictures/" in page.text


def test_keys_are_safe_unique_file_names(full: ReportData, photo: np.ndarray) -> None:
    texts = ["a/b", "A B", "a b", "кот", "..", "con:|?*"]
    keys = [
        key for pair in answer_keys(replace(full, queries=[card(photo, t) for t in texts])) for key in pair
    ]
    assert len(set(keys)) == 2 * len(texts)
    assert all(re.fullmatch(r"(answer|cutout)_\d{3}_[a-z0-9-]+_[a-z0-9-]+", key) for key in keys)
