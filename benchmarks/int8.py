"""Whether int8 pays for zim_tiny: its ONNX pair as exported and quantised, time in turns and errors side by side.

    OMP_NUM_THREADS=2 python benchmarks/int8.py DATA [--out benchmarks/results/int8.json]

DATA holds `matting/validation/{image,alpha}`, which are scored, and `inpaint/photos`, on which activations are
calibrated: a click in the middle of each. Convolutions and matrix products become int8, weights by channel,
activations by tensor (quantise and dequantise nodes, smallest and largest values). Prompts are the tight box of alpha
> 0.5 and its deepest point; mattes are as the network gives them, without zoom and refinement. CPU, two threads.
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from zim_plugins.bench.timing import alternate
from zim_plugins.core import ImagePredictor, Prompt, load_predictor, read_alpha, read_image
from zim_plugins.core.backends.official import DECODER_INPUTS, FEATURES, FRAME_PX, attention_mask, official_frame
from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.export import export_onnx
from zim_plugins.core.transforms import image_to_frame
from zim_plugins.evaluation.metrics import iou, zim_errors
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.training.samples.prompts import deepest_point, tight_box

THREADS, MIDDLE = 2, FRAME_PX / 2
QUANTISED = ("Conv", "MatMul", "Gemm")


class Questions(CalibrationDataReader):
    """Inputs of one of the two graphs for each calibration image."""

    def __init__(self, inputs: Iterator[dict[str, np.ndarray]]) -> None:
        self.inputs = inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next question, None at the end."""
        return next(self.inputs, None)


def encoder_inputs(photos: list[Path]) -> Iterator[dict[str, np.ndarray]]:
    """Images in the official frame."""
    for photo in photos:
        yield {"image": official_frame(image_to_frame(read_image(photo).rgb, FRAME_PX))}


def decoder_inputs(photos: list[Path], encoder: Path) -> Iterator[dict[str, np.ndarray]]:
    """Their features in fp32, with a click in the middle of the frame."""
    session = ort.InferenceSession(str(encoder), providers=["CPUExecutionProvider"])
    coords = np.array([[[MIDDLE, MIDDLE / 2], [0, 0]]], np.float32)
    labels = np.array([[1, -1]])
    for question in encoder_inputs(photos):
        features = dict(zip(FEATURES, session.run(list(FEATURES), question), strict=True))
        click = {"attn_mask": attention_mask(coords, labels), "point_coords": coords}
        answer = features | click | {"point_labels": labels.astype(np.float32)}
        yield {name: answer[name] for name in DECODER_INPUTS}


def quantise(source: Path, target: Path, photos: list[Path]) -> None:
    """Write the int8 twins of both graphs."""
    target.mkdir()
    for name, inputs in (
        ("encoder.onnx", encoder_inputs(photos)),
        ("decoder.onnx", decoder_inputs(photos, source / "encoder.onnx")),
    ):
        prepared = target / f"prepared_{name}"
        quant_pre_process(str(source / name), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target / name),
            Questions(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        prepared.unlink()


def scores(predictors: dict[str, ImagePredictor], folder: Path) -> dict[str, dict[str, float]]:
    """Mean IoU of alpha > 0.5 and MAE, MSE times 1000, by model and prompt."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for path in sorted((folder / "image").iterdir()):
        rgb = read_image(path).rgb
        truth = read_alpha(next((folder / "alpha").glob(f"{path.stem}.*")))
        box, click = tight_box(truth > 0.5), deepest_point(truth > 0.5)
        for name, predictor in predictors.items():
            predictor.set_image(rgb)
            for kind, prompt in (("box", Prompt.from_box(*box)), ("click", Prompt.from_point(*click))):
                alpha = predictor.predict(prompt).alpha
                errors = zim_errors(alpha, truth)
                overlap = iou(alpha > 0.5, truth > 0.5)
                rows.setdefault(f"{name}, {kind}", []).append((overlap, errors.mae, errors.mse))
    keys = ("iou", "mae_e3", "mse_e3")
    return {name: dict(zip(keys, np.mean(values, 0).tolist(), strict=True)) for name, values in rows.items()}


def seconds(predictors: dict[str, ImagePredictor], image: np.ndarray) -> dict[str, Any]:
    """Encoding and decoding one click, each model in its turn."""
    calls = {f"{name}, encode": partial(p.set_image, image) for name, p in predictors.items()}
    height, width = image.shape[:2]
    for name, predictor in predictors.items():
        predictor.set_image(image)
        calls[f"{name}, click"] = partial(predictor.predict, Prompt.from_point(width / 2, height / 2))
    return {name: timing.to_json() for name, timing in alternate(calls, "cpu", budget_s=30, most=30).items()}


def main() -> None:
    """Quantise, time, score, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    photos = sorted((args.data / "inpaint/photos").glob("*.jpg"))
    torch_predictor = load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
    assert isinstance(torch_predictor.backend, ZimTorchBackend)
    with tempfile.TemporaryDirectory() as work:
        plain, small = Path(work) / "fp32", Path(work) / "int8"
        export_onnx(torch_predictor.backend.zim, plain, name="zim_tiny")
        quantise(plain, small, photos)
        megabytes = {f.name: sum(p.stat().st_size for p in f.glob("*.onnx")) / 1e6 for f in (plain, small)}
        predictors = {"torch fp32": torch_predictor}
        for folder in (plain, small):
            backend = ZimOnnxBackend(folder, name="zim_tiny", threads=THREADS)
            predictors[f"ONNX {folder.name}"] = ImagePredictor(backend)
        record = {
            "what": "zim_tiny's ONNX pair in fp32 and int8, beside torch: seconds and errors of raw mattes",
            "model": "zim_tiny",
            "sha256": hashlib.sha256(require("zim_tiny").read_bytes()).hexdigest(),
            **describe_process("cpu"),
            "data": "13 photographs of matting/validation; calibrated on inpaint/photos",
            "megabytes": megabytes,
            "seconds": seconds(predictors, read_image(photos[0]).rgb),
            "means": scores(predictors, args.data / "matting/validation"),
        }
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
