"""Images in their own mode, depth, profile and EXIF: what is not repainted comes back byte for byte."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from zim_plugins.core import ImageError, read_image, read_original, write_raster
from zim_plugins.imaging.codecs import png16
from zim_plugins.imaging.codecs.png16 import write_png

tifffile = pytest.importorskip("tifffile")
SIZE = (20, 30)
SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def noise(channels: int, dtype: type = np.uint8) -> np.ndarray:
    values = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max + 1, (*SIZE, channels)).astype(dtype)
    return values[..., 0] if channels == 1 else values


def hole() -> np.ndarray:
    where = np.zeros(SIZE, bool)
    where[5:9, 10:20] = True
    return where


def exif(orientation: int = 1) -> PIL.Image.Exif:
    data = PIL.Image.Exif()
    data[0x010F] = "Maker"
    data[0x0112] = orientation
    data.get_ifd(0x8769)[0x829A] = 0.5  # exposure time
    return data


def repainted(path, out) -> tuple:
    """Read, paint the hole in a plain colour, write: the image and what was written."""
    original = read_original(path)
    top = np.iinfo(original.colours().dtype).max
    colours = np.broadcast_to(np.array([top, top // 2, 0], original.colours().dtype), (*SIZE, 3))
    changed = original.repainted(colours, hole())
    write_raster(out / f"changed{original.raster.suffix}", changed)
    return original, out / f"changed{original.raster.suffix}"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_eight_bits_come_back_as_they_were(mode, tmp_path) -> None:
    pixels = noise({"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode])
    PIL.Image.fromarray(pixels, mode=mode).save(
        tmp_path / "in.png", icc_profile=SRGB if "RGB" in mode else None, exif=exif(), dpi=(300, 300)
    )
    _, written = repainted(tmp_path / "in.png", tmp_path)
    with PIL.Image.open(written) as back, PIL.Image.open(tmp_path / "in.png") as before:
        assert (back.mode, back.info.get("icc_profile")) == (mode, before.info.get("icc_profile"))
        assert back.getexif()[0x010F] == "Maker" and float(back.getexif().get_ifd(0x8769)[0x829A]) == 0.5
        assert back.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        got = np.asarray(back)
    assert np.array_equal(got[~hole()], pixels[~hole()])
    if mode in ("LA", "RGBA"):
        assert np.array_equal(got[..., -1], pixels[..., -1])
    colour = {"L": 127, "LA": 127}.get(mode, (255, 127, 0))
    assert (got[hole()][:, : got.shape[2] - (mode in ("LA", "RGBA"))] == colour).all() if got.ndim == 3 else True
    assert got.ndim == 3 or (got[hole()] == colour).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["png", "tif little", "tif big", "tif strips", "tif planes", "tif zlib"])
def test_sixteen_bits_stay_sixteen(channels, kind, tmp_path) -> None:
    pixels = noise(channels, np.uint16)
    path = tmp_path / f"in.{kind[:3]}"
    if kind == "png":
        with path.open("wb") as stream:
            write_png(stream, pixels.reshape(*SIZE, channels), icc_profile=SRGB if channels > 1 else None)
    else:
        planes = kind == "tif planes" and channels > 1
        tifffile.imwrite(
            path,
            np.moveaxis(pixels, -1, 0) if planes else pixels,
            photometric="rgb" if channels > 1 else "minisblack",
            planarconfig=("separate" if planes else "contig") if channels > 1 else None,
            extrasamples=["unassalpha"] if channels == 4 else None,
            byteorder=">" if kind == "tif big" else "<",
            rowsperstrip=7 if kind == "tif strips" else None,
            compression="zlib" if kind == "tif zlib" else None,
        )
    original, written = repainted(path, tmp_path)
    assert original.raster.pixels.dtype == np.uint16
    assert np.array_equal(original.raster.pixels.reshape(pixels.shape), pixels)
    assert np.array_equal(original.rgb, read_image(path).rgb)
    back = read_original(written)
    assert np.array_equal(back.raster.pixels[~hole()], original.raster.pixels[~hole()])
    assert (back.raster.pixels[hole()][:, :3] == ([65535, 32767, 0] if channels > 1 else [32767])).all()
    assert back.raster.metadata.icc_profile == original.raster.metadata.icc_profile


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bit_png_is_read_by_others(channels, tmp_path) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = noise(channels, np.uint16)
    with (tmp_path / "a.png").open("wb") as stream:
        write_png(stream, pixels.reshape(*SIZE, channels))
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read if channels == 1 else read[..., [2, 1, 0, 3][:channels]], pixels)
    cv2.imwrite(str(tmp_path / "b.png"), read)
    assert np.array_equal(read_original(tmp_path / "b.png").raster.pixels.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_float_tiff_keeps_its_values_even_beyond_one(channels, tmp_path) -> None:
    pixels = (noise(channels) / np.float32(200) - np.float32(0.1)).astype(np.float32)
    photometric = "rgb" if channels > 1 else "minisblack"
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric=photometric, iccprofile=SRGB if channels > 1 else None)
    _, written = repainted(tmp_path / "in.tif", tmp_path)
    back = tifffile.imread(written)
    assert back.dtype == np.float32 and np.array_equal(back[~hole()], pixels[~hole()])
    assert np.allclose(back[hole()].reshape(40, -1)[:, :3], [1, 0.5, 0] if channels > 1 else [0.5], atol=1e-4)
    assert read_original(written).raster.metadata.icc_profile == (SRGB if channels > 1 else None)


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_cmyk_stays_cmyk(kind, tmp_path) -> None:
    PIL.Image.fromarray(noise(4), mode="CMYK").save(tmp_path / f"in.{kind}", exif=exif().tobytes())
    _, written = repainted(tmp_path / f"in.{kind}", tmp_path)
    with PIL.Image.open(written) as back, PIL.Image.open(tmp_path / f"in.{kind}") as before:
        assert back.mode == "CMYK" and back.format == "TIFF"
        assert back.getexif()[0x010F] == "Maker" and float(back.getexif().get_ifd(0x8769)[0x829A]) == 0.5
        assert np.array_equal(np.asarray(back)[~hole()], np.asarray(before)[~hole()])
    assert (read_original(written).rgb[hole()] == (255, 127, 0)).all()


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_becomes_rgb_and_says_so(transparent, tmp_path) -> None:
    image = PIL.Image.fromarray(noise(3)).quantize(200)
    image.save(tmp_path / "in.png", **({"transparency": 3} if transparent else {}))
    with PIL.Image.open(tmp_path / "in.png") as reread:
        expected = np.asarray(reread.convert("RGBA" if transparent else "RGB"))
    original, written = repainted(tmp_path / "in.png", tmp_path)
    assert original.notes == (f"a palette written as {original.raster.mode}: a fill has colours of its own",)
    assert np.array_equal(np.asarray(PIL.Image.open(written))[~hole()], expected[~hole()])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("depth", [8, 16])
def test_results_are_upright_and_say_nothing_else(orientation, depth, tmp_path) -> None:
    pixels = noise(3, np.uint16 if depth == 16 else np.uint8)
    with (tmp_path / "in.png").open("wb") as stream:
        write_png(stream, pixels, exif=exif(orientation).tobytes())
    original = read_original(tmp_path / "in.png")
    turned = {1: pixels, 3: np.rot90(pixels, 2), 6: np.rot90(pixels, -1), 8: np.rot90(pixels)}[orientation]
    assert np.array_equal(original.raster.pixels, turned)
    write_raster(tmp_path / "out.png", original.raster)
    with PIL.Image.open(tmp_path / "out.png") as back:
        assert back.getexif().get(0x0112, 1) == 1 and back.getexif()[0x010F] == "Maker"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bytes_are_zlib_s_where_they_must_repeat(dtype: type, rng: np.random.Generator, monkeypatch) -> None:
    """Shards are compared by their bytes on several machines; elsewhere only the pixels are the same."""
    pixels = rng.integers(0, 200, (90, 33, 4)).astype(dtype)
    fast, repeatable, without = io.BytesIO(), io.BytesIO(), io.BytesIO()
    write_png(fast, pixels)
    write_png(repeatable, pixels, repeatable=True)
    monkeypatch.setattr(png16, "fast_zlib", zlib)
    write_png(without, pixels)
    assert repeatable.getvalue() == without.getvalue()
    assert inflated(fast.getvalue()) == inflated(repeatable.getvalue())


def inflated(png: bytes) -> bytes:
    """The filtered rows of a PNG file, as zlib unpacks them."""
    packed, place = b"", 8
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        packed += png[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += length + 12
    return zlib.decompress(packed)


def test_a_stream_holds_what_the_file_would(tmp_path) -> None:
    PIL.Image.fromarray(noise(3)).save(tmp_path / "in.png")
    original = read_original(io.BytesIO((tmp_path / "in.png").read_bytes()))
    stream = io.BytesIO()
    write_raster(stream, original.raster)
    write_raster(tmp_path / "out.png", original.raster)
    assert original.name == "-" and stream.getvalue() == (tmp_path / "out.png").read_bytes()


def test_another_suffix_is_refused(tmp_path) -> None:
    PIL.Image.fromarray(noise(4), mode="CMYK").save(tmp_path / "in.jpg")
    with pytest.raises(ImageError, match=r"CMYK are written as \.tif"):
        write_raster(tmp_path / "out.png", read_original(tmp_path / "in.jpg").raster)
    assert not (tmp_path / "out.png").exists()
