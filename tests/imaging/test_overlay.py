"""Overlays and sheets at their edges: nothing to draw, one pixel, too much text, other depths."""

import numpy as np
import pytest

from zim_plugins.imaging import overlay
from zim_plugins.imaging.overlay import (
    BACKGROUND_CLICK,
    BOX_COLOUR,
    DARK_PAPER,
    FOREGROUND_CLICK,
    GAP_PX,
    LINE_PX,
    OUTLINE_COLOUR,
    captioned,
    dim,
    draw_errors,
    draw_marks,
    draw_outline,
    grey,
    joined,
    object_colour,
    outline_of,
    resized,
    shrunk,
    tint,
)

UNCHECKED_TINT = getattr(tint, "__wrapped__", tint)
"""Under the tests' own checks of shapes, whose message no user sees."""
PIXEL = np.full((1, 1, 3), 100, np.uint8)


def where(image: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int] | None:
    """Tight box of a colour."""
    ys, xs = np.nonzero((image == colour).all(axis=2))
    return None if len(xs) == 0 else (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)


def test_an_empty_matte_leaves_the_image_or_the_backdrop(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    nothing = np.zeros((9, 7), np.float32)
    np.testing.assert_array_equal(tint(image, nothing), image)
    np.testing.assert_array_equal(tint(image, nothing, backdrop=dim(image)), dim(image))
    assert tint(image, nothing) is not image and not outline_of(nothing > 0).any()
    np.testing.assert_array_equal(draw_outline(image, nothing > 0), image)
    assert not grey(nothing).any() and not draw_errors(nothing > 0, nothing > 0).any()


def test_one_pixel_is_an_image() -> None:
    assert tint(PIXEL, np.ones((1, 1), np.float32), (0, 0, 200)).tolist() == [[[50, 50, 150]]]
    assert draw_outline(PIXEL, np.ones((1, 1), bool)).tolist() == [[list(OUTLINE_COLOUR)]]
    assert draw_marks(PIXEL, clicks=[(0.5, 0.5, 1)]).tolist() == [[list(FOREGROUND_CLICK)]]
    assert draw_marks(PIXEL, boxes=[(0, 0, 1, 1)]).tolist() == [[list(BOX_COLOUR)]]
    assert resized(PIXEL, (3, 2)).tolist() == [[[100] * 3] * 2] * 3 and shrunk(PIXEL, 1).shape == (1, 1, 3)
    assert captioned(PIXEL, "much longer than one pixel").shape == (1 + LINE_PX, 1, 3)
    assert joined([PIXEL]).tolist() == PIXEL.tolist()


@pytest.mark.parametrize(("factor", "dtype"), [(257, np.uint16), (1 / 255, np.float32)])
def test_deep_and_floating_images_are_converted(rng: np.random.Generator, factor: float, dtype: type) -> None:
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    deep = (image * np.float64(factor)).astype(dtype)
    alpha = rng.random((6, 8), dtype=np.float32)
    for draw in (
        lambda im: tint(im, alpha),
        dim,
        lambda im: draw_outline(im, alpha > 0.5),
        lambda im: draw_marks(im, boxes=[(1, 1, 5, 5)]),
        lambda im: captioned(im, "a"),
        lambda im: joined([im, im]),
        lambda im: shrunk(im, 3),
    ):
        assert draw(deep).dtype == np.uint8
        np.testing.assert_array_equal(draw(deep), draw(image))


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (np.full((1, 1), np.nan, np.float32), "must be finite"),
        (np.full((1, 1), 255.0, np.float32), "divide by 255"),
        (np.ones((2, 1), np.float32), r"the matte is \(2, 1\), the image \(1, 1\)"),
    ],
)
def test_what_is_no_matte_of_the_image_is_refused(alpha: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNCHECKED_TINT(PIXEL, alpha)


def test_sizes_that_differ_are_refused() -> None:
    two = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="the backdrop is"):
        UNCHECKED_TINT(PIXEL, np.ones((1, 1), np.float32), backdrop=two)
    with pytest.raises(ValueError, match="the mask is"):
        getattr(draw_outline, "__wrapped__", draw_outline)(two, np.ones((1, 2), bool))
    with pytest.raises(ValueError, match="at least one image"):
        joined([])
    with pytest.raises(ValueError, match="one column"):
        joined([PIXEL], columns=0)


def test_bands_are_not_seen(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    image, alpha = rng.integers(0, 256, (50, 3, 3), dtype=np.uint8), rng.random((50, 3), dtype=np.float32)
    whole = tint(image, alpha, backdrop=dim(image))
    monkeypatch.setattr(overlay, "BAND_ROWS", 7)
    np.testing.assert_array_equal(tint(image, alpha, backdrop=dim(image)), whole)


def test_an_outline_is_scipys(rng: np.random.Generator) -> None:
    from scipy.ndimage import binary_erosion

    mask = rng.random((40, 30)) < 0.8
    np.testing.assert_array_equal(outline_of(mask), mask & ~np.asarray(binary_erosion(mask), dtype=bool))


def test_marks_lie_where_the_crop_shows_them() -> None:
    """The original's box 12,6 to 20,10, seen through a crop from 10,5 that is enlarged fourfold."""
    shown = draw_marks(
        np.zeros((80, 120, 3), np.uint8),
        clicks=[(30.0, 15.0, 1), (34.0, 6.0, 0)],
        boxes=[(12, 6, 20, 10)],
        origin=(10, 5),
        scale=(4, 4),
    )
    assert where(shown, BOX_COLOUR) == (8, 4, 40, 20)
    assert tuple(shown[40, 80]) == FOREGROUND_CLICK and tuple(shown[4, 96]) == BACKGROUND_CLICK


def test_marks_outside_the_image_are_cut_off() -> None:
    black = np.zeros((10, 10, 3), np.uint8)
    assert not draw_marks(black, clicks=[(50, 50, 1)]).any()
    assert where(draw_marks(black, boxes=[(-5, -5, 50, 50)]), BOX_COLOUR) == (0, 0, 10, 10)


def test_a_long_caption_is_cut_and_says_so() -> None:
    panel = np.zeros((10, 120, 3), np.uint8)
    short, long, longer = (captioned(panel, text) for text in ("slice 12", "slice " * 30, "slice " * 60))
    assert short.shape == long.shape == (10 + LINE_PX, 120, 3)
    np.testing.assert_array_equal(long, longer)
    assert (long[:, 116:] == DARK_PAPER)[10:].all() and not np.array_equal(short, long)
    np.testing.assert_array_equal(captioned(panel, "two\nlines"), captioned(panel, "two lines"))
    assert captioned(panel, ["a", "b"]).shape == (10 + 2 * LINE_PX, 120, 3)
    assert captioned(panel, "骨 кость").shape == short.shape


def test_a_sheet_places_images_of_any_size() -> None:
    a, b, c = (np.full((*size, 3), v, np.uint8) for size, v in (((2, 9), 1), ((5, 3), 2), ((4, 4), 3)))
    sheet = joined([a, b, c], columns=2, paper=(9, 9, 9))
    assert sheet.shape == (5 + GAP_PX + 4, 9 + GAP_PX + 3, 3)
    assert [where(sheet, (v, v, v)) for v in (1, 2, 3)] == [(0, 0, 9, 2), (13, 0, 16, 5), (0, 9, 4, 13)]
    assert (sheet[3, 0] == 9).all()


def test_masks_stay_masks_and_mattes_keep_their_range(rng: np.random.Generator) -> None:
    mask = rng.random((30, 20)) > 0.5
    for size in ((7, 9), (60, 40), (31, 5)):
        assert resized(mask, size).dtype == np.bool_ and resized(mask, size).shape == size
        alpha = resized(mask.astype(np.float32), size)
        assert 0 <= alpha.min() and alpha.max() <= 1
    np.testing.assert_array_equal(resized(mask, (30, 20)), mask)


def test_many_objects_have_colours_of_their_own() -> None:
    assert len({object_colour(index) for index in range(200)}) > 190
