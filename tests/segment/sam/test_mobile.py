"""Both forms of the decoder against the export that they come from, and MobileSAM on photos of shapes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.exported import ExportedDecoder

from gags.errors import ModelError
from gags.segment.photo import segment_photo
from gags.segment.sam import kernels as sam_kernels
from gags.segment.sam.decoder import MaskDecoder
from gags.segment.sam.export import load_session, read_weights
from gags.segment.sam.folded import FoldedDecoder
from gags.segment.sam.low_rank import LowRankDecoder
from gags.segment.sam.mobile import MobileSam, frame_size, to_frame
from gags.segment.settings import DescribeSettings
from gags.segment.suppress import measure

Make = Callable[[dict[str, torch.Tensor]], MaskDecoder]
EXACT = pytest.mark.parametrize(
    "make",
    [lambda weights: FoldedDecoder(weights, torch.float32), LowRankDecoder],
    ids=["folded", "low-rank"],
)


@pytest.fixture(scope="module")
def folder(models_dir: Path) -> Path:
    if not (models_dir / "mobile_sam").is_dir():
        pytest.skip("needs mobile_sam/ among the shared models")
    return models_dir / "mobile_sam"


@pytest.fixture(scope="module")
def sam(folder: Path) -> MobileSam:
    return MobileSam(folder)


@pytest.fixture(scope="module")
def photo(captures: Path) -> np.ndarray:
    return np.asarray(Image.open(captures / "desk/images/frame_0025.jpg").convert("RGB"))


@pytest.fixture(scope="module")
def answers(folder: Path, photo: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Embedding of a desk photo, six prompts, and the logits and IoUs of the export."""
    (embedding,) = load_session(folder / "encoder.onnx").run(None, {"input": to_frame(photo)})
    points = np.random.default_rng(5).uniform(0, (1024, 574), (6, 2)).astype(np.float32)
    points[0] = 0.5
    logits, ious = ExportedDecoder(folder / "sam.onnx").run(np.asarray(embedding), points)
    return torch.from_numpy(np.asarray(embedding))[0], torch.from_numpy(points / 1024), logits, ious


@EXACT
def test_the_decoder_gives_the_logits_of_the_export(folder: Path, answers: tuple, make: Make):
    embedding, points, logits, ious = answers
    decoder = make(read_weights(folder / "sam.onnx"))
    found, found_ious = decoder.decode(decoder.prepare(embedding), points, (64, 64), -1.0)
    np.testing.assert_allclose(found_ious, ious, atol=1e-4)
    np.testing.assert_allclose(found.reshape(logits.shape), logits, atol=2e-3)


def test_masks_that_count_are_the_same_in_bfloat16(folder: Path, answers: tuple):
    embedding, points, logits, ious = answers
    decoder = FoldedDecoder(read_weights(folder / "sam.onnx"), torch.bfloat16)
    found, found_ious = decoder.decode(decoder.prepare(embedding), points, (64, 64), -1.0)
    np.testing.assert_allclose(found_ious, ious, atol=0.02)
    stabilities = measure(logits.reshape(-1, 256, 256), 1.0)[0].reshape(ious.shape)
    count = (ious > 0.7) & (stabilities > 0.85)
    assert count.sum() >= 5
    mine, theirs = found.reshape(logits.shape)[count] > 0, logits[count] > 0
    assert ((mine & theirs).sum((1, 2)) / (mine | theirs).sum((1, 2))).min() > 0.98


@EXACT
def test_only_wanted_masks_of_the_wanted_part_are_upscaled(folder: Path, answers: tuple, make: Make):
    embedding, points, logits, ious = answers
    decoder = make(read_weights(folder / "sam.onnx"))
    middle = float(np.median(ious))
    found, found_ious = decoder.decode(decoder.prepare(embedding), points, (36, 50), middle)
    assert len(found) == (ious > middle).sum()
    np.testing.assert_allclose(found_ious, ious, atol=1e-4)
    np.testing.assert_allclose(found, logits[ious > middle][:, :144, :200], atol=2e-3)


@EXACT
def test_prompts_do_not_depend_on_each_other(folder: Path, answers: tuple, make: Make):
    embedding, points, _, _ = answers
    decoder = make(read_weights(folder / "sam.onnx"))
    image = decoder.prepare(embedding)
    together = decoder.decode(image, points, (16, 64), -1.0)
    alone = [decoder.decode(image, point[None], (16, 64), -1.0) for point in points]
    np.testing.assert_allclose(together[0], np.concatenate([logits for logits, _ in alone]), atol=1e-3)


def test_decoding_leaves_the_number_of_threads_alone(folder: Path):
    before = torch.get_num_threads()
    FoldedDecoder(read_weights(folder / "sam.onnx"), torch.float32)
    assert torch.get_num_threads() == before


def test_in_float32_the_low_rank_form_is_taken(folder: Path):
    assert isinstance(MobileSam(folder, dtype=torch.float32)._decoder, LowRankDecoder)
    assert not isinstance(MobileSam(folder, dtype=torch.bfloat16)._decoder, LowRankDecoder)


@pytest.mark.parametrize(
    ("size", "frame"), [((962, 539), (1024, 574)), ((480, 640), (768, 1024)), ((4000, 3001), (1024, 768))]
)
def test_frame_size(size: tuple[int, int], frame: tuple[int, int]):
    assert frame_size(*size) == frame


def test_a_photo_is_normalised_before_it_is_padded():
    frame = to_frame(np.full((10, 20, 3), 255, np.uint8))
    assert frame.shape == (1, 3, 1024, 1024)
    np.testing.assert_allclose(frame[0, :, 511, 1023], [2.2489, 2.4286, 2.64], atol=1e-4)
    assert (frame[0, :, 512:] == 0).all()


@pytest.mark.parametrize(("width", "height"), [(640, 480), (481, 640), (962, 539)])
def test_the_mask_of_a_rectangle_lies_on_its_pixels(sam: MobileSam, width: int, height: int):
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(90, 6, (height, width, 3)), 0, 255)
    x1, y1, x2, y2 = int(0.3 * width), int(0.25 * height), int(0.62 * width), int(0.8 * height)
    image[y1:y2, x1:x2] = np.clip(rng.normal((200, 40, 30), 6, (y2 - y1, x2 - x1, 3)), 0, 255)
    prompts = np.array([[(x1 + x2) / 2, (y1 + y2) / 2]], np.float32)
    masks = segment_photo(image.astype(np.uint8), prompts, sam, DescribeSettings())
    truth = np.zeros((height, width), bool)
    truth[y1:y2, x1:x2] = True
    ious = [(masks.mask(row) & truth).sum() / (masks.mask(row) | truth).sum() for row in range(len(masks))]
    assert max(ious) > 0.97
    best = int(np.argmax(ious))
    assert np.abs(masks.boxes[best] - [x1, y1, x2, y2]).max() <= 2


@pytest.mark.parametrize("missing", ["encoder.onnx", "sam.onnx"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str):
    (tmp_path / ({"encoder.onnx", "sam.onnx"} - {missing}).pop()).write_bytes(b"")
    with pytest.raises(ModelError, match=missing):
        MobileSam(tmp_path)


def test_a_file_that_is_no_model_is_named(tmp_path: Path):
    (tmp_path / "sam.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"sam\.onnx"):
        read_weights(tmp_path / "sam.onnx")
    with pytest.raises(ModelError, match=r"sam\.onnx"):
        load_session(tmp_path / "sam.onnx")


TYPES = [(torch.float32, 2e-6), (torch.bfloat16, 1 / 128)]


def _random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_softmax_over_tokens(dtype: torch.dtype, tolerance: float):
    scores, bias = _random(4, 7, 512, dtype=dtype) * 8, _random(4, 7, seed=1)
    weights = torch.empty(4, 7, 512, dtype=dtype)
    order = np.array([2, 0, 3, 1])
    sam_kernels.softmax_over_tokens(
        sam_kernels.as_array(scores), bias.numpy(), order, sam_kernels.as_array(weights)
    )
    expected = torch.softmax(scores.float() + bias[..., None], 1)
    np.testing.assert_allclose(weights.float()[order], expected, rtol=tolerance, atol=1e-7)
    fewer = torch.empty(4, 6, 512, dtype=dtype)
    sam_kernels.softmax_over_tokens(
        sam_kernels.as_array(scores), bias.numpy(), order, sam_kernels.as_array(fewer)
    )
    assert torch.equal(fewer, weights[:, :6])


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_add_and_norm(dtype: torch.dtype, tolerance: float):
    residual, update = _random(1, 9, 256, dtype=dtype), _random(2, 9, 256, dtype=dtype, seed=1)
    bias, weight, shift = _random(3, 256, seed=2)
    positions = _random(9, 256, dtype=dtype, seed=3)
    out, positioned = torch.empty(2, 9, 256, dtype=dtype), torch.empty(2, 9, 256, dtype=dtype)
    sam_kernels.add_and_norm(
        residual=sam_kernels.as_array(residual),
        delta=sam_kernels.as_array(update),
        bias=bias.numpy(),
        weight=weight.numpy(),
        shift=shift.numpy(),
        positions=sam_kernels.as_array(positions),
        out=sam_kernels.as_array(out),
        positioned=sam_kernels.as_array(positioned),
    )
    expected = torch.nn.functional.layer_norm(residual.float() + update.float() + bias, (256,), weight, shift)
    np.testing.assert_allclose(out.float(), expected, rtol=tolerance, atol=2e-6)
    np.testing.assert_allclose(positioned.float(), expected + positions.float(), rtol=tolerance, atol=2e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_norm_and_gelu(dtype: torch.dtype, tolerance: float):
    x = _random(40, 64, dtype=dtype) * 3
    bias, weight, shift = _random(6, 64, seed=1).split([4, 1, 1])
    weight, shift = weight[0] * 4, shift[0]
    shared, factors = _random(40, 64, seed=2), _random(10, seed=3)

    def expected(x: torch.Tensor) -> torch.Tensor:
        normed = torch.nn.functional.layer_norm(x + bias.repeat(10, 1), (64,), weight, shift, 1e-6)
        return torch.nn.functional.gelu(normed)

    for more in (None, (shared.numpy(), factors.numpy())):
        given = x.clone()
        sam_kernels.norm_and_gelu(
            sam_kernels.as_array(given), bias.numpy(), weight.numpy(), shift.numpy(), *(more or (None, None))
        )
        whole = x.float() + (0 if more is None else shared * factors.repeat_interleave(4)[:, None])
        np.testing.assert_allclose(given.float(), expected(whole), rtol=tolerance, atol=4e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_masks(dtype: torch.dtype):
    x = _random(3, 5, 2, 2, 128, dtype=dtype)
    bias, hyper = _random(128, seed=1), _random(2, 32, seed=2)
    out = np.empty((2, 12, 20), np.float32)
    sam_kernels.gelu_and_masks(
        sam_kernels.as_array(x), bias.numpy(), hyper.repeat_interleave(4, -1).numpy(), out
    )
    active = torch.nn.functional.gelu(x.float() + bias).view(3, 5, 2, 2, 32, 2, 2)
    expected = torch.einsum("ijabkcd,mk->miacjbd", active, hyper).reshape(2, 12, 20)
    np.testing.assert_allclose(out, expected, atol=2e-5)


def test_the_embedding_at_a_place_is_that_of_its_position(sam: MobileSam, photo: np.ndarray):
    encoded = sam.encode(photo)
    # Position (5, 7) covers 16 px of SAM's frame, its middle is at (7.5, 5.5) · 16. The frame has 1024 by 574
    # px for 962 by 539 of the photo.
    places = np.array([[7.5, 5.5], [8.0, 5.5]]) * 16 * np.array([962 / 1024, 539 / 574])
    middle, between = sam.features_at(encoded, places.astype(np.float32))
    row = encoded.embedding[:, 5].numpy()
    np.testing.assert_allclose(middle, row[:, 7], atol=1e-4)
    np.testing.assert_allclose(between, (row[:, 7] + row[:, 8]) / 2, atol=1e-4)
