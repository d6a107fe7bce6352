"""Predictors from callables in MONAI's manner: networks, inferers and bundles on tensors (batch, channel, h, w)."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core import Prediction, Prompt, UnsupportedPrompt
from zim_plugins.imaging import unit_values

Takes = Literal["guidance", "points", "box"]
TAKES = ("guidance", "points", "box")
DEFAULT_SIGMA_PX = 3.0
"""Width of a click in guidance channels: in images of some hundred pixels, about what DeepEdit's clicks cover."""


class CallablePredictor:
    """Predictor over a callable on tensors, such as a MONAI network, inferer or bundle.

    The image goes in as float32 (1, C, H, W) in [0, 1]; what comes out is one channel (1, 1, H, W), or several, of
    which `channel` is the structure. Prompts are passed in one of three ways:

    - "guidance": as two further channels of the image, clicks inside and outside, as DeepGrow and DeepEdit take them.
      A box becomes its centre.
    - "points": as `points` (1, N, 2) and `point_labels` (1, N), in pixels (x, y), as SAM-like networks take them.
    - "box": as `box` (1, 4), x1, y1, x2, y2 [px].

    Args:
        function: called as function(image), function(image, points=..., point_labels=...) or function(image, box=...).
        takes: how prompts are passed.
        grey: give one channel, the mean of the three, rather than RGB.
        activation: that turns what comes out into opacity: "sigmoid", "softmax" over the channels, or "none".
        channel: of the answer, that is the structure.
        device: that tensors are put on.
        sigma_px: width of a click in guidance channels [px].

    Example:
        >>> bright = CallablePredictor(lambda image: image[:, :1], grey=True, activation="none")
        >>> bright.set_image(np.full((4, 6, 3), 255, np.uint8))
        >>> float(bright.predict(Prompt.from_point(2, 2)).alpha.mean())
        1.0
    """

    def __init__(
        self, function: Callable[..., Any], *, takes: Takes = "guidance", grey: bool = True,
        activation: Literal["sigmoid", "softmax", "none"] = "sigmoid", channel: int = 0, device: str = "cpu",
        sigma_px: float = DEFAULT_SIGMA_PX,
    ) -> None:  # fmt: skip
        if takes not in TAKES:
            raise ValueError(f"takes is {', '.join(TAKES)}, got {takes!r}")
        if activation not in ("sigmoid", "softmax", "none"):
            raise ValueError(f"activation is sigmoid, softmax or none, got {activation!r}")
        self.function, self.takes, self.grey, self.activation = function, takes, grey, activation
        self.channel, self.device, self.sigma_px = channel, device, sigma_px
        self.name = str(getattr(function, "__name__", type(function).__name__))
        self._image: Float32[np.ndarray, "c h w"] | None = None

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take an RGB image in [0, 255] for all prompts that follow."""
        planes = unit_values(image).transpose(2, 0, 1)
        self._image = np.ascontiguousarray(planes.mean(axis=0, keepdims=True) if self.grey else planes)

    def predict(self, prompt: Prompt) -> Prediction:
        """Call the function for one prompt.

        Raises:
            ValueError: no image is set, the prompt lies outside it, or the answer has another size.
            UnsupportedPrompt: the prompt is of a kind that is not passed on.
        """
        import torch

        if self._image is None:
            raise ValueError("an image must be set with .set_image(...) before prediction")
        size = self._image.shape[1], self._image.shape[2]
        prompt.check_inside(size)
        planes, options = self._arguments(prompt, size)
        with torch.inference_mode():
            answer = self.function(
                torch.from_numpy(planes[None]).to(self.device),
                **{name: torch.from_numpy(value).to(self.device) for name, value in options.items()},
            )
            if isinstance(answer, tuple | list):
                answer = answer[0]  # deep supervision: the first is the whole
            if self.activation == "softmax":
                answer = answer.softmax(dim=1)
            elif self.activation == "sigmoid":
                answer = answer.sigmoid()
            alpha = np.asarray(answer[0, self.channel].float().cpu().numpy())
        if alpha.shape != size:
            raise ValueError(f"the callable answers with {alpha.shape}, the image is {size}: wrap it in an inferer")
        alpha = np.clip(alpha, 0, 1).astype(np.float32)
        return Prediction(alpha[None], np.ones(1, dtype=np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Call the function for each prompt."""
        return [self.predict(prompt) for prompt in prompts]

    def _arguments(
        self, prompt: Prompt, size: tuple[int, int]
    ) -> tuple[Float32[np.ndarray, "channels h w"], dict[str, np.ndarray]]:
        assert self._image is not None
        points, labels = prompt.points, prompt.labels
        if self.takes == "box":
            if prompt.box is None or points is not None or prompt.alpha is not None:
                raise UnsupportedPrompt(f"{self.name} takes boxes only")
            return self._image, {"box": prompt.box[None].astype(np.float32)}
        if prompt.alpha is not None or (prompt.box is not None and self.takes == "points"):
            raise UnsupportedPrompt(f"{self.name} takes clicks only")
        if prompt.box is not None:
            centre = prompt.box.reshape(2, 2).mean(axis=0)[None]
            points = centre if points is None else np.concatenate([points, centre])
            labels = np.ones(1, dtype=np.int64) if labels is None else np.append(labels, 1)
        assert points is not None and labels is not None
        if self.takes == "points":
            return self._image, {"points": points[None].astype(np.float32), "point_labels": labels[None]}
        guides = [guidance(points[labels == label], size, self.sigma_px) for label in (1, 0)]
        return np.concatenate([self._image, np.stack(guides)]), {}


def guidance(points: np.ndarray, size: tuple[int, int], sigma_px: float) -> Float32[np.ndarray, "h w"]:
    """Return clicks (x, y) as a channel: a Gaussian of height 1 round each, the larger where they meet."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    drawn = np.zeros(size, dtype=np.float32)
    for x, y in points:
        distance = (columns - x) ** 2 + (rows - y) ** 2
        drawn = np.maximum(drawn, np.exp(-distance / (2 * sigma_px**2)).astype(np.float32))
    return drawn
