"""ViTMatte of transformers behind any model: a trimap from its matte, then the object's crop, in tiles where large."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core.checkpoints.hub import hub_folder
from zim_plugins.core.checkpoints.whole_model import load_whole, model_type_of, transformers_class
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.refinement.trimap import FOREGROUND, UNKNOWN, TrimapRule, object_window, trimap_of
from zim_plugins.errors import CheckpointError
from zim_plugins.imaging.geometry import paste

DEFAULT = "hustvl/vitmatte-small-composition-1k"
"""What `--refine vitmatte` takes; Apache-2.0 by its card."""
DIVISOR = 32
"""Sides of what the network sees are multiples of it, padded with 0 at the right and below."""


@dataclass(frozen=True)
class Tiling:
    """Crops larger than `side_px` go through the network in tiles."""

    side_px: int = 1024
    """Longest side that is seen at once; attention over all of it costs its fourth power."""
    overlap_px: int = 128
    """Of neighbouring tiles, blended with a ramp."""


class VitMatteRefiner:
    """ViTMatte on the crop of an object.

    Args:
        folder: as `save_pretrained` writes it.
        device: a torch device.
        tiling: how large crops are divided.

    Raises:
        CheckpointError: the folder holds no ViTMatte, or not all of its weights.
        MissingExtra: transformers is not installed.
    """

    wants_uncertainty = True

    def __init__(self, folder: Path, *, device: str = "cpu", tiling: Tiling | None = None) -> None:
        if (kind := model_type_of(folder)) != "vitmatte":
            raise CheckpointError(f"{folder} holds a {kind}, no vitmatte: name one, such as {DEFAULT}")
        self.model = load_whole(transformers_class("VitMatteForImageMatting"), folder).to(device)
        self.device = device
        self.rule, self.tiling = TrimapRule(), tiling or Tiling()
        self.mean, self.std, self.scale = _normalisation(folder)

    def refine(
        self, image: UInt8[np.ndarray, "h w 3"], alpha: Float32[np.ndarray, "h w"], prompt: Prompt | None = None
    ) -> Float32[np.ndarray, "h w"]:
        """Return the matte with its unsure parts found by ViTMatte; unchanged where it holds no object.

        What the trimap calls sure is 1 or 0, as its authors' evaluation has it; beyond the object's window it is 0.
        """
        found = object_window(alpha, self.rule)
        if found is None:
            return alpha
        box, (x1, y1, x2, y2) = found
        crop = np.ascontiguousarray(image[y1:y2, x1:x2])
        trimap = trimap_of(alpha[y1:y2, x1:x2], self.rule, band_px=self.rule.band_px(box))
        return paste(self.matte(crop, trimap), (x1, y1, x2, y2), (alpha.shape[0], alpha.shape[1]))

    def matte(self, image: UInt8[np.ndarray, "h w 3"], trimap: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        """Return the matte for an image and its trimap (0, 128, 255), opacity in [0, 1]."""
        height, width = trimap.shape
        alpha = (trimap == FOREGROUND).astype(np.float32)
        unknown = trimap == UNKNOWN
        total, weight = np.zeros_like(alpha), np.zeros_like(alpha)
        for y, x, h, w in self._tiles(height, width):
            part = np.s_[y : y + h, x : x + w]
            if not unknown[part].any():
                continue
            ramp = self._ramp(h, y, height)[:, None] * self._ramp(w, x, width)[None]
            total[part] += ramp * self._network(image[part], trimap[part])
            weight[part] += ramp
        np.divide(total, weight, out=total, where=weight > 0)
        alpha[unknown] = total[unknown].clip(0, 1)
        return alpha

    def _tiles(self, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
        """Y, X, height and width of the tiles, evenly spread."""
        for y, h in _pieces(height, self.tiling):
            for x, w in _pieces(width, self.tiling):
                yield y, x, h, w

    def _ramp(self, length: int, start: int, whole: int) -> Float32[np.ndarray, " n"]:
        """Weights of a tile's rows or columns: falling only where a neighbour overlaps."""
        ramp = np.ones(length, np.float32)
        rise = (np.arange(min(self.tiling.overlap_px, length), dtype=np.float32) + 0.5) / self.tiling.overlap_px
        if start > 0:
            ramp[: len(rise)] = rise
        if start + length < whole:
            ramp[-len(rise) :] = np.minimum(ramp[-len(rise) :], rise[::-1])
        return ramp

    def _network(
        self, image: UInt8[np.ndarray, "h w 3"], trimap: UInt8[np.ndarray, "h w"]
    ) -> Float32[np.ndarray, "h w"]:
        import torch

        height, width = trimap.shape
        pixels = (image.astype(np.float32) * self.scale - self.mean) / self.std
        both = np.concatenate([pixels, trimap[..., None].astype(np.float32) * self.scale], axis=-1)
        x = torch.from_numpy(both).permute(2, 0, 1)[None]
        x = torch.nn.functional.pad(x, (0, -width % DIVISOR, 0, -height % DIVISOR))
        with torch.inference_mode():
            alphas = self.model(pixel_values=x.to(self.device)).alphas
        return alphas[0, 0, :height, :width].float().cpu().numpy()


def load_refiner(name: str | None, *, device: str = "cpu") -> VitMatteRefiner:
    """Return ViTMatte by folder or hub name; None is `DEFAULT`."""
    transformers_class("VitMatteForImageMatting")  # before anything is fetched
    return VitMatteRefiner(hub_folder(name or DEFAULT), device=device)


def _pieces(length: int, tiling: Tiling) -> Iterator[tuple[int, int]]:
    """Start and length of pieces that cover a side, with the tiling's overlap at least."""
    side = min(length, tiling.side_px)
    room = length - side
    count = 1 + -(-room // max(1, side - tiling.overlap_px)) if room else 1
    for i in range(count):
        yield (round(i * room / (count - 1)) if count > 1 else 0), side


def _normalisation(folder: Path) -> tuple[Any, Any, np.float32]:
    """Mean and standard deviation of RGB in [0, 1], and the scale from 8 bits, as the folder's processor has them."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        found, _ = ImageProcessingMixin.get_image_processor_dict(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no preprocessor_config.json: fetch the whole model") from error
    if (found.get("size_divisor") or found.get("size_divisibility") or DIVISOR) != DIVISOR:
        raise CheckpointError(f"{folder} pads to another multiple than {DIVISOR}, which is unknown here")
    half = (0.5, 0.5, 0.5)
    mean, std = (np.asarray(found.get(key) or half, np.float32) for key in ("image_mean", "image_std"))
    return mean, std, np.float32(found.get("rescale_factor") or 1 / 255)
