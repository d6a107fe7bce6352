"""Calls of diffusers' pipelines told from their signatures, so that one that is new tomorrow works without a list."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOLE_NAMES = ("mask_image", "mask")
"""What pipelines call the hole."""
OURS = frozenset({"self", "image", "prompt", *HOLE_NAMES})
"""Parameters that an image, a hole and a text give."""
FILL_INSTRUCTION = "Fill the grey area so that it continues the scene around it. Keep everything else as it is."
"""Text for a model that edits whole images, where the user gives none: the hole is painted grey for it."""
EDIT_GREY = 128
TRUE_GUIDANCE = 4.0
"""Weight of a negative prompt in a model whose own default would leave it unread."""


@dataclass(frozen=True)
class PipelineCall:
    """Call of a pipeline: `hole` is its mask's name, or empty for a model that edits whole images."""

    hole: str
    parameters: Mapping[str, inspect.Parameter]

    @classmethod
    def of(cls, pipeline: type[Any] | Any) -> "PipelineCall | None":
        """Return the call of a pipeline, or of its class; None where it takes no image, or needs more than we have.

        >>> class Edit:
        ...     def __call__(self, image, prompt=None, true_cfg_scale=4.0): ...
        >>> PipelineCall.of(Edit).hole, PipelineCall.of(Edit).takes("height")
        ('', False)
        """
        kind = pipeline if isinstance(pipeline, type) else type(pipeline)
        parameters = inspect.signature(kind.__call__).parameters
        if "image" not in parameters or missing(parameters):
            return None
        hole = next((name for name in HOLE_NAMES if name in parameters), "")
        return cls(hole, parameters) if hole or "prompt" in parameters else None

    def takes(self, name: str) -> bool:
        """Return whether the call has a parameter of this name."""
        return name in self.parameters

    def guidance(self, weight: float | None, negative_prompt: str) -> dict[str, Any]:
        """Weight of the prompt and the negative prompt in the pipeline's words, so that both are heeded.

        Distilled models (Flux) read a negative prompt only at a true guidance above 1; in others (Qwen-Image) that
        true guidance is the weight of the prompt, and `guidance_scale` is for models yet to come.
        """
        given: dict[str, Any] = {"negative_prompt": negative_prompt} if negative_prompt else {}
        true = self.parameters.get("true_cfg_scale")
        scale = self.parameters.get("guidance_scale")
        is_true = true is not None and (scale is None or scale.default is None)
        if weight is not None:
            given["true_cfg_scale" if is_true else "guidance_scale"] = weight
        if negative_prompt and true is not None and "true_cfg_scale" not in given:
            is_read = isinstance(true.default, int | float) and true.default > 1
            given |= {} if is_read else {"true_cfg_scale": TRUE_GUIDANCE}
        return given


def missing(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the parameters that a call needs and that no image with a hole gives, such as a control image."""
    always = (
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    )
    controls = (name for name in parameters if name.startswith(("control_image", "control_mask")))
    return sorted({*always, *controls} - OURS)
