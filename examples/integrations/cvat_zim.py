"""An interactor of CVAT that asks a running `zim serve`: positive and negative clicks, or a box, become a mask.

This is the handler of a Nuclio function; `cvat_function.yaml` beside it is its description. Put both into a folder of
their own, this file as main.py and the other as function.yaml, and deploy the folder with CVAT's
serverless/deploy_cpu.sh. The function asks the server at ZIM_SERVE_URL, with the token ZIM_SERVE_TOKEN.
"""

import io
import json
import os
import urllib.error
import urllib.request


def init_context(context):
    """Nuclio calls this once; nothing is kept."""


def handler(context, event):
    """Answer one request of CVAT: `image` in base64, `pos_points`, `neg_points` and `obj_bbox` in pixels."""
    request = event.body if isinstance(event.body, dict) else json.loads(event.body)
    try:
        body, status = json.dumps({"mask": mask_of(request)}), 200
    except (ValueError, OSError) as error:
        body, status = json.dumps({"message": str(error)}), 400
    return context.Response(body=body, headers={}, content_type="application/json", status_code=status)


def mask_of(request):
    """Return rows of 0 and 1: where the object's opacity is above one half."""
    clicks = [[*point[:2], 1] for point in request.get("pos_points") or []]
    clicks += [[*point[:2], 0] for point in request.get("neg_points") or []]
    prompt = {"points": clicks} if clicks else {}
    corners = request.get("obj_bbox") or []
    numbers = [n for corner in corners for n in (corner if isinstance(corner, list) else [corner])]
    if numbers:
        xs, ys = numbers[::2], numbers[1::2]
        prompt["box"] = [min(xs), min(ys), max(xs), max(ys)]
    if not prompt:
        raise ValueError("nothing is pointed at: give a click or a box")
    from PIL import Image

    alpha = Image.open(io.BytesIO(ask({"image": request["image"], "objects": [prompt]})))
    opaque = bytes(alpha.point(lambda grey: int(grey > 127)).tobytes())
    return [list(opaque[row * alpha.width : (row + 1) * alpha.width]) for row in range(alpha.height)]


def ask(body):
    """Return the matte, a grey PNG."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("ZIM_SERVE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    address = os.environ.get("ZIM_SERVE_URL", "http://127.0.0.1:8000").rstrip("/")
    request = urllib.request.Request(f"{address}/api/matte", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise ValueError(f"zim serve: {json.load(error).get('detail', error.reason)}") from None
