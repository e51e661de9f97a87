"""Every file of a scene × every damage × every command, and accidents: what is not told, lost or wrong.

    python -m tools.campaign.scene --out DIR [--share 0.1] [--seed 0] [--only KIND …]

Runs on toy scenes with made-up models. Prints what failed, case by case, and counts in the end; exit code 1
if any count is not 0. A case takes a second or two, all of them an hour on two cores.
"""

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from tests.helpers.toy_capture import write_capture
from tools.campaign.accidents import KINDS, accidents
from tools.campaign.damage import DAMAGES, NotPossibleError
from tools.campaign.trial import FAST, TEXTS, Outcome, apart, attempt

MADE = ("splats.ply", "field.safetensors", "things.safetensors")  # and features: must be equal after a remake
REMADE = ("report/", "answers/", "catalog/")
MAKERS = ("run", "describe", "distill", "things")
COMMANDS = {
    "query": ["query", "{ws}", *TEXTS, "--view", "view_01", "--json", "--out", "{out}/answers"],
    "query-inside": ["query", "{ws}", *TEXTS, "--view", "view_01", "--json"],
    "locate": ["locate", "{ws}", *TEXTS, "--json"],
    "catalog": ["catalog", "{ws}", "--json", "--out", "{out}/catalog"],
    "extract": ["extract", "{ws}", "red ball", "--out", "{out}/a.ply"],
    "delete": ["delete", "{ws}", "red ball", "--out", "{out}/b.ply"],
    "recolor": ["recolor", "{ws}", "red ball", "--out", "{out}/c.ply", "--color", "red"],
    "evaluate": ["evaluate", "{ws}", "--labels", "{capture}/labels", "--json", "-"],
    "things": ["things", "{ws}"],
    "distill": ["distill", "{ws}", *FAST[2:4]],
    "describe": ["describe", "{ws}", *FAST[4:]],
    "run": ["run", "{capture}", "--out", "{ws}", *FAST],
}


@dataclass
class Scene:
    """A finished toy scene, which is copied for every case.

    Attributes:
        root: Folder of capture and scene.
        expected: What every command prints for it.
    """

    root: Path
    expected: dict[str, str] = field(default_factory=dict)

    @property
    def capture(self) -> Path:
        """Its photos and poses."""
        return self.root / "capture"

    @property
    def workspace(self) -> Path:
        """Its folder."""
        return self.root / "ws"

    @cached_property
    def content(self) -> dict[str, bytes]:
        """What is in its files."""
        return content_of(self.workspace)

    @classmethod
    def make(cls, root: Path, views: int) -> "Scene":
        """Make one with `gags run`, and ask it what every command will be asked."""
        shutil.rmtree(root, ignore_errors=True)
        _, status = os.waitpid(apart(lambda: write_capture(root / "capture", views) and None), 0)
        assert status == 0
        made = cls(root)
        done = attempt(["run", made.capture, "--out", made.workspace, *FAST], root / "run", seconds=900)
        assert done.code == 0, done.err
        for name in COMMANDS:
            done = attempt(made.command(name, made.workspace, root / "asked"), root / "log", seconds=900)
            assert done.code == 0, done.err
            made.expected[name] = plain(done.out, made.workspace, root / "asked")
        shutil.rmtree(made.workspace / "answers", ignore_errors=True)
        return made

    def command(self, name: str, workspace: Path, out: Path) -> list[str]:
        """Arguments of a command about a copy of the scene."""
        names = {"ws": str(workspace), "out": str(out), "capture": str(self.capture)}
        return [word.format(**names) for word in COMMANDS[name]]


def plain(text: str, workspace: Path, out: Path) -> str:
    """What was printed, wherever it was."""
    return text.replace(str(out), "OUT").replace(str(workspace), "WS")


def content_of(workspace: Path) -> dict[str, bytes]:
    """All files of a scene but those of its report and answers."""
    return {
        name: path.read_bytes()
        for path in sorted(workspace.rglob("*"))
        if path.is_file()
        and not (name := path.relative_to(workspace).as_posix()).startswith(
            ("report/", "answers/", "catalog/")
        )
    }


def tensors_of(content: bytes, scratch: Path) -> dict[str, bytes]:
    """The tensors of a file; empty if it is none."""
    scratch.write_bytes(content)
    try:
        with safe_open(scratch, "numpy") as stored:
            return {name: stored.get_tensor(name).tobytes() for name in stored.keys()}  # noqa: SIM118
    except SafetensorError:
        return {}


def check(scene: Scene, name: str, file: str, damage: str, folder: Path, seed: int) -> tuple[str, list[str]]:
    """One case: damage a file of a copy, run a command; returns the line it said, and its faults."""
    workspace, out = folder / "ws", folder / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(scene.workspace, workspace)
    twin = scene.root.parent / "other" / "ws" / file
    DAMAGES[damage](workspace / file, twin, np.random.default_rng(seed))
    before = content_of(workspace)
    done = attempt(scene.command(name, workspace, out), folder / "log")
    faults = [*done.faults(), *lost(scene, done, before, content_of(workspace), name, file, damage, folder)]
    if done.code == 0 and not faults:
        faults += wrong(scene, done, name, workspace, out, folder)
    line = done.line or next((x for x in done.err.splitlines() if x.startswith("warning: ")), "")
    if not faults:
        shutil.rmtree(folder)
    return line, faults


def lost(
    scene: Scene,
    done: Outcome,
    before: dict[str, bytes],
    after: dict[str, bytes],
    name: str,
    file: str,
    damage: str,
    folder: Path,
) -> Iterator[str]:
    """Files that were right and are not there any more, or are others; a newer file that was replaced."""
    for other, content in before.items():
        if other == file:
            if damage == "newer" and after.get(other) != content:
                yield f"loss: {other} of a newer version"
        elif other not in after:
            yield f"loss: {other}"
        elif after[other] != content and (name not in MAKERS or done.code != 0):
            same = other.endswith(".safetensors") and tensors_of(after[other], folder / "a") == tensors_of(
                content, folder / "b"
            )
            if not same and other != "config.toml":
                yield f"loss: {other} is another one"


def wrong(scene: Scene, done: Outcome, name: str, workspace: Path, out: Path, folder: Path) -> Iterator[str]:
    """What a command says although it is not so."""
    if name not in MAKERS:
        if plain(done.out, workspace, out) != scene.expected[name]:
            yield "silently wrong: another answer"
        return
    asked = attempt(scene.command("locate", workspace, out), folder / "asked")
    if name == "run":
        if asked.code != 0 or plain(asked.out, workspace, out) != scene.expected["locate"]:
            yield f"silently wrong: the scene answers otherwise ({asked.line})"
        again = content_of(workspace)
        for made, content in scene.content.items():
            if made.endswith(MADE) or made.startswith("features/"):
                same = again.get(made) == content or tensors_of(
                    again.get(made, b""), folder / "a"
                ) == tensors_of(content, folder / "b")
                if not same or not again.get(made):
                    yield f"silently wrong: {made} is not what a run makes"
    elif asked.code == 0 and plain(asked.out, workspace, out) != scene.expected["locate"]:
        yield "silently wrong: another answer afterwards"


def cases(scene: Scene, share: float, rng: np.random.Generator) -> Iterator[tuple[str, str, str]]:
    """Command, file and damage of every case, or a random share of them."""
    photo = sorted((scene.workspace / "features").iterdir())[1].name
    files = ["config.toml", "capture.json", "report/metrics.json", f"features/{photo}", *MADE]
    for file in files:
        for damage in DAMAGES:
            for name in COMMANDS:
                if rng.random() < share:
                    yield name, file, damage


def try_files(scene: Scene, share: float, seed: int, folder: Path, counts: Counter[str]) -> None:
    """All cases of damaged files, in as many processes as there are cores."""
    chosen = list(enumerate(cases(scene, share, np.random.default_rng(seed))))
    workers = os.cpu_count() or 1
    tallies = [folder / f"tally_{worker}.json" for worker in range(workers)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    children = [
        apart(lambda worker=worker: _try_some(scene, chosen[worker::workers], seed, folder, tallies[worker]))
        for worker in range(workers)
    ]
    for child, tally in zip(children, tallies, strict=True):
        _, status = os.waitpid(child, 0)
        assert status == 0
        counts.update(json.loads(tally.read_text()))


def _try_some(
    scene: Scene, chosen: list[tuple[int, tuple[str, str, str]]], seed: int, folder: Path, tally: Path
) -> None:
    """Some cases; how many ended how is written to a file."""
    counts: Counter[str] = Counter()
    for number, (name, file, damage) in chosen:
        place = folder / f"case_{number}"
        try:
            line, faults = check(scene, name, file, damage, place, seed + number)
        except NotPossibleError:
            counts["not possible here"] += 1
            shutil.rmtree(place)
            continue
        counts["cases"] += 1
        counts.update(fault.partition(":")[0] for fault in faults)
        if faults or number % 50 == 0:
            mark = "FAULT" if faults else "    ok"
            print(f"{mark} {number} {name} {file} {damage}: {'; '.join(faults)} [{line[:250]}]", flush=True)
    tally.write_text(json.dumps(counts))


def main() -> int:
    """Run the campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the scenes; failed cases stay")
    parser.add_argument("--share", type=float, default=1.0, help="share of the cases of damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", choices=("files", *KINDS), help="what is tried. Default: all of it"
    )
    given = parser.parse_args()
    out = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    wanted = given.only or ("files", *KINDS)
    scene = Scene.make(out / "one", 8)
    if "files" in wanted:
        Scene.make(out / "other", 10)
        try_files(scene, given.share, given.seed, out / "cases", counts)
    if set(KINDS) & set(wanted):
        accidents(wanted, scene.capture, scene.content, out / "accidents", given.seed, counts)
    print(json.dumps(counts, indent=2))
    return 1 if counts.keys() - {"cases", "accidents", "not possible here"} else 0


if __name__ == "__main__":
    sys.exit(main())
