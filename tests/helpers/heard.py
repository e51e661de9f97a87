"""A reporter that remembers what it was told."""

from gags.progress import Reporter


class Heard(Reporter):
    """Remembers what was said and what was warned of."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)
