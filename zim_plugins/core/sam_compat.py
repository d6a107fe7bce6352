"""SamPredictor's own call, for those who migrate: `predict(point_coords=..., box=...)` answers with a 3-tuple."""

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from zim_plugins.core.predictor import ImagePredictor
from zim_plugins.core.prompt import Prompt

LOW_RES_PX = 256
"""Side of SAM's mask input, which covers the padded square frame."""
LOGIT_LIMIT = 16.0
"""Log-odds at which an opacity counts as 0 or 1."""


class SamStylePredictor:
    """An `ImagePredictor` behind the signature of segment-anything's `SamPredictor`.

    Wrap it, `SamStylePredictor(load_predictor())`, and leave the rest of the program as it is.

    Two things differ on purpose: masks are opacities (float32 in [0, 1]; SAM's masks are `alphas > 0.5`), and what
    cannot be served raises instead of being ignored.
    """

    def __init__(self, predictor: ImagePredictor) -> None:
        self.predictor = predictor
        self.original_size: tuple[int, int] | None = None

    def set_image(self, image: UInt8[np.ndarray, "h w 3"], image_format: str = "RGB") -> None:
        """Encode a picture; `image_format` is RGB or BGR."""
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"image_format is 'RGB' or 'BGR', got {image_format!r}")
        self.predictor.set_image(image if image_format == "RGB" else np.ascontiguousarray(image[..., ::-1]))
        self.original_size = (image.shape[0], image.shape[1])

    def reset_image(self) -> None:
        """Forget the picture."""
        self.original_size = None

    def predict(
        self,
        point_coords: Float[np.ndarray, "n 2"] | Int[np.ndarray, "n 2"] | None = None,
        point_labels: Int[np.ndarray, " n"] | None = None,
        box: Float[np.ndarray, "..."] | Int[np.ndarray, "..."] | None = None,
        mask_input: Float[np.ndarray, "1 256 256"] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[Float32[np.ndarray, "c h w"], Float32[np.ndarray, " c"], Float32[np.ndarray, "c 256 256"]]:
        """Matte what the prompt points at.

        Args:
            point_coords: XY [px].
            point_labels: 1 foreground, 0 background.
            box: X1 Y1 X2 Y2 [px], one box.
            mask_input: the third answer of an earlier call.
            multimask_output: answer with all candidates of the model, else with one.
            return_logits: not served; mattes are opacities.

        Returns:
            Opacities, scores, and log-odds over the padded square frame for the next call's `mask_input`.

        Raises:
            UnsupportedPrompt: the model cannot serve this combination of prompts.
            ValueError: several boxes, no prompt at all, or `return_logits`.
        """
        if self.original_size is None:
            raise ValueError("no picture is set: call set_image(image) first")
        if return_logits:
            raise ValueError("return_logits=True is not served: use the opacities, in [0, 1], as they are")
        if box is not None and np.size(box) != 4:
            raise ValueError(f"one box per call, X1 Y1 X2 Y2; got shape {np.shape(box)}: loop, or use predict_many")
        prompt = Prompt(
            points=None if point_coords is None else np.asarray(point_coords, dtype=np.float64),
            labels=None if point_labels is None else np.asarray(point_labels),
            box=None if box is None else np.asarray(box, dtype=np.float64).reshape(4),
            alpha=None if mask_input is None else self._alpha_from(mask_input),
        )
        prediction = self.predictor.predict(prompt, multimask=multimask_output)
        return prediction.alphas, prediction.scores, self._low_res_from(prediction.alphas)

    def _alpha_from(self, mask_input: Float[np.ndarray, "1 256 256"]) -> Float32[np.ndarray, "h w"]:
        """Log-odds over the padded frame to opacities of the picture."""
        import torch
        from torch.nn.functional import interpolate

        assert self.original_size is not None
        longest = max(self.original_size)
        logits = torch.from_numpy(np.asarray(mask_input, dtype=np.float32))[None]
        height, width = (max(1, round(LOW_RES_PX * side / longest)) for side in self.original_size)
        cropped = logits[..., :height, :width]
        return interpolate(cropped, self.original_size, mode="bilinear")[0, 0].sigmoid().numpy()

    def _low_res_from(self, alphas: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "c 256 256"]:
        """Opacities of the picture to log-odds over the padded frame, the padding certainly background."""
        import torch
        from torch.nn.functional import interpolate

        longest = max(alphas.shape[1:])
        height, width = (max(1, round(LOW_RES_PX * side / longest)) for side in alphas.shape[1:])
        small = interpolate(torch.from_numpy(alphas)[None], (height, width), mode="bilinear", antialias=True)[0]
        low_res = np.full((len(alphas), LOW_RES_PX, LOW_RES_PX), -LOGIT_LIMIT, dtype=np.float32)
        low_res[:, :height, :width] = torch.logit(small.double()).clamp(-LOGIT_LIMIT, LOGIT_LIMIT).float().numpy()
        return low_res
