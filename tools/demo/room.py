"""The room: table, walls, floor, pictures, books, light. Everything here is drawn by the script."""

from itertools import pairwise

import mitsuba as mi
import numpy as np

from . import textures
from .meshes import Look, mesh
from .things import Piece, revolve

TABLE = (1.56, 0.90, 0.035)
"""Width, depth, thickness of the table top in metres; its upper side is z = 0."""

FLOOR_Z, BACK_Y, FRONT_Y, SIDE_X, CEILING_Z = -0.74, 0.80, -2.40, 1.95, 1.70


def quad(center, right, up, look: Look, *, repeat: tuple[float, float] = (1.0, 1.0)) -> Piece:
    """A rectangle: `right` and `up` are its full sides, the texture repeats along them."""
    center, right, up = (np.asarray(a, dtype=np.float64) for a in (center, right, up))
    a, b = center - right / 2 - up / 2, center + right / 2 - up / 2
    c, d = center + right / 2 + up / 2, center - right / 2 + up / 2
    u, v = repeat
    # Mitsuba's texture rows start at v = 0, a picture's first row is its top.
    uvs = np.array([[[0, v], [u, v], [u, 0]], [[0, v], [u, 0], [0, 0]]], dtype=np.float64)
    return Piece(np.array([[a, b, c], [a, c, d]]), None, uvs, look)


def box(low, high, look: Look) -> Piece:
    """An upright box with a box-projected texture."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    corner = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (high - low) + low
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [(s[i], s[j], s[k]) for s in sides for i, j, k in ((0, 1, 2), (0, 2, 3))]
    return Piece(corner[np.array(triangles)], None, None, look)


def table(rng: np.random.Generator) -> list[Piece]:
    width, depth, thick = TABLE
    colors = {"dark": (0.36, 0.20, 0.10), "light": (0.76, 0.53, 0.32)}
    top = textures.wood(1180, 2048, rng, planks=6, cuts=1, **colors)
    side = textures.wood(512, 512, rng, planks=1, cuts=1, **colors)
    leg = Look(texture=side, tile_m=0.5, roughness=0.6)
    pieces = [
        quad((0, 0, 0), (width, 0, 0), (0, depth, 0), Look(texture=top, roughness=0.5, specular=0.3)),
        box((-width / 2, -depth / 2, -thick), (width / 2, depth / 2, -1e-4), leg),
        box((-width / 2 + 0.05, -depth / 2 + 0.05, -0.12), (width / 2 - 0.05, depth / 2 - 0.05, -thick), leg),
    ]
    for x in (-1, 1):
        for y in (-1, 1):
            at = np.array([x * (width / 2 - 0.07), y * (depth / 2 - 0.07)])
            pieces.append(box((*(at - 0.03), FLOOR_Z), (*(at + 0.03), -thick), leg))
    return pieces


def place_mat(rng: np.random.Generator) -> list[Piece]:
    """A blue checked mat under the meal."""
    cloth = textures.gingham(1024, rng, color=(0.16, 0.30, 0.50), checks=5)
    look = Look(texture=cloth, roughness=0.95, specular=0.1)
    turn = np.radians(6)
    right, up = np.array([np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), np.cos(turn), 0])
    return [quad((0.20, -0.21, 0.002), 0.56 * right, 0.36 * up, look, repeat=(1.0, 0.643))]


def plate(rng: np.random.Generator, at: tuple[float, float]) -> list[Piece]:
    """A plate under the hamburger."""
    radius = np.array([0.0, 0.055, 0.07, 0.082, 0.105, 0.107, 0.103, 0.065, 0.0])
    height = np.array([0.006, 0.006, 0.008, 0.013, 0.018, 0.016, 0.012, 0.0, 0.0])
    corners, uvs = revolve(radius, height)
    look = Look(texture=textures.stripes(512, 1024, rng), roughness=0.45)
    return [Piece(corners + np.array([*at, 0.0022]), None, uvs, look)]


def walls(rng: np.random.Generator) -> list[Piece]:
    height, middle_z = CEILING_Z - FLOOR_Z, (CEILING_Z + FLOOR_Z) / 2
    length, middle_y = BACK_Y - FRONT_Y, (BACK_Y + FRONT_Y) / 2
    paper = Look(texture=textures.wallpaper(1024, rng), roughness=0.9, specular=0.1)
    brick = Look(
        texture=textures.bricks(1536, 1536, rng, courses=16, per_course=5), roughness=0.95, specular=0.1
    )
    planks = textures.wood(
        2048, 2048, rng, planks=12, cuts=2, dark=(0.20, 0.13, 0.09), light=(0.56, 0.42, 0.30)
    )
    floor = Look(texture=planks, roughness=0.6)
    rug = Look(texture=textures.carpet(1100, 1600, rng), roughness=1.0, specular=0.0)
    white = Look(color=(0.62, 0.60, 0.56), grain=textures.grain(rng, contrast=0.08), tile_m=0.3)
    back, front = (0, BACK_Y, middle_z), (0, FRONT_Y, middle_z)
    across, along = np.array([2 * SIDE_X, 0, 0]), np.array([0, length, 0])
    up, tile = np.array([0, 0, height]), 0.42
    pieces = [
        quad(back, across, up, paper, repeat=(2 * SIDE_X / tile, height / tile)),
        quad(front, -across, up, paper, repeat=(2 * SIDE_X / tile, height / tile)),
        quad((-SIDE_X, middle_y, middle_z), along, up, brick, repeat=(length / 1.2, height / 1.2)),
        quad((SIDE_X, middle_y, middle_z), -along, up, paper, repeat=(length / tile, height / tile)),
        quad((0, middle_y, FLOOR_Z), across, along, floor, repeat=(2.0, 1.6)),
        quad((0, -0.45, FLOOR_Z + 0.008), (2.7, 0, 0), (0, 1.9, 0), rug),
        box((-SIDE_X, BACK_Y - 0.015, FLOOR_Z), (SIDE_X, BACK_Y, FLOOR_Z + 0.09), white),
    ]
    return pieces


def framed(center, right, picture: np.ndarray, rng: np.random.Generator) -> list[Piece]:
    """A picture in a dark frame on a wall; `right` is the direction and width of its lower side."""
    center, right = np.asarray(center, dtype=np.float64), np.asarray(right, dtype=np.float64)
    up = np.array([0, 0, np.linalg.norm(right) * picture.shape[0] / picture.shape[1]])
    out = np.cross(right, up)
    out /= np.linalg.norm(out)
    wood = textures.wood(256, 256, rng, planks=1, cuts=1, dark=(0.10, 0.06, 0.04), light=(0.34, 0.22, 0.14))
    frame = Look(texture=wood, tile_m=0.2, roughness=0.6)
    unit, upward = right / np.linalg.norm(right), np.array([0, 0, 1.0])
    pieces = [quad(center + 0.012 * out, right, up, Look(texture=picture, roughness=0.8, specular=0.1))]
    for side in (-1, 1):
        middles = ((center + side * right / 2, 0.035 * unit, up + 0.035 * upward),)
        middles += ((center + side * up / 2, right + 0.035 * unit, 0.035 * upward),)
        for middle, a, b in middles:
            extent = (np.abs(a) + np.abs(b)) / 2 + np.abs(out) * 0.012
            pieces.append(box(middle + 0.012 * out - extent, middle + 0.012 * out + extent, frame))
    return pieces


def bookcase(rng: np.random.Generator) -> list[Piece]:
    """Shelves of books along the right wall."""
    depth, low_y, high_y = 0.26, -1.35, 0.45
    wood = textures.wood(512, 512, rng, planks=1, cuts=1, dark=(0.24, 0.15, 0.09), light=(0.52, 0.36, 0.23))
    look = Look(texture=wood, tile_m=0.5, roughness=0.6)
    face = SIDE_X - depth
    pieces = []
    for z in FLOOR_Z + 0.02 + 0.36 * np.arange(6):
        pieces.append(box((face, low_y, z - 0.02), (SIDE_X, high_y, z), look))
    for y in (low_y, (low_y + high_y) / 2, high_y):
        pieces.append(box((face, y - 0.012, FLOOR_Z), (SIDE_X, y + 0.012, FLOOR_Z + 1.82), look))
    half = (high_y - low_y) / 2
    for shelf in range(5):
        for side in range(2):
            pieces += _row_of_books(
                rng,
                face + 0.03,
                low_y + 0.014 + side * half,
                half * rng.uniform(0.75, 0.95),
                FLOOR_Z + 0.02 + 0.36 * shelf,
            )
    return pieces


def _row_of_books(rng: np.random.Generator, x: float, y: float, length: float, z: float) -> list[Piece]:
    picture, edges = textures.spines(400, 1024, rng, books=int(rng.integers(15, 22)))
    look = Look(texture=picture, roughness=0.7, specular=0.2)
    corners, uvs = [], []
    for u0, u1 in pairwise(edges):
        out, tall = x + rng.uniform(0.0, 0.035), rng.uniform(0.20, 0.31)
        book = box((out, y + u0 * length, z), (SIDE_X - 0.02, y + u1 * length - 0.001, z + tall), look)
        share = (book.corners - [0, y, z]) / [1, length, tall]
        u = np.clip(share[..., 1], u0 + 2e-3, u1 - 2e-3)
        corners.append(book.corners)
        uvs.append(np.stack([u, 1 - share[..., 2]], axis=-1))
    return [Piece(np.concatenate(corners), None, np.concatenate(uvs), look)]


def pieces(rng: np.random.Generator, plate_at: tuple[float, float] | None) -> list[Piece]:
    """Everything in the room that carries no label; mat and plate only where a plate is to stand."""
    evening = textures.landscape(600, 900, rng, mood="evening")
    coast = textures.landscape(700, 700, rng, mood="coast")
    print_ = textures.abstract(900, 640, rng)
    wall = BACK_Y - 0.002
    return [
        *table(rng),
        *([] if plate_at is None else [*place_mat(rng), *plate(rng, plate_at)]),
        *walls(rng),
        *framed((-0.72, wall, 0.66), (0.62, 0, 0), evening, rng),
        *framed((0.12, wall, 0.72), (0.40, 0, 0), print_, rng),
        *framed((0.85, wall, 0.62), (0.50, 0, 0), coast, rng),
        *framed((-SIDE_X + 0.002, -0.55, 0.55), (0, 0.60, 0), textures.abstract(640, 900, rng), rng),
        *bookcase(rng),
    ]


def lights() -> dict:
    """A window-sized light at the front left, a weaker one at the right, dim light all round."""

    def panel(origin, target, width: float, height: float, radiance) -> dict:
        to_world = mi.ScalarTransform4f().look_at(origin=list(origin), target=list(target), up=[0, 0, 1])
        return {
            "type": "rectangle",
            "to_world": to_world @ mi.ScalarTransform4f().scale([width / 2, height / 2, 1]),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": list(radiance)}},
        }

    return {
        "light_window": panel((-1.75, -2.1, 2.3), (0, 0, 0), 1.5, 1.3, (15.5, 14.6, 13.2)),
        "light_right": panel((1.8, -1.6, 2.4), (0, 0, 0), 1.2, 1.2, (3.2, 3.5, 4.0)),
        "light_room": {"type": "constant", "radiance": {"type": "rgb", "value": [0.42, 0.435, 0.46]}},
    }


def meshes(named: dict[str, list[Piece]]) -> dict[str, mi.Mesh]:
    """Mitsuba meshes of pieces; the key `name#3` is the fourth piece of `name`."""
    return {
        f"{name}#{i}": mesh(f"{name}#{i}", piece.corners, piece.normals, piece.uvs, piece.look)
        for name, group in named.items()
        for i, piece in enumerate(group)
    }
