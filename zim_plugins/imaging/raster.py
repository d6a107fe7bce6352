"""An image in its own mode, depth, profile and EXIF data, for tools that change a part of it and nothing else."""

import dataclasses
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32, Shaped, UInt8, UInt16

from zim_plugins.imaging.decode import MAX_PIXELS, ByteStream, Decoded, decode
from zim_plugins.imaging.geometry import window_of
from zim_plugins.imaging.image import Image, full_depth, has_alpha, name_of, to_srgb
from zim_plugins.imaging.metadata import Metadata
from zim_plugins.imaging.ranges import from_unit
from zim_plugins.imaging.value_range import ValueRange, to_unit_range

Mode = Literal["L", "LA", "RGB", "RGBA", "CMYK"]
Colours = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
_CHANNELS: dict[int, Mode] = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, eq=False)
class Raster:
    """Channels as a file holds them, with what travels along.

    >>> read_original("sample:coins").raster.mode
    'L'
    """

    pixels: Shaped[np.ndarray, "h w c"]
    """Upright; uint8, uint16 or float32. Colours, where there are three, are the file's own RGB, not sRGB."""
    mode: Mode
    """What the channels are."""
    metadata: Metadata = Metadata()
    """Profile, EXIF data, resolution."""
    is_linear: bool = False
    """Whether the values are linear light with premultiplied opacity, as OpenEXR holds them."""

    @property
    def suffix(self) -> str:
        """.png where PNG can hold these pixels, .exr where they are linear light, else .tif."""
        if self.is_linear:
            return ".exr"
        return ".tif" if self.mode == "CMYK" or self.pixels.dtype.kind == "f" else ".png"


@dataclass(frozen=True, eq=False, kw_only=True)
class Original(Image):
    """An image as the models want it (`rgb`), and as the file holds it.

    >>> read_original("sample:coins").colours().shape
    (303, 384, 3)
    """

    raster: Raster

    def colours(self) -> Colours:
        """RGB in the file's own colour space and depth; grey three times, float in 16 bits, CMYK as 8-bit sRGB."""
        if self.raster.mode == "CMYK":
            return self.rgb
        if self.raster.is_linear:
            from zim_plugins.imaging.codecs.exr import to_display

            shown = to_display(self.linear_colours())
            return from_unit(shown, np.uint16, halves_up=True)
        channels = self.raster.pixels[..., : self._colour_channels()]
        if channels.dtype.kind == "f":
            channels = from_unit(np.nan_to_num(channels, nan=0.0), np.uint16, halves_up=True)
        return np.broadcast_to(channels, (*channels.shape[:2], 3))

    def linear_colours(self) -> Float32[np.ndarray, "h w 3"]:
        """RGB in linear light of an image that holds it (OpenEXR), not premultiplied, in its own primaries."""
        values = np.nan_to_num(self.raster.pixels, nan=0.0, posinf=65504.0, neginf=0.0)
        channels = values[..., : self._colour_channels()]
        if self.raster.mode in ("LA", "RGBA"):
            alpha = values[..., -1:].clip(0, 1)
            channels = np.where(alpha > 0, channels / np.maximum(alpha, np.float32(1e-6)), channels)
        return np.ascontiguousarray(np.broadcast_to(channels, (*channels.shape[:2], 3)))

    def opacity(self) -> Float32[np.ndarray, "h w"] | None:
        """The file's own alpha channel in [0, 1]; None where it has none."""
        if self.raster.mode not in ("LA", "RGBA"):
            return None
        alpha = self.raster.pixels[..., -1]
        return alpha.astype(np.float32) / np.float32(1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max)

    def repainted(self, colours: Colours, where: Bool[np.ndarray, "h w"]) -> Raster:
        """The file's image with other colours where `where` is True; all else, and its opacity, stays as it is.

        Args:
            colours: as `colours` gives them.
            where: True takes the new colour.
        """
        window = window_of(where)
        pixels = self.raster.pixels.copy()
        if window[0].stop:
            inside, new = where[window], self._own_channels(colours[window])
            pixels[window][inside, : new.shape[2]] = new[inside]
        return dataclasses.replace(self.raster, pixels=pixels)

    def in_rgb(self) -> tuple[Colours, Metadata]:
        """Colours for a result that needs RGB whatever the file is, and what may travel with them.

        As `colours`, in the file's own space, but for CMYK and for grey with a profile: these are sRGB of 8 bits.
        """
        if self.raster.mode in ("RGB", "RGBA") or self.raster.metadata.icc_profile is None:
            return self.colours(), self.raster.metadata
        return self.rgb, dataclasses.replace(self.raster.metadata, icc_profile=None)

    def from_srgb(self, rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Take sRGB colours into the space of `in_rgb`."""
        if self.raster.mode not in ("RGB", "RGBA") or self.raster.metadata.icc_profile is None:
            return rgb
        return _by_profile(rgb, self.raster.metadata.icc_profile, "RGB")

    def _colour_channels(self) -> int:
        return 3 if self.raster.mode in ("RGB", "RGBA") else 1

    def _own_channels(self, colours: np.ndarray) -> np.ndarray:
        """Colours (h w 3) as this image's channels without opacity."""
        if self.raster.mode == "CMYK":
            return _by_profile(colours, self.raster.metadata.icc_profile, "CMYK")
        if self._colour_channels() == 1:
            colours = (colours.sum(axis=2, keepdims=True, dtype=np.uint32) + 1) // 3
        if self.raster.is_linear:
            from zim_plugins.imaging.codecs.exr import to_linear

            return to_linear((colours / np.float32(65535)).astype(np.float32))
        if self.raster.pixels.dtype.kind == "f":
            return (colours / np.float32(65535)).astype(np.float32)
        return colours.astype(self.raster.pixels.dtype)


def read_original(
    source: str | Path | ByteStream, *, max_pixels: int = MAX_PIXELS, value_range: ValueRange | None = None
) -> Original:
    """Read an image with its own pixels.

    What no tool could repaint in place is turned into what it stands for, and `notes` says so: a palette and 1-bit
    pixels into RGB(A) and grey, a transparent colour into an alpha channel, LAB and the like into RGB.

    Raises:
        ImageError: as `read_image`.

    >>> read_original("sample:coins").raster.pixels.dtype
    dtype('uint8')
    """
    decoded, name = decode(source, max_pixels=max_pixels, deep=True), name_of(source)
    notes = list(decoded.notes)
    pixels, mode = _own_pixels(decoded, notes, name, value_range)
    plain = mode == "RGB" and pixels.dtype == np.uint8 and decoded.metadata.icc_profile is None
    told: list[str] = []  # mostly what only the models see
    rgb = pixels if plain and value_range is None else to_srgb(decoded, name, told, value_range)
    notes += [note for note in told if "--range" in note or "linear light" in note]
    return Original(
        rgb=rgb,
        name=name,
        source_mode=decoded.source_mode,
        notes=tuple(notes),
        raster=Raster(pixels, mode, decoded.metadata, is_linear=decoded.is_linear),
    )


def _own_pixels(
    decoded: Decoded, notes: list[str], name: str, value_range: ValueRange | None
) -> tuple[np.ndarray, Mode]:
    """Channels last; 8-bit, 16-bit or float."""
    image = decoded.pixels
    if isinstance(image, np.ndarray):
        if image.dtype.kind == "f":
            image = image.astype(np.float32)
        elif image.dtype.kind in "iu" and image.min() >= 0 and image.max() <= np.iinfo(np.uint16).max:
            image = image if image.dtype == np.uint8 else image.astype(np.uint16)
        else:  # bits, signed and wide values have no place in an image file of ours
            unit = to_unit_range(image, name, [], value_range)
            image = from_unit(unit, np.uint16, halves_up=True)
        return np.ascontiguousarray(image), _CHANNELS[image.shape[2]]
    mode = _kept_mode(image)
    if mode != image.mode:
        notes.append(f"{_DESCRIBED.get(image.mode, image.mode)} written as {mode}: a fill has colours of its own")
        image = image.convert(mode)
    return full_depth(dataclasses.replace(decoded, pixels=image)), mode


_DESCRIBED = {"P": "a palette", "PA": "a palette", "1": "1-bit pixels"}


def _kept_mode(image: PIL.Image.Image) -> Mode:
    """The mode that the image can be repainted in."""
    if image.mode in ("L", "LA", "1", "La"):
        return "LA" if has_alpha(image) else "L"
    if has_alpha(image):
        return "RGBA"
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _by_profile(colours: UInt8[np.ndarray, "h w 3"], icc_profile: bytes | None, mode: str) -> np.ndarray:
    """Convert sRGB by a profile; where none can be used, by the rule that `read_image` then reads by."""
    image = PIL.Image.fromarray(np.ascontiguousarray(colours))
    converted = None
    if icc_profile is not None:
        from PIL import ImageCms

        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc_profile))
            converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), profile, outputMode=mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None
    return np.asarray(converted if converted is not None else image.convert(mode))
