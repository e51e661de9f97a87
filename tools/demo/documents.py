"""README.md, LICENSE and ATTRIBUTION.md of the capture."""

from collections import Counter
from pathlib import Path

from .cameras import FOCAL, HEIGHT, WIDTH, Viewpoint
from .things import THINGS
from .truth import MIN_PIXELS, MIN_SHARE

URLS = {
    "CC BY 3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC BY 3.0 US": "https://creativecommons.org/licenses/by/3.0/us/",
    "CC0 1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
}

README = """# The demo capture

{train} photos to learn from and {test} to test on, {width}x{height}, of a table in a room. Not photographs:
they were path-traced (Mitsuba 3, Intel Open Image Denoise) from 3D models, so poses and masks are exact.
Made by `tools/make_demo.py` of this project, which says how to make it again.

* `images/train_*.jpg`, `images/test_*.jpg`: one exposure and tone curve, slight sensor noise, no distortion.
  Three rings of cameras: {rings}.
* `sparse/0/*.bin`: COLMAP model, one PINHOLE camera (f = {focal:g}, principal point in
  the middle). {points:,} points out of true depth, each observed in 2 to 5 training photos; test photos
  carry a pose only. World in metres, z up, table top at z = 0, wall behind the table at +y.
* `test.txt`: names of the test photos.
* `labels/<photo>.json`: outlines in LERF-OVS format; `labels/<photo>/<category>.png`: exact masks, 1 bit a
  pixel. A thing is labelled where at least {share:.0%} of it and {pixels} pixels can be seen.
* `queries.json`: the {things} labelled categories, with paraphrases and the number of test photos of each.
* `LICENSE`, `ATTRIBUTION.md`: terms, and who made the models.
"""

LICENSE = """The photos, poses, points and labels in this folder are part of gags and come under its licence,
Apache-2.0.

They show 3D models by other people, changed in size, material and surroundings. Those models are under
the Creative Commons licences that ATTRIBUTION.md names; whoever passes these pictures on keeps that file
with them.
"""

ATTRIBUTION = """# Whose models these are

All models were taken from Debian's package `sweethome3d-furniture` 1.8-1. The models themselves are not in
this folder, only pictures of them. Sizes, some colours and some textures were changed. The authors do not
endorse this use.

| category | model | author | licence | file in the package |
|---|---|---|---|---|
{rows}

The rest (table, mat, plate, walls, floor, rug, books, pictures, the laptop's screen) was drawn by
this project's script.

{licences}
"""


def write(folder: Path, views: list[Viewpoint], points: int) -> None:
    """Write the three documents into the capture's folder."""
    splits, rings = Counter(view.split for view in views), Counter(view.ring for view in views)
    metres = {"near": "about 0.55 m from what they look at", "middle": "0.9 m", "far": "1.5 m"}
    text = README.format(
        train=splits["train"],
        test=splits["test"],
        width=WIDTH,
        height=HEIGHT,
        focal=FOCAL,
        points=points,
        rings=", ".join(f"{rings[name]} at {metres[name]}" for name in metres),
        share=MIN_SHARE,
        pixels=MIN_PIXELS,
        things=len(THINGS),
    )
    (folder / "README.md").write_text(text)
    (folder / "LICENSE").write_text(LICENSE)
    rows = [
        f"| {thing.category} | {thing.source.title} | {thing.source.author} | {thing.source.licence} "
        f"| `{thing.source.library}.sh3f`: `{thing.source.model}` |"
        for thing in THINGS
    ]
    used = {thing.source.licence for thing in THINGS}
    licences = [f"* {name}: <{url}>" for name, url in URLS.items() if name in used]
    text = ATTRIBUTION.format(rows="\n".join(rows), licences="\n".join(licences))
    (folder / "ATTRIBUTION.md").write_text(text)
