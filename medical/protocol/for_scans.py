"""Adaptations of a model of photographs to scans, as the command line asks for them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from zim_plugins.core import Predictor, encoding_predictor

from .click_scales import ClickScaledPredictor
from .polarities import BothPolarities
from .tight_boxes import TightBoxes

Asked = Literal["auto", "yes", "no"]
SMALL_FRAME_PX = 1024
"""Below this frame a model is one of the small ones, for which `auto` is yes."""


@dataclass(frozen=True)
class ForScans:
    """Adaptations that are asked for; auto is yes for small models, whose frame is below `SMALL_FRAME_PX`."""

    click_scales: Asked = "no"
    """Clicks are answered at their own scale (`ClickScaledPredictor`)."""
    polarities: Asked = "no"
    """All prompts but a single click are answered on the image and on its negative (`BothPolarities`)."""
    tight_boxes: Asked = "no"
    """Boxes are taken to be tight (`TightBoxes`)."""

    def adapted(self, predictor: Predictor) -> tuple[Predictor, dict[str, Any]]:
        """Return the adapted predictor, and what a record says of it.

        >>> from zim_plugins.core import load_predictor
        >>> model = load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
        >>> found, record = ForScans(tight_boxes="auto").adapted(model)
        >>> type(found).__name__, record
        ('TightBoxes', {'click_scales': None, 'polarities': False, 'tight_boxes': 4.0})
        >>> ForScans().adapted(model)[0] is model
        True
        """
        frame_px = encoding_predictor(predictor).frame_px
        is_small = frame_px is not None and frame_px < SMALL_FRAME_PX
        record: dict[str, Any] = {"click_scales": None, "polarities": False, "tight_boxes": None}
        if _means_yes(self.polarities, is_small):
            predictor = BothPolarities(predictor)
            record["polarities"] = True
        if _means_yes(self.click_scales, is_small):
            predictor = scaled = ClickScaledPredictor(predictor)
            record["click_scales"] = asdict(scaled.how)
        if _means_yes(self.tight_boxes, is_small):
            predictor = tight = TightBoxes(predictor)
            record["tight_boxes"] = tight.limit
        return predictor, record


def _means_yes(asked: Asked, is_small: bool) -> bool:
    return asked == "yes" or (asked == "auto" and is_small)
