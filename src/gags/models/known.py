"""The models of the Hugging Face hub that gags knows by name; any other of their families works as well."""

from dataclasses import dataclass
from typing import Literal

PAPER_SEGMENTER = "facebook/sam-vit-huge"
"""SAM ViT-H, the paper's segmenter."""

PAPER_ENCODER = "laion/CLIP-ViT-B-16-laion2B-s34B-b88K"
"""CLIP ViT-B/16 trained on LAION-2B, the paper's encoder."""


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
    kind: Literal["segmenter", "encoder"]
    size: int
    about: str
    licence: str
    revision: str = "main"


# The commits are those that several public projects have written down for these repositories; none was looked
# up on the hub itself. SAM-HQ's is in one record only, which has those of the three SAMs as the others have
# them. `NAME@REVISION` asks for another one.
KNOWN = (
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
        "CLIP ViT-B/16 of LAION-2B, the paper's; the default wherever it is to be had",
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
