"""A ComfyUI node that asks a running `zim serve` for mattes: copy this file into ComfyUI's `custom_nodes` folder.

Needs nothing that ComfyUI does not bring. The server's address is taken from ZIM_SERVE_URL (http://127.0.0.1:8000 if it
is not set), its token from ZIM_SERVE_TOKEN.
"""

import base64
import io
import json
import os
import urllib.error
import urllib.request

import numpy as np
import torch
from PIL import Image


class ZimMatte:
    """Image and prompts in; mask and cut-out colours out, for each image of the batch."""

    CATEGORY = "mask"
    FUNCTION = "matte"
    RETURN_TYPES = ("MASK", "IMAGE")
    RETURN_NAMES = ("matte", "colours")

    @classmethod
    def INPUT_TYPES(cls):
        """Say what the node takes."""
        help_text = 'One object a line: clicks "x,y" or "x,y,0" (background) and a box "x1,y1,x2,y2", by semicolons.'
        return {"required": {"image": ("IMAGE",), "objects": ("STRING", {"multiline": True, "tooltip": help_text})}}

    def matte(self, image, objects):
        """Return (n, h, w) opacity and (n, h, w, 3) colours free of the background's, both in [0, 1]."""
        prompts = [parse(line) for line in objects.splitlines() if line.strip()]
        cut = torch.stack([torch.from_numpy(ask(one.cpu().numpy(), prompts)) for one in image])
        return cut[..., 3], cut[..., :3]


def parse(line):
    """Return one object as the server takes it."""
    parts = [[float(number) for number in part.split(",")] for part in line.split(";") if part.strip()]
    points, boxes = [p for p in parts if len(p) in (2, 3)], [p for p in parts if len(p) == 4]
    if len(points) + len(boxes) < len(parts) or len(boxes) > 1:
        raise ValueError(f"an object is clicks x,y[,label] and at most one box x1,y1,x2,y2: {line!r}")
    return ({"points": points} if points else {}) | ({"box": boxes[0]} if boxes else {})


def ask(pixels, prompts):
    """Return the cut-out, (h, w, 4) in [0, 1], of an image (h, w, 3) in [0, 1]."""
    file = io.BytesIO()
    Image.fromarray((pixels[..., :3].clip(0, 1) * 255 + 0.5).astype(np.uint8)).save(file, "PNG", compress_level=1)
    body = {"image": base64.b64encode(file.getvalue()).decode(), "objects": prompts, "output": "cutout"}
    address = os.environ.get("ZIM_SERVE_URL", "http://127.0.0.1:8000").rstrip("/") + "/api/matte"
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("ZIM_SERVE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"zim serve: {json.load(error).get('detail', error.reason)}") from None
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.float32) / 255


NODE_CLASS_MAPPINGS = {"ZimMatte": ZimMatte}
NODE_DISPLAY_NAME_MAPPINGS = {"ZimMatte": "ZIM matte"}
