"""`zim export`: a checkpoint of ours as the official ONNX pair."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from zim_plugins.cli.runtime import DONE, CommandArgs, Misuse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportArgs(CommandArgs):
    """Write a checkpoint as encoder.onnx and decoder.onnx, which the public zim_anything package runs too."""

    model: Annotated[str, arg(metavar="NAME")] = "zim_tiny"
    """Checkpoint by name (see `zim models`), a .safetensors file, or hf:NAME_OR_FOLDER that save_pretrained wrote."""
    to: Literal["onnx"] = "onnx"
    """Format."""
    out: Annotated[Path, arg(metavar="DIR", aliases=["-o"])] = Path("outputs/onnx")
    """Folder for the two files."""


def main(args: ExportArgs) -> int:
    """Load the weights and write the pair."""
    from zim_plugins.core.checkpoints.hub import hub_folder, is_hub_name
    from zim_plugins.core.checkpoints.pretrained import WEIGHTS, is_ours
    from zim_plugins.core.checkpoints.records import CHECKPOINTS, require

    if args.model in CHECKPOINTS:
        kind = CHECKPOINTS[args.model].kind
        if kind != "zim_safetensors":
            has = (
                "is an ONNX pair already"
                if kind == "zim_onnx"
                else "holds SAM's weights, which have no matte to export"
            )
            raise Misuse(f"{args.model} {has}: name a checkpoint of this project's own or a .safetensors file")
        weights = require(args.model)
    elif is_hub_name(args.model) or is_ours(Path(args.model)):
        folder = hub_folder(args.model)
        if not is_ours(folder):
            raise Misuse(f"{args.model} is a model of transformers: only this project's own networks are exported")
        weights = folder / WEIGHTS
    else:
        weights = Path(args.model)
        if not weights.is_file():
            raise Misuse(
                f"{args.model} is neither a checkpoint's name nor a file: known names are {', '.join(CHECKPOINTS)}"
            )

    from zim_plugins.core.export import export_onnx
    from zim_plugins.core.modeling.zim import load_weights

    zim, _ = load_weights(weights)
    folder = export_onnx(zim, args.out, name=weights.stem)
    for name in ("encoder.onnx", "decoder.onnx"):
        print(folder / name)
    return DONE
