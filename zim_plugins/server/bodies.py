"""Bodies of requests: JSON, forms with files, or a bare file, checked the same way."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from zim_plugins.core.prompt_text import parse_objects

Model = TypeVar("Model", bound=BaseModel)
MAX_FILES = 1024
MAX_FIELDS = 64
FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


async def read_body(
    request: Request, model: type[Model], *, files: Sequence[str] = ()
) -> tuple[Model, dict[str, bytes]]:
    """Read a request's body as JSON or as a form.

    JSON holds files in base64. Of a form, values that begin as JSON do are read as such; `point`, `box` and `also`
    name objects as on the command line.

    Args:
        model: what it has to be, besides the files.
        files: names of fields that may be files.

    Returns:
        The checked body, and the contents of the files that came.

    Raises:
        HTTPException: 415 for another kind of body, 422 with one line of what is wrong.
    """
    values, found = await _values(request, files)
    try:
        return model.model_validate(values), found
    except ValidationError as error:
        raise HTTPException(422, describe(error.errors(include_url=False, include_input=False))) from None


def describe(errors: Sequence[Any]) -> str:
    """Return what is wrong with a body in one line."""
    said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}".lstrip(": ") for one in errors[:4]]
    return "; ".join(said) + (f"; and {len(errors) - 4} more" if len(errors) > 4 else "")


def content_type(request: Request) -> str:
    """Return a request's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _values(request: Request, files: Sequence[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    kind = content_type(request)
    if kind in FORM_TYPES:
        return await _form_values(request, files)
    if kind not in ("application/json", ""):
        raise HTTPException(415, f"the body is JSON or multipart/form-data, got {kind[:80]}")
    try:
        values = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(422, "the body is no JSON") from None
    if not isinstance(values, dict):
        raise HTTPException(422, "the body is a JSON object")
    found = {}
    for name in files:
        if values.get(name) is not None:
            found[name] = decode_base64(values.pop(name), name)
    return values, found


async def _form_values(request: Request, files: Sequence[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    values: dict[str, Any] = {}
    found: dict[str, bytes] = {}
    shorthand: dict[str, list[str]] = {"point": [], "box": [], "also": []}
    form = await read_form(request)
    try:
        for name, value in form:
            if isinstance(value, UploadFile):
                if name not in files:
                    raise HTTPException(422, f"{name[:80]}: no file is taken by this name")
                if name in found:
                    raise HTTPException(422, f"{name}: one file is taken, more were given")
                found[name] = await value.read()
                continue
            if name in shorthand:
                shorthand[name].append(value)
                continue
            if name in values:
                raise HTTPException(422, f"{name[:80]}: given twice")
            values[name] = _form_value(name, value)
    finally:
        for _, value in form:
            if isinstance(value, UploadFile):
                await value.close()
    if any(shorthand.values()):
        if "objects" in values:
            raise HTTPException(422, "objects: give them as JSON, or by point, box and also, not both")
        values["objects"] = _short_objects(shorthand)
    return values, found


async def read_form(request: Request) -> list[tuple[str, Any]]:
    """Return a form's fields in order.

    Raises:
        HTTPException: 400 where it cannot be read.
    """
    from starlette.formparsers import MultiPartException

    try:
        form = await request.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=1 << 22)
    except (MultiPartException, ValueError, KeyError) as error:
        raise HTTPException(400, f"the form cannot be read: {' '.join(str(error).split())[:200]}") from None
    return form.multi_items()


async def read_files(request: Request) -> list[tuple[str, bytes]]:
    """Return names and contents of the files of a form that holds nothing else.

    Raises:
        HTTPException: 415 where it is no form, 422 where it holds other fields or no file.
    """
    if content_type(request) not in FORM_TYPES:
        raise HTTPException(415, "send the files as multipart/form-data")
    fields = await read_form(request)
    found = [(value.filename or "", await value.read()) for _, value in fields if isinstance(value, UploadFile)]
    for _, value in fields:
        if isinstance(value, UploadFile):
            await value.close()
    if not found or len(found) < len(fields):
        raise HTTPException(422, "image: send files, and nothing else")
    return found


def _form_value(name: str, text: str) -> Any:
    if text[:1] not in ("[", "{"):
        return int(text) if name == "bits" and text.isascii() and text.isdecimal() and len(text) < 4 else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise HTTPException(422, f"{name[:80]}: no JSON") from None


def _short_objects(given: dict[str, list[str]]) -> list[dict[str, Any]]:
    try:
        objects = parse_objects(given["point"], given["box"], given["also"])
    except (ValueError, OverflowError) as error:
        raise HTTPException(422, " ".join(str(error).split())) from None
    return [one.to_json() for one in objects]


def decode_base64(text: Any, name: str) -> bytes:
    """Return the bytes of base64 text, with or without a data address before it.

    Raises:
        HTTPException: 422 where it is none.
    """
    if not isinstance(text, str):
        raise HTTPException(422, f"{name}: a file in base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise HTTPException(422, f"{name}: this is no base64") from None
