"""What one browser does with callbacks that come late, twice or out of order; the browser is made up."""

import asyncio
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

pytest.importorskip("viser", reason="needs the extra `view`")

from gags.viewer.cameras import Place
from gags.viewer.scene import Picked
from gags.viewer.session import Session
from gags.viewer.state import Layer

BOX = SimpleNamespace(corners=np.zeros((8, 3)))
FIRST = np.array([True, False, False])


class Shown:
    """A scene of three Gaussians, of which each text matches the first; colours say what is shown."""

    means = np.arange(9.0).reshape(3, 3)
    opacities = np.array([1.0, 0.5, 0.2])
    solid = opacities > 0.3
    base = np.zeros((3, 3), np.uint8)
    ellipsoids = SimpleNamespace(rotations=np.eye(3)[None].repeat(3, 0), scales=np.ones((3, 3)))

    def __init__(self):
        self.asked = []
        self.meanwhile = lambda: None  # happens while something is looked for

    def __len__(self):
        return 3

    def ask(self, text, color):
        self.asked.append(text)
        return Layer(text, FIRST.astype(np.float32), FIRST.astype(np.float32), 0.9, color)

    def answers(self, layer):
        return True

    def colors(self, state, position):
        return [layer.text for layer in state.shown()], state.selected is not None

    def instances(self, text, progress):
        self.meanwhile()
        return [SimpleNamespace(mask=MagicMock(numpy=lambda: FIRST), box=BOX, score=0.8)]

    def pick(self, origin, direction, state, previous, progress):
        self.meanwhile()
        return Picked(FIRST, BOX, [("mug", 0.9)], 0)  # type: ignore[arg-type]


def _control(*arguments, **options):
    given = arguments[1] if len(arguments) > 1 else options.get("initial_value")
    return MagicMock(value=options.get("initial_value", given))


@pytest.fixture
def client():
    client = MagicMock()
    client.camera.position = np.zeros(3)
    for name in (
        "text",
        "slider",
        "dropdown",
        "rgb",
        "checkbox",
        "html",
        "markdown",
        "folder",
        "button_group",
    ):
        getattr(client.gui, f"add_{name}").side_effect = _control
    return client


@pytest.fixture
def session(client):
    views = [SimpleNamespace(name="a.jpg"), SimpleNamespace(name="b.jpg")]
    return Session(client, Shown(), views, Place.of_scene(1.0, np.array([0, 0, 1.0])))  # type: ignore[arg-type]


def _keep(session, text):
    session._panel.text.value = text
    session.keep()
    return session.state.layers[-1]


def _drawn(session):
    return session._splats.rgbs


def test_callbacks_of_the_text_box_answer_what_it_holds_now_and_once(session):
    session._panel.text.value = "red mug"  # "r", "re" … were typed before; their callbacks come only now
    for _ in range(4):
        session.typed()
    assert session._shown.asked == ["red mug"]
    assert _drawn(session) == (["red mug"], False)


def test_a_late_callback_of_the_text_box_brings_nothing_back_after_keep_and_hide(session):
    session._panel.text.value = "mug"
    session.typed()
    session.keep()
    assert session._panel.text.value == ""
    session.layer_action(session.state.layers[0], "hide / show")
    session.typed()
    assert _drawn(session) == ([], False)
    assert session.state.draft is None


def test_callbacks_of_slider_and_mode_set_what_these_hold_now(session):
    session._panel.threshold.value, session._panel.mode.value = 0.8, "depth"
    session.set_threshold()
    session.set_mode()
    assert (session.state.threshold, session.state.mode) == (0.8, "depth")


@pytest.mark.parametrize("meanwhile", ["unselect", "typed"])
def test_a_click_is_answered_unless_something_newer_was_asked(session, meanwhile):
    session._pick(np.zeros(3), np.ones(3))
    assert session.state.selected is not None
    session.unselect()
    session._panel.text.value = "plate"
    session._shown.meanwhile = getattr(session, meanwhile)
    session._pick(np.zeros(3), np.ones(3))
    assert session.state.selected is None
    assert not _drawn(session)[1]


def test_selecting_a_layer_gives_way_to_a_newer_click(session):
    layer = _keep(session, "mug")
    session.layer_action(layer, "select")
    assert session._selected_name == "mug"
    session.unselect()

    def click():
        session._shown.meanwhile = lambda: None
        session._pick(np.zeros(3), np.ones(3))

    session._shown.meanwhile = click
    session.layer_action(layer, "select")
    assert session._picked is not None  # what was clicked, not the layer


def test_a_deletion_while_a_click_is_answered_stays_deleted(session):
    session._shown.meanwhile = lambda: session.state.edit(np.array([True, True, False]))
    session._pick(np.zeros(3), np.ones(3))
    assert not session.state.selected.any()


def test_removing_a_layer_twice_is_no_error(session):
    layer, other = _keep(session, "mug"), _keep(session, "plate")
    for _ in range(2):
        session.layer_action(layer, "remove")
    assert session.state.layers == [other]


def test_a_layers_colour_can_be_chosen_and_its_row_stays(session):
    layer = _keep(session, "mug")
    row = session._panel._rows[layer]
    row.color.value = (1, 2, 3)
    session.set_layer_color(layer)
    assert layer.color == (1, 2, 3)
    assert "rgb(1,2,3)" in row.line.content
    assert session._panel._rows[layer] is row
    row.folder.remove.assert_not_called()
    session.layer_action(layer, "remove")
    row.folder.remove.assert_called_once()
    session.set_layer_color(layer)  # late: there is nothing to colour any more


def test_every_clicked_button_does_its_work(session):
    group, clicked = MagicMock(), []
    session._panel._on_click(group, clicked.append)
    (callback,) = group.on_click.call_args.args

    async def click() -> None:
        for button in ("Cut out", "Delete"):
            group.value = button
            await callback(None)

    asyncio.run(click())
    assert sorted(clicked) == ["Cut out", "Delete"]


def test_the_same_photo_can_be_gone_to_again(session, monkeypatch):
    gone = []
    monkeypatch.setattr(session, "go_to", gone.append)
    photo = MagicMock(value="a.jpg")
    session._panel._go_to(photo)
    session._panel._go_to(photo)  # what setting the value calls
    photo.value = "a.jpg"
    session._panel._go_to(photo)
    assert gone == ["a.jpg", "a.jpg"]
