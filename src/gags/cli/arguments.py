"""Arguments that several commands share, and how the options of settings classes are read."""

import ast
import inspect
import textwrap
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, cast, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from gags.distill.presets import AUTO_PRESET
from gags.distill.settings import DistillSettings
from gags.errors import QueryError, SettingsError
from gags.files.ranges import Range, Settings, fields_of, parse_value, ranges_of, row_kinds, wanted
from gags.models.choose import AUTO
from gags.pipeline.settings import CaptureSettings, RunSettings
from gags.poses.settings import PoseSettings
from gags.reconstruct.settings import ReconstructSettings
from gags.segment.settings import DescribeSettings

CaptureFolders = Annotated[
    tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CAPTURE [CAPTURE ...]")
]
SceneFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WS")]
Texts = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT [TEXT ...]")]
ExampleImage = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
ExamplePixel = Annotated[str | None, tyro.conf.arg(metavar="VIEW:X,Y")]
GPUS, CPUS = Range(0, 64), Range(1, 4096)  # of a worker of a cluster
Flat = tyro.conf.arg(name="")  # options of a nested dataclass without a prefix
Photos = Annotated[CaptureSettings, Flat]

GIVEN: ContextVar[Sequence[str]] = ContextVar("GIVEN", default=())
"""The arguments of the command that runs. Settings that the user named himself change a preset, the others
are the preset's; parsed values alone do not tell which are which."""


@dataclass(frozen=True)
class PosesOptions(PoseSettings, prefix="poses"):
    """`PoseSettings` beside those of other stages."""

    def settings(self) -> PoseSettings:
        """What the library takes."""
        return PoseSettings(**vars(self))


@dataclass(frozen=True)
class StageOptions:
    """`RunSettings` as options; the defaults shown are those of the preset `lite`."""

    preset: str = AUTO_PRESET
    """Settings that belong together: paper (every formula as in the paper), released (what the authors'
    program does), lite (best with the two small models); or auto: those that the scene was made with before,
    else paper for SAM ViT-H with a CLIP or SigLIP, lite for all other models."""
    reconstruct: ReconstructSettings = field(default_factory=ReconstructSettings)
    """Training of the Gaussians."""
    describe: DescribeSettings = field(default_factory=DescribeSettings)
    """Prompts and masks; what is not given is the preset's. Defaults shown are those of lite."""
    distill: DistillSettings = field(default_factory=DistillSettings)
    """Distillation; what is not given is the preset's. Defaults shown are those of lite."""
    segmenter: str = AUTO
    """Model that cuts photos into masks: a name of `gags models`, a SAM, SAM-HQ or SAM 2 by hub id or folder,
    or auto (SAM ViT-H on an NVIDIA GPU, else mobile-sam)."""
    encoder: str = AUTO
    """Model that embeds masks and texts: a name of `gags models`, a CLIP or SigLIP by hub id or folder, or
    auto (the paper's CLIP where it can be loaded, else lite)."""
    poses: PosesOptions = field(default_factory=PosesOptions)
    """How poses and points are found where a capture lacks them."""

    def settings(self) -> RunSettings:
        """What the library takes."""
        return RunSettings(
            self.reconstruct,
            given_settings("describe", self.describe),
            given_settings("distill", self.distill),
            segmenter=self.segmenter,
            encoder=self.encoder,
            preset=self.preset,
            poses=self.poses.settings(),
        )


def parse_pixel(text: str) -> tuple[str, int, int]:
    """A photo and one of its pixels, written VIEW:X,Y.

    Raises:
        QueryError: If it is written otherwise.
    """
    view, _, place = text.rpartition(":")
    pixel = column_and_row(place)
    if not view or pixel is None:
        raise QueryError(
            f"--like {text!r} is no pixel of a photo; write photo, column and row, as in --like "
            "frame_0030:410,220"
        )
    return view, *pixel


def column_and_row(text: str) -> tuple[int, int] | None:
    """A pixel written X,Y; None if it is written otherwise."""
    try:
        x, y = (int(part) for part in text.replace(",", " ").split())
    except ValueError:
        return None
    return x, y


def given_settings(prefix: str, parsed: DescribeSettings | DistillSettings) -> dict[str, Any]:
    """Those of some parsed settings that the user gave as options `--prefix.name`, by name."""
    options = {argument.partition("=")[0].replace("_", "-") for argument in GIVEN.get()}
    names = [f.name for f in fields(parsed)]
    spelled = {name: name.replace("_", "-") for name in names}
    return {
        name: getattr(parsed, name)
        for name in names
        if {f"--{prefix}.{spelled[name]}", f"--{prefix}.no-{spelled[name]}"} & options
    }


class OptionError(Exception):
    """A value that a setting does not take. (tyro would make a message of its own of a `ValueError`.)"""

    def __init__(self, error: SettingsError) -> None:
        super().__init__(error.option)


def number(name: str, kind: Any, *ranges: Range) -> PrimitiveConstructorSpec[Any]:
    """How an option of numbers is read, as in `Annotated[int, number("port", int, PORTS)]`.

    Args:
        name: The option, as in "distill.steps".
        kind: Its type: a number, that or none, or rows of numbers.
        ranges: Its range, or that of each column.
    """
    metavar = "INT" if int in (get_args(kind) or (kind,)) else "FLOAT"
    if columns := row_kinds(kind):
        row = " ".join("INT" if column is int else "FLOAT" for column in columns)
        metavar = f"[{row} [{row} ...]]"

    def parse(texts: list[str]) -> Any:
        try:
            return parse_value(name, texts, kind, *ranges)
        except SettingsError as error:
            raise OptionError(error) from error

    def written(value: Any) -> list[str]:
        return [str(cell) for row in value for cell in row] if columns else [str(value)]

    return PrimitiveConstructorSpec(
        nargs="*" if columns else 1,
        metavar=f"{{None}}|{metavar}" if NoneType in get_args(kind) else metavar,
        instance_from_str=parse,
        is_instance=lambda value: True,
        str_from_instance=written,
    )


Gpus = Annotated[float | None, number("gpus-per-scene", float | None, GPUS)]
Cpus = Annotated[int | None, number("cpus-per-scene", int | None, CPUS)]


REGISTRY = ConstructorRegistry()
"""Makes options of settings classes: help says the range of a number, and values are checked by it."""


@REGISTRY.struct_rule
def options_of(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The options of a settings class; None for all other types."""
    made = info.type
    if not (isinstance(made, type) and issubclass(made, Settings)):
        return None

    def make(**values: Any) -> Any:
        try:
            return made(**values)
        except SettingsError as error:
            raise OptionError(error) from error

    texts, options = field_texts(made), []
    for declared, kind in fields_of(made):
        ranges = ranges_of(declared)
        default = declared.default if declared.default_factory is MISSING else declared.default_factory()
        if isinstance(info.default, made):
            default = getattr(info.default, declared.name)
        help_text = texts.get(declared.name, "")
        if ranges:
            allowed = wanted(kind, *ranges) if row_kinds(kind) else ", ".join(map(str, ranges))
            help_text = f"{help_text} {allowed[:1].upper()}{allowed[1:]}."
            kind = cast(Any, Annotated[kind, number(made.named(declared.name), kind, *ranges)])
        options.append(StructFieldSpec(declared.name, kind, default, help_text))
    return StructConstructorSpec(make, tuple(options))


def field_texts(settings: type) -> dict[str, str]:
    """The docstring below every field of a settings class and its bases, each on one line, by name."""
    texts: dict[str, str] = {}
    for base in (b for b in reversed(settings.__mro__) if issubclass(b, Settings) and b is not Settings):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for declared, text in zip(tree.body, tree.body[1:], strict=False):
            match declared, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    texts[name] = " ".join(words.split())
    return texts
