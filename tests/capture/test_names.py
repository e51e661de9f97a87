"""Which file a name means: each way of forgiving, their order, and what is never taken for another."""

import pytest

from gags.capture.names import MOST_NAME_BYTES, check_names, is_inside, resolve, without_suffix
from gags.errors import CaptureError


@pytest.mark.parametrize(
    ("wanted", "known"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a\\b.jpg", "a/b.jpg"),
        ("./a//b.jpg", "a/b.jpg"),
        ("Ku\u0308che.jpg", "K\u00fcche.jpg"),  # NFD and NFC
        ("IMG_1.JPG", "img_1.jpg"),
        ("STRASSE.jpg", "Straße.jpg"),
        ("b.png", "b.jpg"),
        ("b", "b.jpg"),
        ("b.x", "b.x.jpg"),
        ("C:\\photos\\b.jpg", "b.jpg"),
        ("/home/x/photos/B.PNG", "left/b.jpg"),
        ("b.jpg", "left/b.jpg"),
        ("K\udcfcche.jpg", "Küche.jpg"),  # bytes of cp1252
        (b"\xbb\xa8.jpg".decode("utf-8", "surrogateescape"), "花.jpg"),  # of GBK
        ("写真/一.png", "写真/一.jpg"),
    ],
)
def test_what_a_name_means(wanted, known):
    assert resolve([wanted], [known, "other/c.jpg", "d.png"]) == {wanted: known}


@pytest.mark.parametrize(
    ("wanted", "known"),
    [
        ("b.jpg", ["left/b.jpg", "right/b.jpg"]),  # both could be meant
        ("b.jpg", ["B.JPG", "B.jpg"]),
        ("b.jpg", ["b.png", "b.bmp"]),
        ("left/b.jpg", ["left/a.jpg", "right/b.jpg"]),  # its own folder is there, and it is not in it
        ("b.1.jpg", ["b.jpg"]),
        ("b.jpg", []),
    ],
)
def test_what_could_be_several_is_none(wanted, known):
    assert resolve([wanted], known) == {}


def test_the_strictest_way_counts_and_a_file_is_meant_once():
    known = ["a.jpg", "A.jpg", "b.png"]
    assert resolve(["A.jpg", "a.jpg"], known) == {"A.jpg": "A.jpg", "a.jpg": "a.jpg"}
    assert resolve(["a.png", "a.jpg", "A.jpg"], known) == {"a.jpg": "a.jpg", "A.jpg": "A.jpg"}
    assert resolve(["b.jpg", "b.bmp"], known) == {}  # two names for one photo


def test_a_photo_of_another_folder_is_told_by_the_end_of_its_path():
    known = ["left/1.jpg", "right/1.jpg", "right/2.jpg"]
    wanted = ["D:/a/left/1.jpg", "D:/a/right/1.jpg", "D:/a/b/2.jpg"]
    assert resolve(wanted, known) == dict(zip(wanted, known, strict=True))


@pytest.mark.parametrize(
    "name", ["/a.jpg", "C:/a.jpg", "../a.jpg", "a/../../b.jpg", "a\\b.jpg", "\udcfc.jpg"]
)
def test_names_that_lead_out_of_a_folder(name):
    assert not is_inside(name)
    assert is_inside("a/b c.jpg")


def test_without_suffix():
    names = ["a/b.JPG", "a.b/c", "b.x", "b.x.heic", "r_0.5"]
    assert [without_suffix(name) for name in names] == ["a/b", "a.b/c", "b.x", "b.x", "r_0.5"]


def test_names_that_no_file_of_a_scene_can_have():
    check_names(["a/" + "ü" * (MOST_NAME_BYTES // 2) + "/b.jpg"], "here")
    with pytest.raises(
        CaptureError, match=rf"here: .* has {MOST_NAME_BYTES + 1} bytes, and {MOST_NAME_BYTES}"
    ):
        check_names(["a.jpg", "x" * (MOST_NAME_BYTES + 1)], "here")
    with pytest.raises(CaptureError, match=r"1 photos have names that are not UTF-8 \(K\\udcfc\.jpg\)"):
        check_names(["K\udcfc.jpg"], "here")


def test_of_a_name_that_is_a_whole_page_a_line_is_shown():
    with pytest.raises(CaptureError) as caught:
        check_names(["a\n[" * 5000], "here")
    message = str(caught.value)
    assert message.startswith("here: the name of photo a?[a?[")
    assert len(message) < 300
    assert "\n" not in message
