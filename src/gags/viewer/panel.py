"""The panel of the viewer's page: its controls and what they show. The session says what they do."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import viser
from jinja2 import Environment, PackageLoader, StrictUndefined

from gags.viewer.notices import Notices
from gags.viewer.scene import Picked
from gags.viewer.state import MODES, Layer, Mode, Rgb, ViewerState

_NO_LAYERS_HINT = "*Enter keeps a text as a layer.*"
_LAYERS_HINT = "*Score · Gaussians above the threshold*"
_NO_PHOTO = "choose a photo"
LAYER_BUTTONS = ("hide / show", "select", "remove")
_HINTS: dict[Mode, str] = {
    "colour": "The colours, the same from all sides: a browser draws no view-dependent colour.",
    "relevancy": "What matches glows in the colour of its layer, brighter where it matches better.",
    "granularity": "Orange: best described as a sub-part, blue: as a part, green: as a whole.",
    "features": "What means the same has the same colour.",
    "depth": "Near is bright. Follows the camera when it rests.",
}


class Actions(Protocol):
    """What the panel calls, in any thread. Every call returns quickly or shows its progress in the page.

    Callbacks may come in any order. So the value of a control is not passed on; it is read from the panel.
    """

    def typed(self) -> None:
        """The text box changed."""
        ...

    def keep(self) -> None:
        """Enter was pressed in the text box."""
        ...

    def set_threshold(self) -> None:
        """The slider moved."""
        ...

    def set_mode(self) -> None:
        """Another mode was chosen."""
        ...

    def set_layer_color(self, layer: Layer) -> None:
        """Another colour was chosen for a layer."""
        ...

    def layer_action(self, layer: Layer, action: str) -> None:
        """One of a layer's buttons was clicked."""
        ...

    def cut_out(self) -> None:
        """Send what is selected as a file."""
        ...

    def delete(self) -> None:
        """Delete what is selected."""
        ...

    def recolor(self, color: Rgb) -> None:
        """Colour what is selected."""
        ...

    def unselect(self) -> None:
        """Select nothing."""
        ...

    def undo(self) -> None:
        """Take back the last change."""
        ...

    def save_scene(self) -> None:
        """Send all Gaussians that are not deleted as a file."""
        ...

    def save_picture(self) -> None:
        """Send a picture of the view as a file."""
        ...

    def show_cameras(self) -> None:
        """The check box of the photos' cameras changed."""
        ...

    def go_to(self, name: str) -> None:
        """Look from where a photo was taken."""
        ...


@dataclass(frozen=True, eq=False)
class _Row:
    """What the panel shows of a layer."""

    folder: viser.GuiFolderHandle
    line: viser.GuiHtmlHandle
    color: viser.GuiRgbHandle


class Panel:
    """The controls of one browser.

    Args:
        gui: Of the browser.
        state: Of the browser, for the values that the controls begin with.
        photos: Names of the photos.
        actions: What the controls do.
        notices: Of the browser, for errors of what the controls do.

    Attributes:
        text: What to look for.
        threshold: Strength from which on a Gaussian matches a text.
        mode: What the colours show.
        cameras: Whether the cameras of the photos are shown.
    """

    def __init__(
        self,
        gui: viser.GuiApi,
        state: ViewerState,
        photos: list[str],
        actions: Actions,
        notices: Notices,
    ) -> None:
        self._gui, self._actions, self._notices = gui, actions, notices
        self._guarded = notices.guarded
        self._rows: dict[Layer, _Row] = {}
        self._ask_controls(state)
        with gui.add_folder("Layers") as self._layer_folder:
            self._layers_hint = gui.add_markdown(_NO_LAYERS_HINT)
        with gui.add_folder("Selected"):
            self._thing_controls()
        with gui.add_folder("Scene"):
            self._scene_controls(photos)

    def _ask_controls(self, state: ViewerState) -> None:
        gui, actions = self._gui, self._actions
        with gui.add_form(None) as form:
            self.text = gui.add_text("Look for", "", hint="What to look for: red mug. Enter keeps it.")
        self.text.on_update(self._guarded(actions.typed))
        form.on_submit(self._guarded(actions.keep))
        self._answer = gui.add_html("")
        self.threshold = gui.add_slider(
            "Threshold",
            min=0.0,
            max=1.0,
            step=0.01,
            initial_value=state.threshold,
            hint="0.5: what just counts as a match; 1: the best place alone; 0: half of the scene.",
        )
        self.threshold.on_update(self._guarded(actions.set_threshold))
        self.mode = gui.add_dropdown("Show", MODES, initial_value=state.mode)
        self._hint = gui.add_markdown("")
        self.show_hint(state.mode)
        self.mode.on_update(self._guarded(actions.set_mode))

    def _thing_controls(self) -> None:
        gui, actions = self._gui, self._actions
        self._thing = gui.add_markdown("")
        self.show_picked(None)
        self._buttons({"Cut out": actions.cut_out, "Delete": actions.delete, "Unselect": actions.unselect})
        color = gui.add_rgb("Colour", (255, 64, 64), hint="For `Recolour`.")
        self._buttons({"Recolour": lambda: actions.recolor(color.value)})

    def _scene_controls(self, photos: list[str]) -> None:
        gui, actions = self._gui, self._actions
        self._buttons({"Undo": actions.undo})
        self._buttons({"Save picture": actions.save_picture, "Save scene": actions.save_scene})
        self.cameras = gui.add_checkbox("Cameras", True, hint="Of the photos; click one to go there.")
        self.cameras.on_update(self._guarded(actions.show_cameras))
        if photos:
            options = (_NO_PHOTO, *photos)
            photo = gui.add_dropdown("Go to", options, hint="Look from where a photo was taken.")
            photo.on_update(self._guarded(lambda: self._go_to(photo)))

    def _go_to(self, photo: viser.GuiDropdownHandle[str]) -> None:
        name, photo.value = photo.value, _NO_PHOTO  # so that the same can be chosen again
        if name != _NO_PHOTO:
            self._actions.go_to(name)

    def _buttons(self, actions: dict[str, Callable[[], None]]) -> None:
        group = self._gui.add_button_group("", tuple(actions))
        self._on_click(group, lambda button: actions[button]())

    def _on_click(self, group: viser.GuiButtonGroupHandle, act: Callable[[str], None]) -> None:
        async def clicked(_: object) -> None:
            button = group.value  # read at once: when a thread gets to it, another may have been clicked
            self._notices.in_background(lambda: act(button))

        group.on_click(clicked)

    def show_hint(self, mode: Mode) -> None:
        """Say what a mode shows."""
        self._hint.content = f"*{_HINTS[mode]}*"

    def show_answer(self, message: str) -> None:
        """Show the answer to the text being typed; plain text."""
        self._answer.content = _html("answer.html", message=message) if message else ""

    def show_layers(self, layers: list[Layer], threshold: float) -> None:
        """List the layers as they are now; rows that exist stay, and their controls with them."""
        for layer in [layer for layer in self._rows if layer not in layers]:
            self._rows.pop(layer).folder.remove()
        self._layers_hint.content = _LAYERS_HINT if layers else _NO_LAYERS_HINT
        for layer in layers:
            if layer not in self._rows:
                self._rows[layer] = self._add_row(layer)
            self._rows[layer].line.content = layer_row(layer, threshold)

    def _add_row(self, layer: Layer) -> _Row:
        with self._layer_folder, self._gui.add_folder(None) as folder:
            line = self._gui.add_html("")
            color = self._gui.add_rgb("Colour", layer.color, hint="What matches this text is shown in.")
            buttons = self._gui.add_button_group("", LAYER_BUTTONS)
        color.on_update(self._guarded(lambda: self._actions.set_layer_color(layer)))
        self._on_click(buttons, lambda button: self._actions.layer_action(layer, button))
        return _Row(folder, line, color)

    def color_of(self, layer: Layer) -> Rgb:
        """The colour chosen for a layer that is listed."""
        return self._rows[layer].color.value

    def show_picked(self, picked: Picked | None, title: str = "") -> None:
        """Say what is selected: its names, or a title."""
        if picked is not None:
            names = [f"{word} ({score:.2f})" for word, score in picked.names]
            title = f"**{names[0]}**" + "".join(f"\n\n{name}" for name in names[1:])
            title += f"\n\n{int(picked.mask.sum()):,} Gaussians"
        self._thing.content = title or "*Click on a thing, click again for a part of it.*"


def layer_row(layer: Layer, threshold: float) -> str:
    """A layer's colour, text, score and number of Gaussians, as HTML."""
    return _html("layer.html", layer=layer, count=int(layer.matching(threshold).sum()))


def _html(template: str, **values: object) -> str:
    """HTML from one of the templates, every text escaped."""
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("gags.viewer"), autoescape=True, undefined=StrictUndefined)
