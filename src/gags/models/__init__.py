"""Which segmenters and encoders exist, where their weights lie, and how they are fetched and loaded.

A name is one of three things, and `find` alone decides which:

- a model of gags's own registry, "mobile-sam" or "lite" (`gags.models.own`);
- an id of the Hugging Face hub, "facebook/sam-vit-huge" or "facebook/sam-vit-huge@main" (`gags.models.hub`);
- a folder in the hub's format.

`ensure` brings what is not on this machine yet, and `load` makes a segmenter or an encoder of it. The rooms
that hold these hand their own loaders to `load`, so this room knows none of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from gags.errors import ModelError
from gags.models import hub, own
from gags.models.known import FAMILIES, HUB_MODELS, MODEL_TYPES, OWN_MODELS, Kind
from gags.models.own import cache_folder
from gags.progress import SILENT, Reporter

__all__ = [
    "FoundModel", "cache_folder", "canonical", "ensure", "find", "listing", "load", "pull",
]  # fmt: skip

Loaded = TypeVar("Loaded")

_ARTICLE = {"segmenter": "a segmenter", "encoder": "an encoder"}


@dataclass(frozen=True)
class FoundModel:
    """What a name stands for.

    Attributes:
        name: The name as it was asked for.
        origin: Whose model it is: gags's own, the hub's, or that of a folder.
        kind: "segmenter" or "encoder"; empty where only loading it will tell.
        folder: Where its files lie; None if they are not on this machine, or not whole.
        size: Bytes of its weights; 0 if not known.
        licence: Licence of the weights; empty if not known.
        about: One line on what it is; empty if not known.
        problem: Why `folder` is None and the command that helps; empty otherwise.
    """

    name: str
    origin: Literal["own", "hub", "folder"]
    kind: Kind | Literal[""] = ""
    folder: Path | None = None
    size: int = 0
    licence: str = ""
    about: str = ""
    problem: str = ""

    @property
    def installed(self) -> bool:
        """Whether it is on this machine."""
        return self.folder is not None

    @property
    def note(self) -> str:
        """One line: what it is, and where its files lie or how to get them."""
        return f"{self.about}; {self.problem or f'in {self.folder}'}"


def find(name: str, kind: Kind | None = None) -> FoundModel:
    """Tell what a name stands for and whether it is on this machine; fetches nothing.

    Args:
        name: A model of gags's own registry, a hub id, or a folder; also what `canonical` made of one.
        kind: What it is wanted for, if that matters.

    Raises:
        ModelError: If the name stands for nothing, for a model of the other kind, or for a folder that is not
            there, not whole, or has changed since it got this name.
    """
    if not isinstance(name, str):
        raise ModelError(f"the name of a model is text, not {name!r}; there are: {_choice(kind)}")
    if own.is_own(name):
        found = _find_own(name)
    elif not hub.is_name(name):
        raise ModelError(f"no {kind or 'model'} is called {name!r}; there are: {_choice(kind)}")
    elif folder := hub.local_folder(name):
        size = sum(path.stat().st_size for path in hub.weight_files(folder))
        found = FoundModel(name, "folder", folder=folder, size=size)
    else:
        found = _find_on_hub(name)
    if found.folder and not found.kind:
        found = replace(found, kind=hub.kind_of(found.folder))
    if kind and found.kind and found.kind != kind:
        raise ModelError(
            f"{name} is no {kind} but {_ARTICLE[found.kind]}; {kind}s are: {_choice(kind)}. "
            f"Give it with --{found.kind} instead of --{kind}"
        )
    if kind and found.folder and not found.kind:
        types = ", ".join(MODEL_TYPES[kind])
        raise ModelError(
            f"{found.folder} holds no {kind}: model_type in its config.json is none of {types}; "
            f"{kind}s are: {_choice(kind)}"
        )
    return found


def listing() -> list[FoundModel]:
    """What `gags models` shows: all models that gags knows by name."""
    return [find(name) for name in (*(m.name for m in OWN_MODELS), *(m.repo for m in HUB_MODELS))]


def ensure(name: str, progress: Reporter = SILENT) -> Path:
    """Folder of a model, fetched first if it is not on this machine.

    Args:
        name: See `find`.
        progress: Told what is fetched from where.

    Raises:
        ModelError: If there is no such model, or it cannot be fetched; says which files to put where.
    """
    found = find(name)
    return found.folder or pull(name, progress=progress)


def pull(name: str, source: Path | str | None = None, progress: Reporter = SILENT) -> Path:
    """Fetch a model, also one that is on this machine already.

    Args:
        name: A model of gags's own registry, which goes into gags's cache folder, or a hub id, which goes
            into the hub's.
        source: Folder or archive to take the files of an own model from, see `gags.models.own.pull`.
        progress: Told what is fetched from where.

    Returns:
        Folder that holds the files.

    Raises:
        ModelError: If there is no such model, or it cannot be found or fetched there; says which
            files to put where.
    """
    if find(name).origin == "own":
        return own.pull(name, source, progress)
    if source is not None:
        raise ModelError(f"{name} needs no pulling from {source}; name that folder instead of {name}")
    return hub.ensure(name, progress)


def canonical(name: str) -> str:
    """The name that identifies a model and its weights: as it is stored in a scene's config.toml.

    Returns:
        The name of an own model; a hub id with its commit; a folder's path with a fingerprint of its weights.

    Raises:
        ModelError: If there is no such model, or it is not on this machine.
    """
    return name if own.is_own(name) else hub.canonical(name)


def load(
    name: str,
    kind: Kind,
    *,
    own: Mapping[str, Callable[[Path], Loaded]],
    hub: Callable[[Path, str], Loaded],
    progress: Reporter = SILENT,
) -> Loaded:
    """Load a segmenter or an encoder, fetched first if it is not on this machine.

    Args:
        name: See `find`.
        kind: Which of both it must be.
        own: What loads each model of gags's own registry from its folder, by name.
        hub: What loads a hub's or a folder's model, from its folder and its canonical name.
        progress: Told when something is fetched.

    Raises:
        ModelError: If there is no such model, it is of the other kind, or its weights cannot be found or
            fetched.
    """
    found = find(name, kind)
    folder = ensure(name, progress)
    return own[name](folder) if found.origin == "own" else hub(folder, canonical(name))


def _find_own(name: str) -> FoundModel:
    model = own.model(name)
    problems = own.problems_of(model)
    return FoundModel(
        name,
        "own",
        kind=model.kind,
        folder=None if problems else own.folder_of(name),
        size=model.size,
        licence=model.licence,
        about=model.about,
        problem=f"{problems[0]}; run `{own.command(model)}`" if problems else "",
    )


def _find_on_hub(name: str) -> FoundModel:
    folder = hub.folder_of(name)
    problem = "" if folder else f"not here yet; run `gags models pull {name}`"
    entry = hub.known(hub.split(name)[0])
    if entry is None:
        return FoundModel(name, "hub", folder=folder, problem=problem)
    return FoundModel(
        name,
        "hub",
        kind=entry.kind,
        folder=folder,
        size=entry.size,
        licence=entry.licence,
        about=entry.about,
        problem=problem,
    )


def _choice(kind: Kind | None) -> str:
    """What there is of a kind, or of both."""
    names = ", ".join(model.name for model in OWN_MODELS if kind in (None, model.kind))
    if kind is None:
        return f"{names}, ids of the Hugging Face hub (owner/name), and folders in its format"
    return f"{names}, and {FAMILIES[kind]} by hub id or folder"
