"""Replacement and cut-out: clean colours over new backgrounds."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.pixels.hole import EmptyMatte
from inpaint.tasks.replacement import covering, cutout, replace
from zim_plugins.core import UnsupportedPrompt, composite

RED = np.array([0.75, 0.1, 0.15], np.float32)


class Painter:
    """Paints the hole blue, and notes what it was told."""

    name = "painter"
    work_side_px: int | None = 64

    def __init__(self) -> None:
        self.told: list[tuple[tuple[int, ...], float, str]] = []

    def fill(self, image, hole):
        return self.fill_guided(image, hole)

    def fill_guided(self, image, hole, *, prompt="", change=None):
        self.told.append((hole.shape, float(hole.mean()), prompt))
        return np.where(hole[..., None], np.array([0, 0, 255], np.uint8), image)


def psnr(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((image.astype(float) - truth)[where] ** 2).mean()))


def on_blue(scene) -> np.ndarray:
    blue = np.broadcast_to(np.array([0, 0, 1], np.float32), scene.image.shape)
    return composite(np.broadcast_to(RED, scene.image.shape), scene.alpha, blue) * 255


def test_the_old_background_is_gone_from_the_fringe(scene) -> None:
    result = replace(scene.image, scene.alpha, (0, 0, 255)).image
    fringe = (scene.alpha > 0.01) & (scene.alpha < 0.99)
    blue = np.broadcast_to(np.array([0, 0, 1], np.float32), scene.image.shape)
    naive = composite(scene.image.astype(np.float32) / 255, scene.alpha, blue) * 255
    assert psnr(result, on_blue(scene), fringe) > psnr(naive, on_blue(scene), fringe) + 6
    assert (result[scene.alpha == 0] == (0, 0, 255)).all()
    assert np.array_equal(result[scene.alpha == 1], scene.image[scene.alpha == 1])


def test_sixteen_bits_are_kept(scene) -> None:
    deep = scene.image.astype(np.uint16) * 257 + 3
    result = replace(deep, scene.alpha, (0, 0, 255)).image
    assert result.dtype == np.uint16 and np.array_equal(result[scene.alpha == 1], deep[scene.alpha == 1])
    cut = cutout(deep, scene.alpha)
    assert cut.rgba.dtype == np.uint16 and cut.rgba[..., 3].max() == 65535


def test_a_painted_background_is_told_to_keep_the_object(scene) -> None:
    painter = Painter()
    result = replace(scene.image, scene.alpha, prompt="the sea", inpainter=painter)
    ((size, share, prompt),) = painter.told
    assert max(size) == 64 and prompt == "the sea" and share == pytest.approx((scene.alpha < 0.95).mean(), abs=0.06)
    assert (result.image[scene.alpha == 0] == (0, 0, 255)).all()


def test_exactly_one_background_is_wanted(scene) -> None:
    for given in ({}, {"background": (0, 0, 0), "prompt": "sea"}):
        with pytest.raises(ValueError, match="not both"):
            replace(scene.image, scene.alpha, **given)


def test_a_filler_without_text_is_refused(scene) -> None:
    class Deaf:
        name = "deaf"
        work_side_px: int | None = None

        def fill(self, image, hole):
            return image

    with pytest.raises(UnsupportedPrompt, match="deaf takes no text"):
        replace(scene.image, scene.alpha, prompt="sea", inpainter=Deaf())


def test_a_cut_out_laid_over_anything_is_the_replacement(scene) -> None:
    rgba = cutout(scene.image, scene.alpha).rgba.astype(np.float32) / 255
    blue = np.broadcast_to(np.array([0, 0, 1], np.float32), scene.image.shape)
    assert np.abs(composite(rgba[..., :3], rgba[..., 3], blue) * 255 - on_blue(scene)).mean() < 1.5
    assert (rgba[scene.alpha == 0] == 0).all()


@pytest.mark.parametrize("task", [cutout, lambda im, a: replace(im, a, (0, 0, 0))])
def test_empty_and_full_mattes(task, scene) -> None:
    with pytest.raises(EmptyMatte):
        task(scene.image, np.zeros_like(scene.alpha))
    full = task(scene.image, np.ones_like(scene.alpha))
    shown = full.rgba[..., :3] if hasattr(full, "rgba") else full.image
    assert np.array_equal(shown, scene.image)
    assert "whole image" in full.warnings[0]


def test_covering_keeps_the_middle_and_the_proportions() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 150:250] = 255
    shown = covering(image, (50, 100))
    assert shown.shape == (50, 100, 3)
    assert shown[:, 30:70].min() > 250 and shown[:, :20].max() < 5
    assert np.array_equal(covering(image, (100, 400)), image)


@pytest.mark.parametrize(("name", "behind"), [("am2k_01", "bsds_15004"), ("p3m_22fc0130", "bsds_108041")])
def test_real_hair_on_a_new_background(name: str, behind: str, test_data: Path) -> None:
    """Laid over green, cut out with the true matte, laid over a photograph: near what direct compositing gives."""
    rgba = PIL.Image.open(test_data / "matting" / "cutouts" / f"{name}.webp").convert("RGBA")
    rgba.thumbnail((400, 400))
    layer = np.asarray(rgba, np.float32) / 255
    alpha = np.ascontiguousarray(layer[..., 3])
    green = np.broadcast_to(np.array([0.1, 0.7, 0.2], np.float32), layer[..., :3].shape)
    photo = np.asarray(PIL.Image.open(test_data / "matting" / "backgrounds" / f"{behind}.jpg").convert("RGB"))
    new = covering(photo, (alpha.shape[0], alpha.shape[1]))
    image = np.rint(composite(layer[..., :3], alpha, green) * 255).astype(np.uint8)
    truth = composite(layer[..., :3], alpha, new.astype(np.float32) / 255) * 255
    naive = composite(image.astype(np.float32) / 255, alpha, new.astype(np.float32) / 255) * 255
    fringe = (alpha > 0.01) & (alpha < 0.99)
    assert psnr(replace(image, alpha, photo).image, truth, fringe) > psnr(naive, truth, fringe) + 5
