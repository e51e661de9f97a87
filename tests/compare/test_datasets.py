"""Where the scenes of a data set are looked for, and what is said if they are not there."""

from pathlib import Path

import pytest

from gags.compare.datasets import (
    DATASETS,
    chosen_scenes,
    dataset_folder,
    find_scene,
    named_dataset,
)
from gags.compare.paper import published
from gags.errors import CompareError

LERF, MIP = DATASETS["lerf-ovs"], DATASETS["mip360-ovs"]


def _folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_scenes_are_those_of_the_papers_tables():
    """The columns of Tables 1 and 2, and the mean of each data set under its name."""
    means = published("quality").means
    assert {name: dataset.scenes for name, dataset in DATASETS.items()} == means


def test_lerf_ovs_as_it_is_unpacked(tmp_path):
    root = _folders(tmp_path / "lerf_ovs", "ramen/images", "ramen/sparse/0", "label/ramen")
    for folder in (tmp_path, root):
        assert dataset_folder(LERF, folder) == root
    files = find_scene(LERF, root, "ramen")
    assert (files.name, files.capture, files.labels) == ("ramen", root / "ramen", root / "label" / "ramen")
    assert files.photos is None
    assert LERF.labels_by == "name"


def test_photos_of_mip_nerf_360_are_the_usual_ones_where_they_are(tmp_path):
    names = ("room/images_2", "room/images_4", "garden/images_2", "garden/images_4", "bonsai/images_4")
    root = _folders(tmp_path, *names, *(f"label/{scene}" for scene in ("room", "garden", "bonsai")))
    found = {scene: find_scene(MIP, root, scene).photos for scene in ("room", "garden", "bonsai")}
    assert found == {"room": "images_2", "garden": "images_4", "bonsai": None}
    assert MIP.labels_by == "position"


def test_labels_may_lie_with_the_scene_or_elsewhere(tmp_path):
    root = _folders(tmp_path / "data", "room/label", "counter/label", "label/counter")
    elsewhere = _folders(tmp_path / "labels", "room")
    assert find_scene(MIP, root, "room").labels == root / "room" / "label"
    assert find_scene(MIP, root, "counter").labels == root / "label" / "counter"
    assert find_scene(MIP, root, "room", elsewhere).labels == elsewhere / "room"
    with pytest.raises(CompareError, match=r"no labels of counter: not in .*labels/counter; put them there"):
        find_scene(MIP, root, "counter", elsewhere)


def test_chosen_scenes_keep_the_papers_order():
    assert chosen_scenes(LERF, ()) == ("ramen", "teatime", "waldo_kitchen", "figurines")
    assert chosen_scenes(LERF, ("figurines", "ramen", "ramen")) == ("ramen", "figurines")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(CompareError, match="no data set 'lerf'; there are: lerf-ovs, mip360-ovs"):
        named_dataset("lerf")
    with pytest.raises(CompareError, match="no scene 'kitchen'; --scenes takes some of: ramen, teatime"):
        chosen_scenes(LERF, ("ramen", "kitchen"))
    with pytest.raises(CompareError, match="holds no scene of LERF-OVS; give the folder that holds ramen"):
        dataset_folder(LERF, tmp_path)
    with pytest.raises(CompareError, match="is not there; give the folder"):
        dataset_folder(LERF, tmp_path / "nowhere")
    root = _folders(tmp_path, "ramen/images")
    with pytest.raises(CompareError, match=r"teatime is not there; .*leave it out with --scenes"):
        find_scene(LERF, root, "teatime")
    with pytest.raises(CompareError, match=r"no labels of ramen: not in .*label/ramen nor .*ramen/label"):
        find_scene(LERF, root, "ramen")
