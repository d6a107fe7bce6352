"""Backend: one model in one runtime, living in its own square frame."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prompt import Prompt


@runtime_checkable
class Backend(Protocol):
    """What `ImagePredictor` needs of a model. It knows no picture but the one resized into its frame."""

    name: str
    """Checkpoint name, for records and messages."""
    frame_px: int
    """Side of the square frame [px]; a picture's longest side is resized to it, its top-left corner kept."""
    activation: Literal["sigmoid", "step"]
    """How logits become alphas: `sigmoid` for a matting model, `step` (logit > 0) for a hard segmenter."""
    supports_clicks_and_box: bool
    """Whether one prompt may hold clicks and a box."""
    supports_alpha: bool
    """Whether a prompt may hold a coarse matte."""

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> Any:
        """Encode an RGB picture whose longest side is `frame_px`; what comes back stays on the device."""
        ...

    def decode(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode prompts given in frame coordinates [px].

        A prompt's coarse matte, if any, has shape (frame_px, frame_px).

        Returns:
            Logits over the padded square frame at the decoder's own stride, and the scores of the candidates:
            one candidate where `multimask` is False, else all that the model offers.
        """
        ...
