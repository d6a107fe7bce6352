"""The families that one backend serves, and where they differ: class, frame, and what their encoders give."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zim_plugins.core.backends.transformers.preprocessing import Preprocessing
from zim_plugins.core.checkpoints.whole_model import model_type_of, transformers_class
from zim_plugins.errors import CheckpointError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
PROMPT_INPUTS = {
    "clicks": "input_points",
    "negatives": "input_labels",
    "box": "input_boxes",
    "mask": "input_masks",
    "several candidates": "multimask_output",
}
"""What a user may give, and the argument of the class's `forward` by which it takes it."""


def _padded_embeddings(model: Any, pixels: Any) -> dict[str, Any]:
    return {"image_embeddings": model.get_image_embeddings(pixels)}


def _hq_embeddings(model: Any, pixels: Any) -> dict[str, Any]:
    """SAM-HQ's mask head also looks at the encoder's early layers."""
    embeddings, early = model.get_image_embeddings(pixels)
    return {"image_embeddings": embeddings, "intermediate_embeddings": list(early)}


def _pyramid_embeddings(model: Any, pixels: Any) -> dict[str, Any]:
    """SAM 2 and its kin decode from three scales."""
    return {"image_embeddings": list(model.get_image_embeddings(pixels))}


@dataclass(frozen=True)
class Family:
    """One architecture of transformers."""

    title: str
    """What people call it."""
    model_types: tuple[str, ...]
    """`model_type` of the configurations it loads; hub files of trackers carry the tracker's."""
    model_class: str
    """Its class in transformers."""
    preprocessing: Preprocessing
    """Where the folder says nothing else."""
    encode: Callable[[Any, Any], dict[str, Any]]
    """From a model and its pixels to keyword arguments of `forward`, each with one row an image."""
    example: str
    """A published checkpoint on the hub."""
    also_needs: str | None = None
    """A package beside transformers."""

    def load_class(self) -> Any:
        """Return the class.

        Raises:
            MissingExtra: transformers is absent or too old for it, or a package that it needs is absent.
        """
        return transformers_class(self.model_class, also_needs=self.also_needs)

    def prompts(self) -> dict[str, bool]:
        """Return what may be given to it, read off the signature of its class's `forward`.

        Raises:
            MissingExtra: see `load_class`.
        """
        taken = inspect.signature(inspect.unwrap(self.load_class().forward)).parameters
        return {word: argument in taken for word, argument in PROMPT_INPUTS.items()}


_PADDED = Preprocessing(1024, False, IMAGENET_MEAN, IMAGENET_STD)
_STRETCHED = Preprocessing(1024, True, IMAGENET_MEAN, IMAGENET_STD)
FAMILIES = (
    Family("SAM", ("sam",), "SamModel", _PADDED, _padded_embeddings, "facebook/sam-vit-base"),
    Family("SAM-HQ", ("sam_hq",), "SamHQModel", _PADDED, _hq_embeddings, "syscv-community/sam-hq-vit-base"),
    Family(
        "SAM 2, 2.1", ("sam2", "sam2_video"), "Sam2Model", _STRETCHED, _pyramid_embeddings,
        "facebook/sam2.1-hiera-small",
    ),
    Family(
        "EdgeTAM", ("edgetam", "edgetam_video"), "EdgeTamModel", _STRETCHED, _pyramid_embeddings,
        "yonigozlan/EdgeTAM-hf", "timm",
    ),
    Family(
        "SAM 3, tracker", ("sam3_tracker", "sam3_tracker_video", "sam3_video"), "Sam3TrackerModel",
        Preprocessing(1008, True, HALF, HALF), _pyramid_embeddings, "facebook/sam3",
    ),
)  # fmt: skip
"""Every family that `hf:` takes."""


def family_of(folder: Path) -> Family:
    """Return the family of a model's folder, by the `model_type` of its configuration.

    Raises:
        CheckpointError: the configuration is missing, damaged, or of another kind of model.
    """
    kind = model_type_of(folder)
    for family in FAMILIES:
        if kind in family.model_types:
            return family
    known = ", ".join(f"{family.title} ({family.model_types[0]})" for family in FAMILIES)
    raise CheckpointError(f"{folder} holds a {kind}, which takes no clicks here; served are {known}")
