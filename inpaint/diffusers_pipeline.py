"""A pipeline object with the call of diffusers' inpainting pipelines, and what they lack: objects named by clicks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import PIL.Image
from jaxtyping import Float32

from zim_plugins.core import Predictor, Prompt, load_predictor
from zim_plugins.imaging import from_unit, unit_values

from .inpainters.base import FillSettings, Inpainter, adjusted, as_guided
from .inpainters.diffusion import DiffusionInpainter
from .inpainters.registry import load_inpainter
from .pixels.hole import TAU
from .tasks.filling import fill
from .tasks.removal import remove, repaint
from .tasks.replacement import cutout
from .tasks.replacement import replace as replace_background

if TYPE_CHECKING:
    import torch

Task = Literal["remove", "fill", "replace", "cutout"]
TASKS: tuple[Task, ...] = ("remove", "fill", "replace", "cutout")


@dataclass(frozen=True, eq=False)
class ZimInpaintOutput:
    """Output of `ZimInpaintPipeline`; a list holds one entry per image.

    >>> ZimInpaintOutput([], []).mattes
    []
    """

    images: list[PIL.Image.Image] | list[np.ndarray]
    """RGB (RGBA of `cutout`); arrays are float32 (h, w, c) in [0, 1]."""
    mattes: list[np.ndarray]
    """Of the objects, float32 (h, w) in [0, 1]; of a `mask_image`, the mask."""


class ZimInpaintPipeline:
    """Inpainting with the call of a diffusers pipeline, at any size, every pixel outside the hole as it was.

    With `mask_image` it does what diffusers does, and a grey mask is a soft one. With `points`, `box` or `matte` the
    object is taken away (without a prompt), painted over (with one), put on a new background, or cut out (`task`).

        pipe = ZimInpaintPipeline.from_pretrained("sdxl")
        pipe(prompt="a wooden bench", image=photo, points=[(310, 220)]).images[0]

    Args:
        filler: a pipeline that diffusers has loaded, or any filler.
        predictor: turns clicks and boxes into mattes; the best one on this machine by default.

    >>> class White:
    ...     name, work_side_px = "white", None
    ...     def fill(self, image, hole): return np.where(hole[..., None], np.uint8(255), image)
    >>> ZimInpaintPipeline(White()).inpainter.name
    'white'
    """

    def __init__(self, filler: Any, *, predictor: Predictor | None = None) -> None:
        is_filler = isinstance(filler, Inpainter)
        self.inpainter: Inpainter = filler if is_filler else DiffusionInpainter(filler, name=type(filler).__name__)
        self._predictor = predictor

    @classmethod
    def from_pretrained(
        cls, name: str, *, device: str = "auto", predictor: Predictor | None = None
    ) -> "ZimInpaintPipeline":
        """Load a filler by any name that `load_inpainter` knows: sdxl, a folder, lama+sdxl, lama, auto."""
        return cls(load_inpainter(name, device=device), predictor=predictor)

    def to(self, device: str) -> "ZimInpaintPipeline":
        """Move a diffusers pipeline to another device; the other fillers stay on the one they were made for.

        Raises:
            ValueError: the filler is none.
        """
        if not isinstance(self.inpainter, DiffusionInpainter):
            raise ValueError(f"the filler {self.inpainter.name} cannot move: give device= to from_pretrained")
        self.inpainter.pipeline.to(device)
        return self

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        image: Any = None,
        mask_image: Any = None,
        *,
        points: Sequence[tuple[float, float]] | None = None,
        point_labels: Sequence[int] | None = None,
        box: tuple[float, float, float, float] | None = None,
        matte: Float32[np.ndarray, "h w"] | None = None,
        background: Any = None,
        task: Task | None = None,
        negative_prompt: str = "",
        strength: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: "torch.Generator | None" = None,
        output_type: Literal["pil", "np"] = "pil",
    ) -> ZimInpaintOutput:
        """Work on an image, or on several with the same object or with a mask each.

        Args:
            prompt: what to paint; one for all images, or one for each.
            image: a PIL image, RGB uint8 or float in [0, 1] of shape (h, w, 3), or a list of these.
            mask_image: white is repainted, black stays; as `image`, of one channel. Grey is painted in part, where the
                model can; else it is repainted.
            points: clicks (x, y) [px] that name one object.
            point_labels: one per click: 1 the object (default), 0 not the object.
            box: corners X1 Y1 X2 Y2 [px] round the object.
            matte: the object's opacity in [0, 1], at the image's size.
            background: for `replace`: an image as `image`, or a colour (r, g, b) of ints in [0, 255].
            task: by default `remove` without a prompt and `fill` with one.
            negative_prompt: what not to paint.
            strength: how far to leave what is in the hole, in (0, 1].
            num_inference_steps: denoising steps.
            guidance_scale: weight of the prompt.
            generator: one number is drawn from it for each image; without it the seed is 0.
            output_type: pil or np.

        Raises:
            ValueError: arguments that are missing, or do not go together.
            UnsupportedPrompt: the filler takes no text, or none of the settings that were given.
        """
        images = list(image) if isinstance(image, list | tuple) else [image]
        if image is None or not images:
            raise ValueError("no image: give image=")
        masks = list(mask_image) if isinstance(mask_image, list | tuple) else [mask_image] * len(images)
        prompts = [prompt] * len(images) if prompt is None or isinstance(prompt, str) else list(prompt)
        if not len(images) == len(masks) == len(prompts):
            raise ValueError(f"{len(images)} images, {len(masks)} masks and {len(prompts)} prompts do not match")
        target = _target(points, point_labels, box, matte)
        if (mask_image is None) == (target is None):
            raise ValueError("give either mask_image, or one of points, box and matte")
        if isinstance(target, Prompt):
            self._predictor = self._predictor or load_predictor()
        settings = FillSettings(
            negative_prompt=negative_prompt, steps=num_inference_steps, strength=strength, guidance=guidance_scale
        )
        made, mattes = [], []
        for one, mask, text in zip(images, masks, prompts, strict=True):
            inpainter = adjusted(self.inpainter, replace(settings, seed=_drawn(generator)))
            if target is None:
                result, alpha = _repaint_mask(_rgb(one), _grey(mask), text, inpainter)
            else:
                result, alpha = self._do(task, _rgb(one), target, text, background, inpainter)
            made.append(PIL.Image.fromarray(result) if output_type == "pil" else unit_values(result))
            mattes.append(alpha)
        return ZimInpaintOutput(made, mattes)

    def _do(
        self,
        task: Task | None,
        image: np.ndarray,
        target: Prompt | np.ndarray,
        prompt: str | None,
        background: Any,
        inpainter: Inpainter,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One task on one image: the result and the matte."""
        task = task or ("fill" if prompt else "remove")
        if task == "remove" and not prompt:
            removal = remove(image, target, predictor=self._predictor, inpainter=inpainter)
            return removal.image, removal.alpha
        if task == "fill" and prompt:
            filling = fill(image, target, prompt, predictor=self._predictor, inpainter=as_guided(inpainter))
            return filling.image, filling.alpha
        if task == "replace":
            behind = background
            if behind is not None and not _is_colour(behind):
                behind = _rgb(behind)
            painter = as_guided(inpainter) if prompt else None
            new = replace_background(image, target, behind, prompt=prompt, predictor=self._predictor, inpainter=painter)
            return new.image, new.alpha
        if task == "cutout" and not prompt:
            cut = cutout(image, target, predictor=self._predictor)
            return cut.rgba, cut.alpha
        if task in TASKS:
            raise ValueError(f"the task {task} goes {'with' if task == 'fill' else 'without'} a prompt")
        raise ValueError(f"no task is called {task!r}: take one of {', '.join(TASKS)}")


def _repaint_mask(
    image: np.ndarray, mask: np.ndarray, prompt: str | None, inpainter: Inpainter
) -> tuple[np.ndarray, np.ndarray]:
    """Repaint by a mask in [0, 1], as diffusers does; a soft one where there is a text."""
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask_image is {mask.shape}, the image {image.shape[:2]} (height, width)")
    hole = mask > TAU
    if not hole.any():
        raise ValueError("mask_image is black: nothing is to be repainted")
    side = inpainter.work_side_px
    if not prompt:
        return repaint(image, hole, inpainter.fill, work_side_px=side, finish=True), mask
    paint = partial(as_guided(inpainter).fill_guided, prompt=prompt)
    change = mask if (mask[hole] < 1).any() else None
    return repaint(image, hole, paint, work_side_px=side, min_side_px=side or 0, change=change), mask


def _drawn(generator: "torch.Generator | None") -> int:
    """A seed."""
    if generator is None:
        return 0
    import torch

    return int(torch.randint(2**31, (1,), generator=generator, device=generator.device))


def _target(
    points: Sequence[tuple[float, float]] | None,
    labels: Sequence[int] | None,
    box: tuple[float, float, float, float] | None,
    matte: np.ndarray | None,
) -> Prompt | np.ndarray | None:
    if matte is not None:
        if points is not None or box is not None:
            raise ValueError("matte is the object itself: give it without points and box")
        return matte
    if points is None and box is None:
        return None
    clicks = None if points is None else np.asarray(points, dtype=np.float32).reshape(-1, 2)
    chosen = None if clicks is None else np.asarray([1] * len(clicks) if labels is None else labels, dtype=np.int64)
    return Prompt(clicks, chosen, None if box is None else np.asarray(box, dtype=np.float32))


def _rgb(image: Any) -> np.ndarray:
    """An image in any of diffusers' forms as uint8 RGB."""
    if isinstance(image, PIL.Image.Image):
        return np.asarray(image.convert("RGB"))
    return _bytes(np.asarray(image))


def _grey(mask: Any) -> np.ndarray:
    """A mask in any of diffusers' forms as float32 (h, w) in [0, 1]."""
    if isinstance(mask, PIL.Image.Image):
        return unit_values(np.asarray(mask.convert("L")))
    return unit_values(_bytes(np.squeeze(np.asarray(mask))))


def _bytes(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype != bool and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"a {values.dtype} image has values in [0, 1], got {values.min():g} to {values.max():g}")
    return from_unit(values)


def _is_colour(background: Any) -> bool:
    return isinstance(background, list | tuple) and len(background) == 3 and all(isinstance(v, int) for v in background)
