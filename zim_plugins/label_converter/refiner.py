"""The label converter as a refinement of anybody's mask: `--refine converter`."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.label_converter.converter import MatteConverter


class ConverterRefiner:
    """A label converter behind a segmenter: its mask becomes a matte as a data set's masks do."""

    wants_uncertainty = False

    def __init__(self, converter: MatteConverter) -> None:
        self.converter = converter

    def refine(
        self, image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], prompt: Prompt | None = None
    ) -> Float32[np.ndarray, "h w"]:
        """Return the matte of the mask at one half; unchanged where the mask is empty."""
        mask = alpha > 0.5
        if not mask.any():
            return alpha
        return self.converter.convert(image, [mask])[0].full(*mask.shape)


def load_refiner(name: str | None, *, device: str = "cpu") -> ConverterRefiner:
    """Return the refiner of a converter's checkpoint; None is the shipped one.

    Raises:
        CheckpointError: the file is missing or no converter.
    """
    from zim_plugins.label_converter.checkpoint import CONVERTER_TINY

    return ConverterRefiner(MatteConverter.load(Path(name).expanduser() if name else CONVERTER_TINY, device))
