"""ZimLite: the embedded model. A pretrained convolutional trunk encodes an image once; prompts enter as maps.

The prompt (clicks, box, earlier matte) is drawn at stride 4 and joined with the image after the trunk, together with
**similarity maps**: the cosine between every position's key and the mean key under the clicks or in the box. Blocks of
self-attention at stride 16, residual decoders at strides 8 and 4, and a last step at stride 2 with the image's own
details give four candidates; a score head that pools the features inside and outside each candidate ranks them.

Same methods as `Zim`, so that backend, export and training use either.
"""

import copy
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from zim_plugins.core.checkpoints.pretrained import PretrainedModule
from zim_plugins.core.modeling.efficientnet_lite import (
    PIXEL_CENTRE,
    PIXEL_SCALE,
    ConvNorm,
    EfficientNetLite,
    LiteName,
    fold_norms,
)
from zim_plugins.core.modeling.zim_features import ImageFeatures
from zim_plugins.core.tokens import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD

CANDIDATES = 4
MAP_CHANNELS = 10
"""Box, has-box, nearness to the box's centre; foreground clicks sharp, near, far; background clicks sharp, near;
earlier matte, has-matte."""
DISK, NEAR, FAR = 5 / 256, 24 / 256, 96 / 256
"""Ranges of drawn clicks, as shares of the frame."""
FADING = (2, 4, 5, 7)
"""Maps that say how far something is."""
KEY_SOURCES = (3, 6, 2)
"""Maps under which keys are averaged: foreground disks, background disks, the box's centre."""


@dataclass(frozen=True)
class LiteConfig:
    """Everything that decides the shape of a `ZimLite`."""

    trunk: LiteName = "lite0"
    frame_px: int = 384
    dim: int = 192
    """Width at stride 16."""
    depth: int = 4
    """Self-attention blocks at stride 16."""
    width8: int = 96
    width4: int = 48
    width2: int = 24
    similarity: bool = True
    distance: bool = True
    """Draw how far clicks are, not only where they are."""
    candidates: int = CANDIDATES
    folded: bool = False
    """Whether batch norms are part of the convolutions, as in stored checkpoints."""

    @property
    def pixel_decoder(self) -> str:
        """Mattes, not masks: what `ZimConfig` calls the hierarchical pixel decoder."""
        return "hierarchical"

    @property
    def masked_attention(self) -> str:
        """No attention mask is taken: prompts enter as maps."""
        return "none"


def draw_prompt_maps(
    coords: Float[Tensor, "b n 2"],
    labels: Int[Tensor, "b n"],
    alpha: Float[Tensor, "b 1 f f"] | None,
    frame_px: int,
    stride: int = 4,
) -> Float[Tensor, "b 10 m m"]:
    """Draw prompts over the frame; every map lies in [0, 1], but the matte's, which lies in [-1, 1].

    Args:
        coords: XY in frame pixels.
        labels: 1 foreground, 0 background, 2 and 3 a box's corners, -1 padding.
        alpha: coarse mattes in [0, 1] over the frame, or None; a negative first value says "not given".
        frame_px: side of the frame [px].
        stride: frame pixels per map pixel.
    """
    m = frame_px // stride
    at = (torch.arange(m, device=coords.device, dtype=torch.float32) + 0.5) * stride
    coords = coords.float()
    dx2 = (at[None, None] - coords[..., 0:1]) ** 2
    dy2 = (at[None, None] - coords[..., 1:2]) ** 2
    square = dy2[..., :, None] + dx2[..., None, :]
    nearest = {}
    for kind in (FOREGROUND, BACKGROUND):
        other = (labels != kind)[..., None, None].float()
        nearest[kind] = (square + 1e9 * other).amin(1)

    def sharp(kind: int) -> Tensor:
        return torch.exp(-nearest[kind] / (2 * (DISK * frame_px) ** 2))

    def fading(kind: int, share: float) -> Tensor:
        return torch.exp(-nearest[kind].sqrt() / (share * frame_px))

    is_first, is_last = (labels == BOX_TOP_LEFT).float(), (labels == BOX_BOTTOM_RIGHT).float()
    first, last = (coords * is_first[..., None]).sum(1), (coords * is_last[..., None]).sum(1)
    boxed = is_first.amax(1)[:, None, None]
    covered = [
        ((at[None] - first[:, i : i + 1]) / stride + 0.5).clamp(0, 1)
        * ((last[:, i : i + 1] - at[None]) / stride + 0.5).clamp(0, 1)
        for i in (0, 1)
    ]
    box = boxed * covered[1][:, :, None] * covered[0][:, None, :]
    centre, size = (first + last) / 2, (last - first).clamp(min=1)
    away = [((at[None] - centre[:, i : i + 1]) / size[:, i : i + 1]) ** 2 for i in (0, 1)]
    central = box * torch.exp(-4 * (away[1][:, :, None] + away[0][:, None, :]))
    if alpha is None:
        matte, given = torch.zeros_like(box), torch.zeros_like(box)
    else:
        given = (alpha[:, 0, :1, :1] >= 0).float().expand_as(box)
        matte = given * (2 * F.avg_pool2d(alpha.float(), stride)[:, 0] - 1)
    maps = (
        box,
        boxed.expand_as(box),
        central,
        sharp(FOREGROUND),
        fading(FOREGROUND, NEAR),
        fading(FOREGROUND, FAR),
        sharp(BACKGROUND),
        fading(BACKGROUND, NEAR),
        matte,
        given,
    )
    return torch.stack(maps, dim=1)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut."""

    def __init__(self, channels: int, folded: bool) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, act="relu", folded=folded, eps=1e-5)
        self.second = ConvNorm(channels, channels, 3, act="none", folded=folded, eps=1e-5)
        if not folded:
            nn.init.zeros_(self.second.norm.weight)  # pyright: ignore

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(x + self.second(self.first(x)))


class Block(nn.Module):
    """Self-attention over the positions of a map, which a depthwise convolution tells apart; then an MLP."""

    def __init__(self, dim: int, heads: int = 4, ratio: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.lin1, self.lin2 = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        b, c, h, w = x.shape
        x = x + self.position(x)
        t = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm1(t)).reshape(b, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2).flatten(2)
        t = t + self.proj(attended)
        t = t + self.lin2(F.gelu(self.lin1(self.norm2(t))))
        return t.transpose(1, 2).reshape(b, c, h, w)


def _up(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class ZimLite(PretrainedModule):
    """The embedded promptable matting network; see the module's docstring."""

    model_type = "zim_plugins.zim_lite"

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        folded, d = config.folded, config.dim
        w8, w4, w2 = config.width8, config.width4, config.width2

        def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> ConvNorm:
            return ConvNorm(inputs, outputs, kernel, stride, act="relu", folded=folded, eps=1e-5)

        self.image_encoder = EfficientNetLite(config.trunk, folded)
        c2, c4, c8, c16, c32 = self.image_encoder.channels
        # The image alone, once.
        self.from32, self.from16, self.neck = conv(c32, d, 1), conv(c16, d, 1), conv(d, d)
        self.from8, self.from4 = conv(c8, w8, 1), conv(c4, w4, 1)
        self.from2 = conv(c2 + 3, w2, 3)
        self.key16, self.key8 = nn.Conv2d(d, 64, 1), nn.Conv2d(w8, 32, 1)
        # Prompts.
        self.prompt4, self.prompt8, self.prompt16 = conv(MAP_CHANNELS, 24), conv(24, 48, 3, 2), conv(48, 96, 3, 2)
        self.inject = nn.Conv2d(96 + 3, d, 1)
        self.blocks = nn.ModuleList(Block(d) for _ in range(config.depth))
        self.up8, self.join8 = nn.Conv2d(d, w8, 1), conv(2 * w8 + 48 + 3, w8, 1)
        self.refine8 = nn.Sequential(Residual(w8, folded), Residual(w8, folded))
        self.up4, self.join4 = nn.Conv2d(w8, w4, 1), conv(2 * w4 + 24, w4, 1)
        self.refine4 = Residual(w4, folded)
        self.up2, self.refine2 = nn.Conv2d(w4, w2, 1), Residual(w2, folded)
        self.coarse = nn.Conv2d(w8, config.candidates, 3, padding=1)
        """Candidates at stride 8: what the score head looks through."""
        self.middle = nn.Conv2d(w4, config.candidates, 3, padding=1)
        self.fine = nn.Conv2d(w2, config.candidates, 3, padding=1)
        self.score = nn.Sequential(nn.Linear(3 * d + 3, 128), nn.ReLU(), nn.Linear(128, 1))
        for head in (self.coarse, self.middle, self.fine):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, 0.0)  # pyright: ignore
        nn.init.constant_(self.coarse.bias, -1.0)  # pyright: ignore

    def config_values(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return json.loads(json.dumps(asdict(self.config) | {"encoder_kind": "lite"}))

    @classmethod
    def from_config_values(cls, values: dict[str, Any]) -> "ZimLite":
        """Return the network that `config_values` described, with fresh weights."""
        if values["encoder_kind"] != "lite":
            raise KeyError(f"encoder_kind {values['encoder_kind']} is a Zim")
        return cls(LiteConfig(**{key: value for key, value in values.items() if key != "encoder_kind"}))

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None, **more: Any) -> Path:
        """Write the network as `PretrainedModule` does; in half precision with its batch norms folded.

        The smallest variances of batch norms do not survive fp16.
        """
        if dtype not in (None, torch.float32) and not self.config.folded:
            return self.folded().save_pretrained(folder, dtype=dtype, **more)
        return super().save_pretrained(folder, dtype=dtype, **more)

    def folded(self) -> "ZimLite":
        """A copy in evaluation mode whose batch norms are part of its convolutions; it computes the same."""
        copied = copy.deepcopy(self).cpu().float().eval()
        fold_norms(copied)
        copied.config = replace(self.config, folded=True)
        return copied

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the weights."""
        return self.inject.weight.dtype

    def normalise(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 f f"]:
        """RGB in [0, 255], longest side the frame's, to the trunk's input, padded with the value of mid-grey."""
        frame = self.config.frame_px
        x = (image - PIXEL_CENTRE) / PIXEL_SCALE
        return F.pad(x, (0, frame - x.shape[-1], 0, frame - x.shape[-2])).to(self.dtype)

    def from_standardised(self, x: Float[Tensor, "b 3 f f"]) -> Float[Tensor, "b 3 f f"]:
        """Convert what SAM's and ZIM's own preprocessing yields (PIXEL_MEAN, PIXEL_STD) to this network's input."""
        mean = torch.tensor(PIXEL_MEAN, device=x.device, dtype=x.dtype).view(-1, 1, 1)
        std = torch.tensor(PIXEL_STD, device=x.device, dtype=x.dtype).view(-1, 1, 1)
        return (x * std + mean - PIXEL_CENTRE) / PIXEL_SCALE

    def encode(self, x: Float[Tensor, "b 3 f f"]) -> ImageFeatures:
        """Encode normalised, padded images: an embedding of stride 16, details of strides 2, 4 and 8."""
        f2, f4, f8, f16, f32 = self.image_encoder(x)
        embedding = self.neck(self.from16(f16) + _up(self.from32(f32)))
        details = [self.from2(torch.cat([f2, F.avg_pool2d(x, 2)], 1)), self.from4(f4), self.from8(f8)]
        return ImageFeatures(embedding, details)

    def prepare(self, features: ImageFeatures) -> ImageFeatures:
        """Do once what decoding would do for every call: keys of unit length at strides 16 and 8."""
        keys = [
            F.normalize(self.key16(features.embedding).float(), dim=1),
            F.normalize(self.key8(features.details[2]).float(), dim=1),
        ]
        return features._replace(projected=keys)

    def decode(
        self,
        features: ImageFeatures,
        coords: Float[Tensor, "b n 2"],
        labels: Int[Tensor, "b n"],
        alpha: Float[Tensor, "b 1 f f"] | None = None,
        mask: Float[Tensor, "b g g"] | None = None,
    ) -> tuple[Float[Tensor, "b k s s"], Float[Tensor, "b k"]]:
        """Decode one prompt per row; `features` hold one image for all of them, or one each.

        Args:
            features: what `encode` or `prepare` returned.
            coords: XY of clicks and box corners in frame pixels.
            labels: 1 foreground, 0 background, 2 and 3 a box's corners, -1 padding.
            alpha: coarse mattes in [0, 1] over the frame; a row of negative values has none.
            mask: always None: this network has no attention that a mask could steer.

        Returns:
            Logits at stride 2, best candidate first, and their estimated IoU in descending order.
        """
        (_, _, logits), scores = self.decode_candidates(features, coords, labels, alpha)
        order = scores.argsort(1, descending=True)
        index = order[:, :, None, None].expand(-1, -1, logits.shape[2], logits.shape[3])
        return logits.gather(1, index), scores.gather(1, order)

    def forward(
        self,
        image: Float[Tensor, "b 3 f f"],
        coords: Float[Tensor, "b n 2"],
        labels: Int[Tensor, "b n"],
        alpha: Float[Tensor, "b 1 f f"] | None = None,
    ) -> tuple[Float[Tensor, "b k f f"], Float[Tensor, "b k"]]:
        """One prompt for each normalised image: logits at the frame's own size, and estimated IoU."""
        logits, iou = self.decode(self.encode(image), coords, labels, alpha)
        return _up2(logits), iou

    def decode_candidates(
        self,
        features: ImageFeatures,
        coords: Float[Tensor, "b n 2"],
        labels: Int[Tensor, "b n"],
        alpha: Float[Tensor, "b 1 f f"] | None = None,
    ) -> tuple[
        tuple[Float[Tensor, "b k _ _"], Float[Tensor, "b k _ _"], Float[Tensor, "b k s s"]], Float[Tensor, "b k"]
    ]:
        """Logits at strides 8, 4 and 2 and estimated IoU, candidates in the network's own order."""
        if features.projected is None:
            features = self.prepare(features)
        embedding, (d2, d4, d8) = features.embedding, features.details
        key16, key8 = features.projected or []
        frame = embedding.shape[-1] * 16
        maps = draw_prompt_maps(coords, labels, alpha, frame)
        if not self.config.distance:
            maps = torch.stack([0 * m if i in FADING else m for i, m in enumerate(maps.unbind(1))], 1)
        b = maps.shape[0]
        p4 = self.prompt4(maps.to(embedding.dtype))
        p8 = self.prompt8(p4)
        p16 = self.prompt16(p8)
        x = embedding + self.inject(torch.cat([p16, self._similarity(key16, maps).to(p16.dtype)], 1))
        for block in self.blocks:
            x = block(x)
        y = torch.cat([_up(self.up8(x)), d8.expand(b, -1, -1, -1), p8, self._similarity(key8, maps).to(p8.dtype)], 1)
        y = self.refine8(self.join8(y))
        coarse = self.coarse(y).float()
        z = self.refine4(self.join4(torch.cat([_up(self.up4(y)), d4.expand(b, -1, -1, -1), p4], 1)))
        middle = _up(coarse) + self.middle(z).float()
        fine = self.refine2(_up(self.up2(z)) + d2)
        logits = _up2(middle) + self.fine(fine).float()
        return (coarse, middle, logits), self._scores(x, coarse)

    def _similarity(self, keys: Float[Tensor, "_ c h w"], maps: Float[Tensor, "b 10 m m"]) -> Float[Tensor, "b 3 h w"]:
        """Cosine of every key with the mean key under foreground clicks, background clicks and the box's centre."""
        size = (keys.shape[-2], keys.shape[-1])
        stride = maps.shape[-1] // size[1]
        sources = torch.stack([maps[:, i] for i in KEY_SOURCES], 1)  # a list as index would be copied from the host
        weights = F.avg_pool2d(sources, stride)
        if not self.config.similarity:
            return torch.zeros_like(weights)
        flat = weights.flatten(2)
        flat = flat / (flat.sum(2, keepdim=True) + 1e-3)
        k = keys.flatten(2)
        means = flat @ k.transpose(1, 2)
        return (means @ k).reshape(-1, len(KEY_SOURCES), *size)

    def _scores(self, x: Float[Tensor, "b c g g"], coarse: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k"]:
        """Estimated IoU: an MLP on the features pooled inside and outside each candidate, and on its area."""
        inside = F.avg_pool2d(coarse.detach(), 2).sigmoid().flatten(2)
        flat = x.float().flatten(2)
        n = inside.shape[2]
        area = inside.sum(2, keepdim=True)
        mean_in = torch.einsum("bkn,bcn->bkc", inside, flat) / (area + 1)
        mean_all = flat.mean(2)[:, None].expand_as(mean_in)
        mean_out = torch.einsum("bkn,bcn->bkc", 1 - inside, flat) / (n - area + 1)
        sure = ((inside - 0.5).abs() * 2).mean(2, keepdim=True)
        hard = (inside > 0.5).float()
        agree = (hard * inside).sum(2, keepdim=True) / (torch.maximum(hard, inside).sum(2, keepdim=True) + 1)
        seen = torch.cat([mean_in, mean_out, mean_all, area / n, sure, agree], 2)
        return self.score(seen.to(self.dtype)).float()[..., 0].sigmoid()


def _up2(x: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k _ _"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
