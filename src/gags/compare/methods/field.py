"""GAGS itself: one language field with levels weighed by granularity, and its ablations by their settings."""

from dataclasses import dataclass, replace
from pathlib import Path

from gags.compare.methods.learner import Inputs, Method, checkpoint_beside
from gags.compare.paper import ablations, paper_losses
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

    @property
    def lessons(self) -> int:
        """See `Learner`."""
        return self.settings.lessons

    def learn(self, inputs: Inputs, seed: int, path: Path, progress: Reporter) -> None:
        """Distil, or go on where an earlier run was stopped; see `Learner.learn`."""
        settings, checkpoint = replace(self.settings, seed=seed), checkpoint_beside(path)
        field = train_field(
            inputs.gaussians, inputs.items, settings, checkpoint=checkpoint, progress=progress
        )
        field.save(path)

    def load(self, path: Path, inputs: Inputs) -> FieldAnswerer:
        """What `learn` wrote."""
        gaussians = inputs.gaussians
        field = LanguageField.load(path, gaussians).to(gaussians.means.device)
        return FieldAnswerer(gaussians, field, inputs.things)


def ablation_rows(distill: DistillSettings, *, uniform: bool) -> list[Method]:
    """The methods of `tables/ablations.toml`.

    Args:
        distill: Settings of distillation that all methods share; each ablation changes its own.
        uniform: Those that there are with uniform prompts, too, or those that there are not.
    """
    with_losses = distill if has_paper_losses(distill) else replace(distill, **paper_losses())
    bases = {True: with_losses, False: distill}
    return [
        Method(row.name, row.title, OneField(replace(bases[row.paper_losses], **row.settings)))
        for row in ablations()
        if row.uniform == uniform
    ]


def has_paper_losses(distill: DistillSettings) -> bool:
    """Whether settings have all terms of Eq. 7, and levels that are learnt by them alone."""
    learnt = (distill.levels, distill.granularity) == ("learnt", "distance") and not distill.consensus
    return learnt and distill.region_aware and min(distill.entropy_weight, distill.consistency_weight) > 0
