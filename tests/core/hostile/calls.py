"""Calls that no program should make, each of which must end in an error of ours or in an answer.

Run as a script in an interpreter of its own, where no shape checks stand before the functions: what users see.
"""

import io
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from zim_plugins import core
from zim_plugins.errors import ZimError

PACKAGE = str(Path(core.__file__).parents[1])
RGB = np.zeros((24, 32, 3), np.uint8)
ALPHA = np.zeros((24, 32), np.float32)


def things() -> dict[str, Any]:
    """What is no image, matte, prompt or path."""
    return {
        "None": None,
        "a path": "no/such.jpg",
        "a Path": Path("no/such.jpg"),
        "bytes": b"\x89PNG",
        "a number": 3.5,
        "a list": [[1, 2], [3, 4]],
        "a ragged list": [[1, 2], [3]],
        "a dict": {"x": 1},
        "an object": object(),
        "a function": things,
        "a Pillow image": PIL.Image.new("RGB", (32, 24)),
        "a scalar array": np.array(1.0),
        "an empty array": np.zeros((0, 4)),
        "one dimension": np.zeros(7, np.uint8),
        "four dimensions": np.zeros((1, 3, 24, 32), np.float32),
        "grey": np.zeros((24, 32), np.uint8),
        "RGBA": np.zeros((24, 32, 4), np.uint8),
        "int64": np.zeros((24, 32, 3), np.int64),
        "floats to 255": np.full((24, 32, 3), 200.0, np.float32),
        "NaN": np.full((24, 32, 3), np.nan, np.float32),
        "a NaN matte": np.full((24, 32), np.nan, np.float32),
        "an infinite matte": np.full((24, 32), np.inf),
        "a matte of bytes as floats": np.full((24, 32), 255.0),
        "another size": np.zeros((5, 6), np.float32),
        "text": np.full((24, 32, 3), "x"),
        "objects": np.full((24, 32, 3), None),
        "complex": np.zeros((24, 32, 3), complex),
        "a tensor": torch.zeros(24, 32, requires_grad=True),
        "a tensor of bf16": torch.zeros(24, 32, dtype=torch.bfloat16),
        "sparse": torch.zeros(24, 32).to_sparse(),
    }


def doors(folder: Path) -> dict[str, Callable[[Any], Any]]:
    """Functions of one hostile argument."""
    predictor = core.load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
    predictor.set_image(RGB)
    sam = core.SamPredictor(predictor)
    sam.set_image(RGB)
    prompt = core.Prompt.from_point(5, 5)
    other = core.load_predictor("zim_tiny", device="cpu")
    return {
        "set_image": other.set_image,
        "encode": predictor.encode,
        "predict": predictor.predict,
        "predict_many": lambda x: predictor.predict_many([x]),
        "predict encoded": lambda x: predictor.predict(prompt, encoded=x) if x is not None else None,
        "Prompt alpha": lambda x: core.Prompt(alpha=x),
        "Prompt points": lambda x: core.Prompt(points=x, labels=np.array([1])),
        "Prompt labels": lambda x: core.Prompt(points=np.array([[1.0, 2]]), labels=x),
        "Prompt box": lambda x: core.Prompt(box=x),
        "from_points": core.Prompt.from_points,
        "from_point": lambda x: core.Prompt.from_point(x, 3),
        "from_box": lambda x: core.Prompt.from_box(x, 3, 9, 9),
        "Prediction": lambda x: core.Prediction(x, np.ones(1, np.float32)),
        "read_image": core.read_image,
        "read_alpha": core.read_alpha,
        "foreground of image": lambda x: core.estimate_foreground(x, ALPHA),
        "foreground of matte": lambda x: core.estimate_foreground(RGB, x),
        "foreground_colours": lambda x: core.foreground_colours(RGB, x),
        "composite": lambda x: core.composite(x, ALPHA, RGB),
        "unmix_background": lambda x: core.unmix_background(RGB, ALPHA, x),
        "write_image": lambda x: core.write_image(folder / "x.png", x),
        "coco_annotation": core.coco_annotation,
        "object_record": lambda x: core.object_record(x, rle=True, polygons=True),
        "labelme_document": lambda x: core.labelme_document("x.jpg", (24, 32), [x]),
        "mask_to_rle": core.mask_to_rle,
        "mask_to_polygons": core.mask_to_polygons,
        "SamPredictor": core.SamPredictor,
        "SamPredictor.set_image": core.SamPredictor(predictor).set_image,
        "SamPredictor.set_image_batch": core.SamPredictor(predictor).set_image_batch,
        "SamPredictor.set_torch_image": lambda x: core.SamPredictor(predictor).set_torch_image(x, (24, 32)),
        "SamPredictor.predict clicks": lambda x: sam.predict(point_coords=x, point_labels=np.array([1])),
        "SamPredictor.predict box": lambda x: sam.predict(box=x),
        "SamPredictor.predict mask": lambda x: sam.predict(mask_input=x),
        "SamPredictor.predict_torch": lambda x: sam.predict_torch(None, None, x),
        "SamAutomaticMaskGenerator": core.SamAutomaticMaskGenerator,
        "generate": lambda x: core.SamAutomaticMaskGenerator(predictor, points_per_side=1).generate(x),
        "matte_everything": lambda x: core.matte_everything(other, x, core.EverythingConfig(points_per_side=1)),
        "load_predictor": core.load_predictor,
        "device": lambda x: core.load_predictor("zim_tiny", device=x),
        "resolve_device": core.resolve_device,
    }


def others() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Hostile calls of other kinds."""
    for device in ("cuda:99", "cuda:x", "cpu:", "tpu", "", "cpu:7", "meta"):
        yield f"device {device!r}", lambda device=device: core.load_predictor("zim_tiny", device=device)
    yield "torch.device", lambda: core.load_predictor("zim_tiny", device=torch.device("cpu"))
    for name in ("", "\0", "x" * 5000, "~nobody-here/x", "hf:", ".", "/", "nothing.bin"):
        yield f"checkpoint {name[:9]!r}", lambda name=name: core.load_predictor(name)
    for option in ("dtype", "runtime", "refine"):
        for value in (None, 3, "nonsense", []):
            yield f"{option} {value}", lambda o=option, v=value: core.load_predictor("zim_tiny", device="cpu", **{o: v})
    closed = io.BytesIO(b"x")
    closed.close()
    for stream in (io.BytesIO(b""), io.BytesIO(b"nonsense"), io.StringIO("text"), closed):
        yield f"read {type(stream).__name__}", lambda stream=stream: core.read_image(stream)
    for name in ("", "\0", "x" * 5000, "/", "sample:", "sample:none", "sample:../../x"):
        yield f"read {name[:9]!r}", lambda name=name: core.read_image(name)


def fault(call: Callable[[], Any]) -> str | None:
    """Say what is wrong with how a call ends; None where nothing is."""
    try:
        call()
    except (ZimError, TypeError, ValueError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        if not last.filename.startswith(PACKAGE):
            return f"raised in {last.filename}:{last.lineno}: {type(error).__name__}: {error}"
        text = str(error)
        return f"{len(text)} characters: {text[:200]!r}" if "\n" in text or len(text) > 600 or not text else None
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


def main() -> None:
    """Make all calls and print the number of them and the faults."""
    warnings.simplefilter("ignore")
    calls = {
        f"{door}({name})": (lambda function=function, thing=thing: function(thing))
        for door, function in doors(Path(sys.argv[1])).items()
        for name, thing in things().items()
    }
    calls |= dict(others())
    faults = {name: found for name, call in calls.items() if (found := fault(call)) is not None}
    print(json.dumps({"calls": len(calls), "faults": faults}))


if __name__ == "__main__":
    main()
