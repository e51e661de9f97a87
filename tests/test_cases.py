"""Inputs on which version 0.1.0 failed, as people have them; they lie beside the project.

Each is named after its folder. Small ones of the same kinds, made by the tests, are in the rooms.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import gags
from gags.capture import load_capture, save_capture
from gags.capture.lens import rays_through
from gags.errors import CaptureError
from gags.evaluate.labels import load_labels
from gags.gaussians.files import load_gaussians, save_gaussians
from gags.gaussians.foreign import in_standard_form
from gags.poses.find import find_poses
from gags.poses.inputs import bare_photos, lacks_poses
from gags.workspace import Workspace
from tests.helpers.heard import Heard

FOUR = [f"train_{i:03d}.jpg" for i in (0, 4, 8, 12)]
PHOTOS = [f"train_{i:03d}.jpg" for i in range(4)]


def names(views) -> list[str]:
    return [view.name for view in views]


def loaded(folder: Path, **options) -> tuple[gags.Capture, Heard]:
    heard = Heard()
    assert not lacks_poses(folder)
    return load_capture(folder, progress=heard, **options), heard


def test_blender_transforms_train(cases):
    capture, _ = loaded(cases / "blender-transforms-train", require_points=False)
    assert names(capture.train) == ["train/r_0.png", "train/r_1.png", "train/r_2.png"]
    assert names(capture.test) == ["test/r_3.png"]


def test_colmap_images_4_only(cases):
    capture, heard = loaded(cases / "colmap-images_4-only")
    assert names(capture) == FOUR
    assert {view.path.parent.name for view in capture} == {"images_4"}
    assert "images_4" in heard.said[0]


def test_colmap_largest_model_is_not_0(cases):
    capture, heard = loaded(cases / "colmap-largest-model-is-not-0")
    assert names(capture) == FOUR
    assert heard.warned == []
    assert "sparse/0 2, sparse/1 4" in heard.said[0]


def test_colmap_nerfstudio_layout(cases):
    capture, heard = loaded(cases / "colmap-nerfstudio-layout")
    assert names(capture) == FOUR
    assert "colmap/sparse/0" in heard.said[0]


def test_colmap_no_2d_lines(cases):
    capture, heard = loaded(cases / "colmap-no-2d-lines")
    assert names(capture) == [f"flight plan {i}.jpg" for i in (1, 2, 3, 4)]
    assert heard.warned == []


def test_colmap_points_without_error(cases):
    capture, _ = loaded(cases / "colmap-points-without-error")
    np.testing.assert_allclose(capture.points[0], [-1.74845, 0.8, -0.2656])
    np.testing.assert_array_equal(capture.points_rgb[0], [187, 178, 150])


def test_labels_isat_background(cases):
    (frame,) = load_labels(cases / "labels-isat-background")
    assert "__background__" not in [label.category for label in frame.labels]
    cut = [label for label in frame.labels if label.holes]
    assert cut
    for label in cut:
        whole = frame.mask(
            type(label)(label.category, label.polygons, label.boxes), frame.width, frame.height
        )
        assert frame.mask(label, frame.width, frame.height).sum() < whole.sum()


def test_mac_dot_files(cases):
    assert [frame.frame for frame in load_labels(cases / "mac-dot-files" / "labels")] == ["train_000"]
    capture, heard = loaded(cases / "mac-dot-files" / "polycam", require_points=False)
    assert len(capture) == 4
    assert heard.warned == []


def test_name_235_bytes(cases, tmp_path):
    capture, _ = loaded(cases / "name-235-bytes")
    target = Workspace.create(tmp_path / "ws").description(capture.train[0].name)
    with gags.files.atomic_write(target) as temporary:
        temporary.write_bytes(b"done")
    assert target.read_bytes() == b"done"


@pytest.mark.parametrize("case", ["name-absolute-other-machine", "name-suffix-differs"])
def test_names_of_another_machine_or_suffix(cases, case):
    capture, heard = loaded(cases / case)
    assert [view.path.name for view in capture] == FOUR
    assert "4 photos were found under another name" in heard.said[0]


def test_name_case_differs(cases):
    capture, heard = loaded(cases / "name-case-differs")
    assert [view.path.name for view in capture] == [f"IMG_{i}.jpg" for i in range(4)]
    assert "4 photos were found under another name (first IMG_0.JPG: IMG_0.jpg)" in heard.said[0]


def test_name_cp1252_images_txt(cases, tmp_path):
    capture, _ = loaded(cases / "name-cp1252-images-txt")
    assert names(capture) == [f"Küche_{i}.jpg" for i in range(4)]
    save_capture(capture, tmp_path / "capture.json")
    assert len(capture.fingerprint()) == 64


def test_nerfstudio_k4(cases):
    """At the corner of a lens of 75 degrees, k4 = 0.3 takes 0.6095 to 0.630: worked out by hand."""
    capture, _ = loaded(cases / "nerfstudio-k4")
    lens = capture.views[0].lens
    x, y = 48 / 78.75, 36 / 78.75
    r2 = x * x + y * y
    factor = 1 + 0.3 * r2**4
    assert x * factor == pytest.approx(0.630, abs=5e-4)
    pixel = np.array([48 + 78.75 * x * factor, 36 + 78.75 * y * factor])
    np.testing.assert_allclose(rays_through(lens, pixel), [x, y], atol=1e-9)


def test_photos_folder_named_like_photo(cases):
    assert names(bare_photos(cases / "photos-folder-named-like-photo")) == PHOTOS


def test_photos_heic_among_jpg(cases):
    heard = Heard()
    assert names(bare_photos(cases / "photos-heic-among-jpg", progress=heard)) == PHOTOS
    (warning,) = heard.warned
    assert "IMG_1.HEIC, IMG_2.HEIC, IMG_3.HEIC" in warning


def test_photos_one_truncated(cases):
    heard = Heard()
    assert names(bare_photos(cases / "photos-one-truncated", progress=heard)) == [
        PHOTOS[i] for i in (0, 1, 3)
    ]
    (warning,) = heard.warned
    assert "train_002.jpg cannot be read" in warning
    assert "pose" not in warning


def test_photos_with_masks(cases):
    heard = Heard()
    assert names(bare_photos(cases / "photos-with-masks", progress=heard)) == PHOTOS
    assert heard.warned == []


@pytest.mark.parametrize(
    ("file", "count", "share"), [("half", 2890, 0.5), ("all", 600, 1), ("flat_scale", 600, 0)]
)
def test_ply_infinite_opacity(cases, file, count, share):
    heard = Heard()
    gaussians = load_gaussians(cases / "ply-infinite-opacity" / f"{file}.ply", heard)
    assert len(gaussians) == count
    assert heard.warned == []
    for values in (gaussians.opacities, gaussians.scales, gaussians.logit_opacities, gaussians.log_scales):
        assert torch.isfinite(values).all()
    assert float((gaussians.opacities == 1).float().mean()) == pytest.approx(share, abs=0.01)


def test_ply_opacity_without_logit(cases):
    path, heard = cases / "ply-opacity-without-logit" / "point_cloud.ply", Heard()
    stored = load_gaussians(path)
    taken = in_standard_form(stored, path, heard)
    torch.testing.assert_close(taken.opacities, stored.logit_opacities, atol=1e-5, rtol=0)
    assert torch.equal(taken.log_scales, stored.log_scales)
    assert len(heard.warned) == 1


def test_polycam_corrected_incomplete(cases):
    capture, heard = loaded(cases / "polycam-corrected-incomplete", require_points=False)
    assert len(capture) == 3
    assert "262195552666.jpg" in heard.warned[0]


def test_polycam_no_size(cases):
    capture, _ = loaded(cases / "polycam-no-size", require_points=False)
    assert len(capture) == 4
    assert capture.views[0].photo_size == (capture.views[0].camera.width, capture.views[0].camera.height)


def test_posed_photo_missing(cases):
    capture, heard = loaded(cases / "posed-photo-missing")
    assert len(capture) == 3
    assert "1 of 4 posed photos are not there (train_008.jpg; looked for " in heard.warned[0]


@pytest.mark.parametrize("suffix", ["spz", "splat"])
def test_splats_not_ply(cases, suffix):
    gaussians = load_gaussians(cases / "splats-not-ply" / f"scene.{suffix}")
    assert len(gaussians) == 400
    assert torch.isfinite(gaussians.log_scales).all()


def test_spz_one_far_gaussian(cases, tmp_path):
    gaussians, heard = load_gaussians(cases / "spz-one-far-gaussian" / "point_cloud.ply"), Heard()
    save_gaussians(gaussians, tmp_path / "a.spz", heard)
    again = load_gaussians(tmp_path / "a.spz")
    assert len(again) == len(gaussians) - 1
    assert (again.means - gaussians.means[:-1]).abs().max() < 1e-4
    assert "1 of " in heard.warned[0]


def test_poses_that_lie_there_are_named(cases, tmp_path):
    """Photos of a capture whose poses are in a place that gags does not read, and too few photos to go on."""
    shutil.copytree(cases / "colmap-nerfstudio-layout" / "images", tmp_path / "a" / "images")
    model = cases / "colmap-nerfstudio-layout" / "colmap" / "sparse" / "0"
    shutil.copytree(model, tmp_path / "a" / "images" / "model")
    for path in list((tmp_path / "a" / "images").glob("*.jpg"))[1:]:
        path.unlink()
    heard = Heard()
    with pytest.raises(CaptureError, match="only 1 photo"):
        find_poses(tmp_path / "a" / "images", tmp_path / "out", progress=heard)
    assert "model/cameras.txt and are not used" in heard.warned[0]
