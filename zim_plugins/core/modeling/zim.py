"""Zim: image encoder, prompt encoder, mask decoder; SAM is the same module with SAM's pixel decoder and no mask."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from zim_plugins.core.checkpoints.damage import UNREADABLE
from zim_plugins.core.checkpoints.pretrained import PretrainedModule
from zim_plugins.core.checkpoints.weight_file import read_weight_file, write_weight_file
from zim_plugins.core.modeling.attention import prompt_attention_mask
from zim_plugins.core.modeling.dense_prompt import DensePromptEncoder, draw_prompts
from zim_plugins.core.modeling.image_encoder import VIT_CONFIGS, ImageEncoderViT, ViTConfig
from zim_plugins.core.modeling.layers import upsample
from zim_plugins.core.modeling.mask_decoder import MaskDecoder
from zim_plugins.core.modeling.pixel_decoder import DetailStem, HierarchicalPixelDecoder
from zim_plugins.core.modeling.prompt_encoder import PromptEncoder
from zim_plugins.core.modeling.tiny_encoder import TinyConfig, TinyImageEncoder
from zim_plugins.core.modeling.transformer import MaskedAttention, TwoWayTransformer
from zim_plugins.core.modeling.zim_features import ImageFeatures
from zim_plugins.core.modeling.zim_lite import LiteConfig, ZimLite
from zim_plugins.core.transforms import PIXEL_MEAN, PIXEL_STD
from zim_plugins.errors import CheckpointError


@dataclass(frozen=True)
class ZimConfig:
    """Everything that decides the shape of a `Zim`."""

    encoder: ViTConfig | TinyConfig = VIT_CONFIGS["vit_b"]
    frame_px: int = 1024
    pixel_decoder: Literal["hierarchical", "sam"] = "hierarchical"
    masked_attention: MaskedAttention = "t2i"
    mlp_dim: int = 2048
    detail_channels: tuple[int, int, int] = (64, 128, 256)
    decoder_channels: tuple[int, int, int] = (128, 64, 32)
    dense_prompts: bool = False
    """Draw the prompts as maps too (zim_tiny)."""
    fusion_depth: int = 0
    """Self-attention blocks over the image's tokens after the dense prompts entered."""


ZIM_CONFIGS = {
    "vit_b": ZimConfig(VIT_CONFIGS["vit_b"]),
    "vit_l": ZimConfig(VIT_CONFIGS["vit_l"]),
    "vit_h": ZimConfig(VIT_CONFIGS["vit_h"]),
    "tiny": ZimConfig(
        TinyConfig(),
        frame_px=256,
        mlp_dim=768,
        detail_channels=(32, 64, 128),
        decoder_channels=(96, 64, 32),
        dense_prompts=True,
        fusion_depth=2,
    ),
}
"""ZIM by encoder name; `dataclasses.replace` makes the variants."""


def sam_config(name: str) -> ZimConfig:
    """SAM itself: its own upsampling and no prompt-aware mask."""
    return replace(ZIM_CONFIGS[name], pixel_decoder="sam", masked_attention="none")


class Zim(PretrainedModule):
    """Promptable matting network (arXiv 2411.00626), images in their square frame, differentiable throughout."""

    model_type = "zim_plugins.zim"

    def __init__(self, config: ZimConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.encoder.out_channels
        hierarchical = config.pixel_decoder == "hierarchical"
        self.image_encoder: ImageEncoderViT | TinyImageEncoder
        if isinstance(config.encoder, TinyConfig):
            if not hierarchical or config.detail_channels != config.encoder.channels:
                raise ValueError(
                    "the tiny encoder brings its own details: use the hierarchical pixel decoder with them"
                )
            self.image_encoder = TinyImageEncoder(config.encoder)
        else:
            self.image_encoder = ImageEncoderViT(config.encoder)
            if hierarchical:
                self.detail_stem = DetailStem(config.detail_channels)
        self.prompt_encoder = PromptEncoder(dim, config.frame_px)
        if config.dense_prompts:
            self.dense_prompt_encoder = DensePromptEncoder(dim)
        norm = "batch" if isinstance(config.encoder, TinyConfig) else "layer"
        prompt_channels = DensePromptEncoder.features if config.dense_prompts else 0
        pixel_decoder = (
            HierarchicalPixelDecoder(dim, config.detail_channels, config.decoder_channels, norm, prompt_channels)
            if hierarchical
            else None
        )
        transformer = TwoWayTransformer(dim, mlp_dim=config.mlp_dim, masked=config.masked_attention)
        matte_dim = config.decoder_channels[-1] if hierarchical else dim // 8
        self.mask_decoder = MaskDecoder(transformer, pixel_decoder, dim, matte_dim, config.fusion_depth)
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(-1, 1, 1), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the weights."""
        return self.mask_decoder.iou_token.weight.dtype

    def normalise(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 f f"]:
        """RGB in [0, 255], longest side the frame's, to the network's input: standardised, then zero-padded."""
        frame = self.config.frame_px
        x = (image - self.pixel_mean) / self.pixel_std
        return nn.functional.pad(x, (0, frame - x.shape[-1], 0, frame - x.shape[-2])).to(self.dtype)

    def from_standardised(self, x: Float[Tensor, "b 3 f f"]) -> Float[Tensor, "b 3 f f"]:
        """Convert standardised images (PIXEL_MEAN, PIXEL_STD) to this network's input: they are."""
        return x

    def encode(self, x: Float[Tensor, "b 3 f f"]) -> ImageFeatures:
        """Encode normalised, padded images."""
        if isinstance(self.image_encoder, TinyImageEncoder):
            return ImageFeatures(*self.image_encoder(x))
        details = self.detail_stem(x) if self.config.pixel_decoder == "hierarchical" else []
        return ImageFeatures(self.image_encoder(x), details)

    def prepare(self, features: ImageFeatures) -> ImageFeatures:
        """Do once what decoding would do for every call: the details are replaced by what they add."""
        pixel_decoder = self.mask_decoder.pixel_decoder
        return (
            features
            if pixel_decoder is None
            else features._replace(details=[], projected=pixel_decoder.project(features.details))
        )

    def decode(
        self,
        features: ImageFeatures,
        coords: Float[Tensor, "b n 2"],
        labels: Int[Tensor, "b n"],
        alpha: Float[Tensor, "b 1 f f"] | None = None,
        mask: Float[Tensor, "b g g"] | None = None,
    ) -> tuple[Float[Tensor, "b 4 s s"], Float[Tensor, "b 4"]]:
        """Decode one prompt per row; `features` hold one image for all of them, or one each.

        Args:
            features: what `encode` or `prepare` returned.
            coords: XY of clicks and box corners in frame pixels.
            labels: 1 foreground, 0 background, 2 and 3 a box's corners, -1 padding.
            alpha: coarse mattes in [0, 1] over the frame; a row of negative values has none.
            mask: attention mask to use instead of the one that follows from the prompt.

        Returns:
            Logits over the padded frame, and estimated IoU of each candidate.
        """
        grid = features.embedding.shape[-1]
        frame = grid * 16
        dtype = features.embedding.dtype
        if mask is None and self.config.masked_attention != "none":
            mask = prompt_attention_mask(coords.float(), labels, grid, frame)
        sparse = self.prompt_encoder(coords * (self.config.frame_px / frame), labels).to(dtype)
        drawn = None
        if self.config.dense_prompts:
            drawn, dense = self.dense_prompt_encoder(draw_prompts(coords, labels, alpha, frame).to(dtype))
        else:
            logits = None
            if alpha is not None:
                small = nn.functional.avg_pool2d(alpha.float(), 4).clamp(1e-3, 1 - 1e-3)
                logits = torch.logit(small).to(dtype)
            dense = self.prompt_encoder.dense(logits, 1, grid)  # that of no mask is alike for all
        image_pe = self.prompt_encoder.pe_layer.grid(grid, grid).to(dtype)
        projected = self.prepare(features).projected if features.projected is None else features.projected
        logits, iou = self.mask_decoder(
            features.embedding, projected or [], image_pe, sparse, dense.to(dtype), mask, drawn
        )
        return logits, iou

    def forward(
        self,
        image: Float[Tensor, "b 3 f f"],
        coords: Float[Tensor, "b n 2"],
        labels: Int[Tensor, "b n"],
        alpha: Float[Tensor, "b 1 f f"] | None = None,
    ) -> tuple[Float[Tensor, "b 4 f f"], Float[Tensor, "b 4"]]:
        """One prompt for each normalised image: logits at the frame's own size, and estimated IoU."""
        logits, iou = self.decode(self.encode(image), coords, labels, alpha)
        return upsample(logits, (image.shape[-2], image.shape[-1])), iou

    def config_values(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return json.loads(json.dumps(config_to_dict(self.config)))

    @classmethod
    def from_config_values(cls, values: dict[str, Any]) -> "Zim":
        """Return the network that `config_values` described, with fresh weights."""
        config = config_from_dict(values)
        if isinstance(config, LiteConfig):
            raise KeyError("encoder_kind lite is a ZimLite")
        return cls(config)

    @classmethod
    def from_sam(cls, state: dict[str, Tensor], config: ZimConfig) -> "Zim":
        """A ZIM whose encoders, transformer and heads are SAM's; what SAM has not stays as initialised.

        Raises:
            CheckpointError: a weight is missing or superfluous beyond SAM's own upsampling.
        """
        zim = cls(config)
        if config.pixel_decoder == "sam":
            _load(zim, state, missing_prefixes=(), ignored_prefixes=())
        else:
            _load(
                zim,
                state,
                missing_prefixes=("detail_stem.", "mask_decoder.pixel_decoder."),
                ignored_prefixes=("mask_decoder.output_upscaling.",),
            )
        return zim


def _load(
    zim: "Zim | ZimLite", state: dict[str, Tensor], missing_prefixes: Sequence[str], ignored_prefixes: Sequence[str]
) -> None:
    kept = {k: v for k, v in state.items() if not k.startswith(tuple(ignored_prefixes) or ("\0",))}
    try:
        missing, unexpected = zim.load_state_dict(kept, strict=False)
    except RuntimeError:  # sizes differ
        wanted = {k: tuple(v.shape) for k, v in zim.state_dict().items()}
        wrong = [k for k, v in kept.items() if wanted.get(k, tuple(v.shape)) != tuple(v.shape)]
        sizes = ", ".join(f"{k} is {tuple(kept[k].shape)}, not {wanted[k]}" for k in wrong[:2])
        raise CheckpointError(f"the weights do not fit this model: {sizes or 'of another kind'}") from None
    missing = [k for k in missing if not k.startswith(tuple(missing_prefixes) or ("\0",))]
    if missing or unexpected:
        raise CheckpointError(f"the weights do not fit this model: missing {missing[:5]}, unexpected {unexpected[:5]}")


def build_network(config: ZimConfig | LiteConfig) -> "Zim | ZimLite":
    """The network that a config describes, with fresh weights."""
    return ZimLite(config) if isinstance(config, LiteConfig) else Zim(config)


def config_to_dict(config: ZimConfig | LiteConfig) -> dict[str, Any]:
    """A config as plain JSON values."""
    if isinstance(config, LiteConfig):
        return asdict(config) | {"encoder_kind": "lite"}
    return asdict(config) | {"encoder_kind": "tiny" if isinstance(config.encoder, TinyConfig) else "vit"}


def config_from_dict(values: dict[str, Any]) -> ZimConfig | LiteConfig:
    """The config that `config_to_dict` wrote."""
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    if values["encoder_kind"] == "lite":
        return LiteConfig(**{k: v for k, v in values.items() if k != "encoder_kind"})
    kind = {"tiny": TinyConfig, "vit": ViTConfig}[rest.pop("encoder_kind")]
    encoder = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in rest.pop("encoder").items()})
    return ZimConfig(encoder, **rest)


def save_weights(
    zim: "Zim | ZimLite", path: Path, metadata: dict[str, str], dtype: torch.dtype = torch.float16
) -> None:
    """Write a safetensors file that carries its own config; it appears whole or not at all.

    Batch norms of a `ZimLite` are folded into its convolutions first: their smallest variances do not survive fp16.
    """
    if isinstance(zim, ZimLite) and not zim.config.folded:
        zim = zim.folded()
    write_weight_file(zim, path, "config", config_to_dict(zim.config), metadata, dtype)


def load_weights(path: Path) -> tuple["Zim | ZimLite", dict[str, str]]:
    """A model in fp32 and its metadata, as `save_weights` wrote them.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of this project's checkpoints.
    """
    state, config, metadata = read_weight_file(path, "config", "matting checkpoint")
    try:
        zim = build_network(config_from_dict(config))
    except UNREADABLE as error:
        raise CheckpointError(f"{path} describes no model of this version: {error!r}") from None
    _load(zim, state, (), ())
    return zim, metadata
