"""Encoders through `transformers`, from tiny random models, against plain forwards of the same models."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.helpers.heard import Heard
from tests.helpers.pretend_gpu import pretend_gpu
from tests.helpers.tiny_models import CLIP_SIDE, TEXT_LENGTH, write_clip
from tests.helpers.turns import Turns
from torch import nn
from torch.nn.functional import normalize
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from gags.embed import load_encoder
from gags.embed.clip import encoder as clip
from gags.embed.clip.encoder import ClipEncoder, load_clip
from gags.embed.crops import cut_crop, cut_crops, embed_masks
from gags.errors import ModelError
from gags.segment.masks import Masks

KINDS = ["clip", "siglip", "siglip2"]
CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}
PROCESSORS = {
    "clip": CLIPImageProcessorPil,
    "siglip": SiglipImageProcessorPil,
    "siglip2": Siglip2ImageProcessorPil,
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {kind: write_clip(root / kind, kind) for kind in KINDS}


def plain_model(kind: str, folder: Path) -> nn.Module:
    return getattr(transformers, CLASSES[kind]).from_pretrained(folder).eval()


def plain_images(kind: str, folder: Path, pictures: list[np.ndarray]) -> np.ndarray:
    """Embeddings of pictures of any square size, resized and normalised by the model's own processor."""
    processor = PROCESSORS[kind].from_pretrained(folder)
    inputs = processor(pictures, return_tensors="pt")
    with torch.no_grad():
        embeddings = plain_model(kind, folder).get_image_features(**inputs).pooler_output
    return normalize(embeddings, dim=-1).numpy()


def plain_texts(kind: str, folder: Path, tokens: list[list[int]]) -> np.ndarray:
    with torch.no_grad():
        model = plain_model(kind, folder)
        embeddings = [model.get_text_features(input_ids=torch.tensor([row])).pooler_output for row in tokens]
    return normalize(torch.cat(embeddings), dim=-1).numpy()


def blob_masks(height: int, width: int) -> Masks:
    """A wide and a tall rectangle, of which the second lies at the edge."""
    labels = np.full((3, height, width), -1, np.int16)
    labels[0, 5:15, 4:44] = 0
    labels[1, 2:height, width - 9 : width] = 1
    boxes = np.array([[4, 5, 44, 15], [width - 9, 2, width, height]], np.int32)
    return Masks(labels, np.array([0, 1], np.int8), boxes, np.ones(2, np.float32))


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60)])
def test_masks_are_embedded_as_a_plain_forward_embeds_their_squares(
    folders: dict[str, Path], kind: str, height: int, width: int
) -> None:
    """By hand: black background, cropped to the box, padded to a square; the rest is the processor's."""
    image, masks = photo(height, width), blob_masks(height, width)
    squares = []
    for row, (x1, y1, x2, y2) in enumerate(masks.boxes):
        inside = np.where(masks.mask(row)[..., None], image, 0)[y1:y2, x1:x2]
        side = max(inside.shape[:2])
        above, left = (side - inside.shape[0]) // 2, (side - inside.shape[1]) // 2
        square = np.zeros((side, side, 3), np.uint8)
        square[above : above + inside.shape[0], left : left + inside.shape[1]] = inside
        squares.append(square)
    found = embed_masks(image, masks, load_clip(folders[kind], device=CPU))
    np.testing.assert_allclose(found, plain_images(kind, folders[kind], squares), atol=2e-5)
    assert abs(found[0] @ found[1]) < 0.999  # the random model does not embed them alike


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_a_plain_forward(folders: dict[str, Path], kind: str) -> None:
    """[PAD] [EOS] [BOS] [UNK] are 0 to 3, then the words from "object", 4, on; "red" is 8, "ball" 12."""
    texts = ["red ball", "Ball", "object a red nothing"]
    words = [[8, 12], [12], [4, 14, 8, 3]]
    if kind == "clip":
        tokens = [[2, *row, 1] for row in words]
    else:
        tokens = [([*row, 1] + [0] * TEXT_LENGTH)[:TEXT_LENGTH] for row in words]
    found = load_clip(folders[kind], device=CPU).encode_texts(texts)
    np.testing.assert_allclose(found, plain_texts(kind, folders[kind], tokens), atol=2e-5)


def test_long_texts_keep_their_end(folders: dict[str, Path]) -> None:
    for kind in KINDS:
        (tokens,) = load_clip(folders[kind], device=CPU)._tokens(["red " * 40])["input_ids"].tolist()
        assert len(tokens) == TEXT_LENGTH
        assert tokens[-1] == 1
        assert set(tokens[1:-1]) == {8}


def test_siglip_drops_punctuation_and_siglip2_only_case(folders: dict[str, Path]) -> None:
    siglip, siglip2 = (load_clip(folders[kind], device=CPU)._tokens for kind in ("siglip", "siglip2"))
    assert siglip(["  RED, \n ball!"])["input_ids"][0, :4].tolist() == [8, 12, 1, 0]
    assert siglip2(["  RED, \n ball"])["input_ids"][0, :4].tolist() == [3, 12, 1, 0]  # "red," is no word


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_batches_changes_nothing(folders: dict[str, Path], kind: str) -> None:
    encoder = load_clip(folders[kind], device=CPU)
    image, masks = photo(60, 90), blob_masks(60, 90)
    both, alone = embed_masks(image, masks, encoder), embed_masks(image, masks, encoder, batch=1)
    np.testing.assert_allclose(alone, both, atol=1e-5)
    texts = ["red ball", "object", "a ball"]
    apart = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), apart, atol=1e-5)
    many = encoder.encode_texts(texts * 100)
    np.testing.assert_allclose(many[-3:], apart, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)


def test_what_belongs_to_an_encoder(folders: dict[str, Path]) -> None:
    clip, siglip, siglip2 = (load_clip(folders[kind], device=CPU) for kind in KINDS)
    assert clip.temperature == 10.0
    assert siglip.temperature == siglip2.temperature == pytest.approx(np.exp(4.7) / 10, rel=1e-5)
    for encoder in (clip, siglip, siglip2):
        assert encoder.negatives == ("object", "things", "stuff", "texture")
        assert encoder.same_meaning == 2.0
        assert encoder.image_size == CLIP_SIDE
        (rule,) = encoder.crops
        assert (rule.padding, rule.keep_background, rule.fill, rule.square) == (0.0, False, 0, "pad")
        assert encoder.encode_images(np.empty((0, 1, CLIP_SIDE, CLIP_SIDE, 3), np.uint8)).shape == (
            0,
            encoder.dim,
        )
        assert encoder.encode_texts([]).shape == (0, encoder.dim)
    assert (clip.dim, siglip.dim, siglip2.dim) == (20, 24, 24)


def test_half_precision_is_close(folders: dict[str, Path]) -> None:
    single = load_clip(folders["clip"], device=CPU)
    half = load_clip(folders["clip"], device=CPU, dtype=torch.bfloat16)
    image, masks = photo(60, 90), blob_masks(60, 90)
    found, expected = embed_masks(image, masks, half), embed_masks(image, masks, single)
    assert found.dtype == np.float32
    assert (found * expected).sum(1).min() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_what_overflows_in_half_precision_is_embedded_in_single(folders: dict[str, Path], kind: str) -> None:
    """One crop of three, and then texts; the user is told once."""
    listener = Heard()
    single = load_clip(folders[kind], device=CPU)
    half = load_clip(folders[kind], "clip", device=CPU, dtype=torch.bfloat16, progress=listener)

    def overflow(layer: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if output.dtype == torch.bfloat16:
            output = output.clone()
            output[1, 0] = torch.inf
        return output

    half._model.vision_model.encoder.layers[0].mlp.register_forward_hook(overflow)
    crops = np.random.default_rng(0).integers(0, 256, (3, 1, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)
    found, expected = half.encode_images(crops), single.encode_images(crops)
    assert (found * expected).sum(1).min() > 0.999
    assert listener.warned == ["half precision is too narrow for clip; it goes on in single"]
    texts = ["red ball", "object"]
    assert (half.encode_texts(texts) * single.encode_texts(texts)).sum(1).min() > 0.999
    assert half.encode_images(crops).dtype == np.float32
    assert len(listener.warned) == 1


def test_texts_that_overflow_are_embedded_in_single(folders: dict[str, Path]) -> None:
    half = load_clip(folders["clip"], device=CPU, dtype=torch.bfloat16)
    half._model.text_projection.register_forward_hook(
        lambda m, i, output: output * torch.nan if output.dtype == torch.bfloat16 else output
    )
    found = half.encode_texts(["red ball"])
    expected = load_clip(folders["clip"], device=CPU).encode_texts(["red ball"])
    assert (found * expected).sum() > 0.999


def test_weights_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    encoder = load_clip(write_clip(tmp_path / "clip"), "clip", device=CPU)
    encoder._model.text_projection.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="clip gives embeddings that are no numbers"):
        encoder.encode_texts(["red ball"])


@pytest.mark.parametrize(("device", "batches"), [("cpu", [32, 32, 32, 32, 2]), ("cuda", [128, 2])])
def test_a_gpu_gets_more_masks_at_a_time(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, device: str, batches: list[int]
) -> None:
    masks = Masks(
        labels=np.arange(130, dtype=np.int16).reshape(1, 13, 10).repeat(3, 0),
        levels=np.zeros(130, np.int8),
        boxes=np.array([[x, y, x + 1, y + 1] for y in range(13) for x in range(10)], np.int32),
        scores=np.ones(130, np.float32),
    )
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(clip, "to_host", lambda tensor: tensor.cpu().numpy())
    plain, sizes = load_clip(folders["clip"], device=CPU), []
    parts = load_clip(folders["clip"], device=CPU)
    with pretend_gpu():
        encoder = ClipEncoder(
            parts._model,
            "clip",
            parts._tokens,
            parts._pixels,
            CLIP_SIDE,
            "clip",
            device=torch.device(device),
            dtype=torch.float32,
        )
        encoder._model.vision_model.register_forward_pre_hook(
            lambda m, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
        )
        found = embed_masks(photo(13, 10), masks, encoder)
    assert sizes == batches
    np.testing.assert_allclose(found, embed_masks(photo(13, 10), masks, plain), atol=1e-5)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
    ],
)
def test_memory_that_runs_out_halves_the_batch(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    encoder = load_clip(folders["clip"], "clip", device=CPU)
    crops = np.random.default_rng(0).integers(0, 256, (10, 1, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)
    expected, features, sizes = encoder.encode_images(crops), encoder._model.get_image_features, []

    def small_memory(pixel_values: torch.Tensor) -> object:
        sizes.append(len(pixel_values))
        if len(pixel_values) > room:
            raise error
        return features(pixel_values=pixel_values)

    monkeypatch.setattr(encoder._model, "get_image_features", small_memory)
    room = 3
    np.testing.assert_allclose(encoder.encode_images(crops), expected, atol=1e-5)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    room = 0
    with pytest.raises(ModelError, match="clip needs more memory than cpu has free"):
        encoder.encode_images(crops)


def test_threads_share_an_encoder_one_at_a_time(folders: dict[str, Path]) -> None:
    encoder = load_clip(folders["clip"], device=CPU)
    inside, most = 0, 0
    forward = encoder._model.text_model.forward

    def slow(*args: object, **kwargs: object) -> object:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        found = forward(*args, **kwargs)
        inside -= 1
        return found

    encoder._model.text_model.forward = slow
    texts = [["red ball"], ["object"], ["a ball"], ["things"]]
    alone = [encoder.encode_texts(some) for some in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.encode_texts, texts))
    assert most == 1
    np.testing.assert_array_equal(together, alone)


class OpenClip(nn.Module):
    """A CLIP whose weights are called as open_clip calls them, written with PyTorch's own attention."""

    def __init__(self, width: int = 24, heads: int = 2, layers: int = 2, dim: int = 20) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(64, width)
        self.positional_embedding = nn.Parameter(torch.randn(TEXT_LENGTH, width))
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, dim))
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))
        visual = self.visual = nn.Module()
        visual.conv1 = nn.Conv2d(3, width, 8, stride=8, bias=False)
        visual.class_embedding = nn.Parameter(torch.randn(width))
        visual.positional_embedding = nn.Parameter(torch.randn((CLIP_SIDE // 8) ** 2 + 1, width))
        visual.ln_pre, visual.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        visual.transformer = nn.Module()
        visual.transformer.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        visual.proj = nn.Parameter(torch.randn(width, dim))

    def images(self, pixels: torch.Tensor) -> torch.Tensor:
        visual = self.visual
        patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
        first = visual.class_embedding.expand(len(pixels), 1, -1)
        states = visual.ln_pre(torch.cat([first, patches], 1) + visual.positional_embedding)
        for block in visual.transformer.resblocks:
            states = block(states, None)
        return normalize(visual.ln_post(states[:, 0]) @ visual.proj, dim=-1)

    def texts(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        states = self.token_embedding(tokens) + self.positional_embedding[:length]
        later = torch.full((length, length), -torch.inf).triu(1)
        for block in self.transformer.resblocks:
            states = block(states, later)
        ends = (tokens == 1).int().argmax(1)
        return normalize(self.ln_final(states)[range(len(tokens)), ends] @ self.text_projection, dim=-1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        inner = self.ln_1(states)
        states = states + self.attn(inner, inner, inner, attn_mask=mask, need_weights=False)[0]
        return states + self.mlp.c_proj(nn.functional.gelu(self.mlp.c_fc(self.ln_2(states))))


def write_open_clip(folder: Path) -> OpenClip:
    """The folder of a CLIP whose weights are open_clip's only, as the paper's CLIP is published."""
    write_clip(folder)
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[tower]["hidden_act"] = "gelu"
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = OpenClip().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # so that no bias is 0 and no norm the identity
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model


@torch.no_grad()
def test_open_clip_weights_give_open_clips_embeddings(tmp_path: Path) -> None:
    model = write_open_clip(tmp_path / "clip")
    encoder = load_clip(tmp_path / "clip", device=CPU)
    pictures = np.random.default_rng(2).integers(0, 256, (3, 1, CLIP_SIDE, CLIP_SIDE, 3), dtype=np.uint8)
    pixels = encoder._pixels.apply(pictures[:, 0], CPU)
    np.testing.assert_allclose(encoder.encode_images(pictures), model.images(pixels).numpy(), atol=2e-5)
    tokens = torch.tensor([[2, 8, 12, 1], [2, 12, 1, 0]])
    np.testing.assert_allclose(
        encoder.encode_texts(["red ball", "ball"]), model.texts(tokens).numpy(), atol=2e-5
    )


def test_open_clip_weights_of_another_design_are_refused(tmp_path: Path) -> None:
    write_open_clip(tmp_path / "clip")
    path = tmp_path / "clip" / "open_clip_model.safetensors"
    weights = load_file(path)
    save_file(weights | {"visual.attn_pool.query": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"visual\.attn_pool\.query, which no plain CLIP has"):
        load_clip(tmp_path / "clip")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors cannot be read"):
        load_clip(tmp_path / "clip")
    del weights["ln_final.bias"]
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"text_model\.final_layer_norm\.bias"):
        load_clip(tmp_path / "clip")


def test_a_tokenizer_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"the tokenizer in .*clip cannot be loaded"):
        load_clip(folder)


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ModelError, match="type 'bert'; an encoder is one of: clip, siglip, siglip2"):
        load_clip(folder)


def test_the_name_on_file_finds_the_encoder_again(folders: dict[str, Path]) -> None:
    encoder = load_encoder(str(folders["clip"]))
    assert isinstance(encoder, ClipEncoder)
    assert encoder.name.startswith(f"{folders['clip']}@")
    assert load_encoder(encoder.name).name == encoder.name


def test_crops_are_resized_as_pillow_does_and_cut_in_order(folders: dict[str, Path]) -> None:
    """Shrunk to a quarter, a checkerboard of single pixels is grey; without averaging it would not be."""
    board = (np.indices((4 * CLIP_SIDE, 4 * CLIP_SIDE)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(board[..., None], 3, axis=2)
    mask = np.ones(board.shape, bool)
    encoder = load_clip(folders["clip"], device=CPU)
    crop = cut_crop(image, mask, np.array([0, 0, *board.shape]), encoder.crops[0], CLIP_SIDE)
    assert abs(crop[4:-4, 4:-4].astype(int) - 127).max() <= 2
    masks = blob_masks(60, 90)
    (crops,) = cut_crops(photo(60, 90), masks, encoder)
    for row in range(2):
        alone = cut_crop(photo(60, 90), masks.mask(row), masks.boxes[row], encoder.crops[0], CLIP_SIDE)
        np.testing.assert_array_equal(crops[row, 0], alone)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_in_half_precision_agrees_with_the_cpu(folders: dict[str, Path], kind: str) -> None:
    cpu, gpu = load_clip(folders[kind], device=CPU), load_clip(folders[kind], device=torch.device("cuda"))
    image, masks, texts = photo(60, 90), blob_masks(60, 90), ["red ball", "object"]
    assert (embed_masks(image, masks, cpu) * embed_masks(image, masks, gpu)).sum(1).min() > 0.999
    assert (cpu.encode_texts(texts) * gpu.encode_texts(texts)).sum(1).min() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_it_computes_is_in_its_turn(folders, monkeypatch, kind):
    """Apple's GPU bears one thread at a time."""
    turns = Turns()
    monkeypatch.setattr(clip, "net_lock", lambda device: turns.lock)
    net = load_clip(folders[kind], device=CPU)
    with turns:
        net.encode_images(np.zeros((2, 1, CLIP_SIDE, CLIP_SIDE, 3), np.uint8))
        net.encode_texts(["a mug"])
    assert "linear" in turns.inside
    assert turns.outside == []
