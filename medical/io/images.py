"""Images and their masks: PNG, JPEG, TIFF, BMP, GIF."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import Bool, Int32, UInt8

from zim_plugins.core import ImageError, read_image

from .errors import ScanFault
from .windows import Window, to_grey

logger = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM")
"""Whatever else Pillow can open is not asked for."""
MAX_PIXELS = 64_000_000
LOSSY = (".jpg", ".jpeg")
BINARY_ABOVE = 127
"""Masks drawn in 8 bits are true above this: JPEG and resampling leave stray greys (Kvasir-SEG's have 16 to 18)."""
MAX_LABELS = 64
"""More distinct values than this are no label map."""
LABELS_REMEDY = "--labels binary (true above 127), map (one class per value) or instances (one object per value)"
Mend = Callable[[np.ndarray], tuple[np.ndarray, tuple[str, ...]]]
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError)


def read_rgb(
    path: Path, window: Window, *, max_pixels: int = MAX_PIXELS, mend: Mend = lambda values: (values, ())
) -> tuple[UInt8[np.ndarray, "h w 3"], dict[str, object], tuple[str, ...]]:
    """An image as RGB, the window that was used, and notes; 16-bit and floating-point greys are windowed.

    Args:
        window: for greys of more than 8 bits.
        max_pixels: refuse larger images from their header.
        mend: takes values that are not finite out of greys, and says so.

    Raises:
        ScanFault: missing, damaged, too large or no image.
    """
    with _open(path, max_pixels) as opened:
        mode = opened.mode
        values = _load(opened) if mode.startswith("I") or mode == "F" else None
    if values is not None:
        kept = Window("auto") if window.kind == "none" else window
        values, mended = mend(values)
        grey, used = to_grey(values, kept, is_ct=False if kept.kind == "auto" else None)
        rgb = np.repeat(grey[..., None], 3, axis=2)
        return rgb, used, (f"{mode} greys windowed to 8 bits", *mended)
    try:
        image = read_image(path, max_pixels=max_pixels)
    except ImageError as error:
        raise ScanFault("damaged", "the image is damaged or of a kind that is not read") from error
    return image.rgb, {"kind": "none"}, image.notes


def read_values(path: Path, *, max_pixels: int = MAX_PIXELS) -> Int32[np.ndarray, "h w"]:
    """A mask's or label map's values as the file stores them; colours must be grey.

    A palette image answers with its greys where the palette is grey, else with its indices.

    Raises:
        ScanFault: damaged, too large, or coloured.
    """
    with _open(path, max_pixels) as opened:
        if opened.mode == "P":
            palette = np.asarray(opened.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
            indices = _load(opened)
            used = palette[np.unique(indices[indices < len(palette)])]
            is_grey = len(palette) > 0 and (used == used[:, :1]).all() and len(np.unique(used[:, 0])) == len(used)
            values = palette[indices, 0] if is_grey else indices
        elif opened.mode == "1":
            values = _load(opened).astype(np.int32) * 255
        elif opened.mode == "F":
            values = _load(opened)
            if not np.array_equal(values, np.rint(values)):
                raise ScanFault("label", "the mask holds fractions: save it with whole numbers")
        elif opened.mode.startswith("I") or opened.mode == "L":
            values = _load(opened)
        else:
            colours = np.asarray(opened.convert("RGB"))
            if (colours != colours[..., :1]).any():
                raise ScanFault("label", "the mask is a colour image: save one grey value per class")
            values = colours[..., 0]
    return values.astype(np.int32)


def above_threshold(values: Int32[np.ndarray, "h w"], *, lossy: bool = False) -> Bool[np.ndarray, "h w"]:
    """Return the binary mask that a file stores: its one value besides 0, or all above 127 where it holds several.

    Args:
        values: as stored.
        lossy: whether the file's format leaves stray greys (JPEG): then above 127 always.

    Raises:
        ScanFault: several values, none of them above 127: they are classes, or a soft mask in another range.
    """
    found = np.unique(values[values > 0])
    if lossy or len(found) > 1:
        if not lossy and found[-1] <= BINARY_ABOVE:
            raise ScanFault(
                "label",
                f"a mask of one object holds {_listed(found)}, all below the threshold of {BINARY_ABOVE}: "
                "classes are read with --dataset folder --labels map",
            )
        return values > BINARY_ABOVE
    return values > 0


def check_settled(values: Int32[np.ndarray, "h w"], value: int) -> None:
    """Raise ScanFault where a mask holds more than the one value that its data set's masks hold."""
    found = np.unique(values[values > 0])
    if not set(found.tolist()) <= {value}:
        raise ScanFault(
            "label",
            f"the mask holds {_listed(np.unique(values))}, the data set's other masks 0 and {value} only: say what "
            f"they are with {LABELS_REMEDY}",
        )


def guess_encoding(values: Int32[np.ndarray, "h w"], *, lossy: bool) -> str:
    """Return the encoding of a mask of a plain folder: "binary" or "map".

    Raises:
        ScanFault: it may be either; the message names its first values.
    """
    found = np.unique(values)
    if lossy or len(found) <= 2:
        return "binary"
    positive = found[found > 0]
    if len(positive) <= MAX_LABELS and positive[-1] <= MAX_LABELS:
        return "map"
    raise ScanFault(
        "label", f"the mask holds {len(found)} values ({_listed(found)}): say what they are with {LABELS_REMEDY}"
    )


def _listed(values: np.ndarray) -> str:
    return ", ".join(str(v) for v in values[:8].tolist()) + (", ..." if len(values) > 8 else "")


def _open(path: Path, max_pixels: int) -> PIL.Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            opened = PIL.Image.open(path, formats=FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise ScanFault(
            "limit", f"the image has more than {max_pixels / 1e6:g} megapixels: --max-pixels takes more"
        ) from error
    except FileNotFoundError as error:
        raise ScanFault("missing", "the file is not there") from error
    except _FAULTS as error:
        raise ScanFault("damaged", f"not an image of {', '.join(FORMATS)}") from error
    if opened.width * opened.height > max_pixels:
        size = f"{opened.width}x{opened.height}"
        opened.close()
        raise ScanFault(
            "limit", f"the image of {size} px has more than {max_pixels / 1e6:g} megapixels: --max-pixels takes more"
        )
    return opened


def _load(opened: PIL.Image.Image) -> np.ndarray:
    try:
        return np.asarray(opened)
    except _FAULTS as error:
        raise ScanFault("truncated", "the image is cut off or damaged") from error
