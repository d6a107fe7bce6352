import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest

from zim_plugins.errors import ImageError
from zim_plugins.imaging.image import encode_png, expand_inputs, output_stems, read_alpha, read_image, write_image
from zim_plugins.imaging.sources import SAMPLE_FILES


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    """An image without symmetry, so that no turn or mirror goes unseen: uint8 (h, w, 3)."""
    ys, xs = np.mgrid[:height, :width]
    return np.stack([xs * 255 // max(width - 1, 1), ys * 255 // max(height - 1, 1), (xs + ys) % 256], 2).astype(
        np.uint8
    )


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def save(tmp_path: Path):
    """Write with Pillow alone, so that reading is not judged by our own writer."""

    def write(name: str, photo: PIL.Image.Image | bytes, **options) -> Path:
        path = tmp_path / name
        if isinstance(photo, bytes):
            path.write_bytes(photo)
        else:
            photo.save(path, **options)
        return path

    return write


class TestReadImage:
    def test_rgb_png_is_read_bit_for_bit(self, save):
        path = save("plain.png", PIL.Image.fromarray(gradient()))
        image = read_image(path)
        np.testing.assert_array_equal(image.rgb, gradient())
        assert (image.size, image.stem, image.source_mode, image.notes) == ((20, 30), "plain", "RGB", ())
        assert image.rgb.flags.c_contiguous

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, save, orientation):
        # How each orientation is stored, by its definition: the transforms that a viewer undoes.
        upright = gradient()
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        path = save("turned.png", PIL.Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
        np.testing.assert_array_equal(read_image(path).rgb, upright)

    def test_grey16_is_scaled_not_clipped(self, save):
        values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
        image = read_image(save("grey16.png", PIL.Image.fromarray(values)))
        np.testing.assert_array_equal(image.rgb, np.round(values / 65535 * 255)[..., None].repeat(3, axis=2))

    @pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
    def test_grey16_tiff_of_either_byte_order(self, tmp_path, byte_order):
        tifffile = pytest.importorskip("tifffile")
        values = np.linspace(0, 65535, 600).astype(byte_order).reshape(20, 30)
        tifffile.imwrite(tmp_path / "a.tif", values, byteorder=byte_order[0], photometric="minisblack")
        rgb = read_image(tmp_path / "a.tif").rgb
        np.testing.assert_allclose(rgb[..., 0], values / 65535 * 255, atol=0.51)

    def test_rgb16_says_that_it_was_reduced(self, tmp_path):
        tifffile = pytest.importorskip("tifffile")
        values = (gradient().astype(np.uint16) * 257).astype(np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
        image = read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image.rgb, gradient())
        assert image.notes == ("16 bits per channel reduced to 8",)

    def test_cmyk_is_not_inverted(self, save):
        cmyk = PIL.Image.fromarray(gradient()).convert("CMYK")
        image = read_image(save("press.jpg", cmyk, quality=100))
        assert np.abs(image.rgb.astype(int) - gradient()).mean() < 6

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_alpha_is_composited_over_white(self, save, mode):
        grey = PIL.Image.fromarray(gradient()[..., 0])
        alpha = gradient()[..., 1]
        photo = PIL.Image.merge(mode, [grey] * (len(mode) - 1) + [PIL.Image.fromarray(alpha)])
        image = read_image(save("soft.png", photo))
        opacity = alpha / 255
        expected = opacity * gradient()[..., 0] + (1 - opacity) * 255
        np.testing.assert_allclose(image.rgb, expected[..., None].repeat(3, 2), atol=1.01)
        assert image.notes == ("transparent parts composited over white",)

    def test_opaque_alpha_changes_nothing(self, save):
        photo = PIL.Image.fromarray(gradient()).convert("RGBA")
        image = read_image(save("opaque.png", photo))
        np.testing.assert_array_equal(image.rgb, gradient())
        assert image.notes == ()

    def test_transparent_palette_entry_does_not_show(self, save):
        photo = PIL.Image.new("P", (30, 20), 1)
        photo.putpalette([255, 0, 255, 10, 20, 30])
        photo.paste(0, (0, 0, 15, 20))
        image = read_image(save("palette.png", photo, transparency=0))
        assert (image.rgb[:, :15] == 255).all()
        assert (image.rgb[:, 15:] == (10, 20, 30)).all()

    @pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
    def test_first_frame_of_an_animation(self, save, suffix, options):
        frames = [PIL.Image.new("RGB", (30, 20), colour) for colour in ("red", "green", "blue", "white")]
        path = save(f"moving.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        image = read_image(path)
        assert (image.rgb == (255, 0, 0)).all()
        assert image.notes == ("animated: the first of 4 is used",)

    @pytest.mark.parametrize("size", [(1, 1), (2000, 3)])
    def test_odd_sizes(self, save, size):
        assert read_image(save("odd.png", PIL.Image.fromarray(gradient(*size)))).size == size

    def test_float_grey_is_clipped(self, save):
        values = np.linspace(-0.05, 1.15, 600, dtype=np.float32).reshape(20, 30)
        image = read_image(save("float.tif", PIL.Image.fromarray(values)))
        np.testing.assert_allclose(image.rgb[..., 1], np.clip(values, 0, 1) * 255, atol=0.51)
        assert image.notes == ("floating-point values clipped to 0..1",)

    def test_float_rgb_through_tifffile(self, tmp_path):
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(tmp_path / "float.tif", gradient().astype(np.float32) / 255, photometric="rgb")
        image = read_image(tmp_path / "float.tif")
        np.testing.assert_array_equal(image.rgb, gradient())
        assert image.source_mode == "float32x3"

    def test_float_rgb_without_tifffile_names_the_remedy(self, tmp_path, monkeypatch):
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(tmp_path / "float.tif", gradient().astype(np.float32), photometric="rgb")
        monkeypatch.setitem(sys.modules, "tifffile", None)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImageError, match="pip install tifffile"):
            read_image(tmp_path / "float.tif")

    def test_float_values_of_another_range_are_refused(self, save):
        path = save("wide.tif", PIL.Image.fromarray(gradient()[..., 0].astype(np.float32)))
        with pytest.raises(ImageError, match=r"wide\.tif holds floating-point values up to 255"):
            read_image(path)

    def test_colour_profile_is_converted(self, save):
        # A profile with red and blue exchanged is as far from sRGB as can be told apart without a file at hand.
        profile = bytearray(PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes())
        red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
        profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
        description = bytes(profile).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
        path = save("wide.png", PIL.Image.new("RGB", (30, 20), (250, 20, 10)), icc_profile=description)
        image = read_image(path)
        np.testing.assert_allclose(image.rgb[0, 0], (10, 20, 250), atol=3)
        assert image.notes == ("colour profile converted to sRGB",)

    def test_broken_colour_profile_is_said_and_ignored(self, save):
        path = save("odd.png", PIL.Image.fromarray(gradient()), icc_profile=b"no profile at all")
        image = read_image(path)
        np.testing.assert_array_equal(image.rgb, gradient())
        assert "colour profile not applied" in image.notes[0]

    def test_stream(self):
        assert read_image(io.BytesIO(encode_png(gradient()))).size == (20, 30)

    @pytest.mark.parametrize("name", SAMPLE_FILES)
    def test_samples_need_no_network(self, name):
        image = read_image(f"sample:{name}")
        assert min(image.size) >= 300
        assert image.stem == name


class TestRefusals:
    def test_truncated(self, save):
        content = io.BytesIO()
        PIL.Image.fromarray(gradient(200, 300)).save(content, "JPEG")
        path = save("cut.jpg", content.getvalue()[: len(content.getvalue()) * 55 // 100])
        with pytest.raises(ImageError, match=r"cut\.jpg is truncated"):
            read_image(path)

    def test_truncated_png(self, save):
        content = encode_png(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8))
        with pytest.raises(ImageError, match=r"cut\.png is truncated"):
            read_image(save("cut.png", content[: len(content) // 2]))

    @pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"just some text\n", "is not an image")])
    def test_no_image(self, save, content, reason):
        with pytest.raises(ImageError, match=rf"text\.png {reason}"):
            read_image(save("text.png", content))

    def test_bomb_is_refused_from_its_header(self, save):
        with pytest.raises(ImageError, match="too large"):
            read_image(save("bomb.png", png_claiming(60_000, 60_000)))

    def test_limit_is_a_choice(self, save):
        path = save("small.png", PIL.Image.fromarray(gradient()))
        with pytest.raises(ImageError, match="30x20"):
            read_image(path, max_pixels=599)
        assert read_image(path, max_pixels=600).size == (20, 30)

    def test_pillows_own_limit_is_left_alone(self, save):
        before = PIL.Image.MAX_IMAGE_PIXELS
        read_image(save("small.png", PIL.Image.fromarray(gradient())))
        assert before == PIL.Image.MAX_IMAGE_PIXELS

    @pytest.mark.parametrize(
        ("source", "reason"),
        [("none.png", "does not exist"), (".", "is a folder"), ("sample:unicorn", "choose one of dogs, astronaut")],
    )
    def test_no_file(self, tmp_path, monkeypatch, source, reason):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ImageError, match=reason):
            read_image(source)


class TestReadAlpha:
    def test_grey_rgb_and_alpha_channel_agree(self, save):
        grey = PIL.Image.fromarray(gradient()[..., 1])
        colour = PIL.Image.fromarray(gradient()).convert("RGBA")
        colour.putalpha(grey)
        files = [
            save("l.png", grey),
            save("rgb.png", grey.convert("RGB")),
            save("rgba.png", colour),
            save("opaque.png", PIL.Image.merge("RGBA", [grey, grey, grey, PIL.Image.new("L", (30, 20), 255)])),
            save("16.png", PIL.Image.fromarray(gradient()[..., 1].astype(np.uint16) * 257)),
        ]
        for path in files:
            alpha = read_alpha(path)
            assert alpha.dtype == np.float32
            np.testing.assert_allclose(alpha, gradient()[..., 1] / 255, atol=1e-6, err_msg=path.name)

    def test_colour_image_is_no_matte(self, save):
        with pytest.raises(ImageError, match="colour image"):
            read_alpha(save("colour.png", PIL.Image.fromarray(gradient())))


class TestWriteImage:
    @pytest.mark.parametrize("channels", [(), (3,), (4,)])
    def test_what_is_written_is_read_by_pillow(self, tmp_path, rng, channels):
        array = rng.integers(0, 256, (7, 9, *channels), dtype=np.uint8)
        path = write_image(tmp_path / "new" / "a.png", array)
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(path)), array)
        assert os.listdir(path.parent) == ["a.png"]

    def test_floats_are_rounded(self, tmp_path):
        alpha = np.linspace(0, 1, 256, dtype=np.float32)[None]
        path = write_image(tmp_path / "a.png", alpha)
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(path))[0], np.arange(256))

    def test_nothing_half_written(self, tmp_path, monkeypatch):
        (tmp_path / "a.png").write_bytes(b"earlier")

        def full_disk(source, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full_disk)
        with pytest.raises(ImageError, match=r"cannot write .*a\.png: No space left"):
            write_image(tmp_path / "a.png", gradient())
        assert os.listdir(tmp_path) == ["a.png"]
        assert (tmp_path / "a.png").read_bytes() == b"earlier"

    @pytest.mark.parametrize(
        ("name", "array", "reason"),
        [
            ("a.docx", gradient(), "its suffix is none of"),
            ("a.jpg", np.zeros((2, 2, 4), np.uint8), "no alpha channel"),
            ("a.png", np.zeros((2, 2, 2), np.uint8), "shape"),
            ("a.png", np.full((2, 2), 1.5, np.float32), r"lie in \[0, 1\]"),
            ("a.png", np.full((2, 2), np.nan, np.float32), r"lie in \[0, 1\]"),
        ],
    )
    def test_refusals(self, tmp_path, name, array, reason):
        with pytest.raises(ImageError, match=reason):
            write_image(tmp_path / name, array)
        assert not os.listdir(tmp_path)


class TestInputs:
    def test_files_folders_and_globs(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name in ("d/b.PNG", "d/a.jpg", "d/notes.txt", "d/.hidden.png", "c.png"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).touch()
        found = expand_inputs(["d", "c.png", "*.png", "d/*.jpg", "-", "sample:chelsea", "gone.png"])
        assert found == [
            os.path.join("d", "a.jpg"),
            os.path.join("d", "b.PNG"),
            "c.png",
            "-",
            "sample:chelsea",
            "gone.png",
        ]

    @pytest.mark.parametrize(("given", "reason"), [("*.jpg", "no file matches"), (".", "holds no image")])
    def test_nothing_found(self, tmp_path, monkeypatch, given, reason):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ImageError, match=reason):
            expand_inputs([given])

    def test_file_whose_name_looks_like_a_pattern(self, tmp_path):
        path = tmp_path / "shot[1].png"
        path.touch()
        assert expand_inputs([path]) == [str(path)]

    def test_stems_keep_their_letters(self):
        assert output_stems(["d/фото_été_図.jpg", "-", "sample:coffee", "v1.2.png"]) == [
            "фото_été_図", "stdin", "coffee", "v1.2",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "pair", [("a/cat.jpg", "b/cat.png"), ("Cat.jpg", "cat.jpg"), ("\u00e9.png", "e\u0301.jpg")]
    )
    def test_two_sources_of_one_name(self, pair):
        with pytest.raises(ImageError, match="same name"):
            output_stems(pair)


REFUSED = {"truncated.jpg", "zero_bytes.png", "text_named.png", "bomb_60000x60000.png"}
SIZES = {"one_pixel.png": (1, 1), "w3_h2000.png": (2000, 3)}


@pytest.mark.parametrize(
    "name",
    [
        "truncated.jpg", "zero_bytes.png", "text_named.png", "grey16.png", "cmyk.jpg", "rgba.png",
        "palette_transparent.png", "grey_alpha.png", "exif_orientation6.jpg", "one_pixel.png", "w3_h2000.png",
        "animated.gif", "bomb_60000x60000.png", "фото_été_図.jpg", "float32_grey.tif", "float32_rgb.tif",
    ],
)  # fmt: skip
def test_odd_files_of_the_collection(test_data, name):
    path = test_data / "bad_inputs" / name
    if name in REFUSED:
        with pytest.raises(ImageError, match=name):
            read_image(path)
        return
    if name == "float32_rgb.tif":
        pytest.importorskip("tifffile")
    image = read_image(path)
    assert image.size == SIZES.get(name, (214, 320))
    if name in SIZES:
        return
    photo = PIL.Image.open(test_data / "inpaint" / "photos" / "remove-anything_dog.jpg").convert("RGB")
    original = np.asarray(photo.resize((320, 214))).astype(float)
    rgb = image.rgb.astype(float)
    # Away from transparent corners every variant shows the dog: same structure in the image's middle.
    middle = np.s_[60:154, 90:230]
    assert np.corrcoef(rgb[middle].mean(2).ravel(), original[middle].mean(2).ravel())[0, 1] > 0.9
    if name in ("cmyk.jpg", "exif_orientation6.jpg", "animated.gif", "фото_été_図.jpg"):
        assert np.abs(rgb - original).mean() < 6
    if name == "palette_transparent.png":
        assert not ((rgb[..., 0] > 230) & (rgb[..., 1] < 40) & (rgb[..., 2] > 230)).any()
    if name == "grey16.png":
        assert (rgb[..., 0].min(), rgb[..., 0].max()) == (8, 196)
