"""The exceptions that gags raises for bad input; the command line prints each as one line."""


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


class QueryError(GagsError):
    """A query that cannot be answered: empty text, unknown view, wrong encoder."""


class LabelError(GagsError):
    """Ground-truth labels that cannot be read or match no view."""


class CompareError(GagsError):
    """A comparison that cannot be made as asked."""


class LibraryError(GagsError):
    """A library of scenes that cannot be reached or read, or does not hold what was asked of it."""
