"""The official pair's two graphs as torch modules over any `Zim`: what is exported, and what an import answers with."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zim_plugins.core.backends.official import FRAME_PX, LOGITS_PX
from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.modeling.zim import Zim
from zim_plugins.core.modeling.zim_features import ImageFeatures
from zim_plugins.core.modeling.zim_lite import ZimLite


class EncoderGraph(nn.Module):
    """The official encoder's face over any `Zim`."""

    def __init__(self, zim: Zim | ZimLite) -> None:
        super().__init__()
        self.zim = zim

    def forward(self, image: Float[Tensor, "1 3 1024 1024"]) -> tuple[Tensor, ...]:
        """Encode an image, standardised, then zero-padded to the official frame.

        What is exactly 0 in all channels is padding (no 8-bit pixel is): networks in other frames have their own there.
        """
        pixels = self.zim.from_standardised(image)
        if self.zim.config.frame_px != FRAME_PX:
            inside = (image != 0).any(dim=1, keepdim=True).to(image.dtype)
            share = self._shrunk(inside)
            pixels = self._shrunk(pixels * inside) * (share > 0.5).to(image.dtype) / share.clamp(min=0.5)
        features = self.zim.encode(pixels)
        return (features.embedding, *features.details)

    def _shrunk(self, image: Float[Tensor, "1 c 1024 1024"]) -> Float[Tensor, "1 c f f"]:
        """Bilinear to twice the frame, then the mean of 2 x 2: no aliasing down to 256 px."""
        side = 2 * self.zim.config.frame_px
        return F.avg_pool2d(upsample(image, (side, side)), 2)


class DecoderGraph(nn.Module):
    """The official decoder's face over any `Zim`."""

    def __init__(self, zim: Zim | ZimLite) -> None:
        super().__init__()
        self.zim = zim

    def forward(
        self,
        feat_D0: Float[Tensor, "1 _ _ _"],
        feat_D1: Float[Tensor, "1 _ _ _"],
        feat_D2: Float[Tensor, "1 _ _ _"],
        image_embeddings: Float[Tensor, "1 _ _ _"],
        attn_mask: Float[Tensor, "b 64 64"],
        point_coords: Float[Tensor, "b n 2"],
        point_labels: Float[Tensor, "b n"],
    ) -> tuple[Float[Tensor, "b 4 512 512"], Float[Tensor, "b 4"]]:
        """Decode prompts in pixels of the official frame."""
        config = self.zim.config
        features = ImageFeatures(image_embeddings, [feat_D0, feat_D1, feat_D2])
        labels = point_labels.round().long()
        native = config.frame_px == FRAME_PX
        coords = point_coords if native else point_coords * (config.frame_px / FRAME_PX)
        # In another frame the mask has another grid: it is drawn anew inside, and the input only keeps its place.
        mask = attn_mask if native and config.masked_attention != "none" else None
        logits, iou = self.zim.decode(features, coords, labels, mask=mask)
        if mask is None:
            iou = iou + 0 * attn_mask.flatten(1).amax(1, keepdim=True)
        return logits if native else upsample(logits, (LOGITS_PX, LOGITS_PX)), iou
