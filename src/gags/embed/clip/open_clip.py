"""CLIP weights as open_clip names them → as `transformers` names them.

The paper's CLIP is published as safetensors in open_clip's layout only; its `pytorch_model.bin` is a pickle.
"""

from collections.abc import Mapping

from torch import Tensor

from gags.errors import ModelError

_PLAIN = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",  # misspelt there
    "visual.ln_post": "vision_model.post_layernorm",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
_TOWERS = {
    "transformer.resblocks.": "text_model.encoder.layers.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
}
_IN_A_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a CLIP with plain transformers as towers (ViT-B/32 to ViT-bigG) under the other names.

    Raises:
        ModelError: If there is a weight that such a CLIP does not have.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        found.update(_rename(name, tensor))
    return found


def _rename(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name in _TRANSPOSED:
        return {_TRANSPOSED[name]: tensor.T.contiguous()}
    for prefix, target in _TOWERS.items():
        if name.startswith(prefix):
            number, _, inner = name.removeprefix(prefix).partition(".")
            return {f"{target}{number}.{key}": part for key, part in _in_a_layer(inner, tensor).items()}
    if name in _PLAIN:
        return {_PLAIN[name]: tensor}
    stem, _, kind = name.rpartition(".")
    if stem in _PLAIN:
        return {f"{_PLAIN[stem]}.{kind}": tensor}
    raise ModelError(f"the open_clip weights hold {name}, which no plain CLIP has; take another model")


def _in_a_layer(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = name.removeprefix("attn.in_proj_")
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"self_attn.{letter}_proj.{kind}": part.contiguous() for letter, part in parts}
    stem, _, kind = name.rpartition(".")
    if stem not in _IN_A_LAYER:
        raise ModelError(
            f"the open_clip weights hold {name} in a layer, which no plain CLIP has; take another model"
        )
    return {f"{_IN_A_LAYER[stem]}.{kind}": tensor}
