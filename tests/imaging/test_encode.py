"""Every format that results are written in, and what travels along."""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin
import pytest

from zim_plugins.errors import ImageError
from zim_plugins.imaging import Raster, read_original, write_raster
from zim_plugins.imaging.metadata import Metadata

ICC = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:rights>me</dc:rights></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x05A cat"
TEXTS = {"parameters": "a cat, steps 20", "Autor": "Jürgen", "prompt": "日本"}


def exif(thumbnail: bytes = b"") -> bytes:
    """One entry, its maker; and a second directory with a thumbnail."""
    first = struct.pack("<2sHIH", b"II", 42, 8, 1) + struct.pack("<HHI4s", 0x010F, 2, 4, b"abc\0")
    second = len(first) + 4
    link = struct.pack("<I", second if thumbnail else 0)
    if not thumbnail:
        return b"Exif\0\0" + first + link
    start = second + 2 + 24 + 4
    entries = struct.pack("<HHII", 0x0201, 4, 1, start) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    return b"Exif\0\0" + first + link + struct.pack("<H", 2) + entries + struct.pack("<I", 0) + thumbnail


FULL = Metadata(ICC, exif(), (300.0, 300.0), XMP, IPTC, tuple({"Comment": "hello", **TEXTS}.items()))


def pixels(mode: str, dtype: type = np.uint8) -> np.ndarray:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    smooth = np.add.outer(np.arange(48), np.arange(64))[..., None] + 20 * np.arange(channels)
    return (smooth * (257 if dtype == np.uint16 else 1)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_formats_hold_the_pixels_and_say_what_they_lose(suffix, mode, dtype, tmp_path) -> None:
    raster = Raster(pixels(mode, dtype), mode, FULL)
    path = tmp_path / f"a{suffix}"
    if suffix == ".jpg" and mode in ("LA", "RGBA"):
        with pytest.raises(ImageError, match="JPEG has no alpha channel"):
            write_raster(path, raster)
        assert list(tmp_path.iterdir()) == []
        return
    notes = " ".join(write_raster(path, raster))
    back = read_original(path)
    shallow = suffix in (".jpg", ".webp") and dtype == np.uint16
    assert ("16 bits reduced to 8" in notes) == shallow
    expected = pixels(mode) if shallow else raster.pixels
    got = back.raster.pixels[..., : expected.shape[2]]
    if suffix == ".webp" and mode == "LA":
        got = back.raster.pixels[..., [0, 3]]
    assert np.abs(got.astype(int) - expected).max() <= (6 if suffix == ".jpg" else 0)
    about = back.raster.metadata
    assert about.icc_profile == ICC and (about.xmp or b"").strip(b"\0") == XMP
    if not (suffix == ".tif" and dtype == np.uint16):
        assert b"abc" in (about.exif or b"")
    else:
        assert "EXIF data left out" in notes
    assert (about.iptc == IPTC) == (suffix != ".webp") or "IPTC" in notes
    kept = {".png": {"Comment": "hello", **TEXTS}, ".jpg": {"Comment": "hello"}}
    assert dict(about.texts) == kept.get(suffix, {})
    assert suffix == ".png" or "parameters" in notes


def test_png_texts_of_every_kind_come_back(tmp_path) -> None:
    texts = PIL.PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a cat")
    texts.add_text("long", "x" * 3000, zip=True)
    texts.add_itxt("prompt", "日本", lang="ja")
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    PIL.Image.fromarray(pixels("RGB")).save(tmp_path / "a.png", pnginfo=texts)
    with PIL.Image.open(tmp_path / "a.png") as before:
        expected = dict(before.text)
    write_raster(tmp_path / "b.png", read_original(tmp_path / "a.png").raster)
    with PIL.Image.open(tmp_path / "b.png") as after:
        assert dict(after.text) == expected


def test_gamma_and_chromaticities_are_kept(tmp_path) -> None:
    more = PIL.PngImagePlugin.PngInfo()
    more.add(b"gAMA", struct.pack(">I", 100000))
    more.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    PIL.Image.fromarray(pixels("RGB")).save(tmp_path / "a.png", pnginfo=more)
    write_raster(tmp_path / "b.png", read_original(tmp_path / "a.png").raster)
    with PIL.Image.open(tmp_path / "b.png") as after:
        assert after.info["gamma"] == 1.0 and after.info["chromaticity"][:2] == pytest.approx((0.3127, 0.329))


def test_a_jpeg_is_compressed_as_it_was(tmp_path, rng) -> None:
    """With its own tables, nearly all decoded values come back; at a fixed quality they do not."""
    grain = rng.normal(0, 12, (48, 64, 1))
    photo = (pixels("RGB") + grain).clip(0, 255).astype(np.uint8)
    PIL.Image.fromarray(photo).save(tmp_path / "a.jpg", quality=70, subsampling=2, comment=b"hi")
    original = read_original(tmp_path / "a.jpg").raster
    errors = []
    for quality in (None, 70):
        write_raster(tmp_path / "b.jpg", original, quality=quality)
        again = read_original(tmp_path / "b.jpg").raster
        errors.append(np.abs(again.pixels.astype(int) - original.pixels).mean())
        assert dict(again.metadata.texts) == {"Comment": "hi"}
    assert errors[0] < 1 and errors[0] < errors[1] / 1.3


def test_cmyk_goes_to_jpeg_and_not_to_webp(tmp_path) -> None:
    raster = Raster(pixels("CMYK"), "CMYK")
    write_raster(tmp_path / "a.jpg", raster)
    assert np.abs(read_original(tmp_path / "a.jpg").raster.pixels.astype(int) - raster.pixels).max() <= 6
    for suffix in (".webp", ".png"):
        with pytest.raises(ImageError, match=r"CMYK are written as \.tif"):
            write_raster(tmp_path / f"a{suffix}", raster)


def test_thumbnails_do_not_outlive_the_object() -> None:
    thumbnail = b"\xff\xd8the object\xff\xd9"
    about = Metadata(exif=exif(thumbnail), xmp=b"<a><xmp:Thumbnails>obj</xmp:Thumbnails><b/></a>").without_thumbnails()
    assert about.exif is not None and thumbnail not in about.exif and b"the object" not in about.exif
    assert about.xmp == b"<a><b/></a>"
    read = PIL.Image.Exif()
    read.load(about.exif)
    assert read[0x010F] == "abc" and not read.get_ifd(1)
    assert Metadata(exif=exif()).without_thumbnails().exif == exif()


def test_a_stream_takes_a_format(tmp_path) -> None:
    stream = io.BytesIO()
    write_raster(stream, Raster(pixels("RGB"), "RGB"), suffix=".webp", quality=80)
    assert stream.getvalue()[8:12] == b"WEBP"


@pytest.mark.parametrize(("name", "quality", "match"), [("a.bmp", None, "suffix"), ("a.jpg", 0, "1..100")])
def test_other_formats_and_qualities_are_refused(name, quality, match, tmp_path) -> None:
    with pytest.raises(ValueError if quality == 0 else ImageError, match=match):
        write_raster(tmp_path / name, Raster(pixels("RGB"), "RGB"), quality=quality)
    assert list(tmp_path.iterdir()) == []
