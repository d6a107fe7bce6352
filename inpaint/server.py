"""Remove, replace and fill on `zim serve`: routes and what the page shows of them."""

from collections import OrderedDict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from jaxtyping import UInt8
from pydantic import Field

from zim_plugins.core import Raster
from zim_plugins.server import (
    PROBLEMS,
    Action,
    ActionField,
    Extension,
    ImageInfo,
    ObjectsBody,
    OpenImage,
    Services,
    body_schema,
    media,
)

from .inpainters.base import FillSettings, Inpainter
from .inpainters.registry import LOCAL_NAMES, load_inpainter
from .inpainters.weights import DIFFUSION_MODELS
from .tasks.backgrounds import as_colour
from .tasks.filling import DEFAULT_BACKEND, fill
from .tasks.matte import matte_of
from .tasks.removal import deserved, remove
from .tasks.replacement import replace

LocalBackend = Literal["auto", "lama", "lama-cleaner", "patchmatch", "cv2"]
TextBackend = Literal["sd15", "sd2", "sdxl", "flux-fill"]
"""Names alone: a folder or an address from a client would let it read files and reach other machines."""
Result = tuple[Raster, tuple[str, ...]]
"""The new image, and what its owner should look at."""
KEPT_FILLERS = 2
MAX_STEPS = 200


class TaskBody(ObjectsBody):
    """Object and options of a task."""

    keep: bool = False
    """Keep the result as a new image of the session and describe it, instead of returning the file."""


class RemoveBody(TaskBody):
    """Objects to take out."""

    backend: LocalBackend = "auto"
    """What fills the hole; auto takes the best that is installed."""


class ReplaceBody(TaskBody):
    """Objects to keep on another background: a colour, or the form's file `background`."""

    colour: Annotated[str, Field(max_length=64)] = ""
    """Such as "#4080ff", "64,128,255" or "navy"."""


class FillBody(TaskBody):
    """Objects to paint over as a text says."""

    prompt: Annotated[str, Field(min_length=1, max_length=1000)]
    """What shall be there."""
    backend: TextBackend = "sd15"
    """The diffusion model."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The same seed gives the same fill."""
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    """Denoising steps."""


class Fillers:
    """Fillers that were asked for, the last ones kept."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, Inpainter] = OrderedDict()

    def get(self, name: str, settings: FillSettings | None = None) -> Inpainter:
        """Load a filler, or return it as it is kept."""
        key = f"{name} {settings}"
        if key not in self._loaded:
            self._loaded[key] = load_inpainter(name, settings=settings)
        self._loaded.move_to_end(key)
        while len(self._loaded) > KEPT_FILLERS:
            self._loaded.popitem(last=False)
        return self._loaded[key]


def register(services: Services) -> Extension:
    """Return the routes of removal, replacement and filling, for `zim serve`."""
    router = APIRouter(prefix="/api/images/{image_id}", responses=PROBLEMS)
    fillers = Fillers()
    answers: dict[int | str, dict[str, Any]] = {200: media("image/png", "image/tiff") | {"model": ImageInfo}}
    options: dict[str, Any] = {"response_class": Response, "responses": answers}

    @router.post("/remove", openapi_extra=body_schema(RemoveBody), **options)
    async def remove_objects(request: Request, image_id: str) -> Response:
        """Take objects out of an image; all pixels outside the hole stay as they are."""
        image = services.image(request, image_id)
        body, _ = await services.read_body(request, RemoveBody)
        target = await services.mattes(image, body.prompts(image.size))

        def act() -> Result:
            alpha = matte_of(image.original.rgb, target)
            unmix, grow_px = deserved(alpha, predicted=True, unmix=None, grow_px=None)
            filler = fillers.get(body.backend)
            done = remove(image.original.colours(), alpha, inpainter=filler, unmix=unmix, grow_px=grow_px)
            return image.original.repainted(done.image, done.hole), done.warnings

        return await _finish(services, request, image, body, "removed", await services.run(act))

    @router.post("/replace", openapi_extra=body_schema(ReplaceBody, "background"), **options)
    async def replace_background(request: Request, image_id: str) -> Response:
        """Lay objects over a new background, their edges freed of the old one's colours."""
        image = services.image(request, image_id)
        body, files = await services.read_body(request, ReplaceBody, files=("background",))
        if bool(body.colour) == ("background" in files):
            raise ValueError("background: give a colour, or a file, not both")
        target = await services.mattes(image, body.prompts(image.size))
        if "background" in files:
            behind = (await services.open(request, files["background"], "background")).original.rgb
        else:
            behind = _colour(body.colour)

        def act() -> Result:
            colours, metadata = image.original.in_rgb()
            opacity = image.original.opacity()
            own = target if opacity is None else [alpha * opacity for alpha in target]
            done = replace(colours, own, image.original.from_srgb(behind))
            return Raster(done.image, "RGB", metadata), done.warnings

        return await _finish(services, request, image, body, "replaced", await services.run(act))

    @router.post("/fill", openapi_extra=body_schema(FillBody), **options)
    async def fill_objects(request: Request, image_id: str) -> Response:
        """Paint something else in the place of objects; needs a diffusion model on the server."""
        image = services.image(request, image_id)
        body, _ = await services.read_body(request, FillBody)
        target = await services.mattes(image, body.prompts(image.size))

        def act() -> Result:
            painter = fillers.get(body.backend, FillSettings(seed=body.seed, steps=body.steps))
            done = fill(image.original.colours(), target, body.prompt, inpainter=painter)
            return image.original.repainted(done.image, done.hole), done.warnings

        return await _finish(services, request, image, body, "filled", await services.run(act))

    return Extension("inpaint", router, _actions())


async def _finish(
    services: Services, request: Request, image: OpenImage, body: TaskBody, kind: str, result: Result
) -> Response:
    """Return the result's file, or keep it and describe it."""
    raster, warnings = result
    content, media_type = await services.encoded(raster)
    name = f"{image.name.rpartition('.')[0] or image.name}_{kind}{raster.suffix}"
    said = services.said(warnings)
    if not body.keep:
        return services.file(content, media_type, name, **said)
    info = await services.keep(await services.open(request, content, name))
    return Response(info.model_dump_json(), status_code=200, media_type="application/json", headers=said)


def _colour(text: str) -> UInt8[np.ndarray, "1 1 3"]:
    """Return one pixel of a colour; a text that names a file is none."""
    colour = as_colour(text)
    return np.array([[colour]], dtype=np.uint8)


def _actions() -> tuple[Action, ...]:
    place = "/api/images/{image_id}"
    backends = ActionField(
        name="backend", label="Filler", kind="choice", choices=["auto", *LOCAL_NAMES], default="auto"
    )
    models = ActionField(
        name="backend", label="Model", kind="choice", choices=[*DIFFUSION_MODELS], default=DEFAULT_BACKEND
    )
    return (
        Action(
            name="remove", label="Remove", path=f"{place}/remove", fields=[backends],
            hint="Take the objects out and fill the hole.",
        ),
        Action(
            name="replace", label="New background", path=f"{place}/replace",
            hint="Keep the objects, on a colour or on another image.",
            fields=[
                ActionField(name="colour", label="Colour", kind="colour", default="#dfe8f2"),
                ActionField(name="background", label="Or an image", kind="file"),
            ],
        ),
        Action(
            name="fill", label="Fill by text", path=f"{place}/fill",
            hint="Paint something else there; needs a diffusion model.",
            fields=[ActionField(name="prompt", label="What shall be there", kind="text", required=True), models],
        ),
    )  # fmt: skip
