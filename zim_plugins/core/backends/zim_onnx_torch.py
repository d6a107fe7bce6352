"""ZIM's official file pair in torch: its weights in this project's own modules, by name, so that they can train.

Proven on this project's own exports and on graphs with SAM's names, traced and folded otherwise
(`tests/core/backends/test_onnx_torch.py`); the official files were not at hand.
"""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int, UInt8

from zim_plugins.core.backends.official import (
    DECODER_INPUTS,
    FEATURES,
    FRAME_PX,
    decode_in_batches,
    official_frame,
    official_tokens,
)
from zim_plugins.core.backends.official_graphs import DecoderGraph, EncoderGraph
from zim_plugins.core.backends.onnx_weights import carries_both, check_same, load_pair
from zim_plugins.core.prompt import Prompt

logger = logging.getLogger(__name__)


class ZimOnnxTorchBackend:
    """The official ONNX pair in a `Zim`.

    `zim` is the model; `encoder` and `decoder` are `nn.Module`s over it with the graphs' inputs in order. Where ONNX
    Runtime is installed, the answers are compared with the graphs' once, before anything is trusted.

    Args:
        folder: holds `encoder.onnx` and `decoder.onnx`.
        name: checkpoint name, for records and messages.
        device: a torch device.
        batch: prompts decoded at once, at most.

    Raises:
        CheckpointError: a file is missing, damaged, of another architecture, or computes something else.
        MissingExtra: onnx is not installed.
    """

    activation: Literal["sigmoid", "step"] = "sigmoid"
    supports_alpha = False
    frame_px = FRAME_PX

    def __init__(self, folder: Path, *, name: str, device: str = "cpu", batch: int = 8) -> None:
        self.name = name
        self.batch = batch
        self.device = device
        self.zim, metadata = load_pair(Path(folder))
        self.encoder, self.decoder = EncoderGraph(self.zim), DecoderGraph(self.zim)
        if importlib.util.find_spec("onnxruntime") is not None:
            check_same(self.encoder, self.decoder, Path(folder))
        else:
            logger.warning("%s: converted without comparison, ONNX Runtime is not installed", folder)
        self.encoder.to(device)
        self.decoder.to(device)
        self.supports_clicks_and_box = carries_both(metadata)

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """Encode an RGB image whose longest side is the frame's; the features stay on the device."""
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
