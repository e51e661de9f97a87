"""Read SAM's ONNX exports: a session that runs the image encoder, the bare weights of the mask decoder."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gags.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import onnxruntime


_BY_HEAD = {  # projections of attentions that the decoder takes split by head
    "layers.0.cross_attn_image_to_token": ("out",),
    "layers.1.cross_attn_image_to_token": ("q", "out"),
    "layers.1.cross_attn_token_to_image": ("k", "v"),
    "final_attn_token_to_image": ("k", "v"),
}


def load_session(path: Path) -> "onnxruntime.InferenceSession":
    """Open an ONNX model on the CPU.

    Raises:
        ModelError: If it is no ONNX model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # As many as PyTorch; onnxruntime's own choice would tie each thread to a core that may be another's.
    options.intra_op_num_threads = torch.get_num_threads()
    # Idle threads would otherwise spin, and take the cores from the decoder's threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ModelError(f"{path} cannot be opened ({error}); pull the model again") from error


def _load_graph(path: Path) -> "onnx.GraphProto":
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path)).graph
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path} cannot be read as ONNX ({error}); pull the model again") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights of the decoder from the export, in the shapes that `MaskDecoder` takes.

    Names are SAM's without `mask_decoder.transformer.`. `NAME.heads` is a projection split by head:
    [8, 256, 16] into the heads, [8, 16, 256] out of them.

    Raises:
        ModelError: If the file is not such an export or a weight is missing.
    """
    from onnx import numpy_helper

    graph = _load_graph(path)
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    weights = {}
    for name, tensor in stored.items():
        if name.startswith("mask_decoder."):
            weights[name.removeprefix("mask_decoder.").removeprefix("transformer.")] = tensor
    try:
        weights |= _find_unnamed(graph, stored)
        prompt = "model.prompt_encoder."
        weights["fourier_matrix"] = stored[prompt + "pe_layer.positional_encoding_gaussian_matrix"]
        weights["point_embed"] = stored[prompt + "point_embeddings.1.weight"]
        weights["not_a_point_embed"] = stored[prompt + "not_a_point_embed.weight"]
        for block, projections in _BY_HEAD.items():
            for projection in projections:
                weight = weights[f"{block}.{projection}_proj.weight"].T
                out = projection == "out"
                split = weight.reshape(8, 16, 256) if out else weight.reshape(256, 8, 16).transpose(0, 1)
                weights[f"{block}.{projection}_proj.heads"] = split.contiguous()
        first, second = (weights[f"output_upscaling.{layer}.weight"] for layer in (0, 3))
        # [in, out, 2, 2] to matrices; columns of the first go cell by cell of the 2×2, of the second channel
        # by channel.
        weights["output_upscaling.0.weight"] = first.permute(0, 2, 3, 1).reshape(256, 256).contiguous()
        weights["output_upscaling.3.weight"] = second.reshape(64, 128).contiguous()
        weights["output_upscaling.3.bias"] = weights["output_upscaling.3.bias"].repeat_interleave(4)
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path} lacks a weight of SAM's mask decoder ({error}); pull the model again"
        ) from error
    return weights


def _find_unnamed(graph: "onnx.GraphProto", stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights that lost their names in the export, found by the operations that use them."""
    makers = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        constants = [name for name in node.input if name in stored]
        if not constants:
            continue
        tensor, shape = stored[constants[0]], tuple(stored[constants[0]].shape)
        if node.op_type == "Add" and constants[0].endswith(".bias"):
            # A linear layer: a product with an unnamed matrix, then the bias that kept its name.
            product = next(makers[name] for name in node.input if name not in stored)
            layer = constants[0].removeprefix("mask_decoder.transformer.").removesuffix("bias")
            if product.op_type == "MatMul":
                found[layer + "weight"] = stored[product.input[1]].T.contiguous()
        elif shape == (64, 1, 1):
            found["output_upscaling.1." + ("weight" if node.op_type == "Mul" else "bias")] = tensor.flatten()
        elif shape == (1, 256, 1, 1):
            found["no_mask_embed"] = tensor.flatten()
        elif shape == (1, 5, 256):
            found["output_tokens"] = tensor
    return found
