"""Follow the progress of a stage in a program of your own: python 13_progress.py WS."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gags


class Percent(gags.Reporter):
    """Prints the share that is done, whenever a tenth more is; a window would move its bar here."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "steps") -> Iterator[gags.Bar]:
        yield PercentBar(name, total)

    def say(self, message: str) -> None:
        print(message)

    def warn(self, message: str) -> None:
        print("warning:", message)


class PercentBar(gags.Bar):
    def __init__(self, name: str, total: int) -> None:
        super().__init__(total)
        self.name = name

    def advance(self, steps: int = 1, note: str = "") -> None:
        before = 10 * self.done // max(self.total, 1)
        super().advance(steps, note)
        if 10 * self.done // max(self.total, 1) > before:
            print(f"{self.name}: {self.done / self.total:.0%} {note}")


def main(folder: Path) -> None:
    gags.things(folder, progress=Percent())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
