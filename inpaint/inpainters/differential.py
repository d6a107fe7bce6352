"""Differential Diffusion: each pixel is painted anew for a share of the denoising steps of its own.

Levin and Fried, "Differential Diffusion: Giving Each Pixel Its Strength" (2023, arXiv:2306.00950), as a callback of any
latent diffusion pipeline. Polarity here: 1 paints anew, 0 keeps (the maps of the paper's code say the opposite).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    import torch

MEMORYLESS = ("DDIMScheduler", "EulerDiscreteScheduler")
"""Schedulers whose steps depend on nothing but the latents before them."""


class Differential:
    """Hold back, after each step, the latents that are not yet to change.

    Before step i of n a latent with change c is the image's own, at that step's noise, as long as c <= 1 - i / n;
    after that it is denoised freely. So c = 1 is free from the first step on, and c = 0.5 is as if the image were
    denoised at strength 0.5. What is never to change, c = 0, is the pipeline's own concern, through its mask.

    Args:
        latents: the image, encoded and scaled as the pipeline does.
        change: the map at the latents' size, in (0, 1].
        generator: of the noise that the image is held under.
    """

    def __init__(self, latents: "torch.Tensor", change: "torch.Tensor", generator: "torch.Generator") -> None:
        import torch

        self._latents = latents
        self._change = change
        noise = torch.randn(latents.shape, generator=generator, dtype=torch.float32)
        self._noise = noise.to(latents.device, latents.dtype)

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """Follow `callback_on_step_end` of diffusers: `step` is done, `tensors["latents"]` is what it made."""
        import torch

        steps = pipeline.num_timesteps
        following = pipeline.scheduler.timesteps[-steps:][step + 1 :]
        if not len(following):
            return tensors
        own = pipeline.scheduler.add_noise(self._latents, self._noise, following[:1])
        held = self._change <= 1 - (step + 1) / steps
        return {"latents": torch.where(held, own.to(tensors["latents"].dtype), tensors["latents"])}


@contextmanager
def memoryless(pipeline: Any) -> Iterator[None]:
    """Let Euler's method stand in for a scheduler that remembers earlier steps, in which other latents were held."""
    from diffusers import EulerDiscreteScheduler  # pyright: ignore[reportPrivateImportUsage]

    usual = pipeline.scheduler
    if type(usual).__name__ not in MEMORYLESS:
        pipeline.scheduler = EulerDiscreteScheduler.from_config(usual.config)
    try:
        yield
    finally:
        pipeline.scheduler = usual


def encode(pipeline: Any, pixels: "torch.Tensor") -> "torch.Tensor":
    """Encode an image, (1, 3, h, w) in [-1, 1], to scaled latents (1, c, h / f, w / f).

    A VAE that overflows in half precision (Stable Diffusion XL's) works in float32, as in its pipeline.
    """
    import torch

    vae = pipeline.vae
    dtype = vae.dtype
    upcast = vae.config.force_upcast and dtype != torch.float32
    if upcast:
        vae.to(torch.float32)
    latents = vae.encode(pixels.to(pipeline.device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
    if upcast:
        vae.to(dtype)
    return latents.to(dtype)


def shrink_map(change: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> "torch.Tensor":
    """Average a map over each of the latents' cells, of what changes at all; (1, 1, *size), 1 where nothing does."""
    from torch import from_numpy, where
    from torch.nn.functional import adaptive_avg_pool2d

    whole = from_numpy(change)[None, None]
    total, covered = adaptive_avg_pool2d(whole, size), adaptive_avg_pool2d((whole > 0).float(), size)
    return where(covered > 0, total / covered.clamp(min=1e-6), 1.0)
