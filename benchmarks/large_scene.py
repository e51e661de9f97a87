"""Large scenes to measure with: a finished scene copied on a lattice, synthetic photos, stand-ins for nets.

Used by `benchmarks/large.py`. Every copy is moved at random by a little, and its Gaussians are split into
smaller ones, as in scenes that were trained with more of them: up to 250,000 a copy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from gags.capture import Camera, load_capture, read_saved_capture, save_capture
from gags.distill.field import LanguageField, splats_hash
from gags.embed.encoder import CropRule
from gags.gaussians import SH_C0, Gaussians, render
from gags.gaussians.ply import load_ply, save_ply
from gags.things.things import Things
from gags.workspace import Workspace

COPY = 250_000  # Gaussians of a copy, about
DRAWN_WIDTH = 400  # px; photos are rendered so small, then enlarged: they are to be read, not looked at
DIFFERENT = 30  # photos of a large scene; captures of more repeat them, under other names
APART = 1.2  # of the extent of cameras and Gaussians, from copy to copy
THUMBNAIL = 8  # px a side; what the stand-in encoder sees of a crop


@dataclass(frozen=True)
class Made:
    """A large scene on disk.

    Attributes:
        folder: What holds the rest.
    """

    folder: Path

    @property
    def capture(self) -> Path:
        """Photos with poses, and a point for every Gaussian."""
        return self.folder / "capture"

    @property
    def splats(self) -> Path:
        """The Gaussians, as another program would leave them."""
        return self.folder / "splats.ply"

    def scene(self, photos: int) -> Path:
        """The scene that the stages make of so many photos."""
        return self.folder / f"scene_{photos}"

    @property
    def finished(self) -> Path:
        """A finished scene, whose field and things are those of the small one, copied."""
        return self.folder / "finished"


def make(small: Path, folder: Path, count: int, size: tuple[int, int]) -> Made:
    """Write a large scene, unless it is there.

    Args:
        small: Folder of a finished scene.
        folder: Folder that is made.
        count: Number of Gaussians.
        size: Width and height of the photos, px.
    """
    made = Made(folder)
    if (made.finished / "things.safetensors").exists():
        return made
    rng = np.random.default_rng(0)
    workspace = Workspace.open(small)
    base, cameras = load_ply(workspace.splats), [v.camera for v in read_saved_capture(workspace.capture)]
    copies = max(1, round(count / COPY))
    shifts = lattice(base, cameras, copies, rng)
    source, copy_of = sources(len(base), count, copies, rng)
    gaussians = split(
        base, source, torch.from_numpy(shifts[copy_of]).float(), count / copies / len(base), rng
    )
    made.capture.mkdir(parents=True, exist_ok=True)
    save_ply(gaussians, made.splats)
    write_points(gaussians, made.capture / "points.ply")
    write_photos(gaussians, moved(cameras, shifts, DIFFERENT, size, rng), made.capture)
    finish(made, workspace, gaussians, source, copy_of)
    return made


def lattice(base: Gaussians, cameras: Sequence[Camera], copies: int, rng: np.random.Generator) -> np.ndarray:
    """Where the copies lie: on a square lattice along the two axes on which the cameras vary most. [C, 3]"""
    positions = np.array([camera.position for camera in cameras])
    low, high = np.percentile(base.means.numpy(), [2, 98], axis=0)
    extent = np.maximum(high, positions.max(axis=0)) - np.minimum(low, positions.min(axis=0))
    axes = np.sort(np.argsort(np.ptp(positions, axis=0))[1:])
    across = int(np.ceil(np.sqrt(copies)))
    shifts = np.zeros((copies, 3))
    shifts[:, axes] = np.stack(np.divmod(np.arange(copies), across), axis=1) * APART * extent[axes]
    return shifts + 0.02 * extent * rng.standard_normal(shifts.shape)


def sources(base: int, count: int, copies: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The small scene's Gaussian that each of the large one comes from, and its copy. int64 [N] each"""
    sizes = np.diff(np.arange(copies + 1) * count // copies)
    rows = [np.sort(np.resize(rng.permutation(base), size)) for size in sizes]
    return np.concatenate(rows), np.repeat(np.arange(copies), sizes)


def split(
    base: Gaussians, source: np.ndarray, shifts: torch.Tensor, pieces: float, rng: np.random.Generator
) -> Gaussians:
    """The Gaussians of the large scene: each of the small one in pieces, spread over where it was."""
    chosen = base[torch.from_numpy(source)]
    spread = torch.from_numpy(rng.standard_normal((len(source), 1)).astype(np.float32))
    narrow = min(1.0, pieces**-0.5)  # as many pieces cover the same surface
    longest = chosen.log_scales.argmax(dim=1, keepdim=True)
    offset = torch.zeros_like(chosen.means).scatter_(
        1, longest, 0.3 * spread * chosen.scales.gather(1, longest)
    )
    chosen.means = chosen.means + shifts + offset * (1 - narrow)
    chosen.log_scales = chosen.log_scales + float(np.log(narrow))
    return chosen


def moved(
    cameras: Sequence[Camera],
    shifts: np.ndarray,
    photos: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> list[Camera]:
    """Cameras of so many photos: of each copy in turn, each of the small scene's in turn, a little moved."""
    found = []
    for photo in range(photos):
        number, copy = divmod(photo, len(shifts))
        camera = cameras[number % len(cameras)].resized(*size)
        viewmat = camera.viewmat.copy()
        position = camera.position + shifts[copy] + 0.02 * rng.standard_normal(3)
        viewmat[:3, 3] = -viewmat[:3, :3] @ position
        found.append(Camera(viewmat, camera.K, *size))
    return found


def write_points(gaussians: Gaussians, path: Path) -> None:
    """A PLY of a point and a colour for every Gaussian."""
    names = [*(f"float {axis}" for axis in "xyz"), *(f"uchar {name}" for name in ("red", "green", "blue"))]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(gaussians)}"]
    header += [*(f"property {name}" for name in names), "end_header", ""]
    rows = np.zeros(len(gaussians), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"] = gaussians.means.numpy()
    rows["rgb"] = ((0.5 + SH_C0 * gaussians.sh[:, 0]).clamp(0, 1) * 255).round().byte().numpy()
    path.write_bytes("\n".join(header).encode() + rows.tobytes())


def write_photos(gaussians: Gaussians, cameras: Sequence[Camera], folder: Path) -> None:
    """Photos, rendered small and enlarged, and `transforms.json`."""
    (folder / "images").mkdir(exist_ok=True)
    frames = []
    for number, camera in enumerate(cameras):
        picture = render(gaussians, camera.within(DRAWN_WIDTH)).colors.clamp(0, 1).mul(255).byte().numpy()
        name = f"images/{number:05d}.jpg"
        photo = cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / name), photo[..., ::-1])
        pose = np.linalg.inv(camera.viewmat) @ np.diag([1.0, -1, -1, 1])  # OpenCV → OpenGL axes
        frames.append({"file_path": name, "transform_matrix": pose.tolist()} | intrinsics(camera))
    (folder / "transforms.json").write_text(json.dumps({"ply_file_path": "points.ply", "frames": frames}))


def intrinsics(camera: Camera) -> dict[str, Any]:
    """A camera's own, as a frame of `transforms.json` has them."""
    K = camera.K
    focal = {"fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    return focal | {"w": camera.width, "h": camera.height}


def finish(
    made: Made, small: Workspace, gaussians: Gaussians, source: np.ndarray, copy_of: np.ndarray
) -> None:
    """A scene whose field and things are copies of the small one's."""
    workspace = Workspace.create(made.finished)
    save_capture(load_capture(made.capture), workspace.capture)
    save_ply(gaussians, workspace.splats)
    field, identity = LanguageField.load(small.field), splats_hash(gaussians)
    features = field.features[torch.from_numpy(source)]
    LanguageField(features, field.decoder, field.encoder_name, identity, asked=field.asked).save(
        workspace.field
    )
    things = Things.load(small.things)
    if things is None:
        raise SystemExit(f"{small.root} has no things of this version; run `gags things {small.root}` first")
    copied_things(things, source, copy_of).save(workspace.things, "made up", identity)


def copied_things(things: Things, source: np.ndarray, copy_of: np.ndarray) -> Things:
    """Things of a small scene in every copy, wholes before their parts; empty ones are left out."""
    members: list[np.ndarray] = []
    taken: list[tuple[int, int]] = []
    for copy in range(int(copy_of.max()) + 1):
        rows = np.flatnonzero(copy_of == copy)
        for thing in range(len(things)):
            inside = np.zeros(int(source.max()) + 1, bool)
            inside[things[thing][things[thing] < len(inside)]] = True
            members.append(rows[inside[source[rows]]].astype(np.int32))
            taken.append((copy, thing))
    order = sorted(range(len(taken)), key=lambda row: taken[row][1] * len(taken) + taken[row][0])
    order = [row for row in order if len(members[row])]
    place = {taken[row]: number for number, row in enumerate(order)}
    of = np.array([taken[row][1] for row in order])
    parents = [place.get((taken[row][0], int(things.parents[taken[row][1]])), -1) for row in order]
    return Things(
        np.cumsum([0] + [len(members[row]) for row in order]).astype(np.int64),
        np.concatenate([members[row] for row in order]),
        np.array(parents, np.int32),
        things.photos[of],
        things.seen_by[of],
        things.levels[of],
        things.embeddings[of],
    )


class Thumbnails:
    """An encoder that sees crops as a few pixels; texts are directions that their letters draw."""

    name, dim, image_size = "thumbnails", 512, 224
    crops = (CropRule(),)
    temperature, same_meaning, least_match = 20.0, 0.6, None
    negatives = tuple(f"phrase {number}" for number in range(75))

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._directions = rng.standard_normal((3 * THUMBNAIL**2, self.dim)).astype(np.float32)

    def encode_images(self, crops: np.ndarray) -> np.ndarray:
        small = [
            cv2.resize(crop[0], (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).reshape(-1)
            for crop in crops
        ]
        vectors = (np.array(small, np.float32) + 1) @ self._directions
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        pixels = [np.random.default_rng(list(text.encode())).random(3 * THUMBNAIL**2) for text in texts]
        vectors = np.array(pixels, np.float32) @ self._directions
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
