"""Shadows: proposed where there is one, and nowhere else."""

import numpy as np
import pytest

from inpaint.pixels.effects import propose_shadow
from inpaint.tasks.removal import remove

YY, XX = np.mgrid[:160, :240]
BALL = np.hypot(YY - 70, XX - 100) < 30
SHADOW = (((XX - 135) / 42) ** 2 + ((YY - 100) / 10) ** 2 < 1) & ~BALL


def scene(*, shadow: float = 0.55, tint: tuple[float, ...] = (1, 1, 1)) -> np.ndarray:
    """A ball on grainy ground; where its shadow falls the ground is darker, by `shadow` and in the colour `tint`."""
    rng = np.random.default_rng(0)
    ground = np.array([150, 140, 120]) + rng.normal(0, 8, (160, 240, 1))
    ground = np.where(SHADOW[..., None], ground * shadow * np.array(tint), ground)
    return np.where(BALL[..., None], np.array([190, 40, 30]), ground).clip(0, 255).astype(np.uint8)


def test_a_shadow_beside_the_contact_line_is_found() -> None:
    found = propose_shadow(scene(), BALL.astype(np.float32))
    assert (found & SHADOW).sum() / SHADOW.sum() > 0.9
    assert not (found & BALL).any() and (found & ~SHADOW).sum() < 1.2 * SHADOW.sum()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_at_every_size(size: int) -> None:
    image, ball = scene().repeat(size, 0).repeat(size, 1), BALL.repeat(size, 0).repeat(size, 1)
    found = propose_shadow(image, ball.astype(np.float32))
    shadow = SHADOW.repeat(size, 0).repeat(size, 1)
    assert (found & shadow).sum() / shadow.sum() > 0.85


@pytest.mark.parametrize(
    "made", [{"shadow": 1.0}, {"shadow": 0.9}, {"shadow": 0.6, "tint": (0.4, 0.7, 1.6)}], ids=["none", "faint", "blue"]
)
def test_no_shadow_is_seen_where_there_is_none(made) -> None:
    assert not propose_shadow(scene(**made), BALL.astype(np.float32)).any()


def test_darkness_above_the_object_is_no_shadow() -> None:
    assert not propose_shadow(scene()[::-1], BALL[::-1].astype(np.float32)).any()


@pytest.mark.parametrize("alpha", [np.zeros((160, 240), np.float32), np.ones((160, 240), np.float32)])
def test_no_object_and_nothing_else(alpha) -> None:
    assert not propose_shadow(scene(), alpha).any()


def test_removal_warns_and_takes_it_along_on_request() -> None:
    pytest.importorskip("cv2")
    from inpaint.inpainters.registry import load_inpainter

    image, filler = scene(), load_inpainter("cv2")
    left = remove(image, BALL.astype(np.float32), inpainter=filler)
    assert any("shadow" in warning and "--effects" in warning for warning in left.warnings)
    gone = remove(image, BALL.astype(np.float32), inpainter=filler, effects=True)
    assert (gone.hole & SHADOW).sum() / SHADOW.sum() > 0.9 and not any("--effects" in w for w in gone.warnings)
    assert np.array_equal(gone.image[~gone.hole], image[~gone.hole])
    assert gone.image[SHADOW].mean() > 1.4 * left.image[SHADOW & ~left.hole].mean()
