"""Masks in every encoding that people have are the same mask."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.errors import ImageError
from zim_plugins.imaging import read_mask
from zim_plugins.imaging.masks import MAX_OBJECTS

YY, XX = np.mgrid[:96, :128]
DISK = np.hypot(XX - 60, YY - 50) < 30


def saved(array: np.ndarray, kind: str = "PNG", **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    PIL.Image.fromarray(array).save(stream, kind, **options)
    stream.seek(0)
    return stream


def palette(indices: np.ndarray, colours: list[int]) -> io.BytesIO:
    image = PIL.Image.fromarray(indices.astype(np.uint8), mode="P")
    image.putpalette(colours + [0] * (768 - len(colours)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    stream.seek(0)
    return stream


HARD = {
    "255": lambda: saved(DISK * np.uint8(255)),
    "0/1": lambda: saved(DISK.astype(np.uint8)),
    "0/1 in RGB": lambda: saved(np.dstack([DISK.astype(np.uint8)] * 3)),
    "0/1 in 16 bits": lambda: saved(DISK.astype(np.uint16)),
    "16 bits": lambda: saved(DISK * np.uint16(65535)),
    "1 bit": lambda: saved(DISK),
    "the number 7": lambda: saved(DISK * np.uint8(7)),
    "RGB": lambda: saved(np.dstack([DISK * np.uint8(255)] * 3)),
    "black and red": lambda: saved(np.dstack([DISK * np.uint8(200), DISK * np.uint8(0), DISK * np.uint8(10)])),
    "white with alpha": lambda: saved(np.dstack([np.full((*DISK.shape, 3), 255, np.uint8), DISK * np.uint8(255)])),
    "opaque RGBA": lambda: saved(np.dstack([DISK * np.uint8(255)] * 3 + [np.full(DISK.shape, 255, np.uint8)])),
    "coloured palette": lambda: palette(DISK, [0, 0, 0, 128, 0, 0]),
    "palette of VOC": lambda: palette(DISK * 15, [c for i in range(16) for c in (i, 0, i)]),
    "black and white palette": lambda: palette(DISK, [0, 0, 0, 255, 255, 255]),
    "floating point": lambda: saved(DISK.astype(np.float32), "TIFF"),
}


@pytest.mark.parametrize("kind", HARD)
def test_every_encoding_of_a_mask_is_that_mask(kind: str) -> None:
    mask = read_mask(HARD[kind]())
    assert mask.alpha.dtype == np.float32 and np.array_equal(mask.alpha, DISK.astype(np.float32))


def test_what_was_taken_for_what_is_said() -> None:
    assert read_mask(HARD["255"]()).notes == ()
    assert "object 7 is the mask" in read_mask(HARD["the number 7"]()).notes[0]
    assert "two colours" in read_mask(HARD["black and red"]()).notes[0]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [30, 60, 75, 90, 95, 100])
def test_a_jpeg_adds_nothing_to_the_hole(quality: int, mode: str) -> None:
    """The support, which a fifth of stray values used to be added to, grows by less than 1 in 100."""
    image = PIL.Image.fromarray(DISK * np.uint8(255)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    mask = read_mask(io.BytesIO(stream.getvalue()))
    assert abs((mask.alpha > 0.02).sum() / DISK.sum() - 1) < 0.01
    assert np.array_equal(mask.alpha > 0.5, DISK)
    assert any("JPEG" in note for note in mask.notes)


def test_a_soft_matte_in_a_jpeg_stays_soft() -> None:
    soft = np.clip((45 - np.hypot(XX - 60, YY - 50)) / 30, 0, 1)
    mask = read_mask(saved((soft * 255).astype(np.uint8), "JPEG", quality=90))
    assert np.abs(mask.alpha - soft).max() < 0.06 and "soft matte in JPEG" in mask.notes[0]


def test_lossy_webp_like_jpeg_and_lossless_like_png(tmp_path: Path) -> None:
    for name, quality in (("lossy.webp", 60), ("exact.webp", None)):
        PIL.Image.fromarray(np.dstack([DISK * np.uint8(255)] * 3)).save(
            tmp_path / name, lossless=quality is None, quality=quality or 80
        )
        mask = read_mask(tmp_path / name)
        assert abs((mask.alpha > 0.02).sum() / DISK.sum() - 1) < 0.01
        assert bool(mask.notes) == (name == "lossy.webp")


def test_faint_values_of_a_lossless_matte_are_kept() -> None:
    """What lies just above the numbers of objects, and what lies beside opaque pixels, is opacity."""
    for faint, top in ((MAX_OBJECTS + 1, MAX_OBJECTS + 1), (1, 255)):
        matte = np.where(DISK, top, 0).astype(np.uint8)
        matte[0, 0] = faint
        assert read_mask(saved(matte)).alpha[0, 0] == pytest.approx(faint / 255)


def test_numbers_of_several_objects_are_chosen_from(tmp_path: Path) -> None:
    numbers = DISK.astype(np.uint8) + (XX > 100) * np.uint8(2)
    path = tmp_path / "labels.png"
    path.write_bytes(saved(numbers).getvalue())
    with pytest.raises(ImageError, match=r"several objects \(1, 2\): choose one as .*labels.png#1"):
        read_mask(path)
    assert np.array_equal(read_mask(f"{path}#2").alpha, (XX > 100).astype(np.float32))
    with pytest.raises(ImageError, match="no object 3: it holds 1, 2"):
        read_mask(f"{path}#3")
    odd = tmp_path / "a#1"
    odd.write_bytes(HARD["255"]().getvalue())
    assert np.array_equal(read_mask(str(odd)).alpha, DISK.astype(np.float32))
    (tmp_path / "grey.png").write_bytes(HARD["255"]().getvalue())
    with pytest.raises(ImageError, match="without #1"):
        read_mask(f"{tmp_path / 'grey.png'}#1")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_photograph_is_no_mask(kind: str, rng: np.random.Generator) -> None:
    with pytest.raises(ImageError, match="not a matte"):
        read_mask(saved(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8), kind))


@pytest.mark.parametrize("level", [0, 255])
def test_empty_and_full_masks_are_what_they_are(level: int) -> None:
    assert (read_mask(saved(np.full((9, 8), level, np.uint8))).alpha == level / 255).all()
