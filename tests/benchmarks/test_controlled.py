"""The controlled experiment: its embeddings look like CLIP's, its masks break granularity as SAM's do."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from benchmarks.controlled.choice import Habits, choose
from benchmarks.controlled.encoder import (
    LEAST_NOISE,
    SMALL_NOISE,
    ControlledEncoder,
    content,
    mask_cells,
    noise_energy,
    pixels_of,
)
from benchmarks.controlled.names import LVIS_OF_GROUPS, LVIS_OF_NAMES, TextVectors
from benchmarks.controlled.nest import STEPS, on_grid
from benchmarks.controlled.results import Outcome, by_ring, contrasts, effects_table
from benchmarks.controlled.run import Experiment
from benchmarks.controlled.segmenter import ControlledSegmenter, signed_distance, sloped
from benchmarks.controlled.shared import LENGTH, SPOTS, WAVES, Place, SharedNoise
from benchmarks.controlled.textures import FINER, find_patches, patch_maps, see
from benchmarks.controlled.truth import Truth
from tests.helpers.blobs import make_scene
from tests.helpers.toy_capture import write_capture

from gags.capture import Camera, load_capture
from gags.compare.methods import all_methods
from gags.errors import CaptureError, ModelError, QueryError
from gags.evaluate.labels import load_labels, match_view
from gags.query.parts import part_and_whole
from gags.segment.masks import Masks
from gags.segment.packed import CroppedMask, PackedMasks
from gags.segment.suppress import measure

WIDTH, HEIGHT = 512, 384
MUG, HANDLE, PLATE, TABLE = 1, 2, 3, 240
LVIS = ("mug", "handle", "plate", "table", "dining table", "apple", "sponge", "box")
PLAIN = Habits(spread=0.0, prompt_spread=0.0)


@pytest.fixture(scope="module")
def clip_text(tmp_path_factory) -> Path:
    """Made-up text vectors of a few names, with the common part that CLIP's have."""
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(LVIS), 512)) / np.sqrt(512) + 1.6 * np.eye(512)[0]
    np.save(folder / "lvis_v1.npy", vectors.astype(np.float16))
    table = [{"name": name, "synonyms": [name, f"a {name}"]} for name in LVIS]
    (folder / "lvis_v1.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    """A mug with a handle and a plate on a table, from near and from far."""
    folder = tmp_path_factory.mktemp("capture")
    entry = {"part_of": None, "ids": [], "queries": [], "kind": "object"}
    objects = {
        "101": entry | {"name": "red mug", "ids": [HANDLE, MUG], "queries": ["red mug", "red cup"]},
        "2": entry | {"name": "mug handle", "ids": [HANDLE], "kind": "part", "part_of": "red mug"},
        "1": entry | {"name": "red mug (rest)", "ids": [MUG], "kind": "remainder", "part_of": "red mug"},
        "3": entry | {"name": "plate", "ids": [PLATE]},
        "240": entry | {"name": "wooden table", "ids": [TABLE], "kind": "stuff"},
    }
    (folder / "objects.json").write_text(json.dumps(objects))
    (folder / "instance").mkdir()
    for stem, size in (("near", 150), ("far", 20)):
        cv2.imwrite(str(folder / "instance" / f"{stem}.png"), _table(size))
    return Truth.load(folder)


def _table(size: int) -> np.ndarray:
    """Leaf ids of a mug of `size` px a side, handle at its right, a plate beside that. uint8 [H, W]"""
    ids = np.full((HEIGHT, WIDTH), TABLE, np.uint8)
    y, x = HEIGHT // 2 - size // 2, WIDTH // 2 - size
    ids[y : y + size, x : x + size] = MUG
    ids[y + size // 4 : y + 3 * size // 4, x + size : x + size + size // 4] = HANDLE
    ids[y : y + size, x + 3 * size // 2 : x + 5 * size // 2] = PLATE
    return ids


def _patches(ids: np.ndarray) -> np.ndarray:
    """The mug has an upper and a lower patch, each with a left and a right one. int64 [2, h, w]"""
    small = on_grid(ids)
    upper, left = np.indices(small.shape) < np.array([[[HEIGHT // 4]], [[WIDTH // 4 - 30]]])
    return np.where(small == MUG, np.stack([upper, left]), 0).astype(np.int64)


def _segmenter(truth: Truth, ids: np.ndarray, view: str, habits: Habits = Habits()) -> ControlledSegmenter:
    return ControlledSegmenter(truth, ids, _patches(ids), view, habits=habits)


def _masks(*masks: np.ndarray) -> Masks:
    """Masks of one level, or of the next one if they overlap."""
    labels = np.full((3, *masks[0].shape), -1, np.int16)
    levels = []
    for row, mask in enumerate(masks):
        level = next(level for level in range(3) if (labels[level][mask] < 0).all())
        labels[level][mask] = row
        levels.append(level)
    boxes = np.zeros((len(masks), 4), np.int32)
    return Masks(labels, np.array(levels, np.int8), boxes, np.ones(len(masks), np.float32))


# --- texts ---


def test_names_and_paraphrases_and_vague_phrases(clip_text: Path):
    texts = TextVectors(clip_text, {"red cup": "red mug"})
    vectors = np.load(clip_text / "lvis_v1.npy").astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mug, synonym, both, cup, vague = texts.encode(["red mug", "a mug", "mug handle", "red cup", "object"])
    np.testing.assert_allclose(mug, vectors[0])
    np.testing.assert_allclose(synonym, vectors[0])
    np.testing.assert_allclose([np.linalg.norm(v) for v in (both, cup, vague)], 1)
    assert both @ texts.mean == pytest.approx((vectors[:2] @ texts.mean).mean())  # as specific as its two
    assert both @ vectors[0] > vectors[1] @ vectors[0] + 0.05
    assert 0.9 < cup @ mug < 0.99
    assert vague @ texts.mean == pytest.approx(1 / np.hypot(1, 0.5))
    again = TextVectors(clip_text, {"red cup": "red mug"}).encode(["red cup"])
    np.testing.assert_array_equal(again, cup[None])
    with pytest.raises(QueryError, match="screwdriver"):
        texts.encode(["screwdriver"])


def test_missing_text_vectors_say_which(tmp_path: Path):
    with pytest.raises(ModelError, match="lvis_v1"):
        TextVectors(tmp_path)


def test_everything_of_pantry_has_a_vector(captures: Path, models_dir: Path):
    truth = Truth.load(captures / "pantry")
    texts = TextVectors(models_dir / "clip_text", truth.aliases)
    queries = json.loads((captures / "pantry" / "queries.json").read_text())
    wanted = {label["query"] for label in queries["labelled"]} | set(queries["coarse"])
    wanted |= {alias for label in queries["labelled"] for alias in label["aliases"]}
    for path in (captures / "pantry" / "labels").glob("*.json"):
        wanted |= {label["category"] for label in json.loads(path.read_text())["objects"]}
    # A text for a part is asked with the part's and the whole's names beside it.
    asked = filter(None, map(part_and_whole, LVIS_OF_NAMES))
    wanted |= {name for pair in asked for name in pair}
    assert {"cap", "handle"} <= wanted
    assert texts.encode(sorted(wanted)).shape == (len(wanted), 512)
    assert {thing.name for thing in truth.things} == set(LVIS_OF_NAMES)
    assert set(queries["coarse"]) == set(LVIS_OF_GROUPS)


# --- truth ---


def test_truth_tells_objects_from_parts(truth: Truth):
    assert [thing.name for thing in truth.things] == ["red mug", "plate", "wooden table", "mug handle"]
    np.testing.assert_array_equal(truth.whole_of[[0, MUG, HANDLE, PLATE, TABLE]], [-1, 0, 0, 1, 2])
    np.testing.assert_array_equal(truth.part_of[[MUG, HANDLE]], [-1, 3])
    np.testing.assert_array_equal(truth.parents, [-1, -1, -1, 0])
    assert truth.aliases == {"red cup": "red mug"}
    assert truth.ids("near", WIDTH // 2, HEIGHT // 2).shape == (HEIGHT // 2, WIDTH // 2)


def test_no_truth_says_what_is_missing(tmp_path: Path, truth: Truth):
    with pytest.raises(CaptureError, match=r"objects\.json"):
        Truth.load(tmp_path)
    with pytest.raises(CaptureError, match=r"elsewhere\.png"):
        truth.ids("elsewhere", WIDTH, HEIGHT)


# --- embeddings ---


def test_a_mask_shows_what_it_covers_most(truth: Truth):
    seen = np.zeros(256, int)
    seen[[MUG, HANDLE, PLATE, TABLE]] = 300, 100, 400, 5000
    covered = np.zeros((6, 256), int)
    covered[0, [MUG, HANDLE]] = 300, 100  # the whole mug
    covered[1, HANDLE] = 100  # its handle
    covered[2, MUG] = 150  # half of its body
    covered[3, [MUG, HANDLE]] = 50, 50  # twice the usual share of handle: a third of the way to a handle
    covered[4, [PLATE, TABLE]] = 300, 100  # shares ¾ and ¼, squared 9 to 1
    weights, complete = content(covered, seen, truth)
    mug, plate, table, handle = np.eye(4)
    np.testing.assert_allclose(weights[:3], [mug, handle, mug], atol=1e-12)
    np.testing.assert_allclose(weights[3], (4 * mug + handle) / 5)
    np.testing.assert_allclose(weights[4], 0.9 * plate + 0.1 * table)
    np.testing.assert_allclose(weights[5], 0)
    np.testing.assert_allclose(complete[:, 0], [1, 0.25, 150 / 400, 0.25, 0, 0])
    np.testing.assert_allclose(complete[:, 1], [0, 0, 0, 0, 0.75, 0])
    np.testing.assert_allclose(complete[:, 2], 1)  # stuff looks the same in pieces
    np.testing.assert_allclose(complete[:, 3], [1, 1, 0, 0.5, 0, 0])


def test_overlapping_masks_share_their_noise():
    whole = np.zeros((64, 64), bool)
    whole[:32, :32] = True
    quarter, other = np.zeros_like(whole), np.zeros_like(whole)
    quarter[:16, :16] = True
    other[32:, 32:] = True
    cells, count = mask_cells(_masks(whole, quarter, other))
    assert count == 64
    # |A ∩ B| / √(|A| |B|) = 256 / √(1024 · 256)
    np.testing.assert_allclose(cells @ cells.T, [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], atol=1e-12)


def test_whole_masks_count_where_they_are_embedded():
    """A ring with a hole that another mask covers: as painted it lacks the hole, as a whole it does not."""
    ring, hole = np.zeros((16, 16), bool), np.zeros((16, 16), bool)
    ring[2:12, 2:12] = True
    hole[4:8, 4:8] = True
    labels = np.full((3, 16, 16), -1, np.int16)
    labels[0][ring], labels[0][hole] = 0, 1
    whole = PackedMasks.pack([CroppedMask(ring, 0, 0), CroppedMask(hole, 0, 0)])
    kinds = np.where(np.arange(16) < 6, 0, 1) + np.zeros((16, 1), int)
    about = np.zeros(2, np.int8), np.zeros((2, 4), np.int32), np.ones(2, np.float32)
    painted, entire = Masks(labels, *about), Masks(labels, *about, whole)
    np.testing.assert_array_equal(pixels_of(painted, kinds, 2), [[32, 52], [8, 8]])
    np.testing.assert_array_equal(pixels_of(entire, kinds, 2), [[40, 60], [8, 8]])


def test_noise_is_shared_by_photos_taken_side_by_side():
    kinds = np.eye(32) / np.sqrt(32)
    noise = SharedNoise(0, kinds, misleading=0.5, length=LENGTH)
    positions = np.array([[0.1, 0.2, 0.3], [0.1 + 0.5 * LENGTH, 0.2, 0.3], [0.1 + 5 * LENGTH, 0.2, 0.3]])
    fields = np.stack([noise.seen_from(position) for position in positions])
    assert fields.shape == (3, SPOTS, 32)
    energy = np.square(fields).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(energy, 1, rtol=0.03)
    correlation = (fields * fields[0]).sum(axis=2).mean(axis=1) / energy[0]
    # exp(−δ² / 2ℓ²), as well as so many waves give it
    np.testing.assert_allclose(correlation, [1, np.exp(-1 / 8), 0], atol=2 / np.sqrt(WAVES))
    waves = np.stack([noise.weights(position) for position in positions])
    np.testing.assert_allclose(waves @ waves[0], correlation, atol=0.05)
    spots = np.einsum("sd,td->st", fields[0][:50], fields[0][:50])
    assert np.abs(spots - np.diag(np.diag(spots))).max() < 1  # each spot has its own
    again = SharedNoise(0, kinds, misleading=0.5, length=LENGTH).seen_from(positions[1])
    np.testing.assert_array_equal(again, fields[1])


def test_spots_are_of_the_surface_not_of_the_photo():
    """Two cameras that look down on a plane from places 0.2 apart see the same spots."""
    K = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])
    places = []
    for x in (0.0, 0.2):
        viewmat = np.diag([1.0, -1.0, -1.0, 1.0])
        viewmat[:3, 3] = -x, 0, 2.0
        camera = Camera(viewmat, K, 128, 96)
        places.append(Place.of(camera, np.full((48, 64), 2.0)))
        np.testing.assert_allclose(places[-1].position, [x, 0, 2], atol=1e-9)
    # 0.2 are 10 px at a depth of 2
    np.testing.assert_array_equal(places[0].spots[:, 10:], places[1].spots[:, :-10])
    assert len(np.unique(places[0].spots)) > 500


def test_shared_noise_does_not_average_out(clip_text: Path, truth: Truth):
    """Mean over ten photos from one place: noise of a tenth of the energy, or all of what is shared."""
    texts = TextVectors(clip_text)
    ids = np.full((96, 96), PLATE, np.uint8)
    masks = _masks(ids == PLATE)
    rng = np.random.default_rng(0)
    spots = rng.integers(SPOTS, size=ids.shape)
    noise = {}
    for share in (0.0, 0.5, 1.0):
        encoder = ControlledEncoder(texts, truth, shared=share)
        place = Place(np.zeros(3), spots)
        views = [encoder._noise(masks, str(view), place)[0] for view in range(10)]
        noise[share] = np.square(np.mean(views, axis=0)).sum() / np.square(views).sum(axis=1).mean()
    assert noise[0.0] == pytest.approx(0.1, abs=0.04)
    assert noise[0.5] == pytest.approx(0.55, abs=0.15)
    assert noise[1.0] == pytest.approx(1)
    with pytest.raises(ValueError, match="place"):
        ControlledEncoder(texts, truth, shared=0.5).embed_masks(masks, ids, "view")


def test_small_masks_are_noisier():
    small, large = noise_energy(np.array([1000, 1e9]))
    assert large == pytest.approx(LEAST_NOISE, abs=1e-6)
    assert small == pytest.approx(LEAST_NOISE + SMALL_NOISE / 2)


def test_pieces_look_less_like_the_thing(clip_text: Path, truth: Truth):
    """What is left of a thing in a mask of a share c of it is c^0.3 (unit vectors, means over many views)."""
    encoder = ControlledEncoder(TextVectors(clip_text), truth)
    ids = np.zeros((200, 200), np.uint8)
    ids[:100, :100] = PLATE
    ids[100:, 100:] = MUG
    whole, other = ids == PLATE, ids == MUG
    piece = whole & (np.arange(200) < 50)[:, None] & (np.arange(200) < 50)  # a quarter
    views = [encoder.embed_masks(_masks(whole, piece, other), ids, str(view)) for view in range(200)]
    plate, quarter, mug = (mean / np.linalg.norm(mean) for mean in np.mean(views, axis=0))
    assert plate @ quarter < 0.97
    assert plate @ quarter > mug @ quarter + 0.1
    text, quarters = encoder.encode_texts(["plate"])[0], np.stack(views)[:, 1]
    own = np.stack(views)[:, 0] @ text - np.stack(views)[:, 2] @ text  # beside what every mask has
    lost = quarters @ text - np.stack(views)[:, 2] @ text
    assert lost.mean() / own.mean() == pytest.approx(0.25**0.3, abs=0.15)


def test_the_encoder_looks_at_no_pictures(clip_text: Path, truth: Truth):
    encoder = ControlledEncoder(TextVectors(clip_text), truth)
    with pytest.raises(ModelError, match="embed_masks"):
        encoder.encode_images(np.zeros((1, 1, 1, 1, 3), np.uint8))
    nothing = Masks(np.full((3, 8, 8), -1, np.int16), *(np.zeros(0, np.int8),) * 3)
    assert encoder.embed_masks(nothing, np.zeros((8, 8), np.uint8), "view").shape == (0, 512)


def test_cosines_look_like_clips(captures: Path, models_dir: Path):
    """Exact masks of pantry's things of at least 1000 px, in every sixth photo."""
    truth = Truth.load(captures / "pantry")
    encoder = ControlledEncoder(TextVectors(models_dir / "clip_text", truth.aliases), truth)
    images, names, views = [], [], []
    for number in range(0, 72, 6):
        ids = truth.ids(f"train_{number:03d}", 640, 480)
        wholes, parts = truth.whole_of[ids], truth.part_of[ids]
        maps = [np.where(truth.parents[row] < 0, wholes, parts) == row for row in range(len(truth.things))]
        rows = [row for row, mask in enumerate(maps) if mask.sum() >= 1000]
        images.append(encoder.embed_masks(_masks(*(maps[row] for row in rows)), ids, str(number)))
        names += rows
        views += [number] * len(rows)
    image, name, view = np.concatenate(images), np.array(names), np.array(views)
    text = encoder.encode_texts([thing.name for thing in truth.things])
    vague = encoder.encode_texts(encoder.negatives)
    with_text, own = image @ text.T, np.arange(len(text)) == name[:, None]
    assert 0.25 < np.median(with_text[own]) < 0.32
    assert np.percentile(with_text[own], 10) > 0.22
    np.testing.assert_array_less(np.percentile(with_text[~own], [5, 95]), [0.18, 0.27])
    np.testing.assert_array_less([0.12, 0.2], np.percentile(with_text[~own], [5, 95]))
    assert 0.18 < np.median(image @ vague.T) < 0.24
    np.testing.assert_array_less(0.65, text @ vague.T)
    np.testing.assert_array_less(text @ vague.T, 0.88)
    cosines, same = image @ image.T, name[:, None] == name
    across = cosines[same & (view[:, None] != view)]
    assert 0.8 < np.median(across) < 0.9
    np.testing.assert_array_less(0.5, np.percentile(cosines[~same], 3))
    assert np.percentile(cosines[~same], 97) < 0.75
    assert 0.8 < (with_text.argmax(axis=1) == name).mean() < 1.0  # naming is good, and not perfect
    relevancy = 1 / (1 + np.exp(-encoder.temperature * (with_text - (image @ vague.T).max(1)[:, None])))
    assert 0.6 < np.median(relevancy[own]) < 0.7
    assert 0.4 < np.median(relevancy[~own]) < 0.5


# --- masks ---


def test_patches_are_the_same_in_every_view(truth: Truth):
    """A plate, left half white and right half black, seen from two sides by cameras that look down."""
    ids = np.full((96, 128), PLATE, np.uint8)
    K = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])
    surfaces, maps = [], []
    for turn in (1, -1):  # the second camera is the first one turned by half a circle
        viewmat = np.diag([turn, -turn, -1.0, 1.0])
        viewmat[2, 3] = 2.0
        image = np.zeros((96, 128, 3), np.uint8)
        image[:, slice(0, 64) if turn == 1 else slice(64, 128)] = 255
        camera = Camera(viewmat, K, 128, 96)
        surfaces.append(see(image, np.full((48, 64), 2.0), camera, 128, 96))
    np.testing.assert_allclose(surfaces[0].points[0, 0], [-1.27, 0.95, 0], atol=1e-6)  # (0.5 − 64) / 100 · 2
    np.testing.assert_allclose(surfaces[1].points[::-1, ::-1], surfaces[0].points, atol=1e-5)
    patches = find_patches(surfaces, [ids, ids], truth, seed=0)
    maps = [patch_maps(surface, ids, patches) for surface in surfaces]
    np.testing.assert_array_equal(maps[0], maps[1][:, ::-1, ::-1])
    assert len(np.unique(maps[0][0])) == 2
    assert len(np.unique(maps[0][0][:, :60])) == 1  # colour counts: the halves are the large patches
    nothing = patch_maps(surfaces[0], np.zeros_like(ids), patches)
    assert (nothing == -1).all()


def test_finer_patches_halve_small_ones_alike_in_every_view(truth: Truth):
    ids = np.full((96, 128), PLATE, np.uint8)
    K = np.array([[100.0, 0, 64], [0, 100, 48], [0, 0, 1]])
    surfaces = []
    for turn in (1, -1):
        viewmat = np.diag([turn, -turn, -1.0, 1.0])
        viewmat[2, 3] = 2.0
        image = np.full((96, 128, 3), 128, np.uint8)
        surfaces.append(see(image, np.full((48, 64), 2.0), Camera(viewmat, K, 128, 96), 128, 96))
    patches = find_patches(surfaces, [ids, ids], truth, seed=0)
    one, other = (patch_maps(surface, ids, patches, finer=True) for surface in surfaces)
    assert one.shape == (2 + FINER, 96, 128)
    np.testing.assert_array_equal(one[:2], patch_maps(surfaces[0], ids, patches))
    agree = (one == other[:, ::-1, ::-1]).mean(axis=(1, 2))
    np.testing.assert_array_less(0.99, agree)  # but for rounding at the cuts
    for depth in range(FINER):
        assert one[2 + depth].max() < 2 ** (depth + 1)
        coarser = one[1 + depth] if depth else np.zeros_like(one[0])
        np.testing.assert_array_equal(one[2 + depth] % 2**depth, coarser)  # lies in the coarser piece
    shares = np.bincount(one[2].ravel()) / one[2].size
    assert shares.min() > 0.25


def test_patches_keep_appearing_with_more_prompts(truth: Truth):
    """Distinct masks at "sub-part" of a mug, of 30 prompts and of 600."""
    ids = truth.ids("near", WIDTH, HEIGHT)
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(110, 250, 600), rng.uniform(120, 260, 600)], axis=1).astype(np.float32)
    cells = on_grid(ids)
    finer = [np.indices(cells.shape)[axis] // size % 2 for axis, size in ((0, 20), (1, 20), (0, 10))]
    pieces = np.cumsum(np.stack(finer) * 2 ** np.arange(3)[:, None, None], axis=0)
    patches = np.concatenate([_patches(ids), np.where(cells == MUG, pieces, 0)])
    found = {}
    for grow in (0.0, 0.4):
        segmenter = ControlledSegmenter(truth, ids, patches, "near", habits=PLAIN, grow=grow)
        encoded = segmenter.encode(np.zeros((*ids.shape, 3), np.uint8))
        for count in (30, 600):
            answers = segmenter.predict(encoded, points[:count])
            chosen = (answers.logits > 0)[answers.levels == 0]
            areas = np.round(chosen.sum(axis=(1, 2)), -2)  # boundaries waver by a few cells
            centres = [np.argwhere(mask).mean(axis=0).round(-1) for mask in chosen]
            found[grow, count] = len({(area, *centre) for area, centre in zip(areas, centres, strict=True)})
        # The answers of the other levels are what they were.
        assert (answers.levels == 1).sum() == 600
    assert found[0.0, 600] - found[0.0, 30] < found[0.4, 600] - found[0.4, 30]
    assert found[0.4, 600] > 1.5 * found[0.4, 30]


def test_a_prompt_finds_a_finer_patch_by_its_own_chance(truth: Truth):
    ids = truth.ids("near", WIDTH, HEIGHT)
    segmenter = ControlledSegmenter(truth, ids, _patches(ids), "near", grow=0.4)
    points = np.random.default_rng(0).uniform(0, 100, (4000, 2)).astype(np.float32)
    pieces = np.tile(np.array([[10], [11], [12]]), (1, len(points)))
    finer = segmenter._finer(points, pieces)
    shares = [(finer == region).mean() for region in (-1, 10, 11, 12)]
    np.testing.assert_allclose(shares, [0.6, 0.4 * 0.6, 0.4**2 * 0.6, 0.4**3], atol=0.03)
    np.testing.assert_array_equal(segmenter._finer(points[7:9], pieces[:, 7:9]), finer[7:9])
    too_small = np.where(np.arange(3)[:, None] == 0, pieces, -1)
    assert set(np.unique(segmenter._finer(points, too_small))) == {-1, 10}


def test_levels_follow_apparent_size(truth: Truth):
    """One mug: whole and cut up from near, the smallest answer from far."""
    areas = {}
    for stem, size in (("near", 150), ("far", 20)):
        ids = truth.ids(stem, WIDTH, HEIGHT)
        segmenter = _segmenter(truth, ids, stem, PLAIN)
        point = np.array([[WIDTH // 2 - size / 2, HEIGHT // 2 + size / 4]], np.float32)
        found = segmenter.predict(segmenter.encode(np.zeros((*ids.shape, 3), np.uint8)), point)
        assert found.levels.tolist() == [0, 1, 2]
        mug = np.count_nonzero((ids == MUG) | (ids == HANDLE)) / 4  # two px a cell
        areas[stem] = (found.logits > 0).sum(axis=(1, 2)) / mug
    assert areas["near"][0] < 0.6  # a patch or less
    assert areas["near"][1] == pytest.approx(1, abs=0.1)
    assert areas["far"][0] == pytest.approx(1, abs=0.25)  # the mug itself, its boundary wavers
    assert areas["far"][2] > 1.6  # with the plate


def test_masks_are_the_things(truth: Truth):
    ids = truth.ids("near", WIDTH, HEIGHT)
    segmenter = _segmenter(truth, ids, "near", PLAIN)
    encoded = segmenter.encode(np.zeros((*ids.shape, 3), np.uint8))
    points = np.array([[WIDTH // 2 - 75, HEIGHT // 2], [WIDTH // 2 + 200, HEIGHT // 2], [5, 5]], np.float32)
    found = segmenter.predict(encoded, points)
    assert found.extent == (256, 192)
    small = cv2.resize(ids, (256, 192), interpolation=cv2.INTER_NEAREST)
    for prompt, leaves in enumerate([(MUG, HANDLE), (PLATE,), (TABLE,)]):
        thing = np.isin(small, leaves)
        masks = found.logits[found.prompts == prompt] > 0
        overlaps = [(mask & thing).sum() / (mask | thing).sum() for mask in masks]
        assert max(overlaps) > 0.95
        column, row = (points[prompt] / 2).astype(int)
        assert all(mask[row, column] for mask in masks)


def test_an_answer_belongs_to_its_prompt_alone(truth: Truth):
    ids = truth.ids("near", WIDTH, HEIGHT)
    ids[:40] = 0  # nothing is there
    segmenter = _segmenter(truth, ids, "near")
    encoded = segmenter.encode(np.zeros((*ids.shape, 3), np.uint8))
    rng = np.random.default_rng(0)
    points = rng.uniform(0, (WIDTH, HEIGHT), (20, 2)).astype(np.float32)
    together = segmenter.predict(encoded, points)
    alone = _segmenter(truth, ids, "near")
    for prompt in range(3):
        single = alone.predict(alone.encode(np.zeros((*ids.shape, 3), np.uint8)), points[prompt : prompt + 1])
        np.testing.assert_array_equal(single.logits, together.logits[together.prompts == prompt])
    good = segmenter.predict(encoded, points, min_iou=0.9)
    kept = together.ious > 0.9
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(good.ious, together.ious[kept])
    nowhere = segmenter.predict(encoded, np.array([[WIDTH // 2, 10]], np.float32))
    assert nowhere.logits.shape == (0, 192, 256)


def test_choice_takes_the_best_nested_triple():
    # Regions 0 ⊂ 1 ⊂ 2; level 0 would like 2 best, but no level may go below the one before it.
    scored = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.5, 0.0, 1.0]])
    chains = np.array([[0, 1, 2] + [-1] * (STEPS - 3), [-1] * STEPS])
    regions, doubts = choose(scored, chains, PLAIN, np.zeros((2, STEPS, 3)))
    np.testing.assert_array_equal(regions, [[0, 1, 2], [-1, -1, -1]])
    # The best triple scores 3. The next best with another first, second or third region are (1, 1, 2),
    # (0, 0, 2) or (0, 2, 2), and (0, 1, 1): all score 2, less what the repeated region costs.
    np.testing.assert_allclose(doubts[0], np.exp(2 - PLAIN.repeat - 3))


def test_stability_comes_out_as_wanted():
    mask = np.zeros((100, 100), bool)
    mask[20:80, 20:80] = True
    assert signed_distance(mask)[50, 20] == pytest.approx(0.5)
    assert signed_distance(mask)[50, 15] == pytest.approx(-4.5, abs=0.01)
    for wanted in (0.6, 0.8):
        logits = sloped(signed_distance(mask), wanted)
        (stability,), _ = measure(logits[None], 1.0)
        assert stability == pytest.approx(wanted, abs=0.05)
        np.testing.assert_array_equal(logits > 0, mask)


def test_rings_go_by_the_names_that_rows_have(tmp_path: Path):
    """Labels are called `view_00`, rows and views `view_00.png`."""
    root = write_capture(tmp_path)
    (root / "labels" / "view_03.json").write_bytes((root / "labels" / "view_00.json").read_bytes())
    capture, labels = load_capture(root, test_every=0), load_labels(root / "labels")
    made = SimpleNamespace(labels=labels, photos=capture, gaussians=make_scene(12).gaussians)
    rings = Experiment.rings.func(made)  # type: ignore[arg-type]
    assert set(rings) == {match_view(frame, capture).name for frame in labels}
    assert not set(rings) & {frame.frame for frame in labels}


def test_granularity_breaks_between_rings_of_pantry(captures: Path):
    """Means of 20 seeds: levels are a piece of a banana, most of it, and more; from far all are larger."""
    truth = Truth.load(captures / "pantry")
    relative = {}
    for stem in ("train_003", "train_060"):
        ids = truth.ids(stem, 640, 480)
        rows, columns = np.nonzero(truth.whole_of[ids] == 0)
        assert truth.things[0].name == "banana"
        middle, length = 0.4 * columns.mean(), 0.4 * np.ptp(columns)
        halves = (np.arange(256) > middle).astype(np.int64) + np.zeros((192, 1), np.int64)
        sixths = (6 * np.abs(np.arange(256) - middle) / length).astype(np.int64) + 0 * halves
        patches = np.stack([halves, sixths])  # of the banana; there is no depth to find others by
        picked = np.linspace(0, len(rows) - 1, 12).astype(int)
        points = np.stack([columns, rows], axis=1)[picked].astype(np.float32) + 0.5
        ratios = []
        for seed in range(20):
            segmenter = ControlledSegmenter(truth, ids, patches, stem, seed)
            found = segmenter.predict(segmenter.encode(np.zeros((480, 640, 3), np.uint8)), points)
            area = (found.logits > 0).sum(axis=(1, 2)) * 6.25 / len(rows)
            ratios.append([np.log(area[found.levels == level]).mean() for level in range(3)])
        relative[stem] = np.exp(np.mean(ratios, axis=0))
    near, far = relative["train_003"], relative["train_060"]
    assert near[0] < 0.6
    assert (far > 1.15 * near).all()
    assert far[2] > 2 * near[2]


# --- results ---


def _outcome(name: str, ious: np.ndarray) -> Outcome:
    """A method with an IoU for every seed and pair; a hit is an IoU above a half. [S, P]"""
    evaluations = []
    for seed in ious:
        rows = [
            {"frame": f"view_{pair}", "category": "mug", "iou": iou, "hit": bool(iou > 0.5)}
            for pair, iou in enumerate(seed)
        ]
        evaluations.append({"rows": rows[::-1], "overall": {}})
    return Outcome(all_methods()[name], tuple(evaluations), (0.0,) * len(ious))


def test_methods_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    ious = rng.random((2, 50))
    better, alike = _outcome("gags", ious + 0.03), _outcome("average", ious)
    noise = 0.2 * rng.standard_normal((2, 50))
    uniform, other = _outcome("uniform-gags", ious + noise), _outcome("uniform-average", ious)
    compared = contrasts([better, alike, uniform, other])
    assert [contrast.title for contrast in compared] == [
        "prompts: gags less uniform-gags",
        "prompts: average less uniform-average",
        "levels: gags less average",
        "levels: uniform-gags less uniform-average",
    ]
    constant = compared[2].effect("mIoU")
    np.testing.assert_allclose([constant.mean, constant.low, constant.high], 0.03)
    nil = compared[1].effect("mIoU")
    assert (nil.mean, nil.low, nil.high, nil.shown) == (0, 0, 0, False)
    hits = compared[2].effect("mAcc")
    assert hits.mean == pytest.approx((ious + 0.03 > 0.5).mean() - (ious > 0.5).mean())
    chance = compared[3].effect("mIoU", draws=4000)
    assert chance.mean == pytest.approx(noise.mean())
    # Variance of a mean over drawn pairs and worlds, drawn one by one.
    again = np.random.default_rng(5)
    means = [
        noise[np.ix_(again.integers(2, size=2), again.integers(50, size=50))].mean() for _ in range(4000)
    ]
    np.testing.assert_allclose([chance.low, chance.high], np.percentile(means, [2.5, 97.5]), atol=0.008)
    printed = effects_table(compared).splitlines()
    assert printed[2].startswith("| prompts: gags less uniform-gags |")
    assert "+3.0 (+3.0 to +3.0) |" in printed[4]
    assert printed[3].count("not shown") == 2


def test_effects_of_a_ring_are_those_of_its_frames():
    ious = np.linspace(0.1, 0.4, 12)[None]
    gain = np.where(np.arange(12) < 4, 0.2, 0.0)
    rings = {f"view_{pair}": ("near", "far")[pair >= 4] for pair in range(12)}
    (contrast,) = contrasts([_outcome("gags", ious + gain), _outcome("average", ious)])
    ringed = by_ring(rings)
    assert list(ringed) == ["all", "near", "far"]
    means = {ring: contrast.effect("mIoU", frames).mean for ring, frames in ringed.items()}
    assert means == pytest.approx({"all": 0.2 * 4 / 12, "near": 0.2, "far": 0.0})
    printed = effects_table([contrast], rings).splitlines()[2:]
    assert [line.split(" | ")[1] for line in printed] == ["all", "near", "far"]
    assert "+20.0 (+20.0 to +20.0) |" in printed[1]
    assert list(by_ring({})) == ["all"]
