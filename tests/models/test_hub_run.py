"""A whole run through the command line with models from folders in the hub's format."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.tiny_models import write_clip, write_sam
from tests.helpers.toy_capture import ColorSegmenter, write_capture

from gags import cli, pipeline
from gags.embed.description import Description
from gags.scene import Scene
from gags.workspace import Workspace

FAST = [
    *("--reconstruct.steps", "20", "--distill.steps", "20", "--describe.min-area", "6"),
    *("--describe.prompts-per-patch", "1", "--describe.min-iou", "-1e9", "--describe.min-score", "-1e9"),
    *("--describe.min-stability", "0"),
]


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_capture(tmp_path_factory.mktemp("toy") / "balls", views=4)


@pytest.fixture(scope="module")
def scene(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene whose masks are a colour segmenter's and whose embeddings are a tiny random CLIP's."""
    root = tmp_path_factory.mktemp("hub_run")
    clip = write_clip(root / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
        patch.setattr("gags.models.own.problems_of", lambda model: [])
        patch.setattr("gags.models.own.files", lambda name: {"a": root / "a", "b": root / "b"})
        command = ["run", str(capture), "--out", str(root / "ws"), "--encoder", str(clip), *FAST, "--debug"]
        assert cli.main([*command, "--segmenter", "mobile-sam"]) == 0
    return root / "ws"


def test_the_encoder_is_on_record_and_found_again(scene: Path, tmp_path: Path, capsys) -> None:
    loaded = Scene.load(scene)
    clip = scene.parent / "clip"
    assert loaded.field.encoder_name.startswith(f"{clip}@")
    assert loaded.encoder.name == loaded.field.encoder_name
    assert Workspace.open(scene).record("describe").settings["encoder"] == loaded.field.encoder_name
    assert cli.main(["query", str(scene), "red ball", "--out", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 3
    assert all(0 < row["score"] < 1 for row in rows)


def test_a_second_run_keeps_the_encoder_without_being_told(
    scene: Path, capture: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gags.models.own.problems_of", lambda model: [])
    monkeypatch.setattr("gags.models.own.files", lambda name: {"a": scene / "a", "b": scene / "b"})
    assert cli.main(["run", str(capture), "--out", str(scene), *FAST, "--debug"]) == 0
    assert capsys.readouterr().err.count("done already") == 3


def test_an_encoder_that_was_moved_is_told_in_one_line(scene: Path, capsys) -> None:
    clip = scene.parent / "clip"
    clip.rename(scene.parent / "elsewhere")
    try:
        assert cli.main(["query", str(scene), "red ball"]) == 1
    finally:
        (scene.parent / "elsewhere").rename(clip)
    assert f"there is no folder {clip}; put it back" in capsys.readouterr().err


def test_describe_with_a_segmenter_from_a_folder(scene: Path, tmp_path: Path, capsys) -> None:
    """A random SAM cuts nonsense, but from the photo to the file everything is as with the real one."""
    sam, other = write_sam(tmp_path / "sam"), write_clip(tmp_path / "clip", "siglip2")
    command = ["describe", str(scene), "--segmenter", str(sam), "--encoder", str(other), *FAST[4:], "--debug"]
    assert cli.main(command) == 0
    record = Workspace.open(scene).record("describe")
    assert record.settings["segmenter"].startswith(f"{sam}@")
    features = Description.load(scene / "features" / "view_01.png.safetensors")
    assert features.encoder == record.settings["encoder"]
    assert features.masks.labels.shape == (3, 192, 256)
    assert len(features.masks) > 0
    np.testing.assert_allclose(np.linalg.norm(features.embeddings.astype(float), axis=1), 1, atol=2e-3)
    assert "masks in" in capsys.readouterr().out
