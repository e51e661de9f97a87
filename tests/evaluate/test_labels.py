"""Reading LERF-OVS labels: hand-made files and the real ones."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from gags.errors import LabelError
from gags.evaluate.labels import load_labels
from gags.evaluate.metrics import iou


def square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def write(folder: Path, name: str, objects: list[dict]) -> None:
    info = {"name": f"{name}.jpg", "width": 100, "height": 60}
    (folder / f"{name}.json").write_text(json.dumps({"info": info, "objects": objects}))


def test_polygons_of_one_category_are_united(tmp_path):
    things = [
        {"category": "cup", "segmentation": square(10, 10, 9), "bbox": [10, 10, 19, 19]},
        {"category": "plate", "segmentation": square(50, 30, 4), "bbox": [50, 30, 54, 34]},
        {"category": "cup", "segmentation": square(70, 10, 4), "bbox": [70, 10, 74, 14]},
    ]
    write(tmp_path, "a", things)
    (frame,) = load_labels(tmp_path)
    assert (frame.frame, [label.category for label in frame.labels]) == ("a", ["cup", "plate"])
    cup = frame.labels[0]
    mask = frame.mask(cup, 100, 60)
    assert mask.shape == (60, 100)
    assert mask.sum() == 10 * 10 + 5 * 5
    assert mask[10, 10]
    assert mask[14, 74]
    np.testing.assert_array_equal(frame.boxes(cup, 100, 60), [[10, 10, 19, 19], [70, 10, 74, 14]])
    np.testing.assert_array_equal(frame.boxes(cup, 200, 120)[0], [20, 20, 38, 38])
    assert frame.mask(cup, 200, 120).sum() == pytest.approx(19 * 19 + 9 * 9, abs=40)


def test_corners_of_a_box_may_come_in_any_order(tmp_path):
    write(tmp_path, "a", [{"category": "cup", "segmentation": square(10, 10, 9), "bbox": [19, 10, 10, 19]}])
    (frame,) = load_labels(tmp_path)
    np.testing.assert_array_equal(frame.labels[0].boxes, [[10, 10, 19, 19]])


def test_boxes_follow_from_polygons_where_they_are_missing(tmp_path):
    write(tmp_path, "a", [{"category": "cup", "segmentation": [square(10, 10, 9), square(40, 20, 5)]}])
    (frame,) = load_labels(tmp_path)
    np.testing.assert_array_equal(frame.labels[0].boxes, [[10, 10, 45, 25]])
    assert frame.mask(frame.labels[0], 100, 60).sum() == 100 + 36


def test_exact_masks_win_over_polygons(tmp_path):
    write(
        tmp_path, "a", [{"category": "red cup", "segmentation": square(10, 10, 9), "bbox": [10, 10, 19, 19]}]
    )
    (tmp_path / "a").mkdir()
    exact = np.zeros((60, 100), np.uint8)
    exact[3:5, 7:9] = 255
    cv2.imwrite(str(tmp_path / "a" / "red cup.png"), exact)
    (frame,) = load_labels(tmp_path)
    np.testing.assert_array_equal(frame.mask(frame.labels[0], 100, 60), exact > 0)
    cv2.imwrite(str(tmp_path / "a" / "red cup.png"), exact[:, :60])
    with pytest.raises(LabelError, match=r"red cup\.png is 60x60, but .*a\.json labels a picture of 100x60"):
        frame.mask(frame.labels[0], 100, 60)
    (tmp_path / "a" / "red cup.png").write_bytes(b"no picture")
    with pytest.raises(LabelError, match=r"red cup\.png cannot be read"):
        frame.mask(frame.labels[0], 100, 60)


def test_another_shape_of_picture_is_an_error(tmp_path):
    write(tmp_path, "a", [{"category": "cup", "segmentation": square(1, 1, 9), "bbox": [1, 1, 10, 10]}])
    (frame,) = load_labels(tmp_path)
    with pytest.raises(LabelError, match=r"labels a picture of 100x60, the view has 100x100"):
        frame.mask(frame.labels[0], 100, 100)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"info": {"width": 1, "height": 1}}',
        '{"info": {"width": 1, "height": 1}, "objects": [{"category": "cup"}]}',
        '{"info": {"width": 1, "height": 1}, "objects": [{"category": "cup", "segmentation": [1, 2]}]}',
        '{"info": {"width": 1, "height": 1}, "objects": [{"category": "cup", "segmentation": []}]}',
        '{"info": {"width": 1, "height": 1}, "objects": [{"category": "cup", "segmentation": [[]]}]}',
        '{"info": {"width": 1, "height": 1}, "objects": [{"category": "cup", "segmentation": [[0, NaN]]}]}',
        '{"info": {"width": 1, "height": 1}, "objects": [{"category": " ", "segmentation": [[0, 0]]}]}',
        '{"info": {"width": 1, "height": 1}, "objects": '
        '[{"category": "cup", "segmentation": [[0, 0]], "bbox": [1, 2, 3]}]}',
        '{"info": {"width": 0, "height": 1}, "objects": []}',
        '{"info": {"width": Infinity, "height": 1}, "objects": []}',
    ],
)
def test_files_that_are_no_labels_are_named(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(LabelError, match=r"bad\.json is not a LERF-OVS label file"):
        load_labels(tmp_path)


def test_a_folder_without_labels_is_an_error(tmp_path):
    with pytest.raises(LabelError, match="holds no label files"):
        load_labels(tmp_path)


def test_real_labels_agree_with_their_exact_masks(captures):
    frames = load_labels(captures / "desk_labels")
    assert [frame.frame for frame in frames] == [f"frame_00{n}" for n in ("03", "14", "25", "39", "55")]
    for frame in frames[:2]:
        assert len(frame.labels) == 17
        (router,) = [label for label in frame.labels if label.category == "wifi router"]
        assert len(router.boxes) == len(router.polygons) == {"frame_0003": 2, "frame_0014": 3}[frame.frame]
        for label in frame.labels:
            exact = frame.mask(label, 962, 539)
            assert label.exact is not None
            label.exact = None
            assert iou(frame.mask(label, 962, 539), exact) > 0.95
