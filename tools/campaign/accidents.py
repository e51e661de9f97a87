"""Accidents to a run: killed, no room, read-only, a second run, output that nobody takes."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from tools.campaign.trial import FAST, TEXTS, Outcome, attempt, begin, end

KINDS = ("killed", "full-disk", "limited", "read-only", "two", "output")
KILLS = 30
FULL_DISKS = 10
LARGEST_FILES = 8
MADE_PREFIXES = ("splats.ply", "field.safetensors", "things.safetensors", "features/")


def accidents(
    kinds: Collection[str],
    capture: Path,
    expected: Mapping[str, bytes],
    folder: Path,
    seed: int,
    counts: Counter[str],
) -> None:
    """Try accidents, and count.

    Args:
        kinds: Some of `KINDS`.
        capture: Photos and poses of a toy scene.
        expected: What a run that nothing happened to leaves in its files.
        folder: For the scenes.
        seed: Of the random moments.
        counts: Is added to.
    """
    rng = np.random.default_rng(seed)
    trials = Trials(capture, expected, folder, counts)
    trials.reference()
    for number in range(KILLS if "killed" in kinds else 0):
        trials.killed(number, rng.random())
    for number in range(FULL_DISKS if "full-disk" in kinds else 0):
        trials.full_disk(number, rng.random())
    for number in range(LARGEST_FILES if "limited" in kinds else 0):
        trials.limited_files(number, rng.random())
    if "read-only" in kinds:
        trials.read_only(rng.random(3).tolist())
    if "two" in kinds:
        trials.two_at_once()
    if "output" in kinds:
        trials.output_that_nobody_takes()


class Trials:
    """The accidents; see `accidents` for the arguments."""

    def __init__(
        self, capture: Path, expected: Mapping[str, bytes], folder: Path, counts: Counter[str]
    ) -> None:
        self._capture, self._expected, self._folder, self._counts = capture, expected, folder, counts
        self._seconds = 0.0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def reference(self) -> None:
        """How long a run takes, that saves its training at every step."""
        start = time.monotonic()
        done = self._run(self._folder / "reference")
        self._seconds = time.monotonic() - start
        self._judge("a run that nothing happens to", done, self._folder / "reference", finished=True)

    def killed(self, number: int, moment: float) -> None:
        """Killed with -9 somewhere in the run, then run again."""
        scene = self._folder / f"killed_{number}"
        child = self._begin(scene)
        time.sleep(moment * self._seconds)
        try:
            os.kill(child, signal.SIGKILL)
        finally:
            end(child, scene.with_name(scene.name + "_log"))
        self._judge(f"killed after {moment:.0%}", self._run(scene), scene, finished=True)

    def full_disk(self, number: int, share: float) -> None:
        """On a disk with room for a part of the scene, which then gets more room."""
        place = self._folder / f"disk_{number}"
        place.mkdir()
        size = sum(map(len, self._expected.values()))
        options = f"size={max(8192, int(1.6 * share * size))}"
        if not _mount("-t", "tmpfs", "-o", options, "gags", place):
            self._counts["not possible here"] += 1
            return
        try:
            done = self._run(place / "ws")
            told = done.code == 0 or "the disk is full" in done.line
            self._judge(f"a disk with {options}", done, place / "ws", more=[] if told else ["no reason"])
            if _mount("-o", "remount,size=100%", place):
                self._judge(f"{options}, then more", self._run(place / "ws"), place / "ws", finished=True)
        finally:
            subprocess.run(["umount", "-l", place], check=True)

    def limited_files(self, number: int, share: float) -> None:
        """No file may be larger than some, then they may."""
        scene = self._folder / f"limited_{number}"
        most = int(share * max(map(len, self._expected.values())))

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        done = self._run(scene, before=limit)
        self._judge(f"files of at most {most} bytes", done, scene)
        self._judge("then of any size", self._run(scene), scene, finished=True)

    def read_only(self, moments: list[float]) -> None:
        """A disk that becomes read-only during the run, and a finished scene on one that is asked."""
        place = self._folder / "read_only"
        place.mkdir()
        if not _mount("-t", "tmpfs", "gags", place):
            self._counts["not possible here"] += 1
            return
        scene = place / "ws"
        try:
            for moment in moments:
                child = self._begin(scene, self._folder / "read_only_log")
                time.sleep(moment * self._seconds)
                # With a file open for writing the system refuses; then the moment is another one.
                while not _mount("-o", "remount,ro", place):
                    time.sleep(0.01)
                done = end(child, self._folder / "read_only_log")
                self._judge(f"read-only after {moment:.0%}", done, scene)
                assert _mount("-o", "remount,rw", place)
            self._judge("then writable", self._run(scene, self._folder / "log"), scene, finished=True)
            assert _mount("-o", "remount,ro", place)
            log = self._folder / "log"
            labels = ["--labels", str(self._capture / "labels")]
            for command, code in (
                (["query", scene, "red ball", "--view", "view_01"], 1),
                (["query", scene, "red ball", "--view", "view_01", "--out", self._folder / "answers"], 0),
                (["evaluate", scene, *labels], 0),
                (["locate", scene, "red ball"], 0),
                (["catalog", scene], 1),
                (["distill", scene, *FAST[2:4]], 1),
                (["run", self._capture, "--out", scene, *FAST], 1),
            ):
                done = attempt(command, log)
                more = [] if done.code == code else [f"ended with {done.code}"]
                more += [] if done.code == 0 or "read-only file system" in done.line else ["no reason"]
                self._judge(f"read-only: {command[0]}", done, scene, more=more)
        finally:
            subprocess.run(["umount", "-l", place], check=True)

    def two_at_once(self) -> None:
        """A second run into the folder of one that is not finished."""
        scene, log = self._folder / "two", self._folder / "two_second"
        child = self._begin(scene)
        while not (scene / ".lock").exists():
            time.sleep(0.01)
        for command in (["run", self._capture, "--out", scene, *FAST], ["things", scene]):
            second = attempt(command, log)
            refused = second.code == 1 and "another gags process" in second.line
            self._judge(f"a second {command[0]}", second, scene, more=[] if refused else ["two at once"])
        first = end(child, scene.with_name("two_log"))
        self._judge("the first of two", first, scene, finished=True)

    def output_that_nobody_takes(self) -> None:
        """stdout or stderr is closed, full, a pipe without a reader, or of letters that it cannot show."""
        scene, log = self._folder / "reference", self._folder / "log"
        out = self._folder / "answers"
        commands = (
            ["query", scene, *TEXTS, "--view", "view_01", "--out", out],
            ["locate", scene, "Küche", "red ball"],
            ["catalog", scene, "--out", out],
            ["--help"],
            ["query", scene, os.fsdecode(b"caf\xe9")],
        )
        for command in commands:
            for what, before, codes in (
                ("closed stdout", lambda: os.close(1), (0, 1)),
                ("closed stderr", lambda: os.close(2), (0, 1)),
                ("full stdout", lambda: _onto("/dev/full", 1), (1,)),
                ("full stderr", lambda: _onto("/dev/full", 2), (0, 1)),
                ("stdout without reader", lambda: _onto_broken_pipe(1), (0, 1)),
                ("stderr without reader", lambda: _onto_broken_pipe(2), (0, 1)),
            ):
                done = attempt(command, log, before=before)
                faults = [fault for fault in done.faults() if fault != "no reason"]
                faults += [] if done.code in codes else [f"ended with {done.code}"]
                self._note(f"{what}: {command[0]}", faults, done)

    def _begin(self, scene: Path, log: Path | None = None, before: Callable[[], None] | None = None) -> int:
        log = log or scene.with_name(scene.name + "_log")
        arguments = ["run", self._capture, "--out", scene, *FAST]
        return begin(arguments, log, before=before, checkpoints=True)

    def _run(self, scene: Path, log: Path | None = None, before: Callable[[], None] | None = None) -> Outcome:
        log = log or scene.with_name(scene.name + "_log")
        return end(self._begin(scene, log, before), log, 300)

    def _judge(
        self, what: str, done: Outcome, scene: Path, *, finished: bool = False, more: list[str] | None = None
    ) -> None:
        """Count what is wrong with an outcome; of a finished run also each file that is not as expected."""
        faults = [*done.faults(), *(more or [])]
        if finished and done.code:
            faults.append(f"ended with {done.code}")
        for name, content in self._expected.items():
            path = scene / name
            if finished and name.startswith(MADE_PREFIXES) and path.read_bytes() != content:
                faults.append(f"silently wrong: {name}")
        if finished and list(scene.rglob(".*.tmp*")):
            faults.append("leftovers")
        self._note(what, faults, done)

    def _note(self, what: str, faults: list[str], done: Outcome) -> None:
        self._counts["accidents"] += 1
        for fault in faults:
            self._counts[fault.partition(":")[0]] += 1
        if faults:
            print(f"FAULT {what}: {'; '.join(faults)} [{done.code}: {done.err[-300:]}]", flush=True)


def _mount(*options: str | Path) -> bool:
    """Mount something; False if that cannot be done, as without being root."""
    return subprocess.run(["mount", *options], capture_output=True).returncode == 0


def _onto(path: str, number: int) -> None:
    """Let a stream of this process go to a file."""
    os.dup2(os.open(path, os.O_WRONLY), number)


def _onto_broken_pipe(number: int) -> None:
    """Let a stream of this process go to a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, number)
