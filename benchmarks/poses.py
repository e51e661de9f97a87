"""How right poses are that are found: by which mapper, and of a second visit in the frame of the first.

    python benchmarks/poses.py mappers CAPTURE --out DIR [--every 1] [--max-size 800] [--only train_]
    python benchmarks/poses.py visits CAPTURE --first train_00 train_01 --second train_03 --out DIR

CAPTURE has poses, which are the truth. `mappers` finds the poses of its photos alone, by each mapper from the
same matches. `visits` takes photos by the beginnings of their names: the first keep their poses, the others
are merged with them without any; then all of them without poses.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests/

from tests.helpers.alignment import similarity

from gags.capture import Capture, load_capture
from gags.poses import PoseSettings
from gags.poses.inputs import bare_photos
from gags.poses.mapping import place_photos
from gags.poses.matching import match_photos
from gags.poses.merge import merge_captures


def errors(found: Sequence[np.ndarray], true: Sequence[np.ndarray], *, align: bool = True) -> str:
    """Errors of world-to-camera transforms [4, 4]: places in % of the cameras' spread, angles in degrees."""
    places = [np.array([-m[:3, :3].T @ m[:3, 3] for m in each]) for each in (found, true)]
    scale, R, t = similarity(*places) if align else (1.0, np.eye(3), np.zeros(3))
    spread = np.linalg.norm(places[1].std(axis=0))
    off = 100 * np.linalg.norm(scale * places[0] @ R.T + t - places[1], axis=1) / spread
    traces = [np.trace(f[:3, :3] @ R.T @ w[:3, :3].T) for f, w in zip(found, true, strict=True)]
    turned = np.degrees(np.arccos(np.clip((np.array(traces) - 1) / 2, -1, 1)))
    return (
        f"place {np.median(off):.3f} % (at most {off.max():.3f} %), "
        f"angle {np.median(turned):.3f}° (at most {turned.max():.3f}°)"
    )


def mappers(truth: Capture, out: Path, names: list[str], max_size: int) -> None:
    """Every mapper, twice, from one set of matches."""
    for name in names:
        copy(truth, name, out / "photos" / name)
    photos, database = bare_photos(out / "photos"), out / "database.db"
    match_photos(photos, database, PoseSettings(max_size=max_size))
    for mapper in ("incremental", "global", "incremental", "global"):
        processor = time.process_time()
        settings = PoseSettings(max_size=max_size, mapper=mapper)  # type: ignore[arg-type]
        models = place_photos(database, len(photos), settings)
        processor = time.process_time() - processor
        model = models[0]
        images = [model.image(number) for number in sorted(model.reg_image_ids())]
        found = [np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]) for image in images]
        right = errors(found, [truth[unquote(image.name)].camera.viewmat for image in images])
        print(
            f"{mapper}: {len(images)} of {len(photos)} placed, {processor:.1f} s of processor, "
            f"{model.num_points3D()} points, {model.compute_mean_reprojection_error():.2f} px, {right}",
            flush=True,
        )


def visits(truth: Capture, out: Path, first: list[str], second: list[str], max_size: int) -> None:
    """A second visit in the frame of the first one, then both placed together."""
    frames = []
    for name in first:
        view = truth[name]
        copy(truth, name, out / "first" / "images" / name)
        pose = np.linalg.inv(view.camera.viewmat) @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": f"images/{name}", "transform_matrix": pose.tolist()})
    camera = truth[first[0]].camera
    K = camera.K
    lens = {
        "fl_x": K[0, 0],
        "fl_y": K[1, 1],
        "cx": K[0, 2],
        "cy": K[1, 2],
        "w": camera.width,
        "h": camera.height,
    }
    (out / "first" / "transforms.json").write_text(json.dumps(lens | {"frames": frames}))
    for name in second:
        copy(truth, name, out / "second" / name)
    settings = PoseSettings(max_size=max_size)
    for base, merged in ((out / "first", out / "in_frame"), (out / "first" / "images", out / "together")):
        started = time.monotonic()
        capture = load_capture(merge_captures([base, out / "second"], merged, settings))
        record = json.loads((merged / "matching" / "record.json").read_text())
        print(f"{merged.name}: {record['summary']} ({time.monotonic() - started:.0f} s)", flush=True)
        align = base.name == "images"
        for visit in ["first", "second"] if not align else [""]:
            views = [view for view in capture if view.name.startswith(visit)]
            true = [truth[Path(view.name).name].camera.viewmat for view in views]
            of = f"{visit} ({len(views)})" if visit else f"all {len(views)}"
            print(f"  {of}: {errors([view.camera.viewmat for view in views], true, align=align)}", flush=True)


def copy(truth: Capture, name: str, path: Path) -> None:
    """One photo, under another folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(truth[name].path, path)


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["mappers", "visits"])
    parser.add_argument("capture", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--max-size", type=int, default=800)
    parser.add_argument("--first", nargs="+", default=[])
    parser.add_argument("--second", nargs="+", default=[])
    given = parser.parse_args()
    truth = load_capture(given.capture, require_points=False)
    names = [view.name for view in truth]
    if given.what == "mappers":
        chosen = [name for name in names if name.startswith(given.only)][:: given.every]
        mappers(truth, given.out, chosen, given.max_size)
    else:
        first, second = (
            [name for name in names if name.startswith(tuple(starts))]
            for starts in (given.first, given.second)
        )
        visits(truth, given.out, first, second, given.max_size)


if __name__ == "__main__":
    main()
