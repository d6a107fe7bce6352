"""Overlays: mattes, masks and prompts drawn over images, and images joined into sheets with captions.

One palette and one stroke for every command's images. An image may come in uint8, uint16 or floating point in [0, 1],
as everywhere (`zim_plugins.imaging.ranges`); what is drawn is RGB of 8 bits, a new array.
"""

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from jaxtyping import Bool, UInt8

from zim_plugins.imaging.ranges import AlphaArray, ImageArray, as_mask, from_unit, to_alpha, to_uint8

__all__ = (
    "Colour", "captioned", "dim", "draw_errors", "draw_marks", "draw_outline", "grey", "joined", "object_colour",
    "outline_of", "resized", "shrunk", "tint",
)  # fmt: skip

Colour = tuple[int, int, int]
"""RGB in [0, 255]."""

OBJECT_TINT: Colour = (20, 110, 255)
REFERENCE_TINT: Colour = (60, 200, 90)
TINT_OPACITY = 0.5
BACKGROUND_DIMMING = 0.25
"""Share of its brightness that a dimmed background loses."""
OUTLINE_COLOUR: Colour = (255, 255, 255)
OUTLINE_PX = 1

FOREGROUND_CLICK: Colour = (40, 200, 60)
BACKGROUND_CLICK: Colour = (230, 40, 40)
CLICK_RIM: Colour = (255, 255, 255)
BOX_COLOUR: Colour = (255, 210, 0)
RELATIVE_CLICK_RADIUS = 0.012
"""Radius of a drawn click as a share of the image's long side."""
MIN_CLICK_RADIUS_PX = 4.0

AGREED: Colour = (235, 235, 235)
MISSED: Colour = (40, 90, 255)
WRONG: Colour = (240, 50, 40)

LIGHT_PAPER: Colour = (255, 255, 255)
DARK_PAPER: Colour = (20, 20, 20)
LIGHT_INK: Colour = (235, 235, 235)
ACCEPTED_INK: Colour = (30, 110, 40)
REJECTED_INK: Colour = (180, 30, 30)
GAP_PX = 4
"""Space between the images of a sheet."""
LINE_PX = 16
"""Height of one line of a caption."""
FONT_PX = 12

BAND_ROWS = 16
"""Rows that are blended at once: what a core's cache holds of a large image."""


def tint(
    image: ImageArray, alpha: AlphaArray, colour: Colour = OBJECT_TINT, *, backdrop: ImageArray | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image with a colour laid over the object by `TINT_OPACITY`.

    >>> tint(np.full((1, 2, 3), 100, np.uint8), np.array([[0.0, 1.0]]), (255, 0, 0)).tolist()
    [[[100, 100, 100], [178, 50, 50]]]

    Args:
        image: RGB.
        alpha: opacity of the object, or its mask, at the image's size.
        colour: RGB in [0, 255].
        backdrop: what shows round the object, at the image's size; by default the image itself.

    Raises:
        ValueError: sizes differ, or values are no image's or no matte's.
    """
    rgb = to_uint8(image)
    opacity = to_alpha(alpha, size=rgb.shape[:2])
    behind = rgb if backdrop is None else to_uint8(backdrop, "backdrop")
    if behind.shape != rgb.shape:
        raise ValueError(f"the backdrop is {behind.shape[:2]}, the image {rgb.shape[:2]} (height, width)")
    drawn = np.empty_like(rgb)
    laid_over = np.float32(TINT_OPACITY) * np.array(colour, dtype=np.float32)
    for top in range(0, len(rgb), BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        share = opacity[rows][..., None]
        mixed = rgb[rows] * np.float32(1 - TINT_OPACITY)
        mixed += laid_over
        mixed *= share
        mixed += behind[rows] * (1 - share)
        mixed += np.float32(0.5)
        drawn[rows] = np.clip(mixed, 0, 255, out=mixed)
    return drawn


def dim(image: ImageArray) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image darker by `BACKGROUND_DIMMING`, as a background for `tint`.

    >>> dim(np.full((1, 1, 3), 200, np.uint8)).tolist()
    [[[150, 150, 150]]]
    """
    darker = np.arange(256) * (1 - BACKGROUND_DIMMING) + 0.5
    return darker.astype(np.uint8)[to_uint8(image)]


def object_colour(index: int) -> Colour:
    """Return the colour of the object at a place, from 0; neighbours differ most, and none returns.

    >>> object_colour(0), object_colour(1)
    ((38, 151, 255), (214, 255, 38))
    """
    hue = (0.58 + index * 0.618034) % 1.0  # steps of the golden section
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def outline_of(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the mask's outermost `OUTLINE_PX` pixels, those at the image's border included.

    >>> outline_of(np.ones((3, 4), bool)).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    inner = as_mask(mask)
    for _ in range(OUTLINE_PX):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def draw_outline(
    image: ImageArray, mask: Bool[np.ndarray, "h w"], colour: Colour = OUTLINE_COLOUR
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image with the mask's outline in a colour.

    >>> draw_outline(np.zeros((3, 3, 3), np.uint8), np.ones((3, 3), bool))[..., 0].tolist()
    [[255, 255, 255], [255, 0, 255], [255, 255, 255]]

    Raises:
        ValueError: sizes differ.
    """
    drawn = to_uint8(image, copy=True)
    if mask.shape != drawn.shape[:2]:
        raise ValueError(f"the mask is {mask.shape}, the image {drawn.shape[:2]} (height, width)")
    drawn[outline_of(mask)] = colour
    return drawn


def draw_marks(
    image: ImageArray,
    *,
    clicks: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    origin: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] = (1.0, 1.0),
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the image with clicks as discs, green inside and red outside the object, and boxes in yellow.

    >>> shown = draw_marks(np.zeros((20, 20, 3), np.uint8), clicks=[(5, 5, 1)], boxes=[(1, 1, 19, 19)])
    >>> shown[5, 5].tolist(), shown[1, 18].tolist(), shown[19, 19].tolist()
    ([40, 200, 60], [255, 210, 0], [0, 0, 0])

    Args:
        image: RGB; may be a crop of the original, enlarged or shrunk.
        clicks: x, y and label each, 1 foreground, 0 background [px of the original].
        boxes: x1, y1, x2, y2 each, exclusive at the far edge [px of the original].
        origin: x, y in the original of the image's top-left corner [px].
        scale: pixels of the image for one of the original, along x and y.
    """
    drawn = PIL.Image.fromarray(to_uint8(image))
    pen = PIL.ImageDraw.Draw(drawn)
    radius_px = max(MIN_CLICK_RADIUS_PX, RELATIVE_CLICK_RADIUS * max(drawn.size))
    rim_px = max(1, round(radius_px / 4))

    def placed(x: float, y: float) -> tuple[float, float]:
        return (float(x) - origin[0]) * scale[0], (float(y) - origin[1]) * scale[1]

    for box in boxes:
        # Indices of the outermost pixels that the box covers.
        (left, top), (right, bottom) = placed(*box[:2]), placed(*box[2:])
        x1, y1 = max(0, math.floor(left)), max(0, math.floor(top))
        x2, y2 = min(drawn.width, math.ceil(right)) - 1, min(drawn.height, math.ceil(bottom)) - 1
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=BOX_COLOUR, width=rim_px + 1)
    for x, y, label in clicks:
        cx, cy = placed(x, y)
        extent = (cx - radius_px, cy - radius_px, cx + radius_px, cy + radius_px)
        pen.ellipse(extent, fill=FOREGROUND_CLICK if label == 1 else BACKGROUND_CLICK, outline=CLICK_RIM, width=rim_px)
    return np.array(drawn)


def grey(alpha: AlphaArray) -> UInt8[np.ndarray, "h w 3"]:
    """Return a matte or a mask as a grey image, white where it is opaque.

    >>> grey(np.array([[0.0, 1.0]]))[0].tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    return np.repeat(from_unit(to_alpha(alpha), halves_up=True)[..., None], 3, axis=2)


def draw_errors(truth: Bool[np.ndarray, "h w"], answer: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a mask's errors on black: near-white where both agree on the object, blue if missed, red if wrong.

    >>> draw_errors(np.array([[True, True, False]]), np.array([[True, False, True]]))[0].tolist()
    [[235, 235, 235], [40, 90, 255], [240, 50, 40]]
    """
    drawn = np.zeros((*truth.shape, 3), dtype=np.uint8)
    drawn[truth & answer], drawn[truth & ~answer], drawn[~truth & answer] = AGREED, MISSED, WRONG
    return drawn


def resized(image: Any, size: tuple[int, int]) -> Any:
    """Return an image, a matte or a mask at another size: averaged where it shrinks, interpolated where it grows.

    >>> resized(np.array([[0.0, 1.0]], np.float32), (1, 1)).tolist(), resized(np.ones((1, 1), bool), (2, 1)).tolist()
    ([[0.5]], [[True], [True]])

    Args:
        image: uint8 of shape (h, w, 3), or float32 or bool of shape (h, w).
        size: (H, W) [px], at least 1 each.

    Returns:
        Of the same type; a mask is True where more than half of what is averaged is.
    """
    if image.dtype == np.bool_:
        return resized(image.astype(np.float32), size) > 0.5
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    filtered = PIL.Image.Resampling.BOX if shrinks else PIL.Image.Resampling.BILINEAR
    return np.array(PIL.Image.fromarray(image).resize((size[1], size[0]), filtered))


def shrunk(image: ImageArray, height_px: int) -> UInt8[np.ndarray, "less_h less_w 3"]:
    """Return the image no higher than that, in its proportions; a lower one as it is.

    >>> shrunk(np.zeros((40, 60, 3), np.uint8), 20).shape, shrunk(np.zeros((4, 6, 3), np.uint8), 20).shape
    ((20, 30, 3), (4, 6, 3))
    """
    rgb = to_uint8(image)
    height, width = rgb.shape[:2]
    return rgb if height <= height_px else resized(rgb, (height_px, max(1, round(width * height_px / height))))


def captioned(
    image: ImageArray, lines: str | Sequence[str], *, ink: Colour = LIGHT_INK, paper: Colour = DARK_PAPER
) -> UInt8[np.ndarray, "h_all w 3"]:
    """Return the image with lines of text below; a line that is longer than the image is wide ends in "...".

    >>> captioned(np.zeros((30, 40, 3), np.uint8), ["one", "a second line"]).shape
    (62, 40, 3)
    """
    rgb = to_uint8(image)
    texts = [lines] if isinstance(lines, str) else lines
    height, width = rgb.shape[:2]
    drawn = PIL.Image.new("RGB", (width, height + LINE_PX * len(texts)), paper)
    drawn.paste(PIL.Image.fromarray(rgb), (0, 0))
    pen, font = PIL.ImageDraw.Draw(drawn), PIL.ImageFont.load_default(FONT_PX)
    for i, text in enumerate(texts):
        whole = kept = " ".join(text.split())
        while kept and pen.textlength(kept if kept == whole else kept + "...", font=font) > width - 4:
            kept = kept[:-1]
        shown = kept if kept == whole or not kept else kept + "..."
        pen.text((2, height + LINE_PX * i), shown, fill=ink, font=font)
    return np.array(drawn)


def joined(
    images: Sequence[np.ndarray], *, columns: int | None = None, gap_px: int = GAP_PX, paper: Colour = LIGHT_PAPER
) -> UInt8[np.ndarray, "sheet_h sheet_w 3"]:
    """Return images in rows of so many columns, in reading order, as large as the largest of each row and column.

    >>> joined([np.zeros((4, 6, 3), np.uint8)] * 3, columns=2, gap_px=1).shape
    (9, 13, 3)

    Args:
        images: RGB, of any sizes.
        columns: by default as many as images, one row.
        gap_px: between neighbours.
        paper: colour of what no image covers.

    Raises:
        ValueError: there is no image, or no column.
    """
    tiles = [to_uint8(image) for image in images]
    across = len(tiles) if columns is None else min(columns, len(tiles))
    if across < 1:
        raise ValueError(f"a sheet needs at least one image and one column, got {len(tiles)} images, columns={columns}")
    rows = [tiles[i : i + across] for i in range(0, len(tiles), across)]
    widths = [max(row[k].shape[1] for row in rows if k < len(row)) for k in range(across)]
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    size = sum(heights) + gap_px * (len(rows) - 1), sum(widths) + gap_px * (across - 1)
    sheet = np.full((*size, 3), paper, dtype=np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile, width in zip(row, widths, strict=False):
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += width + gap_px
        top += height + gap_px
    return sheet
