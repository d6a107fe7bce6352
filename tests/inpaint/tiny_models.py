"""Networks of a few kilobytes with the interfaces of the real ones; their weights are random, their images noise."""

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
        warnings.filterwarnings("ignore", message=r".*torch\.jit")
        torch.jit.trace(network, (torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))).save(str(path))
    return path


def save_stable_diffusion(folder: Path, *, xl: bool = False, unet_channels: int = 4) -> Path:
    """Write a Stable Diffusion (XL) pipeline as diffusers saves it: 64 px images, an autoencoder that halves them.

    Args:
        folder: where to.
        xl: with the second text encoder of Stable Diffusion XL.
        unet_channels: 4 for a base model, 9 for one trained to fill holes.
    """
    from diffusers import (
        DDIMScheduler,
        StableDiffusionInpaintPipeline,
        StableDiffusionXLInpaintPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

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
    vae = _tiny_vae()
    tokenizer = _tiny_tokenizer(folder)
    text = _tiny_clip(tokenizer)
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


def save_flux_fill(folder: Path) -> Path:
    """Write a FLUX.1 Fill pipeline: an autoencoder that halves images, latents packed two by two."""
    return save_flux(folder, "FluxFillPipeline")


def save_flux(folder: Path, kind: str) -> Path:
    """Write a pipeline of FLUX.1's parts by the name of its class."""
    import diffusers
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextModel

    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        # Fill takes latents, masked image and mask, each of 4 channels in packs of four; the others latents alone.
        in_channels=48 if kind == "FluxFillPipeline" else 16,
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    vae = _tiny_vae(shift_factor=0.1)
    tokenizer = _tiny_tokenizer(folder)
    second, t5 = _tiny_t5()
    getattr(diffusers, kind)(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        text_encoder=CLIPTextModel(_tiny_clip(tokenizer)).eval(),
        tokenizer=tokenizer,
        text_encoder_2=t5,
        tokenizer_2=second,
        transformer=transformer.eval(),
    ).save_pretrained(folder)
    return folder


def save_sd3(folder: Path, kind: str) -> Path:
    """Write a pipeline of Stable Diffusion 3's parts by the name of its class."""
    import diffusers
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=1,
        in_channels=16,  # as the pipeline insists
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        out_channels=16,
    )
    tokenizer = _tiny_tokenizer(folder)
    tokenizer_3, third = _tiny_t5()
    encoders = [CLIPTextModelWithProjection(_tiny_clip(tokenizer)).eval() for _ in range(2)]
    getattr(diffusers, kind)(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_tiny_vae(latent_channels=16, shift_factor=0.1).eval(),
        text_encoder=encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=third,
        tokenizer_3=tokenizer_3,
        transformer=transformer.eval(),
    ).save_pretrained(folder)
    return folder


def _tiny_t5():
    """Return T5's tokenizer with an alphabet for a vocabulary, and an encoder of 32 channels."""
    from tokenizers import Tokenizer
    from tokenizers.models import Unigram
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [*special, *((letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz")]
    tokenizer = T5TokenizerFast(tokenizer_object=Tokenizer(Unigram(pieces, unk_id=2)), extra_ids=0)
    config = T5Config(vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return tokenizer, T5EncoderModel(config).eval()


def _tiny_vae(latent_channels: int = 4, **extra: float):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=64,
        **extra,
    )


def _tiny_clip(tokenizer):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
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
