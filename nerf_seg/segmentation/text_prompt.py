"""A text as a prompt: the box that a Grounding DINO of transformers finds for it, from a folder on this machine."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import CheckpointError, MissingExtra

BOX_SCORE, TEXT_SCORE = 0.35, 0.25
"""Lowest scores of a box and of its words, as SA3D sets them."""


def box_of_text(text: str, image: UInt8[np.ndarray, "h w 3"], model: Path | None) -> tuple[float, float, float, float]:
    """The best-scored box for a text, x1, y1, x2, y2 as shares of the picture's width and height.

    Args:
        text: names the object, "the fern".
        image: sRGB.
        model: folder of the model and its processor, as `save_pretrained` writes them.

    Raises:
        CheckpointError: there is no such folder.
        MissingExtra: transformers is not installed.
        ValueError: nothing is found.
    """
    if model is None or not model.is_dir():
        raise CheckpointError(
            f"--pipeline.text needs --pipeline.text-model, a folder with a Grounding DINO; got {model}"
        )
    try:
        import torch
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor
    except ImportError as error:
        raise MissingExtra("transformers", "diffusion") from error
    processor = AutoProcessor.from_pretrained(model, local_files_only=True)
    detector = AutoModelForZeroShotObjectDetection.from_pretrained(model, local_files_only=True).eval()
    inputs = processor(images=image, text=f"{text.lower().rstrip('.')}.", return_tensors="pt")
    with torch.inference_mode():
        outputs = detector(**inputs)
    found = processor.post_process_grounded_object_detection(
        outputs, inputs.input_ids, threshold=BOX_SCORE, text_threshold=TEXT_SCORE, target_sizes=[(1, 1)]
    )[0]
    if len(found["boxes"]) == 0:
        raise ValueError(f"nothing that is {text!r} is found in the reference view: click on it, or give a box")
    x1, y1, x2, y2 = found["boxes"][int(found["scores"].argmax())].clamp(0, 1).tolist()
    return x1, y1, x2, y2
