"""Compare the two nets of `lite` with what libraries make of the same weights: figures, digits, time.

    pip install onnxscript
    python benchmarks/lite_nets.py SCENE [--photos 4] [--masks 64]

SCENE is a finished scene; masks of some of its photos are embedded, and its texts are everyday words.

1. EfficientNet: the graph that `gags.embed.lite.efficientnet` builds, against the net of the package
   `efficientnet-lite-pytorch` as `torch.onnx.export` converts it: as it is, and with batch normalisation
   folded into the convolutions in the same order and with the same operation for the last mean.
2. MiniLM: `gags.embed.lite.minilm` against `BertModel` of `transformers`, both on one thread.

A row of `lite` differs if any of its 523 numbers, as float16, has other bits. Milliseconds are processor time
of one core a picture or a text; "ready" is the wall time of a new process from its first line to a loaded
net, the best of three.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn import functional

from gags.embed.crops import cut_crops
from gags.embed.description import Description
from gags.embed.lite.encoder import LiteEncoder
from gags.embed.lite.tables import class_texts
from gags.models import own as models
from gags.query.names import EVERYDAY
from gags.scene import Scene

WEIGHTS = "efficientnet-lite2-9656183e.pth"
NORM_EPSILON = 1e-3
LOADING = {
    "EfficientNet, ours": "from gags.embed.lite import efficientnet; efficientnet.EfficientNetLite2(images)",
    "MiniLM, ours": "from gags.embed.lite import minilm; minilm.MiniLM(texts)",
    "MiniLM, transformers": "import transformers; transformers.BertModel.from_pretrained(texts)",
}

Net = Callable[[np.ndarray], np.ndarray]


class WholeNet(nn.Module):
    """From pictures, uint8 [B, 260, 260, 3], to activations; `folded` repeats the arithmetic of our graph."""

    def __init__(self, *, folded: bool) -> None:
        super().__init__()
        self.net = EfficientNet.from_name("efficientnet-lite2").eval()
        self.net.load_state_dict(torch.load(models.files("lite")[WEIGHTS], weights_only=True))
        self.folded = folded
        if folded:
            fold(self.net, {"_conv_stem": "_bn0", "_conv_head": "_bn1"})
            for block in self.net._blocks:
                fold(block, {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"})

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = self.net.extract_features(((pictures.float() - 127) / 128).permute(0, 3, 1, 2))
        return functional.avg_pool2d(maps, 9).flatten(1) if self.folded else maps.mean((2, 3))


def fold(module: nn.Module, norms: dict[str, str]) -> None:
    """Fold batch normalisation into the convolutions before it, in the order of our graph's arithmetic."""
    for name, norm_name in norms.items():
        if not hasattr(module, name):
            continue
        conv, norm = getattr(module, name), getattr(module, norm_name)
        mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
        gain, shift = norm.weight.detach().numpy(), norm.bias.detach().numpy()
        factor = gain / np.sqrt(variance + NORM_EPSILON)
        conv.weight.data *= torch.from_numpy(factor)[:, None, None, None]
        conv.bias = nn.Parameter(torch.from_numpy(shift - mean * factor))
        setattr(module, norm_name, nn.Identity())


def converted(folder: Path, *, folded: bool) -> Net:
    """The net as `torch.onnx.export` converts it, run like ours."""
    path = folder / f"folded-{folded}.onnx"
    started = time.monotonic()
    pictures = torch.zeros(2, 260, 260, 3, dtype=torch.uint8)
    torch.onnx.export(
        WholeNet(folded=folded).eval(),
        (pictures,),
        path,
        input_names=["pictures"],
        dynamic_shapes={"pictures": {0: torch.export.Dim("B")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    print(f"converted in {time.monotonic() - started:.1f} s, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pictures: np.asarray(session.run(None, {"pictures": pictures})[0])


def crops_of(scene: Scene, encoder: LiteEncoder, photos: int, masks: int) -> list[np.ndarray]:
    """Crops of up to so many masks of each of some photos. uint8 [M, 2, 260, 260, 3] each"""
    found = []
    for view in scene.capture.train[:photos]:
        description = Description.load(scene.workspace.description(view.name))
        found.append(next(cut_crops(view.image(), description.masks, encoder, batch=masks)))
    return found


def compare_images(encoder: LiteEncoder, crops: list[np.ndarray], nets: dict[str, Net]) -> None:
    """One row a net; the first one is ours."""
    image_net = encoder._image_net
    kept, rows = image_net._run, {}
    for name, net in nets.items():
        image_net._run = net
        started = time.process_time()
        activations = np.concatenate([image_net.activations(c.reshape(-1, *c.shape[2:])) for c in crops])
        milliseconds = 1000 * (time.process_time() - started) / len(activations)
        embeddings = np.concatenate([encoder.encode_images(c) for c in crops]).astype(np.float16)
        rows[name] = activations, embeddings, milliseconds
    image_net._run = kept
    print_rows(rows, "activations")


def compare_texts(encoder: LiteEncoder, texts: list[str]) -> None:
    """One row a way to run MiniLM."""
    ours = encoder._text_net
    rows = {}
    for name, net in {"MiniLM, ours": ours, "MiniLM, transformers": Transformers()}.items():
        encoder._text_net = net  # type: ignore[assignment]
        started = time.process_time()
        vectors = net.encode(texts)
        milliseconds = 1000 * (time.process_time() - started) / len(texts)
        rows[name] = vectors, encoder.encode_texts(texts).astype(np.float16), milliseconds
    encoder._text_net = ours
    print_rows(rows, "text vectors")


def print_rows(rows: dict[str, tuple[np.ndarray, np.ndarray, float]], what: str) -> None:
    """How far each way is from the first one."""
    print(f"\n| net | largest difference of {what} | rows of lite that differ | ms |\n|---|---|---|---|")
    first, first_embeddings, _ = next(iter(rows.values()))
    for name, (values, embeddings, milliseconds) in rows.items():
        other = (embeddings.view(np.uint16) != first_embeddings.view(np.uint16)).any(1)
        largest = np.abs(values - first).max()
        print(f"| {name} | {largest:.1e} | {other.sum()} of {len(other)} | {milliseconds:.1f} |")


class Transformers:
    """MiniLM through `transformers`, in the batches of ours."""

    def __init__(self) -> None:
        from transformers import AutoTokenizer, BertModel

        folder = models.files("lite")["model.safetensors"].parent
        self._net = BertModel.from_pretrained(folder, local_files_only=True).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> np.ndarray:
        vectors = np.empty((len(texts), 384), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable").tolist()
        for start in range(0, len(order), 16):
            rows = order[start : start + 16]
            inputs = self._tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            states = self._net(**inputs).last_hidden_state
            used = inputs["attention_mask"][..., None].float()
            vectors[rows] = functional.normalize((states * used).sum(1) / used.sum(1), dim=-1).numpy()
        return vectors


def print_loading() -> None:
    """How long each net takes to load in a new process."""
    files = models.files("lite")
    start = f"""
import time
started = time.monotonic()
from pathlib import Path
images, texts = Path({str(files[WEIGHTS])!r}), Path({str(files["model.safetensors"].parent)!r})
"""
    seconds: dict[str, list[float]] = {name: [] for name in LOADING}
    for _ in range(3):
        for name, lines in LOADING.items():
            program = [sys.executable, "-c", f"{start}{lines}\nprint(time.monotonic() - started)"]
            output = subprocess.run(program, check=True, text=True, capture_output=True).stdout
            seconds[name].append(float(output.split()[-1]))
    print("\n| net | ready, s |\n|---|---|")
    for name, measured in seconds.items():
        print(f"| {name} | {min(measured):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene", type=Path)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--masks", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scene, encoder = Scene.load(given.scene), LiteEncoder()
    crops = crops_of(scene, encoder, given.photos, given.masks)
    with tempfile.TemporaryDirectory() as folder:
        compare_images(
            encoder,
            crops,
            {
                "EfficientNet, ours": encoder._image_net._run,
                "EfficientNet, converted": converted(Path(folder), folded=False),
                "EfficientNet, converted, folded": converted(Path(folder), folded=True),
            },
        )
    compare_texts(encoder, [*class_texts(), *EVERYDAY])
    print_loading()


if __name__ == "__main__":
    main()
