"""Dense features of a photo: an encoder's embeddings of tiles of seven sizes, and DINO's keys.

An encoder embeds whole pictures. LERF and, after it, LEGaussians make features of pixels with it: tiles of
several sizes are cut out of the photo, neighbours half over each other, and embedded one by one. Each size
gives a grid of embeddings. A pixel takes the bilinear mean of the nearest four of every grid, and the mean of
all sizes.

Only the grids are kept, in a file a photo. The features of any pixel are computed from them when they are
needed, at full resolution: a photo of 640×480 has 307,000 pixels and 2,636 tiles.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from gags.capture import View
from gags.embed.crops import cut_crop
from gags.embed.dino.encoder import Dino
from gags.embed.encoder import Encoder
from gags.errors import WorkspaceError
from gags.store import load_tensors, save_tensors, stamp
from gags.threads import ahead

TILE_SHARES = tuple(float(share) for share in np.linspace(0.05, 0.5, 7))
"""Sides of the square tiles, as shares of the photo's height (LERF's convention)."""

OVERLAP = 0.5  # of neighbouring tiles, at least: they are spread evenly from edge to edge
TILES_A_BATCH = 64  # that are cut and embedded at a time; bounds memory

_RECIPE = "dense 1"  # part of the stamp of a file: raise it whenever the result changes


@dataclass(frozen=True, eq=False)
class Grid:
    """Vectors at points that lie on a regular grid over a photo.

    Attributes:
        values: float16 [rows, columns, D]
        extent: x and y of the first point, then x and y of the last, as shares of the photo's width and
            height. float32 [4]
    """

    values: Tensor
    extent: Tensor

    def at(self, points: Tensor) -> Tensor:
        """What lies between the nearest four points of the grid; beyond its edge, what is at the edge.

        Args:
            points: x and y as shares of the photo's width and height. float32 [P, 2]

        Returns:
            float32 [P, D]
        """
        first, last = self.extent.to(points).split(2)
        # An axis with a single point has nothing between: everything is at the edge.
        places = 2 * (points - first) / (last - first).clamp(min=1e-6) - 1
        values = self.values.to(points.device).float().permute(2, 0, 1)[None]
        found = grid_sample(values, places[None, None], padding_mode="border", align_corners=True)
        return found[0, :, 0].T


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """Features of every pixel of a photo, as grids.

    Attributes:
        tiles: Embeddings of tiles, a grid a size; none if they were not asked for.
        keys: DINO's keys; None if they were not asked for.
    """

    tiles: tuple[Grid, ...]
    keys: Grid | None

    def embeddings(self, points: Tensor) -> Tensor:
        """Mean over the sizes of tiles. Points [P, 2], see `Grid.at` → L2-normalised float32 [P, D]"""
        total = self.tiles[0].at(points)
        for grid in self.tiles[1:]:
            total = total + grid.at(points)
        return normalize(total, dim=-1)

    def keys_at(self, points: Tensor) -> Tensor:
        """Keys, of length 0 if there is no DINO. [P, 2] → L2-normalised float32 [P, E]"""
        return (
            points.new_zeros(len(points), 0) if self.keys is None else normalize(self.keys.at(points), dim=-1)
        )


def tile_starts(length: int, side: int) -> np.ndarray:
    """Where tiles begin along one side of a photo: from edge to edge, evenly, at least half over each other.

    Args:
        length: Of the photo, px.
        side: Of a tile, px; at most `length`.

    Returns:
        int64, rising [n]
    """
    steps = int(np.ceil((length - side) / (side * (1 - OVERLAP))))
    return np.round(np.linspace(0, length - side, steps + 1)).astype(np.int64)


def tile_boxes(height: int, width: int, share: float) -> np.ndarray:
    """Square tiles of one size that cover a photo.

    Args:
        height, width: Of the photo, px.
        share: Side of a tile as a share of the height.

    Returns:
        x1, y1, x2, y2 in px, the far edges exclusive. int64 [rows, columns, 4]
    """
    side = min(max(round(share * height), 1), height, width)
    left, top = np.meshgrid(tile_starts(width, side), tile_starts(height, side))
    return np.stack([left, top, left + side, top + side], axis=-1)


def tile_count(height: int, width: int) -> int:
    """How many tiles of all sizes are embedded of a photo of a size in px."""
    return sum(tile_boxes(height, width, share)[..., 0].size for share in TILE_SHARES)


def embed_tiles(image: np.ndarray, boxes: np.ndarray, encoder: Encoder) -> np.ndarray:
    """Embed tiles of a photo as masks that fill their boxes.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        boxes: x1, y1, x2, y2 in px, the far edges exclusive. int [T, 4]
        encoder: The encoder; it gets its own crops of every tile.

    Returns:
        L2-normalised embeddings. float32 [T, D]
    """
    # The next tiles are cut while these are encoded.
    return np.concatenate(
        [encoder.encode_images(crops) for crops in ahead(_cut_tiles(image, boxes, encoder))]
    )


def _cut_tiles(image: np.ndarray, boxes: np.ndarray, encoder: Encoder) -> Iterator[np.ndarray]:
    """Crops of the next tiles. uint8 [B, C, S, S, 3]"""

    def cut(box: np.ndarray) -> list[np.ndarray]:
        mask = np.zeros(image.shape[:2], bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        return [cut_crop(image, mask, box, rule, encoder.image_size) for rule in encoder.crops]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(boxes), TILES_A_BATCH):
            yield np.array(list(pool.map(cut, boxes[start : start + TILES_A_BATCH])))


def compute(image: np.ndarray, encoder: Encoder | None, dino: Dino | None) -> DenseFeatures:
    """Dense features of a photo.

    Args:
        image: The photo. uint8 RGB [H, W, 3]
        encoder: Embeds the tiles; None for no tiles.
        dino: Gives the keys; None for no keys.
    """
    height, width = image.shape[:2]
    grids = []
    for share in TILE_SHARES if encoder else ():
        assert encoder is not None
        boxes = tile_boxes(height, width, share)
        embeddings = embed_tiles(image, boxes.reshape(-1, 4), encoder)
        centres = (boxes[..., :2] + boxes[..., 2:]) / (2 * np.array([width, height]))
        grids.append(_grid(embeddings.reshape(*boxes.shape[:2], -1), centres[0, 0], centres[-1, -1]))
    if dino is None:
        return DenseFeatures(tuple(grids), None)
    keys = dino.keys(image)
    half = 0.5 / np.array([keys.shape[1], keys.shape[0]])  # patches lie edge to edge
    return DenseFeatures(tuple(grids), _grid(keys, half, 1 - half))


def _grid(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> Grid:
    extent = torch.from_numpy(np.concatenate([first, last])).float()
    return Grid(torch.from_numpy(values.astype(np.float16)), extent)


def dense_features(view: View, encoder: Encoder | None, dino: Dino | None, file: Path) -> DenseFeatures:
    """Dense features of a photo, from its file if that fits, else computed and kept there.

    Args:
        view: The photo.
        encoder: Embeds the tiles; None for no tiles.
        dino: Gives the keys; None for no keys.
        file: Where they are kept; a file of other pixels or models, or a damaged one, is written anew.

    Raises:
        CaptureError: If the photo cannot be read.
    """
    image = view.image()
    key = stamp(
        _RECIPE,
        hashlib.sha256(image.tobytes()).hexdigest(),
        list(image.shape),
        encoder.name if encoder else "",
        dino.name if dino else "",
    )
    kept = _load(file, key)
    if kept is None:
        kept = compute(image, encoder, dino)
        _save(kept, file, key)
    return kept


def _save(features: DenseFeatures, file: Path, key: str) -> None:
    tensors = {}
    for number, grid in enumerate(features.tiles):
        tensors |= {f"tiles.{number}": grid.values, f"tiles.{number}.extent": grid.extent}
    if features.keys is not None:
        tensors |= {"keys": features.keys.values, "keys.extent": features.keys.extent}
    save_tensors(file, tensors, {"key": key})


def _load(file: Path, key: str) -> DenseFeatures | None:
    """What `_save` wrote under this key; None if there is none."""
    try:
        stored = load_tensors(file, remedy="")
    except (WorkspaceError, OSError):
        return None
    if stored.metadata.get("key") != key:
        return None
    found = {
        name: Grid(values, stored.tensors[f"{name}.extent"])
        for name, values in stored.tensors.items()
        if not name.endswith(".extent")
    }
    tiles = [found[f"tiles.{number}"] for number in range(len(found.keys() - {"keys"}))]
    return DenseFeatures(tuple(tiles), found.get("keys"))
