"""Models of their real sizes with random weights in the hub's file format, for tests without a hub."""

import json
from pathlib import Path

import torch
import transformers

from gags.models.pretrained import IMAGENET_MEAN, IMAGENET_STD
from tests.helpers.tiny_models import widen, write_tokenizer


def write_full_sam(folder: Path) -> Path:
    """SAM ViT-B: 94 million weights, frames of 1024 px; its configuration is the default one."""
    torch.manual_seed(0)
    model = transformers.SamModel(transformers.SamConfig())
    widen(model)
    model.save_pretrained(folder)
    side = {"height": 1024, "width": 1024}
    settings = {
        "image_processor_type": "SamImageProcessor", "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD,
        "rescale_factor": 1 / 255, "resample": 2, "size": {"longest_edge": 1024}, "pad_size": side,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_full_clip(folder: Path) -> Path:
    """CLIP ViT-B/16: 150 million weights, pictures of 224 px; its tokenizer knows a few words only."""
    torch.manual_seed(0)
    # The defaults are those of ViT-B/32, but for the patches.
    text = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    config = transformers.CLIPConfig(text_config=text, vision_config={"patch_size": 16}, projection_dim=512)
    model = transformers.CLIPModel(config)
    widen(model)
    model.save_pretrained(folder)
    write_tokenizer(folder, "clip")
    return folder
