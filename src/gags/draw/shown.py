"""An answer as one picture, for notebooks."""

from pathlib import Path

from PIL import Image

from gags.capture import View
from gags.capture.camera import Camera
from gags.draw.pictures import heat_overlay
from gags.draw.video import color_picture
from gags.errors import QueryError
from gags.query.showing import Picture, Pointed
from gags.scene import Scene


def show(
    scene: Scene | Path | str,
    text: str = "",
    view: View | Camera | str | None = None,
    *,
    image: Picture | None = None,
    like: Pointed | None = None,
) -> Image.Image:
    """A picture of where a text is found, which notebooks show: heat, outline of the mask, peak and score.

    Args:
        scene: The scene, or its folder.
        text: What to look for; empty if an image or a click is given instead.
        view: A view of the capture, its name, or any other camera; None for the photo that shows the answer
            best.
        image: A picture of what to look for, see `gags.Scene.locate`.
        like: A pixel that shows it, see `gags.Scene.locate`.

    Returns:
        A Pillow image; what it is of is written below.

    Raises:
        QueryError: If there is not exactly one thing to look for.
        GagsError: If the view is unknown, or the image is none.
    """
    loaded = scene if isinstance(scene, Scene) else Scene.load(scene)
    if bool(text.strip()) + (image is not None) + (like is not None) != 1:
        raise QueryError('one text, one image or one click is shown at a time, as in: scene.show("red mug")')
    queries = loaded.queries(text or (), image=image, like=like)
    view = loaded.best_views(queries)[0][0] if view is None else view
    view = loaded.capture[view] if isinstance(view, str) else view
    (answer,) = loaded.query(queries, view)
    photo = view.image() if isinstance(view, View) else color_picture(loaded.gaussians, view)
    found = bool(loaded.locate(queries)[0])
    caption = answer.text if found else f"{answer.text}: nothing in the scene matches"
    mask, peak = (answer.mask, answer.peak) if found else (None, None)
    picture = heat_overlay(photo, answer.relevancy, mask, peak, text=caption, score=answer.score)
    return Image.fromarray(picture)
