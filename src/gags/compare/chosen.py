"""What a benchmark settles once for all scenes and runs: what "auto" stands for, and which data it is of."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

from gags.capture import Capture
from gags.compare.harness import METHOD_MODELS, SCENE_FOLDER, OfMethods, having_models, with_models
from gags.compare.job import labels_stamp
from gags.distill.presets import PRESETS
from gags.errors import GagsError
from gags.models.choose import AUTO, choose_encoder, choose_segmenter
from gags.models.hub import without_revision
from gags.pipeline import RunSettings
from gags.pipeline.settings import chosen_preset
from gags.progress import SILENT, Reporter
from gags.store import stamp
from gags.workspace import Workspace

OF_STAGES = ("segmenter", "encoder", "preset")  # names of `Chosen.names` that are settings of the stages
OF_METHODS = tuple((f"{system}.{name}", system, name) for system, name in METHOD_MODELS.items())


@dataclass(frozen=True)
class Chosen(Generic[OfMethods]):
    """Settings without any "auto".

    Attributes:
        settings: Settings of single methods, with the models of those that are asked for.
        stages: Settings of the stages, with their models and preset.
        names: What was chosen, by the name of its setting, as in "encoder" and "grouping.detector".
    """

    settings: OfMethods
    stages: RunSettings
    names: dict[str, str]


def choose_once(
    settings: OfMethods,
    stages: RunSettings,
    methods: Sequence[str],
    before: Mapping[str, str],
    progress: Reporter = SILENT,
) -> Chosen[OfMethods]:
    """Find out what "auto" stands for; models are fetched if need be.

    Args:
        settings: Settings of single methods as they were asked for.
        stages: Settings of the stages as they were asked for.
        methods: Methods by name; only their models are looked for.
        before: `Chosen.names` of what is there already, which "auto" stays with.
        progress: Told what was chosen.

    Raises:
        ModelError: If a model is needed that is not here and cannot be fetched.
    """
    asked = {"segmenter": stages.segmenter, "encoder": stages.encoder}
    asked |= {whole: getattr(getattr(settings, system), name) for whole, system, name in OF_METHODS}
    kept = {whole: before[whole] for whole in asked if asked[whole] == AUTO and whole in before}
    if kept:
        listed = ", ".join(f"{whole} {without_revision(model)}" for whole, model in kept.items())
        progress.say(f"Models as in the results so far: {listed}")
    segmenter = choose_segmenter(stages.segmenter, before=before.get("segmenter"), progress=progress)
    encoder = choose_encoder(stages.encoder, before=before.get("encoder"), progress=progress)
    models = {"segmenter": segmenter, "encoder": encoder}
    same = all(without_revision(before.get(name, "")) == without_revision(models[name]) for name in models)
    preset = chosen_preset(stages.preset, before.get("preset") if same else None, **models, progress=progress)
    for whole, system, name in OF_METHODS:
        if whole in kept:
            own = replace(getattr(settings, system), **{name: kept[whole]})
            settings = replace(settings, **{system: own})
    settings = with_models(settings, methods, progress)
    names = models | {"preset": preset}
    for whole, system, name in OF_METHODS:
        if whole in kept or system in having_models(methods):
            names[whole] = getattr(getattr(settings, system), name)
    return Chosen(settings, replace(stages, **models, preset=preset), names)


def chosen_for(described: Mapping[str, Any]) -> dict[str, str]:
    """`Chosen.names` of a scene that was described, from the settings in its record."""
    names = {name: described[name] for name in OF_STAGES if isinstance(described.get(name), str)}
    return {name: value for name, value in names.items() if name != "preset" or value in PRESETS}


def chosen_in(out: Path, scenes: Sequence[str]) -> dict[str, str]:
    """`Chosen.names` of the first described scene in the folder of a benchmark; empty if there is none.

    For a benchmark that was stopped before it had a result, or whose `benchmark.json` was removed.
    """
    for scene in scenes:
        for folder in sorted((out / scene).glob(f"run_*/{SCENE_FOLDER}")):
            with suppress(GagsError):
                record = Workspace.open(folder).record("describe")
                if record is not None:
                    return chosen_for(record.settings)
    return {}


def data_stamp(capture: Capture, labels: Path) -> str:
    """Which photos, points, ignored pixels and labels a scene has, wherever they lie.

    Cameras do not count: another processor rounds them otherwise, and other poses come with other points.
    """
    return stamp(
        "data", capture.samples(), capture.points_digest(), capture.masks_digest(), labels_stamp(labels)
    )
