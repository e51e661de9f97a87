"""Make the bundled demo capture (src/gags/data/demo): path-traced photos of a table, poses and labels.

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
from demo.things import THINGS, pieces  # noqa: E402

SEED = 20241213
CATEGORIES = [thing.category for thing in THINGS]
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


def build(furniture: Path) -> tuple[mi.Scene, dict[str, np.ndarray]]:
    """The scene, and the triangles [F,3,3] of each thing by category."""
    named = {
        thing.category: pieces(thing, furniture, np.random.default_rng([SEED, 1, i]))
        for i, thing in enumerate(THINGS)
    }
    burger = next(thing for thing in THINGS if thing.category == "hamburger")
    named["room"] = room.pieces(np.random.default_rng([SEED, 2]), burger.at[:2])
    meshes = room.meshes(named)
    triangles = {name: np.concatenate([piece.corners for piece in named[name]]) for name in CATEGORIES}
    return mi.load_dict({"type": "scene", **meshes, **room.lights()}, optimize=False), triangles


def take(
    scene: mi.Scene, view: cameras.Viewpoint, index: int, samples: int, work: Path, scale: float
) -> np.ndarray:
    """The photo of a view uint8 [H,W,3]; the traced picture is kept in the work folder."""
    kept = work / "traced" / f"{view.stem}_{samples}_{scale:g}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        traced = photos.denoise(photos.trace(scene, view, samples, SEED + index, scale))
        np.save(kept, traced.astype(np.float16))
    return photos.develop(np.load(kept).astype(np.float64), np.random.default_rng([SEED, 3, index]))


def labelled_masks(
    view: cameras.Viewpoint, numbers: np.ndarray, triangles: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Masks of the things that can be seen well enough in a view."""
    masks = {}
    for i, category in enumerate(CATEGORIES):
        mask = numbers == i + 1
        whole = truth.silhouette_pixels(view, triangles[category])
        if mask.sum() >= max(truth.MIN_PIXELS, truth.MIN_SHARE * whole):
            masks[category] = mask
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled demo capture.")
    parser.add_argument(
        "package", type=Path, help="sweethome3d-furniture_*.deb, or the folder it was unpacked into"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for what can be thrown away")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--samples", type=int, default=8, help="paths a pixel")
    parser.add_argument("--preview", type=Path, help="write only a sheet of the views to this PNG")
    parser.add_argument("--views", nargs="*", help="stems of the views of the preview")
    parser.add_argument("--scale", type=float, default=1.0, help="of the preview")
    arguments = parser.parse_args()
    furniture = unpack(arguments.package, arguments.work)
    scene, triangles = build(furniture)
    views = cameras.viewpoints(np.random.default_rng([SEED, 4]))
    if arguments.preview:
        sheet = [
            take(scene, view, i, arguments.samples, arguments.work, arguments.scale)
            for i, view in enumerate(views)
            if not arguments.views or view.stem in arguments.views
        ]
        columns = int(np.ceil(np.sqrt(len(sheet))))
        sheet += [np.zeros_like(sheet[0])] * (-len(sheet) % columns)
        rows = [np.hstack(sheet[i : i + columns]) for i in range(0, len(sheet), columns)]
        cv2.imwrite(str(arguments.preview), np.vstack(rows)[..., ::-1])
        return
    make(scene, triangles, views, arguments)


def make(
    scene: mi.Scene, triangles: dict[str, np.ndarray], views: list[cameras.Viewpoint], arguments
) -> None:
    """Write the whole capture."""
    out = arguments.out
    (out / "images").mkdir(parents=True, exist_ok=True)
    developed, depths = [], []
    counts = dict.fromkeys(CATEGORIES, 0)
    for i, view in enumerate(views):
        started = time.monotonic()
        photo = take(scene, view, i, arguments.samples, arguments.work, 1.0)
        path = out / "images" / f"{view.stem}.jpg"
        cv2.imwrite(str(path), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        numbers, depth = photos.look_through(scene, view, CATEGORIES)
        developed.append(cv2.imread(str(path))[..., ::-1])
        depths.append(depth)
        if view.split == "test":
            masks = labelled_masks(view, numbers, triangles)
            truth.write_labels(out / "labels", view.stem, masks)
            for category in masks:
                counts[category] += 1
        print(f"{view.stem} {view.ring} {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    train = [i for i, view in enumerate(views) if view.split == "train"]
    points = truth.sparse_points(
        [views[i] for i in train],
        [developed[i] for i in train],
        [depths[i] for i in train],
        np.random.default_rng([SEED, 5]),
        POINTS_PER_VIEW,
    )
    truth.write_colmap(out / "sparse/0", views, points)
    (out / "test.txt").write_text("".join(f"{view.stem}.jpg\n" for view in views if view.split == "test"))
    queries = [
        {
            "category": thing.category,
            "paraphrases": list(thing.paraphrases),
            "test_views": counts[thing.category],
        }
        for thing in THINGS
    ]
    (out / "queries.json").write_text(json.dumps({"queries": queries}, indent=1) + "\n")
    documents.write(out, views, len(points))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{len(views)} photos, {len(points)} points, {size / 1e6:.2f} MB, labels {counts}", file=sys.stderr)


if __name__ == "__main__":
    main()
