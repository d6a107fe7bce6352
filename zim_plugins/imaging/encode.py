"""Pixels to files of the format that a suffix names, with all of their metadata that the format holds."""

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image

from zim_plugins.errors import ImageError
from zim_plugins.imaging.codecs.png16 import Sink, write_png
from zim_plugins.imaging.image import write_whole
from zim_plugins.imaging.raster import Raster

FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP"}
"""What `write_raster` writes, by suffix."""
JPEG_QUALITY = 95
"""Of JPEG files whose source was none."""
_MAX_SEGMENT = 65_000
"""What a segment of a JPEG file can hold of metadata, in bytes, with some room."""

Notes = tuple[str, ...]


def write_raster(
    path: str | Path | Sink, image: Raster, *, suffix: str | None = None, quality: int | None = None
) -> Notes:
    """Write pixels with profile, EXIF data and all else that the format holds; a file is written whole or not at all.

    PNG and TIFF keep every value. JPEG changes all of them a little: a JPEG's own tables are used again, else
    `JPEG_QUALITY`. WebP keeps every value unless a quality is given.

    Args:
        path: a file whose suffix names the format, or an open binary stream.
        suffix: the format of a stream, by default the image's own.
        quality: 1 to 100, of JPEG and WebP.

    Returns:
        What the format could not hold, in words.

    Raises:
        ImageError: the format cannot hold these pixels, or the disk refuses.

    >>> import io
    >>> from zim_plugins.imaging import read_original
    >>> stream = io.BytesIO()
    >>> notes = write_raster(stream, read_original("sample:coins").raster, suffix=".png")
    >>> stream.getvalue()[1:4]
    b'PNG'
    """
    if not isinstance(path, str | Path):
        return _write(path, image, suffix or image.suffix, quality)
    path = Path(path)
    if path.suffix.lower() == ".exr" and image.is_linear:
        return _write_exr(path, image)
    notes: list[Notes] = []
    try:
        write_whole(path, lambda stream: notes.append(_write(stream, image, path.suffix.lower(), quality)))
    except ImageError as error:
        raise ImageError(f"cannot write {path}: {str(error).removeprefix(f'cannot write {path}: ')}") from error
    return notes[0]


def _write_exr(path: Path, image: Raster) -> Notes:
    from zim_plugins.imaging.codecs.exr import write_exr
    from zim_plugins.imaging.files import atomic_path

    try:
        with atomic_path(path) as temporary:
            header = dict(image.metadata.exr or {})
            write_exr(temporary, np.ascontiguousarray(image.pixels), bits=16, header=header)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror or error}") from error
    return ()


def _write(stream: Sink, image: Raster, suffix: str, quality: int | None) -> Notes:
    if suffix not in FORMATS:
        raise ImageError(f"its suffix is none of {', '.join(FORMATS)}")
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"the quality is in 1..100, got {quality}")
    kind = FORMATS[suffix]
    if kind in ("PNG", "WebP") and (image.mode == "CMYK" or image.pixels.dtype.kind == "f"):
        what = "CMYK" if image.mode == "CMYK" else image.pixels.dtype.name
        raise ImageError(f"pixels of mode {what} are written as {image.suffix}, {kind} cannot hold them")
    notes: list[str] = []
    if kind in ("JPEG", "WebP"):
        image = _eight_bits(image, kind, notes)
    try:
        writer = {"PNG": _write_png, "TIFF": _write_tiff, "JPEG": _write_jpeg, "WebP": _write_webp}[kind]
        writer(stream, image, quality, notes)
    except (ValueError, SystemError) as error:
        raise ImageError(f"{kind} cannot hold it: {error}") from error
    return tuple(notes)


def _eight_bits(image: Raster, kind: str, notes: list[str]) -> Raster:
    """The image as a format of 8 bits takes it."""
    pixels, mode = image.pixels, image.mode
    if pixels.dtype.kind == "f":
        raise ImageError(f"floating-point pixels are written as {image.suffix}, {kind} cannot hold them")
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        notes.append(f"16 bits reduced to 8: {kind} holds no more")
    if kind == "JPEG" and mode in ("LA", "RGBA"):
        if pixels[..., -1].min() < 255:
            raise ImageError("JPEG has no alpha channel, and this image is transparent in part: take .png or .webp")
        pixels, mode = pixels[..., :-1], "RGB" if mode == "RGBA" else "L"
        notes.append("its opaque alpha channel is left out: JPEG has none")
    return dataclasses.replace(image, pixels=np.ascontiguousarray(pixels), mode=mode)


def _as_pillow(image: Raster) -> PIL.Image.Image:
    if image.mode == "CMYK":
        return PIL.Image.fromarray(image.pixels, mode="CMYK")
    return PIL.Image.fromarray(image.pixels.squeeze(2) if image.mode == "L" else image.pixels)


def _write_png(stream: Sink, image: Raster, _: int | None, notes: list[str]) -> None:
    about = image.metadata
    common = {"icc_profile": about.icc_profile, "exif": about.exif, "dpi": about.dpi}
    write_png(stream, image.pixels, **common, chunks=about.png_chunks())


def _write_tiff(stream: Sink, image: Raster, _: int | None, notes: list[str]) -> None:
    about = image.metadata
    if about.texts:
        notes.append(f"texts left out, which TIFF has no place for: {', '.join(key for key, _ in about.texts)}")
    if image.pixels.dtype == np.uint8:
        given = {"icc_profile": about.icc_profile, "exif": about.tiff_tags(), "dpi": about.dpi}
        # Uncompressed: with a compressor, Pillow loses EXIF data.
        _as_pillow(image).save(stream, "TIFF", **{key: value for key, value in given.items() if value is not None})
        return
    import tifffile

    if about.exif:
        notes.append(f"EXIF data left out of a TIFF of {image.pixels.dtype.name} pixels")
    tags = [(tag, 1, len(body), body, True) for tag, body in ((700, about.xmp), (33723, about.iptc)) if body]
    whole = BytesIO()  # tifffile asks an open file for its name
    tifffile.imwrite(
        whole,
        image.pixels.squeeze(2) if image.mode == "L" else image.pixels,
        photometric="rgb" if image.mode in ("RGB", "RGBA") else "minisblack",
        planarconfig=None if image.mode == "L" else "contig",
        extrasamples=["unassalpha"] if image.mode in ("LA", "RGBA") else None,
        iccprofile=about.icc_profile,
        resolution=about.dpi,
        resolutionunit="INCH" if about.dpi else None,
        extratags=tags,
        metadata=None,
    )
    stream.write(whole.getbuffer())


def _write_jpeg(stream: Sink, image: Raster, quality: int | None, notes: list[str]) -> None:
    about = image.metadata
    options: dict[str, object] = {"quality": quality or JPEG_QUALITY, "subsampling": 0}
    if quality is None and about.jpeg is not None and image.mode != "CMYK":
        options = {"qtables": [list(table) for table in about.jpeg.quantisation]}
        options["subsampling"] = about.jpeg.subsampling
    elif image.mode == "CMYK":
        options = {"quality": quality or JPEG_QUALITY}
    texts = dict(about.texts)
    comment = texts.pop("Comment", None)
    given = {"exif": about.exif, "xmp": about.xmp, "comment": None if comment is None else comment.encode()}
    for name, value in given.items():
        if value is not None and len(value) <= _MAX_SEGMENT:
            options[name] = value
        elif value is not None:
            notes.append(f"{name.upper()} of {len(value)} bytes left out: JPEG holds {_MAX_SEGMENT}")
    if texts:
        notes.append(f"texts left out, which JPEG has no place for: {', '.join(texts)}")
    if about.icc_profile is not None:
        options["icc_profile"] = about.icc_profile
    if about.dpi is not None:
        options["dpi"] = tuple(round(value) for value in about.dpi)
    _as_pillow(image).save(stream, "JPEG", extra=about.jpeg_segments(), **options)


def _write_webp(stream: Sink, image: Raster, quality: int | None, notes: list[str]) -> None:
    about = image.metadata
    left = [key for key, _ in about.texts] + (["IPTC"] if about.iptc else []) + (["resolution"] if about.dpi else [])
    if left:
        notes.append(f"left out, since WebP has no place for it: {', '.join(left)}")
    pillow = _as_pillow(image)
    if image.mode in ("L", "LA"):
        pillow = pillow.convert("RGB" if image.mode == "L" else "RGBA")
    options: dict[str, object] = {"lossless": True, "quality": 50, "exact": True}
    if quality is not None:
        options = {"quality": quality}
    given = {"icc_profile": about.icc_profile, "exif": about.exif, "xmp": about.xmp}
    pillow.save(stream, "WEBP", **options, **{key: value for key, value in given.items() if value is not None})
