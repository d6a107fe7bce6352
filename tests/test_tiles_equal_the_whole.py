"""Each routine that works in tiles or bands answers as in one piece, on an object over several of them.

The object's soft edge crosses tiles, and it has a hole at a corner of four of them. 2 of 255 levels are allowed. What
would go unnoticed otherwise is tried too: a routine that looks at the first tile alone, or not beyond a tile's edge.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.conftest import soft_disk
from zim_plugins.core import composite, estimate_foreground, foreground_colours
from zim_plugins.imaging import from_unit, unit_values, window_of
from zim_plugins.imaging.foreground import colours as foreground_module

SIZE, CORNER = (400, 520), 256
LEVELS = 2.0
Answers = tuple[np.ndarray, np.ndarray]
"""In one piece, and in tiles; in [0, 255]."""


@pytest.fixture(scope="module")
def layers() -> tuple[np.ndarray, np.ndarray]:
    """RGB of 8 bits, and opacity: a disk with a hole whose middle is a corner of tiles of 128 and of 64 px."""
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    alpha = soft_disk(SIZE, (250.0, 210.0), 170, 14) * (1 - soft_disk(SIZE, (CORNER, CORNER), 30, 14))
    waves = np.stack([np.sin(xs / 23), np.cos(ys / 19), np.sin((xs + ys) / 31)], -1) * 0.1
    scene = composite(np.float32([0.7, 0.4, 0.2]) + waves, alpha, np.float32([0.2, 0.5, 0.7]) - waves)
    noise = np.random.default_rng(0).normal(0, 0.08, scene.shape).astype(np.float32)  # neighbours matter
    return from_unit(scene + noise), alpha.astype(np.float32)


def colours_of_edges(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    whole = estimate_foreground(unit_values(image), alpha).foreground * 255
    set_(foreground_module, "BAND_PIXELS", 64 * SIZE[1])
    seen = alpha[..., None] > 1 / 255
    return whole * seen, foreground_colours(image, alpha) * seen


def bands_of_layers(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    whole = estimate_foreground(unit_values(image), alpha).foreground
    set_(foreground_module, "BAND_PIXELS", 64 * SIZE[1])
    return whole * 255, estimate_foreground(unit_values(image), alpha).foreground * 255


def clean_cutout(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    from inpaint.pixels.tiles import OVERLAP_PX, clean_colours

    window = window_of(alpha > 0, OVERLAP_PX)
    whole = estimate_foreground(unit_values(image[window]), np.ascontiguousarray(alpha[window])).foreground * 255
    set_(foreground_module, "BAND_PIXELS", 64 * SIZE[1])
    seen = alpha[window][..., None] > 1 / 255
    return whole * seen, clean_colours(image, alpha)[window] * seen


def fringe(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    from inpaint.pixels.hole import matte_hole
    from inpaint.pixels.unmix import recover_fringe

    hole = matte_hole(alpha)
    fill = np.where(hole[..., None], np.uint8(128), image)
    whole = recover_fringe(image, alpha, hole, fill, tile_px=4096)
    return whole, recover_fringe(image, alpha, hole, fill, tile_px=128)


def overlay(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    from zim_plugins.core.overlay import draw_overlay
    from zim_plugins.imaging import overlay

    set_(overlay, "BAND_ROWS", 64)
    tiled = draw_overlay(image, alpha)
    set_(overlay, "BAND_ROWS", 4096)
    return draw_overlay(image, alpha), tiled


def laid_over(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    from inpaint.pixels.tiles import lay_over

    behind = image[::-1].copy()
    whole = from_unit(composite(unit_values(image), alpha, unit_values(behind)))
    return whole, lay_over(image, alpha, behind)


def local_matte(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Stands for a network: what it answers depends on 9 x 9 px; beyond its crop it has to guess."""
    sure = (trimap / np.float32(255)).astype(np.float32)
    light = 0.9 + 0.1 * unit_values(image).mean(axis=2)
    return ndimage.uniform_filter(sure * light, 9, mode="nearest").astype(np.float32)


def vitmatte(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    from zim_plugins.core.refinement.trimap import TrimapRule, trimap_of
    from zim_plugins.core.refinement.vitmatte import Tiling, VitMatteRefiner

    refiner = object.__new__(VitMatteRefiner)  # the tiles without weights
    refiner.rule, refiner._network = TrimapRule(), local_matte  # type: ignore[method-assign]
    trimap = trimap_of(alpha, band_px=6)
    answers = []
    for side_px in (4096, 192):
        refiner.tiling = Tiling(side_px=side_px, overlap_px=64)
        answers.append(refiner.matte(image, trimap) * 255)
    return answers[0][8:-8, 8:-8], answers[1][8:-8, 8:-8]


class LocalNetwork:
    """Stands for the converter: a matte that depends on 5 x 5 px of its mask and image."""

    def matte(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        light = 0.9 + 0.1 * image.mean(1, keepdim=True).tanh()
        return torch.nn.functional.avg_pool2d(mask * light, 5, 1, 2, count_include_pad=False)


def converter(image: np.ndarray, alpha: np.ndarray, set_: Callable[..., None]) -> Answers:
    from zim_plugins.label_converter.converter import ConvertSettings, MatteConverter

    mask, answers = alpha > 0.5, []
    for frames in ((1024,), (128,)):
        settings = ConvertSettings(frames_px=frames, margin_px=22, margin_share=0)  # 384 px: three tiles side by side
        found = MatteConverter(LocalNetwork(), settings=settings).convert(image, [mask])[0]  # type: ignore[arg-type]
        answers.append(found.full(*mask.shape) * 255)
    return answers[0], answers[1]


ROUTINES: list[Any] = [colours_of_edges, bands_of_layers, clean_cutout, fringe, overlay, laid_over, vitmatte, converter]


@pytest.mark.parametrize("routine", ROUTINES)
def test_tiled_equals_untiled(routine, layers, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, tiled = routine(*layers, monkeypatch.setattr)
    assert whole.std() > 10  # there is something to agree on
    assert np.abs(whole.astype(np.float32) - tiled).max() <= LEVELS
