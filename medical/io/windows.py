"""Windows: from a scanner's values to the 8-bit greys that the models were trained on."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

from .errors import ScanFault

WINDOWS = {"soft": (40.0, 400.0), "lung": (-600.0, 1500.0), "bone": (400.0, 1800.0), "brain": (40.0, 80.0)}
"""(level, width) [HU] by name; soft, lung and brain as MedSAM has them."""
PERCENTILES = (0.5, 99.5)
"""Of the values above 0, for images without a unit (MR, ultrasound, 16-bit images), as MedSAM has them."""
HOUNSFIELD_BELOW = -500.0
"""A volume that reaches below this is taken for CT: air is -1000 HU."""


@dataclass(frozen=True)
class Window:
    """Values shown as black and as white; `kind` "auto" and "none" decide by the data."""

    kind: str = "auto"
    level: float = 0.0
    width: float = 1.0


def parse_window(text: str) -> Window:
    """Read auto, none, a window's name, or "LEVEL,WIDTH".

    Raises:
        ValueError: none of these.
    """
    if text in ("auto", "none"):
        return Window(text)
    if text in WINDOWS:
        return Window(text, *WINDOWS[text])
    try:
        level, width = (float(part) for part in text.split(","))
    except ValueError:
        known = ", ".join(("auto", "none", *WINDOWS))
        raise ValueError(f"a window is {known} or LEVEL,WIDTH such as 40,400; got {text!r}") from None
    if not np.isfinite(level) or not np.isfinite(width) or width < 1:
        raise ValueError(f"a window's width is at least 1, got {text!r}")
    return Window("given", level, width)


def to_grey(
    values: Shaped[np.ndarray, "*any"], window: Window, *, is_ct: bool | None = None
) -> tuple[UInt8[np.ndarray, "*any"], dict[str, object]]:
    """Values as greys in [0, 255], and the window that was used.

    Args:
        values: of a whole volume or image: the same window holds for all its frames.
        window: `auto` is soft tissue where the values look like Hounsfield units, percentiles elsewhere.
        is_ct: what the file itself says; None where it does not.

    Raises:
        ScanFault: values that are not finite, or that do not fit into 8 bits although `window` is "none".
    """
    bad = int(values.size - np.isfinite(values).sum()) if values.dtype.kind == "f" else 0
    if bad:
        raise ScanFault("not-finite", f"NaN or infinite values: {bad}; --nan 0 takes them as 0")
    if window.kind == "none":
        if values.min() < 0 or values.max() > 255:
            raise ScanFault("window", f"values of {values.min():g}..{values.max():g} need a window: drop --window none")
        return values.astype(np.uint8), {"kind": "none"}
    kind, level, width = window.kind, window.level, window.width
    if kind == "auto" and (is_ct is True or (is_ct is None and values.min() < HOUNSFIELD_BELOW)):
        kind, (level, width) = "soft", WINDOWS["soft"]
    if kind == "auto":
        return _by_percentiles(values)
    low, high = level - width / 2, level + width / 2
    # MedSAM divides by the clipped volume's own range; the window's range is the same for every case.
    return _stretch(values, low, high), {"kind": kind, "low": low, "high": high}


def _by_percentiles(values: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
    inside = values[values > 0]
    if inside.size == 0:
        return np.zeros(values.shape, dtype=np.uint8), {"kind": "percentile", "low": 0.0, "high": 0.0}
    low, high = (float(p) for p in np.percentile(inside, PERCENTILES))
    grey = _stretch(values, low, high)
    grey[values <= 0] = 0
    return grey, {"kind": "percentile", "low": low, "high": high}


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.where(values > low, 255, 0).astype(np.uint8)
    clipped = np.clip(values.astype(np.float32), low, high)
    return ((clipped - low) / (high - low) * 255).astype(np.uint8)
