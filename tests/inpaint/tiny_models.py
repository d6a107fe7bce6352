"""Networks of a few kilobytes with the interfaces of the real ones; their weights are random, their pictures noise."""

import warnings
from pathlib import Path

import torch
from torch import nn


class TinyLama(nn.Module):
    """LaMa's signature: (1, 3, h, w) in [0, 1] and (1, 1, h, w) in {0, 1} -> (1, 3, h, w), the known pixels kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        painted = self.layers(torch.cat([image * (1 - mask), mask], dim=1))
        return mask * painted + (1 - mask) * image


def save_lama(path: Path) -> Path:
    """Write a TorchScript file that LaMa's loaders read, traced as the published one is."""
    torch.manual_seed(0)
    network = TinyLama().eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
        torch.jit.trace(network, (torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))).save(str(path))
    return path


def save_stable_diffusion(folder: Path, *, xl: bool = False, unet_channels: int = 4) -> Path:
    """Write a Stable Diffusion (XL) pipeline as diffusers saves it: 64 px pictures, an autoencoder that halves them.

    Args:
        folder: where to.
        xl: with the second text encoder of Stable Diffusion XL.
        unet_channels: 4 for a base model, 9 for one trained to fill holes.
    """
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionInpaintPipeline,
        StableDiffusionXLInpaintPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    of_xl = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 16 + 6 * 8,
        "cross_attention_dim": 32,
    }
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        sample_size=32,
        in_channels=unet_channels,
        out_channels=4,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        **(of_xl if xl else {"cross_attention_dim": 16}),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )
    tokenizer = _tiny_tokenizer(folder)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    shared = {"vae": vae.eval(), "unet": unet.eval(), "tokenizer": tokenizer, "scheduler": scheduler}
    encoder = CLIPTextModel(text).eval()
    if xl:
        second = CLIPTextModelWithProjection(text).eval()
        pipeline = StableDiffusionXLInpaintPipeline(
            **shared, text_encoder=encoder, text_encoder_2=second, tokenizer_2=tokenizer
        )
    else:
        pipeline = StableDiffusionInpaintPipeline(
            **shared, text_encoder=encoder, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    pipeline.save_pretrained(folder)
    return folder


def _tiny_tokenizer(folder: Path):
    """CLIP's tokenizer with an alphabet for a vocabulary, from files in `folder`."""
    import json

    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
