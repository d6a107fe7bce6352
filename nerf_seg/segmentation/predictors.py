"""The 2D model of a run, by the name that its option gives, and its answer to the reference prompt."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from zim_plugins.core import Predictor, load_predictor
from zim_plugins.evaluation import ModelOptions, is_outside, load_model

from .matting import OraclePredictor, show, without_residue
from .reference_prompt import ReferencePrompt

ORACLE = "oracle:"


def build_matter(name: str, device: str = "auto") -> Predictor:
    """The predictor that `--pipeline.matter` names.

    Args:
        name: a checkpoint's name or path as `load_predictor` takes them, FILE.py:FUNCTION that makes a predictor, or
            "oracle:DIR" for true mattes from a folder.
        device: for the model.

    Raises:
        CheckpointError, ValueError, MissingExtra: see `load_predictor`; or the folder does not exist.
    """
    if not name.startswith(ORACLE):
        if is_outside(name):
            return load_model(name, ModelOptions(device=device))
        return load_predictor(name, device=device)
    folder = Path(name.removeprefix(ORACLE)).expanduser()
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}: oracle:DIR names the folder with the true mattes")
    return OraclePredictor.from_folder(folder)


def reference_alpha(
    predictor: Predictor, reference: ReferencePrompt, name: str, image: UInt8[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "h w"]:
    """The matte of the reference view, from its image alone.

    >>> oracle = OraclePredictor(lambda name: np.ones((4, 6), np.float32))
    >>> prompt = ReferencePrompt(points=((2, 3, 1),))
    >>> float(reference_alpha(oracle, prompt, "IMG_1.JPG", np.zeros((4, 6, 3), np.uint8)).mean())
    1.0

    Args:
        predictor: mattes the image.
        reference: what the user points at.
        name: file name of the image.
        image: the image.

    Raises:
        ValueError: the prompt does not fit the image, or nothing is matted.
    """
    size = (image.shape[0], image.shape[1])
    reference.check(size)
    if reference.matte is not None:
        return reference.matte
    show(predictor, name, image)
    alpha = without_residue(predictor.predict(reference.prompt(size)).alpha)
    if alpha.max() <= 0.5:
        raise ValueError(
            f"the prompt in {name} yields an empty matte (highest opacity {alpha.max():.2f}): point elsewhere"
        )
    return alpha
