"""Keys of DINO against sums by hand from the weights on file, and which DINO is taken."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.helpers.heard import Heard
from tests.helpers.tiny_models import MEAN, STD, write_sam
from tests.helpers.tiny_vit import DIM, PATCH, write_vit
from tests.helpers.turns import Turns
from torch.nn.functional import interpolate, layer_norm

from gags.embed.dino import encoder
from gags.embed.dino.encoder import DINO, Dino, choose_dino, load_dino, patch_grid
from gags.errors import ModelError
from gags.models.hub import fingerprint

CPU = torch.device("cpu")
ROWS, COLUMNS = 3, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vit(tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS * PATCH, COLUMNS * PATCH, 3), dtype=np.uint8)


def normalised(image: np.ndarray) -> np.ndarray:
    return ((image / 255 - MEAN) / STD).astype(np.float32)


def test_keys_of_one_layer_are_those_of_the_weights_on_file(tmp_path, photo):
    """Patches, positions, normalisation and keys, each from its formula."""
    folder = write_vit(tmp_path / "one", layers=1)
    weights = load_file(folder / "model.safetensors")
    cells = normalised(photo).reshape(ROWS, PATCH, COLUMNS, PATCH, 3).transpose(0, 2, 4, 1, 3)
    cells = torch.from_numpy(cells.reshape(ROWS, COLUMNS, -1).copy())
    projection = weights["embeddings.patch_embeddings.projection.weight"].flatten(1)
    patches = cells @ projection.T + weights["embeddings.patch_embeddings.projection.bias"]
    places = weights["embeddings.position_embeddings"][0, 1:].reshape(1, 4, 4, DIM).permute(0, 3, 1, 2)
    places = interpolate(places, (ROWS, COLUMNS), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    layer = "encoder.layer.0."
    norm = (weights[f"{layer}layernorm_before.{part}"] for part in ("weight", "bias"))
    inside = layer_norm(patches + places, (DIM,), *norm, eps=1e-12)
    key = f"{layer}attention.attention.key."
    expected = inside @ weights[f"{key}weight"].T + weights[f"{key}bias"]
    found = Dino(folder, device=CPU).keys(photo)
    assert found.shape == (ROWS, COLUMNS, DIM)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_keys_are_those_of_the_last_layer(folder, photo):
    model = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    weights = load_file(folder / "model.safetensors")
    pixels = torch.from_numpy(normalised(photo).transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        found = model(pixels, interpolate_pos_encoding=True, output_hidden_states=True)
    layer = "encoder.layer.1."
    norm = (weights[f"{layer}layernorm_before.{part}"] for part in ("weight", "bias"))
    inside = layer_norm(found.hidden_states[-2][0, 1:], (DIM,), *norm, eps=1e-12)
    key = f"{layer}attention.attention.key."
    expected = inside @ weights[f"{key}weight"].T + weights[f"{key}bias"]
    keys = Dino(folder, device=CPU).keys(photo)
    np.testing.assert_allclose(keys.reshape(-1, DIM), expected.numpy(), atol=1e-4)


def test_photos_are_resized_to_whole_patches(folder, photo):
    dino = Dino(folder, device=CPU)
    odd = np.asarray(Image.fromarray(photo).resize((COLUMNS * PATCH + 2, ROWS * PATCH - 3)))
    whole = np.asarray(Image.fromarray(odd).resize((COLUMNS * PATCH, ROWS * PATCH), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(dino.keys(odd), dino.keys(whole))


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [
        (480, 640, (60, 80)),  # as it is
        (1000, 2000, (62, 125)),  # shrunk to 500×1000
        (2000, 1000, (125, 62)),
        (3, 40, (1, 5)),
    ],
)
def test_the_shorter_side_is_at_most_500(height, width, grid):
    assert patch_grid(height, width, 8) == grid


# --- which DINO ---


def test_the_published_dino_is_pinned():
    assert DINO == "facebook/dino-vits8@483f2fc47097ae6f0afc8bcfb43004224bddeae2"


def test_without_a_hub_there_is_none_and_a_line_says_why():
    heard = Heard()
    assert choose_dino("auto", heard) == "none"
    assert heard.said == [
        "DINO: none; facebook/dino-vits8 is not on this machine, and HF_HUB_OFFLINE forbids fetching it "
        "(a folder can be named)"
    ]
    assert choose_dino("none") == "none"
    assert load_dino("none") is None


def test_the_published_dino_is_taken_where_it_is(folder, monkeypatch):
    monkeypatch.setattr(encoder, "DINO", str(folder))
    heard = Heard()
    name = choose_dino("auto", heard)
    assert name == f"{folder}@{fingerprint(folder)}"
    assert heard.said == [f"DINO: {name}"]


def test_a_folder_gets_a_name_that_finds_it_again(folder):
    name = choose_dino(str(folder))
    dino = load_dino(name)
    assert dino is not None
    assert (dino.name, dino.dim) == (name, DIM)


def test_what_cannot_be_had_is_an_error_of_one_line(folder, tmp_path):
    with pytest.raises(ModelError, match=r"someone/vit is not on this machine, and HF_HUB_OFFLINE forbids"):
        choose_dino("someone/vit")
    with pytest.raises(ModelError, match="there is no folder /no/such"):
        choose_dino("/no/such")
    with pytest.raises(ModelError, match="lite has no keys of patches; name a DINO by hub id or folder"):
        choose_dino("lite")
    sam = write_sam(tmp_path / "sam")
    with pytest.raises(ModelError, match="holds a model of type 'sam'; keys of patches come from"):
        choose_dino(str(sam))
    with pytest.raises(ModelError, match="holds a model of type 'sam'"):
        Dino(sam)


def test_a_part_of_the_weights_is_not_enough(tmp_path):
    folder = write_vit(tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1.attention.attention.key" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not those of a whole ViTModel: 2 are missing"):
        Dino(folder)


def test_all_that_it_computes_is_in_its_turn(folder, photo, monkeypatch):
    turns = Turns()
    monkeypatch.setattr(encoder, "net_lock", lambda device: turns.lock)
    net = Dino(folder, device=CPU)
    with turns:
        net.keys(photo)
    assert "linear" in turns.inside
    assert turns.outside == []
