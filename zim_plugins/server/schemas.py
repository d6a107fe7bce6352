"""Bodies of the REST API's requests and responses."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.prompt_text import PromptText

MAX_OBJECTS = 64
MAX_POINTS = 256
MAX_SCRIBBLES = 32
MAX_SCRIBBLE_PATH = 4096
SCRIBBLE_CLICKS = 12
"""Clicks that one scribble becomes, at most."""

Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
Label = Literal[0, 1]
Position = tuple[Number, Number]
Share = Annotated[str, Field(pattern=r"^-?[0-9]{1,4}(\.[0-9]{1,18})?%$")]
"""A coordinate as a share of the image, such as 40%."""
Click = Annotated[list[Number | Share], Field(min_length=2, max_length=3)]
Box = tuple[Number | Share, Number | Share, Number | Share, Number | Share]


class Body(BaseModel):
    """Any body: names that it does not have are refused, so that nothing is ignored unsaid."""

    model_config = ConfigDict(extra="forbid")


class Scribble(Body):
    """A stroke over an object, or over what is none of it."""

    path: Annotated[list[Position], Field(min_length=1, max_length=MAX_SCRIBBLE_PATH)]
    """Positions [px] in drawing order."""
    label: Label = 1
    """1 object, 0 background."""


class ObjectPrompt(Body):
    """One object: clicks, scribbles, a box, or several of them, in pixels of the upright image.

    Coordinates of clicks and boxes may be shares of it, such as "40%".
    """

    name: Annotated[str, Field(max_length=200)] = ""
    """What the object is called in results."""
    points: Annotated[list[Click], Field(max_length=MAX_POINTS)] = []
    """Clicks [x, y] or [x, y, label]; label 1 (default) is the object, 0 the background."""
    scribbles: Annotated[list[Scribble], Field(max_length=MAX_SCRIBBLES)] = []
    """Strokes, which become clicks along them."""
    box: Box | None = None
    """[x1, y1, x2, y2], exclusive at the far edge."""

    @field_validator("points")
    @classmethod
    def _check_labels(cls, points: list[list[float | str]]) -> list[list[float | str]]:
        for point in points:
            if len(point) == 3 and point[2] not in (0, 1):
                raise ValueError(f"a click's label is 1 (object) or 0 (background), got {point[2]}")
        return points

    def prompt(self, size: tuple[int, int]) -> Prompt:
        """Return the prompt on an image of `size` (H, W) [px].

        Raises:
            ValueError: nothing is pointed at.
        """
        named = {"points": self.points, "box": self.box}
        parts = [PromptText.from_json(named).sized(size)] if self.points or self.box is not None else []
        for scribble in self.scribbles:
            path = np.array(scribble.path, dtype=np.float64)
            parts.append(Prompt.from_scribble(path, label=scribble.label, max_points=SCRIBBLE_CLICKS))
        if not parts:
            raise ValueError("an object needs a click, a scribble or a box")
        return Prompt.union(*parts)


class ObjectsBody(Body):
    """Objects of a task."""

    objects: Annotated[list[ObjectPrompt], Field(min_length=1, max_length=MAX_OBJECTS)]
    """The objects; results hold all of them together."""

    def prompts(self, size: tuple[int, int]) -> list[Prompt]:
        """Return one prompt for each object, on an image of `size` (H, W) [px]."""
        return [one.prompt(size) for one in self.objects]

    def names(self) -> list[str]:
        """Return a name for each object; those without one are numbered."""
        return [one.name or f"object {number}" for number, one in enumerate(self.objects, 1)]


class MatteBody(ObjectsBody):
    """Mattes that are wanted, and their form."""

    output: Literal["alpha", "cutout", "overlay", "json", "coco", "labelme", "exr"] = "alpha"
    """alpha: grey PNG. cutout: RGBA PNG with colours free of the background's. overlay: PNG. json: boxes, scores and a
    PNG for each object. coco: COCO's JSON, run-length masks of opacity above 0.5. labelme: labelme's
    JSON, polygons round it. exr: float RGBA, linear, premultiplied."""
    polygons: bool = False
    """Of coco: outlines instead of run-length masks."""
    bits: Literal[8, 16] = 8
    """Depth of alpha and cutout."""
    quality: Literal["draft", "preview", "full"] = "full"
    """draft and preview are answered at the size of the preview, full at the image's own."""


class OneShotBody(MatteBody):
    """An image and its mattes in one request, without a session."""

    image: str
    """The file in base64."""


class ImageInfo(BaseModel):
    """An image that the server keeps for a session."""

    id: str
    name: str
    width: int
    height: int
    preview_width: int
    preview_height: int
    notes: list[str] = []
    """What was done to the file's pixels on reading it."""
    evicted: list[str] = []
    """Images of this session that were let go to make room: send them again before they are used."""


class ObjectMatte(BaseModel):
    """One object's matte."""

    name: str
    score: float
    """The model's own estimate of the matte's quality."""
    box: tuple[int, int, int, int] | None
    """Extent of opacity above 0.5, [x1, y1, x2, y2], exclusive at the far edge; none where nothing was found."""
    area_px: int
    """Pixels of opacity above 0.5."""
    matte: str
    """Grey PNG in base64, at the answer's width and height."""


class MatteInfo(BaseModel):
    """Mattes as JSON."""

    width: int
    height: int
    model: str
    objects: list[ObjectMatte]


class Problem(BaseModel):
    """Why a request failed, in one line."""

    detail: str


class Limits(BaseModel):
    """Bounds of the server."""

    upload_bytes: int
    pixels: int
    memory_bytes: int
    images: int
    objects: int
    points: int


class ActionField(BaseModel):
    """One setting of an action, for the page's form."""

    name: str
    label: str
    kind: Literal["text", "colour", "choice", "file"]
    required: bool = False
    choices: list[str] = []
    default: str = ""


class Action(BaseModel):
    """Something that an adapter does with an image and its objects: POST objects and fields to `path`."""

    name: str
    label: str
    hint: str
    path: str
    """With {image_id}."""
    fields: list[ActionField] = []


class Opener(BaseModel):
    """Kinds of files that an adapter opens as a series of images: POST the files to `path`."""

    label: str
    suffixes: list[str]
    path: str


class Gallery(BaseModel):
    """Finished work on the server's disk that an adapter shows.

    GET `path` lists collections, each with `id`, `name`, `about`, `views`, `layers` and `files` (`name`, `bytes`). An
    image lies at `path/{id}/views/{number}/{layer}`, a file at `path/{id}/files/{name}`.
    """

    label: str
    path: str


class ServerInfo(BaseModel):
    """Name, limits and abilities of this server."""

    version: str
    model: str
    outputs: list[str]
    limits: Limits
    actions: list[Action]
    openers: list[Opener]
    galleries: list[Gallery]
    unavailable: list[str]
    """Adapters that could not be loaded, each with the reason."""
