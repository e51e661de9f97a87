"""What the commands share that find things in 3D."""

from pathlib import Path

from torch import Tensor

from gags.cli.console import ConsoleReporter
from gags.errors import QueryError, SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.files import save_splats, writer_for
from gags.query.edit import union
from gags.query.instances import Instance
from gags.scene import Scene
from gags.workspace import Workspace


def locate_for(folder: Path, texts: tuple[str, ...], out: Path, *, invert: bool) -> tuple[Gaussians, Tensor]:
    """Load a scene and find what texts name, for a command that writes to `out`; prints what it found.

    Args:
        folder: Of the scene.
        texts: What to find.
        out: Where the command is going to write.
        invert: Everything else instead.

    Returns:
        All Gaussians, and which of them any of the texts names. bool [N]

    Raises:
        GagsError: If there is no text, no scene, or `out` is no place to write Gaussians to.
    """
    check_texts(texts)
    writer_for(out)
    splats = Workspace(folder).splats
    if out.resolve() == splats.resolve() or (out.exists() and splats.exists() and out.samefile(splats)):
        raise SplatsError(f"{out} is the scene itself, which is never changed; choose another --out")
    scene = Scene.load(folder)
    found = scene.locate(texts, progress=ConsoleReporter())
    for text, instances in zip(texts, found, strict=True):
        print(f"{text}: {describe(instances)}")
    every = [instance for instances in found for instance in instances]
    return scene.gaussians, union(every, len(scene.gaussians), invert=invert)


def write_some(some: Gaussians, count: int, out: Path, *, if_none: str) -> None:
    """Write some of a scene's `count` Gaussians; if they are none, say `if_none` and write nothing."""
    if not len(some):
        print(f"{if_none}, {out} is not written")
        return
    save_splats(some, out)
    print(f"{out}: {len(some)} of {count} Gaussians")


def check_texts(texts: tuple[str, ...]) -> None:
    """Raise QueryError if there is no text, or an empty one."""
    if not texts or not all(text.strip() for text in texts):
        raise QueryError('nothing to look for; add a text that is not empty, as in: WS "red mug"')


def describe(instances: list[Instance]) -> str:
    """What was found of a text, in words."""
    if not instances:
        return "nothing in the scene matches"
    scores = ", ".join(f"{instance.score:.2f}" for instance in instances)
    return f"{len(instances)} found, score {scores}"
