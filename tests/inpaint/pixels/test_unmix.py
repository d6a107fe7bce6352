"""The fringe: more of the real background is recovered than a fill can invent, and a wrong matte does little harm."""

import numpy as np
import pytest

from inpaint.pixels.hole import matte_hole
from inpaint.pixels.unmix import OPAQUE_ALPHA, recover_fringe, trust_in_unmixing
from zim_plugins.core import composite


def psnr(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 images over the marked pixels [dB]."""
    return float(10 * np.log10(255**2 / ((image.astype(float) - truth)[where] ** 2).mean()))


def flat_fill(scene, hole: np.ndarray) -> np.ndarray:
    """The image with the hole in the mean colour of what is known: the plainest filler."""
    fill = scene.image.copy()
    fill[hole] = scene.image[~hole].mean(axis=0).astype(np.uint8)
    return fill


def test_the_ring_gains_ten_decibels_with_the_true_matte(scene) -> None:
    hole = matte_hole(scene.alpha)
    fill = flat_fill(scene, hole)
    result = recover_fringe(scene.image, scene.alpha, hole, fill)
    ring = (scene.alpha > 0.01) & (scene.alpha < 0.3)
    assert psnr(result, scene.background, ring) > psnr(fill, scene.background, ring) + 10
    assert psnr(result, scene.background, hole) > psnr(fill, scene.background, hole)


def test_no_ghost_of_the_object_is_left(scene) -> None:
    """What is left of the object, as a slope of the error on alpha (F - B), is small; compositing leaves much."""
    hole = matte_hole(scene.alpha)
    result = recover_fringe(scene.image, scene.alpha, hole, scene.background)
    contrast = scene.alpha[..., None] * (np.array([191.25, 25.5, 38.25]) - scene.background)
    composited = scene.alpha[..., None] * scene.background + (1 - scene.alpha[..., None]) * scene.image
    fringe = (scene.alpha > 0.02) & (scene.alpha < 0.98)

    def ghost(image: np.ndarray) -> float:
        error = (image - scene.background.astype(float))[fringe]
        return float((error * contrast[fringe]).sum() / (contrast[fringe] ** 2).sum())

    assert abs(ghost(result)) < 0.03
    assert ghost(composited) > 0.3


def test_outside_the_hole_nothing_changes(scene) -> None:
    hole = matte_hole(scene.alpha)
    result = recover_fringe(scene.image, scene.alpha, hole, np.zeros_like(scene.image))
    assert np.array_equal(result[~hole], scene.image[~hole])


def test_the_solid_part_is_the_fill(scene) -> None:
    hole = matte_hole(scene.alpha)
    fill = flat_fill(scene, hole)
    result = recover_fringe(scene.image, scene.alpha, hole, fill)
    solid = scene.alpha >= OPAQUE_ALPHA
    assert np.array_equal(result[solid], fill[solid])


def test_the_guard_keeps_the_object_out_where_the_matte_is_far_too_thin(scene) -> None:
    """A matte that calls half of the solid disk 15 % opaque must not bring the disk back."""
    ys, xs = np.mgrid[: scene.alpha.shape[0], : scene.alpha.shape[1]]
    solid = np.hypot(xs - 80, ys - 64) < 19
    wrong = np.where(solid & (xs < 76), np.float32(0.15), scene.alpha)
    bitten = solid & (xs < 70)
    hole = matte_hole(wrong)
    fill = flat_fill(scene, hole)
    guarded = recover_fringe(scene.image, wrong, hole, fill)
    unguarded = recover_fringe(scene.image, wrong, hole, fill, guard=False)
    assert psnr(guarded, scene.background, bitten) > psnr(unguarded, scene.background, bitten) + 5
    assert psnr(guarded, scene.background, bitten) > psnr(fill, scene.background, bitten) - 2


def test_sixteen_bits_give_the_eight_bit_result_more_finely(scene) -> None:
    hole = matte_hole(scene.alpha)
    fill = flat_fill(scene, hole)
    coarse = recover_fringe(scene.image, scene.alpha, hole, fill)
    fine = recover_fringe(scene.image.astype(np.uint16) * 257, scene.alpha, hole, fill)
    assert fine.dtype == np.uint16
    assert np.abs(fine / 257 - coarse).max() <= 0.51
    assert (fine[hole] % 257 != 0).any()
    assert np.array_equal(fine[~hole], scene.image[~hole].astype(np.uint16) * 257)


def test_trust_falls_with_opacity_and_grows_with_the_variety_of_the_scene(rng: np.random.Generator) -> None:
    alpha = np.tile(np.concatenate([np.zeros(30), np.linspace(0, 1, 40), np.ones(20)]), (64, 1)).astype(np.float32)
    foreground = np.clip(0.8 + 0.05 * rng.standard_normal((64, 90, 3)), 0, 1).astype(np.float32)
    plain = np.full((64, 90, 3), 0.3, np.float32)
    busy = np.clip(plain + 0.2 * rng.standard_normal(plain.shape), 0, 1).astype(np.float32)
    before_plain, before_busy = (
        trust_in_unmixing(composite(foreground, alpha, scene), alpha, foreground).mean(axis=0)
        for scene in (plain, busy)
    )
    assert (
        before_plain[0] == 0 and before_plain[-1] == 0
    )  # clear: only grown, so filled; opaque: nothing shines through
    assert (np.diff(before_busy[31:]) < 0.02).all()
    assert (before_busy[35:60] > before_plain[35:60]).all()


def test_what_a_hard_masks_hole_was_grown_by_is_filled(scene) -> None:
    """A mask knows no fringe: beyond its edge the object may go on, so nothing there is kept."""
    mask = (scene.alpha > 0.5).astype(np.float32)
    hole = matte_hole(mask, grow_px=4)
    fill = flat_fill(scene, hole)
    assert np.array_equal(recover_fringe(scene.image, mask, hole, fill), fill)


@pytest.mark.parametrize("tile_px", [48, 64, 100])
def test_tiled_equals_untiled_to_two_levels(scene, tile_px: int) -> None:
    """Tiles bound the memory only: the hole lies over the corners of several of them."""
    image, alpha = np.tile(scene.image, (2, 2, 1)), np.roll(np.tile(scene.alpha, (2, 2)), (30, 41), axis=(0, 1))
    image = np.roll(image, (30, 41), axis=(0, 1))
    hole = matte_hole(alpha)
    fill = np.where(hole[..., None], np.uint8(128), image)
    whole = recover_fringe(image, alpha, hole, fill, tile_px=4096)
    tiled = recover_fringe(image, alpha, hole, fill, tile_px=tile_px)
    assert np.abs(whole.astype(int) - tiled).max() <= 2
    assert (np.abs(whole.astype(int) - fill)[hole & (alpha < 0.5)] > 4).mean() > 0.5  # there was something to agree on


@pytest.mark.parametrize("grow_px", [2, 7])
def test_all_that_a_hole_was_grown_by_is_filled_for_soft_mattes_too(scene, grow_px: int) -> None:
    hole = matte_hole(scene.alpha, grow_px=grow_px)
    fill = flat_fill(scene, hole)
    result = recover_fringe(scene.image, scene.alpha, hole, fill)
    grown = hole & (scene.alpha <= 0)
    assert grown.any() and np.array_equal(result[grown], fill[grown])


def test_a_fill_is_taken_to_err_by_four_variances_of_the_scene() -> None:
    """The precision-weighted mean, worked out by hand where each term is known: a chequered scene, a flat object."""
    deviation, opacity, object_grey = 0.1, 0.5, 0.9
    rows, columns = np.indices((96, 160))
    grey = 0.4 + deviation * np.where((rows + columns) % 2, 1, -1)
    scene = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    alpha = np.zeros((96, 160), np.float32)
    alpha[:, 80:] = opacity
    foreground = np.full_like(scene, object_grey)
    trust = trust_in_unmixing(composite(foreground, alpha, scene), alpha, foreground)
    of_matte = 0.1**2 * (object_grey - 0.4) ** 2  # an opacity wrong by 0.1
    of_unmixed = (of_matte + (2 / 255) ** 2) / (1 - opacity) ** 2
    of_fill = 4 * deviation**2
    assert trust[48, 82] == pytest.approx(of_fill / (of_fill + of_unmixed), abs=0.01)
