"""SAM's decoder run as exported, but with all masks of many prompts: the reference of `MaskDecoder`."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

_LOGITS = "/Reshape_9_output_0"  # logits of all four masks, before the export picks one. [B, 4, 256, 256]
_IOUS = "/iou_prediction_head/layers.2/Gemm_output_0"  # predicted IoU of all four. [B, 4]


class ExportedDecoder:
    """SAM's prompt encoder and mask decoder, run as exported.

    Args:
        path: `sam.onnx`, the export that returns one mask a call.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        # Idle threads would otherwise spin, and their time would count where it is measured.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(three_masks(path).SerializeToString(), options)

    def run(self, embedding: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode point prompts.

        Args:
            embedding: Image embedding. float32 [1, 256, 64, 64]
            points: Prompts (x, y) in px of SAM's frame, pixel centres at .5. float32 [B, 2]

        Returns:
            Mask logits float32 [B, 3, 256, 256] and predicted IoUs float32 [B, 3].
        """
        coords = np.zeros((len(points), 2, 2), np.float32)
        coords[:, 0] = points - 0.5  # the export adds the half pixel itself
        labels = np.tile(np.array([1, -1], np.float32), (len(points), 1))
        inputs: dict[str, Any] = {
            "image_embeddings": embedding,
            "point_coords": coords,
            "point_labels": labels,
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
        }
        logits, ious = (np.asarray(output) for output in self._session.run([_LOGITS, _IOUS], inputs))
        return logits[:, 1:], ious[:, 1:]


def three_masks(path: Path) -> onnx.ModelProto:
    """The export with the logits and IoUs of all masks as outputs, for any number of prompts.

    The file computes four masks and returns one. The nodes that choose it are removed, and so is their input
    `orig_im_size`.
    """
    model = onnx.load(str(path))
    graph = model.graph
    needed = {_LOGITS, _IOUS}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    inputs = [value for value in graph.input if value.name in needed]
    for value in inputs:
        if value.name in ("point_coords", "point_labels"):
            value.type.tensor_type.shape.dim[0].dim_param = "prompts"
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (_LOGITS, _IOUS)]
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    cut = helper.make_graph(kept[::-1], graph.name, inputs, outputs, initializers)
    return helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)
