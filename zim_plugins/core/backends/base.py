"""Backend: one model in one runtime, living in its own square frame."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.core.transforms import image_to_frame


@runtime_checkable
class Backend(Protocol):
    """Model as `ImagePredictor` needs it. It knows no image but the one resized into its frame.

    One that finds the salient object without being pointed at says so by an attribute `supports_salient`, True.

    >>> from zim_plugins.core import load_predictor
    >>> isinstance(load_predictor("zim_tiny", device="cpu").backend, Backend)
    True
    """

    name: str
    """Checkpoint name, for records and messages."""
    frame_px: int
    """Side of the square frame [px]; an image's longest side is resized to it, its top-left corner kept."""
    activation: Literal["sigmoid", "step"]
    """How logits become alphas: `sigmoid` for a matting model, `step` (logit > 0) for a hard segmenter."""
    supports_clicks_and_box: bool
    """Whether one prompt may hold clicks and a box."""
    supports_alpha: bool
    """Whether a prompt may hold a coarse matte."""

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> Any:
        """Encode an RGB image whose longest side is `frame_px`; what comes back stays on the device."""
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


def is_stretched(backend: Backend) -> bool:
    """Return whether the backend's frame holds the image stretched to a square, as SAM 2 has it, without padding.

    A backend says so by an attribute `stretched`; without one its frame is padded.
    """
    return bool(getattr(backend, "stretched", False))


def encode_image(backend: Backend, image: UInt8[np.ndarray, "h w 3"]) -> Any:
    """Encode an RGB image of any size: resized into the frame here, or by the backend where it has its own way.

    A backend that must resize with its family's own filter has a method `encode_original`.
    """
    own = getattr(backend, "encode_original", None)
    return backend.encode(image_to_frame(image, backend.frame_px)) if own is None else own(image)
