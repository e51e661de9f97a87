"""HTML of the panel: what a row of a layer says, and that texts cannot become markup."""

from unittest.mock import MagicMock

import numpy as np
import pytest
from tests.helpers.html_page import EVIL, Page

pytest.importorskip("viser", reason="needs the extra `view`")

from gags.viewer.panel import Panel, layer_row
from gags.viewer.state import Layer, ViewerState

RELEVANCY = np.array([0.2, 0.6, 0.9], np.float32)


@pytest.mark.parametrize(("visible", "opacity"), [(True, "1"), (False, "0.35")])
def test_a_row_says_text_score_and_count_in_the_layers_colour(visible, opacity):
    row = Page(layer_row(Layer("red mug", RELEVANCY, RELEVANCY, 0.875, (1, 2, 30), visible), 0.5))
    assert row.tags == ["div", "span", "b", "span"]
    assert " ".join(row.text.split()) == "red mug 0.88 · 2"
    styles = row.styles()
    assert styles[1].endswith(f"background:rgb(1,2,30);opacity:{opacity}")
    assert styles[2].endswith(f"opacity:{opacity}")


def test_texts_cannot_become_markup():
    row = Page(layer_row(Layer(EVIL, RELEVANCY, RELEVANCY, 0.9, (1, 2, 3)), 0.5))
    assert row.tags == ["div", "span", "b", "span"]
    assert EVIL in row.text
    gui, answer = MagicMock(), MagicMock()
    gui.add_html.return_value = answer
    panel = Panel(gui, ViewerState(3), [], MagicMock(), MagicMock())
    panel.show_answer(EVIL)
    said = Page(answer.content)
    assert said.tags == ["div"]
    assert said.text.strip() == EVIL
    panel.show_answer("")
    assert answer.content == ""
