"""Identity of the weights that a name stands for on this machine, for records of results."""

import hashlib
from functools import lru_cache
from pathlib import Path

from zim_plugins.core.checkpoints.hub import find_hub, is_hub_name
from zim_plugins.core.checkpoints.records import AUTO_ORDER, CHECKPOINTS, find

_BLOCK_BYTES = 1 << 20


def identify(name: str | Path) -> dict[str, str | None]:
    """Return `name` and `sha256` of the checkpoint that `load_predictor` would take; the digest is None for none.

    Args:
        name: as `load_predictor` takes it; "auto" is the best checkpoint that is present.

    >>> identify("zim_tiny")["name"]
    'zim_tiny'
    """
    text = str(name)
    if text == "auto":
        text = next((one for one in AUTO_ORDER if find(one) is not None), "zim_tiny")
    file, _, function = text.rpartition(":")
    if file.endswith(".py") and function.isidentifier():  # a function that makes a predictor
        place, label = Path(file).expanduser(), text
    elif text in CHECKPOINTS or is_hub_name(text):
        place, label = find(text) if text in CHECKPOINTS else find_hub(text), text
    else:
        place = Path(text).expanduser()
        label = place.stem
    return {"name": label, "sha256": None if place is None else _digest(Path(place))}


@lru_cache(maxsize=8)
def _digest(place: Path) -> str | None:
    """Return the digest of a file, or of the weights in a folder."""
    digest = hashlib.sha256()
    try:
        for path in _weights(place) if place.is_dir() else [place]:
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def _weights(folder: Path) -> list[Path]:
    """Return the files of a folder that decide what a model answers: ONNX graphs, or weights with their settings."""
    kinds = ("*.onnx", "*.safetensors", "pytorch_model*.bin", "config.json", "*processor_config.json")
    return sorted({path for kind in kinds for path in folder.glob(kind)})
