"""Segmenters through `transformers`, from tiny random models, against plain forwards of the same models."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.helpers.heard import Heard
from tests.helpers.pretend_gpu import GPU, pretend_gpu
from tests.helpers.tiny_models import MEAN, SAM_SIDE, STD, write_sam
from tests.helpers.turns import Turns
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from gags.errors import ModelError
from gags.segment import load_segmenter
from gags.segment.photo import segment_photo
from gags.segment.sam import hub as sam_hub
from gags.segment.sam import on_device
from gags.segment.sam.hub import HubSam, frame_size
from gags.segment.sam.on_device import DeviceMasks
from gags.segment.segmenter import PromptedMasks
from gags.segment.settings import DescribeSettings

KINDS = ["sam", "sam_hq", "sam2", "sam2_video"]
CLASSES = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
ALL = -1e9  # below every predicted IoU of a random model
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("segmenters")
    return {kind: write_sam(root / kind, kind) for kind in KINDS}


def photo(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def prompts(width: int, height: int, count: int = 7) -> np.ndarray:
    points = np.random.default_rng(4).uniform(0, (width, height), (count, 2)).astype(np.float32)
    points[0] = 0.5  # the centre of the top-left pixel
    return points


def plain_inputs(
    kind: str, folder: Path, image: np.ndarray, points: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and points as the model's processor makes them; SAM 2's needs torchvision, so by hand."""
    height, width = image.shape[:2]
    if kind.startswith("sam2"):
        resized = np.asarray(Image.fromarray(image).resize((SAM_SIDE, SAM_SIDE), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy((resized / 255 - MEAN) / STD).permute(2, 0, 1)[None].float()
        scale = np.array([SAM_SIDE / width, SAM_SIDE / height])
    else:
        processor = SamImageProcessorPil.from_pretrained(folder)
        made = processor(image, return_tensors="pt")
        pixels = made["pixel_values"].float()
        rows, columns = made["reshaped_input_sizes"][0]
        scale = np.array([columns / width, rows / height])
    # The model adds half a pixel of its frame to turn indices into places; our points are places already.
    return pixels, torch.from_numpy(points * scale - 0.5).float()[None, :, None]


def plain_answers(
    kind: str, folder: Path, image: np.ndarray, points: np.ndarray, **options: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [P, 3, h, w] and IoUs [P, 3] of a plain forward."""
    model = getattr(transformers, CLASSES[kind]).from_pretrained(folder).eval()
    pixels, input_points = plain_inputs(kind, folder, image, points)
    with torch.no_grad():
        output = model(pixel_values=pixels, input_points=input_points, multimask_output=True, **options)
    return output.pred_masks[0].numpy(), output.iou_scores[0].numpy()


@pytest.mark.parametrize("kind", ["sam", "sam2", "sam2_video"])
@pytest.mark.parametrize(("width", "height"), [(80, 48), (30, 75), (64, 64)])
def test_masks_are_those_of_a_plain_forward(
    folders: dict[str, Path], kind: str, width: int, height: int
) -> None:
    image, points = photo(width, height), prompts(width, height)
    segmenter = HubSam(folders[kind], device=CPU)
    found = segmenter.predict(segmenter.encode(image), points, min_iou=ALL)
    logits, ious = plain_answers(kind, folders[kind], image, points)
    rows, columns = found.logits.shape[1:]
    np.testing.assert_allclose(found.ious.reshape(-1, 3), ious, atol=1e-5)
    np.testing.assert_allclose(
        found.logits.reshape(-1, 3, rows, columns), logits[..., :rows, :columns], atol=1e-4
    )
    assert found.levels.tolist() == [0, 1, 2] * len(points)
    assert found.prompts.tolist() == np.repeat(np.arange(len(points)), 3).tolist()
    assert logits.std() > 0.1  # the random model does answer differently at different places


@pytest.mark.parametrize(
    ("kind", "extent"),
    [("sam", (16, 9.5)), ("sam_hq", (16, 9.5)), ("sam2", (16, 16)), ("sam2_video", (16, 16))],
)
def test_the_photo_fills_its_part_of_the_grid(
    folders: dict[str, Path], kind: str, extent: tuple[float, float]
) -> None:
    """An 80×48 photo is 64×38 px of SAM's frame and all of SAM 2's, of whose 64 px every 4 are a cell."""
    segmenter = HubSam(folders[kind], device=CPU)
    found = segmenter.predict(segmenter.encode(photo(80, 48)), prompts(80, 48, 1), min_iou=ALL)
    assert found.extent == extent
    assert found.logits.shape == (3, int(np.ceil(extent[1])), 16)


@pytest.mark.parametrize(("width", "height"), [(80, 48), (30, 75)])
def test_sam_hq_refines_its_best_mask_and_keeps_the_order_of_levels(
    folders: dict[str, Path], width: int, height: int
) -> None:
    image, points = photo(width, height), prompts(width, height)
    segmenter = HubSam(folders["sam_hq"], device=CPU)
    found = segmenter.predict(segmenter.encode(image), points, min_iou=ALL)
    rows, columns = found.logits.shape[1:]
    refined, rated = plain_answers("sam_hq", folders["sam_hq"], image, points)
    high_quality, _ = plain_answers("sam_hq", folders["sam_hq"], image, points, hq_token_only=True)
    expected = refined - high_quality  # plain SAM's masks, best-rated first
    expected[:, 0] = refined[:, 0]
    ious = found.ious.reshape(-1, 3)
    by_rating = np.argsort(-ious, axis=1)
    np.testing.assert_allclose(np.take_along_axis(ious, by_rating, 1), rated, atol=1e-5)
    logits = found.logits.reshape(-1, 3, rows, columns)
    logits = np.take_along_axis(logits, by_rating[..., None, None], 1)
    np.testing.assert_allclose(logits, expected[..., :rows, :columns], atol=1e-4)
    assert len({tuple(order) for order in by_rating.tolist()}) > 1  # so that the order is tested


def test_sam_hq_levels_are_the_outputs_of_its_iou_head(folders: dict[str, Path]) -> None:
    image, points = photo(80, 48), prompts(80, 48)
    model = transformers.SamHQModel.from_pretrained(folders["sam_hq"]).eval()
    rated = []
    model.mask_decoder.iou_prediction_head.register_forward_hook(lambda m, i, output: rated.append(output))
    pixels, input_points = plain_inputs("sam_hq", folders["sam_hq"], image, points)
    with torch.no_grad():
        model(pixel_values=pixels, input_points=input_points, multimask_output=True)
    segmenter = HubSam(folders["sam_hq"], device=CPU)
    found = segmenter.predict(segmenter.encode(image), points, min_iou=ALL)
    np.testing.assert_allclose(found.ious.reshape(-1, 3), rated[0][0, :, 1:].numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 3])
def test_the_size_of_batches_changes_nothing(
    folders: dict[str, Path], kind: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = HubSam(folders[kind], device=CPU)
    encoded, points = segmenter.encode(photo(80, 48)), prompts(80, 48)
    together = segmenter.predict(encoded, points, min_iou=0.1)
    monkeypatch.setattr(sam_hub, "free_bytes", lambda device: 4 * most * segmenter._prompt_bytes)
    assert segmenter._batch() == most
    apart = segmenter.predict(encoded, points, min_iou=0.1)
    np.testing.assert_allclose(apart.logits, together.logits, atol=1e-4)
    np.testing.assert_allclose(apart.ious, together.ious, atol=1e-5)
    np.testing.assert_array_equal(apart.prompts, together.prompts)
    np.testing.assert_array_equal(apart.levels, together.levels)


def test_only_masks_above_the_threshold_are_given(folders: dict[str, Path]) -> None:
    segmenter = HubSam(folders["sam"], device=CPU)
    encoded, points = segmenter.encode(photo(80, 48)), prompts(80, 48)
    everything = segmenter.predict(encoded, points, min_iou=ALL)
    middle = float(np.median(everything.ious))
    found = segmenter.predict(encoded, points, min_iou=middle)
    kept = everything.ious > middle
    assert 0 < kept.sum() < len(kept)
    np.testing.assert_array_equal(found.logits, everything.logits[kept])
    np.testing.assert_array_equal(found.prompts, everything.prompts[kept])


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedding_at_a_place_is_that_of_its_position(folders: dict[str, Path], kind: str) -> None:
    model = HubSam(folders[kind], device=CPU)
    encoded = model.encode(photo(80, 60))
    embedding = encoded.inputs["image_embeddings"][0]
    # The middle of the position at row 1, column 2, in px of the photo.
    position = SAM_SIDE / embedding.shape[-1]
    place = np.array([[2.5, 1.5]]) * position / encoded.scale
    found = model.features_at(encoded, place.astype(np.float32))
    np.testing.assert_allclose(found, embedding[:, 1, 2].float()[None], atol=1e-4)


def test_no_prompts(folders: dict[str, Path]) -> None:
    segmenter = HubSam(folders["sam"], device=CPU)
    found = segmenter.predict(segmenter.encode(photo(80, 48)), np.empty((0, 2), np.float32))
    assert found.logits.shape == (0, 10, 16)
    assert len(found.ious) == len(found.levels) == len(found.prompts) == 0


OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, max allowed: 18.13 GB)"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_runs_out_halves_the_batch(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    segmenter = HubSam(folders["sam"], device=CPU)
    encoded, points = segmenter.encode(photo(80, 48)), prompts(80, 48)
    expected = segmenter.predict(encoded, points, min_iou=ALL)
    decode, sizes = segmenter._decode, []

    def small_memory(encoded: object, batch: np.ndarray) -> object:
        sizes.append(len(batch))
        if len(batch) > room:
            raise error
        return decode(encoded, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(segmenter, "_decode", small_memory)
    room = 2
    found = segmenter.predict(encoded, points, min_iou=ALL)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    room = 0
    with pytest.raises(ModelError, match="more memory than cpu has free"):
        segmenter.predict(encoded, points)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_photo_that_does_not_fit_is_one_line(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    segmenter = HubSam(folders["sam"], name="sam", device=CPU)

    def full(pixels: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(segmenter._model, "get_image_embeddings", full)
    with pytest.raises(ModelError, match=r"^sam needs more memory than cpu has free; close other programs"):
        segmenter.encode(photo(80, 48))


def test_embeddings_too_large_for_half_precision_are_computed_in_single(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Heard()
    segmenter = HubSam(folders["sam"], name="sam", device=CPU, dtype=torch.bfloat16, progress=listener)
    embed = segmenter._model.get_image_embeddings
    monkeypatch.setattr(
        segmenter._model,
        "get_image_embeddings",
        lambda pixels: embed(pixels) * (torch.inf if pixels.dtype == torch.bfloat16 else 1),
    )
    found = segmenter.predict(segmenter.encode(photo(80, 48)), prompts(80, 48), min_iou=ALL)
    single = HubSam(folders["sam"], device=CPU)
    expected = single.predict(single.encode(photo(80, 48)), prompts(80, 48), min_iou=ALL)
    np.testing.assert_allclose(found.logits, expected.logits, atol=0.15)  # the weights were rounded once
    assert found.logits.dtype == found.ious.dtype == np.float32
    assert listener.warned == ["half precision is too narrow for sam; it goes on in single"]


@pytest.mark.parametrize("kind", KINDS)
def test_masks_too_large_for_half_precision_are_computed_in_single(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """One mask of one prompt overflows. Photos that were encoded before that are decoded all the same."""
    listener = Heard()
    half = HubSam(folders[kind], name=kind, device=CPU, dtype=torch.bfloat16, progress=listener)
    encoded, points = half.encode(photo(80, 48)), prompts(80, 48)
    embedded = half.encode(photo(64, 64))
    before = half._prompt_bytes

    def overflow(layer: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if output.dtype == torch.bfloat16:
            output = output.clone()
            output[0, 2, 0] = torch.inf  # of channels that become masks
        return output

    layer = half._model.mask_decoder.upscale_conv1
    layer.register_forward_hook(lambda m, i, output: overflow(m, i, output[None])[0])
    found = half.predict(encoded, points, min_iou=ALL)
    assert listener.warned == [f"half precision is too narrow for {kind}; it goes on in single"]
    assert half._prompt_bytes == 2 * before
    single = HubSam(folders[kind], device=CPU)
    expected = single.predict(single.encode(photo(80, 48)), points, min_iou=ALL)
    assert np.isfinite(found.logits).all()
    assert np.linalg.norm(found.logits - expected.logits) / np.linalg.norm(expected.logits) < 0.12
    assert len(half.predict(embedded, points, min_iou=ALL).ious) == 21
    assert len(half.predict(half.encode(photo(80, 48)), points, min_iou=ALL).ious) == 21
    assert len(listener.warned) == 1


def test_boxes_too_large_for_half_precision_are_computed_in_single(folders: dict[str, Path]) -> None:
    listener = Heard()
    half = HubSam(folders["sam"], name="sam", device=CPU, dtype=torch.bfloat16, progress=listener)
    half._model.mask_decoder.upscale_conv1.register_forward_hook(
        lambda m, i, output: output * torch.inf if output.dtype == torch.bfloat16 else output
    )
    boxes = np.array([[5, 5, 60, 40], [0, 0, 30, 30]], np.float32)
    found = half.predict_boxes(half.encode(photo(80, 48)), boxes)
    single = HubSam(folders["sam"], device=CPU)
    expected = single.predict_boxes(single.encode(photo(80, 48)), boxes)
    assert found.shape == (2, 10, 16)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.12
    assert len(listener.warned) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_it_computes_is_in_its_turn(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Apple's GPU bears one thread at a time; so masks that lie there wait for their turn, too."""
    turns = Turns()
    for module in (sam_hub, on_device):
        monkeypatch.setattr(module, "net_lock", lambda device: turns.lock)
        monkeypatch.setattr(module, "to_host", lambda tensor: tensor.cpu().numpy())
    monkeypatch.setattr(sam_hub, "free_bytes", lambda device: 1 << 30)
    image, points = photo(80, 48), prompts(80, 48)
    with pretend_gpu():
        net = HubSam(folders[kind], device=GPU, dtype=torch.float32)
        with turns:
            encoded = net.encode(image)
            net.features_at(encoded, points)
            net.predict_boxes(encoded, np.array([[2, 3, 40, 30]], np.float32))
            found = net.predict(encoded, points)
            assert isinstance(found, DeviceMasks)
            found.measure(1.0)
            found.measure_resized(found.ious > 0, offset=1.0, width=80, height=48)
            found.holds(np.array([0]), np.array([[3, 4]]))
            found.cut(np.array([0]), np.array([[2, 3, 8, 6]]))
            assert found.logits.dtype == np.float32
    assert "linear" in turns.inside
    assert turns.outside == []


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_only_windows_of_good_masks_leave_it(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The same masks, measures and windows as on the CPU, on a GPU that is not there."""
    left: list[int] = []

    def to_host(tensor: torch.Tensor) -> np.ndarray:
        left.append(tensor.numel())
        return tensor.cpu().numpy()

    for module in (sam_hub, on_device):
        monkeypatch.setattr(module, "to_host", to_host)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(sam_hub, "free_bytes", lambda device: 1 << 30)
    image, points = photo(80, 48), prompts(80, 48)
    plain = HubSam(folders[kind], device=CPU)
    expected = plain.predict(plain.encode(image), points, min_iou=0.1)
    rows, boxes = np.array([1, 0]), np.array([[2, 3, 8, 6], [0, 0, 16, 8]])
    cells = np.array([[3, 4], [15, 0], [8, 8]])
    with pretend_gpu():
        gpu = HubSam(folders[kind], device=GPU, dtype=torch.float32)
        encoded = gpu.encode(image)
        left.clear()
        found = gpu.predict(encoded, points, min_iou=0.1)
        assert isinstance(found, DeviceMasks)
        measures = found.measure(1.0), expected.measure(1.0)
        size = {"offset": 1.0, "width": 80, "height": 48}
        wanted = expected.ious > np.median(expected.ious)
        resized = found.measure_resized(wanted, **size), expected.measure_resized(wanted, **size)
        parts = found.cut(rows, boxes)[1], expected.cut(rows, boxes)[1]
        held = found.holds(rows, cells), expected.holds(rows, cells)
    for name in ("ious", "levels", "prompts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for got, other in (pair for both in (measures, resized, parts, held) for pair in zip(*both, strict=True)):
        np.testing.assert_array_equal(got, other)
    kept = len(expected.ious)
    assert left == [21, 6 * kept, 6 * wanted.sum(), 8 * 5 + 16 * 9, 6]


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_model_one_at_a_time(folders: dict[str, Path], kind: str) -> None:
    """While one thread works on a photo, another may encode the next; SAM-HQ's hooks must not mix them."""
    segmenter = HubSam(folders[kind], device=CPU)
    points = prompts(48, 48)
    inside, most = 0, 0
    forward = segmenter._model.mask_decoder.forward

    def slow(*args: object, **kwargs: object) -> object:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        found = forward(*args, **kwargs)
        inside -= 1
        return found

    segmenter._model.mask_decoder.forward = slow

    def run(seed: int) -> PromptedMasks:
        image = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        found = segmenter.predict(segmenter.encode(image), points, min_iou=ALL)
        assert not torch.is_inference_mode_enabled()
        return found

    alone = [run(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(4)))
    assert most == 1
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found.logits, expected.logits)
        np.testing.assert_array_equal(found.ious, expected.ious)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_keeps_the_places_of_prompts(folders: dict[str, Path], kind: str) -> None:
    """bfloat16 for the nets; were the prompts rounded to it as well, they would move by whole pixels."""
    image, points = photo(80, 48), prompts(80, 48)
    single = HubSam(folders[kind], device=CPU)
    half = HubSam(folders[kind], device=CPU, dtype=torch.bfloat16)
    expected = single.predict(single.encode(image), points, min_iou=ALL)
    found = half.predict(half.encode(image), points, min_iou=ALL)
    error = np.linalg.norm(found.logits - expected.logits) / np.linalg.norm(expected.logits)
    assert error < 0.12


def test_masks_of_a_photo_come_out_of_a_hub_model(folders: dict[str, Path]) -> None:
    """The same way as with MobileSAM; no thresholds, because a random model predicts low IoUs."""
    settings = DescribeSettings(min_iou=ALL, min_stability=0, min_score=ALL, min_area=4)
    segmenter = load_segmenter(str(folders["sam"]))
    masks = segment_photo(photo(80, 48), prompts(80, 48), segmenter, settings)
    assert masks.labels.shape == (3, 48, 80)
    assert sorted(set(masks.levels.tolist())) == [0, 1, 2]
    assert segmenter.name.startswith(f"{folders['sam']}@")


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((962, 539), (1024, 574)),
        ((480, 640), (768, 1024)),
        ((4000, 3001), (1024, 768)),
        ((1, 9000), (1, 1024)),
    ],
)
def test_frame_size(size: tuple[int, int], frame: tuple[int, int]) -> None:
    assert frame_size(*size, 1024, stretch=False) == frame
    assert frame_size(*size, 1024, stretch=True) == (1024, 1024)


def test_missing_weights_are_told_instead_of_left_random(tmp_path: Path) -> None:
    folder = write_sam(tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"a whole SamModel: 1 .*mask_decoder\.iou_token\.weight"):
        HubSam(folder)


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    folder = write_sam(tmp_path / "sam")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"model_type": "sam"', '"model_type": "bert"'))
    with pytest.raises(ModelError, match="type 'bert'; a segmenter is one of: sam, sam_hq, sam2"):
        HubSam(folder)


def test_unknown_segmenters_list_the_known() -> None:
    with pytest.raises(ModelError, match="'sam9'; there are: mobile-sam, and SAM"):
        load_segmenter("sam9")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_in_half_precision_agrees_with_the_cpu(folders: dict[str, Path], kind: str) -> None:
    image, points = photo(80, 48), prompts(80, 48)
    cpu, gpu = HubSam(folders[kind], device=CPU), HubSam(folders[kind], device=torch.device("cuda"))
    expected = cpu.predict(cpu.encode(image), points, min_iou=ALL)
    found = gpu.predict(gpu.encode(image), points, min_iou=ALL)
    assert np.linalg.norm(found.logits - expected.logits) / np.linalg.norm(expected.logits) < 0.02
