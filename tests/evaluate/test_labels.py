"""Reading LERF-OVS labels, hand-made files and real ones; and labels find their views by name, or say so."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_datasets import write_mip360_ovs

from gags.capture import Camera, Capture, View, load_capture, read_saved_capture, save_capture
from gags.errors import LabelError
from gags.evaluate.labels import (
    FrameLabels,
    Label,
    held_out_frames,
    load_labels,
    match_frames,
    match_view,
    with_photos,
)
from gags.evaluate.metrics import iou

CAMERA = Camera(np.eye(4), np.eye(3), 8, 6)


def capture(*names: str, held_out: tuple[str, ...] = ()) -> Capture:
    views = [View(name, Path(name), CAMERA, "test" if name in held_out else "train") for name in names]
    return Capture(Path("photos"), views)


def frame(name: str, *categories: str) -> FrameLabels:
    labels = [Label(category, [np.zeros((3, 2))], np.zeros((1, 4))) for category in categories]
    return FrameLabels(name, 8, 6, labels, Path(f"labels/{name}.json"))


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


def test_background_of_isat_is_a_hole_in_what_lies_below(tmp_path):
    """Worked by hand: a ring, a hole under a cup that stays whole, and a hole that nothing lies below."""

    def thing(category, layer, x, y, side):
        return {"category": category, "layer": layer, "segmentation": square(x, y, side)}

    things = [
        thing("__background__", 2.0, 14, 14, 9),  # 10×10 in the ring
        thing("cup", 3.0, 16, 16, 3),  # above the hole
        thing("ring", 1.0, 10, 10, 19),  # 20×20
        thing("cup", 1.0, 20, 20, 1),  # inside the hole, below it
        thing("__background__", 0.0, 10, 10, 4),  # below everything
    ]
    write(tmp_path, "a", things)
    (frame,) = load_labels(tmp_path)
    assert [label.category for label in frame.labels] == ["ring", "cup"]
    ring, cup = frame.labels
    expected = np.zeros((60, 100), bool)
    expected[10:30, 10:30] = True
    expected[14:24, 14:24] = False
    np.testing.assert_array_equal(frame.mask(ring, 100, 60), expected)
    assert frame.mask(ring, 100, 60).sum() == 300
    assert frame.mask(cup, 100, 60).sum() == 16
    assert [mask.sum() for mask in frame.outlined(cup, 100, 60)] == [0, 16]
    np.testing.assert_array_equal(frame.outlined(ring, 100, 60)[0], expected)
    np.testing.assert_array_equal(frame.boxes(ring, 100, 60), [[10, 10, 29, 29]])


def test_without_layers_the_order_of_the_file_counts(tmp_path):
    things = [
        {"category": "ring", "segmentation": square(10, 10, 19)},
        {"category": "__background__", "segmentation": square(14, 14, 9)},
        {"category": "ring", "segmentation": square(15, 15, 1)},
    ]
    write(tmp_path, "a", things)
    (frame,) = load_labels(tmp_path)
    assert frame.mask(frame.labels[0], 100, 60).sum() == 400 - 100 + 4


@pytest.mark.parametrize("outline", [[], [[]]])
def test_objects_without_an_outline_are_left_out(tmp_path, outline):
    write(tmp_path, "a", [{"category": "cup", "segmentation": square(1, 1, 9)}])
    write(tmp_path, "b", [{"category": "cup", "segmentation": square(1, 1, 9)}])
    write(tmp_path, "c", [{"category": "jar", "segmentation": outline, "bbox": [0, 0, 1, 1]}])
    heard = Heard()
    frames = load_labels(tmp_path, heard)
    assert [len(frame.labels) for frame in frames] == [1, 1, 0]
    assert heard.warned == [f"{tmp_path}: 1 objects have no outline (c.json: jar); left out"]
    write(tmp_path, "a", [{"category": "cup", "segmentation": outline}])
    with pytest.raises(
        LabelError, match=r"2 objects have no outline \(a\.json: cup, c\.json: jar\), as most"
    ):
        load_labels(tmp_path)


def test_hidden_files_marks_and_utf_16(tmp_path):
    write(tmp_path, "a", [{"category": "Küche", "segmentation": square(1, 1, 9)}])
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "b.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "c.json").write_text(text, encoding="utf-16")
    (tmp_path / "._a.json").write_bytes(b"\0\5\26\7")
    assert [frame.labels[0].category for frame in load_labels(tmp_path)] == ["Küche"] * 3


def test_corners_far_outside_take_no_time(tmp_path):
    huge = [[-1e300, -1e300], [50, -1e300], [50, 1e300], [-1e300, 1e300]]
    write(tmp_path, "a", [{"category": "cup", "segmentation": huge}])
    (frame,) = load_labels(tmp_path)
    mask = frame.mask(frame.labels[0], 100, 60)
    assert mask[:, :50].all()
    assert not mask[:, 51:].any()


@pytest.mark.parametrize("name", ["IMG_1", "img_1.jpg", "Img_1"])
def test_a_label_file_may_differ_in_case_or_keep_the_suffix(name):
    assert (
        match_view(frame(name, "cup"), capture("left/IMG_1.JPG", "left/IMG_2.JPG")).name == "left/IMG_1.JPG"
    )


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


def test_names_count_not_positions():
    found = match_frames([frame("b", "cup"), frame("a", "cup")], capture("left/a.jpg", "b.png", "c.jpg"))
    assert [(labels.frame, view.name) for labels, view in found] == [("b", "b.png"), ("a", "left/a.jpg")]


def test_a_name_that_no_photo_has_is_an_error():
    with pytest.raises(
        LabelError,
        match=r"labels/d\.json labels 'd', but no photo .*\(a\.jpg, b\.jpg\).*--labels-by position",
    ):
        match_view(frame("d", "cup"), capture("a.jpg", "b.jpg"))


def test_by_position_numbers_count_all_photos_by_name_from_one():
    photos = capture("c/DSCF9.JPG", "a.jpg", "c/DSCF10.JPG", "b.png", held_out=("a.jpg",))
    assert [view.name for view in photos] == ["a.jpg", "b.png", "c/DSCF10.JPG", "c/DSCF9.JPG"]
    labels = [frame("frame_00004", "cup"), frame("frame_00001", "cup"), frame("3", "cup")]
    found = match_frames(labels, photos, "position")
    assert [(labels.frame, view.name) for labels, view in found] == [
        ("frame_00004", "c/DSCF9.JPG"),
        ("frame_00001", "a.jpg"),
        ("3", "c/DSCF10.JPG"),
    ]
    placed = with_photos(labels, photos, "position")
    assert [each.photo for each in placed] == [view.name for _, view in found]
    assert [each.labels for each in placed] == [each.labels for each in labels]
    again = match_frames(placed, photos)  # they know their photos now
    assert [view.name for _, view in again] == [view.name for _, view in found]
    assert with_photos(labels, photos, "name") == labels


def without_b(folder: Path) -> Capture:
    """Of four photos in a folder, all but the second."""
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        (folder / name).touch()
    (folder / "notes.txt").touch()
    posed = capture("a.jpg", "c.jpg", "d.jpg")
    return Capture(folder.parent, [replace(view, path=folder / view.name) for view in posed])


@pytest.mark.parametrize(
    ("labels_by", "names"),
    [("name", ("a", "b", "d")), ("name", ("a", "B.JPG", "d")), ("position", ("1", "2", "4"))],
)
def test_labels_of_photos_that_the_capture_leaves_out_are_left_out(tmp_path, labels_by, names):
    """As masks do that ignore all of a photo; a name that no photo has is still an error."""
    photos, heard = without_b(tmp_path / "images"), Heard()
    labels = [frame(name, "cup") for name in names]
    found = match_frames(labels, photos, labels_by, heard)
    assert [view.name for _, view in found] == ["a.jpg", "d.jpg"]
    (warning,) = heard.warned
    assert "1 of 3 labelled photos are left out of the capture" in warning
    assert "(b.jpg)" in warning
    with pytest.raises(LabelError, match=r"1 of 1 labelled photos are left out .*\(b\.jpg\).*label others"):
        match_frames(labels[1:2], photos, labels_by)
    with pytest.raises(LabelError, match=r"no photo of that name is in the capture|count from 1 to 4"):
        match_frames([*labels, frame("e_9", "cup")], photos, labels_by)


def test_photos_without_a_pose_count_by_position(tmp_path):
    """COLMAP left out the second of four photos: the numbers of the others stay as they are."""
    photos = without_b(tmp_path / "images")
    found = match_frames([frame("frame_00003", "cup"), frame("frame_00004", "cup")], photos, "position")
    assert [view.name for _, view in found] == ["c.jpg", "d.jpg"]
    with pytest.raises(LabelError, match="count from 1 to 4"):
        with_photos([frame("frame_00005", "cup")], photos, "position")


def test_posed_photos_that_are_not_there_count_by_position(tmp_path):
    """As of a data set that was not downloaded as a whole: labels must not slip to the next photo."""
    write_mip360_ovs(tmp_path, ("room",))
    folder = tmp_path / "room"
    whole = load_capture(folder)
    names = [view.name for view in whole]
    for name in (names[1], names[4]):
        (folder / "images_2" / name).unlink()
    some = load_capture(folder, images="images_2")
    assert len(some) == len(whole) - 2
    save_capture(some, tmp_path / "capture.json")
    labels = [frame("frame_00001", "cup"), frame("frame_00004", "cup"), frame("frame_00008", "cup")]
    for photos in (whole, some, read_saved_capture(tmp_path / "capture.json")):
        placed = with_photos(labels, photos, "position")
        assert [each.photo for each in placed] == [names[0], names[3], names[7]]
    with pytest.raises(LabelError, match=rf"labels photo 5 by position, {names[4]}, which is not there in"):
        with_photos([frame("frame_00005", "cup")], some, "position")
    (folder / "sparse").rename(tmp_path / "sparse")  # the scene can still be asked; nobody knows the rest
    placed = with_photos(labels[:2], some, "position")
    assert [each.photo for each in placed] == [names[0], names[5]]


def test_copies_of_another_suffix_and_case_count_once_by_position(tmp_path):
    """As images_2 that was made anew as PNG: a photo is called as its pose, and so are its labels."""
    write_mip360_ovs(tmp_path, ("room",))
    folder = tmp_path / "room"
    names = [view.name for view in load_capture(folder)]
    for photo in (folder / "images_2").iterdir():
        cv2.imwrite(str(photo.with_name(photo.stem.lower() + ".png")), cv2.imread(str(photo)))
        photo.unlink()
    (folder / "images_2" / names[1].lower()).with_suffix(".png").unlink()
    copies = load_capture(folder, images="images_2")
    assert len(copies) == len(names) - 1
    labels = [frame(f"frame_{place:05d}", "cup") for place in (1, 3, len(names))]
    assert [each.photo for each in with_photos(labels, copies, "position")] == [names[0], names[2], names[-1]]
    with pytest.raises(LabelError, match=f"photo 2 by position, {names[1]}, which is not there"):
        with_photos([frame("frame_00002", "cup")], copies, "position")
    with pytest.raises(LabelError, match=f"count from 1 to {len(names)}"):
        with_photos([frame(f"frame_{len(names) + 1:05d}", "cup")], copies, "position")


def test_a_photo_of_the_same_name_is_not_taken_by_position():
    photos = capture("frame_00001.jpg", "frame_00002.jpg", "frame_00005.jpg")
    ((_, by_name),) = match_frames([frame("frame_00002", "cup")], photos)
    ((_, by_position),) = match_frames([frame("frame_00003", "cup")], photos, "position")
    assert (by_name.name, by_position.name) == ("frame_00002.jpg", "frame_00005.jpg")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["frame_00000"], r"frame_00000\.json labels photo 0 by position, but .* count from 1 to 2;"),
        (["frame_00003"], r"frame_00003\.json labels photo 3 by position, but .*photos count from 1 to 2;"),
        (["frame_00001b"], r"frame_00001b\.json has no number at the end of its name"),
        (["desk"], r"desk\.json has no number at the end of its name, .*--labels-by name"),
        (["frame_2", "frame_00002"], r"frame_2\.json and .*frame_00002\.json both label photo 2"),
    ],
)
def test_numbers_that_mean_no_photo_are_errors(names, message):
    with pytest.raises(LabelError, match=message):
        match_frames([frame(name, "cup") for name in names], capture("a.jpg", "b.jpg"), "position")


def test_labels_are_matched_in_two_ways_alone():
    with pytest.raises(LabelError, match="by name or by position, not by 'number'"):
        with_photos([frame("a", "cup")], capture("a.jpg"), "number")  # pyright: ignore[reportArgumentType]


def test_a_name_in_two_folders_is_an_error():
    with pytest.raises(LabelError, match=r"2 photos of that name .*\(left/a\.jpg, right/a\.jpg\)"):
        match_view(frame("a", "cup"), capture("left/a.jpg", "right/a.jpg"))


def test_a_picture_of_other_proportions_is_an_error_before_any_is_scored():
    taller = FrameLabels("b", 8, 12, [Label("cup", [], np.zeros((1, 4)))], Path("labels/b.json"))
    with pytest.raises(LabelError, match=r"labels/b\.json labels a picture of 8x12, the view has 8x6"):
        match_frames([frame("a", "cup"), taller], capture("a.jpg", "b.jpg"))


def test_frames_without_labels_are_allowed_but_not_alone():
    photos = capture("a.jpg", "b.jpg")
    assert len(match_frames([frame("a"), frame("b", "cup")], photos)) == 2
    with pytest.raises(LabelError, match=r"nothing is labelled \(labels/a\.json\)"):
        match_frames([frame("a")], photos)
    with pytest.raises(LabelError, match="nothing is labelled"):
        match_frames([], photos)


def test_held_out_frames_are_those_not_trained_on():
    photos = capture("a.jpg", "b.jpg", "c.jpg", held_out=("b.jpg",))
    pairs = match_frames([frame("a", "cup"), frame("b", "cup")], photos)
    assert [view.name for _, view in held_out_frames(pairs, photos)] == ["b.jpg"]
    for others in (pairs[:1], match_frames([frame("a", "cup"), frame("b")], photos)):
        with pytest.raises(LabelError, match=r"no labelled photo was held out: .*held out are b\.jpg"):
            held_out_frames(others, photos)
    with pytest.raises(LabelError, match="held out are none"):
        held_out_frames(match_frames([frame("a", "cup")], capture("a.jpg")), capture("a.jpg"))
