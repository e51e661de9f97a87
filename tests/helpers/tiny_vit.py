"""A tiny random ViT in the hub's file format, as DINO is published: without a pooling layer."""

import json
from pathlib import Path

import torch
import transformers

from tests.helpers.tiny_models import MEAN, STD

PATCH = 8
DIM = 24


def write_vit(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A ViT of 4×4 patches of 8 px."""
    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=DIM,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=4 * PATCH,
        patch_size=PATCH,
    )
    model = transformers.ViTModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    model.save_pretrained(folder)
    settings = {"image_mean": MEAN, "image_std": STD, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
