"""The decoder's shortcuts, and what the file of a field promises."""

import numpy as np
import pytest
import torch
from tests.helpers.blobs import make_scene

from gags.distill import field as field_module
from gags.distill.decoder import DecoderShape, PrincipalDecoder
from gags.distill.field import LanguageField, splats_hash
from gags.errors import WorkspaceError


@pytest.fixture(scope="module")
def gaussians():
    return make_scene(views=1).gaussians


@pytest.fixture
def field(gaussians) -> LanguageField:
    torch.manual_seed(0)
    decoder = PrincipalDecoder(DecoderShape(feature=4, hidden=8, rank=6, dim=20))
    decoder.basis.copy_(torch.linalg.qr(torch.randn(20, 6)).Q)
    features = torch.randn(len(gaussians), 4)
    return LanguageField(features, decoder, "toy", splats_hash(gaussians), {"field": "abc"})


def test_similarities_equal_cosines_of_full_embeddings(field):
    vectors = torch.nn.functional.normalize(torch.randn(3, 20), dim=-1)
    with torch.no_grad():
        embeddings = field.decoder.embeddings(field.features)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(len(field)))
    found = field.decoder.similarities(field.features, vectors)
    torch.testing.assert_close(found, embeddings @ vectors.T, atol=1e-5, rtol=1e-4)


def test_similarities_are_remembered_for_the_same_tensor_alone(field, monkeypatch):
    vectors = torch.nn.functional.normalize(torch.randn(3, 20), dim=-1)
    with torch.no_grad():
        expected = field.decoder.embeddings(field.features) @ vectors.T
    first = field.remembered_similarities(vectors)
    assert first is not None
    torch.testing.assert_close(first.cosines, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first.largest, expected.amax(dim=1), atol=1e-5, rtol=1e-4)
    assert field.remembered_similarities(vectors) is first
    turned = field.remembered_similarities(-vectors)
    assert turned is not None
    torch.testing.assert_close(turned.cosines, -expected, atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(field_module, "KEPT_BYTES", 4 * len(field) * 3 - 1)
    assert field.remembered_similarities(vectors) is None


def test_saved_and_loaded_fields_answer_alike(field, gaussians, tmp_path):
    path = tmp_path / "field.safetensors"
    field.save(path)
    loaded = LanguageField.load(path, gaussians)
    torch.testing.assert_close(loaded.features, field.features.half().float())
    assert (loaded.encoder_name, loaded.stamps) == ("toy", {"field": "abc"})
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.decoder.embeddings(loaded.features), field.decoder.embeddings(loaded.features)
        )
    assert [p.name for p in tmp_path.iterdir()] == ["field.safetensors"]


def test_a_field_refuses_other_gaussians(field, gaussians, tmp_path):
    path = tmp_path / "field.safetensors"
    field.save(path)
    with pytest.raises(WorkspaceError, match=r"belongs to 644 Gaussians, the splats have 643"):
        LanguageField.load(path, gaussians[torch.arange(643)])
    moved = gaussians[torch.arange(644)]
    moved.means = moved.means.clone()
    moved.means[5, 1] += 1e-6
    with pytest.raises(WorkspaceError, match="made for other splats"):
        LanguageField.load(path, moved)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_damaged_file_is_an_error_with_advice(field, tmp_path, damage):
    path = tmp_path / "field.safetensors"
    if damage != "missing":
        field.save(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "foreign":
        from safetensors.numpy import save_file

        save_file({"features": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(WorkspaceError, match="gags distill"):
        LanguageField.load(path)


def test_large_scenes_are_kept_small(field, monkeypatch):
    vectors = torch.nn.functional.normalize(torch.randn(5, 20), dim=-1)
    with torch.no_grad():
        expected = field.decoder.embeddings(field.features) @ vectors.T
    monkeypatch.setattr(field_module, "EXACT_BYTES", 4 * len(field) * 6 - 1)
    torch.testing.assert_close(field.similarities(vectors), expected, atol=5e-5, rtol=0)
    found = field.remembered_similarities(vectors)
    assert found is not None
    assert field.remembered_similarities(vectors) is found
    torch.testing.assert_close(found.largest, expected.amax(dim=1), atol=5e-5, rtol=0)
    counted = torch.tensor([True, False, False, False, True])
    torch.testing.assert_close(found.largest_of(counted), expected[:, counted].amax(1), atol=5e-5, rtol=0)
    # Neither every number of every Gaussian nor its cosine with every phrase is kept.
    assert found.cosines is None
    assert "_coordinates" not in vars(field)
    kept = field._compact
    assert kept is not None
    assert kept.numbers.dtype == np.int16
    # Where that is still too much, nothing is kept and every text is asked anew.
    monkeypatch.setattr(field_module, "KEPT_BYTES", 2 * len(field) * 6 - 1)
    few = {"COMPACT_BYTES": 2 * len(field) * 6 - 1, "free_bytes": lambda device: 4 * 2 * len(field) * 6 - 1}
    for name, value in few.items():
        with monkeypatch.context() as patched:
            patched.setattr(field_module, name, value)
            assert not field.to("cpu")._is_large
    assert field.to("cpu")._is_large  # more than `KEPT_BYTES`, and a quarter of the memory holds it
    monkeypatch.setattr(field_module, "COMPACT_BYTES", 0)
    again = field.to("cpu")
    torch.testing.assert_close(again.similarities(vectors), expected, atol=1e-5, rtol=1e-4)
    assert again._compact is None
