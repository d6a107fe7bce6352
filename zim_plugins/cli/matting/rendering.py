"""Results of `zim matte`: their kinds, formats and depths."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from zim_plugins.cli.matting.exchange import labelme_file
from zim_plugins.cli.matting.writing import Rendered, encode_rendered, write_rendered
from zim_plugins.imaging.sources import split_page

if TYPE_CHECKING:
    from zim_plugins.core.prompt import Prompt
    from zim_plugins.imaging.image import Image
    from zim_plugins.imaging.raster import Original

Alpha = Float32[np.ndarray, "h w"]
Depth = Literal["auto", "8", "16", "32"]
KINDS = ("alpha", "rgba", "overlay", "trimap", "labelme")
"""Opacity; the object with clean colours; the image with object and prompts drawn in; certain and unsure regions;
outlines."""
LABEL = "object"
"""Of objects in labelme's JSON that no words name."""
SUFFIXES = {"png": ".png", "tiff": ".tif", "exr": ".exr", "webp": ".webp"}
FORMATS = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".exr": "exr", ".webp": "webp"}
DEPTHS = {"png": (8, 16), "tiff": (8, 16, 32), "exr": (16, 32), "webp": (8,)}
"""Bits per channel that a format holds; of EXR and 32 of TIFF, floating point."""
ALWAYS_8_BITS = ("overlay", "trimap")


@dataclass(frozen=True, eq=False)
class Answer:
    """Mattes of the objects of an image, with what its record says of them."""

    alpha: Alpha
    """Opacity of all objects together."""
    said: dict[str, object]
    """What the record says."""
    prompts: "Sequence[Prompt]"
    """To draw."""
    alphas: "Iterable[Alpha]"
    """Opacity of each object; may be gone through several times."""
    overlay: UInt8[np.ndarray, "h w 3"] | None = None
    """The image with the objects drawn in, where it is made already."""


@dataclass(frozen=True)
class Output:
    """Kinds, format and depth of results."""

    kinds: tuple[str, ...]
    format: str = "auto"
    """auto is EXR for OpenEXR images and PNG for others."""
    depth: Depth = "auto"
    """auto is the image's own, as far as the format holds it."""
    premultiplied: bool | None = None
    """None: as the format wants it, which is premultiplied for EXR and straight for the others."""
    label: str = LABEL
    """What labelme's JSON calls the objects."""

    def suffix(self, source: str, kind: str) -> str:
        """Return the suffix of a source's result."""
        if kind == "labelme":
            return ".json"
        chosen = self.format_for(source)
        return ".png" if kind in ALWAYS_8_BITS and chosen != "webp" else SUFFIXES[chosen]

    def format_for(self, source: str) -> str:
        """Return the format of a source's matte and cut-out."""
        if self.format != "auto":
            return self.format
        return "exr" if Path(source).suffix.lower() == ".exr" else "png"

    def check(self) -> None:
        """Raise ValueError for what no format holds."""
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            wrong = next((kind for kind in self.kinds if kind not in KINDS), "nothing")
            raise ValueError(f"--outputs are {','.join(KINDS)}, divided by commas; got {wrong!r}")
        if self.format != "auto" and self.depth != "auto" and int(self.depth) not in DEPTHS[self.format]:
            held = " or ".join(map(str, DEPTHS[self.format]))
            raise ValueError(f"--format {self.format} holds {held} bits, not {self.depth}")

    def check_sources(self, sources: Sequence[str]) -> None:
        """Raise ValueError where the format that an image gets by itself does not hold the depth that is asked for."""
        for source in sources:
            held = DEPTHS[self.format_for(source)]
            if self.depth != "auto" and int(self.depth) not in held and set(self.kinds) - {*ALWAYS_8_BITS, "labelme"}:
                others = " or ".join(name for name, bits in DEPTHS.items() if int(self.depth) in bits)
                chosen = self.format_for(source)
                raise ValueError(
                    f"{source} becomes {chosen}, which has no --depth {self.depth}: give --format {others}"
                )

    def bits(self, image: "Image", chosen: str) -> tuple[int, str]:
        """Return the bits per channel of an image's results, and a note where the format holds fewer than it has."""
        own = own_bits(image)
        wanted = own if self.depth == "auto" else int(self.depth)
        held = [bits for bits in DEPTHS[chosen] if bits >= wanted] or [DEPTHS[chosen][-1]]
        if self.depth == "auto" and held[0] < wanted:
            return held[0], f"{chosen} holds {held[0]} bits per channel, the image has {own}"
        return held[0], ""


def own_bits(image: "Image") -> int:
    """Return the bits per channel that an image was stored with: 8, 16, or 32 for floating point."""
    from zim_plugins.imaging.raster import Original

    if not isinstance(image, Original):
        return 8
    pixels = image.raster.pixels
    if pixels.dtype.kind != "f":
        return 8 * pixels.dtype.itemsize
    return 16 if image.raster.is_linear else 32  # OpenEXR: half unless asked otherwise


def write_results(files: dict[str, Path], image: "Original", answer: Answer, output: Output) -> list[str]:
    """Write the kinds of results that `files` names, all or none, and return notes.

    Args:
        files: paths by kind; their suffixes name the formats.
        image: with its own pixels.
        output: depth and kind of opacity.
    """
    notes: list[str] = []
    made: dict[Path, Rendered | bytes] = {}
    for kind, path in files.items():
        if kind == "labelme":
            made[path] = labelme_file(image, answer.alphas, output.label, path)
            if split_page(image.name)[1]:
                notes.append("labelme knows no pages: it will show the first one under these outlines")
            continue
        chosen = FORMATS.get(path.suffix.lower(), "png")
        made[path] = _render(kind, chosen, image, answer, output, notes)
    notes += write_rendered(made)
    return list(dict.fromkeys(notes))


def encode_result(image: "Original", answer: Answer, output: Output) -> bytes:
    """Return the one kind of result that `output` names as the bytes of a file."""
    (kind,) = output.kinds
    if kind == "labelme":
        return labelme_file(image, answer.alphas, output.label, Path("result.json"))
    made = _render(kind, output.format_for(image.name), image, answer, output, [])
    return encode_rendered(made, output.suffix(image.name, kind))


def _render(kind: str, chosen: str, image: "Original", answer: Answer, output: Output, notes: list[str]) -> Rendered:
    from zim_plugins.imaging.metadata import Metadata
    from zim_plugins.imaging.raster import Raster

    alpha = answer.alpha
    where = Metadata(dpi=image.raster.metadata.dpi, exr=image.raster.metadata.exr)
    if kind == "overlay":
        from zim_plugins.core.overlay import draw_overlay

        drawn = draw_overlay(image.rgb, alpha, *answer.prompts) if answer.overlay is None else answer.overlay
        return Rendered(Raster(drawn, "RGB", where), 8)
    if kind == "trimap":
        from zim_plugins.cli.matting.trimap import trimap_of

        return Rendered(Raster(trimap_of(alpha)[..., None], "L", where), 8)
    bits, note = output.bits(image, chosen)
    notes += [note] if note else []
    if kind == "alpha":
        values = _quantised(alpha[..., None], chosen, bits)
        return Rendered(Raster(values, "L", where, is_linear=chosen == "exr"), bits)
    return render_cutout(image, alpha, chosen, bits, output.premultiplied)


def render_cutout(
    image: "Original", alpha: Alpha, chosen: str = "png", bits: int = 8, premultiplied: bool | None = None
) -> Rendered:
    """Return the object with colours free of the background's.

    Args:
        image: with its own pixels.
        alpha: opacity in [0, 1].
        chosen: the format; EXR holds linear light.
        bits: per channel.
        premultiplied: None for as the format wants it.
    """
    from zim_plugins.imaging.foreground import foreground_colours
    from zim_plugins.imaging.raster import Raster

    raster = image.raster
    associated = chosen == "exr" if premultiplied is None else premultiplied
    if raster.is_linear:
        colours = _linear_foreground(image, alpha)
        metadata = raster.metadata
        if chosen != "exr":
            colours = _displayed(colours, image)
            metadata = dataclasses.replace(metadata, exr=None)
        opacity = image.opacity()
        alpha = alpha if opacity is None else alpha * opacity
    else:
        own, metadata = image.in_rgb()
        if bits == 8 and own.dtype == np.uint16:
            own = ((own.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if chosen == "exr" and metadata.icc_profile is not None:
            own, metadata = image.rgb, dataclasses.replace(metadata, icc_profile=None)
        opacity = image.opacity()
        alpha = alpha if opacity is None else alpha * opacity
        integers = foreground_colours(own, alpha)
        if chosen != "exr" and not associated and integers.dtype.itemsize * 8 == bits:
            return Rendered(Raster(np.dstack([integers, _quantised(alpha, chosen, bits)]), "RGBA", metadata), bits)
        colours = integers / np.float32(np.iinfo(integers.dtype).max)
        if chosen == "exr":
            from zim_plugins.imaging.codecs.exr import to_linear

            colours = to_linear(colours)
    if associated:
        colours = colours * alpha[..., None]
    values = np.dstack([_quantised(colours, chosen, bits), _quantised(alpha, chosen, bits)])
    return Rendered(Raster(values, "RGBA", metadata, is_linear=chosen == "exr"), bits, associated)


def _linear_foreground(image: "Original", alpha: Alpha) -> Float32[np.ndarray, "h w 3"]:
    """Return straight colours in linear light; where the object is opaque, they are the file's own, however bright."""
    from zim_plugins.imaging.foreground import estimate_foreground

    colours = image.linear_colours()
    brightest = max(float(colours.max()), 1.0)
    # The method is linear in the colours and works in [0, 1].
    estimate = estimate_foreground((colours / np.float32(brightest)).clip(0, 1), alpha).foreground
    return np.where((alpha >= 1)[..., None], colours, estimate * np.float32(brightest))


def _displayed(colours: Float32[np.ndarray, "h w 3"], image: "Original") -> Float32[np.ndarray, "h w 3"]:
    from zim_plugins.imaging.codecs.exr import to_display, to_rec709

    return to_display(to_rec709(colours, dict(image.raster.metadata.exr or {})))


def _quantised(values: Float32[np.ndarray, "*n"], chosen: str, bits: int) -> Shaped[np.ndarray, "*n"]:
    if chosen == "exr" or bits == 32:
        return values.astype(np.float32)
    top = np.float32((1 << bits) - 1)
    rounded = np.empty(values.shape, np.uint8 if bits == 8 else np.uint16)
    for row in range(0, len(values), 256):  # in bands: large images are large enough once
        rounded[row : row + 256] = values[row : row + 256].clip(0, 1) * top + np.float32(0.5)
    return rounded
