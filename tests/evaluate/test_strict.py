"""`lerf-ovs-strict` against its rules written out pixel by pixel; and methods with rules of their own."""

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.helpers.blobs import WORDS, ToyEncoder, make_scene

from gags.capture import Camera, Capture, View
from gags.distill.train import DistillSettings, train_field
from gags.evaluate.answerer import FieldAnswerer
from gags.evaluate.labels import FrameLabels, Label
from gags.evaluate.metrics import Row
from gags.evaluate.protocols import PROTOCOLS, judge
from gags.evaluate.score import evaluate
from gags.query.maps import ValueMaps
from gags.query.relevancy import Queries

STRICT = PROTOCOLS["lerf-ovs-strict"]


def mirrored(place: int, size: int) -> int:
    """Row or column that stands at a place beyond the border; the border itself is not repeated."""
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


def box_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the 30×30 px from 15 before to 14 after each pixel."""
    height, width = values.shape
    result = np.zeros((height, width))
    for i in range(height):
        rows = [mirrored(i + step, height) for step in range(-15, 15)]
        for j in range(width):
            columns = [mirrored(j + step, width) for step in range(-15, 15)]
            result[i, j] = values[np.ix_(rows, columns)].astype(np.float64).sum() / 900
    return result


def vote(mask: np.ndarray) -> np.ndarray:
    """Majority in windows that end before the last row and column; with a tie a pixel is out."""
    height, width = mask.shape
    result = np.zeros_like(mask)
    for i in range(height):
        for j in range(width):
            window = mask[max(0, i - 3) : min(i + 4, height - 1), max(0, j - 3) : min(j + 4, width - 1)]
            inside = sum(1 for value in window.ravel() if value)
            result[i, j] = inside > window.size - inside
    return result


def slow_strict(levels: list[np.ndarray]) -> tuple[tuple[int, int], np.ndarray, int, int]:
    """Peak (x, y), mask, level of the mask, level of the peak: from the maps of all levels of one text."""
    means = [box_mean(level) for level in levels]
    blended = [(level + mean) / 2 for level, mean in zip(levels, means, strict=True)]
    of_peak = max(range(len(levels)), key=lambda k: means[k].max())
    of_mask = max(range(len(levels)), key=lambda k: blended[k].max())
    row, column = np.unravel_index(means[of_peak].argmax(), means[of_peak].shape)
    above = blended[of_mask] - blended[of_mask].min()
    stretched = np.clip(2 * above / (above.max() + 1e-9) - 1, 0, 1)
    return (int(column), int(row)), vote(stretched > 0.4), of_mask, of_peak


def filled(polygons: list[list[list[float]]], height: int, width: int) -> np.ndarray:
    """Union of polygons whose corners lose what follows the point."""
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = [[int(x), int(y)] for x, y in polygon]
        cv2.fillPoly(canvas, [np.array(corners, np.int32)], 1)
    return canvas > 0


def hills(height: int, width: int, seed: int) -> np.ndarray:
    """Random hills with noise. float32 [H, W]"""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    values = 0.05 * rng.random((height, width))
    for _ in range(3):
        cx, cy, tall = rng.random(3) * [width, height, 0.6]
        values += tall * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 60)
    return (0.2 + values).astype(np.float32)


class Fixed:
    """Answers with maps made by hand, and notes the sizes it was asked at."""

    def __init__(self, maps: ValueMaps) -> None:
        self.maps, self.sizes = maps, []

    def prepare(self, texts, encoder) -> Queries:
        vectors = torch.from_numpy(encoder.encode_texts(texts))
        return Queries(tuple(texts), vectors, vectors[:1], encoder.temperature)

    def relevancy(self, camera, queries) -> ValueMaps:
        self.sizes.append((camera.width, camera.height))
        return self.maps


def labelled(polygons: dict[str, list[list[list[float]]]], width: int, height: int) -> FrameLabels:
    labels = []
    for text, corners in polygons.items():
        points = np.concatenate([np.array(each) for each in corners])
        box = np.concatenate([points.min(0), points.max(0)])[None]
        labels.append(Label(text, [np.array(each, np.float64) for each in corners], box))
    return FrameLabels("a", width, height, labels, Path("labels/a.json"))


def capture_of(width: int, height: int, K: np.ndarray | None = None) -> Capture:
    camera = Camera(np.eye(4), np.eye(3) if K is None else K, width, height)
    return Capture(Path("photos"), [View("a.jpg", Path("a.jpg"), camera)])


POLYGONS = {
    "one": [[[8.9, 5.9], [27.9, 7.2], [20.6, 26.9]], [[30.5, 30.5], [38.9, 30.1], [35.0, 38.9]]],
    "other": [[[0.9, 0.9], [12.7, 1.9], [12.2, 17.8], [1.6, 17.9]]],
}


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_those_of_the_rules_written_out(seed):
    height, width = 44, 57
    levels = np.stack([[hills(height, width, 100 * seed + 10 * k + t) for t in range(2)] for k in range(3)])
    known = np.random.default_rng(seed).random((height, width)) < 0.7
    method = Fixed(ValueMaps(torch.from_numpy(levels[1]), torch.from_numpy(known), torch.from_numpy(levels)))
    frame = labelled(POLYGONS, width, height)
    result = evaluate(method, capture_of(28, 22), [frame], ToyEncoder(), "lerf-ovs-strict")
    assert method.sizes == [(width, height)]  # of the label, not of the view
    for text, row in enumerate(result.rows):
        peak, mask, of_mask, of_peak = slow_strict(list(levels[:, text]))
        truth = filled(POLYGONS[row.category], height, width)
        assert row.peak == peak
        assert row.score == levels[of_peak, text, peak[1], peak[0]]
        assert row.mask_pixels == mask.sum() > 0
        assert row.truth_pixels == truth.sum() > 0
        assert row.common_pixels == (mask & truth).sum()
        assert row.iou == (mask & truth).sum() / (mask | truth).sum()
        best = levels[of_mask, text] >= row.best_threshold
        assert row.best_iou == (best & truth).sum() / (best | truth).sum()
        (x1, y1, x2, y2) = np.array(row.boxes)[0]
        assert row.hit == (x1 <= peak[0] <= x2 and y1 <= peak[1] <= y2)


def test_levels_of_mask_and_peak_may_differ():
    """A single bright pixel lifts r' by half of it, but the mean over 900 pixels hardly at all."""
    low, bright, broad = (np.full((40, 50), 0.1, np.float32) for _ in range(3))
    bright[20, 30] = 1.0
    broad[5:25, 5:25] = 0.5
    levels = torch.from_numpy(np.stack([low, bright, broad]))[:, None]
    maps = ValueMaps(levels[0], torch.ones(40, 50, dtype=torch.bool), levels)
    verdict = judge(STRICT, maps, 0)
    assert torch.equal(verdict.values, levels[1, 0])
    peak, mask, of_mask, of_peak = slow_strict([low, bright, broad])
    assert (of_mask, of_peak) == (1, 2)
    assert verdict.peak == peak
    np.testing.assert_array_equal(verdict.mask.numpy(), mask)
    chosen = judge(PROTOCOLS["lerf-ovs"], maps, 0)  # there the method's own choice counts
    assert torch.equal(chosen.values, levels[0, 0])


@pytest.fixture(scope="module")
def toy():
    scene = make_scene(views=3)
    field = train_field(scene.gaussians, scene.items(), DistillSettings(steps=40, batch_regions=64))
    return scene, FieldAnswerer(scene.gaussians, field)


def test_a_scene_of_photos_shrunk_to_half(toy):
    scene, answerer = toy
    camera = scene.cameras[1]
    width, height = camera.width, camera.height
    polygons = {}
    for number, word in enumerate(WORDS[:3]):
        ys, xs = np.nonzero(scene.ids[1] == number)
        x1, y1, x2, y2 = (float(v) for v in (xs.min(), ys.min(), xs.max(), ys.max()))
        polygons[word] = [[[x1 + 0.9, y1 + 0.6], [x2 + 0.7, y1 + 0.9], [x2 + 0.8, y2 + 0.9], [x1, y2 + 0.9]]]
    half = View("a.jpg", Path("a.jpg"), camera.resized(width // 2, height // 2))
    capture, frame = Capture(Path("photos"), [half]), labelled(polygons, width, height)
    strict = evaluate(answerer, capture, [frame], ToyEncoder(), "lerf-ovs-strict")
    full_size = answerer.relevancy(camera, answerer.prepare(list(polygons), ToyEncoder())).maps
    for row, values in zip(strict.rows, full_size, strict=True):
        peak, mask, _, _ = slow_strict([values])
        truth = filled(polygons[row.category], height, width)
        assert (row.peak, row.mask_pixels, row.truth_pixels) == (peak, mask.sum(), truth.sum())
        assert row.iou == (mask & truth).sum() / (mask | truth).sum()
        corners = np.array(polygons[row.category][0])
        assert row.boxes == ((*corners.min(0), *corners.max(0)),)
    small = evaluate(answerer, capture, [frame], ToyEncoder())
    for row, other in zip(small.rows, strict.rows, strict=True):
        assert 0.2 < row.truth_pixels / other.truth_pixels < 0.35  # a quarter of the pixels
    assert strict.overall.mean_iou > 0.3


def rows_by(name: str, maps: ValueMaps, frame: FrameLabels) -> tuple[Row, ...]:
    return evaluate(Fixed(maps), capture_of(frame.width, frame.height), [frame], ToyEncoder(), name).rows


def test_what_is_not_known_is_left_out_or_kept():
    height, width = 44, 57
    values = torch.from_numpy(np.stack([hills(height, width, seed) for seed in (5, 6)]))
    known = torch.from_numpy(np.random.default_rng(0).random((height, width)) < 0.6)
    known[:, 40:] = False
    frame = labelled(POLYGONS, width, height)
    given, zeroed = ValueMaps(values, known), ValueMaps(values * known, known)
    assert rows_by("lerf-ovs", given, frame) == rows_by("lerf-ovs", zeroed, frame)
    assert rows_by("lerf-ovs-strict", given, frame) != rows_by("lerf-ovs-strict", zeroed, frame)
    everywhere = dataclasses.replace(given, known=torch.ones_like(known))
    assert rows_by("lerf-ovs-strict", given, frame) == rows_by("lerf-ovs-strict", everywhere, frame)
    levelled = dataclasses.replace(given, levels=torch.stack([values, 2 * values, 3 * values]))
    assert rows_by("lerf-ovs", levelled, frame) == rows_by("lerf-ovs", given, frame)
    assert not (judge(PROTOCOLS["lerf-ovs"], given, 0).mask & ~known).any()


@pytest.mark.parametrize("name", ["lerf-ovs", "lerf-ovs-strict"])
def test_a_method_s_own_masks_and_peaks_count(name):
    height, width = 44, 57
    values = torch.from_numpy(np.stack([hills(height, width, seed) for seed in (5, 6)]))
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    masks[0, 4:20, 10:25] = True
    known = torch.ones(height, width, dtype=torch.bool)
    known[:10] = False
    peaks = torch.tensor([[17, 11], [-1, -1]])
    frame = labelled(POLYGONS, width, height)
    frame.labels[1].boxes[:] = [-5, -5, 12, 17]  # a box that reaches out of the picture
    levels = torch.stack([values, 2 * values, values])
    maps = ValueMaps(values, known, levels, masks=masks, peaks=peaks)
    one, other = rows_by(name, maps, frame)
    truth = filled(POLYGONS["one"], height, width) if name == STRICT.name else None
    assert (one.peak, one.mask_pixels, one.hit) == ((17, 11), 16 * 15, True)
    assert one.score == float(values[0, 11, 17])
    assert math.isnan(one.threshold)
    if truth is not None:
        assert one.common_pixels == (truth & masks[0].numpy()).sum()
    assert (other.peak, other.mask_pixels, other.hit, other.score, other.iou) == ((-1, -1), 0, False, 0, 0)
    ours = rows_by(name, ValueMaps(values, known, levels), frame)
    only_masks = rows_by(name, ValueMaps(values, known, levels, masks=masks), frame)
    assert [row.peak for row in only_masks] == [row.peak for row in ours]
    assert [row.mask_pixels for row in only_masks] == [240, 0]
    only_peaks = rows_by(name, ValueMaps(values, known, levels, peaks=peaks), frame)
    assert [row.peak for row in only_peaks] == [(17, 11), (-1, -1)]
    assert [row.mask_pixels for row in only_peaks] == [row.mask_pixels for row in ours]


def test_exact_masks_count_where_labels_have_them(tmp_path):
    exact = np.zeros((40, 60), np.uint8)
    exact[10:20, 5:25] = 255
    cv2.imwrite(str(tmp_path / "one.png"), exact)
    frame = labelled({"one": POLYGONS["one"]}, 60, 40)
    frame.labels[0].exact = tmp_path / "one.png"
    maps = ValueMaps(torch.from_numpy(hills(40, 60, 1))[None], torch.ones(40, 60, dtype=torch.bool))
    (row,) = evaluate(Fixed(maps), capture_of(30, 20), [frame], ToyEncoder(), "lerf-ovs-strict").rows
    assert row.truth_pixels == 200


def test_corners_are_truncated_or_rounded():
    frame = labelled({"cup": [[[2.6, 2.6], [6.9, 2.6], [6.9, 4.7], [2.6, 4.7]]]}, 10, 8)
    (cup,) = frame.labels
    for way, columns, rows in (("truncated", (2, 6), (2, 4)), ("rounded", (3, 7), (3, 5))):
        mask = frame.mask(cup, 10, 8, polygons=way)
        assert tuple(np.flatnonzero(mask.any(axis=0))[[0, -1]]) == columns
        assert tuple(np.flatnonzero(mask.any(axis=1))[[0, -1]]) == rows
    beyond = labelled({"cup": [[[-0.9, 0.5], [3.2, 0.5], [3.2, 3.9], [-0.9, 3.9]]]}, 10, 8)
    assert beyond.mask(beyond.labels[0], 10, 8, polygons="truncated").sum() == 4 * 4  # −0.9 becomes 0
