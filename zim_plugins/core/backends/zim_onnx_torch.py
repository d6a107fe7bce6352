"""ZIM's official file pair as torch modules: the graphs are converted node by node, so that the weights can train.

Proven on this project's own exports (`tests/core/backends/test_onnx_torch.py`); the official files were not at hand.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32, Int, UInt8

from zim_plugins.core.backends.official import (
    CLICKS_AND_BOX,
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    FEATURES,
    FRAME_PX,
    decode_in_batches,
    official_frame,
    official_tokens,
)
from zim_plugins.core.prompt import Prompt
from zim_plugins.errors import CheckpointError, MissingExtra

if TYPE_CHECKING:
    from torch import nn

WEIGHING = {"OnnxMatMul", "OnnxGeneralLinear", "OnnxBinaryMathOperation", "OnnxEinsum", "OnnxGather", "OnnxWhere"}
"""onnx2torch's modules whose constant factors and summands are weights."""


class ZimOnnxTorchBackend:
    """The official ONNX pair, converted to torch.

    `encoder` and `decoder` are `nn.Module`s with the graphs' inputs in order; their weights are parameters.

    Args:
        folder: holds `encoder.onnx` and `decoder.onnx`.
        name: checkpoint name, for records and messages.
        device: a torch device.
        batch: prompts decoded at once, at most.

    Raises:
        CheckpointError: a file is missing, damaged, or holds an operation that cannot be converted.
        MissingExtra: onnx or onnx2torch is not installed.
    """

    activation: Literal["sigmoid", "step"] = "sigmoid"
    supports_alpha = False
    frame_px = FRAME_PX

    def __init__(self, folder: Path, *, name: str, device: str = "cpu", batch: int = 8) -> None:
        self.name = name
        self.batch = batch
        self.device = device
        self.encoder, _ = convert(Path(folder) / "encoder.onnx", outputs=FEATURES)
        self.decoder, metadata = convert(Path(folder) / "decoder.onnx", outputs=DECODER_OUTPUTS)
        self.encoder.to(device).eval()
        self.decoder.to(device).eval()
        self.supports_clicks_and_box = metadata.get(CLICKS_AND_BOX) == "true"

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """Encode an RGB picture whose longest side is the frame's; the features stay on the device."""
        import torch

        with torch.no_grad():
            features = self.encoder(torch.from_numpy(official_frame(image)).to(self.device))
        return dict(zip(FEATURES, features, strict=True))

    def decode(
        self, embedding: dict[str, Any], prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode prompts in frame coordinates [px]; one candidate where `multimask` is False, else four.

        Raises:
            UnsupportedPrompt: a coarse matte; clicks and a box together where the files do not carry both.
        """
        import torch

        tokens = [official_tokens(p, name=self.name, clicks_and_box=self.supports_clicks_and_box) for p in prompts]

        def run(
            mask: Float32[np.ndarray, "b 64 64"], coords: Float32[np.ndarray, "b n 2"], labels: Int[np.ndarray, "b n"]
        ) -> tuple[Float32[np.ndarray, "b 4 512 512"], Float32[np.ndarray, "b 4"]]:
            given = {"attn_mask": mask, "point_coords": coords, "point_labels": labels.astype(np.float32)}
            inputs = embedding | {k: torch.from_numpy(v).to(self.device) for k, v in given.items()}
            with torch.no_grad():
                masks, iou = self.decoder(*(inputs[name] for name in DECODER_INPUTS))
            return masks.cpu().numpy(), iou.cpu().numpy()

        return decode_in_batches(tokens, run, batch=self.batch, multimask=multimask)


def convert(path: Path, *, outputs: Sequence[str]) -> tuple["nn.Module", dict[str, str]]:
    """Turn an ONNX graph into a torch module whose float weights are parameters.

    Args:
        path: of the graph.
        outputs: what it must answer, in order.

    Returns:
        The module, and the file's metadata.

    Raises:
        CheckpointError: the file is missing, damaged, another graph, or cannot be converted.
        MissingExtra: onnx, onnxscript or onnx2torch is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnxscript import optimizer
    except ImportError as error:
        raise MissingExtra("onnx and onnxscript", "onnx") from error
    try:
        from onnx2torch import convert as convert_graph
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise MissingExtra(f"onnx2torch with a torchvision that fits torch ({error})", "onnx") from error

    if not path.is_file():
        raise CheckpointError(f"{path} is missing: the folder must hold encoder.onnx and decoder.onnx")
    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise CheckpointError(f"{path} is damaged or not an ONNX model: {error}") from error
    found = [output.name for output in model.graph.output]
    if found != list(outputs):
        raise CheckpointError(f"{path} answers {found}, expected {list(outputs)}")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    model = optimizer.optimize(model)  # folds what is constant: onnx2torch refuses computed shapes and limits
    try:
        module = convert_graph(model)
    except NotImplementedError as error:
        raise CheckpointError(f"{path} cannot become a torch module ({error}): use runtime='onnx'") from error
    _free_weights(module)
    _silence_slices(module)
    return module, metadata


def _silence_slices(module: Any) -> None:
    """Run the module without torch's advice on onnx2torch's way of slicing (lists where tuples are preferred)."""
    forward = module.forward

    def quiet_forward(*inputs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using a non-tuple sequence", category=UserWarning)
            return forward(*inputs)

    module.forward = quiet_forward


def _free_weights(module: Any) -> None:
    """Make parameters of the weights that onnx2torch keeps as buffers.

    ONNX does not say which constants were learned. Taken for weights: float arrays that enter a product, a sum, an
    einsum or a selection, and those of three and more dimensions that are repeated for a batch (output tokens). Not
    taken: scalars, and factors of two rows, which turn XY into SAM's fixed random Fourier features.
    """
    from torch import nn

    operations = dict(module.named_modules())
    buffers = dict(module.named_buffers())
    for node in module.graph.nodes:
        if node.op != "get_attr" or node.target not in buffers:
            continue
        value = buffers.pop(node.target)
        users = {type(operations[user.target]).__name__ for user in node.users if user.op == "call_module"}
        learned = bool(users & WEIGHING) or ("OnnxExpand" in users and value.ndim >= 3)
        if learned and value.is_floating_point() and value.numel() > 1 and value.shape[0] != 2:
            owner_name, _, key = node.target.rpartition(".")
            owner = module.get_submodule(owner_name)
            delattr(owner, key)
            owner.register_parameter(key, nn.Parameter(value.clone()))
