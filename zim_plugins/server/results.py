"""Mattes to files: PNG of 8 and 16 bits, cut-outs, overlays, COCO's JSON, EXR."""

import base64
import importlib.util
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8

from zim_plugins.imaging.codecs.png16 import write_png
from zim_plugins.imaging.foreground import foreground_colours
from zim_plugins.imaging.geometry import tight_box
from zim_plugins.imaging.ranges import from_unit, unit_values

Alpha = Float32[np.ndarray, "h w"]
SOLID = 0.5
"""Opacity above which a pixel belongs to a mask or a box."""


def png_of(pixels: np.ndarray) -> bytes:
    """Return a PNG file of (h, w) or (h, w, c) pixels of 8 or 16 bits."""
    if pixels.dtype == np.uint8:
        buffer = io.BytesIO()
        PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    buffer = io.BytesIO()
    write_png(buffer, pixels[..., None] if pixels.ndim == 2 else pixels)
    return buffer.getvalue()


def alpha_png(alpha: Alpha, bits: int = 8) -> bytes:
    """Return a matte as a grey PNG of 8 or 16 bits."""
    return png_of(_quantised(alpha, bits))


def cutout_png(rgb: UInt8[np.ndarray, "h w 3"], alpha: Alpha, bits: int = 8) -> bytes:
    """Return the object alone: straight alpha, colours free of the background's, black where nothing is."""
    opacity = _quantised(alpha, bits)
    colours = np.where((opacity > 0)[..., None], foreground_colours(rgb, alpha), np.uint8(0))
    if bits == 16:
        colours = colours.astype(np.uint16) * np.uint16(257)
    return png_of(np.dstack([colours, opacity]))


def overlay_png(rgb: UInt8[np.ndarray, "h w 3"], alpha: Alpha) -> bytes:
    """Return the image with its objects tinted and the rest dimmed."""
    from zim_plugins.core.overlay import draw_overlay

    return png_of(draw_overlay(rgb, alpha))


def solid_box(alpha: Alpha) -> tuple[int, int, int, int] | None:
    """Return X1 Y1 X2 Y2 [px] of the opacity above one half, exclusive at the far edge; None where there is none."""
    return tight_box(alpha > SOLID)


def as_json(names: Sequence[str], alphas: Sequence[Alpha], scores: Sequence[float], model: str) -> dict[str, Any]:
    """Return boxes, scores and mattes of all objects, each matte as a PNG in base64."""
    rows = []
    for name, alpha, score in zip(names, alphas, scores, strict=True):
        matte = base64.b64encode(alpha_png(alpha)).decode("ascii")
        area = int(np.count_nonzero(alpha > SOLID))
        rows.append({"name": name, "score": score, "box": solid_box(alpha), "area_px": area, "matte": matte})
    height, width = alphas[0].shape
    return {"width": width, "height": height, "model": model, "objects": rows}


def as_coco(
    file_name: str, names: Sequence[str], alphas: Sequence[Alpha], scores: Sequence[float], *, polygons: bool = False
) -> dict[str, Any]:
    """Return COCO's JSON: one image, a category for each name, masks or outlines of the opacity above one half."""
    from zim_plugins.core.exchange import CocoImage, coco_annotation, coco_dataset

    categories = list(dict.fromkeys(names))
    annotations = [
        coco_annotation(alpha, score=round(score, 4), category_id=categories.index(name) + 1, polygons=polygons)
        for name, alpha, score in zip(names, alphas, scores, strict=True)
    ]
    size = alphas[0].shape[0], alphas[0].shape[1]
    return coco_dataset([CocoImage(file_name, size, annotations)], categories=categories)


def has_exr() -> bool:
    """Return whether EXR files can be written here."""
    return importlib.util.find_spec("OpenEXR") is not None


def cutout_exr(rgb: UInt8[np.ndarray, "h w 3"], alpha: Alpha) -> bytes:
    """Return the object alone as EXR: 32-bit float, linear light, premultiplied, as compositors expect it.

    Raises:
        MissingExtra: OpenEXR is not installed.
    """
    from zim_plugins.imaging.codecs.exr import to_linear, write_exr

    light = to_linear(unit_values(foreground_colours(rgb, alpha))) * alpha[..., None]
    with tempfile.TemporaryDirectory() as folder:  # the library writes files only
        path = Path(folder, "cutout.exr")
        write_exr(path, np.dstack([light, alpha]), bits=32, header=None)
        return path.read_bytes()


def _quantised(alpha: Alpha, bits: int) -> np.ndarray:
    return from_unit(alpha, np.uint16 if bits == 16 else np.uint8, halves_up=True)
