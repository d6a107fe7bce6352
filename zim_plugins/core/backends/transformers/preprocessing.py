"""Images as transformers' own processors prepare them, read off a model's folder; torchvision is not needed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.transforms import frame_size
from zim_plugins.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

FILTERS = {2: "bilinear", 3: "bicubic"}
"""PIL's numbers of the filters that are reproduced here."""
SWITCHES = ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb")
"""Steps that every published model takes."""


@dataclass(frozen=True)
class Preprocessing:
    """Resizing, scaling and normalisation of a family's images."""

    frame_px: int
    """Side of the square frame [px]."""
    stretched: bool
    """Whether the image is stretched to the square; else its longest side fits and the rest is padded with 0."""
    mean: tuple[float, ...]
    """Subtracted from RGB in [0, 1]."""
    std: tuple[float, ...]
    """Then divided by."""
    scale: float = 1 / 255
    """From RGB in [0, 255]."""
    resample: int = 2
    """PIL's number of the filter; 2 is bilinear."""

    def read(self, folder: Path) -> "Preprocessing":
        """Return these settings with what a model's folder says otherwise.

        Raises:
            CheckpointError: the folder asks for a step or a frame that is unknown here.
        """
        from transformers.image_processing_base import ImageProcessingMixin

        try:
            found, _ = ImageProcessingMixin.get_image_processor_dict(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds no preprocessor_config.json, which says how to prepare images: fetch the whole model"
            ) from error
        off = [switch for switch in SWITCHES if found.get(switch) is False]
        resample = found.get("resample")
        if off or (resample is not None and resample not in FILTERS):
            asked = f"{', '.join(off)} off" if off else f"filter {resample}"
            raise CheckpointError(f"{folder} prepares images in a way that is unknown here ({asked})")
        sides = self._sides(found)
        if len(sides) > 1:
            raise CheckpointError(f"{folder} has a frame that is not square or not whole: {sorted(sides)} px")
        return replace(
            self,
            frame_px=sides.pop() if sides else self.frame_px,
            mean=tuple(found.get("image_mean") or self.mean),
            std=tuple(found.get("image_std") or self.std),
            scale=found.get("rescale_factor") or self.scale,
            resample=self.resample if resample is None else resample,
        )

    def _sides(self, found: dict[str, Any]) -> set[int]:
        """Every side of the frame that a processor's settings name [px]."""
        size, pad = found.get("size") or {}, found.get("pad_size") or {}
        if self.stretched:
            return {size[key] for key in ("height", "width") if size.get(key)}
        named = {size["longest_edge"]} if size.get("longest_edge") else set()
        return named | {pad[key] for key in ("height", "width") if pad.get(key)}

    def __call__(self, image: UInt8[np.ndarray, "h w 3"]) -> "Float32[Tensor, '1 3 s s']":
        """Prepare an RGB image in [0, 255]."""
        import torch
        from torch.nn.functional import pad

        size = frame_size((image.shape[0], image.shape[1]), self.frame_px, stretched=self.stretched)
        pixels = _resized(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], size, self.resample)
        mean = torch.tensor(self.mean).view(1, 3, 1, 1) / self.scale
        std = torch.tensor(self.std).view(1, 3, 1, 1) / self.scale
        pixels = (pixels.float() - mean) / std
        return pad(pixels, (0, self.frame_px - size[1], 0, self.frame_px - size[0]))


def _resized(pixels: "UInt8[Tensor, '1 3 h w']", size: tuple[int, int], resample: int) -> "UInt8[Tensor, '1 3 s t']":
    """Resize in 8 bits with an antialiased filter, as torchvision does and so transformers' processors."""
    import torch
    from torch.nn.functional import interpolate

    if pixels.shape[-2:] == size:
        return pixels
    mode = FILTERS[resample]
    if "AVX" in torch.backends.cpu.get_cpu_capability():
        return interpolate(pixels, size, mode=mode, antialias=True, align_corners=False)
    wide = interpolate(pixels.float(), size, mode=mode, antialias=True, align_corners=False)
    return wide.clamp_(0, 255).round_().to(torch.uint8)
