"""The mask decoder against the export that it comes from, and MobileSAM on photos of shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.exported import ExportedDecoder

from gags.errors import ModelError
from gags.segment.photo import segment_photo
from gags.segment.sam import decoder as sam_decoder
from gags.segment.sam import kernels as sam_kernels
from gags.segment.sam.decoder import MaskDecoder
from gags.segment.sam.export import load_session, read_weights
from gags.segment.sam.mobile import MobileSam, frame_size, to_frame
from gags.segment.settings import DescribeSettings


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


def test_the_decoder_gives_the_logits_of_the_export(folder: Path, answers: tuple):
    embedding, points, logits, ious = answers
    decoder = MaskDecoder(read_weights(folder / "sam.onnx"))
    found, found_ious = decoder.decode(decoder.prepare(embedding), points, (64, 64), -1.0)
    np.testing.assert_allclose(found_ious, ious, atol=1e-4)
    np.testing.assert_allclose(found.reshape(logits.shape), logits, atol=2e-3)


def test_only_wanted_masks_of_the_wanted_part_are_upscaled(folder: Path, answers: tuple):
    embedding, points, logits, ious = answers
    decoder = MaskDecoder(read_weights(folder / "sam.onnx"))
    middle = float(np.median(ious))
    found, found_ious = decoder.decode(decoder.prepare(embedding), points, (35, 50), middle)
    assert len(found) == (ious > middle).sum()
    np.testing.assert_allclose(found_ious, ious, atol=1e-4)
    np.testing.assert_allclose(found, logits[ious > middle][:, :140, :200], atol=2e-3)


def test_prompts_do_not_depend_on_each_other(folder: Path, answers: tuple, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sam_decoder, "MOST_PROMPTS", 2)  # so that a thread's memory is used again
    embedding, points, _, _ = answers
    decoder = MaskDecoder(read_weights(folder / "sam.onnx"))
    image = decoder.prepare(embedding)
    together = decoder.decode(image, points, (15, 64), -1.0)
    alone = [decoder.decode(image, point[None], (15, 64), -1.0) for point in points]
    np.testing.assert_allclose(together[0], np.concatenate([logits for logits, _ in alone]), atol=1e-3)


def test_decoding_leaves_the_number_of_threads_alone(folder: Path):
    before = torch.get_num_threads()
    MaskDecoder(read_weights(folder / "sam.onnx"))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((962, 539), (1024, 574)),
        ((480, 640), (768, 1024)),
        ((4000, 3001), (1024, 768)),
        ((1, 9000), (1, 1024)),
    ],
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


def test_idle_threads_of_onnxruntime_do_not_spin(tmp_path: Path):
    helper = pytest.importorskip("onnx.helper")
    kind = helper.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", ends[:1], ends[1:])
    operators = [helper.make_opsetid("", 17)]
    (tmp_path / "same.onnx").write_bytes(
        helper.make_model(graph, opset_imports=operators, ir_version=8).SerializeToString()
    )
    options = load_session(tmp_path / "same.onnx").get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == torch.get_num_threads()


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


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_norm_and_gelu():
    x, shared, factors = _random(40, 64) * 3, _random(40, 64, seed=2), _random(10, seed=3)
    bias, weight, shift = _random(6, 64, seed=1).split([4, 1, 1])
    weight, shift = weight[0] * 4, shift[0]
    whole = x + shared * factors.repeat_interleave(4)[:, None] + bias.repeat(10, 1)
    expected = torch.nn.functional.gelu(torch.nn.functional.layer_norm(whole, (64,), weight, shift, 1e-6))
    given = [each.numpy() for each in (x, bias, weight, shift, shared, factors)]
    sam_kernels.norm_and_gelu(*given)
    np.testing.assert_allclose(x, expected, rtol=2e-6, atol=4e-6)


def test_gelu_and_masks():
    x, bias, hyper = _random(3, 5, 2, 2, 128), _random(128, seed=1), _random(2, 32, seed=2)
    out = np.empty((2, 12, 20), np.float32)
    sam_kernels.gelu_and_masks(x.numpy(), bias.numpy(), hyper.repeat_interleave(4, -1).numpy(), out)
    active = torch.nn.functional.gelu(x + bias).view(3, 5, 2, 2, 32, 2, 2)
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
