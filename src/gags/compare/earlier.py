"""What earlier calls left in the folder of a benchmark: read, checked against what is asked now, kept."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gags.compare.standings import Entry, Failure
from gags.distill.presets import PRESETS
from gags.errors import CompareError
from gags.files.text import read_json
from gags.store import plain

COUNTS_ALONE = ("runs", "ablations")  # settings of a benchmark that change no figure, only how many there are


@dataclass(frozen=True)
class Earlier:
    """What `benchmark.json` holds.

    Attributes:
        dataset: Name of the data set; empty if there is no such file yet.
        scenes: The scenes asked for so far.
        made_with: Settings by name that figures depend on, as they were asked for.
        entries: One a scene, run and method.
        failures: What could not be done.
        ran: Settings of the Gaussians and masks as they ran.
    """

    dataset: str = ""
    scenes: tuple[str, ...] = ()
    made_with: dict[str, Any] = field(default_factory=dict)
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
        return Earlier(
            str(content["dataset"]),
            tuple(content["scenes"]),
            made_with(content["benchmark"], content["stages"], content.get("photos")),
            tuple(map(Entry.from_json, content["entries"])),
            tuple(Failure(**failure) for failure in content["failures"]),
            dict(content["ran"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompareError(
            f"{path}, the results so far, cannot be read ({type(error).__name__}: {error}); choose another "
            "--out, or remove that file: it is made again from the folders of the runs beside it"
        ) from error


def made_with(
    benchmark: Mapping[str, Any], stages: Mapping[str, Any], photos: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Settings by name that figures depend on, from those of a benchmark, of the stages and of the photos.

    All settings of a stage and a few changes to its preset are the same if they come to the same.
    """
    found = {name: value for name, value in benchmark.items() if name not in COUNTS_ALONE}
    preset = PRESETS.get(stages.get("preset", ""), PRESETS["lite"])  # of "auto" both sides are filled alike
    found["stages"] = dict(stages) | {
        name: plain(asdict(getattr(preset, name))) | dict(stages.get(name, {}))
        for name in ("describe", "distill")
    }
    return found | ({} if photos is None else {"photos": dict(photos)})


def check_goes_on(
    earlier: Earlier, path: Path, dataset: str, wanted: dict[str, Any], asked: Sequence[tuple[str, int, str]]
) -> bool:
    """Find out whether a call goes on with a benchmark or makes all of it anew.

    Args:
        earlier: What is there.
        path: Its `benchmark.json`.
        dataset: Name of the data set asked for.
        wanted: Settings that figures depend on, from `made_with`.
        asked: Scene, run and method of everything that is asked for.

    Returns:
        True if what is there and not asked for belongs to the same benchmark; False if nothing of it stays.

    Raises:
        CompareError: If results of another data set or of other settings would be lost or mixed with these.
    """
    if earlier.dataset and earlier.dataset != dataset:
        raise CompareError(f"{path} holds results of {earlier.dataset}; choose another --out for {dataset}")
    common = earlier.made_with.keys() & wanted.keys()
    other = sorted(name for name in common if earlier.made_with[name] != wanted[name])
    made = set(asked)
    lost = [entry for entry in earlier.entries if entry.key not in made]
    if other and lost:
        first = ", ".join(map(str, lost[0].key))
        raise CompareError(
            f"{path} holds results made with other settings ({', '.join(other)}), of which this call would "
            f"not make {len(lost)} anew (the first: scene, run, method {first}); choose another --out"
        )
    return not other
