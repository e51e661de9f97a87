"""Networks and the global mapper: refused in one line where pycolmap lacks them; old searches stay done."""

from contextlib import nullcontext

import pycolmap
import pytest

from gags.errors import CaptureError
from gags.poses import PoseSettings, database, find_poses, mapping
from gags.poses.learnt import check_features, extraction_options, matching_options
from gags.poses.mapping import check_mapper, chosen_mapper
from gags.poses.settings import kept_settings

WITHOUT_ONNX = not hasattr(pycolmap, "AlikedExtractionOptions")


@pytest.mark.skipif(not WITHOUT_ONNX, reason="this pycolmap has ONNX")
@pytest.mark.parametrize(
    "settings",
    [
        PoseSettings(features="aliked-n16rot"),
        PoseSettings(features="aliked-n32", matcher="lightglue"),
        PoseSettings(matcher="lightglue"),
    ],
    ids=["aliked", "both", "lightglue"],
)
def test_networks_are_refused_before_anything_is_written(tmp_path, settings):
    with pytest.raises(
        CaptureError, match=r"cannot run with pycolmap .*requires ONNX support.*leave these"
    ) as e:
        find_poses(tmp_path / "photos", tmp_path / "out", settings)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "out").exists()


def test_types_that_pycolmap_is_asked_for():
    extractor, matcher = pycolmap.FeatureExtractorType, pycolmap.FeatureMatcherType
    wanted = {
        ("sift", "nearest"): (extractor.SIFT, matcher.SIFT_BRUTEFORCE),
        ("sift", "lightglue"): (extractor.SIFT, matcher.SIFT_LIGHTGLUE),
        ("aliked-n16rot", "nearest"): (extractor.ALIKED_N16ROT, matcher.ALIKED_BRUTEFORCE),
        ("aliked-n32", "lightglue"): (extractor.ALIKED_N32, matcher.ALIKED_LIGHTGLUE),
    }
    for (features, way), (extraction, matching) in wanted.items():
        settings = PoseSettings(features=features, matcher=way, max_features=77)
        assert extraction_options(settings).type == extraction
        assert matching_options(settings).type == matching
    assert extraction_options(PoseSettings(max_features=77)).sift.max_num_features == 77
    check_features(PoseSettings())


def test_as_many_threads_as_the_user_or_a_container_allows(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    options = mapping.mapper_options(10, 0)
    assert (options.num_threads, options.mapper.num_threads) == (3, 3)
    assert matching_options(PoseSettings()).num_threads == 3
    asked: list[int] = []
    monkeypatch.setattr(pycolmap, "calibrate_view_graph", lambda *_: None)
    monkeypatch.setattr(
        pycolmap,
        "global_mapping",
        lambda *given: asked.extend([given[-1].num_threads, given[-1].mapper.num_threads]),
    )
    (tmp_path / "in.db").touch()
    mapping._placed_at_once(tmp_path / "in.db", tmp_path, 0)
    assert asked == [3, 3]
    monkeypatch.setattr(
        database, "ThreadPoolExecutor", lambda workers: asked.append(workers) or nullcontext()
    )
    assert list(database._keypoints([], PoseSettings())) == []
    assert asked[2:] == [3]


def test_a_version_without_the_global_mapper(monkeypatch):
    assert chosen_mapper(PoseSettings()) == "incremental"
    check_mapper(PoseSettings(mapper="global"))
    monkeypatch.delattr(pycolmap, "global_mapping")
    with pytest.raises(CaptureError, match=r"--mapper global needs pycolmap 4\.0 or later, and .* is here"):
        check_mapper(PoseSettings(mapper="global"))
    check_mapper(PoseSettings(mapper="incremental"))


def test_searches_of_earlier_versions_count_as_done():
    """Their hash held these names and values."""
    former = {
        "matching": "auto", "exhaustive_up_to": 200, "overlap": 10, "neighbours": 30, "frames": 150,
        "max_size": 1600, "max_features": 4096, "camera_model": "SIMPLE_RADIAL", "least_share": 0.25,
        "seed": 0,
    }  # fmt: skip
    assert list(kept_settings(PoseSettings()).items()) == list(former.items())
    assert kept_settings(PoseSettings(mapper="global", seed=3)) == former | {"mapper": "global", "seed": 3}
