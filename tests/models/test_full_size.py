"""SAM ViT-B and CLIP ViT-B/16 at their real sizes, with random weights: one photo through `describe`.

    pytest -m slow tests/models/test_full_size.py -s

prints how long it takes and how much memory.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch
from tests.helpers.blobs import make_scene
from tests.helpers.full_models import write_full_clip, write_full_sam
from tests.helpers.toy_capture import HEIGHT, PALETTE, WIDTH, write_capture

from gags import pipeline
from gags.embed.description import Description
from gags.gaussians import SH_C0
from gags.gaussians.ply import save_ply
from gags.workspace import Workspace

PHOTO = (1440, 1080)
PROMPTS_A_SIDE = 3

CHILD = """
import json, resource, sys, time
import numpy as np
import psutil
from gags import pipeline
from gags.embed import load_encoder
from gags.segment import load_segmenter
from gags.segment.settings import DescribeSettings

scene, sam, clip, side = *sys.argv[1:4], int(sys.argv[4])
# Random weights rate masks anyhow, and make unstable ones that cover most of the photo: all stay.
limits = {"min_iou": -1e9, "min_stability": 0, "min_score": -1e9, "box_nms_iou": 1, "mask_nms_iou": 1}
settings = DescribeSettings(prompts="grid", grid_side=side, **limits)
before, started = psutil.Process().memory_info().rss, time.perf_counter()
worked = time.process_time()
pipeline.describe(scene, settings, preset="lite", segmenter=sam, encoder=clip)
told = {
    "seconds": time.perf_counter() - started,
    "cpu_seconds": time.process_time() - worked,
    "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    "before_gb": before / 1e9,
}

segmenter, encoder = load_segmenter(sam), load_encoder(clip)
rng = np.random.default_rng(0)
started = time.perf_counter()
encoded = segmenter.encode(rng.integers(0, 256, (1080, 1440, 3), dtype=np.uint8))
told["encode_seconds"] = time.perf_counter() - started
told["encoded"] = {k: list(v.shape) for k, v in encoded.inputs.items() if hasattr(v, "shape")}
started = time.perf_counter()
masks = segmenter.predict(encoded, np.array([[9, 9], [700, 500]], np.float32), min_iou=-1e9)
told["decode_seconds_a_prompt"] = (time.perf_counter() - started) / 2
told["logits"], told["extent"] = masks.logits.shape, masks.extent
started = time.perf_counter()
images = encoder.encode_images(rng.integers(0, 256, (4, 1, 224, 224, 3), dtype=np.uint8))
told["embed_seconds_a_crop"] = (time.perf_counter() - started) / 4
told["images"], told["texts"] = images.shape, encoder.encode_texts(["red ball", "a mug", "blue"]).shape
told["weights"] = [sum(p.numel() for p in model._model.parameters()) for model in (segmenter, encoder)]
print(json.dumps(told))
"""


def write_scene(folder: Path) -> Path:
    """A scene of one photo of 1440×1080, whose Gaussians are there."""
    capture = write_capture(folder / "capture", views=1)
    transforms = json.loads((capture / "transforms.json").read_text())
    for name in ("fl_x", "cx", "w"):
        transforms[name] *= PHOTO[0] / WIDTH
    for name in ("fl_y", "cy", "h"):
        transforms[name] *= PHOTO[1] / HEIGHT
    (capture / "transforms.json").write_text(json.dumps(transforms))
    photo = capture / transforms["frames"][0]["file_path"]
    cv2.imwrite(str(photo), cv2.resize(cv2.imread(str(photo)), PHOTO, interpolation=cv2.INTER_CUBIC))
    toy = make_scene(1)
    colors = torch.from_numpy(PALETTE[toy.owner] / 255).float()
    save_ply(replace(toy.gaussians, sh=((colors - 0.5) / SH_C0)[:, None]), folder / "made.ply")
    photos = pipeline.CaptureSettings(test_every=0)
    return pipeline.reconstruct(capture, folder / "ws", photos=photos, splats=folder / "made.ply").root


@pytest.mark.slow
def test_one_photo_through_models_of_real_size(tmp_path: Path) -> None:
    scene = write_scene(tmp_path)
    sam, clip = write_full_sam(tmp_path / "sam"), write_full_clip(tmp_path / "clip")
    arguments = [str(scene), str(sam), str(clip), str(PROMPTS_A_SIDE)]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    workspace = Workspace(scene)
    description = Description.load(workspace.description("view_00.png"))
    masks, count = description.masks, len(description.masks)
    print(
        f"\n{count} masks of {PROMPTS_A_SIDE**2} prompts in {told['seconds']:.0f} s, "
        f"{told['cpu_seconds']:.0f} s of them processor time, at most {told['peak_gb']:.1f} GB "
        f"({told['before_gb']:.1f} GB before); image encoder {told['encode_seconds']:.1f} s, decoder "
        f"{told['decode_seconds_a_prompt'] * 1e3:.0f} ms a prompt, CLIP "
        f"{told['embed_seconds_a_crop'] * 1e3:.0f} ms a crop"
    )
    assert told["weights"] == [93_735_728, 149_620_737]
    assert told["encoded"] == {
        "image_embeddings": [1, 256, 64, 64],
        "image_positional_embeddings": [1, 256, 64, 64],
    }
    assert (told["logits"], told["extent"]) == ([6, 192, 256], [256, 192])
    assert (told["images"], told["texts"]) == ([4, 512], [3, 512])
    assert masks.labels.shape == (3, 1080, 1440)
    assert description.prompts.shape == (PROMPTS_A_SIDE**2, 2)
    assert count > 3
    assert masks.labels.max() == count - 1
    assert (masks.levels.shape, masks.scores.shape, masks.boxes.shape) == ((count,), (count,), (count, 4))
    assert description.embeddings.shape == (count, 512)
    lengths = (description.embeddings.astype(float) ** 2).sum(1)
    assert abs(lengths - 1).max() < 0.01
    assert told["peak_gb"] < 8
