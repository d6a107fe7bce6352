"""Mattes of views: by any predictor, by an oracle where the truth is known; and the 3D gate for output views."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
from jaxtyping import Float32, UInt8
from scipy.ndimage import maximum_filter

from zim_plugins.core import Prediction, Predictor, Prompt, UnsupportedPrompt, read_alpha

from .views import View

RESIDUE = 0.01
"""Opacities this near to 0 or 1 are taken for 0 or 1: a sigmoid reaches neither."""
GATE_ALPHA = 0.1
"""A re-matted view keeps what lies near pixels where the 3D matte exceeds this opacity."""
GATE_REACH = 0.03
"""How near, as a share of the image's longer side."""

Corruption = Literal["inverse", "everything", "nothing"]


def candidate_alphas(predictor: Predictor, view: View, prompt: Prompt) -> Float32[np.ndarray, "c h w"]:
    """The predictor's mattes of what the prompt points at, the best-scored first, with residues removed."""
    return alphas_by_prompt(predictor, view, [prompt])[0]


def alphas_by_prompt(predictor: Predictor, view: View, prompts: Sequence[Prompt]) -> list[Float32[np.ndarray, "c h w"]]:
    """The predictor's mattes for each prompt, as `candidate_alphas` has them; the image is encoded once."""
    show(predictor, view.name, view.image)
    found = [predictor.predict(prompt) for prompt in prompts]
    return [without_residue(one.alphas[np.argsort(-one.scores, kind="stable")]) for one in found]


def without_residue(alphas: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Opacities with those within `RESIDUE` of 0 or 1 set to 0 or 1."""
    return np.where(alphas < RESIDUE, 0, np.where(alphas > 1 - RESIDUE, 1, alphas)).astype(np.float32)


def matte_through_gate(
    predictor: Predictor, view: View, alpha_3d: Float32[np.ndarray, "h w"], prompt: Prompt
) -> Float32[np.ndarray, "h w"]:
    """Matte an output view anew, guided by the 3D matte and kept to its neighbourhood.

    The 3D matte is coarse at the grid's scale; the predictor sees the image's own detail.

    Args:
        predictor: mattes the view's image; one that takes a coarse matte is given the 3D matte too.
        view: of the output.
        alpha_3d: the 3D matte as the view sees it, in [0, 1].
        prompt: where the object is, see `self_prompt`.
    """
    show(predictor, view.name, view.image)
    guided = Prompt(points=prompt.points, labels=prompt.labels, box=prompt.box, alpha=alpha_3d)
    try:
        alpha = predictor.predict(guided).alpha
    except UnsupportedPrompt:
        alpha = predictor.predict(prompt).alpha
    reach_px = max(round(GATE_REACH * max(alpha_3d.shape)), 2)
    gate = maximum_filter(alpha_3d, size=2 * reach_px + 1) > GATE_ALPHA
    return without_residue(alpha) * gate


def show(predictor: Predictor, name: str, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Set a view's image; an oracle is told the view's name."""
    if isinstance(predictor, OraclePredictor):
        predictor.name_view(name)
    predictor.set_image(image)


class OraclePredictor:
    """A `Predictor` that knows the truth of every view, for scenes that have it and for tests.

    It answers with the object where most positive clicks lie on it, or where the box covers most of it; else with all
    but the object, as a model would that was pointed at the background.

    Args:
        truth: alpha in [0, 1] of a view, by the view's name; reduced to the image's size where it is larger.
        corrupted: views for which it answers wrongly, and how.
    """

    name = "oracle"

    def __init__(
        self, truth: Callable[[str], Float32[np.ndarray, "h w"]], corrupted: Mapping[str, Corruption] | None = None
    ) -> None:
        self._truth = truth
        self._corrupted = dict(corrupted or {})
        self._view: str | None = None
        self._alpha: Float32[np.ndarray, "h w"] | None = None

    @classmethod
    def from_folder(cls, folder: Path) -> "OraclePredictor":
        """Truth from images in a folder, of any format, whose stems are those of the views.

        Raises:
            ValueError: the folder holds no file. Later: a view has no file there.
        """
        paths = {path.stem: path for path in sorted(Path(folder).glob("*")) if path.is_file()}
        if not paths:
            raise ValueError(f"{folder} holds no mattes for the oracle")

        def read(name: str) -> Float32[np.ndarray, "h w"]:
            path = paths.get(Path(name).stem)
            if path is None:
                raise ValueError(f"{folder} holds no matte for the view {name}")
            return read_alpha(path)

        return cls(read)

    def name_view(self, name: str) -> None:
        """Say which view the next image is."""
        self._view = name

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Take the image's size; the truth comes from its name.

        Raises:
            ValueError: the view was not named first.
        """
        if self._view is None:
            raise ValueError("the oracle knows images by their names: call name_view(name) first")
        self._alpha = _resized(self._truth(self._view), (image.shape[0], image.shape[1]))

    def predict(self, prompt: Prompt) -> Prediction:
        """The truth, unless the prompt points elsewhere or the view is corrupted."""
        if self._alpha is None:
            raise ValueError("no image is set: call set_image(image) first")
        alpha = self._alpha
        prompt.check_inside((alpha.shape[0], alpha.shape[1]))
        corruption = self._corrupted.get(self._view or "")
        if corruption == "everything":
            alpha = np.ones_like(alpha)
        elif corruption == "nothing":
            alpha = np.zeros_like(alpha)
        elif (corruption == "inverse") == _points_at(alpha, prompt):
            alpha = 1 - alpha
        return Prediction(alpha[None], np.ones(1, dtype=np.float32))

    def predict_many(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """See `predict`."""
        return [self.predict(prompt) for prompt in prompts]


def _points_at(alpha: Float32[np.ndarray, "h w"], prompt: Prompt) -> bool:
    """Return whether the prompt means the object: by positive clicks, or else by its box; a coarse matte alone does."""
    height, width = alpha.shape
    if prompt.points is not None and prompt.labels is not None and (prompt.labels == 1).any():
        x, y = np.minimum(prompt.points[prompt.labels == 1], [width - 1, height - 1]).astype(int).T
        return bool((alpha[y, x] > 0.5).mean() > 0.5)
    if prompt.box is not None:
        x1, y1, x2, y2 = prompt.box.round().astype(int)
        return bool(alpha[max(y1, 0) : y2, max(x1, 0) : x2].sum() > 0.5 * alpha.sum())
    return True


def _resized(alpha: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "height width"]:
    if alpha.shape == size:
        return alpha
    reduced = PIL.Image.fromarray(alpha).resize((size[1], size[0]), PIL.Image.Resampling.BOX)
    return np.asarray(reduced, dtype=np.float32).clip(0, 1)
