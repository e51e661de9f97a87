"""Structure from motion with masks: no keypoint where photos are to be ignored, and masks of the result."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.helpers.textured import HEIGHT, WIDTH, write_photos

from gags.capture import Lens, load_capture
from gags.poses import PoseSettings, find, find_points, find_poses, points
from gags.poses.bare import BarePhoto
from gags.poses.database import photo_keypoints
from gags.poses.inputs import bare_photos
from gags.poses.undistorted import write_mask


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("room") / "photos"
    write_photos(folder, 3)
    for number in (0, 1):
        mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
        mask[:, 100 + 40 * number : 220] = 0
        (folder / "masks").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "masks" / f"view 0{number}.png"), mask)
    return folder


def test_no_keypoint_lies_where_a_photo_is_ignored(photos):
    settings = PoseSettings()
    for photo in bare_photos(photos):
        found, descriptors = photo_keypoints(photo, settings)
        plain, whole = photo_keypoints(replace(photo, mask=None), settings)
        kept = photo.kept()
        if kept is None:
            assert photo.name == "view 02.png"
            continue
        x, y = plain[:, :2].astype(int).T
        there = kept[y.clip(0, HEIGHT - 1), x.clip(0, WIDTH - 1)]
        assert 0.2 < there.mean() < 0.9
        assert np.array_equal(found, plain[there])
        assert np.array_equal(descriptors.data, whole.data[there])


def test_keypoints_of_a_photo_that_shrinks_are_tried_at_its_own_size(photos):
    photo = bare_photos(photos)[0]
    found, _ = photo_keypoints(photo, PoseSettings(max_size=160))
    kept = photo.kept()
    assert kept is not None
    assert len(found) > 10
    assert kept[found[:, 1].astype(int), found[:, 0].astype(int)].all()


def test_masks_change_the_key_and_nothing_else_does(photos):
    settings = PoseSettings()
    masked, plain = bare_photos(photos), bare_photos(photos, masks="none")
    assert find._key(masked, settings) != find._key(plain, settings)
    assert find._key([replace(photo, mask=None) for photo in masked], settings) == find._key(plain, settings)


def test_masks_of_the_result_are_found_with_its_photos(tmp_path):
    kept = np.ones((12, 16), bool)
    kept[3:, 4:9] = False
    path = write_mask(kept, tmp_path, "in/a.jpg")
    assert path == tmp_path / "masks" / "in" / "a.jpg.png"
    again = BarePhoto("in/a.jpg", tmp_path / "a.jpg", 16, 12, mask=path).kept()
    assert again is not None
    assert np.array_equal(again, kept)


def test_points_for_poses_are_looked_for_where_photos_count(photos, tmp_path, monkeypatch):
    """The photos that are matched are undistorted, and so are their masks."""
    seen = {}

    class StopError(Exception):
        pass

    def stop(found, *args, **kwargs):
        seen.update({photo.name: photo for photo in found})
        raise StopError

    monkeypatch.setattr(points, "match_photos", stop)
    capture = load_capture_of(photos)
    lens = Lens(WIDTH, HEIGHT, fx=300, fy=300, cx=160, cy=120, distortion=(-0.1,))
    for view in capture.views:
        object.__setattr__(view, "lens", lens)
    monkeypatch.setattr(points, "load_capture", lambda *a, **k: capture)
    with pytest.raises(StopError):
        find_points(photos, tmp_path / "out")
    for view in capture:
        kept, photo = view.kept(), seen[view.name]
        assert (photo.mask is None) == (kept is None)
        if kept is not None:
            assert np.array_equal(photo.kept(), kept)


def load_capture_of(photos):
    from gags.capture import Camera, Capture, View

    views = [
        View(photo.name, photo.path, Camera(np.eye(4), np.eye(3), WIDTH, HEIGHT), mask=photo.mask)
        for photo in bare_photos(photos)
    ]
    return Capture(photos, views, np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))


@pytest.mark.slow
def test_poses_with_masks_from_photos_to_capture(tmp_path):
    write_photos(tmp_path / "photos", 6)
    (tmp_path / "photos" / "masks").mkdir()
    mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
    mask[:60, :80] = 0
    for photo in sorted((tmp_path / "photos").glob("*.png"))[:4]:
        cv2.imwrite(str(tmp_path / "photos" / "masks" / photo.name), mask)
    capture = load_capture(find_poses(tmp_path / "photos", tmp_path / "out"))
    ignored = [view.kept() for view in capture]
    assert [kept is not None for kept in ignored] == [True] * 4 + [False] * 2
    assert all(0.03 < (~kept).mean() < 0.1 for kept in ignored if kept is not None)
    for view in capture.views[:4]:
        kept = view.kept()
        assert kept is not None
        assert not kept[:50, :70].any()
