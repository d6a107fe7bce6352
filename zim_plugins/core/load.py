"""load_predictor: a name, or a file, to a predictor that is ready for images."""

import importlib.util
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zim_plugins.core.backends.base import Backend
from zim_plugins.core.checkpoints.hub import PREFIX, find_hub, hub_folder, is_hub_name
from zim_plugins.core.checkpoints.records import AUTO_ORDER, CHECKPOINTS, find, require
from zim_plugins.core.predictor import ImagePredictor, Zoom
from zim_plugins.core.refinement.base import check_refinement, load_refiner
from zim_plugins.errors import CheckpointError, MissingExtra
from zim_plugins.imaging.ranges import one_line

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SMALL_FRAME_PX = 1024
"""Below this frame a model is one of the small ones, whose mattes are refined by default."""
SMALL_MODEL_ZOOM = Zoom(margin=0.3, min_gain=4 / 3)
"""Crop to 1.6 times the object and look again where that is below 3/4 of the image.

Chosen on COCO objects kept apart."""
SMALL_OBJECT_PX = 64
"""Longer side of a box [px] below which zim_tiny looks at what it holds twice, with room of 0.3 and of 0.6.

Chosen on objects of VOC 2012, COCO, car parts and clothing kept apart."""
LARGE_FRAME_PX = 512
"""Frame in which zim_tiny looks again at what a box holds, where that has more pixels than its own frame.

Chosen on COCO objects and composites kept apart; clicks keep to one frame for their speed."""
Runtime = Literal["auto", "torch", "onnx"]
Dtype = Literal["fp32", "bf16", "fp16"]
Refine = str
"""Words that `check_refinement` takes."""


def load_predictor(
    name: str | Path = "auto",
    *,
    runtime: Runtime = "auto",
    device: "str | torch.device" = "auto",
    dtype: Dtype = "fp32",
    zoom: bool | None = None,
    refine: Refine = "auto",
    compiled: bool = False,
    threads: int | None = None,
) -> ImagePredictor:
    """Build a predictor from a checkpoint on this machine; nothing is downloaded but a model of the hub named by "hf:".

    Args:
        name: a checkpoint's name (`zim models` lists them), a file (`.safetensors` of ours, SAM's `.pth`), a folder
            with ZIM's ONNX pair, "hf:NAME_OR_FOLDER" for a SAM, SAM-HQ, SAM 2, EdgeTAM or SAM 3 tracker of
            transformers (extra `models`), or "auto" for the best checkpoint that is present.
        runtime: "onnx" and "torch" choose for the ONNX pair, which "torch" converts to a trainable module; our own
            weights and SAM's are torch.
        device: "cpu", "cuda", "cuda:1", "mps", or "auto" for the best that is present.
        dtype: what the network computes in.
        zoom: look again at the crop of an object in images larger than the model's frame; None: yes for matting
            models, no for SAM, which is a baseline.
        refine: improve mattes by the image's colours ("colour"), by ViTMatte on a trimap made of them
            ("vitmatte[:NAME_OR_FOLDER]", extra `models`), by the label converter ("converter[:FILE]"), or not ("none");
            "auto" takes the colours for zim_tiny, which gained by it on images kept apart for choosing, and nothing for
            other models.
        compiled: use `torch.compile`; the first calls take minutes, later ones less time.
        threads: of ONNX Runtime within one operation; None leaves the choice to it.

    Raises:
        CheckpointError: nothing usable is on this machine; the message holds the command that brings it.
        ValueError: the name, the device or the combination of options makes no sense.
        MissingExtra: the runtime is not installed.

    >>> load_predictor("zim_tiny", device="cpu").name
    'zim_tiny'
    """
    check_refinement(refine)
    if not isinstance(name, str | Path):
        raise TypeError(f"a checkpoint is a name, or the path of a file or folder, got {type(name).__name__}")
    if not isinstance(device, str):
        device = resolve_device(device)
    name, path, kind = _resolve(name)
    backend = _backend(name, path, kind, runtime, device, dtype, compiled, threads)
    if zoom is None:
        zoom = backend.activation == "sigmoid"
    if refine == "auto":
        refine = "colour" if kind == "zim_safetensors" and backend.frame_px < SMALL_FRAME_PX else "none"
    refiner = load_refiner(refine, device="cpu" if refine in ("colour", "none") else resolve_device(device))
    rule = SMALL_MODEL_ZOOM if backend.frame_px < SMALL_FRAME_PX else Zoom()
    if kind == "zim_safetensors" and getattr(backend, "supports_salient", False):
        rule = replace(rule, frame_px=LARGE_FRAME_PX, small_px=SMALL_OBJECT_PX)
    return ImagePredictor(backend, zoom=rule if zoom else None, refinement=refiner)


def resolve_device(device: "str | torch.device") -> str:
    """The device meant by "auto": CUDA, Apple's GPU, or the CPU; a `torch.device` is taken as its name.

    Raises:
        TypeError: neither a name nor a `torch.device`.
        ValueError: a device that torch does not see here.

    >>> resolve_device("cpu")
    'cpu'
    """
    import torch

    if isinstance(device, torch.device):
        device = str(device)
    if not isinstance(device, str):
        raise TypeError(f"the device is a name such as cpu or cuda, or a torch.device, got {type(device).__name__}")
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in present or (index and not index.isdecimal()) or device.endswith(":"):
        raise ValueError(f"the device is auto, cpu, cuda, cuda:<index> or mps, got {device!r}")
    if not present[kind]:
        raise ValueError(f"there is no {kind} device here (torch sees none): use --device cpu, or see `zim doctor`")
    if index and int(index) >= (torch.cuda.device_count() if kind == "cuda" else 1):
        raise ValueError(f"there is no {device} here: {kind} has no device of this number")
    return device


def _resolve(name: str | Path) -> tuple[str, Path, str]:
    """Name, place and kind of the checkpoint that is meant."""
    from zim_plugins.core.checkpoints.pretrained import WEIGHTS, is_ours

    if name == "auto":
        present = [n for n in AUTO_ORDER if find(n) is not None]
        if not present:
            require("zim_tiny")
        name = present[0]
        logger.info("model: %s, the best checkpoint on this machine (`zim models` lists the others)", name)
    if is_hub_name(name):
        here = find_hub(str(name))
        ours = here is not None and is_ours(here)
        if not ours and importlib.util.find_spec("transformers") is None:  # before anything is fetched
            raise MissingExtra("transformers", "models")
        folder = hub_folder(str(name))
        if is_ours(folder):
            return str(name), folder / WEIGHTS, "zim_safetensors"
        return str(name), folder, "transformers"
    if str(name) in CHECKPOINTS:
        return str(name), require(str(name)), CHECKPOINTS[str(name)].kind
    try:
        path = Path(name).expanduser()
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, nobody's home, a null character
        raise CheckpointError(f"{one_line(str(name))} is no checkpoint's name and no path: {one_line(error)}") from None
    if is_folder and is_ours(path):
        return path.name, path / WEIGHTS, "zim_safetensors"
    if is_folder:
        return path.name, path, "zim_onnx"
    if not is_there:
        raise CheckpointError(
            f"{name} is no checkpoint's name ({', '.join(CHECKPOINTS)}) and no file on this machine; "
            f"a model of the Hugging Face hub is {PREFIX}ORGANISATION/NAME"
        )
    kinds = {".safetensors": "zim_safetensors", ".pth": "sam_pth", ".pt": "sam_pth"}
    if path.suffix not in kinds:
        raise CheckpointError(f"{path} is neither a .safetensors of this project, nor SAM's .pth, nor an ONNX folder")
    return path.stem, path, kinds[path.suffix]


def _backend(
    name: str, path: Path, kind: str, runtime: Runtime, device: str, dtype: Dtype, compiled: bool, threads: int | None
) -> Backend:
    if kind == "zim_onnx":
        if runtime == "torch":
            from zim_plugins.core.backends.zim_onnx_torch import ZimOnnxTorchBackend

            if dtype != "fp32" or compiled:
                raise ValueError("converted ONNX weights run in fp32, uncompiled: drop these options")
            return ZimOnnxTorchBackend(path, name=name, device=resolve_device(device))
        from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend

        if dtype != "fp32" or compiled:
            raise ValueError("ONNX weights run as they are, in fp32: drop --dtype and compiled")
        return ZimOnnxBackend(path, name=name, device=device, threads=threads)
    if runtime == "onnx" and kind == "transformers":
        raise ValueError(f"{name} runs in torch, as transformers has it: leave out runtime 'onnx'")
    if runtime == "onnx":
        raise ValueError(f"{name} is a torch checkpoint: `zim export --model {name} --to onnx` writes ONNX files of it")
    if threads is not None:
        raise ValueError("threads is a setting of ONNX Runtime; torch takes OMP_NUM_THREADS")
    import torch

    from zim_plugins.core.backends.zim_torch import ZimTorchBackend

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise ValueError(f"the dtype is one of {', '.join(dtypes)}, got {dtype!r}")
    if kind == "transformers":
        from zim_plugins.core.backends.transformers.backend import TransformersBackend

        if compiled:
            raise ValueError(f"{name} runs as transformers has it: drop compiled")
        return TransformersBackend(path, name=name, device=resolve_device(device), dtype=dtypes[dtype])
    if kind == "sam_pth":
        from zim_plugins.core.backends.sam import load_sam

        zim = load_sam(path)
    else:
        from zim_plugins.core.modeling.zim import load_weights

        zim, _ = load_weights(path)
    return ZimTorchBackend(zim, name=name, device=resolve_device(device), dtype=dtypes[dtype], compiled=compiled)
