"""Segmenters through `transformers`, from tiny random models, against plain forwards of the same models."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.helpers.tiny_models import MEAN, SAM_SIDE, STD, write_sam
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from gags.errors import ModelError
from gags.segment import load_segmenter
from gags.segment.photo import segment_photo
from gags.segment.sam import hub as sam_hub
from gags.segment.sam.hub import HubSam, frame_size
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


def test_no_prompts(folders: dict[str, Path]) -> None:
    segmenter = HubSam(folders["sam"], device=CPU)
    found = segmenter.predict(segmenter.encode(photo(80, 48)), np.empty((0, 2), np.float32))
    assert found.logits.shape == (0, 10, 16)
    assert len(found.ious) == len(found.levels) == len(found.prompts) == 0


def test_memory_that_runs_out_halves_the_batch(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = HubSam(folders["sam"], device=CPU)
    encoded, points = segmenter.encode(photo(80, 48)), prompts(80, 48)
    expected = segmenter.predict(encoded, points, min_iou=ALL)
    decode, sizes = segmenter._decode, []

    def small_memory(encoded: object, batch: np.ndarray) -> object:
        sizes.append(len(batch))
        if len(batch) > room:
            raise torch.cuda.OutOfMemoryError
        return decode(encoded, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(segmenter, "_decode", small_memory)
    room = 2
    found = segmenter.predict(encoded, points, min_iou=ALL)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    room = 0
    with pytest.raises(ModelError, match="more memory than cpu has free"):
        segmenter.predict(encoded, points)


def test_embeddings_too_large_for_half_precision_are_computed_in_single(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = HubSam(folders["sam"], device=CPU, dtype=torch.bfloat16)
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
    ("size", "frame"), [((962, 539), (1024, 574)), ((480, 640), (768, 1024)), ((4000, 3001), (1024, 768))]
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
