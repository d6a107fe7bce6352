"""Metadata of an image: profile, EXIF, XMP, IPTC, texts, resolution; and none of its thumbnails."""

import dataclasses
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import PIL.Image
import PIL.JpegImagePlugin

Chunk = tuple[bytes, bytes]
"""Type and body of a chunk of a PNG file."""
XMP_KEY = "XML:com.adobe.xmp"
"""What PNG calls the text that holds XMP."""
IIM = 0x0404
"""Photoshop's resource that holds IPTC's records; its others describe the file, or show it small."""
XMP_TAG, IPTC_TAG = 700, 33723
"""Tags of TIFF."""
_RAW_PROFILE = "Raw profile type "
"""How PNG writers older than the chunks for it stored EXIF data and IPTC's, as text."""
_DESCRIPTIVE_TAGS = {270, 271, 272, 305, 306, 315, 33432, 34665, 34853}
"""Tags of a TIFF that tell of the image, not of its layout in the file: description to copyright, EXIF and GPS."""
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202


@dataclass(frozen=True)
class JpegTables:
    """Tables by which a JPEG file was compressed, so that it can be compressed alike again."""

    quantisation: tuple[tuple[int, ...], ...]
    """64 steps a table."""
    subsampling: int
    """Pillow's number: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0; -1 for others."""


@dataclass(frozen=True)
class Metadata:
    r"""Metadata that travel with the pixels.

    >>> Metadata(dpi=(300.0, 300.0), texts=(("Author", "A. Nonymous"),)).png_chunks()[-1]
    (b'tEXt', b'Author\x00A. Nonymous')
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    """Without an orientation: the pixels are upright."""
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    """Without an orientation."""
    iptc: bytes | None = None
    """IPTC's records (IIM), without a container."""
    texts: tuple[tuple[str, str], ...] = ()
    """Keys and texts of a PNG; a JPEG's comment under `Comment`."""
    gamma: float | None = None
    """Of a PNG without a profile."""
    chromaticity: tuple[float, ...] | None = None
    """White, red, green and blue, x and y each, of a PNG without a profile."""
    jpeg: JpegTables | None = None
    """Of a JPEG."""
    exr: Mapping[str, Any] | None = None
    """Of an OpenEXR file: windows, primaries and other attributes."""

    def without_thumbnails(self) -> "Metadata":
        """The same without small images of what the image once showed: a removed object would live on there."""
        exif = None if self.exif is None else _blank_thumbnail(self.exif)
        xmp = self.xmp
        if xmp is not None:
            xmp = re.sub(rb"<(xmp|xap):Thumbnails>.*?</\1:Thumbnails>", b"", xmp, flags=re.DOTALL)
        return dataclasses.replace(self, exif=exif, xmp=xmp)

    def png_chunks(self) -> list[Chunk]:
        """Chunks of a PNG besides profile, EXIF data and resolution, in an order that the specification allows."""
        chunks: list[Chunk] = []
        if self.icc_profile is None:
            if self.chromaticity is not None and len(self.chromaticity) == 8:
                chunks.append((b"cHRM", struct.pack(">8I", *(round(value * 1e5) for value in self.chromaticity))))
            if self.gamma is not None:
                chunks.append((b"gAMA", struct.pack(">I", round(self.gamma * 1e5))))
        if self.xmp is not None:
            chunks.append((b"iTXt", XMP_KEY.encode() + b"\0\0\0\0\0" + self.xmp))
        if self.iptc is not None:
            body = _in_photoshop_resource(self.iptc)
            lines = re.findall(".{1,72}", body.hex())
            text = f"\niptc\n{len(body):8}\n" + "\n".join(lines) + "\n"
            chunks.append((b"zTXt", f"{_RAW_PROFILE}iptc".encode() + b"\0\0" + zlib.compress(text.encode())))
        return chunks + [_text_chunk(key, text) for key, text in self.texts]

    def jpeg_segments(self) -> bytes:
        """IPTC's records as the segment that JPEG files keep them in; empty without any."""
        if self.iptc is None:
            return b""
        body = b"Photoshop 3.0\0" + _in_photoshop_resource(self.iptc)
        return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body if len(body) < 65_530 else b""

    def tiff_tags(self) -> PIL.Image.Exif | None:
        """EXIF data, XMP and IPTC's records as tags; None without any."""
        tags = PIL.Image.Exif()
        if self.exif is not None:
            tags.load(self.exif)
        if self.xmp is not None:
            tags[XMP_TAG] = self.xmp
        if self.iptc is not None:
            tags[IPTC_TAG] = self.iptc
        return tags if len(tags) else None


def read_metadata(upright: PIL.Image.Image) -> Metadata:
    """Read what travels with an image whose orientation has been applied, and dropped from its EXIF data."""
    info = upright.info
    dpi, exif = info.get("dpi"), info.get("exif")
    texts = {str(key): str(text) for key, text in getattr(upright, "text", {}).items()}
    xmp = info.get("xmp") or info.get(XMP_KEY)
    if exif is None and f"{_RAW_PROFILE}exif" in texts:
        exif = upright.getexif().tobytes()
    iptc = _from_raw_profile(texts.get(f"{_RAW_PROFILE}iptc"))
    for key in (XMP_KEY, f"{_RAW_PROFILE}exif", f"{_RAW_PROFILE}APP1", f"{_RAW_PROFILE}iptc"):
        texts.pop(key, None)
    if upright.format == "TIFF":  # whose tags describe the file's own layout too
        tags = upright.getexif()
        iptc = _as_bytes(tags.get(IPTC_TAG))
        for tag in set(tags) - _DESCRIPTIVE_TAGS:
            del tags[tag]
        exif = tags.tobytes() if len(tags) else None
    resources = info.get("photoshop")
    if isinstance(resources, dict):
        iptc = _as_bytes(resources.get(IIM))
    if upright.format in ("JPEG", "MPO") and (comment := info.get("comment")):
        texts["Comment"] = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    return Metadata(
        icc_profile=info.get("icc_profile") or None,
        exif=exif or None,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
        xmp=(xmp.encode() if isinstance(xmp, str) else xmp) or None,
        iptc=iptc or None,
        texts=tuple(texts.items()),
        gamma=info.get("gamma") if upright.format == "PNG" else None,
        chromaticity=info.get("chromaticity") if upright.format == "PNG" else None,
        jpeg=_jpeg_tables(upright),
    )


def _jpeg_tables(image: PIL.Image.Image) -> JpegTables | None:
    if not isinstance(image, PIL.JpegImagePlugin.JpegImageFile) or not image.quantization:
        return None
    tables = image.quantization
    subsampling = PIL.JpegImagePlugin.get_sampling(image) if len(image.layer) == 3 else -1
    return JpegTables(tuple(tuple(tables[key]) for key in sorted(tables)), subsampling)


def _text_chunk(key: str, text: str) -> Chunk:
    name = key.encode("latin-1", "replace")[:79]
    try:
        return b"tEXt", name + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        language = str(getattr(text, "lang", "") or "").encode("ascii", "ignore")
        return b"iTXt", name + b"\0\0\0" + language + b"\0\0" + text.encode()


def _in_photoshop_resource(iptc: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", IIM, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _from_raw_profile(text: str | None) -> bytes | None:
    """IPTC's records from hexadecimal digits behind a name and a length, in Photoshop's resources or bare."""
    try:
        body = bytes.fromhex("".join((text or "").split()[2:]))
    except ValueError:
        return None
    while body[:4] == b"8BIM" and len(body) >= 12:
        name = body[6] + 1 + (body[6] + 1) % 2
        kind, length = struct.unpack(">H", body[4:6])[0], struct.unpack(">I", body[6 + name : 10 + name])[0]
        if kind == IIM:
            return body[10 + name : 10 + name + length]
        body = body[10 + name + length + length % 2 :]
    return body if body[:1] == b"\x1c" else None


def _as_bytes(value: object) -> bytes | None:
    if isinstance(value, tuple) and value and isinstance(value[0], bytes):
        value = value[0]
    return value if isinstance(value, bytes) else None


def _blank_thumbnail(exif: bytes) -> bytes:
    """Cut the second directory, which describes a thumbnail, off the first, and overwrite the thumbnail's bytes."""
    marker = b"Exif\0\0" if exif.startswith(b"Exif\0\0") else b""
    body = bytearray(exif[len(marker) :])
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    try:
        if order is None:
            return exif
        (first,) = struct.unpack_from(f"{order}I", body, 4)
        (entries,) = struct.unpack_from(f"{order}H", body, first)
        link = first + 2 + 12 * entries
        (second,) = struct.unpack_from(f"{order}I", body, link)
        if not second:
            return exif
        struct.pack_into(f"{order}I", body, link, 0)
        (entries,) = struct.unpack_from(f"{order}H", body, second)
        found = {}
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHII", body, second + 2 + 12 * index)
            found[tag] = value
        start, length = found.get(_THUMBNAIL_OFFSET, 0), found.get(_THUMBNAIL_LENGTH, 0)
        end = min(len(body), start + length)
        body[start:end] = bytes(max(0, end - start))
    except struct.error:
        return exif if b"\xff\xd8" not in exif else b""  # damaged: kept only where it can hold no JPEG
    return marker + bytes(body)
