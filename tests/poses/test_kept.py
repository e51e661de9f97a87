"""What lies in the folder of a result before: nothing of others is replaced, and no result by a failure."""

import json
import shutil

import cv2
import numpy as np
import pytest
from tests.helpers.heard import Heard
from tests.helpers.made_capture import plain_photo, write_colmap, write_nerfstudio, write_photo
from tests.helpers.textured import write_photos

from gags.capture import load_capture, save_capture
from gags.errors import CaptureError
from gags.files import write_json
from gags.poses import find_poses, poses
from gags.poses.inputs import bare_photos, held_out, lacks_poses
from gags.poses.merge import merge_captures
from gags.poses.record import prepare
from gags.poses.visits import read_visits


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def write_plain(folder, count=3):
    """Photos without anything to be matched."""
    for index in range(count):
        write_photo(folder / f"{index}.png", plain_photo(index))
    return folder


@pytest.mark.parametrize(
    "name", ["images/a.jpg", "masks/a.png", "test.txt", "sparse/0/points3D.bin", "matching/database.db"]
)
def test_what_others_made_is_not_replaced(tmp_path, name):
    photos, out = write_plain(tmp_path / "photos"), tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"of somebody")
    before = content(out)
    for source in (photos, [photos, write_plain(tmp_path / "more")]):
        with pytest.raises(CaptureError, match=r"out holds what was not made here \(.*\); choose another"):
            poses(source, out)
    assert content(out) == before


def test_points_are_not_written_into_the_capture_itself(tmp_path):
    """Its photos in `images/` would be removed for the undistorted ones."""
    write_nerfstudio(tmp_path, [f"images/{index}.png" for index in range(4)], points=False)
    before = content(tmp_path)
    with pytest.raises(CaptureError, match="lies where the result is written, and would be replaced"):
        poses(tmp_path, tmp_path)
    with pytest.raises(CaptureError, match="not made here"):
        merge_captures([tmp_path, write_plain(tmp_path / "more")], tmp_path)
    shutil.rmtree(tmp_path / "more")
    assert content(tmp_path) == before


def earlier_result(out):
    """A capture that an earlier search in `out` found."""
    write_colmap(out, ["a.jpg", "b.jpg", "c.jpg"])
    write_photo(out / "masks" / "a.jpg.png", np.full((150, 200), 255, np.uint8))
    (out / "test.txt").write_text("a\n")
    (out / "matching").mkdir()
    write_json(out / "matching" / "record.json", {"key": "earlier", "summary": "3 of 3"})
    return out


def test_a_search_that_fails_leaves_the_earlier_result(tmp_path):
    out, photos = earlier_result(tmp_path / "out"), write_plain(tmp_path / "photos")
    assert prepare(out, "earlier", "Poses", Heard())
    before = content(out)
    for _ in range(2):  # nor is it taken for that of the new search
        with pytest.raises(CaptureError, match="too few to go on"):
            find_poses(photos, out)
    after = content(out)
    assert {name: after.get(name) for name in before if not name.startswith("matching")} == {
        name: data for name, data in before.items() if not name.startswith("matching")
    }
    assert [view.name for view in load_capture(out).test] == ["a.jpg"]


def test_captures_that_share_nothing_leave_the_earlier_merging_known(tmp_path):
    out = earlier_result(tmp_path / "out")
    sources = [write_plain(tmp_path / "one"), write_plain(tmp_path / "other")]
    before = content(out)
    with pytest.raises(CaptureError, match="placed; find out what each alone lacks"):
        merge_captures(sources, out)
    assert content(out) == before


def test_sources_of_a_merging_are_not_its_result(tmp_path):
    out = earlier_result(tmp_path / "out")
    before = content(out)
    with pytest.raises(CaptureError, match="lies where the result is written"):
        merge_captures([out, write_plain(tmp_path / "more")], out)
    assert content(out) == before
    for source in (out, out / "images"):
        with pytest.raises(CaptureError, match="lie where the result is written; choose another --out"):
            find_poses(source, out)


def test_the_result_may_lie_around_the_photos(tmp_path):
    """`gags poses desk/photos --out desk`, and `gags poses desk --out desk`: again, nothing is found anew."""
    write_photos(tmp_path / "desk" / "photos", 5)
    out, heard = tmp_path / "desk", Heard()
    for source in (out / "photos", out):
        find_poses(source, out, progress=heard)
        assert len(load_capture(out)) == 5
    assert sum(line.startswith("Poses: done already") for line in heard.said) == 1
    assert len(content(out / "photos")) == 5


def test_a_list_of_an_earlier_search_goes_with_it(tmp_path):
    photos, out = tmp_path / "photos", earlier_result(tmp_path / "out")
    write_photos(photos, 5)
    find_poses(photos, out)
    assert not (out / "test.txt").exists()
    assert [view.name for view in load_capture(out).test] == ["view 00.png"]
    assert "searching" not in json.loads((out / "matching" / "record.json").read_text())


def test_names_with_dots_stay_held_out(tmp_path):
    (tmp_path / "test.txt").write_text("2024.05.03\n2024.05.07.png\na.JPG\n")
    assert held_out(tmp_path) == ["2024.05.03", "2024.05.07", "a"]


def test_smaller_copies_are_no_photos_of_their_own(tmp_path):
    for index in range(4):
        image = plain_photo(index)
        write_photo(tmp_path / "images" / "in" / f"{index}.jpg", image)
        write_photo(tmp_path / "images_2" / "in" / f"{index}.png", cv2.resize(image, (100, 75)))
    heard = Heard()
    assert [photo.name for photo in bare_photos(tmp_path, progress=heard)] == [f"{i}.jpg" for i in range(4)]
    assert heard.said[0].startswith(
        f"4 photos in {tmp_path / 'images_2' / 'in'} are smaller copies of others"
    )


def test_a_second_visit_is_no_copy(tmp_path):
    """Cameras count from 1 each time; its photos are as large, or of another shape."""
    for index in range(3):
        write_photo(tmp_path / "images" / f"{index}.jpg", plain_photo(index))
        write_photo(
            tmp_path / "images_2" / f"{index}.jpg", plain_photo(index, (100, 100) if index else (200, 150))
        )
    assert len(bare_photos(tmp_path)) == 6


def write_scene(folder, capture):
    """A scene as far as inputs are concerned: its capture, and pictures of its report."""
    write_plain(folder / "report", 4)
    (folder / "config.toml").write_text('gags = "0.2.0"\nformat = 1\n')
    save_capture(capture, folder / "capture.json")
    return folder


def test_pictures_of_a_report_are_no_photos(tmp_path):
    """A scene names the photos it was made of; one that lies among photos adds none to them."""
    write_colmap(tmp_path / "desk", ["a.jpg", "b.jpg", "c.jpg"])
    scene = write_scene(tmp_path / "photos" / "ws", load_capture(tmp_path / "desk"))
    write_plain(tmp_path / "photos", 3)
    earlier_result(tmp_path / "photos" / "found")
    assert len(bare_photos(tmp_path / "photos")) == 3
    assert not lacks_poses(scene)
    (of_scene, other) = read_visits([scene, tmp_path / "photos"])
    assert of_scene.names() == ["ws/a.jpg", "ws/b.jpg", "ws/c.jpg"]
    assert other.names() == ["photos/0.png", "photos/1.png", "photos/2.png"]
    for read in (load_capture, bare_photos, lambda path: poses(path, tmp_path / "out")):
        with pytest.raises(CaptureError, match=r"ws is a scene of gags, not a capture; give .*/desk\)"):
            read(scene)


def test_a_folder_of_results_alone_says_so(tmp_path):
    earlier_result(tmp_path / "found")
    with pytest.raises(CaptureError, match=r"no photos.*what gags made of other photos.*\(found\)"):
        bare_photos(tmp_path)
