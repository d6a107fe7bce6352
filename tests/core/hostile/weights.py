"""Weight files that are none any more, each of which must end in a CheckpointError of one line or load.

Run as a script in an interpreter of its own: `weights.py FOLDER SEED`; with ZIM_FUZZ=full 400 and more files.
"""

import io
import json
import os
import pickle
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tests.core.hostile.calls import fault
from zim_plugins import core
from zim_plugins.core.checkpoints.records import require

FULL = os.environ.get("ZIM_FUZZ") == "full"
HTML = b"<!DOCTYPE html>\n<html><head><title>Quota exceeded</title></head><body>Too many users</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 375042383\n"
SAM_KEYS = {
    "image_encoder.pos_embed": (1, 4, 4, 32),
    "image_encoder.patch_embed.proj.weight": (32, 3, 16, 16),
    "image_encoder.neck.0.weight": (256, 32, 1, 1),
    "image_encoder.blocks.0.attn.rel_pos_h": (7, 16),
    "mask_decoder.transformer.layers.0.mlp.lin1.weight": (64, 256),
}


class Dangerous:
    """An object that would run something if it were unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def saved(value: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def mutants(content: bytes, rng: np.random.Generator, count: int, within: int) -> Iterator[bytes]:
    """Copies with bytes changed, cut out, put in, or the end missing, among the first `within` bytes."""
    for i in range(count):
        at = int(rng.integers(0, min(within, len(content))))
        length = int(rng.integers(1, 40))
        noise = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        yield (
            content[:at] + noise + content[at + length :],
            content[:at] + content[at + length :],
            content[:at] + noise + content[at:],
            content[:at],
        )[i % 4]


def sams() -> Iterator[object]:
    """State dicts that almost are a SAM's."""
    good = {key: torch.zeros(shape) for key, shape in SAM_KEYS.items()}
    yield good
    for key in good:
        yield {k: v for k, v in good.items() if k != key}
        for wrong in (None, 3, "x", torch.zeros(()), torch.zeros(0, 0, 0, 0), torch.zeros(good[key].shape[::-1])):
            yield {**good, key: wrong}
    yield {**good, "image_encoder.blocks.1.attn.rel_pos_h": torch.zeros(27, 0)}
    yield {"model": good}
    yield [good]
    yield torch.zeros(3)
    yield {}


def files(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Suffixes and contents."""
    for content in (b"", b"abc" * 50, HTML, LFS, b'{"error": "not found"}', b"\0" * 100, rng.bytes(5000)):
        for suffix in (".pth", ".pt", ".safetensors"):
            yield suffix, content
    yield ".pth", pickle.dumps(Dangerous())
    yield ".pth", pickle.dumps({"a": 1})
    yield ".pth", saved({"a": Dangerous()})
    for state in sams():
        yield ".pth", saved(state)
    small = {"image_encoder.pos_embed": torch.zeros(1, 4, 4, 8), "x": [1, "a"]}
    for legacy in (False, True):
        content = saved(small, legacy=legacy)
        for mutant in mutants(content, rng, 150 if FULL else 20, len(content)):
            yield ".pth", mutant
    ours = require("zim_tiny").read_bytes()
    header = 8 + int.from_bytes(ours[:8], "little")
    for mutant in mutants(ours, rng, 40 if FULL else 8, header):
        yield ".safetensors", mutant
    for before, after in (
        (b"384", b"999"),
        (b'\\"lite\\"', b'\\"liet\\"'),
        (b'\\"config\\"', b'\\"konfig\\"'),
        (b"F16", b"F32"),
    ):
        yield ".safetensors", ours[:header].replace(before, after) + ours[header:]


def main() -> None:
    """Try all files and print the number of them and the faults."""
    warnings.simplefilter("ignore")
    folder, rng = Path(sys.argv[1]), np.random.default_rng(int(sys.argv[2]))
    faults, count = {}, 0
    for count, (suffix, content) in enumerate(files(rng), start=1):
        path = folder / f"weights{suffix}"
        path.write_bytes(content)
        found = fault(lambda path=path: core.load_predictor(path, device="cpu"))
        if found is None:
            try:
                core.load_predictor(path, device="cpu")
            except core.CheckpointError as error:
                if "unpickle" in str(error) or "weights_only" in str(error) or "torch.load" in str(error):
                    found = f"advises to unpickle: {error}"
            except (TypeError, ValueError) as error:
                found = f"{type(error).__name__}: {error}"
        if found is not None:
            faults[f"{count} {suffix} {len(content)}"] = found
    print(json.dumps({"calls": count, "faults": faults}))


if __name__ == "__main__":
    main()
