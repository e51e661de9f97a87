"""Which views are held out: lists that name panoramas, folders and photos that are gone."""

import pytest
from tests.helpers.made_capture import plain_photo, write_colmap, write_nerfstudio, write_photo

from gags.capture import load_capture
from gags.capture.split import check_test_list, every_nth
from gags.errors import CaptureError

ROUND = {"camera_model": "EQUIRECTANGULAR", "w": 200, "h": 100}


def write_panoramas(root, count=3):
    """A posed capture of panoramas pano.00.png …"""
    names = [f"images/pano.{index:02d}.png" for index in range(count)]
    write_nerfstudio(root, names, **ROUND)
    for index, name in enumerate(names):
        write_photo(root / name, plain_photo(index, (200, 100)))
    return root


@pytest.mark.parametrize("listed", ["pano.01.png", "pano.01", "PANO.01.PNG", "pano.01/"])
def test_a_panorama_in_a_list_means_all_its_views(tmp_path, listed):
    root = write_panoramas(tmp_path / "c")
    (root / "test.txt").write_text(f"{listed}\n")
    held_out = load_capture(root).test
    assert len(held_out) == 8
    assert {view.path.name for view in held_out} == {"pano.01.png"}


def test_a_view_of_a_panorama_may_be_listed_alone(tmp_path):
    root = write_panoramas(tmp_path / "c")
    (root / "test.txt").write_text("pano.01/yaw045.png\npano.02/yaw090\n")
    assert [view.name for view in load_capture(root).test] == ["pano.01/yaw045.png", "pano.02/yaw090.png"]


def test_a_folder_in_a_list_means_all_its_photos(tmp_path):
    """Of a merged capture a whole visit, of a capture that `gags poses` made of panoramas one of these."""
    write_colmap(tmp_path, ["first/a.jpg", "first/b.jpg", "later/a.jpg", "later/b.jpg"])
    (tmp_path / "test.txt").write_text("later\n")
    assert [view.name for view in load_capture(tmp_path).test] == ["later/a.jpg", "later/b.jpg"]
    (tmp_path / "test.txt").write_text("a\n")  # both have one
    with pytest.raises(CaptureError, match=r"names 1 views that .* \(a\); write .* such as first/a.jpg"):
        load_capture(tmp_path)


def test_a_photo_and_a_folder_of_one_name_are_two_things(tmp_path):
    write_colmap(tmp_path, ["a.jpg", "a/x.jpg", "a/y.jpg", "b.jpg"])
    for listed, names in (("a", ["a.jpg"]), ("a.jpg", ["a.jpg"]), ("a/", ["a/x.jpg", "a/y.jpg"])):
        (tmp_path / "test.txt").write_text(f"{listed}\n")
        assert [view.name for view in load_capture(tmp_path).test] == names


def test_a_listed_photo_that_is_gone_is_left_out_like_the_others(tmp_path):
    names = [f"{index}.png" for index in range(6)]
    write_colmap(tmp_path, names)
    (tmp_path / "images" / "3.png").unlink()
    (tmp_path / "images" / "2.png").write_bytes(b"no photo")
    (tmp_path / "test.txt").write_text("3.png\n3\n2\n4\n")
    assert [view.name for view in load_capture(tmp_path).test] == ["4.png"]


def test_a_list_is_checked_before_there_are_poses(tmp_path):
    path, names = tmp_path / "list.txt", ["first/2024.05.jpg", "first/b.jpg", "later/b.jpg"]
    path.write_text("2024.05\nlater/B.png\nlater\nfirst/2024.05.jpg\n")
    check_test_list(path, names)
    path.write_text("nowhere\n")
    check_test_list(path, None)  # of a video, whose frames have no names yet
    with pytest.raises(CaptureError, match=r"list.txt names 1 views .*\(nowhere\); .* such as first/2024"):
        check_test_list(path, names)
    with pytest.raises(CaptureError, match=r"missing.txt cannot be read \(No such file"):
        check_test_list(tmp_path / "missing.txt", None)


def test_every_nth():
    assert every_nth(["c", "a", "b"], 2) == ["a", "c"]
    assert every_nth(["c", "a", "b"], 0) == []
