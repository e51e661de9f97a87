"""Taking things out of a scene, or colouring them: the methods of `gags.Scene` that make new Gaussians."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from gags.errors import SplatsError
from gags.gaussians import Gaussians
from gags.gaussians.files import save_splats, writer_for
from gags.progress import SILENT, Reporter
from gags.query import edit
from gags.query.instances import Instance
from gags.query.relevancy import Queries
from gags.workspace import Workspace

Wanted = str | Instance | Queries | Iterable["str | Instance | Iterable[Instance]"]
Color = str | tuple[float, float, float]


class Edits:
    """A scene that things can be taken out of; it stays as it is.

    Attributes:
        workspace: Its folder.
        gaussians: The 3D Gaussians.
    """

    workspace: Workspace
    gaussians: Gaussians

    def queries(self, texts: str | Sequence[str] = ()) -> Queries:
        """Texts made ready."""
        raise NotImplementedError

    def _instances(self, queries: Queries, progress: Reporter) -> list[list[Instance]]:
        """Every instance of what each text names."""
        raise NotImplementedError

    def extract(
        self,
        wanted: Wanted,
        out: Path | str | None = None,
        *,
        invert: bool = False,
        progress: Reporter = SILENT,
    ) -> Gaussians:
        """Cut things out: their Gaussians alone, every value as it was.

        Args:
            wanted: What to cut out: texts, of which all instances are taken, or instances of `locate`.
            out: File to write them to, .ply or another of `save_gaussians`; nothing is written if they are
                none.
            invert: Everything else instead.
            progress: Told about progress.

        Returns:
            The Gaussians, none if nothing matches.

        Raises:
            SplatsError: If `out` is the scene itself, or of a format that is not written.
        """
        self.check_output(out)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        return self._written(edit.extracted(self.gaussians, mask), out, progress)

    def delete(
        self,
        wanted: Wanted,
        out: Path | str | None = None,
        *,
        invert: bool = False,
        progress: Reporter = SILENT,
    ) -> Gaussians:
        """The Gaussians of the scene without some things; see `extract`."""
        self.check_output(out)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        return self._written(edit.deleted(self.gaussians, mask), out, progress)

    def recolor(
        self,
        wanted: Wanted,
        color: Color,
        out: Path | str | None = None,
        *,
        invert: bool = False,
        progress: Reporter = SILENT,
    ) -> Gaussians:
        """All Gaussians, those of some things in one colour; see `extract`.

        Args:
            wanted: What to colour.
            color: As "#ff0000" or "red", or RGB in [0, 1].
            out: File to write all Gaussians to.
            invert: Colour everything else instead.
            progress: Told about progress.

        Raises:
            QueryError: If the colour is none.
        """
        rgb = edit.parse_color(color) if isinstance(color, str) else edit.checked_color(color)
        self.check_output(out)
        mask = self.mask_of(wanted, invert=invert, progress=progress)
        return self._written(edit.recolored(self.gaussians, mask, rgb), out, progress)

    def mask_of(self, wanted: Wanted, *, invert: bool = False, progress: Reporter = SILENT) -> Tensor:
        """Which Gaussians belong to what is wanted, or to everything else. bool [N]"""
        if isinstance(wanted, Queries):
            texts, instances = [], [one for found in self._instances(wanted, progress) for one in found]
        else:
            texts, instances = edit.texts_and_instances(wanted, len(self.gaussians))
        for found in self._instances(self.queries(texts), progress) if texts else []:
            instances += found
        return edit.union(instances, len(self.gaussians), invert=invert)

    def check_output(self, out: Path | str | None, *, ids: bool = False) -> None:
        """Make sure that Gaussians, and the things they belong to, can be written to a file.

        Raises:
            SplatsError: If it is the scene itself, or of a format that is not written or holds no ids.
        """
        if out is None:
            return
        out, splats = Path(out), self.workspace.splats
        writer_for(out)
        if ids and out.suffix.lower() != ".ply":
            raise SplatsError(f"{out}: ids are written in .ply alone; rename --out or leave --ids out")
        if out.resolve() == splats.resolve() or (out.exists() and splats.exists() and out.samefile(splats)):
            raise SplatsError(f"{out} is the scene itself, which is never changed; choose another --out")

    def _written(self, gaussians: Gaussians, out: Path | str | None, progress: Reporter) -> Gaussians:
        if out is not None and len(gaussians):
            save_splats(gaussians, Path(out), progress)
        return gaussians
