"""Removal as a whole, with a matte or a predictor."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.inpainters.registry import load_inpainter
from inpaint.pixels.hole import EmptyMatte, matte_hole
from inpaint.pixels.rim import LARGEST_SHIFT
from inpaint.tasks.removal import FILLED_GROW_PX, deserved, remove
from zim_plugins.core import Prompt, composite


class FlatInpainter:
    """Paints the hole green, and all else black, which `remove` must undo."""

    name = "flat"
    work_side_px: int | None = None
    work_side_px: int | None = None

    def fill(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        filled = np.zeros_like(image)
        filled[hole] = (0, 255, 0)
        return filled


def psnr(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((image.astype(float) - truth)[where] ** 2).mean()))


@pytest.mark.parametrize("unmix", [True, False])
def test_outside_the_hole_the_image_is_the_users_byte_by_byte(scene, unmix: bool) -> None:
    before = scene.image.copy()
    removal = remove(scene.image, scene.alpha, inpainter=FlatInpainter(), unmix=unmix)
    assert np.array_equal(scene.image, before)
    assert np.array_equal(removal.image[~removal.hole], before[~removal.hole])
    assert (removal.image[removal.hole] != before[removal.hole]).any()


def test_without_unmixing_the_hole_is_the_fill_alone(scene) -> None:
    removal = remove(scene.image, scene.alpha, inpainter=FlatInpainter(), unmix=False)
    shift = removal.image[removal.hole].astype(int) - (0, 255, 0)
    assert np.abs(shift).max() <= LARGEST_SHIFT + 1  # towards what lies outside: the fill meets the rim


def test_patchmatch_with_unmixing_beats_the_fill_alone(scene) -> None:
    pytest.importorskip("patchmatch")
    inpainter = load_inpainter("patchmatch")
    with_unmix = remove(scene.image, scene.alpha, inpainter=inpainter)
    without = remove(scene.image, scene.alpha, inpainter=inpainter, unmix=False)
    ring = (scene.alpha > 0.01) & (scene.alpha < 0.5)
    assert psnr(with_unmix.image, scene.background, ring) > psnr(without.image, scene.background, ring) + 4
    assert psnr(without.image, scene.background, ring) > psnr(scene.image, scene.background, ring)


def test_a_prompt_goes_through_the_predictor(scene, fake_predictor) -> None:
    removal = remove(
        scene.image, Prompt.from_point(80, 64), predictor=fake_predictor, inpainter=FlatInpainter(), grow_px=0
    )
    assert removal.alpha[64, 80] == 1
    assert np.array_equal(removal.hole, removal.alpha > 0.02)


def test_two_runs_agree(scene) -> None:
    pytest.importorskip("patchmatch")
    first, second = (remove(scene.image, scene.alpha, inpainter=load_inpainter("patchmatch")) for _ in range(2))
    assert np.array_equal(first.image, second.image)


def test_a_click_outside_names_the_images_size(scene, fake_predictor) -> None:
    with pytest.raises(ValueError, match="160x128"):
        remove(scene.image, Prompt.from_point(500, 3), predictor=fake_predictor, inpainter=FlatInpainter())


def test_an_empty_matte_is_refused(scene) -> None:
    with pytest.raises(EmptyMatte):
        remove(scene.image, np.zeros_like(scene.alpha), inpainter=FlatInpainter())


def test_a_matte_of_another_size_is_refused(scene) -> None:
    # The shape check of the tests (a TypeError) comes before the function's own.
    with pytest.raises((ValueError, TypeError)):
        remove(scene.image, scene.alpha[1:], inpainter=FlatInpainter())


def test_warnings_name_what_to_look_at() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    alpha = np.zeros((40, 40), np.float32)
    alpha[15:25, 15:25] = 1
    assert remove(image, alpha, inpainter=FlatInpainter()).warnings == ()
    alpha[:, 3:37] = 0.4
    alpha[15:25, 15:25] = 0.45
    warnings = " ".join(remove(image, alpha, inpainter=FlatInpainter()).warnings)
    assert "faint" in warnings and "edge" in warnings and "% of the image" in warnings


def test_a_matte_over_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="whole image"):
        remove(np.zeros((20, 20, 3), np.uint8), np.ones((20, 20), np.float32))


@pytest.mark.parametrize(("cutout", "photo"), [("am2k_01", "bsds_15004"), ("p3m_22fc0130", "bsds_108041")])
def test_real_hair_over_real_photographs(cutout: str, photo: str, test_data: Path) -> None:
    """Known truth: a cut-out laid over a photograph. With the true matte the ring is recovered, not invented."""
    pytest.importorskip("patchmatch")
    folder = test_data / "matting"
    truth = np.asarray(PIL.Image.open(folder / "backgrounds" / f"{photo}.jpg").convert("RGB"))
    rgba = PIL.Image.open(folder / "cutouts" / f"{cutout}.webp").convert("RGBA")
    rgba.thumbnail((truth.shape[1] * 2 // 3, truth.shape[0] * 2 // 3))
    placed = PIL.Image.new("RGBA", (truth.shape[1], truth.shape[0]))
    placed.paste(rgba, ((truth.shape[1] - rgba.width) // 2, (truth.shape[0] - rgba.height) // 2))
    layer = np.asarray(placed, dtype=np.float32) / 255
    alpha = np.ascontiguousarray(layer[..., 3])
    image = np.rint(composite(layer[..., :3], alpha, truth.astype(np.float32) / 255) * 255).astype(np.uint8)

    inpainter = load_inpainter("patchmatch")
    removal = remove(image, alpha, inpainter=inpainter)
    filled = remove(image, alpha, inpainter=inpainter, unmix=False)
    ring = (alpha > 0.01) & (alpha < 0.5)
    assert psnr(removal.image, truth, ring) > psnr(filled.image, truth, ring) + 2
    assert psnr(removal.image, truth, removal.hole) > psnr(filled.image, truth, removal.hole)
    assert np.array_equal(removal.image[~removal.hole], image[~removal.hole])


def test_a_predicted_matte_is_filled_and_grown_and_a_given_one_un_mixed(scene, fake_predictor) -> None:
    prompt = Prompt.from_point(80, 64)
    made = remove(scene.image, prompt, predictor=fake_predictor, inpainter=FlatInpainter())
    by_hand = remove(scene.image, made.alpha, inpainter=FlatInpainter(), unmix=False)
    assert np.array_equal(made.image, by_hand.image)  # of so small an object
    assert np.array_equal(made.hole, matte_hole(made.alpha, grow_px=FILLED_GROW_PX))
    given = remove(scene.image, scene.alpha, inpainter=FlatInpainter())
    assert np.array_equal(given.hole, matte_hole(scene.alpha, grow_px=2))
    assert np.array_equal(given.image, remove(scene.image, scene.alpha, inpainter=FlatInpainter(), unmix=True).image)


@pytest.mark.parametrize(("side_px", "grow_px"), [(0, 7), (49, 7), (51, 8), (200, 30)])
def test_a_predicted_matte_grows_with_its_object(side_px: int, grow_px: int) -> None:
    alpha = np.full((256, 256), 0.49, np.float32)
    alpha[:side_px, :side_px] = 0.5
    assert deserved(alpha, predicted=True, unmix=None, grow_px=None) == (False, grow_px)
    assert deserved(alpha, predicted=True, unmix=True, grow_px=None) == (True, 2)
    assert deserved(alpha, predicted=False, unmix=None, grow_px=None) == (True, 2)
    assert deserved(alpha, predicted=False, unmix=False, grow_px=None) == (False, 7)
    assert deserved(alpha, predicted=True, unmix=None, grow_px=3) == (False, 3)
