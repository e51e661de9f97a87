from pathlib import Path

import pytest

from gags.compare.scenes import shared_scene
from gags.errors import ModelError
from gags.pipeline import RunSettings


def test_a_model_that_is_not_to_be_had_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    nothing = None  # no capture is looked at
    with pytest.raises(ModelError, match="no model is called 'no-such-model'"):
        shared_scene(nothing, tmp_path / "scene", RunSettings(segmenter="no-such-model"))  # type: ignore[arg-type]
    assert not (tmp_path / "scene" / "splats.ply").exists()
