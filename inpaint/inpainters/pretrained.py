"""Pretrained diffusion pipelines: from a folder, or from the Hugging Face cache; nothing is fetched."""

import inspect
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from zim_plugins.core import CheckpointError, MissingExtra

from .pipeline_calls import PipelineCall, missing
from .weights import DIFFUSION_MODELS

logger = logging.getLogger(__name__)


def is_diffusion_name(name: str) -> bool:
    """Return whether a name is one of `DIFFUSION_MODELS`, or a folder that holds a diffusers pipeline."""
    return name in DIFFUSION_MODELS or Path(name, "model_index.json").is_file()


def load_pipeline(name: str, device: str) -> Any:
    """Load an inpainting pipeline of diffusers, ready to be called.

    Half precision is used on CUDA, float32 elsewhere. Transformers, which few GPUs hold whole, are moved there in
    parts. A pipeline whose call takes an image and a hole is used itself; else diffusers' sibling that has one;
    where there is none, one that takes an image and a text edits the whole image, of which the hole is kept.

    Args:
        name: a key of `DIFFUSION_MODELS`, or a folder.
        device: cpu, mps or cuda[:N].

    Raises:
        CheckpointError: it is not there, or is no pipeline that paints holes.
        MissingExtra: diffusers or transformers is not installed.
    """
    try:
        import diffusers
        import torch
        import transformers  # noqa: F401  # diffusers stands in for what it misses, and fails late
        from diffusers import DiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]
    except ImportError as error:
        raise MissingExtra("diffusers with transformers", "diffusion") from error
    folder = _cached(name) if name in DIFFUSION_MODELS else Path(name)
    try:
        index = json.loads((folder / "model_index.json").read_text())
        kind = str(index["_class_name"])
        half = torch.bfloat16 if "transformer" in index else torch.float16
        dtype = half if device.startswith("cuda") else torch.float32
        own = PipelineCall.of(getattr(diffusers, kind)) if hasattr(diffusers, kind) else None
        with _bars_on_terminals_only():
            pipeline = None
            if own is None or not own.hole:  # a model without a hole of its own may have a sibling with one
                pipeline = _sibling(folder, dtype)
            if pipeline is None and own is not None:
                pipeline = DiffusionPipeline.from_pretrained(str(folder), local_files_only=True, dtype=dtype)
        if pipeline is None:
            parameters = inspect.signature(getattr(diffusers, kind).__call__).parameters if own is None else {}
            needs = f": it needs {', '.join(missing(parameters))}" if missing(parameters) else ""
            raise CheckpointError(f"{folder} holds a {kind}, which paints no holes{needs}")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder} holds no whole inpainting pipeline of diffusers: {error}") from error
    licence = f", licence: {DIFFUSION_MODELS[name].licence}" if name in DIFFUSION_MODELS else ""
    logger.info("%s: %s%s", name, kind, licence)
    if "transformer" in index and device.startswith("cuda"):
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)


def _sibling(folder: Path, dtype: Any) -> Any:
    """The pipeline of the same parts that paints holes; None where diffusers names none that we can call."""
    from diffusers import AutoPipelineForInpainting  # pyright: ignore[reportPrivateImportUsage]

    try:
        found = AutoPipelineForInpainting.from_pretrained(str(folder), local_files_only=True, dtype=dtype)
    except ValueError as error:
        if "pipeline" in str(error).lower():
            return None
        raise
    call = PipelineCall.of(found)
    return found if call is not None and call.hole else None


def _cached(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    model = DIFFUSION_MODELS[name]
    try:
        return Path(snapshot_download(model.repo, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name} ({model.repo}) is not in the Hugging Face cache: fetch it with `zim-inpaint --download {name}` "
            f"(licence: {model.licence}), or name a folder that holds such a pipeline"
        ) from error


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """Keep the loaders' progress bars out of logs and pipes."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    with ExitStack() as afterwards:
        for library in (of_diffusers, of_transformers):
            if not sys.stderr.isatty() and library.is_progress_bar_enabled():
                library.disable_progress_bar()
                afterwards.callback(library.enable_progress_bar)
        yield
