"""What is true of the photos: masks and outlines of things, sparse points with observations, COLMAP model."""

import json
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from .cameras import FOCAL, HEIGHT, WIDTH, K, Viewpoint

MIN_PIXELS = 200
MIN_SHARE = 0.35
"""A thing is labelled in a test photo where at least this share of it, and this many pixels, can be seen."""

MIN_PIECE, MIN_HOLE = 30, 20
"""Pieces and holes of fewer pixels are left out of the outlines (not of the masks)."""


def outlines(mask: np.ndarray) -> list[list[list[int]]]:
    """Outlines of a mask, one a connected piece, whose filling gives back the mask.

    Args:
        mask: bool [H,W].

    Returns:
        Polygons [[x, y], …] in pixels. A hole is joined to its outline by a slit of no width.
    """
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for i, contour in enumerate(contours):
        if tree[0, i, 3] >= 0:
            continue
        piece = cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, i, 1, -1).astype(bool) & mask
        if piece.sum() < MIN_PIECE:
            continue
        ring = contour[:, 0]
        hole = tree[0, i, 2]
        while hole >= 0:
            inner = contours[hole][:, 0]
            if cv2.contourArea(inner) >= MIN_HOLE:
                gap = np.linalg.norm(ring[:, None] - inner[None], axis=-1)
                at, start = np.unravel_index(gap.argmin(), gap.shape)
                loop = np.concatenate([inner[start:], inner[: start + 1]])
                ring = np.concatenate([ring[: at + 1], loop, ring[at:]])
            hole = tree[0, hole, 0]
        if len(ring) >= 3:
            polygons.append(ring.tolist())
    return polygons


def silhouette_pixels(view: Viewpoint, triangles: np.ndarray, margin: int = 400) -> int:
    """How many pixels a thing would cover with nothing before it, on a photo wider by `margin` on each side.

    Args:
        view: The camera.
        triangles: The thing's triangles in the world. [F,3,3]
        margin: Pixels.
    """
    xy, z = project(view, triangles.reshape(-1, 3))
    canvas = np.zeros((HEIGHT + 2 * margin, WIDTH + 2 * margin), np.uint8)
    corners = np.round(xy + margin - 0.5).astype(np.int32).reshape(-1, 3, 2)
    for triangle in corners[(z.reshape(-1, 3) > 0.02).all(axis=1)]:
        cv2.fillConvexPoly(canvas, triangle, 1)
    return int(canvas.sum())


def write_labels(folder: Path, stem: str, masks: dict[str, list[np.ndarray]]) -> None:
    """Write `<stem>.json` (LERF-OVS format) and `<stem>/<category>.png` (exact, 1 bit a pixel)."""
    objects = []
    (folder / stem).mkdir(parents=True, exist_ok=True)
    for category, things in masks.items():
        for polygon in [polygon for thing in things for polygon in outlines(thing)]:
            xy = np.asarray(polygon)
            bbox = [int(v) for v in (*xy.min(axis=0), *xy.max(axis=0))]
            objects.append({"category": category, "segmentation": polygon, "bbox": bbox})
        mask = np.any(things, axis=0)
        path = folder / stem / f"{category}.png"
        cv2.imwrite(
            str(path),
            mask.astype(np.uint8) * 255,
            [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9],
        )
    info = {"name": f"{stem}.jpg", "width": WIDTH, "height": HEIGHT}
    (folder / f"{stem}.json").write_text(
        json.dumps({"info": info, "objects": objects}, separators=(",", ":")) + "\n"
    )


def write_numbers(folder: Path, stem: str, numbers: np.ndarray) -> None:
    """Write `<stem>.png`: the number of the leaf at each pixel, 0 where none is. uint8 [H,W]"""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{stem}.png"), numbers, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def write_objects(folder: Path, table: list[dict[str, object]]) -> None:
    """Write `objects.json`: things by row (from 1), with name, kind, numbers, and what each is part of."""
    rows = {str(row): thing for row, thing in enumerate(table, 1)}
    (folder / "objects.json").write_text(json.dumps(rows, indent=1) + "\n")


def project(view: Viewpoint, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates [P,2] and z-depths [P] of world points [P,3]."""
    local = points @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]
    z = local[:, 2]
    return local[:, :2] / np.where(np.abs(z) < 1e-9, 1e-9, z)[:, None] * FOCAL + K[:2, 2], z


def sparse_points(
    views: list[Viewpoint],
    photos: list[np.ndarray],
    depths: list[np.ndarray],
    rng: np.random.Generator,
    per_view: int,
) -> list[tuple[np.ndarray, np.ndarray, list[tuple[int, np.ndarray]]]]:
    """Points as structure from motion would find them, out of true depth.

    Pixels are drawn where the photo has detail, back-projected, and looked for in the other views; a point is
    seen where the depth there agrees. Kept are points with at least 2 observations, of each at most 5.

    Args:
        views: Training views.
        photos: Their photos uint8 [H,W,3].
        depths: Their z-depths in metres [H,W], 0 where nothing is.
        rng: Source of randomness.
        per_view: Pixels drawn a view.

    Returns:
        (position [3], colour uint8 [3], [(index of the view, pixel [2]), …]) a point.
    """
    points = []
    for i, view in enumerate(views):
        grey = cv2.GaussianBlur(cv2.cvtColor(photos[i], cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
        detail = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        chance = (np.minimum(detail, 40.0) + 4.0) * (depths[i] > 0)
        drawn = rng.choice(chance.size, per_view, replace=False, p=(chance / chance.sum()).ravel())
        rows, columns = np.divmod(drawn, WIDTH)
        z = depths[i][rows, columns]
        pixels = np.stack([columns, rows], axis=1) + 0.5
        local = np.concatenate([(pixels - K[:2, 2]) / FOCAL, np.ones((len(z), 1))], axis=1) * z[:, None]
        world = (local - view.viewmat[:3, 3]) @ view.viewmat[:3, :3]
        seen = [(j, *_seen(views[j], depths[j], world)) for j in range(len(views))]
        for k, point in enumerate(world):
            sights = [(j, xy[k]) for j, xy, visible in seen if visible[k]]
            own = [sight for sight in sights if sight[0] == i]
            others = [sight for sight in sights if sight[0] != i]
            if not own or not others:
                continue
            chosen = rng.permutation(len(others))[: rng.integers(1, 5)]
            track = own + [others[c] for c in sorted(chosen)]
            colors = [photos[j][int(xy[1]), int(xy[0])] for j, xy in track]
            color = np.round(np.mean(colors, axis=0)).astype(np.uint8)
            track = [(j, xy + rng.normal(0, 0.25, 2)) for j, xy in track]
            points.append((point, color, track))
    return points


def _seen(view: Viewpoint, depth: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [P,2] of points and whether they are visible there [P]: inside by 2 px and at the depth seen."""
    xy, z = project(view, points)
    inside = (z > 0.05) & (xy >= 2).all(axis=1) & (xy < [WIDTH - 2, HEIGHT - 2]).all(axis=1)
    column, row = (np.where(inside, xy[:, a], 0).astype(int) for a in (0, 1))
    return xy, inside & (np.abs(depth[row, column] - z) < 0.006 * z)


def write_colmap(
    folder: Path,
    views: list[Viewpoint],
    points: list[tuple[np.ndarray, np.ndarray, list[tuple[int, np.ndarray]]]],
) -> None:
    """Write cameras.bin, images.bin, points3D.bin: poses of all views, observations of the points."""
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        model="PINHOLE", width=WIDTH, height=HEIGHT, params=[FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2], camera_id=1
    )
    model.add_camera_with_trivial_rig(camera)
    observed: list[list[np.ndarray]] = [[] for _ in views]
    tracks = []
    for _, _, track in points:
        elements = []
        for j, xy in track:
            elements.append((j + 1, len(observed[j])))
            observed[j].append(xy)
        tracks.append(elements)
    for j, view in enumerate(views):
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(view.viewmat[:3, :3]), view.viewmat[:3, 3])
        keypoints = np.asarray(observed[j], dtype=np.float64).reshape(-1, 2)
        image = pycolmap.Image(name=f"{view.stem}.jpg", keypoints=keypoints, camera_id=1, image_id=j + 1)
        model.add_image_with_trivial_frame(image, pose)
    for (point, color, _), elements in zip(points, tracks, strict=True):
        model.add_point3D(point, pycolmap.Track([pycolmap.TrackElement(i, k) for i, k in elements]), color)
    model.update_point_3d_errors()
    folder.mkdir(parents=True, exist_ok=True)
    model.write_binary(str(folder))
    for newer in ("rigs.bin", "frames.bin"):
        # One camera without a rig needs neither, and readers older than COLMAP 3.12 do not know them.
        (folder / newer).unlink(missing_ok=True)
