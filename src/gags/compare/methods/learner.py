"""What a method of the comparison is: a learner that learns language for a scene and can then be asked.

To add one, write a file with a learner beside this one and give it a row in `methods/__init__.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from gags.capture import Camera, View
from gags.embed.description import Description
from gags.embed.encoder import Encoder
from gags.errors import WorkspaceError
from gags.evaluate.answerer import Answerer
from gags.gaussians import Gaussians
from gags.progress import Reporter
from gags.store import damaged, load_metadata, load_tensors
from gags.things.find import find_things
from gags.things.things import Things

REMEDY = "delete it and run again"  # what to do about a damaged file of a method

DAMAGED_EMBEDDINGS = "run `gags describe` again: an embedding of a mask may be damaged"
"""What to do where a training with fixed rates diverges."""

FIGURES = "figures"  # metadata of a method's file: more figures by name, see `learnt_figures`

Prompts = Literal["granularity-aware", "uniform", "crops", "lite", "paper", "released"]
"""How photos are prompted: as the scene is described, as many prompts evenly, LangSplat's own 5,120, or as a
preset says."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every method learns from.

    Attributes:
        gaussians: The scene.
        items: Camera and masks of every photo to learn from.
        encoder: The encoder that embedded the masks.
        views: Those photos themselves, for methods that look at more than masks; in the order of `items`.
        segmenter: Name of the model that cut the masks; empty if they are not a model's.
    """

    gaussians: Gaussians
    items: Sequence[tuple[Camera, Description]]
    encoder: Encoder
    views: Sequence[View] = ()
    segmenter: str = ""

    def embeddings(self) -> Tensor:
        """L2-normalised embeddings of all masks of all photos, in their order. float32 [M, D]

        Raises:
            WorkspaceError: If no photo has a mask.
        """
        parts = [described.embeddings for _, described in self.items if len(described.masks)]
        if not parts:
            raise WorkspaceError("no photo has a single mask, there is nothing to learn; check the photos")
        return torch.from_numpy(np.concatenate(parts)).float().to(self.gaussians.means.device)

    def things(self) -> Things:
        """What the scene consists of, found from the masks; not kept."""
        return find_things(self.gaussians, self.items)

    def levels(self) -> Tensor:
        """Level (0, 1, 2) of every mask of all photos, in their order. int64 [M]"""
        parts = [described.masks.levels for _, described in self.items]
        return torch.from_numpy(np.concatenate(parts)).long().to(self.gaussians.means.device)


def checkpoint_beside(path: Path) -> Path:
    """Where a learner that writes to `path` may keep its state meanwhile, to go on from if it is stopped.

    Whoever calls the learner removes it: one of another task before, its own once the result is on record.
    """
    return path.with_name("checkpoint.safetensors")


class Learner(Protocol):
    """Learns language for a scene.

    A frozen dataclass: its fields are all settings that it depends on. What it learnt counts as stale when
    they or the name of its class change. Where it learns by other rules than before, it has a number
    `lessons` that is raised, from 1. Where only its answers change, it has a number `answers` that is raised,
    from 1: then earlier scores alone count as stale.
    """

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Learn from the masks and write what was learnt to a safetensors file, atomically.

        The file's tensor "features" holds what is kept for every Gaussian: a feature, or a whole embedding.
        Its metadata may hold more figures of the method, see `learnt_figures`.
        """
        ...

    def load(self, path: Path, inputs: Inputs) -> Answerer:
        """What `learn` wrote from these inputs, ready to be asked."""
        ...


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes:
        name: Under this name it is asked for and kept.
        title: What it is, for the table.
        learner: What learns and answers.
        prompts: How the photos were prompted before masks were cut; "uniform" has as many prompts in total as
            "granularity-aware", "crops" as many as LangSplat.
    """

    name: str
    title: str
    learner: Learner
    prompts: Prompts = "granularity-aware"


def bytes_per_gaussian(path: Path, gaussians: int) -> float:
    """Size of what a learner's file keeps for one Gaussian, its tensor "features" without decoders, bytes.

    Raises:
        WorkspaceError: If the file is missing or damaged, or its method wrote no such tensor.
    """
    stored = load_tensors(path, remedy=REMEDY)
    if "features" not in stored.tensors:
        raise damaged(path, "the method that wrote it kept no tensor called 'features'", REMEDY)
    features = stored.tensors["features"]
    return features.numel() * features.element_size() / gaussians


def learnt_figures(path: Path) -> dict[str, float]:
    """Figures that a learner left in its file, such as the cosine of an autoencoder; none for most.

    They are a JSON object of numbers in the metadata of the file, under the name `FIGURES`.

    Raises:
        WorkspaceError: If the file is damaged.
    """
    text = load_metadata(path, remedy=REMEDY).get(FIGURES, "{}")
    try:
        return {str(name): float(value) for name, value in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged(path, error, REMEDY) from error
