"""Masks from boxes: MobileSAM on drawn shapes, tiny models of the hub against their own forward pass."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.tiny_models import MEAN, SAM_SIDE, STD, write_sam

from gags import models
from gags.errors import ModelError
from gags.segment.sam import hub as sam_hub
from gags.segment.sam.boxes import HubSamBoxes, MobileSamBoxes, load_box_segmenter


def test_mobile_sam_cuts_out_what_a_box_holds(models_dir: Path):
    photo = np.full((240, 400, 3), (40, 60, 90), np.uint8)
    truth = np.zeros((2, 240, 400), np.uint8)
    cv2.ellipse(truth[0], (100, 120), (50, 70), 0, 0, 360, 1, -1)
    cv2.rectangle(truth[1], (230, 60), (359, 149), 1, -1)
    photo[truth[0] > 0], photo[truth[1] > 0] = (220, 60, 40), (230, 220, 60)
    wanted = np.array([[50, 50, 151, 191], [230, 60, 360, 150]], np.float32)
    masks = MobileSamBoxes(models_dir / "mobile_sam").masks(photo, wanted)
    assert masks.shape == (2, 240, 400)
    for mask, shape in zip(masks, truth > 0, strict=True):
        assert (mask & shape).sum() / (mask | shape).sum() > 0.95
    assert MobileSamBoxes(models_dir / "mobile_sam").masks(photo, wanted[:0]).shape == (0, 240, 400)


@pytest.mark.parametrize("kind", ["sam", "sam_hq", "sam2"])
def test_hub_models_answer_as_their_own_forward_pass(kind: str, tmp_path: Path, monkeypatch):
    """Boxes in px of the photo against boxes in px of the frame, given to the model class itself."""
    import transformers

    folder = write_sam(tmp_path / kind, kind)
    photo = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    wanted = np.array([[6, 9, 60, 42], [0, 0, 95, 47], [30, 3, 36, 12]], np.float32)
    monkeypatch.setattr(sam_hub, "MAX_BOXES", 2)
    masks = HubSamBoxes(folder, device=torch.device("cpu")).masks(photo, wanted)
    classes = {"sam": "SamModel", "sam_hq": "SamHQModel", "sam2": "Sam2Model"}
    model = getattr(transformers, classes[kind]).from_pretrained(folder).eval()
    rows, columns = (SAM_SIDE, SAM_SIDE) if kind == "sam2" else (32, 64)
    frame = torch.zeros(1, 3, SAM_SIDE, SAM_SIDE)
    small = np.asarray(Image.fromarray(photo).resize((columns, rows), Image.Resampling.BILINEAR))
    pixels = (torch.tensor(small).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    frame[0, :, :rows, :columns] = pixels.permute(2, 0, 1)
    scaled = torch.tensor(wanted * [columns / 96, rows / 48, columns / 96, rows / 48]).float()[None]
    with torch.no_grad():
        logits = model(frame, input_boxes=scaled, multimask_output=False).pred_masks[0, :, 0].numpy()
    cells = logits.shape[-1] / SAM_SIDE
    shown = logits[:, : round(rows * cells), : round(columns * cells)]
    expected = np.stack([cv2.resize(part, (96, 48), interpolation=cv2.INTER_LINEAR) for part in shown]) > 0
    assert (masks == expected).mean() > 0.999
    assert 0.01 < masks.mean() < 0.99
    assert not (masks[0] == masks[1]).all()


def test_a_segmenter_is_found_by_its_name(tmp_path: Path, monkeypatch):
    folder = write_sam(tmp_path / "sam")
    assert isinstance(load_box_segmenter(models.canonical(str(folder))), HubSamBoxes)
    with pytest.raises(ModelError, match="lite is no segmenter but an encoder"):
        load_box_segmenter("lite")
