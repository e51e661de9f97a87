"""Make captures of a table by path tracing: photos, poses and labels; by default the bundled demo.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install mitsuba==3.9.1 mitsuba-oidn==0.1.2 \\
        opencv-python-headless==5.0.0.93 pycolmap==4.2.1 numpy==2.4.6
    apt-get install libllvm19 && apt-get download sweethome3d-furniture        # version 1.8-1, 120 MB
    export DRJIT_LIBLLVM_PATH=/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1
    /tmp/venv/bin/python tools/make_demo.py sweethome3d-furniture_1.8-1_all.deb --work /tmp/demo

The models come from Debian's package `sweethome3d-furniture` (CC BY 3.0 and CC0, see ATTRIBUTION.md beside
the result) and are not kept here; everything else is drawn by `tools/demo`. It is seeded: the same versions
give the same pictures up to the last bits of floating-point sums. 16 minutes on two busy cores; photos
already traced are kept in the work folder and not traced again (empty it after a change to the scene). For a
quick look:

    … make_demo.py DEB --work /tmp/demo --preview /tmp/look.png --views train_003 test_000 --samples 8

`--capture kinds --out DIR` makes another one, for measuring (see `benchmarks/kinds.py`): several of a kind,
things in and on others, parts with names, things that photos cut. Beside the labels, `truth/<photo>.png`
holds a number a pixel, and `truth.json` which numbers answer which text, an answer a thing.

`--truth DIR` traces no photo: DIR gets `instance/<photo>.png`, a number a pixel, of every photo of a capture,
and `objects.json`, what they are, as `benchmarks/granularity` and `benchmarks/controlled` read them.
"""

import argparse
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import mitsuba as mi

mi.set_variant("llvm_ad_rgb")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from demo import cameras, documents, photos, room, truth  # noqa: E402
from demo.captures import CAPTURES, Layout, answers, leaves  # noqa: E402
from demo.things import pieces  # noqa: E402

JPEG_QUALITY = 88
POINTS_PER_VIEW = 240
OUT = Path(__file__).resolve().parents[1] / "src/gags/data/demo"


def unpack(package: Path, folder: Path) -> Path:
    """Unpack the furniture libraries of the Debian package into `folder/furniture`, a folder a library."""
    target = folder / "furniture"
    if package.is_dir():
        return package
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "deb")], check=True)
        for library in sorted((folder / "deb/usr/share/sweethome3d/furniture").glob("*.sh3f")):
            with zipfile.ZipFile(library) as archive:
                archive.extractall(target / library.stem)
    return target


def build(layout: Layout, furniture: Path) -> tuple[mi.Scene, list[np.ndarray]]:
    """The scene, and the triangles [F,3,3] of each leaf; the shapes of leaf i are called `i#…`."""
    standing = [
        pieces(thing, furniture, np.random.default_rng([layout.seed, 1, i]))
        for i, thing in enumerate(layout.things)
    ]
    every = leaves(layout)
    named = {str(n): [] for n in range(len(every))}
    for n, leaf in enumerate(every):
        taken = {m for other in every if other.thing == leaf.thing for m in other.materials or ()}
        for piece in standing[leaf.thing]:
            if piece.material in leaf.materials if leaf.materials else piece.material not in taken:
                named[str(n)].append(piece)
    plate = next((thing.at[:2] for thing in layout.things if thing.category == layout.plate), None)
    triangles = [np.concatenate([piece.corners for piece in named[str(n)]]) for n in range(len(every))]
    named["room"] = room.pieces(np.random.default_rng([layout.seed, 2]), plate)
    meshes = room.meshes(named)
    return mi.load_dict({"type": "scene", **meshes, **room.lights()}, optimize=False), triangles


def take(
    scene: mi.Scene, view: cameras.Viewpoint, index: int, seed: int, arguments, scale: float = 1.0
) -> np.ndarray:
    """The photo of a view uint8 [H,W,3]; the traced picture is kept in the work folder."""
    samples = arguments.samples
    kept = arguments.work / f"traced_{arguments.capture}" / f"{view.stem}_{samples}_{scale:g}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        traced = photos.denoise(photos.trace(scene, view, samples, seed + index, scale))
        np.save(kept, traced.astype(np.float16))
    return photos.develop(np.load(kept).astype(np.float64), np.random.default_rng([seed, 3, index]))


def table_of_things(layout: Layout) -> list[dict[str, object]]:
    """Every thing and every named part of one, and the numbers (from 1) of its leaves; names are unique."""
    every, used = leaves(layout), {}
    table: list[dict[str, object]] = []
    whole = ""
    for number, leaf in enumerate(every, 1):
        used[leaf.name] = used.get(leaf.name, 0) + 1
        name = leaf.name if used[leaf.name] == 1 else f"{leaf.name} {used[leaf.name]}"
        if leaf.materials is None:
            whole = name
            own = [n for n, other in enumerate(every, 1) if other.thing == leaf.thing]
            about = {"kind": "object", "ids": own, "part_of": None}
        else:
            about = {"kind": "part", "ids": [number], "part_of": whole}
        table.append({"name": name, "queries": [leaf.name]} | about)
    return table


def labelled_masks(
    view: cameras.Viewpoint,
    numbers: np.ndarray,
    triangles: list[np.ndarray],
    right: dict[str, list[list[int]]],
) -> dict[str, list[np.ndarray]]:
    """Masks by text of the things that can be seen well enough in a view, one a thing."""
    masks = {}
    for text, instances in right.items():
        seen = []
        for own in instances:
            mask = np.isin(numbers, own)
            whole = truth.silhouette_pixels(view, np.concatenate([triangles[n - 1] for n in own]))
            if mask.sum() >= max(truth.MIN_PIXELS, truth.MIN_SHARE * whole):
                seen.append(mask)
        if seen:
            masks[text] = seen
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled demo capture.")
    parser.add_argument(
        "package", type=Path, help="sweethome3d-furniture_*.deb, or the folder it was unpacked into"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for what can be thrown away")
    parser.add_argument("--capture", choices=CAPTURES, default="demo")
    parser.add_argument("--out", type=Path, help="by default that of the bundled demo")
    parser.add_argument("--samples", type=int, default=8, help="paths a pixel")
    parser.add_argument("--preview", type=Path, help="write only a sheet of the views to this PNG")
    parser.add_argument("--truth", type=Path, help="write only what each pixel of all photos shows, to here")
    parser.add_argument("--views", nargs="*", help="stems of the views of the preview")
    parser.add_argument("--scale", type=float, default=1.0, help="of the preview")
    arguments = parser.parse_args()
    layout = CAPTURES[arguments.capture]
    if arguments.truth and (arguments.preview or arguments.out):
        parser.error("--truth writes nothing else; leave --preview and --out out")
    if arguments.out is None and not (arguments.preview or arguments.truth):
        if not layout.bundled:
            parser.error("--out says where to")
        arguments.out = OUT
    scene, triangles = build(layout, unpack(arguments.package, arguments.work))
    views = cameras.viewpoints(np.random.default_rng([layout.seed, 4]), layout.counts)
    if arguments.truth:
        for view in views:
            numbers, _ = photos.look_through(scene, view, [str(n) for n in range(len(triangles))])
            truth.write_numbers(arguments.truth / "instance", view.stem, numbers)
        truth.write_objects(arguments.truth, table_of_things(layout))
        return
    if arguments.preview:
        sheet = [
            take(scene, view, i, layout.seed, arguments, arguments.scale)
            for i, view in enumerate(views)
            if not arguments.views or view.stem in arguments.views
        ]
        columns = int(np.ceil(np.sqrt(len(sheet))))
        sheet += [np.zeros_like(sheet[0])] * (-len(sheet) % columns)
        rows = [np.hstack(sheet[i : i + columns]) for i in range(0, len(sheet), columns)]
        cv2.imwrite(str(arguments.preview), np.vstack(rows)[..., ::-1])
        return
    make(layout, scene, triangles, views, arguments)


def make(
    layout: Layout,
    scene: mi.Scene,
    triangles: list[np.ndarray],
    views: list[cameras.Viewpoint],
    arguments,
) -> None:
    """Write the whole capture."""
    out = arguments.out
    (out / "images").mkdir(parents=True, exist_ok=True)
    developed, depths = [], []
    right = answers(layout)
    counts = dict.fromkeys(right, 0)
    for i, view in enumerate(views):
        started = time.monotonic()
        photo = take(scene, view, i, layout.seed, arguments)
        path = out / "images" / f"{view.stem}.jpg"
        cv2.imwrite(str(path), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        numbers, depth = photos.look_through(scene, view, [str(n) for n in range(len(triangles))])
        developed.append(cv2.imread(str(path))[..., ::-1])
        depths.append(depth)
        if view.split == "test":
            masks = labelled_masks(view, numbers, triangles, right)
            truth.write_labels(out / "labels", view.stem, masks)
            for category in masks:
                counts[category] += 1
        if not layout.bundled:
            truth.write_numbers(out / "truth", view.stem, numbers)
        print(f"{view.stem} {view.ring} {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    train = [i for i, view in enumerate(views) if view.split == "train"]
    points = truth.sparse_points(
        [views[i] for i in train],
        [developed[i] for i in train],
        [depths[i] for i in train],
        np.random.default_rng([layout.seed, 5]),
        POINTS_PER_VIEW,
    )
    truth.write_colmap(out / "sparse/0", views, points)
    (out / "test.txt").write_text("".join(f"{view.stem}.jpg\n" for view in views if view.split == "test"))
    paraphrases = {thing.category: list(thing.paraphrases) for thing in layout.things}
    queries = [
        {"category": text, "paraphrases": paraphrases.get(text, []), "test_views": counts[text]}
        for text in right
    ]
    (out / "queries.json").write_text(json.dumps({"queries": queries}, indent=1) + "\n")
    if layout.bundled:
        documents.write(out, views, len(points))
    else:
        boxes = [[c.min(axis=(0, 1)).tolist(), c.max(axis=(0, 1)).tolist()] for c in triangles]
        told = {"answers": right, "absent": layout.absent, "boxes": boxes}
        (out / "truth.json").write_text(json.dumps(told, indent=1) + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{len(views)} photos, {len(points)} points, {size / 1e6:.2f} MB, labels {counts}", file=sys.stderr)


if __name__ == "__main__":
    main()
