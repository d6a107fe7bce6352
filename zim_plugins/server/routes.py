"""The REST API of the server's own: images, previews, mattes."""

import io
import json
from typing import Any

import numpy as np
import PIL.Image
from fastapi import APIRouter, Request, Response
from jaxtyping import UInt8
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from zim_plugins.core.exchange import labelme_document
from zim_plugins.core.prediction import unite
from zim_plugins.server import results
from zim_plugins.server.bodies import FORM_TYPES, content_type, decode_base64, read_body, read_form
from zim_plugins.server.engine import PackedMatte
from zim_plugins.server.schemas import ImageInfo, MatteBody, MatteInfo, OneShotBody, Problem
from zim_plugins.server.services import Services
from zim_plugins.server.store import OpenImage

PREVIEW_QUALITY = 90
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 401, 403, 404, 405, 408, 410, 413, 415, 422, 501, 503)
}
"""Answers that any route may give."""


BODY_SCHEMAS: dict[str, dict[str, Any]] = {}
"""What the bodies of all routes refer to: FastAPI cannot see it, since bodies may also be forms."""


def media(*kinds: str) -> dict[str, Any]:
    """Return OpenAPI's description of an answer that is a file."""
    return {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}}


def body_schema(model: Any, *files: str) -> dict[str, Any]:
    """Return OpenAPI's description of a body that is JSON or a form; `files` are uploads in the form."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, known in schema.pop("$defs", {}).items():
        BODY_SCHEMAS[name] = known
    in_json, in_form = dict(schema["properties"]), dict(schema["properties"])
    for name in files:
        in_json[name] = {"type": "string", "format": "byte"}
        in_form[name] = {"type": "string", "format": "binary"}
    required = [name for name in schema.get("required", []) if name in in_json]
    content = {
        "application/json": {"schema": {**schema, "properties": in_json, "required": required}},
        "multipart/form-data": {"schema": {**schema, "properties": in_form, "required": required}},
    }
    return {"requestBody": {"required": True, "content": content}}


def build_router(services: Services) -> APIRouter:
    """Return the routes of images and mattes."""
    router = APIRouter(prefix="/api", responses=PROBLEMS)
    upload = {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}, "required": ["image"]}
    in_json = {
        "type": "object",
        "properties": {"image": {"type": "string", "format": "byte"}, "name": {"type": "string", "maxLength": 200}},
        "required": ["image"],
    }
    upload_body = {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": upload}, "application/json": {"schema": in_json}},
        }
    }

    @router.post("/images", status_code=201, openapi_extra=upload_body)
    async def add_image(request: Request) -> ImageInfo:
        """Send an image, as a form's file `image`, as JSON with `image` in base64, or as the bare body."""
        content, name = await read_upload(request)
        return await services.keep(await services.open(request, content, name))

    @router.get("/images")
    async def list_images(request: Request) -> list[ImageInfo]:
        """List the images of this session, the one used last at the end."""
        return [services.info(image) for image in services.store.of_session(services.session(request))]

    @router.get("/images/{image_id}")
    async def show_image(request: Request, image_id: str) -> ImageInfo:
        """Describe an image."""
        return services.info(services.image(request, image_id))

    @router.delete("/images/{image_id}", status_code=204)
    async def drop_image(request: Request, image_id: str) -> None:
        """Forget an image."""
        services.store.drop(services.session(request), image_id)

    @router.get("/images/{image_id}/preview", response_class=Response, responses={200: media("image/jpeg")})
    async def show_preview(request: Request, image_id: str) -> Response:
        """Return the image as sRGB JPEG, small enough to be shown."""
        image = services.image(request, image_id)
        return Response(await services.run(_jpeg_of, image.preview), media_type="image/jpeg")

    @router.get("/images/{image_id}/file", response_class=Response, responses={200: media("image/png", "image/tiff")})
    async def show_file(request: Request, image_id: str) -> Response:
        """Return the image in its own depth and colours: PNG, or TIFF where PNG cannot hold it."""
        image = services.image(request, image_id)
        content, kind = await services.encoded(image.original.raster)
        return services.file(content, kind, f"{_stem(image)}{image.original.raster.suffix}")

    answers: dict[int | str, dict[str, Any]] = {200: media("image/png", "image/x-exr") | {"model": MatteInfo}}

    @router.post(
        "/images/{image_id}/matte", response_class=Response, responses=answers, openapi_extra=body_schema(MatteBody)
    )
    async def matte(request: Request, image_id: str) -> Response:
        """Matte the objects of an image that was sent before."""
        image = services.image(request, image_id)
        body, _ = await read_body(request, MatteBody)
        return await _matte(services, image, body)

    @router.post("/matte", response_class=Response, responses=answers, openapi_extra=body_schema(OneShotBody, "image"))
    async def matte_once(request: Request) -> Response:
        """Matte the objects of an image that comes along; nothing is kept."""
        body, files = await read_body(request, MatteBody, files=("image",))
        if "image" not in files:
            raise HTTPException(422, "image: the file is missing")
        image = await services.open(request, files["image"], "image")
        return await _matte(services, image, body)

    return router


async def read_upload(request: Request) -> tuple[bytes, str]:
    """Return the one file that a request holds, and its name.

    Raises:
        HTTPException: 415, 422 where there is none, or more than one.
    """
    kind = content_type(request)
    if kind in FORM_TYPES:
        fields = await read_form(request)
        found = [(value, await value.read()) for _, value in fields if isinstance(value, UploadFile)]
        for value, _ in found:
            await value.close()
        names = [name for name, value in fields if not (isinstance(value, UploadFile) and name in ("image", "file"))]
        if len(found) != 1 or names:
            raise HTTPException(422, "image: send one file for one image, and nothing else")
        return found[0][1], found[0][0].filename or "image"
    if kind == "application/json":
        try:
            values = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise HTTPException(422, "the body is no JSON") from None
        if not isinstance(values, dict) or not {"image"} <= set(values) <= {"image", "name"}:
            raise HTTPException(422, "the body is a JSON object of image, in base64, and name")
        name = values.get("name", "image")
        if not isinstance(name, str):
            raise HTTPException(422, "name: a text")
        return decode_base64(values["image"], "image"), name
    if kind.startswith("image/") or kind == "application/octet-stream":
        return await request.body(), "image"
    raise HTTPException(415, "send multipart/form-data, application/json, or the image itself as image/...")


async def _matte(services: Services, image: OpenImage, body: MatteBody) -> Response:
    if body.output == "exr" and not results.has_exr():
        raise HTTPException(501, "EXR needs OpenEXR on the server: pip install OpenEXR")
    packed = await services.packed(image, body.prompts(image.size), body.quality)
    return await services.run(_result, services.engine.name, image, body, packed)


def _result(model: str, image: OpenImage, body: MatteBody, packed: list[PackedMatte]) -> Response:
    alphas = [one.alpha() for one in packed]
    scores = [round(one.score, 4) for one in packed]
    rgb = image.original.rgb if body.quality == "full" else image.preview
    if body.output == "json":
        text = json.dumps(results.as_json(body.names(), alphas, scores, model))
        return Response(text, media_type="application/json")
    if body.output == "coco":
        text = json.dumps(results.as_coco(image.name, body.names(), alphas, scores, polygons=body.polygons))
        return Services.file(text.encode("ascii"), "application/json", f"{_stem(image)}_coco.json")
    if body.output == "labelme":
        size = alphas[0].shape[0], alphas[0].shape[1]
        text = json.dumps(labelme_document(image.name, size, alphas, labels=body.names()))
        return Services.file(text.encode("ascii"), "application/json", f"{_stem(image)}.json")
    union = unite(alphas)
    said = {"x-zim-scores": ",".join(map(str, scores)), "x-zim-model": model.encode("ascii", "replace").decode()}
    name = f"{_stem(image)}_{body.output}"
    if body.output == "exr":
        return Services.file(results.cutout_exr(rgb, union), "image/x-exr", f"{name}.exr", **said)
    if body.output == "alpha":
        content = results.alpha_png(union, body.bits)
    elif body.output == "cutout":
        content = results.cutout_png(rgb, union, body.bits)
    else:
        content = results.overlay_png(rgb, union)
    return Services.file(content, "image/png", f"{name}.png", **said)


def _jpeg_of(rgb: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return buffer.getvalue()


def _stem(image: OpenImage) -> str:
    return image.name.rpartition(".")[0] or image.name
