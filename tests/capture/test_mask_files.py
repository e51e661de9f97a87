"""Masks where programs put them, by whichever name; what they leave of a capture, and its record."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.heard import Heard
from tests.helpers.made_capture import SIZE, plain_photo, write_colmap, write_nerfstudio, write_photo

from gags.capture import Capture, load_capture, read_saved_capture, save_capture
from gags.capture.photos import photos_in
from gags.errors import CaptureError
from gags.poses.inputs import bare_photos

NAMES = ["a.jpg", "b.jpg", "in/c.jpg", "in/d.jpg"]
WIDTH, HEIGHT = SIZE


def ignoring(*, left: int = 0, right: int = WIDTH, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask that is black in some columns. uint8 [H, W]"""
    mask = np.full((size[1], size[0]), 255, np.uint8)
    mask[:, left:right] = 0
    return mask


def masked(capture: Capture) -> dict[str, int]:
    """How many columns are ignored, by name; all rows of them are."""
    counts = {}
    for view in capture:
        kept = view.kept()
        if kept is not None:
            assert kept.shape == (view.camera.height, view.camera.width)
            assert (kept == kept[:1]).all()
            counts[view.name] = int((~kept[0]).sum())
    return counts


@pytest.fixture
def colmap(tmp_path) -> Path:
    write_colmap(tmp_path, NAMES)
    return tmp_path


@pytest.mark.parametrize("masks", ["masks", "Mask", "images/masks"])
@pytest.mark.parametrize("behind", [False, True])
def test_masks_in_a_folder_of_their_own(colmap, masks, behind):
    for index, name in enumerate(NAMES[1:], 1):
        called = f"{name}.png" if behind else str(Path(name).with_suffix(".png"))
        write_photo(colmap / masks / called, ignoring(right=10 * index))
    heard = Heard()
    capture = load_capture(colmap, test_every=0, progress=heard)
    assert masked(capture) == {"b.jpg": 10, "in/c.jpg": 20, "in/d.jpg": 30}
    assert capture["a.jpg"].kept() is None
    assert heard.warned == []
    assert any("3 of 4 photos have pixels to ignore, 10 %" in line for line in heard.said)


def test_masks_are_found_as_photos_are(colmap):
    write_photo(colmap / "masks" / "A.BMP", ignoring(right=5))
    write_photo(colmap / "masks" / "in" / "masks" / "c.tif", ignoring(right=6))  # not beside its photo
    write_photo(colmap / "images" / "in" / "masks" / "d.png", ignoring(right=7))
    assert masked(load_capture(colmap, test_every=0)) == {"a.jpg": 5, "in/d.jpg": 7}


def test_a_mask_in_the_folder_of_other_photos_is_not_theirs(tmp_path):
    write_colmap(tmp_path, ["one/1.jpg", "two/1.jpg", "two/2.jpg"])
    write_photo(tmp_path / "masks" / "one" / "1.png", ignoring(right=5))
    write_photo(tmp_path / "masks" / "one" / "2.png", ignoring(right=6))  # of a photo that is not there
    assert masked(load_capture(tmp_path, test_every=0)) == {"one/1.jpg": 5}


def test_masks_of_smaller_copies(colmap):
    for name in NAMES:
        write_photo(colmap / "images_2" / name, plain_photo(0, (WIDTH // 2, HEIGHT // 2)))
    write_photo(colmap / "masks" / "a.png", ignoring(right=40))
    write_photo(colmap / "masks" / "b.png", ignoring(right=40))
    write_photo(colmap / "masks_2" / "a.png", ignoring(right=10, size=(WIDTH // 2, HEIGHT // 2)))
    capture = load_capture(colmap, images="images_2", test_every=0)
    assert masked(capture) == {"a.jpg": 10, "b.jpg": 20}
    assert masked(load_capture(colmap, test_every=0)) == {"a.jpg": 40, "b.jpg": 40}


def test_masks_that_transforms_json_names(tmp_path):
    transforms = write_nerfstudio(tmp_path, ["images/a.png", "images/b.png", "images/c.png"])
    for frame, mask in zip(
        transforms["frames"], ["keep/x.png", ".\\keep\\y.png", "keep/gone.png"], strict=True
    ):
        frame["mask_path"] = mask
    (tmp_path / "transforms.json").write_text(json.dumps(transforms))
    write_photo(tmp_path / "keep" / "x.png", ignoring(right=20))
    write_photo(tmp_path / "keep" / "y.png", ignoring(right=30))
    heard = Heard()
    capture = load_capture(tmp_path, test_every=0, downscale=2, progress=heard)
    assert masked(capture) == {"a.png": 10, "b.png": 15}
    (warning,) = heard.warned
    assert "1 masks that its files name are not there" in warning
    assert "gone.png" in warning


def rgba(alpha: np.ndarray) -> np.ndarray:
    return np.dstack([plain_photo(3), alpha])


def test_transparent_pixels_are_ignored_and_masks_add_to_them(tmp_path):
    alphas = [ignoring(right=20), ignoring(left=WIDTH), ignoring(right=20)]
    write_colmap(tmp_path, ["a.png", "b.png", "c.png"], photo=lambda index: rgba(alphas[index]))
    write_photo(tmp_path / "masks" / "c.png", ignoring(left=WIDTH - 15))
    capture = load_capture(tmp_path, test_every=0)
    assert masked(capture) == {"a.png": 20, "c.png": 35}
    assert [view.alpha for view in capture] == [True, False, True]
    assert masked(load_capture(tmp_path, test_every=0, masks="none")) == {}


def test_a_folder_or_a_mask_of_all_photos_may_be_given(colmap, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_photo(colmap / "masks" / "a.png", ignoring(right=5))
    write_photo(elsewhere / "mine" / "in" / "c.png", ignoring(right=50))
    monkeypatch.chdir(elsewhere)
    for given in (str(elsewhere / "mine"), "mine"):
        assert masked(load_capture(colmap, test_every=0, masks=given)) == {"in/c.jpg": 50}
    assert masked(load_capture(colmap, test_every=0, masks="masks")) == {"a.jpg": 5}  # of the capture
    one = masked(load_capture(colmap, test_every=0, masks="mine/in/c.png"))
    assert one == dict.fromkeys(NAMES, 50)


def test_masks_that_were_asked_for_must_be_there(colmap):
    with pytest.raises(CaptureError, match=r"--masks nowhere: .* is not there"):
        load_capture(colmap, masks="nowhere")
    write_photo(colmap / "others" / "z.png", ignoring(right=5))
    with pytest.raises(CaptureError, match=r"none of the 1 pictures .* a\.png or a\.jpg\.png"):
        load_capture(colmap, masks="others")


def test_a_mask_of_another_shape_is_refused(colmap):
    write_photo(colmap / "masks" / "b.png", ignoring(right=5, size=(200, 200)))
    with pytest.raises(CaptureError, match=r"b\.png is 200×200, but its photo is 200×150"):
        load_capture(colmap)
    assert len(load_capture(colmap, masks="none")) == 4


def test_a_photo_of_which_everything_is_ignored_is_left_out(colmap):
    (colmap / "test.txt").write_text("b.jpg\nin/c.jpg\n")
    write_photo(colmap / "masks" / "b.png", ignoring())
    heard = Heard()
    capture = load_capture(colmap, progress=heard)
    assert [view.name for view in capture] == ["a.jpg", "in/c.jpg", "in/d.jpg"]
    assert [view.name for view in capture.test] == ["in/c.jpg"]
    (warning,) = heard.warned
    assert "ignore all pixels of 1 of 4 photos (b.jpg); left out" in warning
    write_photo(colmap / "masks" / "a.png", ignoring())
    with pytest.raises(CaptureError, match=r"2 of 4 photos \(a\.jpg, b\.jpg\); what is black .* turn"):
        load_capture(colmap)


def test_masks_that_ignore_nothing_are_none(colmap):
    before = load_capture(colmap).fingerprint()
    for name in NAMES:
        write_photo(colmap / "masks" / f"{name}.png", ignoring(left=WIDTH))
    capture = load_capture(colmap)
    assert all(view.mask is None and view.kept() is None for view in capture)
    assert capture.fingerprint() == before
    assert capture.masks_digest() == ""


def test_masks_of_no_photo_are_told(colmap):
    write_photo(colmap / "masks" / "x.png", ignoring(right=5))
    heard = Heard()
    assert masked(load_capture(colmap, progress=heard)) == {}
    assert any("none of the 1 masks is called as a photo" in line for line in heard.said)


def test_masks_are_no_photos(colmap):
    write_photo(colmap / "images" / "masks" / "a.png", ignoring(right=5))
    write_photo(colmap / "images" / "in" / "masks" / "c.jpg.png", ignoring(right=5))
    assert [path.name for path in photos_in(colmap / "images", deep=True)] == [
        "a.jpg", "b.jpg", "c.jpg", "d.jpg",
    ]  # fmt: skip
    assert len(load_capture(colmap)) == 4


def test_bare_photos_have_masks_too(tmp_path):
    for index, name in enumerate(["images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg"]):
        write_photo(tmp_path / name, plain_photo(index))
    write_photo(tmp_path / "masks" / "a.jpg.png", ignoring(right=30))
    write_photo(tmp_path / "masks" / "b.png", ignoring())
    write_photo(tmp_path / "out" / "masks" / "c.jpg.png", ignoring(right=30))  # of an earlier result
    heard = Heard()
    photos = bare_photos(tmp_path, ignore=[tmp_path / "out"], progress=heard)
    assert [photo.name for photo in photos] == ["a.jpg", "c.jpg", "d.jpg"]
    kept = photos[0].kept()
    assert kept is not None
    assert np.array_equal(kept, ignoring(right=30) > 0)
    assert photos[1].kept() is None
    assert any("(b.jpg); left out" in line for line in heard.warned)
    assert len(bare_photos(tmp_path, masks="none")) == 4


def test_the_record_keeps_masks(colmap, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("masks")
    write_photo(colmap / "masks" / "a.png", ignoring(right=5))
    write_photo(elsewhere / "in" / "c.png", ignoring(right=50))
    write_photo(elsewhere / "b.png", ignoring(right=40))
    for masks, entries in (
        ("auto", {"a.jpg": "masks/a.png"}),
        (str(elsewhere), {"b.jpg": "b.png", "in/c.jpg": "in/c.png"}),
        (str(elsewhere / "b.png"), dict.fromkeys(NAMES, ".")),
    ):
        capture = load_capture(colmap, masks=masks)
        save_capture(capture, colmap / "ws" / "capture.json")
        content = json.loads((colmap / "ws" / "capture.json").read_text())
        assert {view["name"]: view["mask"] for view in content["views"] if "mask" in view} == entries
        again = read_saved_capture(colmap / "ws")
        assert again.fingerprint() == capture.fingerprint()
        assert masked(again) == masked(capture)


def test_masks_outside_of_the_capture_may_be_moved_as_photos_may(colmap, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("masks")
    write_photo(elsewhere / "old" / "a.png", ignoring(right=50))
    write_photo(elsewhere / "old" / "b.png", ignoring(right=50))
    save_capture(load_capture(colmap, masks=str(elsewhere / "old")), colmap / "capture.json")
    (elsewhere / "old").rename(elsewhere / "new")
    text = (colmap / "capture.json").read_text()
    with pytest.raises(CaptureError, match=r"a\.png is not there; put it back, or run `gags run`"):
        read_saved_capture(colmap)["a.jpg"].kept()
    (colmap / "capture.json").write_text(text.replace(str(elsewhere / "old"), str(elsewhere / "new")))
    assert masked(read_saved_capture(colmap)) == {"a.jpg": 50, "b.jpg": 50}


def test_captures_without_masks_are_written_as_before(colmap):
    save_capture(load_capture(colmap), colmap / "capture.json")
    content = json.loads((colmap / "capture.json").read_text())
    assert not {"masks", "mask", "alpha"} & {*content, *content["options"], *content["views"][0]}


def test_changed_masks_change_the_fingerprint(colmap):
    def changed() -> int:
        prints.add(load_capture(colmap, test_every=0).fingerprint())
        return len(prints)

    prints = {load_capture(colmap, test_every=0).fingerprint()}
    path = colmap / "masks" / "a.png"
    write_photo(path, ignoring(right=5))
    assert changed() == 2
    one_pixel = ignoring(right=5)
    one_pixel[100, 100] = 0
    write_photo(path, one_pixel)
    assert changed() == 3
    path.unlink()
    assert changed() == 3  # as at first


def test_a_photo_with_alpha_is_not_one_without(tmp_path):
    write_colmap(tmp_path, ["a.png", "b.png"], photo=lambda index: rgba(ignoring(right=20)))
    assert (
        load_capture(tmp_path, test_every=0).fingerprint()
        != load_capture(tmp_path, test_every=0, masks="none").fingerprint()
    )


def test_turned_photos_turn_their_masks(tmp_path):
    write_colmap(tmp_path, ["a.jpg", "b.jpg"], size=(HEIGHT, WIDTH), params=[210.0, 220.0, 75.0, 100.0])
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(plain_photo(0)).save(tmp_path / "images" / name, exif=exif)
    write_photo(tmp_path / "masks" / "a.png", ignoring(right=30))
    view = load_capture(tmp_path, test_every=0)["a.jpg"]
    assert view.orientation == 6
    kept = view.kept()
    assert kept is not None
    assert np.array_equal(kept, (ignoring(right=30) > 0).T[:, ::-1])


def test_views_that_show_nothing_else_are_left_out(tmp_path):
    """A mask leaves something of every panorama, but of views of it nothing: they would count whole."""
    names = [f"{index}.png" for index in range(9)]
    write_nerfstudio(tmp_path, [f"images/{n}" for n in names], camera_model="EQUIRECTANGULAR", w=200, h=100)
    for index, name in enumerate(names):
        write_photo(tmp_path / "images" / name, plain_photo(index, (200, 100)))
    mask = np.full((100, 200), 255, np.uint8)
    mask[:, :150] = 0  # from behind over the left and ahead to the right
    write_photo(tmp_path / "masks" / "0.png", mask)
    heard = Heard()
    capture = load_capture(tmp_path, progress=heard)
    # Degrees to the right of what counts: 90 to 180. A view reaches 45 to both sides.
    assert [v.name for v in capture if v.name[0] == "0"] == ["0/yaw090.png", "0/yaw135.png", "0/yaw180.png"]
    assert len(capture) == 3 + 8 * 8
    assert all(kept is None or kept.any() for kept in (view.kept() for view in capture))
    assert "5 views show only what is to be ignored (0/yaw000.png, " in heard.said[-1]


def test_masks_named_by_nothing_are_refused(colmap):
    with pytest.raises(CaptureError, match="--masks names nothing; give a folder"):
        load_capture(colmap, masks=" ")
