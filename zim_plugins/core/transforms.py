"""Between an image and a model's frame.

SAM, ZIM and their like resize the longest side to the frame's and pad the rest; SAM 2 and its kin stretch the image to
the square (`stretched`).

All geometry of the project that concerns frames is here: nothing else resizes images, prompts or mattes for a model.
"""

from typing import Literal

import numpy as np
import PIL.Image
from jaxtyping import Float, Float32, UInt8

from zim_plugins.core.prompt import Prompt
from zim_plugins.imaging.geometry import tight_box

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of the training images, RGB in [0, 255]; SAM, ZIM and zim_tiny share it."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation, RGB in [0, 255]."""


def frame_size(size: tuple[int, int], frame_px: int, *, stretched: bool = False) -> tuple[int, int]:
    """Size (H, W) of an image in the frame, as SAM rounds it; no side becomes 0. Stretched, it fills the frame."""
    if stretched:
        return frame_px, frame_px
    scale = frame_px / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def image_to_frame(image: UInt8[np.ndarray, "h w 3"], frame_px: int) -> UInt8[np.ndarray, "s t 3"]:
    """Resize an image so that its longest side is `frame_px` (antialiased bilinear, as SAM and ZIM do)."""
    height, width = image.shape[:2]
    size = frame_size((height, width), frame_px)
    if size == (height, width):
        return image
    return np.asarray(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR))


def points_to_frame(
    points: Float[np.ndarray, "n 2"], size: tuple[int, int], frame_px: int, *, stretched: bool = False
) -> Float[np.ndarray, "n 2"]:
    """XY in an image of `size` (H, W) to XY in the frame [px]."""
    height, width = frame_size(size, frame_px, stretched=stretched)
    return points * np.array([width / size[1], height / size[0]])


def prompt_to_frame(prompt: Prompt, size: tuple[int, int], frame_px: int, *, stretched: bool = False) -> Prompt:
    """A prompt on an image of `size` (H, W) as a prompt in the frame; boxes are clipped to the image.

    A coarse matte becomes (frame_px, frame_px), zero in the padding.
    """
    points = None if prompt.points is None else points_to_frame(prompt.points, size, frame_px, stretched=stretched)
    box = None
    if prompt.box is not None:
        limits = np.array([size[1], size[0]] * 2, dtype=np.float64)
        clipped = np.clip(prompt.box, 0, limits)
        box = points_to_frame(clipped.reshape(2, 2), size, frame_px, stretched=stretched).reshape(4)
    alpha = None
    if prompt.alpha is not None:
        height, width = frame_size(size, frame_px, stretched=stretched)
        small = PIL.Image.fromarray(prompt.alpha.astype(np.float32)).resize(
            (width, height), PIL.Image.Resampling.BILINEAR
        )
        alpha = np.zeros((frame_px, frame_px), dtype=np.float32)
        alpha[:height, :width] = np.asarray(small).clip(0, 1)
    return Prompt(points=points, labels=prompt.labels, box=box, alpha=alpha, is_salient=prompt.is_salient)


def logits_to_alphas(
    logits: Float32[np.ndarray, "c s s"],
    size: tuple[int, int],
    frame_px: int,
    activation: Literal["sigmoid", "step"] = "sigmoid",
    *,
    stretched: bool = False,
) -> Float32[np.ndarray, "c h w"]:
    """Logits over the frame to alphas of the image.

    Bilinear to the frame, padding cut off, bilinear to the image, then the activation: the order of SAM's and ZIM's own
    post-processing. Where the frame is a stretched image, one step leads to the image's size, as SAM 2 has it.
    """
    import torch
    from torch.nn.functional import interpolate

    x = torch.from_numpy(np.ascontiguousarray(logits))[None]
    if not stretched:
        height, width = frame_size(size, frame_px)
        x = interpolate(x, (frame_px, frame_px), mode="bilinear", align_corners=False)[..., :height, :width]
    x = interpolate(x, size, mode="bilinear", align_corners=False)[0]
    if activation == "step":
        return (x > 0).float().numpy()
    return x.sigmoid_().numpy()


def within_image(
    maps: Float32[np.ndarray, "*b s s"], size: tuple[int, int], frame_px: int, *, stretched: bool = False
) -> Float32[np.ndarray, "*b t u"]:
    """Maps over the padded frame without the cells that lie wholly in its padding; `size` (H, W) is the image's."""
    height, width = (-(-side * maps.shape[-1] // frame_px) for side in frame_size(size, frame_px, stretched=stretched))
    return maps[..., :height, :width]


def support_box(alpha: Float32[np.ndarray, "h w"], threshold: float) -> Float[np.ndarray, " 4"] | None:
    """X1 Y1 X2 Y2 [px] round the pixels above the threshold, outer edges; None where there is none."""
    box = tight_box(alpha > threshold)
    return None if box is None else np.array(box, dtype=np.float64)
