"""A thousand requests that nobody would send: none of them is answered with 500."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from .serving import add, png

REQUESTS = 1000
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e308,
        -1e308,
        2**70,
        0.5,
        "",
        " ",
        "\0",
        "\ud800",
        "ä" * 300,
        "../../etc/passwd",
        "NaN",
        "[1,",
    ),
    *([], {}, [[]], [None], {"": 1}, [0] * 300, [[1, 2, 3, 4]], {"points": [[1, 2]]}, "data:,", "AAAA", [1e9, 1e9]),
)
PATHS = (
    *("/", "/api/info", "/api/images", "/api/openapi.json", "/api/matte", "/api/images/{id}", "/api/images/{id}/matte"),
    *("/api/images/{id}/preview", "/api/images/{id}/file", "/api/images/{id}/remove", "/api/images/{id}/replace"),
    *("/api/images/{id}/fill", "/api/images/%00/matte/", "/api//images/", "/api/images/{id}/nothing", "/%ff"),
)
TAKES_BODIES = [path for path in PATHS if path.endswith(("images", "matte", "remove", "replace", "fill"))]
TYPES = (
    *("application/json", "multipart/form-data; boundary=x", "multipart/form-data", "image/png", "text/plain", ""),
    *("application/x-www-form-urlencoded", "application/json; charset=utf-7", "application/octet-stream", "\xff/\xfe"),
)
GOOD = {"objects": [{"points": [[60, 40]], "name": "ball"}]}
OPTIONS = (
    {},
    {"backend": "cv2"},
    {"colour": "red"},
    {"output": "json", "bits": 16},
    {"output": "coco", "quality": "draft"},
)


def spoilt(chance: random.Random, value: Any) -> Any:
    """A value with something strange somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        return {**value, key: spoilt(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], spoilt(chance, value[place]), *value[place + 1 :]]
    return chance.choice(STRANGE)


def as_json(chance: random.Random, image: bytes) -> dict[str, Any]:
    body = {"objects": GOOD["objects"]} | chance.choice(OPTIONS)
    if chance.random() < 0.5:
        body = spoilt(chance, body)
    if chance.random() < 0.1 and isinstance(body, dict):
        body[chance.choice(["image", "name", "keep", "\ud800"])] = chance.choice(STRANGE)
    return {"content": json.dumps(body).encode(), "headers": {"content-type": "application/json"}}


def as_form(chance: random.Random, image: bytes) -> dict[str, Any]:
    fields = {"point": "60,40", "output": "alpha", "bits": "8", "box": "1,2,30,40", "objects": '[{"box":[1,2,30,40]}]'}
    chosen = {key: value for key, value in fields.items() if chance.random() < 0.4}
    for key in chosen:
        if chance.random() < 0.5:
            chosen[key] = str(chance.choice(STRANGE)).encode("utf-8", "replace").decode()
    files = {"image": image} if chance.random() < 0.7 else {"background": b"\x89PNG"}
    return {"data": chosen, "files": files}


def as_bytes(chance: random.Random, image: bytes) -> dict[str, Any]:
    content = bytearray(chance.choice([image, b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n', b"{}"]))
    for _ in range(chance.randrange(6)):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    kind = chance.choice(TYPES).encode("latin-1")
    return {"content": bytes(content[: chance.randrange(len(content) + 1)]), "headers": {"content-type": kind}}


@pytest.mark.slow
def test_no_request_is_answered_with_500(clients, ball):
    pytest.importorskip("cv2", reason="OpenCV fills what is removed")
    from inpaint.server import register

    client = clients(extensions=[register], max_images=5)
    chance = random.Random(0)
    makers: tuple[Callable[..., dict[str, Any]], ...] = (as_json, as_json, as_form, as_bytes)
    image, seen = png(ball), dict[int, int]()
    image_id = add(client, ball)["id"]
    for number in range(REQUESTS):
        if number % 50 == 0 or client.get(f"/api/images/{image_id}").status_code != 200:
            image_id = add(client, ball)["id"]
        method = chance.choice(["POST"] * 15 + ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
        path = chance.choice(TAKES_BODIES if method == "POST" else PATHS)
        path = path.replace("{id}", image_id if chance.random() < 0.95 else "nobody")
        request = chance.choice(makers)(chance, image)
        if path.endswith("/fill"):
            request = as_bytes(chance, b"{}")  # loads no diffusion model
        answer = client.request(method, path, **request)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
        assert answer.status_code != 500, (number, method, path, request)
        if answer.status_code >= 400 and method != "HEAD":
            assert isinstance(answer.json()["detail"], str), answer.text
    assert seen.get(200, 0) > 50 and seen.get(422, 0) > 100, seen  # neither all refused nor all taken
