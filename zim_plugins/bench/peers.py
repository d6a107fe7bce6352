"""The public packages that do the same, on the same weights; each says why where it cannot run."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from zim_plugins.core.modeling.zim import ZIM_CONFIGS, Zim
from zim_plugins.core.modeling.zim_lite import ZimLite
from zim_plugins.core.prompt import Prompt

PHOTO = "sample:astronaut"


def photo(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A photograph of that size: scikit-image's astronaut, resized."""
    from PIL import Image

    from zim_plugins.imaging.image import read_image

    return np.asarray(Image.fromarray(read_image(PHOTO).rgb).resize((width, height)))


def random_pair(name: str) -> tuple[Zim, Any]:
    """Our ZIM, and segment-anything's SAM of that name with the same random encoder or a text that says why not."""
    torch.manual_seed(0)
    try:
        from segment_anything import sam_model_registry
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        return Zim(ZIM_CONFIGS[name]).eval(), f"segment-anything cannot be imported: {error}"
    sam = sam_model_registry[name]().eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # relative positions start at zero
    return Zim.from_sam(sam.state_dict(), ZIM_CONFIGS[name]).eval(), sam


class Release:
    """The public release on our export, as it comes: sixteen threads within an operation, on the CPU.

    Args:
        device: of `onnx`.
    """

    def __init__(self, zim: Zim | ZimLite, folder: Path, name: str, device: str) -> None:
        from zim_anything import ZimPredictor, build_zim_model

        from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend
        from zim_plugins.core.export import export_onnx

        export_onnx(copy.deepcopy(zim), folder, name=name)
        self.predictor = ZimPredictor(build_zim_model(str(folder)))
        on_cpu = device == "cpu"
        self.onnx = ZimOnnxBackend(
            folder, name=name, device=device, threads=torch.get_num_threads() if on_cpu else None
        )
        """The same files in this project's runtime of ONNX: with the threads of this measurement, or on the GPU."""

    def click_all(self, prompts: Sequence[Prompt]) -> list[Any]:
        """A matte of each prompt's clicks, at the size of the image that is set, one call each."""
        return [
            self.predictor.predict(point_coords=p.points, point_labels=p.labels, multimask_output=False)
            for p in prompts
        ]


def release_of(zim: Zim | ZimLite, name: str, device: str) -> Release | str:
    """The public release on an export of these weights, or a text that says why not."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Release(zim, Path(folder), name, device)
    except (ImportError, RuntimeError) as error:
        return f"zim_anything on ONNX Runtime cannot be used: {error}"
