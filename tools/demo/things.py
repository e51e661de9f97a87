"""What stands on the table: which model, whose it is, how big, where, and how its surfaces look."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from . import textures
from .meshes import Look, box_uvs
from .obj import Part, read_obj

Looks = dict[str, Look]


@dataclass(frozen=True)
class Source:
    """Where a model comes from: library of Debian's package and file in it; title, author, licence."""

    library: str
    model: str
    title: str
    author: str
    licence: str


@dataclass(frozen=True)
class Thing:
    """One labelled thing.

    `size_m` is its longest side before `turn_deg` turns it about the vertical; `at` is where its middle
    stands (metres, x to the right, y towards the wall, z up from the table top). `parts` keeps only the
    model's materials of these names, `prepare` changes the model's parts, `looks` gives materials by name
    another look. `roughness` and `contrast` (of the grain) are for the rest. `within` names things in it or
    on it that have names of their own: name and, one for each of them, its materials.
    """

    category: str
    paraphrases: tuple[str, ...]
    source: Source
    size_m: float
    at: tuple[float, float, float]
    turn_deg: float
    parts: tuple[str, ...] | None = None
    looks: Callable[[np.random.Generator], Looks] | None = None
    roughness: float = 0.6
    contrast: float = 0.09
    prepare: Callable[[list[Part]], list[Part]] | None = None
    within: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = ()


@dataclass
class Piece:
    """Triangles of one look in world coordinates; no `normals`: flat faces, no `uvs`: box projection.

    `material` is the model's name of the look.
    """

    corners: np.ndarray
    normals: np.ndarray | None
    uvs: np.ndarray | None
    look: Look
    material: str = ""


def linear(srgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """An sRGB colour as linear RGB. The models' colours were chosen by eye on a screen, so they are sRGB."""
    c = np.clip(np.asarray(srgb, dtype=np.float64), 0, 1)
    r = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(r[0]), float(r[1]), float(r[2])


BY3, BY3_US, CC0 = "CC BY 3.0", "CC BY 3.0 US", "CC0 1.0"
SCOPIA = "Scopia Visual Interfaces Systems, s.l."
SCOPIA_ETEKS = "Emmanuel Puybaret / eTeks and Scopia Visual Interfaces Systems, s.l."
KATOR = "Andrew Kator and Jennifer Legaz"


def _laptop_looks(rng: np.random.Generator) -> Looks:
    return {
        "Screen": Look(texture=textures.screen(640, 1024, rng), roughness=0.4, specular=0.2),
        "Keyboard": Look(color=(0.03, 0.03, 0.035), grain=textures.grain(rng, contrast=0.2), roughness=0.6),
        "Top": Look(color=(0.42, 0.43, 0.45), grain=textures.grain(rng, contrast=0.06), roughness=0.5),
        "Bottom": Look(color=(0.42, 0.43, 0.45), grain=textures.grain(rng, contrast=0.06), roughness=0.5),
    }


def _lamp_looks(rng: np.random.Generator) -> Looks:
    return {
        "squares_multilamps.jpg": Look(
            color=(0.78, 0.66, 0.46), grain=textures.grain(rng, contrast=0.07), tile_m=0.08, roughness=0.9
        ),
        "wood_red": Look(
            texture=textures.wood(
                256, 512, rng, planks=1, cuts=1, dark=(0.30, 0.14, 0.06), light=(0.66, 0.38, 0.18)
            ),
            tile_m=0.12,
            roughness=0.45,
        ),
    }


def _mug_looks(rng: np.random.Generator) -> Looks:
    return {"White_ceramic": Look(texture=textures.stripes(512, 1024, rng), roughness=0.4)}


def _round_uvs(parts: list[Part]) -> list[Part]:
    """Texture coordinates round the vertical axis: for the mug, whose model has none."""
    for part in parts:
        x, y, z = np.moveaxis(part.corners - part.corners.reshape(-1, 3).mean(axis=0), -1, 0)
        angle = np.arctan2(z, x) / (2 * np.pi) % 1.0
        angle = np.where((angle < 0.25) & (np.ptp(angle, axis=1) > 0.5)[:, None], angle + 1, angle)
        height = (y - y.min()) / np.ptp(y)
        part.uvs, part.has_uvs = np.stack([angle, height], axis=-1), True
    return parts


def _screen_uvs(parts: list[Part]) -> list[Part]:
    """The screen's texture coordinates from its own two long directions."""
    for part in parts:
        if part.name == "Screen":
            points = part.corners.reshape(-1, 3)
            low, size = points.min(axis=0), np.ptp(points, axis=0)
            u, v = (points[:, 0] - low[0]) / size[0], (points[:, 1] - low[1]) / size[1]
            part.uvs, part.has_uvs = np.stack([u, v], axis=-1).reshape(-1, 3, 2), True
    return parts


def _ball_looks(rng: np.random.Generator) -> Looks:
    return {
        "Material.001": Look(color=(0.76, 0.75, 0.72), grain=textures.grain(rng, contrast=0.08), tile_m=0.08),
        "Material": Look(color=(0.018, 0.018, 0.02), grain=textures.grain(rng, contrast=0.3), tile_m=0.08),
    }


def _bottle_looks(rng: np.random.Generator) -> Looks:
    return {
        "bottle": Look(color=(0.012, 0.022, 0.010), grain=textures.grain(rng, contrast=0.25), roughness=0.35),
        "tap": Look(color=(0.20, 0.015, 0.03), grain=textures.grain(rng, contrast=0.15), roughness=0.5),
    }


def _hat_looks(rng: np.random.Generator) -> Looks:
    return {"firstcolor": Look(texture=textures.straw(512, rng), tile_m=0.06, roughness=0.9)}


def _bunch(parts: list[Part]) -> list[Part]:
    """Three bananas that share a stem, out of one: copies fanned out about the stem's end."""
    (part,) = parts
    flat = _flat_side_down(part.corners.reshape(-1, 3))
    corners = part.corners @ flat.T
    points = corners.reshape(-1, 3)
    ends = points[points[:, 0].argmin()], points[points[:, 0].argmax()]
    widths = [
        np.ptp(points[np.abs(points[:, 0] - end[0]) < 0.12 * np.ptp(points[:, 0])], axis=0)[2] for end in ends
    ]
    stem = ends[int(np.argmin(widths))]
    copies = []
    for i, angle in enumerate(np.radians([-17.0, 0.0, 17.0])):
        c, s = np.cos(angle), np.sin(angle)
        tilt = np.radians((0.0, 7.0, 0.0)[i])
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        turn = turn @ np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
        copies.append(((corners - stem) @ turn.T, part.normals @ flat.T @ turn.T))
    both = (np.concatenate(arrays) for arrays in zip(*copies, strict=True))
    back = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float64)
    part.corners, part.normals = (array @ back.T for array in both)
    part.uvs = np.concatenate([part.uvs] * 3)
    return [part]


def revolve(radius: np.ndarray, height: np.ndarray, sides: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """Turn a profile about the z axis: triangles [F,3,3] and their texture coordinates [F,3,2]."""
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack(
        [
            radius[:, None] * np.cos(angle),
            radius[:, None] * np.sin(angle),
            np.broadcast_to(height[:, None], (len(radius), sides + 1)),
        ],
        axis=-1,
    )
    v = np.linspace(0, 1, len(radius))
    uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi), v[:, None]), axis=-1)
    return _quads(ring), _quads(uv)


def _quads(grid: np.ndarray) -> np.ndarray:
    """Two triangles for each cell of a grid of points [R,C,D] -> [2(R-1)(C-1),3,D]."""
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    both = np.stack([np.stack([a, b, c], axis=2), np.stack([a, c, d], axis=2)], axis=2)
    return both.reshape(-1, 3, grid.shape[-1])


def blendswap(kind: str, folder: str, title: str, author: str) -> Source:
    library, licence = ("BlendSwap-CC-0", CC0) if kind == "0" else ("BlendSwap-CC-BY", BY3)
    return Source(library, f"{library.lower()}/{folder}/{folder}.obj", title, author, licence)


def scopia(model: str, title: str, author: str = SCOPIA_ETEKS) -> Source:
    return Source("Scopia", f"scopia/{model}.obj", title, author, BY3)


THINGS: tuple[Thing, ...] = (
    Thing(
        "teddy bear",
        ("stuffed toy bear", "plush bear"),
        blendswap("0", "teddyBear", "Burlap Bear", "Manitislate"),
        0.30,
        (0.25, 0.24, 0.0),
        8,
        roughness=0.9,
    ),
    Thing(
        "toaster",
        ("bread toaster", "orange toaster"),
        scopia("toaster/toaster", "Toaster"),
        0.27,
        (0.58, 0.0, 0.0),
        -24,
        roughness=0.45,
    ),
    Thing(
        "laptop",
        ("laptop computer", "notebook computer"),
        blendswap("BY", "laptop", "Laptop", "Mayollo"),
        0.339,
        (-0.19, 0.14, 0.0),
        12,
        looks=_laptop_looks,
        prepare=_screen_uvs,
    ),
    Thing(
        "table lamp",
        ("lamp", "lamp with a shade"),
        scopia("little_lamp1/little_lamp1", "Little lamp", SCOPIA),
        0.42,
        (-0.56, 0.24, 0.0),
        0,
        looks=_lamp_looks,
        roughness=0.8,
    ),
    Thing(
        "wine bottle",
        ("bottle of red wine",),
        scopia("wine_bottle/wine_bottle", "Wine bottle", SCOPIA),
        0.30,
        (0.045, 0.22, 0.0),
        8,
        looks=_bottle_looks,
    ),
    Thing(
        "hamburger",
        ("cheeseburger", "burger with cheese"),
        blendswap("BY", "hamburger", "Hamburger", "SaiZyca2"),
        0.12,
        (0.10, -0.20, 0.007),
        30,
        roughness=0.75,
    ),
    Thing(
        "soccer ball",
        ("football", "black and white ball"),
        blendswap("BY", "ballonFoot", "Soccer ball", "DooL"),
        0.20,
        (0.60, -0.24, 0.0),
        20,
        looks=_ball_looks,
    ),
    Thing(
        "flower pot",
        ("potted plant", "green plant in a clay pot"),
        blendswap("0", "littlePlant", "Flower pot", "Rameshrj"),
        0.25,
        (0.49, 0.32, 0.0),
        0,
        roughness=0.8,
    ),
    Thing(
        "hammer",
        ("claw hammer", "tool for driving nails"),
        scopia("marteau/marteau", "Hammer"),
        0.30,
        (-0.20, -0.22, 0.0),
        24,
    ),
    Thing(
        "coffee mug",
        ("mug", "cup for coffee"),
        Source("KatorLegaz", "katorlegaz/coffee-mug/coffee-mug.obj", "Coffee mug", KATOR, BY3_US),
        0.12,
        (0.20, -0.01, 0.0),
        -50,
        looks=_mug_looks,
        prepare=_round_uvs,
    ),
    Thing(
        "banana",
        ("ripe banana", "yellow fruit"),
        scopia("bowlWithFruits/bowlWithFruits", "Bowl with fruits (a banana of it)"),
        0.20,
        (0.36, -0.27, 0.0),
        15,
        parts=("banana",),
        prepare=_bunch,
    ),
    Thing(
        "cowboy hat",
        ("straw hat", "hat with a brim"),
        scopia("chapeau/chapeau", "Hat"),
        0.36,
        (-0.55, -0.13, 0.0),
        35,
        looks=_hat_looks,
    ),
)


def pieces(thing: Thing, furniture: Path, rng: np.random.Generator) -> list[Piece]:
    """The triangles of a thing where it stands.

    Args:
        thing: The thing.
        furniture: The folder that holds the unpacked furniture libraries.
        rng: For the textures of flat colours.

    Returns:
        One piece a material.
    """
    parts = read_obj(furniture / thing.source.library / thing.source.model)
    if thing.parts is not None:
        parts = [part for part in parts if part.name in thing.parts]
    if thing.prepare is not None:
        parts = thing.prepare(parts)
    looks = thing.looks(rng) if thing.looks is not None else {}
    # Models have y up and look along +z; the room has z up and is looked at along +y.
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float64)
    c, s = np.cos(np.radians(thing.turn_deg)), np.sin(np.radians(thing.turn_deg))
    points = np.concatenate([part.corners.reshape(-1, 3) for part in parts]) @ turn.T
    scale = thing.size_m / np.ptp(points, axis=0).max()
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ turn
    points = np.concatenate([part.corners.reshape(-1, 3) for part in parts]) @ turn.T * scale
    low, high = points.min(axis=0), points.max(axis=0)
    shift = np.array(thing.at) - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    result = []
    for part in parts:
        look = looks.get(part.name) or _look_of(part, thing, rng)
        textured = look.texture is not None and part.has_uvs
        corners = part.corners @ turn.T * scale + shift
        uvs = part.uvs * [1, -1] + [0, 1] if textured else box_uvs(corners, look.tile_m)
        result.append(Piece(corners, part.normals @ turn.T, uvs, look, part.name))
    return result


def _flat_side_down(points: np.ndarray) -> np.ndarray:
    """The rotation that puts the direction of least extent upright and the longest along x."""
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return axes * np.linalg.det(axes)


def _look_of(part: Part, thing: Thing, rng: np.random.Generator) -> Look:
    if part.material.texture is not None and part.has_uvs:
        picture = cv2.imread(str(part.material.texture), cv2.IMREAD_COLOR)
        return Look(texture=np.ascontiguousarray(picture[..., ::-1]), roughness=thing.roughness)
    color = np.clip(linear(part.material.color), 0.012, 0.80)
    noise = textures.grain(rng, contrast=thing.contrast)
    return Look(color=(color[0], color[1], color[2]), grain=noise, tile_m=0.1, roughness=thing.roughness)
