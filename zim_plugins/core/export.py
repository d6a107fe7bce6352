"""Export to the official ONNX pair: `encoder.onnx` and `decoder.onnx`, as the public `zim_anything` package runs them.

The interface is that of the official release: a 1024 px frame; `image` to `image_embeddings`, `feat_D0`, `feat_D1` and
`feat_D2`; these with `attn_mask`, `point_coords` and `point_labels` to `masks` (logits at stride 2) and
`iou_predictions`. A model that lives in another frame is resized inside its graphs.
"""

import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import torch
from torch import Tensor, nn

from zim_plugins.core.backends.official import (
    CLICKS_AND_BOX,
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    FEATURES,
    FRAME_PX,
    LOGITS_PX,
    MASK_GRID,
    METADATA_PREFIX,
)
from zim_plugins.core.backends.official_graphs import DecoderGraph, EncoderGraph
from zim_plugins.core.modeling.zim import Zim, config_to_dict
from zim_plugins.core.modeling.zim_lite import ZimLite
from zim_plugins.errors import MissingExtra

logger = logging.getLogger(__name__)

OPSET = 17
"""The oldest with LayerNormalization; any ONNX Runtime since 1.12 runs it."""
MAX_FILE_BYTES = 2**31 - 2**24
"""Protocol buffers end at 2 GiB; larger weights go into a file beside the graph."""


def export_onnx(zim: Zim | ZimLite, folder: Path, *, name: str = "zim") -> Path:
    """Write `encoder.onnx` and `decoder.onnx` into `folder`, each whole or not at all.

    Args:
        zim: the model; with the hierarchical pixel decoder, whose details the interface names.
        folder: made where it does not exist; files of the same names are replaced.
        name: of the checkpoint, for the files' metadata.

    Returns:
        `folder`.

    Raises:
        MissingExtra: onnx is not installed.
        ValueError: the model has SAM's pixel decoder.
    """
    if zim.config.pixel_decoder != "hierarchical":
        raise ValueError(
            f"pixel_decoder is {zim.config.pixel_decoder!r}: the interface of ZIM's ONNX pair needs 'hierarchical'"
        )
    zim = copy.deepcopy(zim).to("cpu", torch.float32).eval().requires_grad_(False)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = _metadata(zim, name)
    image = torch.zeros(1, 3, FRAME_PX, FRAME_PX)
    encoder = EncoderGraph(zim)
    with torch.no_grad():
        embedding, *details = encoder(image)
    _write(encoder, (image,), ("image",), FEATURES, {}, folder / "encoder.onnx", metadata)
    batch, tokens = {0: "batch"}, {0: "batch", 1: "num_points"}
    prompts = (
        torch.ones(2, MASK_GRID, MASK_GRID),
        torch.tensor([[[500.0, 400.0], [600.0, 700.0], [0.0, 0.0]], [[10.0, 20.0], [600.0, 700.0], [0.0, 0.0]]]),
        torch.tensor([[1.0, 0.0, -1.0], [2.0, 3.0, 1.0]]),
    )
    axes = {"attn_mask": batch, "point_coords": tokens, "point_labels": tokens, "masks": batch}
    axes["iou_predictions"] = batch
    _write(
        DecoderGraph(zim),
        (*details, embedding, *prompts),
        DECODER_INPUTS,
        DECODER_OUTPUTS,
        axes,
        folder / "decoder.onnx",
        metadata,
    )
    return folder


def _metadata(zim: Zim | ZimLite, name: str) -> dict[str, str]:
    from zim_plugins import __version__

    values = {
        "version": __version__,
        "checkpoint": name,
        "frame_px": str(zim.config.frame_px),
        "attention_mask": "input" if zim.config.frame_px == FRAME_PX else "drawn inside",
        "config": json.dumps(config_to_dict(zim.config)),
    }
    return {METADATA_PREFIX + key: value for key, value in values.items()} | {CLICKS_AND_BOX: "true"}


def _write(
    graph: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    dynamic_axes: dict[str, dict[int, str]],
    path: Path,
    metadata: dict[str, str],
) -> None:
    """Trace, attach the metadata, check, and rename into place."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as scratch:
        traced = Path(scratch) / path.name
        with torch.no_grad(), warnings.catch_warnings(), _unchecked_shapes():
            warnings.simplefilter("ignore")  # the tracer warns of each shape that is fixed on purpose
            torch.onnx.export(
                graph,
                inputs,
                str(traced),
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_axes=dynamic_axes,
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load(str(traced))
        onnx.helper.set_model_props(model, metadata)
        for output in model.graph.output:
            if output.name == "masks":  # resized answers lose their shape in the tracer
                _set_shape(output, ("batch", 4, LOGITS_PX, LOGITS_PX))
        external = sum(p.numel() * p.element_size() for p in graph.parameters()) > MAX_FILE_BYTES
        written = Path(scratch) / "written" / path.name
        written.parent.mkdir()
        onnx.save_model(model, str(written), save_as_external_data=external, location=f"{path.name}.data")
        onnx.checker.check_model(str(written))
        for file in sorted(written.parent.iterdir(), reverse=True):  # the weights before the graph that names them
            os.replace(file, path.parent / file.name)
    logger.info("wrote %s (%.1f MB)", path, path.stat().st_size / 1e6)


@contextmanager
def _unchecked_shapes() -> Iterator[None]:
    """Suspend jaxtyping's checks, where somebody installed them: while a graph is traced, sizes are tensors too."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _set_shape(value: Any, dims: tuple[str | int, ...]) -> None:
    """Declare the shape of a graph's output (onnx.ValueInfoProto); a name stands for a dynamic axis."""
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for dim in dims:
        if isinstance(dim, str):
            shape.dim.add().dim_param = dim
        else:
            shape.dim.add().dim_value = dim
