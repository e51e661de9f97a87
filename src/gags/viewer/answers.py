"""The answers to what pages ask, one function a question. They run in threads, several at once."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gags.draw.paths import along, keys_from_json
from gags.draw.video import color_picture, write_film
from gags.draw.views import png_bytes
from gags.errors import GagsError, QueryError
from gags.files.ranges import Range
from gags.gaussians.files import save_splats
from gags.progress import Reporter
from gags.query.frame import LENGTH
from gags.query.instances import Instance
from gags.serve.settings import LONGEST_TEXT
from gags.viewer.messages import Answer, Asked, Handler
from gags.viewer.outbox import Outbox
from gags.viewer.payload import box_json
from gags.viewer.scene import matches

THING = Range(0, 2**31 - 1)


def things(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """The list of things, and whose Gaussians are whose."""
    listed, lacks = asked.shown.things_json(progress)
    found = {"things": listed, "lacks": lacks, "mark": asked.shown.things_mark}
    return found, {"owner": asked.shown.owner()}


def thumbnails(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Pictures of the listed things, which take longer than their names."""
    pictures, lacks = asked.shown.thumbnails(progress)
    return {"thumbnails": {str(thing): uri for thing, uri in pictures.items()}, "lacks": lacks}, {}


def ask(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """How well every Gaussian matches a text, and which things answer it."""
    shown = asked.shown
    answer = shown.ask(asked.text("text"))
    found = shown.instances(answer.text, progress)
    gaussians = [shown.page_rows(one.mask.numpy()) for one in found]
    message = ""
    if not found and matches(answer, shown.solid):
        message = f"No thing matches “{answer.text}”; what comes nearest glows."
    values = {
        "text": answer.text,
        "matches": bool(found),
        "score": round(found[0].score if found else answer.score, 4),
        "message": message,
        "instances": [
            _instance(one) | {"count": len(rows)} for one, rows in zip(found, gaussians, strict=True)
        ],
    }
    rows = np.concatenate([*gaussians, np.zeros(0, np.uint32)]).astype("<u4").tobytes()
    return values, {"strengths": shown.strength_bytes(answer), "gaussians": rows}


def _instance(one: Instance) -> dict[str, Any]:
    return {"score": round(one.score, 4), "name": one.text, "thing": one.thing, "box": box_json(one.box)}


def name(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Names of some Gaussians."""
    mask = asked.mask("selected")
    names, sure = asked.shown.names(np.zeros(len(asked.shown), bool) if mask is None else mask)
    return {"names": [[word, round(score, 4)] for word, score in names], "sure": sure}, {}


def alike(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """What is alike around a click that hits no thing."""
    rows, weights = asked.ray()
    alive = asked.mask("alive")
    found = asked.shown.alike(rows, weights, np.ones(len(asked.shown), bool) if alive is None else alive)
    names, sure = asked.shown.names(found)
    values = {"names": [[word, round(score, 4)] for word, score in names], "sure": sure}
    box = asked.shown.scene.space().box(np.flatnonzero(found))
    return values | {"box": box_json(box)}, {
        "gaussians": asked.shown.page_rows(found).astype("<u4").tobytes()
    }


def rename(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Keep a name of a thing in the scene."""
    thing = int(asked.number("thing", THING, whole=True))
    if asked.values.get("of", asked.shown.things_mark) != asked.shown.things_mark:
        raise QueryError("the things were found anew since this page was loaded; reload the page")
    kept = asked.shown.rename(thing, asked.text("name"), progress)
    return {"message": f"“{kept}” is kept in the scene: from now on it finds this."}, {}


def unit(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Keep how long something is."""
    length, known = asked.number("length", LENGTH), asked.number("known", LENGTH)
    return {"unit": asked.shown.set_unit(length, known, asked.text("unit")).to_json()}, {}


def up(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Keep what is up."""
    asked.shown.set_up(asked.direction("up"))
    return {}, {}


def suggest(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Names that a text may go on to."""
    return {"names": asked.shown.suggest(asked.text("prefix", empty=True))}, {}


def colors(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Colours of a mode."""
    rgb, legend = asked.shown.mode_colors(asked.text("mode"))
    return {"legend": legend}, {"rgb": rgb}


def picture(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """What a camera sees, as a PNG."""
    edited = asked.edits().apply(asked.shown.scene.gaussians)
    if not len(edited):
        raise GagsError("no Gaussian is left to be seen")
    seen = color_picture(edited, asked.camera(), transparent=asked.flag("transparent"))
    return {}, {"png": png_bytes(seen)}


def video(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """A film along key views; the page fetches it from its outbox."""
    keys = keys_from_json(asked.values.get("keys"), "the path")
    seconds, fps = asked.seconds_and_fps()
    width, height = (side - side % 2 for side in asked.size())
    edits = asked.edits()
    edited = edits.apply(asked.shown.scene.gaussians)
    if not len(edited):
        raise GagsError("no Gaussian is left to be seen")
    strengths = _strengths(asked, edits.alive)
    cameras = [view.camera(width, height) for view in along(keys, max(1, round(seconds * fps)))]
    path = outbox.place("film.mp4")
    with outbox.filming(progress):
        write_film(edited, cameras, path, fps=fps, strengths=strengths, progress=progress)
    return {"url": outbox.address(path)}, {}


def _strengths(asked: Asked, alive: np.ndarray) -> torch.Tensor | None:
    """The best strength of the texts that a film shows; None without any. float32 [n]"""
    texts = asked.values.get("texts", [])
    if not isinstance(texts, list) or len(texts) > 32 or not all(isinstance(text, str) for text in texts):
        raise GagsError("texts must be at most 32 texts")
    if not texts:
        return None
    strengths = [asked.shown.ask(text[:LONGEST_TEXT]).strength for text in texts]
    return torch.from_numpy(np.max(strengths, axis=0)[alive])


def save(asked: Asked, outbox: Outbox, progress: Reporter) -> Answer:
    """Gaussians with the page's changes, as a 3DGS .ply that it fetches."""
    edited = asked.edits().apply(asked.shown.scene.gaussians, asked.mask("only"))
    path = outbox.place("splats.ply")
    save_splats(edited, Path(path))
    return {"url": outbox.address(path)}, {}


ANSWERS: dict[str, Handler] = {
    function.__name__: function
    for function in (
        things,
        thumbnails,
        ask,
        name,
        alike,
        rename,
        unit,
        up,
        suggest,
        colors,
        picture,
        video,
        save,
    )
}
CHANGES = ("rename", "unit", "up")
"""What writes into the scene's folder; refused where other machines are listened to."""
