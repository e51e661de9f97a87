"""The page of a scene: all it says and shows, complete in itself, safe against what texts contain.

Every text is escaped, what is not given is an error, and only the page's own script may run.
"""

import base64
import hashlib
import io
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image
from tests.helpers.html_page import EVIL, Page
from tests.helpers.made_report import card, full_report, photo

from gags.report.data import EvaluationFigures, ReportData, StageTime, TextFigures, ViewPicture
from gags.report.gather import answer_card
from gags.report.pages import render_page, write_report

TEMPLATES = files("gags.report") / "templates"
GIVEN = {"groups": [], "views": [], "worst": [], "next_steps": []}
LINES = """
my desk · gags
my desk
61 photos (and 9 held out) became a 3D scene that answers text.
61photos
212,345Gaussians
11 min 13 sfrom photos to answers
23.4 dBPSNR, held-out photos
72 %found (mAcc, held-out views)
36 %overlap (mIoU, held-out views)
Gaussians 10 min 12 s
masks 1 min 01 s
Made on CPU, 2 cores with the encoder lite and the segmenter mobile-sam.
10 photos have no pose
The encoder “lite” is a stopgap for machines that reach no model hub: an image classifier and a sentence \
encoder, joined. It knows everyday things close to ImageNet’s thousand classes and misses many others; a \
CLIP encoder answers far more texts.
Answers Scene Numbers How to go on
Answers
the brighter, the better it answers
answer
truth
best pixel
“red mug” found in 1 of 2 views, mean IoU 0.35
a/b.jpg ✓ hit
score 0.83 · IoU 0.71
c.jpg ✗ miss
score 0.83 · IoU 0.00
“lamp”
a/b.jpg ✓ hit
score 0.83 · IoU 0.10
Scene
a/b.jpg held outPSNR 23.5 dB · SSIM 0.871
Photo
Render
Depth. Near is bright.
Meaning. Language features as colours: what means the same looks alike.
Granularity. Which level was learnt at each pixel.
sub-part
part
whole
undecided
Masks: sub-part. 0 masks, grey where there is none.
Masks: part. 0 masks, grey where there is none.
Masks: whole. 2 masks, grey where there is none.
Prompts. 1 points the segmenter was asked about; far things get more.
c.jpg
Photo
Numbers
Renders against 9 held-out photos: PSNR 23.40 dB, SSIM 0.870.
held-out views protocol lerf-ovs
mAcc 72.5 %: share of answers whose best pixel lies on the thing. mIoU 36.4 %: overlap of answer and truth.
text views found IoU
red mug 2 50 % 0.35
lamp 1 100 % 0.10
Worst answers
red mug
c.jpg · IoU 0.00 ✗ miss
lamp
a/b.jpg · IoU 0.10 ✓ hit
How to go on
Ask something else; pictures and masks land in a folder
gags query 'desk ws' 'red mug' --out answers
Take a thing out of the scene as a PLY of its own
gags extract 'desk ws' 'red mug' --out thing.ply
Score the answers against labels in the LERF-OVS format
gags evaluate 'desk ws' --labels LABELS
See which encoders and segmenters are on this machine
gags models
Written by gags 0.1.0. This page is complete: it loads nothing from anywhere. Larger pictures lie in \
pictures/ beside it.
"""
ALTS = """
Heat map of “red mug” on a/b.jpg, score 0.83
“red mug” cut out of a/b.jpg
Heat map of “red mug” on c.jpg, score 0.83
“red mug” cut out of c.jpg
Heat map of “lamp” on a/b.jpg, score 0.83
“lamp” cut out of a/b.jpg
Photo of a/b.jpg
Render of a/b.jpg
Depth of a/b.jpg. Near is bright.
Meaning of a/b.jpg. Language features as colours: what means the same looks alike.
Granularity of a/b.jpg. Which level was learnt at each pixel.
Masks: sub-part of a/b.jpg. 0 masks, grey where there is none.
Masks: part of a/b.jpg. 0 masks, grey where there is none.
Masks: whole of a/b.jpg. 2 masks, grey where there is none.
Prompts of a/b.jpg. 1 points the segmenter was asked about; far things get more.
Photo of c.jpg
“red mug” on c.jpg
“lamp” on a/b.jpg
"""


def read(path: Path) -> tuple[str, Page]:
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


def joined(text: str) -> list[str]:
    return text.replace("\\\n", "").strip().split("\n")


def test_page_says_and_shows_all_there_is(tmp_path: Path) -> None:
    _, page = read(write_report(tmp_path, full_report()))
    assert page.lines == joined(LINES)
    assert [image["alt"] for image in page.images] == joined(ALTS)
    assert page.links() == ["#answers", "#scene", "#numbers", "#next", "#answer-2", "#answer-3"]
    assert page.ids == ["answers", "answer-1", "answer-2", "answer-3", "scene", "numbers", "next"]
    assert [style for style in page.styles() if style.startswith("width")] == ["width:35.5%", "width:10.0%"]
    assert [style for style in page.styles() if style.startswith("flex")] == [
        "flex:612.000 0 0",
        "flex:61.000 0 0",
    ]


def test_page_is_complete_in_itself(tmp_path: Path) -> None:
    html, page = read(write_report(tmp_path, full_report()))
    assert not re.findall(
        r"(?:https?:)?//[a-z0-9.]+|url\(|@import|srcset|<link|<iframe", re.sub(r"base64,[^\"]+", "", html)
    )
    for image in page.images:
        kind, data = image["src"].split(",", 1)
        assert kind == "data:image/webp;base64"
        decoded = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        decoded.load()
        assert decoded.size == (int(image["width"]), int(image["height"]))
        assert image["loading"] == "lazy"


def test_only_lite_is_called_a_stopgap(tmp_path: Path) -> None:
    _, page = read(write_report(tmp_path, replace(full_report(), encoder="openai/clip-vit-base-patch16")))
    assert "stopgap" not in page.text
    assert "Made on CPU, 2 cores with the encoder openai/clip-vit-base-patch16" in page.text


def test_texts_cannot_become_markup(tmp_path: Path) -> None:
    full = full_report()
    _, honest = read(write_report(tmp_path / "honest", full))
    pictures = tuple(replace(picture, meaning=EVIL) for picture in full.views[0].pictures)
    extra = ViewPicture(EVIL, EVIL, photo())
    evil = replace(
        full,
        scene=EVIL,
        encoder="lite" + EVIL,
        segmenter=EVIL,
        device=EVIL,
        version=EVIL,
        workspace=EVIL,
        notes=[EVIL],
        stages=[StageTime(EVIL, 612.0), StageTime(EVIL, 61.0)],
        answers=[replace(item, text=EVIL + item.text, view=EVIL) for item in full.answers],
        views=[
            replace(full.views[0], name=EVIL, pictures=pictures),
            replace(full.views[1], name=EVIL, pictures=(extra,)),
        ],
        evaluations=[
            EvaluationFigures(EVIL, EVIL, 0.725, 0.364, [TextFigures(EVIL, 1, 0.5, 0.355)] * 2),
        ],
    )
    html, page = read(write_report(tmp_path / "evil", evil))
    extra_picture = ["div", "figure", "img", "figcaption", "b"]
    assert sorted(page.tags) == sorted([*honest.tags, *extra_picture])
    assert page.code == honest.code  # neither script nor style holds a text
    assert "<script>alert" not in html
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert {key for key, value in page.attributes if EVIL in value} == {"alt"}
    assert set(page.styles()) <= {*honest.styles()} | {"width:35.5%"}
    assert page.links() == honest.links()
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.images)
    head, answers, scene = 2 + 2 + 2 + 3 + 1, 2 + 3, 2 + 7 + 2
    numbers, foot = 2 + 2 + 2 * 2, 1  # in the commands at the end, quotes for the shell cut them in pieces
    assert page.text.count(EVIL) == head + answers + scene + numbers + foot


def test_odd_texts_survive(tmp_path: Path) -> None:
    texts = [
        "",
        "../../etc/passwd",
        "красная кружка",
        "\udcff broken",
        "a\nb\x00c",
        "x" * 3000,
        "{{ 7 * 6 }}",
    ]
    odd = replace(full_report(), answers=[card(text) for text in texts], evaluations=[])
    _, page = read(write_report(tmp_path / "r", odd))
    assert "“красная кружка”" in page.lines
    assert "“{{ 7 * 6 }}”" in page.lines
    assert len(list((tmp_path / "r" / "pictures").glob("answer_*.jpg"))) == len(texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]


def test_pictures_lie_beside_the_page(tmp_path: Path) -> None:
    write_report(tmp_path, full_report())
    pictures = {path.name: Image.open(path) for path in (tmp_path / "pictures").iterdir()}
    assert len(pictures) == 3 * 2 + 2 + 7 + 1
    assert pictures["answer_001_red-mug_a-b-jpg.jpg"].size == (160, 120)
    assert pictures["view_01_a-b-jpg_masks-sub-part.jpg"].size == (160, 120)
    assert "view_02_c-jpg_photo.jpg" in pictures


def test_a_new_report_replaces_the_old_one_s_pictures_only(tmp_path: Path) -> None:
    full = full_report()
    write_report(tmp_path, full)
    (tmp_path / "pictures" / "mine.jpg").write_bytes(b"x")
    write_report(tmp_path, replace(full, answers=full.answers[:1], views=[]))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "answer_001_red-mug_a-b-jpg.jpg",
        "cutout_001_red-mug_a-b-jpg.jpg",
        "mine.jpg",
    ]


def test_a_bare_report_has_no_empty_sections(tmp_path: Path) -> None:
    _, page = read(write_report(tmp_path, ReportData("s", 3, 5, "clip", "")))
    assert page.images == []
    assert page.ids == []
    assert page.lines == [
        "s · gags",
        "s",
        "3 photos became a 3D scene that answers text.",
        "3photos",
        "5Gaussians",
        "Made with the encoder clip.",
        "Written by gags. This page is complete: it loads nothing from anywhere. "
        "Larger pictures lie in pictures/ beside it.",
    ]


def test_an_empty_mask_says_nothing_found(tmp_path: Path) -> None:
    zeros = np.zeros((120, 160))
    empty = answer_card("ghost", "c.jpg", photo(), zeros, zeros)
    assert empty.cutout is None
    _, page = read(write_report(tmp_path, replace(full_report(), answers=[empty])))
    assert page.lines[page.lines.index("“ghost”") + 1 :][:2] == ["c.jpg", "nothing found"]


@pytest.mark.slow
def test_page_stays_small_however_much_there_is(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 1200, 3), dtype=np.uint8)
    full = full_report()
    noisy = replace(full.answers[0], overlay=noise, cutout=noise[:300, :400], iou=0.1, hit=False)
    views = [replace(full.views[1], photo=noise)] * 4
    path = write_report(tmp_path, replace(full, answers=[noisy] * 30, views=views))
    assert path.stat().st_size < 15_000_000
    _, page = read(path)
    assert len(page.images) == 30 * 2 + 4 + 6


def test_policy_allows_only_the_page_s_own_script() -> None:
    page = Page(render_page("index.html", report=full_report(), **GIVEN))
    (script,), (style,) = page.code["script"], page.code["style"]
    assert script == (TEMPLATES / "page.js").read_text(encoding="utf-8")
    assert style == (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (value for key, value in page.attributes if key == "content" and "-src" in value)
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="next_steps"):
        render_page("index.html", report=full_report(), **{k: GIVEN[k] for k in GIVEN if k != "next_steps"})


def test_no_template_turns_escaping_off_and_code_cannot_end_its_element() -> None:
    names = sorted(path.name for path in TEMPLATES.iterdir())
    pages = ["base.html", "benchmark.html", "evaluation.html", "index.html", "library.html"]
    assert names == [*pages, "macros.html", "page.css", "page.js", "things.html"]
    for name in names:
        source = (TEMPLATES / name).read_text(encoding="utf-8")
        if name.endswith(".html"):
            assert not re.search(r"\|\s*safe|autoescape|Markup", source)
        else:
            assert "</" not in source
