"""What earlier calls left in the folder of a benchmark: read, checked against what is asked now, kept."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gags.compare.chosen import OF_METHODS, chosen_for
from gags.compare.standings import Entry, Failure
from gags.distill.presets import PRESETS
from gags.errors import CompareError
from gags.files.text import read_json
from gags.store import plain

COUNTS_ALONE = ("runs", "ablations")  # settings of a benchmark that change no figure, only how many there are


@dataclass(frozen=True)
class Asked:
    """What a call was asked for, and what its "auto" stood for.

    Attributes:
        benchmark: Settings of the benchmark as they were asked for.
        stages: Settings of the stages as they were asked for.
        photos: How photos were read; None in results of earlier versions.
        chosen: What "auto" stood for, by the name of the setting, see `Chosen.names`. Of results of earlier
            versions, the models of methods are not known.
    """

    benchmark: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Any] = field(default_factory=dict)
    photos: Mapping[str, Any] | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Earlier:
    """What `benchmark.json` holds.

    Attributes:
        dataset: Name of the data set; empty if there is no such file yet.
        scenes: The scenes asked for so far.
        asked: Settings.
        entries: One a scene, run and method.
        failures: What could not be done.
        ran: Settings of the Gaussians and masks as they ran.
    """

    dataset: str = ""
    scenes: tuple[str, ...] = ()
    asked: Asked = Asked()
    entries: tuple[Entry, ...] = ()
    failures: tuple[Failure, ...] = ()
    ran: dict[str, Any] = field(default_factory=dict)


def read_earlier(path: Path) -> Earlier:
    """What a benchmark has come to so far.

    Args:
        path: Its `benchmark.json`; it need not be there.

    Raises:
        CompareError: If the file cannot be read.
    """
    if not path.exists():
        return Earlier()
    try:
        content = read_json(path)
        ran = dict(content["ran"])
        chosen = dict(content["chosen"] if "chosen" in content else chosen_for(ran.get("describe", {})))
        asked = Asked(content["benchmark"], content["stages"], content.get("photos"), chosen)
        made_with(asked, ())  # fails now if it is damaged
        return Earlier(
            str(content["dataset"]),
            tuple(content["scenes"]),
            asked,
            tuple(map(Entry.from_json, content["entries"])),
            tuple(Failure(**failure) for failure in content["failures"]),
            ran,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompareError(
            f"{path}, the results so far, cannot be read ({type(error).__name__}: {error}); choose another "
            "--out, or remove that file: it is made again from the folders of the runs beside it"
        ) from error


def made_with(asked: Asked, known: Collection[str]) -> dict[str, Any]:
    """Settings by name that figures depend on.

    All settings of a stage and a few changes to its preset are the same if they come to the same.

    Args:
        asked: What a call was asked for.
        known: Names in `asked.chosen` that are left out here, because what was chosen is compared instead.
    """
    found = {name: value for name, value in asked.benchmark.items() if name not in COUNTS_ALONE}
    for whole, system, name in OF_METHODS:
        if whole in known:
            found[system] = {key: value for key, value in found[system].items() if key != name}
    wanted = asked.chosen.get("preset", asked.stages.get("preset", ""))
    preset = next((preset for name, preset in PRESETS.items() if name == wanted), PRESETS["lite"])
    stages = {name: value for name, value in asked.stages.items() if name not in known}
    found["stages"] = stages | {
        name: plain(asdict(getattr(preset, name))) | dict(stages.get(name, {}))
        for name in ("describe", "distill")
    }
    return found | ({} if asked.photos is None else {"photos": dict(asked.photos)})


def differences(before: Asked, now: Asked) -> list[str]:
    """Which settings of two calls make figures that are not comparable, in words."""
    known = before.chosen.keys() & now.chosen.keys()
    found = [
        f"{name} {before.chosen[name]}, now {now.chosen[name]}"
        for name in sorted(known)
        if before.chosen[name] != now.chosen[name]
    ]
    if found:
        return found
    first, second = made_with(before, known), made_with(now, known)
    return sorted(name for name in first.keys() & second.keys() if first[name] != second[name])


def check_goes_on(
    earlier: Earlier, path: Path, dataset: str, wanted: Asked, keys: Sequence[tuple[str, int, str]]
) -> bool:
    """Find out whether a call goes on with a benchmark or makes all of it anew.

    Args:
        earlier: What is there.
        path: Its `benchmark.json`.
        dataset: Name of the data set asked for.
        wanted: What is asked for now.
        keys: Scene, run and method of everything that is asked for.

    Returns:
        True if what is there and not asked for belongs to the same benchmark; False if nothing of it stays.

    Raises:
        CompareError: If results of another data set or of other settings would be lost or mixed with these.
    """
    if earlier.dataset and earlier.dataset != dataset:
        raise CompareError(f"{path} holds results of {earlier.dataset}; choose another --out for {dataset}")
    other = differences(earlier.asked, wanted) if earlier.dataset else []
    lost = [entry for entry in earlier.entries if entry.key not in set(keys)]
    if other and lost:
        raise CompareError(
            f"{path} holds results made with other settings ({'; '.join(other)}), {_of_which(lost)}"
        )
    return not other


def check_data(
    entries: Sequence[Entry], path: Path, data: Mapping[str, str], keys: Sequence[tuple[str, int, str]]
) -> None:
    """Make sure that no figures of other photos or labels would stay beside new ones.

    Args:
        entries: What is there.
        path: Its `benchmark.json`.
        data: What the scenes are now, by name, see `data_stamp`; without those that cannot be read.
        keys: Scene, run and method of everything that is asked for.

    Raises:
        CompareError: If a scene has changed, and some of its results would not be made anew.
    """
    of_others = [entry for entry in entries if entry.data and entry.data != data.get(entry.scene, entry.data)]
    lost = [entry for entry in of_others if entry.key not in set(keys)]
    if lost:
        raise CompareError(
            f"{path} holds results of {lost[0].scene} made from other photos, points or labels than it has "
            f"now, {_of_which(lost)}"
        )


def _of_which(lost: Sequence[Entry]) -> str:
    """The end of a refusal: what would be mixed, and what to do."""
    first = ", ".join(map(str, lost[0].key))
    return (
        f"of which this call would not make {len(lost)} anew (the first: scene, run, method {first}); choose "
        "another --out"
    )
