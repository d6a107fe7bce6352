"""Classical rivals that need no learning, under the same prompts as models and tuned on data kept apart."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from zim_plugins import evaluation
from zim_plugins.core import Prediction, Prompt, UnsupportedPrompt

from .prompt_modes import Box

RIVALS = {
    "box": "the box itself, filled",
    "ellipse": "the ellipse inscribed in the box",
    "grabcut": "GrabCut (Rother et al. 2004) from the box, its core certain, by OpenCV",
    "random-walker": "random walker (Grady 2006) from the same clicks or boxes, by scikit-image",
}
"""Names that `--model` takes beside checkpoints. All take boxes; random-walker takes clicks too."""
GRABCUT_SIDE_PX = 256
"""Larger crops are cut at reduced size: on a grainy image of 512 px a cut took a minute and more."""
WALKER_SIDE_PX = 128
"""Larger crops are walked at reduced size: nine clicks on an object are nine linear systems."""

# Chosen by benchmarks/quality/medical_rivals.py on sets that docs/medical.md does not score.
GRABCUT_CORE, GRABCUT_MARGIN = 0.85, 0.5
"""Side of the certain ellipse as a share of the box's, and what is shown round the box as a share of its side."""
WALKER_CORE, WALKER_MARGIN, WALKER_BETA = 0.85, 0.5, 600.0
WALKER_CLICK_BETA, WALKER_CLICK_RADIUS = 600.0, 0.02
"""Of clicks: the penalty of steps in grey, and the radius of what a click marks as a share of the longer side."""


class _Rival(ABC):
    """Base of the rivals, which are predictors: a box, exclusive at the far edge, is in whole pixels."""

    name = ""

    def __init__(self, **parameters: Any) -> None:
        self.origin: dict[str, Any] = {"rival": RIVALS[self.name], **parameters}
        self._image: UInt8[np.ndarray, "h w 3"] = np.zeros((1, 1, 3), dtype=np.uint8)

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take an RGB image for all prompts that follow."""
        self._image = np.ascontiguousarray(image)

    @property
    def _size(self) -> tuple[int, int]:
        return self._image.shape[0], self._image.shape[1]

    def predict(self, prompt: Prompt) -> Prediction:
        """Return what a box holds, or of a rival that takes clicks what they name.

        Raises:
            UnsupportedPrompt: this rival does not take such prompts.
        """
        prompt.check_inside(self._size)
        if prompt.box is not None and prompt.points is None and prompt.alpha is None:
            x1, y1, x2, y2 = prompt.box.round().astype(int).tolist()
            alpha = self._in_box((max(x1, 0), max(y1, 0), min(x2, self._size[1]), min(y2, self._size[0])))
        else:
            alpha = self._from_clicks(prompt)
        return Prediction.owning(alpha[None], np.ones(1, dtype=np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """Return what each prompt names."""
        return [self.predict(prompt) for prompt in prompts]

    @abstractmethod
    def _in_box(self, box: Box) -> Float32[np.ndarray, "h w"]:
        """The matte of what a box holds."""

    def _from_clicks(self, prompt: Prompt) -> Float32[np.ndarray, "h w"]:
        raise UnsupportedPrompt(f"{self.name} takes boxes, one candidate each")


class FilledBox(_Rival):
    """The box itself: the least that a model has to beat."""

    name = "box"

    def _in_box(self, box: Box) -> Float32[np.ndarray, "h w"]:
        return _boxed(self._size, box).astype(np.float32)


class InscribedEllipse(_Rival):
    """The ellipse inscribed in the box: organs, cells and lesions are rounder than boxes."""

    name = "ellipse"

    def _in_box(self, box: Box) -> Float32[np.ndarray, "h w"]:
        return ellipse_in(self._size, box).astype(np.float32)


class _Cutter(_Rival):
    """Base of GrabCut and the random walker, which work on a crop round each box.

    Args:
        margin: what is shown round the box as a share of its side.
        parameters: the others, for the record.
    """

    def __init__(self, margin: float, **parameters: Any) -> None:
        super().__init__(margin=margin, **parameters)
        self.margin = margin

    def _in_box(self, box: Box) -> Float32[np.ndarray, "h w"]:
        """Cut a crop out, in which the box lies with its margin, and put the answer back."""
        height, width = self._size
        x1, y1, x2, y2 = box
        pad_x, pad_y = (max(2, round(self.margin * side)) for side in (x2 - x1, y2 - y1))
        left, top = max(0, x1 - pad_x), max(0, y1 - pad_y)
        view = slice(top, min(height, y2 + pad_y)), slice(left, min(width, x2 + pad_x))
        alpha = np.zeros((height, width), dtype=np.float32)
        alpha[view] = self._cut(np.ascontiguousarray(self._image[view]), (x1 - left, y1 - top, x2 - left, y2 - top))
        return alpha

    @abstractmethod
    def _cut(self, crop: UInt8[np.ndarray, "h w 3"], box: Box) -> Float32[np.ndarray, "h w"]:
        """The matte of what a box holds, on a crop."""


class GrabCut(_Cutter):
    """GrabCut from the box: outside it is background, an ellipse in its middle is object, five rounds decide between.

    Without that core GrabCut removes most objects whose surroundings look like them, which is usual in medical images.

    Args:
        core: sides of the certain ellipse as a share of the box's, in (0, 1].
        margin: what is shown round the box as a share of its side.

    Raises:
        MissingExtra: OpenCV is not installed.
    """

    name = "grabcut"

    def __init__(self, core: float = GRABCUT_CORE, margin: float = GRABCUT_MARGIN) -> None:
        self._inner = evaluation.GrabCut(GRABCUT_SIDE_PX, core=core)
        super().__init__(margin, core=core, side_px=GRABCUT_SIDE_PX, opencv=self._inner.version)

    def _cut(self, crop: UInt8[np.ndarray, "h w 3"], box: Box) -> Float32[np.ndarray, "h w"]:
        self._inner.set_image(crop)
        try:
            return self._inner.predict(Prompt.from_box(*box)).alpha
        except ValueError:  # nothing to learn from: all one colour, or no background
            size = crop.shape[0], crop.shape[1]
            return _boxed(size, box).astype(np.float32)


class RandomWalker(_Cutter):
    """Random walker: a pixel is the object's where a walk that shuns steps in grey meets the object's seeds first.

    Seeds of a box: an ellipse in its middle, and all outside. Seeds of clicks: a disk round each; the image's border is
    background.

    Args:
        core: sides of the box's seed as a share of its own.
        margin: what is shown round the box as a share of its side.
        beta: penalty of steps in grey, of boxes.
        click_beta: the same, of clicks.
        click_radius: of what a click marks, as a share of the longer side.
    """

    name = "random-walker"

    def __init__(
        self, core: float = WALKER_CORE, margin: float = WALKER_MARGIN, beta: float = WALKER_BETA,
        click_beta: float = WALKER_CLICK_BETA, click_radius: float = WALKER_CLICK_RADIUS,
    ) -> None:  # fmt: skip
        from importlib.metadata import version

        self.core, self.beta, self.click_beta, self.click_radius = core, beta, click_beta, click_radius
        how = {"click_beta": click_beta, "click_radius": click_radius, "scikit-image": version("scikit-image")}
        super().__init__(margin, core=core, beta=beta, side_px=WALKER_SIDE_PX, **how)

    def _cut(self, crop: UInt8[np.ndarray, "h w 3"], box: Box) -> Float32[np.ndarray, "h w"]:
        size = crop.shape[0], crop.shape[1]
        seeds = np.where(_boxed(size, box), 0, 2).astype(np.int32)
        seeds[ellipse_in(size, box, self.core)] = 1
        return walk(crop, seeds, self.beta)

    def _from_clicks(self, prompt: Prompt) -> Float32[np.ndarray, "h w"]:
        if prompt.points is None or prompt.labels is None or prompt.box is not None or prompt.alpha is not None:
            raise UnsupportedPrompt(f"{self.name} takes clicks or boxes, not both")
        height, width = self._size
        seeds = np.zeros((height, width), dtype=np.int32)
        seeds[[0, -1]] = seeds[:, [0, -1]] = 2
        radius = max(1.0, self.click_radius * max(height, width))
        ys, xs = np.ogrid[:height, :width]
        pixels = np.minimum(prompt.points.astype(int), [width - 1, height - 1])
        values = np.where(prompt.labels == 1, 1, 2)
        for (x, y), value in zip(pixels, values, strict=True):
            seeds[(xs - x) ** 2 + (ys - y) ** 2 <= radius**2] = value
        seeds[pixels[:, 1], pixels[:, 0]] = values  # no disk hides another click's own pixel
        return walk(self._image, seeds, self.click_beta)


def walk(image: UInt8[np.ndarray, "h w 3"], seeds: Int32[np.ndarray, "h w"], beta: float) -> Float32[np.ndarray, "h w"]:
    """Return the chance, in [0, 1], that a walk from each pixel meets a seed of the object (1) before others (2).

    Images above `WALKER_SIDE_PX` are walked at reduced size, in which seeds of the object are kept.
    """
    from skimage.segmentation import random_walker
    from skimage.transform import resize

    size = image.shape[:2]
    scale = min(1.0, WALKER_SIDE_PX / max(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    grey = np.asarray(resize(image.mean(axis=2) / 255, small, order=1, anti_aliasing=scale < 1))
    at = np.zeros(small, dtype=np.int32)
    # What is marked as outside in part only stays undecided; the object's seeds are the smaller ones and stand last.
    for seen, value in ((seeds == 2, 2), (seeds != 2, 0), (seeds == 1, 1)):
        reduced = np.minimum((np.argwhere(seen) * scale).astype(int), np.subtract(small, 1))
        at[tuple(reduced.T)] = value
    if not (at == 1).any() or not (at == 2).any() or not (at == 0).any() or np.ptp(grey) == 0:
        found = (at == 1).astype(np.float32) if (at == 2).any() else np.ones(small, dtype=np.float32)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of solvers that are not installed, and of pixels that no seed reaches
            found = np.asarray(random_walker(grey, at, beta=beta, mode="cg_j", tol=1e-5, return_full_prob=True))[0]
    full = np.asarray(found if small == size else resize(found, size, order=1))
    return np.clip(np.nan_to_num(full), 0, 1).astype(np.float32)


def ellipse_in(size: tuple[int, int], box: Box, share: float = 1.0) -> Bool[np.ndarray, "h w"]:
    """Return the ellipse that fills a share of a box's sides, in its middle; at least one pixel.

    Args:
        size: of the image [px].
        box: x1, y1, x2, y2, exclusive at the far edge.
        share: of the box's sides, in (0, 1].

    >>> ellipse_in((5, 7), (1, 1, 6, 4)).astype(int).sum(axis=1).tolist()
    [0, 3, 5, 3, 0]
    """
    x1, y1, x2, y2 = box
    mask = np.zeros(size, dtype=bool)
    ys, xs = np.ogrid[y1:y2, x1:x2]
    across, along = (x2 - x1) / 2 * share, (y2 - y1) / 2 * share
    middle_x, middle_y = (x1 + x2 - 1) / 2, (y1 + y2 - 1) / 2
    mask[y1:y2, x1:x2] = ((xs - middle_x) / across) ** 2 + ((ys - middle_y) / along) ** 2 <= 1
    mask[int(middle_y), int(middle_x)] = True
    return mask


def _boxed(size: tuple[int, int], box: Box) -> Bool[np.ndarray, "h w"]:
    x1, y1, x2, y2 = box
    mask = np.zeros(size, dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask
