"""Diffusion: holes filled by a diffusers inpainting pipeline, by a text or without one, under hard or soft masks."""

import inspect
import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import PIL.Image

from zim_plugins.core import CheckpointError, UnsupportedPrompt, ZimError, resolve_device
from zim_plugins.imaging import from_unit

from .base import Change, FillSettings, Hole, Rgb, paste, refuse_a_full_hole
from .differential import Differential, encode, memoryless, shrink_map
from .pipeline_calls import EDIT_GREY, FILL_INSTRUCTION, PipelineCall, missing
from .pretrained import load_pipeline

XL_STRENGTH = 0.99
"""Stable Diffusion XL's inpainting model was trained to see a little of what is in the hole (its card)."""
DEFAULT_SIDE_PX = 1024
"""For models that do not say what they were trained on."""


class UnsafeContent(ZimError):
    """The model's own safety checker withheld the result."""


class DiffusionInpainter:
    """Fill by a pipeline of diffusers whose call takes an image and a hole, or an image and a text: `PipelineCall`.

    The pipelines make their masks hard, and return an image whose every pixel went through their autoencoder. Here the
    known pixels come from the image itself, sides are padded to what the pipeline needs, an image smaller than the
    model's own size is enlarged for it, and a soft map of changes is honoured by Differential Diffusion.

    Args:
        pipeline: as diffusers loads it.
        name: what records call it.
        settings: seed, steps, strength, guidance and negative prompt; the pipeline's own defaults where None.
    """

    def __init__(self, pipeline: Any, *, name: str, settings: FillSettings | None = None) -> None:
        self.name = name
        self.pipeline = pipeline
        self.settings = settings or FillSettings()
        self.work_side_px: int | None = _trained_side_px(pipeline)
        call = PipelineCall.of(pipeline)
        if call is None:
            needs = missing(inspect.signature(type(pipeline).__call__).parameters)
            more = f": it needs {', '.join(needs)}" if needs else ""
            raise CheckpointError(f"{name} ({type(pipeline).__name__}) paints no holes{more}")
        self._call = call
        pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(
        cls, name: str, *, device: str = "auto", settings: FillSettings | None = None
    ) -> "DiffusionInpainter":
        """Load a pipeline from a folder, or one of `DIFFUSION_MODELS` from the Hugging Face cache; nothing is fetched.

        Half precision is used on CUDA, float32 elsewhere.

        Raises:
            CheckpointError: it is not there, or is no pipeline that paints holes.
            MissingExtra: diffusers or transformers is not installed.
            ValueError: the device is not here.
        """
        return cls(load_pipeline(name, resolve_device(device)), name=name, settings=settings)

    def with_settings(self, settings: FillSettings) -> "DiffusionInpainter":
        """The same pipeline with other settings."""
        return DiffusionInpainter(self.pipeline, name=self.name, settings=settings)

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole without a text; see `Inpainter.fill`."""
        refuse_a_full_hole(hole)
        return self.fill_guided(image, hole)

    def fill_guided(self, image: Rgb, hole: Hole, *, prompt: str = "", change: Change | None = None) -> Rgb:
        """Repaint the hole by a text; see `GuidedInpainter.fill_guided`."""
        if not hole.any():
            return image.copy()
        height, width = hole.shape
        scale = max(1.0, (self.work_side_px or 0) / max(height, width))
        size = (round(height * scale), round(width * scale))
        multiple = math.lcm(8, _side_factor(self.pipeline))
        pad = ((0, -size[0] % multiple), (0, -size[1] % multiple))
        pixels = np.pad(_resize(image, size), (*pad, (0, 0)), mode="symmetric")
        soft = hole.astype(np.float32) if change is None else np.where(hole, change, np.float32(0))
        soft = np.pad(_resize(soft, size), pad, mode="symmetric")
        painted = self._paint(pixels, soft, prompt, is_soft=change is not None)[: size[0], : size[1]]
        return paste(image, _resize(painted, (height, width)), hole)

    def _paint(self, image: np.ndarray, change: np.ndarray, prompt: str, *, is_soft: bool) -> np.ndarray:
        """Run the pipeline on an image of a size that suits it."""
        import torch

        generator = torch.Generator("cpu").manual_seed(self.settings.seed)
        arguments = self._arguments()
        if is_soft:
            arguments["callback_on_step_end"] = self._differential(image, change)
        with memoryless(self.pipeline) if is_soft else nullcontext(), torch.inference_mode():
            answer = self.pipeline(**self._inputs(image, change > 0, prompt), generator=generator, **arguments)
        if any(getattr(answer, "nsfw_content_detected", None) or ()):
            raise UnsafeContent(f"the safety checker of {self.name} withheld the result: try another prompt or seed")
        painted = from_unit(np.asarray(answer.images[0], np.float32))
        return _resize(painted, (image.shape[0], image.shape[1]))

    def _inputs(self, image: np.ndarray, hole: np.ndarray, prompt: str) -> dict[str, Any]:
        """Image, hole and text in the pipeline's words."""
        if not self._call.hole and not prompt:  # a model that edits whole images is shown where
            image, prompt = np.where(hole[..., None], np.uint8(EDIT_GREY), image), FILL_INSTRUCTION
        given: dict[str, Any] = {"image": PIL.Image.fromarray(image), "output_type": "np"}
        if self._call.hole:
            given[self._call.hole] = PIL.Image.fromarray(from_unit(hole))
        height, width = image.shape[:2]
        rest = {"prompt": prompt, "height": height, "width": width}
        rest |= {"max_area": height * width, "_auto_resize": False}  # Kontext would choose a size of its own
        if prompt and not self._call.takes("prompt"):
            raise UnsupportedPrompt(f"{self.name} ({type(self.pipeline).__name__}) takes no text")
        return given | {name: value for name, value in rest.items() if self._call.takes(name)}

    def _arguments(self) -> dict[str, Any]:
        """The settings in the pipeline's words."""
        asked = self.settings
        strength = asked.strength
        if strength is None and "XL" in type(self.pipeline).__name__:
            strength = XL_STRENGTH
        arguments = {"num_inference_steps": asked.steps, "strength": strength}
        given = {key: value for key, value in arguments.items() if value is not None}
        given |= self._call.guidance(asked.guidance, asked.negative_prompt)
        if unknown := sorted(given.keys() - self._call.parameters.keys()):
            raise UnsupportedPrompt(f"{self.name} ({type(self.pipeline).__name__}) takes no {', '.join(unknown)}")
        return given

    def _differential(self, image: np.ndarray, change: np.ndarray) -> Any:
        import torch
        from diffusers import (
            StableDiffusionInpaintPipeline,  # pyright: ignore[reportPrivateImportUsage]
            StableDiffusionXLInpaintPipeline,  # pyright: ignore[reportPrivateImportUsage]
        )

        if not isinstance(self.pipeline, StableDiffusionInpaintPipeline | StableDiffusionXLInpaintPipeline):
            raise UnsupportedPrompt(
                f"{self.name} ({type(self.pipeline).__name__}) takes hard masks only: "
                "soft maps need a Stable Diffusion 1.5, 2 or XL model"
            )
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.inference_mode():
            latents = encode(self.pipeline, pixels)
        small = shrink_map(change, (latents.shape[2], latents.shape[3])).to(latents.device)
        return Differential(latents, small, torch.Generator("cpu").manual_seed(self.settings.seed + 1))


def _side_factor(pipeline: Any) -> int:
    """Number that sides are to be multiples of [px]."""
    processor = getattr(pipeline, "image_processor", None)
    factor = getattr(getattr(processor, "config", None), "vae_scale_factor", None)
    return int(factor or 2 * getattr(pipeline, "vae_scale_factor", 8))


def _trained_side_px(pipeline: Any) -> int:
    """Longer side of the images that the model was trained on [px]."""
    unet = getattr(pipeline, "unet", None)
    sample = getattr(pipeline, "default_sample_size", None) if unet is None else unet.config.sample_size
    return DEFAULT_SIDE_PX if sample is None else int(np.max(sample)) * pipeline.vae_scale_factor


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring uint8 RGB or a float32 map to (height, width): averaging down, interpolating up."""
    if pixels.shape[:2] == size:
        return pixels
    down = size[0] < pixels.shape[0]
    method = PIL.Image.Resampling.BOX if down else PIL.Image.Resampling.BICUBIC
    if pixels.ndim == 2:
        method = PIL.Image.Resampling.BILINEAR
    return np.asarray(PIL.Image.fromarray(pixels).resize((size[1], size[0]), method))
