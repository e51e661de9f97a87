"""Tiny random models in the hub's file format, for tests without a hub."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SAM_SIDE = 64  # px of a tiny segmenter's frame
CLIP_SIDE = 32  # px of a tiny encoder's pictures
TEXT_LENGTH = 12
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
WORDS = [
    "object",
    "things",
    "stuff",
    "texture",
    "red",
    "green",
    "blue",
    "yellow",
    "ball",
    "floor",
    "a",
    "mug",
]


def write_sam(folder: Path, kind: str = "sam", *, seed: int = 0) -> Path:
    """A segmenter of type "sam", "sam_hq", "sam2" or "sam2_video"."""
    torch.manual_seed(seed)
    model = {"sam": _sam, "sam_hq": _sam_hq, "sam2": _sam2, "sam2_video": _sam2_video}[kind]()
    widen(model)
    model.save_pretrained(folder)
    size = {"height": SAM_SIDE, "width": SAM_SIDE}
    settings = {
        "image_processor_type": "Sam2ImageProcessor" if kind.startswith("sam2") else "SamImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "rescale_factor": 1 / 255,
        "resample": 2,
        "size": size if kind.startswith("sam2") else {"longest_edge": SAM_SIDE},
        "pad_size": size,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def widen(model: torch.nn.Module) -> None:
    """Larger random weights than a fresh model's, which answers nearly the same whatever it is asked."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1.2 / parameter[0].numel() ** 0.5)


def _decoder() -> dict:
    return {
        "hidden_size": 32, "mlp_dim": 24, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        "num_hidden_layers": 2,
    }  # fmt: skip


def _vision() -> dict:
    return {
        "hidden_size": 16, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SAM_SIDE, "patch_size": 16, "window_size": 2,
        "global_attn_indexes": [1], "num_pos_feats": 16, "mlp_dim": 24,
    }  # fmt: skip


def _prompt() -> dict:
    return {"hidden_size": 32, "image_size": SAM_SIDE, "patch_size": 16, "mask_input_channels": 8}


def _sam() -> torch.nn.Module:
    config = transformers.SamConfig(
        vision_config=_vision(), prompt_encoder_config=_prompt(), mask_decoder_config=_decoder()
    )
    return transformers.SamModel(config)


def _sam_hq() -> torch.nn.Module:
    config = transformers.SamHQConfig(
        vision_config=_vision(),
        prompt_encoder_config=_prompt(),
        mask_decoder_config=_decoder() | {"vit_dim": 16},
    )
    return transformers.SamHQModel(config)


def _sam2_parts() -> dict:
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SAM_SIDE, SAM_SIDE],
        "blocks_per_stage": [1, 2, 2, 1],
        "embed_dim_per_stage": [8, 16, 24, 32], "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 2, 2], "global_attention_blocks": [4],
        "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone,
        "backbone_channel_list": [32, 24, 16, 8], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }  # fmt: skip
    return {
        "vision_config": vision,
        "prompt_encoder_config": _prompt(),
        "mask_decoder_config": _decoder(),
    }


def _sam2() -> torch.nn.Module:
    return transformers.Sam2Model(transformers.Sam2Config(**_sam2_parts()))


def _sam2_video() -> torch.nn.Module:
    config = transformers.Sam2VideoConfig(
        **_sam2_parts(),
        image_size=SAM_SIDE,
        memory_attention_hidden_size=32,
        memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1,
        memory_attention_feed_forward_hidden_size=24,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=24,
    )
    return transformers.Sam2VideoModel(config)


def write_clip(folder: Path, kind: str = "clip", *, seed: int = 0) -> Path:
    """An encoder of type "clip", "siglip" or "siglip2"."""
    torch.manual_seed(seed)
    tower = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": 64, "max_position_embeddings": TEXT_LENGTH}
    vision = tower | {"image_size": CLIP_SIDE, "patch_size": 8}
    if kind == "clip":
        text |= {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)
        model = transformers.CLIPModel(config)
    elif kind == "siglip":
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    else:
        vision = tower | {"num_patches": 16, "patch_size": 8}
        model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=text, vision_config=vision))
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
    widen(model)
    model.save_pretrained(folder)
    write_tokenizer(folder, kind)
    settings = {
        "image_processor_type": kind.replace("clip", "CLIP") + "ImageProcessor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "size": {"shortest_edge": CLIP_SIDE} if kind == "clip" else {"height": CLIP_SIDE, "width": CLIP_SIDE},
        "crop_size": {"height": CLIP_SIDE, "width": CLIP_SIDE},
    }  # fmt: skip
    if kind == "siglip2":
        settings |= {"resample": 2, "size": None, "crop_size": None, "patch_size": 8, "max_num_patches": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def write_tokenizer(folder: Path, kind: str) -> None:
    """A tokenizer that knows `WORDS`, as `tokenizer.json`; CLIP's encloses a text, SigLIP's ends it."""
    special = ["[PAD]", "[EOS]", "[BOS]", "[UNK]"]  # an end of id 2 would mean an old mistake to CLIP
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    if kind == "clip":
        tokenizer.normalizer = normalizers.Lowercase()
    single = "[BOS] $A [EOS]" if kind == "clip" else "$A [EOS]"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("[EOS]", 1), ("[BOS]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "SiglipTokenizer" if kind == "siglip" else "PreTrainedTokenizerFast",
        "pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


DETECTOR_WORDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
"""Ids of the marks that Grounding DINO looks for; they are BERT's."""


def write_detector(folder: Path, *, seed: int = 0) -> Path:
    """A Grounding DINO with a Swin backbone and a BERT of one layer."""
    torch.manual_seed(seed)
    swin = {
        "model_type": "swin", "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1],
        "num_heads": [1, 2, 2, 2], "window_size": 2, "out_indices": [2, 3, 4],
    }  # fmt: skip
    bert = {
        "model_type": "bert", "vocab_size": 1040, "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64,
    }  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=bert, num_queries=7, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_text_len=24,
    )  # fmt: skip
    model = transformers.GroundingDinoForObjectDetection(config)
    model.save_pretrained(folder)
    vocabulary = DETECTOR_WORDS | {word: 1 + number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(marks))
    settings = {
        "image_processor_type": "GroundingDinoImageProcessor", "image_mean": MEAN, "image_std": STD,
        "rescale_factor": 1 / 255, "resample": 2, "size": {"shortest_edge": 64, "longest_edge": 96},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
