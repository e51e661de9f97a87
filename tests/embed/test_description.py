import numpy as np
import pytest

from gags.embed.description import Description
from gags.errors import WorkspaceError
from gags.segment.masks import Masks


def _description():
    labels = np.full((3, 4, 5), -1, np.int16)
    labels[0, :2, :2] = 0
    labels[2, 1:, 2:] = 1
    boxes = np.array([[0, 0, 2, 2], [2, 1, 5, 4]], np.int32)
    masks = Masks(labels, np.array([0, 2], np.int8), boxes, np.array([0.9, 0.8], np.float32))
    embeddings = np.array([[1, 0], [0, 1]], np.float16)
    prompts = np.array([[0.5, 1.5]], np.float32)
    return Description(masks, embeddings, "lite", {"masks": "abc", "embeddings": "def"}, prompts)


def test_mask_is_what_the_label_map_of_its_level_shows():
    masks = _description().masks
    assert masks.mask(0).sum() == 4
    assert masks.mask(1).sum() == 9
    assert not (masks.mask(0) & masks.mask(1)).any()


def test_everything_comes_back(tmp_path):
    path = tmp_path / "photo.jpg.safetensors"
    saved = _description()
    saved.save(path)
    loaded = Description.load(path)
    for name in ("labels", "levels", "boxes", "scores"):
        expected = getattr(saved.masks, name)
        np.testing.assert_array_equal(getattr(loaded.masks, name), expected)
        assert getattr(loaded.masks, name).dtype == expected.dtype
    np.testing.assert_array_equal(loaded.embeddings, saved.embeddings)
    np.testing.assert_array_equal(loaded.prompts, saved.prompts)
    assert (loaded.encoder, loaded.stamps) == (saved.encoder, saved.stamps)
    assert Description.stamps_of(path) == saved.stamps


def test_photo_without_any_mask_comes_back(tmp_path):
    path = tmp_path / "empty.safetensors"
    masks = Masks(
        np.full((3, 4, 5), -1, np.int16),
        np.zeros(0, np.int8),
        np.zeros((0, 4), np.int32),
        np.zeros(0, np.float32),
    )
    Description(masks, np.zeros((0, 7), np.float16), "lite").save(path)
    loaded = Description.load(path)
    assert len(loaded.masks) == 0
    assert loaded.embeddings.shape == (0, 7)


def test_missing_and_damaged_files(tmp_path):
    path = tmp_path / "photo.safetensors"
    assert Description.stamps_of(path) == {}
    with pytest.raises(WorkspaceError, match="gags describe"):
        Description.load(path)
    _description().save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WorkspaceError, match="gags describe"):
        Description.load(path)
    path.write_bytes(b"junk")
    with pytest.raises(WorkspaceError, match="damaged"):
        Description.stamps_of(path)
