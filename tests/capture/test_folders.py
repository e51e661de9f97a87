"""Photos from images_2, images_4, images_8 beside cameras of full size."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.helpers.heard import Heard
from tests.helpers.made_capture import (
    LENSES,
    SIZE,
    plain_photo,
    pose,
    write_colmap,
    write_nerfstudio,
    write_photo,
    write_polycam,
    write_record3d,
)

from gags.capture import load_capture, read_saved_capture, save_capture
from gags.capture.lens import rays_through
from gags.errors import CaptureError

NAMES = [f"DSCF{i}.png" for i in range(3)]


def write_copies(root, name, size, *, suffix=".png", names=NAMES):
    """Smaller copies of the photos, in a folder of this name."""
    for index, photo in enumerate(names):
        write_photo((root / name / photo).with_suffix(suffix), plain_photo(index, size))


def test_cameras_of_full_size_are_scaled_to_photos_of_a_quarter(tmp_path):
    """The garden of mip-NeRF 360: 5187×3361 becomes 1297×840, rounded otherwise across than down."""
    params = [4800.0, 4790.0, 2593.5, 1680.5]
    write_colmap(
        tmp_path, NAMES, size=(5187, 3361), params=params, photo=lambda i: plain_photo(i, (1297, 840))
    )
    (tmp_path / "images").rename(tmp_path / "images_4")
    heard = Heard()
    capture = load_capture(tmp_path, images="images_4", progress=heard)
    x, y = 1297 / 5187, 840 / 3361
    for index, view in enumerate(capture):
        assert (view.name, view.path) == (NAMES[index], tmp_path / "images_4" / NAMES[index])
        assert (view.camera.width, view.camera.height) == (1297, 840)
        expected = [[4800 * x, 0, 2593.5 * x], [0, 4790 * y, 1680.5 * y], [0, 0, 1]]
        np.testing.assert_allclose(view.camera.K, expected, rtol=1e-12)
        np.testing.assert_allclose(view.camera.viewmat, pose(index), atol=1e-12)
    np.testing.assert_array_equal(capture.views[1].image(), plain_photo(1, (1297, 840)))
    assert len(heard.said) == 1
    assert "first DSCF0.png: 0.25 times the size" in heard.said[0]
    smaller = load_capture(tmp_path, images="images_4", max_size=648).views[0].camera
    assert (smaller.width, smaller.height) == (648, 420)
    np.testing.assert_allclose(smaller.K[:2, :2], [[4800 * 648 / 5187, 0], [0, 4790 * 420 / 3361]])


def test_the_largest_copy_is_found_where_images_is_missing(tmp_path):
    write_colmap(tmp_path, NAMES)
    for name, size in (("images_16", (12, 9)), ("images_4", (50, 38)), ("images_8", (25, 19))):
        write_copies(tmp_path, name, size)
    write_copies(tmp_path, "images_old", (100, 75))
    write_copies(tmp_path, "images_2_backup", (100, 75))
    heard = Heard()
    assert load_capture(tmp_path, progress=heard).views[0].image().shape == (150, 200, 3)
    assert heard.said == []
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    view = load_capture(tmp_path, progress=heard).views[0]
    assert view.path == tmp_path / "images_4" / NAMES[0]
    assert heard.said[0] == (
        f"{tmp_path} has no folder images/; reading the photos of images_4/, the largest of "
        "images_4, images_8, images_16"
    )
    chosen = load_capture(tmp_path, images="images_8").views[0]
    assert (chosen.camera.width, chosen.camera.height) == (25, 19)
    other = load_capture(tmp_path, images="elsewhere").views[0]
    assert (other.camera.width, other.camera.height) == SIZE


def test_a_capture_without_any_photos_is_an_error(tmp_path):
    write_colmap(tmp_path, NAMES)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match="no folder images/; put its photos there"):
        load_capture(tmp_path)
    with pytest.raises(CaptureError, match=r"no folder images_2 .*has no folder of photos at all"):
        load_capture(tmp_path, images="images_2")
    write_copies(tmp_path, "images_8", (25, 19))
    with pytest.raises(CaptureError, match=r"no folder images_2 \(--images\); choose one of images_8$"):
        load_capture(tmp_path, images="images_2")


def test_copies_may_have_another_suffix(tmp_path):
    names = ["left/a.JPG", "left/b.x.JPG", "right/a.JPG"]
    write_colmap(tmp_path, names)
    write_copies(tmp_path, "images_2", (100, 75), suffix=".jpg", names=names[:2])
    write_copies(tmp_path, "images_2", (100, 75), suffix=".png", names=names[2:])
    write_photo(tmp_path / "images_2" / "left" / "c.png", plain_photo(0))
    heard = Heard()
    capture = load_capture(tmp_path, images="images_2", test_every=0, progress=heard)
    assert [view.name for view in capture] == names  # as the model calls them
    assert [view.path.suffix for view in capture] == [".jpg", ".jpg", ".png"]
    assert {view.image().shape for view in capture} == {(75, 100, 3)}
    assert heard.warned == ["1 photos have no pose and are left out (left/c.png)"]
    # In images/ itself that is said.
    (tmp_path / "images" / names[0]).rename(tmp_path / "images" / "left" / "a.png")
    assert load_capture(tmp_path, progress=heard).views[0].path == tmp_path / "images" / "left" / "a.png"
    assert heard.said[-1] == (
        f"{tmp_path / 'images'}: 1 photo was found under another name (first left/a.JPG: left/a.png)"
    )


def test_a_photo_that_has_no_copy_is_named(tmp_path):
    write_colmap(tmp_path, NAMES)
    write_copies(tmp_path, "images_4", (50, 38), names=NAMES[:1])
    with pytest.raises(
        CaptureError,
        match=r"images_4: 2 of 3 posed photos are not there \(DSCF1\.png, DSCF2\.png; .*--images",
    ):
        load_capture(tmp_path, images="images_4")
    write_copies(tmp_path, "images_4", (50, 38), names=NAMES[:2])
    assert len(load_capture(tmp_path, images="images_4")) == 2
    write_photo(tmp_path / "images_4" / "DSCF2.jpg", plain_photo(2, (50, 38)))
    assert len(load_capture(tmp_path, images="images_4")) == 3
    write_photo(tmp_path / "images_4" / "DSCF2.bmp", plain_photo(2, (50, 38)))  # now nobody knows which
    heard = Heard()
    assert len(load_capture(tmp_path, images="images_4", progress=heard)) == 2
    assert "1 of 3 posed photos are not there (DSCF2.png" in heard.warned[0]


@pytest.mark.parametrize("size", [(250, 187), (251, 188), (250, 188), (251, 187), (252, 187), (249, 188)])
def test_sides_may_be_rounded_any_way(tmp_path, size):
    write_colmap(tmp_path, NAMES[:1], size=(1003, 751), photo=lambda i: plain_photo(i, size))
    (tmp_path / "images").rename(tmp_path / "images_4")
    view = load_capture(tmp_path, test_every=0).views[0]
    np.testing.assert_allclose(view.camera.K[0, 0], 210 * size[0] / 1003)
    np.testing.assert_allclose(view.camera.K[1, 1], 220 * size[1] / 751)


@pytest.mark.parametrize("size", [(256, 187), (250, 194), (187, 250), (200, 188), (1000, 751), (1002, 750)])
def test_a_size_that_does_not_fit_is_one_line(tmp_path, size):
    write_colmap(tmp_path, NAMES, size=(1003, 751), photo=lambda i: plain_photo(i, (1003, 751)))
    write_copies(tmp_path, "images_4", (251, 188))
    write_copies(tmp_path, "images_4", size, names=NAMES[1:2])
    with pytest.raises(CaptureError) as error:
        load_capture(tmp_path, images="images_4")
    path = tmp_path / "images_4" / NAMES[1]
    assert str(error.value) == (
        f"photo {path} is {size[0]}×{size[1]}, but its camera is 1003×751, of which it is no smaller copy; "
        "make the copies from the photos that the poses were made from, or choose another folder of photos "
        "(--images)"
    )


@pytest.mark.parametrize("model", LENSES)
def test_every_lens_is_scaled_with_its_photos(tmp_path, model):
    """The same rays reach the same places of the picture, at half the size."""
    rng = np.random.default_rng(0)
    rough = cv2.resize(rng.random((12, 16, 3)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    photo = (rough.clip(0, 1) * 255).astype(np.uint8)
    write_colmap(tmp_path, NAMES[:1], model=model, photo=lambda index: photo)
    half = cv2.resize(photo, (100, 75), interpolation=cv2.INTER_AREA)
    write_photo(tmp_path / "images_2" / NAMES[0], half)
    full, small = (
        load_capture(tmp_path, images=name, test_every=0).views[0] for name in ("images", "images_2")
    )
    np.testing.assert_allclose(small.camera.K[:2], full.camera.K[:2] / 2, rtol=1e-6)
    if full.lens is not None:
        assert small.lens is not None
        pixels = rng.random((20, 2)) * SIZE
        np.testing.assert_allclose(
            rays_through(small.lens, pixels / 2), rays_through(full.lens, pixels), atol=1e-9
        )
    shrunk = cv2.resize(full.image(), (100, 75), interpolation=cv2.INTER_AREA)
    assert np.abs(small.image().astype(int) - shrunk).mean() < 1.5


def test_what_is_saved_reads_the_same_copies(tmp_path):
    write_colmap(tmp_path, NAMES, model="OPENCV")
    write_copies(tmp_path, "images_2", (100, 75), suffix=".jpg")
    capture = load_capture(tmp_path, images="images_2")
    save_capture(capture, tmp_path / "ws" / "capture.json")
    loaded = read_saved_capture(tmp_path / "ws")
    assert loaded.options["images"] == "images_2"
    assert [view.path for view in loaded] == [view.path for view in capture]
    assert loaded.fingerprint() == capture.fingerprint()
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    found = load_capture(tmp_path)
    assert found.fingerprint() == capture.fingerprint()  # found or asked for is the same to every stage
    assert "images" not in found.options
    assert load_capture(tmp_path, images="elsewhere").fingerprint() != capture.fingerprint()


FRAMES = [f"images/{name}" for name in NAMES]


def test_nerfstudio_s_photos_lie_in_copies_too(tmp_path):
    held_out = {"test_filenames": [FRAMES[1]], "train_filenames": [FRAMES[0], FRAMES[2]]}
    write_nerfstudio(tmp_path, FRAMES, k1=-0.1, **held_out)
    write_copies(tmp_path, "images_2", (100, 75), suffix=".jpg")
    write_copies(tmp_path, "images_4", (50, 37))
    full = load_capture(tmp_path)
    heard = Heard()
    small = load_capture(tmp_path, images="images_4", progress=heard)
    assert heard.warned == []
    assert [(view.name, view.split) for view in small] == [(view.name, view.split) for view in full]
    assert [view.name for view in small.test] == [NAMES[1]]
    for one, other in zip(small, full, strict=True):
        assert one.path == tmp_path / "images_4" / one.name
        np.testing.assert_array_equal(one.camera.viewmat, other.camera.viewmat)
        assert one.lens is not None
        assert other.lens is not None
        scaled = (other.lens.fx / 4, other.lens.fy * 37 / 150)
        assert (one.lens.fx, one.lens.fy) == pytest.approx(scaled, rel=1e-12)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    found = load_capture(tmp_path, progress=heard)
    assert [view.path for view in found] == [
        (tmp_path / "images_2" / name).with_suffix(".jpg") for name in NAMES
    ]
    assert [view.name for view in found] == NAMES
    assert "reading the photos of images_2/, the largest of images_2, images_4" in heard.said[1]


def test_nerfstudio_needs_to_know_the_full_size(tmp_path):
    write_nerfstudio(tmp_path, FRAMES, camera_angle_x=1.0)
    path = tmp_path / "transforms.json"
    transforms = json.loads(path.read_text())
    del transforms["w"], transforms["h"]
    path.write_text(json.dumps(transforms))
    write_copies(tmp_path, "images_2", (100, 75))
    view = load_capture(tmp_path, images="images_2").views[0]  # the photos in images/ tell
    assert view.camera.K[0, 0] == 105
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match=r"has no `w` and `h`, and .*images/DSCF0\.png is not there"):
        load_capture(tmp_path)
    del transforms["fl_x"]
    path.write_text(json.dumps(transforms))
    view = load_capture(tmp_path).views[0]  # an angle is the same at every size
    assert view.camera.K[0, 0] == pytest.approx(50 / np.tan(0.5))


def test_nerfstudio_s_photos_elsewhere_cannot_be_chosen(tmp_path):
    write_nerfstudio(tmp_path, ["train/a.png", "train/b.png"])
    write_copies(tmp_path, "images_2", (100, 75))
    assert [view.name for view in load_capture(tmp_path)] == ["a.png", "b.png"]
    with pytest.raises(
        CaptureError, match=r"--images images_2 replaces .* not all photos of .*transforms\.json"
    ):
        load_capture(tmp_path, images="images_2")


@pytest.mark.parametrize("write", [write_polycam, write_record3d])
def test_other_formats_have_no_choice(tmp_path, write):
    write(tmp_path)
    with pytest.raises(CaptureError, match=r"photos lie in one place: --images images_2 .*; leave it out"):
        load_capture(tmp_path, images="images_2", require_points=False)


def test_a_damaged_copy_is_named(tmp_path):
    write_colmap(tmp_path, NAMES)
    write_copies(tmp_path, "images_2", (100, 75))
    (tmp_path / "images_2" / NAMES[1]).write_bytes(b"broken")
    heard = Heard()
    assert len(load_capture(tmp_path, images="images_2", progress=heard)) == 2
    assert "images_2/DSCF1.png cannot be read" in heard.warned[0]
    with Image.open(tmp_path / "images" / NAMES[1]) as photo:
        assert photo.size == SIZE
