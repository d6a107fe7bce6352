"""ZIM's official file pair, `encoder.onnx` and `decoder.onnx`, in ONNX Runtime; torch is not needed.

Embeddings stay on the device between the two graphs (IO binding).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

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


class ZimOnnxBackend:
    """The official ONNX pair in ONNX Runtime.

    Its prompts are clicks or a box; files written by this project's exporter say in their metadata that they carry
    both together.

    Args:
        folder: holds `encoder.onnx` and `decoder.onnx`.
        name: checkpoint name, for records and messages.
        device: `cpu`, `cuda`, `cuda:<index>`, or `auto` for CUDA where ONNX Runtime offers it.
        threads: of ONNX Runtime within one operation; None leaves the choice to it.
        batch: prompts decoded at once, at most.

    Raises:
        CheckpointError: a file is missing, damaged or has another interface.
        MissingExtra: ONNX Runtime, or its CUDA provider, is not installed.
    """

    activation: Literal["sigmoid", "step"] = "sigmoid"
    supports_alpha = False
    frame_px = FRAME_PX

    def __init__(
        self, folder: Path, *, name: str, device: str = "cpu", threads: int | None = None, batch: int = 8
    ) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is a positive number or None for ONNX Runtime's own choice, got {threads}")
        self.name = name
        self.batch = batch
        self._device, _, index = (_best_device() if device == "auto" else device).partition(":")
        self._device_id = int(index or 0)
        self._encoder = _open(Path(folder) / "encoder.onnx", self._device, self._device_id, threads)
        self._decoder = _open(Path(folder) / "decoder.onnx", self._device, self._device_id, threads)
        _check_interface(self._encoder, folder, inputs=("image",), outputs=FEATURES)
        _check_interface(self._decoder, folder, inputs=DECODER_INPUTS, outputs=DECODER_OUTPUTS)
        self.supports_clicks_and_box = self._decoder.get_modelmeta().custom_metadata_map.get(CLICKS_AND_BOX) == "true"

    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
        """Encode an RGB image whose longest side is the frame's; the features stay on the device."""
        binding = self._encoder.io_binding()
        binding.bind_cpu_input("image", official_frame(image))
        for name in FEATURES:
            binding.bind_output(name, self._device, self._device_id)
        self._encoder.run_with_iobinding(binding)
        return dict(zip(FEATURES, binding.get_outputs(), strict=True))

    def decode(
        self, embedding: dict[str, Any], prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode prompts in frame coordinates [px]; one candidate where `multimask` is False, else four.

        Raises:
            UnsupportedPrompt: a coarse matte; clicks and a box together where the files do not carry both.
        """
        tokens = [
            official_tokens(p, name=f"{self.name} in ONNX", clicks_and_box=self.supports_clicks_and_box)
            for p in prompts
        ]

        def run(
            mask: Float32[np.ndarray, "b 64 64"], coords: Float32[np.ndarray, "b n 2"], labels: Int[np.ndarray, "b n"]
        ) -> tuple[Float32[np.ndarray, "b 4 512 512"], Float32[np.ndarray, "b 4"]]:
            binding = self._decoder.io_binding()
            for name in FEATURES:
                binding.bind_ortvalue_input(name, embedding[name])
            binding.bind_cpu_input("attn_mask", mask)
            binding.bind_cpu_input("point_coords", coords)
            binding.bind_cpu_input("point_labels", labels.astype(np.float32))
            for name in DECODER_OUTPUTS:
                binding.bind_output(name)
            self._decoder.run_with_iobinding(binding)
            masks, iou = binding.copy_outputs_to_cpu()
            return masks, iou

        return decode_in_batches(tokens, run, batch=self.batch, multimask=multimask)


def _best_device() -> str:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx") from error
    return "cuda" if "CUDAExecutionProvider" in ort.get_available_providers() else "cpu"


def _open(path: Path, device: str, device_id: int, threads: int | None) -> Any:
    """An ONNX Runtime session on the device that was asked for, and on no other."""
    try:
        import onnxruntime as ort
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx") from error

    if device == "cuda":
        providers: list[Any] = [("CUDAExecutionProvider", {"device_id": device_id}), "CPUExecutionProvider"]
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise MissingExtra("ONNX Runtime with its CUDA provider", "onnx-gpu")
    elif device == "cpu":
        providers = ["CPUExecutionProvider"]
    else:
        raise ValueError(f"ONNX Runtime runs on cpu, cuda or cuda:<index> here, not on {device!r}")
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: the folder must hold encoder.onnx and decoder.onnx")
    options = ort.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
        raise CheckpointError(f"{path} is damaged or not an ONNX model: {error}") from error
    if device == "cuda" and "CUDAExecutionProvider" not in session.get_providers():  # it falls back in silence
        raise MissingExtra("an ONNX Runtime whose CUDA libraries load (see its log above)", "onnx-gpu")
    return session


def _check_interface(session: Any, folder: Path, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    found_inputs = sorted(node.name for node in session.get_inputs())
    found_outputs = [node.name for node in session.get_outputs()]
    if found_inputs != sorted(inputs) or found_outputs != list(outputs):
        raise CheckpointError(
            f"{folder} does not hold ZIM's ONNX pair: found {found_inputs} -> {found_outputs}, "
            f"expected {sorted(inputs)} -> {list(outputs)}"
        )
