"""SAM's low-resolution log-odds: mattes to them, and they to mattes; they cover the model's frame with its padding."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.core.transforms import frame_size
from zim_plugins.imaging.ranges import as_array

LOGIT_LIMIT = 16.0
"""Log-odds at which an opacity counts as 0 or 1."""


def logit(alphas: Float32[np.ndarray, "*s"]) -> Float32[np.ndarray, "*s"]:
    """Opacities to log-odds, within `LOGIT_LIMIT`.

    >>> logit(np.array([0.0, 0.5, 1.0], np.float32)).tolist()
    [-16.0, 0.0, 16.0]
    """
    import torch

    odds = torch.logit(torch.from_numpy(np.ascontiguousarray(alphas)).double())
    return odds.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).float().numpy()


def enlarged(maps: Float32[np.ndarray, "b c _ _"], size: tuple[int, int]) -> Float32[np.ndarray, "b c _ _"]:
    """Maps resized to (H, W), bilinear; themselves where they have it."""
    import torch
    from torch.nn.functional import interpolate

    if maps.shape[2:] == tuple(size):
        return maps
    return interpolate(torch.from_numpy(np.ascontiguousarray(maps)), size, mode="bilinear", align_corners=False).numpy()


def log_odds(
    low_res: Float32[np.ndarray, "b c s s"], size: tuple[int, int], frame_px: int, *, stretched: bool
) -> Float32[np.ndarray, "b c h w"]:
    """Log-odds over the frame to log-odds of the image of `size` (H, W): SAM's own order of enlarging and cutting."""
    height, width = frame_size(size, frame_px, stretched=stretched)
    return enlarged(np.ascontiguousarray(enlarged(low_res, (frame_px, frame_px))[..., :height, :width]), size)


def low_resolution(
    alphas: Float32[np.ndarray, "b c h w"], side_px: int, *, stretched: bool
) -> Float32[np.ndarray, "b c s s"]:
    """Opacities of the image to log-odds over the frame, its padding certainly background."""
    import torch
    from torch.nn.functional import interpolate

    height, width = frame_size((alphas.shape[2], alphas.shape[3]), side_px, stretched=stretched)
    small = interpolate(torch.from_numpy(alphas), (height, width), mode="bilinear", antialias=True).numpy()
    low_res = np.full((*alphas.shape[:2], side_px, side_px), -LOGIT_LIMIT, dtype=np.float32)
    low_res[..., :height, :width] = logit(small.clip(0, 1))
    return low_res


def from_low_resolution(
    mask_input: Any, size: tuple[int, int], side_px: int, *, stretched: bool
) -> Float32[np.ndarray, "b h w"]:
    """Log-odds over the frame, (1, s, s) or (b, 1, s, s), to opacities of the image of `size` (H, W).

    Raises:
        TypeError: no array.
        ValueError: another shape, or NaN.
    """
    import torch
    from torch.nn.functional import interpolate

    given = as_array(mask_input, "mask_input")
    wanted = (1, side_px, side_px)
    if given.dtype.kind not in "fiub" or given.shape[-3:] != wanted or given.ndim not in (3, 4) or 0 in given.shape:
        raise ValueError(
            f"mask_input is the third answer of an earlier call, {wanted}, got {given.dtype} {given.shape}"
        )
    if not np.isfinite(given).all():
        raise ValueError("mask_input must be finite: there are NaN or infinite values")
    height, width = frame_size(size, side_px, stretched=stretched)
    logits = torch.from_numpy(given.astype(np.float32).reshape(-1, 1, side_px, side_px))[..., :height, :width]
    return interpolate(logits, size, mode="bilinear", align_corners=False)[:, 0].sigmoid().numpy()
