"""The command that tells a scene how long its units are."""

import json as json_module
from typing import Annotated

import numpy as np
import tyro

from gags.cli.arguments import SceneFolder, number
from gags.cli.console import ConsoleReporter
from gags.errors import QueryError
from gags.query.frame import LENGTH, Frame
from gags.scene import Scene

Point = Annotated[str | None, tyro.conf.arg(metavar="X,Y,Z")]
Length = Annotated[float | None, number("is", float | None, LENGTH)]


def units(
    scene: SceneFolder,
    /,
    *,
    start: Annotated[Point, tyro.conf.arg(name="from", metavar="X,Y,Z")] = None,
    end: Annotated[Point, tyro.conf.arg(name="to", metavar="X,Y,Z")] = None,
    thing: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    length: Annotated[Length, tyro.conf.arg(name="is")] = None,
    unit: str = "m",
    forget: bool = False,
    json: bool = False,
) -> None:
    """Tell a scene how long its units are: gags units WS --from 0,0,0 --to 1.2,0,0 --is 0.45

    Captures have units of their own. From one known length on, between two points or of a thing that a text
    names, `gags locate` tells sizes and centres in the unit, too, and the viewer measures in it. Files of the
    scene stay as they are. Without a length, what is known is printed.

    Args:
        scene: Folder of the scene.
        start: One end of what is known, in units of the capture; as --from=-1,0,2 if it begins with a minus.
        end: The other end.
        thing: Instead of two points: a thing, whose longest side is meant.
        length: How long it is.
        unit: Unit of that: m, cm, in …
        forget: Forget the unit.
        json: Print what is known as JSON.
    """
    loaded = Scene.load(scene, progress=ConsoleReporter())
    given = [value is not None for value in (start, end, thing, length)]
    if forget:
        if any(given):
            raise QueryError("--forget takes nothing else, as in: gags units WS --forget")
        loaded.forget_unit()
    elif any(given):
        two, one = given[:3] == [True, True, False], given[:3] == [False, False, True]
        if length is None or not (two or one):
            raise QueryError(
                "a length is known between two points or of a thing: --from X,Y,Z --to X,Y,Z --is 0.45, "
                'or --thing "red mug" --is 0.09'
            )
        known = _longest_side(loaded, thing) if thing is not None else _distance(start or "", end or "")
        loaded.set_unit(known, length, unit)
    _print(loaded.frame, json)


def _longest_side(scene: Scene, text: str) -> float:
    found = scene.locate(text, progress=ConsoleReporter())[0]
    if not found:
        raise QueryError(
            f'nothing in the scene matches "{text}"; name another thing, or give --from and --to'
        )
    return float(found[0].box.size[0])


def _distance(start: str, end: str) -> float:
    return float(np.linalg.norm(_point("from", start) - _point("to", end)))


def _point(name: str, text: str) -> np.ndarray:
    try:
        point = np.array([float(part) for part in text.split(",")])
    except ValueError:
        point = np.zeros(0)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise QueryError(f"--{name} {text!r} is no point; give three numbers, as in --{name} 0.1,2,-0.3")
    return point


def _print(frame: Frame, json: bool) -> None:
    unit = frame.unit
    if json:
        print(json_module.dumps({"unit": None if unit is None else unit.to_json()}, indent=2))
    elif unit is None:
        print("no unit is known; lengths are in units of the capture")
    else:
        print(f"one unit of the capture is {unit.per_scene_unit:.6g} {unit.name}")
