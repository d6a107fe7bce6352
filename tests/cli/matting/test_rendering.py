"""Formats and depths of results, read by other people's programs."""

import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from scipy.ndimage import distance_transform_edt

from zim_plugins.cli import main
from zim_plugins.cli.matting.trimap import trimap_of
from zim_plugins.imaging.codecs.exr import to_linear


@pytest.fixture(autouse=True)
def predictor(monkeypatch, fake_predictor, tmp_path):
    fake_predictor.name = "soft_disk"
    build = types.ModuleType("zim_plugins.core.load")
    build.load_predictor = lambda name="auto", **options: fake_predictor  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "zim_plugins.core.load", build)
    monkeypatch.chdir(tmp_path)
    return fake_predictor


def ball(top: int = 255) -> np.ndarray:
    """A red ball on blue in [0, top]."""
    ys, xs = np.mgrid[:80, :120] + 0.5
    alpha = np.clip((20 - np.hypot(xs - 60, ys - 40)) / 2 + 0.5, 0, 1)[..., None]
    rgb = alpha * (0.86, 0.12, 0.08) + (1 - alpha) * (0.08, 0.16, 0.78)
    return (rgb * top + 0.5).astype(np.uint8 if top == 255 else np.uint16)


def matte(name: str, *more: str) -> int:
    return main(["matte", name, "--point", "60,40", "-o", "o", *more])


def png_bits(path: str) -> int:
    return Path(path).read_bytes()[24]


def test_sixteen_bits_in_are_sixteen_bits_out():
    tifffile.imwrite("deep.tif", ball(65535), photometric="rgb")
    PIL.Image.fromarray(ball()).save("flat.png")
    assert matte(".") == 0
    assert [png_bits(f"o/{n}_{k}.png") for n in ("deep", "flat") for k in ("alpha", "rgba")] == [16, 16, 8, 8]
    assert png_bits("o/deep_overlay.png") == 8
    rgba = tifffile_read_png16("o/deep_rgba.png")
    opaque = rgba[..., 3] == 65535
    np.testing.assert_array_equal(rgba[opaque][:, :3], ball(65535)[opaque])
    assert (rgba[..., 3] % 257 != 0).any()  # more than 8 bits hold
    assert main(["matte", "deep.tif", "--point", "60,40", "-o", "p", "--depth", "8"]) == 0
    assert png_bits("p/deep_rgba.png") == 8


def tifffile_read_png16(path: str) -> np.ndarray:
    cv2 = pytest.importorskip("cv2", reason="16-bit PNG is read by OpenCV")
    bgra = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    return bgra[..., [2, 1, 0, 3]]


@pytest.mark.parametrize(("bits", "dtype"), [("8", np.uint8), ("16", np.uint16), ("32", np.float32)])
@pytest.mark.parametrize("premultiplied", [False, True])
def test_tiff(bits, dtype, premultiplied):
    PIL.Image.fromarray(ball()).save("x.png", dpi=(300, 300))
    assert matte("x.png", "--format", "tiff", "--depth", bits, *(["--premultiplied"] if premultiplied else [])) == 0
    with tifffile.TiffFile("o/x_rgba.tif") as tiff:
        page = tiff.pages[0]
        assert (page.dtype, page.shape) == (dtype, (80, 120, 4))
        assert page.extrasamples[0].name == ("ASSOCALPHA" if premultiplied else "UNASSALPHA")
        assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == pytest.approx(300, abs=0.1)
        values = page.asarray().astype(np.float64) / (1 if dtype == np.float32 else np.iinfo(dtype).max)
    alpha = values[..., 3]
    colours = values[..., :3] / np.maximum(alpha, 1e-9)[..., None] if premultiplied else values[..., :3]
    edge = (alpha > 0.3) & (alpha < 0.95)
    assert np.abs(colours - (0.86, 0.12, 0.08))[edge].mean() < 0.04
    assert tifffile.imread("o/x_alpha.tif").dtype == dtype


def test_metadata_stays():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = PIL.Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0112] = "a ball", "A. Nonymous", 6
    PIL.Image.fromarray(ball()).save("x.jpg", quality=95, exif=exif, icc_profile=profile, dpi=(300, 300))
    for chosen, suffix in (("png", ".png"), ("tiff", ".tif"), ("webp", ".webp")):
        assert main(["matte", "x.jpg", "--point", "40,60", "-o", "o", "--format", chosen]) == 0
        with PIL.Image.open(f"o/x_rgba{suffix}") as written:
            assert written.size == (80, 120)  # upright
            assert written.info["icc_profile"] == profile
            kept = written.getexif()
            assert (kept.get(0x010E), kept.get(0x013B), kept.get(0x0112, 1)) == ("a ball", "A. Nonymous", 1)
            if chosen != "webp":
                assert written.info["dpi"][0] == pytest.approx(300, abs=0.1)


def test_webp_keeps_every_value():
    PIL.Image.fromarray(ball()).save("x.png")
    assert matte("x.png", "--format", "webp") == 0
    assert main(["matte", "x.png", "--point", "60,40", "-o", "p"]) == 0
    for kind in ("alpha", "rgba", "overlay"):
        webp, png = PIL.Image.open(f"o/x_{kind}.webp"), PIL.Image.open(f"p/x_{kind}.png")
        np.testing.assert_array_equal(np.asarray(webp.convert(png.mode)), np.asarray(png))


class TestExr:
    @pytest.fixture(autouse=True)
    def openexr(self):
        return pytest.importorskip("OpenEXR", reason="OpenEXR needs the extra vfx")

    def write(self, openexr, name: str, values: np.ndarray, **header) -> None:
        about = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage, **header}
        with openexr.File(about, {"RGB" if values.shape[2] == 3 else "RGBA": values}) as file:
            file.write(name)

    def read(self, openexr, name: str) -> dict[str, np.ndarray]:
        with openexr.File(name, separate_channels=True) as file:
            return {key: channel.pixels for key, channel in file.channels().items()}

    def test_out_is_linear_light_and_premultiplied(self, openexr):
        PIL.Image.fromarray(ball()).save("x.png")
        assert matte("x.png", "--format", "exr", "--depth", "32") == 0
        found = self.read(openexr, "o/x_rgba.exr")
        assert {plane.dtype for plane in found.values()} == {np.dtype(np.float32)}
        inside = found["A"] == 1
        linear = to_linear(np.float32(ball() / np.float32(255)))
        for index, key in enumerate("RGB"):
            np.testing.assert_allclose(found[key][inside], linear[..., index][inside], atol=2e-3)
            assert (found[key][found["A"] == 0] == 0).all()
        edge = (found["A"] > 0.3) & (found["A"] < 0.9)
        assert np.abs(found["R"] / np.maximum(found["A"], 1e-6) - to_linear(np.float32([0.86]))[0])[edge].mean() < 0.05
        assert self.read(openexr, "o/x_alpha.exr")["Y"].dtype == np.float32
        assert Path("o/x_overlay.png").exists()

    def test_in_and_out_keeps_what_is_brighter_than_white(self, openexr):
        values = to_linear(ball() / np.float32(255))
        values[35:45, 55:65] *= 20  # a lamp
        self.write(openexr, "x.exr", values, note="shot 7")
        assert matte("x.exr") == 0
        found = self.read(openexr, "o/x_rgba.exr")
        assert found["R"].dtype == np.float16
        inside = found["A"] == 1
        np.testing.assert_allclose(found["R"][inside], values[..., 0][inside], rtol=2e-3)
        assert found["R"].max() > 10
        with openexr.File("o/x_rgba.exr", header_only=True) as file:
            assert file.header()["note"] == "shot 7"

    def test_in_is_shown_to_the_model_as_srgb(self, openexr):
        from zim_plugins.imaging.image import read_image

        self.write(openexr, "x.exr", to_linear(ball() / np.float32(255)))
        assert np.abs(read_image("x.exr").rgb.astype(int) - ball()).max() <= 1
        assert matte("x.exr", "--format", "png") == 0
        assert png_bits("o/x_rgba.png") == 16
        rgba = tifffile_read_png16("o/x_rgba.png")
        opaque = rgba[..., 3] == 65535
        assert np.abs(rgba[opaque][:, :3] / 257 - ball()[opaque]).max() < 1

    def test_premultiplied_input_is_composited_over_white(self, openexr):
        from zim_plugins.imaging.image import read_image

        values = np.zeros((8, 8, 4), np.float32)
        values[:4] = (0.2, 0.1, 0.0, 0.5)
        self.write(openexr, "x.exr", values)
        rgb = read_image("x.exr").rgb
        assert (rgb[6, 6] == 255).all()
        expected = 255 * np.float32([0.7, 0.6, 0.5])  # in linear light
        shown = to_linear(rgb[0, 0] / np.float32(255)) * 255
        assert np.abs(shown - expected).max() < 2

    def test_other_primaries_are_converted(self, openexr):
        from zim_plugins.imaging.image import read_image

        wide = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)  # Rec. 2020
        self.write(openexr, "x.exr", np.full((4, 4, 3), 0.5, np.float32), chromaticities=wide)
        assert np.ptp(read_image("x.exr").rgb[0, 0].astype(int)) <= 1  # grey stays grey
        green = np.zeros((4, 4, 3), np.float32)
        green[..., 1], green[..., 0] = 0.5, 0.3
        self.write(openexr, "y.exr", green, chromaticities=wide)
        self.write(openexr, "z.exr", green)
        assert read_image("y.exr").rgb[0, 0, 0] < read_image("z.exr").rgb[0, 0, 0]

    @pytest.mark.parametrize("size", [0, 4, 5, 40, 200])
    def test_damaged(self, openexr, size, capfd):
        self.write(openexr, "whole.exr", to_linear(ball() / np.float32(255)))
        Path("x.exr").write_bytes(Path("whole.exr").read_bytes()[:size])
        assert matte("x.exr") == 1
        shown = capfd.readouterr().err
        assert "x.exr" in shown and len(shown.splitlines()) == 1


def test_alpha_alone_costs_no_colours(monkeypatch):
    import zim_plugins.imaging.foreground as foreground

    PIL.Image.fromarray(ball()).save("x.png")

    def refuse(*_):
        raise AssertionError("colours are estimated")

    monkeypatch.setattr(foreground, "foreground_colours", refuse)
    assert matte("x.png", "--outputs", "alpha,trimap") == 0


def test_trimap():
    alpha = np.zeros((60, 60), np.float32)
    alpha[20:40, 20:40] = 1
    hard = trimap_of(alpha)
    assert set(np.unique(hard)) == {0, 128, 255}
    assert hard[30, 30] == 255 and hard[5, 5] == 0 and hard[20, 30] == 128
    alpha[10:20, 20:40] = 0.5
    assert (trimap_of(alpha)[10:20, 20:40] == 128).all()
    assert not trimap_of(np.zeros((5, 5), np.float32)).any()
    assert (trimap_of(np.ones((5, 5), np.float32)) == 255).all()


@pytest.mark.parametrize("size", [(700, 530), (300, 1), (1, 300), (257, 513)])
@pytest.mark.parametrize("share", [0.01, 0.06, 0.6])
def test_the_band_is_that_of_scipy_s_distances(size, share, rng, monkeypatch):
    import zim_plugins.cli.matting.trimap as trimap

    monkeypatch.setattr(trimap, "RELATIVE_BAND", share)
    ys, xs = np.mgrid[: size[0], : size[1]]
    alpha = np.clip((min(size) / 3 - np.hypot(ys - size[0] / 2, xs - size[1] / 3)) / 4 + 0.5, 0, 1).astype(np.float32)
    alpha[rng.random(size) > 0.9999] = 0.5
    alpha[size[0] // 3, : size[1] // 3] = 0.5
    found = trimap_of(alpha)
    rows, columns = np.nonzero(alpha > 0.05)
    band_px = max(2, round(share * (max(np.ptp(rows), np.ptp(columns)) + 1)))
    near = distance_transform_edt((alpha <= 0.05) | (alpha >= 0.95)) <= band_px
    np.testing.assert_array_equal(found, np.where(near, 128, np.where(alpha >= 0.95, 255, 0)))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (ball(4095), 1),  # 12 bits in 16
        (ball(1023), 1),
        ((ball()[..., 0].astype(np.int16) * 40 - 1000), 40),
        (ball()[..., 0].astype(np.uint16) * 16, 16),
    ],
)
def test_values_whose_range_the_data_tell(values, shown, capsys):
    from zim_plugins.imaging.image import read_image

    tifffile.imwrite("x.tif", values, photometric="rgb" if values.ndim == 3 else "minisblack")
    image = read_image("x.tif")
    assert image.rgb.max() > 200, image.notes
    assert "--range" in image.notes[0]
    dark = read_image("x.tif", value_range=(0, 65535)).rgb
    assert dark.max() < 60
    assert matte("x.tif", "--range", "0,65535") == 0
    assert matte("x.tif", "--range", "0,65535", "--no-overwrite") == 0
    assert matte("x.tif", "--no-overwrite") == 2
