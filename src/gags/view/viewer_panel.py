"""The panel of the viewer's page: what is to be seen and clicked in it. The session says what happens."""

import html
from collections.abc import Callable
from typing import Protocol

import viser

from gags.view.viewer_scene import Picked
from gags.view.viewer_state import MODES, Color, Layer, Mode, ViewerState

LAYER_BUTTONS = ("hide / show", "select", "remove")
_ROW = (
    '<div style="display:flex;align-items:center;gap:.5em;padding:.3em .7em 0;font-size:.85em">'
    '<span style="width:.9em;height:.9em;border-radius:50%;flex:none;background:{color};opacity:{opacity}">'
    '</span><b style="overflow-wrap:anywhere;opacity:{opacity}">{text}</b>'
    '<span style="margin-left:auto;white-space:nowrap;opacity:.75">{figures}</span></div>'
)
_HINTS: dict[Mode, str] = {
    "colour": "Colours as seen from nowhere in particular: a browser draws no view-dependent colour.",
    "relevancy": "What matches glows in the colour of its layer, brighter where it matches better.",
    "granularity": "Orange: best described as a sub-part, blue: as a part, green: as a whole.",
    "features": "What means the same has the same colour.",
    "depth": "Near is bright. Follows the camera when it rests.",
}


class Actions(Protocol):
    """What the panel calls; every one returns quickly or shows its progress in the page."""

    def typed(self, text: str) -> None:
        """The text box changed."""
        ...

    def keep(self) -> None:
        """Enter was pressed in the text box."""
        ...

    def set_threshold(self, threshold: float) -> None:
        """The slider moved."""
        ...

    def set_mode(self, mode: Mode) -> None:
        """Another mode was chosen."""
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

    def recolour(self, color: Color) -> None:
        """Colour what is selected."""
        ...

    def unselect(self) -> None:
        """Put the light out."""
        ...

    def undo(self) -> None:
        """Take back the last change."""
        ...

    def save_scene(self) -> None:
        """Send all that is left as a file."""
        ...

    def save_picture(self) -> None:
        """Send what is seen as a picture."""
        ...

    def show_cameras(self, shown: bool) -> None:
        """Show or hide the cameras of the photos."""
        ...

    def go_to(self, name: str) -> None:
        """Look from where a photo was taken."""
        ...


class Panel:
    """The controls of one browser.

    Args:
        gui: Of the browser.
        state: Of the browser, for the values that the controls begin with.
        photos: Names of the photos.
        actions: What the controls do.
        guarded: Wraps what a control calls so that errors are shown in the page.
    """

    def __init__(
        self,
        gui: viser.GuiApi,
        state: ViewerState,
        photos: list[str],
        actions: Actions,
        guarded: Callable[[Callable[[], None]], Callable[[object], None]],
    ) -> None:
        self._gui, self._actions, self._guarded = gui, actions, guarded
        self._layers: list[viser.GuiFolderHandle] = []
        self._ask_controls(state)
        with gui.add_folder("Layers") as self._layer_folder:
            self._no_layers = gui.add_markdown("*Enter keeps a text as a layer.*")
        with gui.add_folder("Selected"):
            self._thing_controls()
        with gui.add_folder("Scene"):
            self._scene_controls(photos)

    def _ask_controls(self, state: ViewerState) -> None:
        gui, actions = self._gui, self._actions
        with gui.add_form(None) as form:
            self.text = gui.add_text("Look for", "", hint="What to look for: red mug. Enter keeps it.")
        self.text.on_update(self._guarded(lambda: actions.typed(self.text.value)))
        form.on_submit(self._guarded(actions.keep))
        self._answer = gui.add_html("")
        threshold = gui.add_slider(
            "Threshold",
            min=0.0,
            max=1.0,
            step=0.01,
            initial_value=state.threshold,
            hint="Relevancy from which on a Gaussian matches a text.",
        )
        threshold.on_update(self._guarded(lambda: actions.set_threshold(threshold.value)))
        mode = gui.add_dropdown("Show", MODES, initial_value=state.mode)
        hint = gui.add_markdown(f"*{_HINTS[state.mode]}*")

        def change() -> None:
            hint.content = f"*{_HINTS[mode.value]}*"
            actions.set_mode(mode.value)

        mode.on_update(self._guarded(change))

    def _thing_controls(self) -> None:
        gui, actions = self._gui, self._actions
        self._thing = gui.add_markdown("")
        self.show_picked(None)
        self._buttons({"Cut out": actions.cut_out, "Delete": actions.delete, "Let go": actions.unselect})
        color = gui.add_rgb("Colour", (255, 64, 64))
        self._buttons({"Recolour": lambda: actions.recolour(color.value)})

    def _scene_controls(self, photos: list[str]) -> None:
        gui, actions = self._gui, self._actions
        self._buttons({"Undo": actions.undo})
        self._buttons({"Save picture": actions.save_picture, "Save scene": actions.save_scene})
        cameras = gui.add_checkbox("Cameras", True, hint="Of the photos; click one to go there.")
        cameras.on_update(self._guarded(lambda: actions.show_cameras(cameras.value)))
        if photos:
            photo = gui.add_dropdown("Go to", photos, hint="Look from where a photo was taken.")
            photo.on_update(self._guarded(lambda: actions.go_to(photo.value)))

    def _buttons(self, actions: dict[str, Callable[[], None]]) -> None:
        group = self._gui.add_button_group("", tuple(actions))
        group.on_click(self._guarded(lambda: actions[group.value]()))

    def show_answer(self, message: str) -> None:
        """What became of the text being typed; plain text."""
        style = "padding:.1em .7em .3em;font-size:.85em;opacity:.85;overflow-wrap:anywhere"
        self._answer.content = f'<div style="{style}">{html.escape(message)}</div>' if message else ""

    def show_layers(self, layers: list[Layer], threshold: float) -> None:
        """List the layers anew."""
        for row in self._layers:
            row.remove()
        self._layers = []
        self._no_layers.visible = not layers
        with self._layer_folder:
            for layer in layers:
                with self._gui.add_folder(None) as row:
                    self._gui.add_html(layer_row(layer, threshold))
                    buttons = self._gui.add_button_group("", LAYER_BUTTONS)
                buttons.on_click(self._guarded(_bound(self._actions, layer, buttons)))
                self._layers.append(row)

    def show_picked(self, picked: Picked | None, title: str = "") -> None:
        """Say what is selected: its names, or a title."""
        if picked is not None:
            names = [f"{word} ({score:.2f})" for word, score in picked.names]
            title = f"**{names[0]}**" + "".join(f"\n\n{name}" for name in names[1:])
            title += f"\n\n{int(picked.mask.sum()):,} Gaussians"
        self._thing.content = title or "*Click on a thing, click again for a part of it.*"


def layer_row(layer: Layer, threshold: float) -> str:
    """A layer's colour, text, score and number of Gaussians, as HTML."""
    red, green, blue = layer.color
    return _ROW.format(
        color=f"rgb({red},{green},{blue})",
        opacity=1 if layer.visible else 0.35,
        text=html.escape(layer.text),
        figures=f"{layer.score:.2f} · {int(layer.matching(threshold).sum()):,}",
    )


def _bound(actions: Actions, layer: Layer, buttons: viser.GuiButtonGroupHandle) -> Callable[[], None]:
    return lambda: actions.layer_action(layer, buttons.value)
