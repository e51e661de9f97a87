"""GAGS itself: one language field with levels weighed by granularity, and its ablations by their settings."""

from dataclasses import dataclass, replace
from pathlib import Path

from gags.compare.methods.learner import Inputs, Method
from gags.compare.paper import ablations
from gags.distill.field import LanguageField
from gags.distill.settings import DistillSettings
from gags.distill.train import train_field
from gags.evaluate.answerer import FieldAnswerer
from gags.progress import Reporter


@dataclass(frozen=True)
class OneField:
    """Distils one field: GAGS itself, averaged levels, a level alone, fewer losses, as the settings say."""

    settings: DistillSettings
    """Settings of distillation; the seed is that of the run."""

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Distil; see `Learner.learn`."""
        settings = replace(self.settings, seed=seed)
        train_field(inputs.gaussians, inputs.items, settings, progress=progress).save(path)

    def load(self, path: Path, inputs: Inputs) -> FieldAnswerer:
        """What `learn` wrote."""
        gaussians = inputs.gaussians
        field = LanguageField.load(path, gaussians).to(gaussians.means.device)
        return FieldAnswerer(gaussians, field)


def ablation_rows(distill: DistillSettings, *, uniform: bool) -> list[Method]:
    """The methods of `tables/ablations.toml`.

    Args:
        distill: Settings of distillation that all methods share; each ablation changes its own.
        uniform: Those that there are with uniform prompts, too, or those that there are not.
    """
    return [
        Method(row.name, row.title, OneField(replace(distill, **row.settings)))
        for row in ablations()
        if row.uniform == uniform
    ]
