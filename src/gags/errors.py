"""The exceptions that gags raises for bad input; the command line prints each as one line."""

from pathlib import Path


class GagsError(Exception):
    """Base of every error a user can cause; the message says what is wrong, where, and what to do."""


class CaptureError(GagsError):
    """Photos, poses or points that cannot be read or contradict each other."""


class SplatsError(GagsError):
    """A Gaussian splatting file that cannot be read or does not fit its capture."""


class ModelError(GagsError):
    """Weights that are missing, damaged or do not fit what was asked of them."""


class WorkspaceError(GagsError):
    """A workspace that is missing a stage, is damaged, or was made with other settings."""


class DamagedError(WorkspaceError):
    """A file of a scene that is missing, damaged or not of this scene; what made it can make it again.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class NewerError(GagsError):
    """A file that a newer version of gags wrote; it is never replaced."""


class FileError(GagsError, OSError):
    """A file that the system does not let us read or write: no permission, no room, a link without end.

    Also an `OSError`, with its `errno`, for those who catch these.
    """

    def __init__(self, message: str, errno: int | None = None, strerror: str = "") -> None:
        super().__init__(message)
        self.errno, self.strerror = errno, strerror or message

    def __str__(self) -> str:
        return str(self.args[0])


class QueryError(GagsError):
    """A query that cannot be answered: empty text, unknown view, wrong encoder."""


class LabelError(GagsError):
    """Ground-truth labels that cannot be read or match no view."""


class CompareError(GagsError):
    """A comparison that cannot be made as asked."""


class LibraryError(GagsError):
    """A library of scenes that cannot be reached or read, or does not hold what was asked of it."""


class LibraryUnreadableError(LibraryError):
    """A library of scenes that is damaged, or out of reach: what was asked is not to blame."""


class TrainingError(GagsError):
    """A training that diverged: its numbers are not finite any more."""


class SettingsError(GagsError, ValueError):
    """A setting of the wrong type or out of its range.

    Args:
        name: The setting as users write it in Python and in `config.toml`: "distill.steps".
        problem: What is wrong, and what is wanted: "must be a whole number from 1 to 256, got 0".
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return f"{self.name} {self.problem}"

    @property
    def option(self) -> str:
        """The same, with the name as an option of the command line: "--distill.steps must be …"."""
        return f"--{self.name.replace('_', '-')} {self.problem}"
