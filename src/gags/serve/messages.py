"""What clients send and get, as JSON. Lengths and coordinates are in the frame and units of the capture."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gags.serve.settings import LONGEST_SIDE, LONGEST_TEXT, MOST_FOUND, MOST_TEXTS

Text = Annotated[str, StringConstraints(pattern=r"\S", max_length=LONGEST_TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]
What = Literal["photo", "color", "depth"]
WhatOfText = Literal["relevancy", "mask"]
Side = Annotated[int, Field(ge=16, le=LONGEST_SIDE)]
Point = tuple[float, float, float]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="What is wrong, where, and what to do, in one line.")


class SceneInfo(BaseModel):
    """A scene that can be asked."""

    name: str
    loaded: bool = Field(description="Whether it is in memory; the first question loads it.")


class ViewInfo(BaseModel):
    """A photo with its camera. The camera looks along +z, x to the right, y down (OpenCV)."""

    name: str
    width: int
    height: int
    K: list[list[float]] = Field(description="Intrinsics, px. [3][3]")
    world_to_camera: list[list[float]] = Field(description="Rigid transform. [4][4]")


class SceneDetails(BaseModel):
    """A scene, loaded."""

    name: str
    encoder: str
    gaussians: int
    views: list[ViewInfo]


class LocateRequest(_Message):
    """What to look for in 3D."""

    texts: Texts


class Box(BaseModel):
    """An oriented box; corner = center ± size/2 along the axes."""

    size: Point
    axes: tuple[Point, Point, Point] = Field(description="Unit vectors, a row each.")
    corners: list[Point] = Field(description="8 of them.")


class InstanceAnswer(BaseModel):
    """One thing that answers a text."""

    text: str
    score: float = Field(description="Mean relevancy, in [0, 1].")
    views: int = Field(description="Photos that see it.")
    gaussians: int
    thing: int | None = Field(description="Its number in the scene; null for what no mask holds.")
    part_of: int | None
    also: list[int]
    center: Point
    box: Box


class Located(BaseModel):
    """Instances of one text, best first; none if nothing in the scene matches."""

    text: str
    instances: list[InstanceAnswer]


class QueryRequest(_Message):
    """What to look for in photos."""

    texts: Texts
    views: list[Name] = Field(
        default=[], max_length=8, description="Photos to answer in; none: the three best of each text."
    )


class ViewAnswer(BaseModel):
    """What a text points at in one photo."""

    text: str
    view: str
    found: bool = Field(description="Whether anything in the scene matches, here or elsewhere.")
    score: float = Field(description="Relevancy at the peak, in [0, 1].")
    peak: tuple[int, int] = Field(description="Column and row of the best place, px of the photo.")
    pixels: int = Field(description="Size of the answer's mask; 0 if the photo does not show it.")
    rectangle: tuple[int, int, int, int] | None = Field(
        description="Left, top, right, bottom of the mask, px; right and bottom are outside."
    )


class ExtractRequest(_Message):
    """What to cut out."""

    texts: Texts
    invert: bool = Field(default=False, description="Everything else instead.")
    format: Literal["ply", "spz", "splat"] = "ply"


class SearchRequest(_Message):
    """What to look for in libraries of scenes: one of text, image and like."""

    text: Text | None = None
    image: str | None = Field(default=None, description="A photo of what is looked for: PNG or JPEG, base64.")
    like: Name | None = Field(default=None, description="SCENE:THING, to find what looks like it.")
    top: int = Field(default=20, ge=1, le=MOST_FOUND)
    scenes: list[Name] = Field(default=[], max_length=100, description="Only in these; none: in all.")


class FoundThing(BaseModel):
    """A thing of a library."""

    library: str
    scene: str
    thing: int
    names: list[str]
    score: float = Field(description="Relevancy for a text, cosine otherwise; of one encoder alone.")
    matches: bool | None = Field(description="Whether the text names it; null if that cannot be told.")
    encoder: str
    box: tuple[Point, Point] | None = Field(description="Least and largest corner.")
    thumbnail: str = Field(description="JPEG, base64.")


class CatalogEntry(BaseModel):
    """A thing of a scene, with the words that name it best."""

    name: str
    score: float
    names: list[dict[str, str | float]]
    photos: int
    gaussians: int
    part_of: int | None = Field(description="Row of the list that it is a part of.")
    center: Point
    box: dict[str, list]


class Health(BaseModel):
    """That the service works."""

    status: Literal["ok"]
    version: str
    scenes: int
    libraries: int
    waiting: int = Field(description="Questions that nobody works on yet.")
