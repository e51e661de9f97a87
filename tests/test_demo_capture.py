"""The bundled demo capture is complete, agrees with itself, and may be given away."""

import json
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest

from gags.capture import Capture, load_capture

DEMO = Path(str(files("gags") / "data" / "demo"))
TEST_PHOTOS = [f"test_{i:03d}.jpg" for i in range(6)]
TRAIN_PHOTOS = [f"train_{i:03d}.jpg" for i in range(40)]
LICENCES = ("CC BY 3.0", "CC BY 3.0 US", "CC0 1.0")


def categories() -> list[str]:
    return [query["category"] for query in json.loads((DEMO / "queries.json").read_text())["queries"]]


def label_files() -> list[Path]:
    return sorted((DEMO / "labels").glob("*.json"))


@pytest.fixture(scope="module")
def capture() -> Capture:
    return load_capture(DEMO)


def test_all_files_are_there_and_small():
    assert sorted(p.name for p in (DEMO / "images").iterdir()) == TEST_PHOTOS + TRAIN_PHOTOS
    assert (DEMO / "test.txt").read_text().split() == TEST_PHOTOS
    assert sorted(p.name for p in (DEMO / "sparse/0").iterdir()) == [
        "cameras.bin",
        "images.bin",
        "points3D.bin",
    ]
    assert [p.stem for p in label_files()] == [Path(name).stem for name in TEST_PHOTOS]
    for document in ("README.md", "LICENSE", "ATTRIBUTION.md"):
        assert (DEMO / document).stat().st_size > 300
    assert sum(p.stat().st_size for p in DEMO.rglob("*") if p.is_file()) < 8_000_000


def test_loads_with_its_split(capture: Capture):
    assert len(capture.train) == 40
    assert sorted(view.name for view in capture.test) == TEST_PHOTOS
    assert 5_000 <= len(capture.points) <= 20_000
    for view in capture.views:
        assert view.image().shape == (480, 640, 3)
        assert (view.camera.width, view.camera.height) == (640, 480)


def test_cameras_stand_in_the_room_and_look_at_the_table(capture: Capture):
    distances = []
    for view in capture.views:
        viewmat = np.asarray(view.camera.viewmat, dtype=np.float64)
        center = -viewmat[:3, :3].T @ viewmat[:3, 3]
        assert np.allclose(viewmat[:3, :3] @ viewmat[:3, :3].T, np.eye(3), atol=1e-6)
        assert 0.1 < center[2] < 1.5
        assert center[1] < 0.75
        forward = viewmat[2, :3]
        reach = -center[2] / forward[2]
        on_table = center + reach * forward
        assert np.abs(on_table[0]) < 0.85
        assert -0.6 < on_table[1] < 0.75
        distances.append(np.linalg.norm(center))
    assert max(distances) / min(distances) > 2


def test_observations_reproject_onto_their_points():
    model = pycolmap.Reconstruction(str(DEMO / "sparse/0"))
    assert len(model.images) == 46
    errors, lengths = [], []
    for point in model.points3D.values():
        lengths.append(point.track.length())
        for element in point.track.elements:
            image = model.images[element.image_id]
            assert image.name in TRAIN_PHOTOS
            seen = image.points2D[element.point2D_idx].xy
            errors.append(np.linalg.norm(image.project_point(point.xyz) - seen))
    assert set(lengths) <= {2, 3, 4, 5}
    assert np.median(errors) < 0.5
    assert max(errors) < 2.0


def test_points_have_the_colour_of_the_photos():
    """Colours at the observations agree with the point's within noise and shading; shuffled points do not."""
    model = pycolmap.Reconstruction(str(DEMO / "sparse/0"))
    photos = {name: cv2.imread(str(DEMO / "images" / name))[..., ::-1].astype(float) for name in TRAIN_PHOTOS}
    seen, own = [], []
    for point in model.points3D.values():
        colors = []
        for element in point.track.elements:
            image = model.images[element.image_id]
            x, y = image.project_point(point.xyz)
            colors.append(photos[image.name][int(y), int(x)])
        seen.append(np.mean(colors, axis=0))
        own.append(point.color)
    difference = np.abs(np.array(seen) - np.array(own)).mean(axis=1)
    shuffled = np.abs(np.array(seen) - np.random.default_rng(0).permutation(np.array(own))).mean(axis=1)
    assert np.median(difference) < 2
    assert np.percentile(difference, 90) < 12
    assert np.median(shuffled) > 25


def test_every_category_is_asked_for_and_labelled_more_than_once():
    labelled: dict[str, int] = {}
    for path in label_files():
        for category in {thing["category"] for thing in json.loads(path.read_text())["objects"]}:
            labelled[category] = labelled.get(category, 0) + 1
    queries = json.loads((DEMO / "queries.json").read_text())["queries"]
    assert {query["category"]: query["test_views"] for query in queries} == labelled
    assert len(queries) >= 10
    assert min(labelled.values()) >= 3
    texts = [text for query in queries for text in (query["category"], *query["paraphrases"])]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("path", label_files(), ids=lambda path: path.stem)
def test_outlines_agree_with_masks(path: Path):
    label = json.loads(path.read_text())
    assert label["info"] == {"name": f"{path.stem}.jpg", "width": 640, "height": 480}
    outlined: dict[str, np.ndarray] = {}
    for thing in label["objects"]:
        polygon = np.asarray(thing["segmentation"], dtype=np.int32)
        assert thing["bbox"] == [*polygon.min(axis=0), *polygon.max(axis=0)]
        filled = cv2.fillPoly(np.zeros((480, 640), np.uint8), [polygon], 1)
        outlined[thing["category"]] = outlined.get(thing["category"], 0) | filled
    masks = {
        p.stem: cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) > 0 for p in (DEMO / "labels" / path.stem).iterdir()
    }
    assert set(masks) == set(outlined) <= set(categories())
    for category, mask in masks.items():
        filled = outlined[category].astype(bool)
        assert mask.sum() >= 200
        assert (mask & filled).sum() / (mask | filled).sum() >= 0.97, category
    assert sum(mask.astype(int) for mask in masks.values()).max() == 1


def test_attribution_names_every_model():
    text = (DEMO / "ATTRIBUTION.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in text.splitlines()
        if "sh3f" in line
    ]
    assert sorted(row[0] for row in rows) == sorted(categories())
    for _, model, author, licence, source in rows:
        assert model
        assert author
        assert source
        assert licence in LICENCES
    for licence in {row[3] for row in rows}:
        assert f"* {licence}: <https://creativecommons.org/" in text
