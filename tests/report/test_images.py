"""Pictures shrink together until a page is small enough; the last are left out only after that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.html_page import Page
from tests.helpers.made_report import full_report

from gags.report import images
from gags.report.data import AnswerCard
from gags.report.images import Picture, page_images, pictures_in_page, report_pictures
from gags.report.pages import write_report


def test_every_picture_of_the_page_has_a_size_in_it() -> None:
    report = full_report()
    shown = pictures_in_page(report, report_pictures(report))
    assert len(shown) == len(report_pictures(report)) + 2  # the worst in small
    found = page_images([*shown, Picture("large", np.zeros((300, 2200, 3), np.uint8), 1.0)])
    assert (found["large"].width, found["large"].height) == (1100, 150)
    assert {(image.width, image.height) for key, image in found.items() if key.startswith("view")} == {
        (160, 120)
    }


def test_pictures_shrink_before_any_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.PAGE_BYTES < 14_000_000
    big = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    many = replace(
        full_report(), answers=[AnswerCard("n", "a.jpg", big, None)] * 20, views=[], evaluations=[]
    )

    def page_of(name: str) -> Page:
        return Page(write_report(tmp_path / name, many).read_text(encoding="utf-8"))

    assert {image["width"] for image in page_of("free").images} == {"300"}
    monkeypatch.setattr(images, "PAGE_BYTES", 450_000)
    page = page_of("tight")
    assert len(page.images) == 20
    assert {int(image["width"]) for image in page.images} < set(range(160, 300))
    assert (tmp_path / "tight" / "index.html").stat().st_size < 550_000
    monkeypatch.setattr(images, "PAGE_BYTES", 60_000)
    page = page_of("tiny")
    assert 0 < len(page.images) < 20
    assert f"{20 - len(page.images)} more answers are in pictures/." in page.lines
