"""ZIM's ONNX pair read back into this project's own `Zim`: initialisers find their places by name.

A tracer keeps the names of most weights. It folds the rest: the transposed matrices of linear layers lose theirs, and
here the name of the bias that follows tells which they were; the prompt encoder's embeddings and the output tokens
become constants of a Gather, a Where and an Expand; a pixel decoder that convolves embedding and details apart has its
weights in two pieces. What finds no place, or does not compute what the graph computes, raises: nothing is made up.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from zim_plugins.core.backends.official import (
    CLICKS_AND_BOX,
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    FEATURES,
    METADATA_PREFIX,
    attention_mask,
    official_frame,
    official_tokens,
)
from zim_plugins.errors import CheckpointError, MissingExtra

if TYPE_CHECKING:
    from zim_plugins.core.modeling.zim import Zim

CONFIG = METADATA_PREFIX + "config"
"""Of our exports: what `config_to_dict` says of the model, as JSON."""
ROOM = re.compile(r"(image_encoder|prompt_encoder|mask_decoder|detail_stem)\.[\w.]+$")
"""A weight's name, whatever wrapper stands before it."""
UNSERVED = "prompt_encoder.mask_downscaling."
"""SAM's mask input, which the interface of the pair does not have: these weights are not in the files."""
RUNS = "runtime='onnx' runs it as it is"


def load_pair(folder: Path) -> tuple["Zim", dict[str, str]]:
    """Read `encoder.onnx` and `decoder.onnx` into a trainable `Zim`.

    The weights of SAM's mask input are not in the files and stay as initialised.

    Returns:
        The model in float32 and the decoder's metadata.

    Raises:
        CheckpointError: a file is missing, damaged, another graph, or of another architecture than `Zim`.
        MissingExtra: onnx is not installed.
    """
    from zim_plugins.core.modeling.zim import Zim

    encoder, _ = _read(Path(folder) / "encoder.onnx", FEATURES)
    decoder, metadata = _read(Path(folder) / "decoder.onnx", DECODER_OUTPUTS)
    arrays = named_weights(encoder) | named_weights(decoder)
    zim = Zim(_config(arrays, metadata, folder))
    _fill(zim, arrays, folder)
    return zim.eval(), metadata


def named_weights(graph: Any) -> dict[str, Float32[np.ndarray, "..."]]:
    """Return the weights of a graph (onnx.GraphProto) under the names that `Zim` has for them."""
    from onnx import numpy_helper

    # Gather the graph's constants, and who uses each.
    constants = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    users: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    found: dict[str, Float32[np.ndarray, ...]] = {}
    pieces: dict[str, dict[bool, Float32[np.ndarray, ...]]] = defaultdict(dict)
    details = {one.name for one in graph.input if one.name.startswith("feat_")}
    for name, tensor in constants.items():
        known = ROOM.search(name)
        if known is not None:
            if tensor.dims and tensor.data_type == tensor.FLOAT:
                found[known.group()] = numpy_helper.to_array(tensor)
            continue
        if tensor.data_type != tensor.FLOAT or not tensor.dims:
            continue
        # One that the export renamed: its neighbours that kept their names say whose it is.
        value = numpy_helper.to_array(tensor)
        for node in users[name]:
            if node.op_type in ("MatMul", "Gemm") and value.ndim == 2 and node.input[1] == name:
                bias = _following(node, users, ".bias", depth=1)
                if bias is not None:
                    upright = any(one.name == "transB" and one.i for one in node.attribute)
                    found[bias.removesuffix("bias") + "weight"] = value if upright else np.ascontiguousarray(value.T)
            elif node.op_type == "Conv" and value.ndim == 4:
                norm = _following(node, users, ".weight", depth=12)
                if norm is not None:
                    pieces[_convolution_before(norm)][node.input[0] in details] = value
            else:
                found.update(_folded(node.op_type, value))
    for name, parts in pieces.items():  # embedding first, then details, as Zim concatenates them
        found[name] = np.concatenate([parts[key] for key in sorted(parts)], axis=1)
    return found


def _folded(operation: str, value: Float32[np.ndarray, "..."]) -> Iterator[tuple[str, Float32[np.ndarray, "..."]]]:
    """Embeddings that the tracer turned into one constant, by the operation that takes it."""
    if operation == "Gather" and value.ndim == 2 and len(value) == 4:
        for kind in range(4):
            yield f"prompt_encoder.point_embeddings.{kind}.weight", value[kind : kind + 1]
    elif operation == "Where" and value.ndim == 1:
        yield "prompt_encoder.not_a_point_embed.weight", value[None]
    elif operation == "Expand" and value.ndim == 4 and value.shape[2:] == (1, 1):
        yield "prompt_encoder.no_mask_embed.weight", value[:, :, 0, 0]
    elif operation in ("Expand", "Concat") and value.ndim == 3 and value.shape[:2] == (1, 5):
        yield "mask_decoder.iou_token.weight", value[0, :1]
        yield "mask_decoder.mask_tokens.weight", value[0, 1:]


def _following(node: Any, users: Mapping[str, list[Any]], ending: str, *, depth: int) -> str | None:
    """The name of the first weight with this ending that a node's answer meets, itself included."""
    ahead = [(node, 0)]
    seen = set()
    while ahead:
        one, far = ahead.pop(0)
        for name in one.input:
            known = ROOM.search(name)
            if known is not None and known.group().endswith(ending):
                return known.group()
        if far < depth:
            for output in one.output:
                for user in users[output]:
                    if id(user) not in seen:
                        seen.add(id(user))
                        ahead.append((user, far + 1))
    return None


def _convolution_before(norm: str) -> str:
    """The convolution whose norm this is: the layer before it in its sequence."""
    room, _, place = norm.removesuffix(".weight").rpartition(".")
    return f"{room}.{int(place) - 1}.weight" if place.isdigit() and int(place) > 0 else norm


def _config(arrays: Mapping[str, Any], metadata: Mapping[str, str], folder: Path) -> Any:
    """Return the config that the metadata or the shapes of the weights tell."""
    from zim_plugins.core.backends.sam import encoder_config
    from zim_plugins.core.modeling.zim import ZimConfig, config_from_dict

    if CONFIG in metadata:
        config = config_from_dict(json.loads(metadata[CONFIG]))
        if not isinstance(config, ZimConfig) or config.dense_prompts:
            raise CheckpointError(
                f"{folder} is an export of a small model: train its own .safetensors, from which it came; {RUNS}"
            )
        return config
    try:
        mlp_dim = arrays["mask_decoder.transformer.layers.0.mlp.lin1.bias"].shape[0]
        stem = tuple(arrays[f"detail_stem.convs.{i}.0.weight"].shape[0] for i in range(3))
        fuse = tuple(arrays[f"mask_decoder.pixel_decoder.fuse.{i}.0.weight"].shape[0] for i in range(3))
    except KeyError as error:
        raise _foreign(folder, f"it has no {error}") from error
    encoder = encoder_config(arrays, folder)
    return replace(
        ZimConfig(encoder), frame_px=encoder.frame_px, mlp_dim=mlp_dim, detail_channels=stem, decoder_channels=fuse
    )


def _fill(zim: "Zim", arrays: Mapping[str, Float32[np.ndarray, "..."]], folder: Path) -> None:
    """Put every array into its place; every place is filled, but for the mask input's.

    Raises:
        CheckpointError: one is missing, one is left over, or sizes differ.
    """
    import torch

    state = zim.state_dict()
    missing = [name for name in state if name not in arrays and not name.startswith(UNSERVED)]
    superfluous = [name for name in arrays if name not in state]
    wrong = [name for name in arrays if name in state and tuple(state[name].shape) != arrays[name].shape]
    for what, names in (("it lacks", missing), ("it holds also", superfluous), ("another size has", wrong)):
        if names:
            raise _foreign(folder, f"{what} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
    zim.load_state_dict(state | {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})


MAX_DIFFERENCE = 1e-3
"""Of a logit between a converted model and its graph, as a share of the largest logit."""


def check_same(encoder: Any, decoder: Any, folder: Path) -> None:
    """Compare a converted model with the graphs in ONNX Runtime, on noise and one box.

    Names may agree where the computation does not: another norm, activation, scale of attention or order of channels.

    Args:
        encoder: module with the encoder graph's interface.
        decoder: the decoder's.
        folder: with the pair.

    Raises:
        CheckpointError: the answers differ.
    """
    import torch

    from zim_plugins.core.backends.zim_onnx import ZimOnnxBackend
    from zim_plugins.core.prompt import Prompt

    theirs = ZimOnnxBackend(folder, name=str(folder))
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    box = [Prompt.from_box(200, 150, 800, 900)]
    expected, _ = theirs.decode(theirs.encode(image), box, multimask=True)
    coords, labels = official_tokens(box[0], name="", clicks_and_box=True)
    with torch.no_grad():
        features = dict(zip(FEATURES, encoder(torch.from_numpy(official_frame(image))), strict=True))
        given = {
            "attn_mask": torch.from_numpy(attention_mask(coords[None], labels[None])),
            "point_coords": torch.from_numpy(coords[None]),
            "point_labels": torch.from_numpy(labels[None].astype(np.float32)),
        } | features
        found = decoder(*(given[name] for name in DECODER_INPUTS))[0].numpy()
    difference = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not difference <= MAX_DIFFERENCE:
        raise _foreign(folder, f"its names fit but its answers differ by {difference:.2g} of the largest logit")


def _foreign(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{folder} is of another architecture than this project's Zim ({reason}): {RUNS}")


def _read(path: Path, outputs: tuple[str, ...]) -> tuple[Any, dict[str, str]]:
    """A graph and its metadata.

    Raises:
        CheckpointError: missing, damaged, or another graph.
        MissingExtra: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: the folder must hold encoder.onnx and decoder.onnx")
    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or not an ONNX model: {error}") from error
    found = tuple(output.name for output in model.graph.output)
    if found != tuple(outputs):
        raise CheckpointError(f"{path} answers {list(found)}, expected {list(outputs)}")
    return model.graph, {entry.key: entry.value for entry in model.metadata_props}


def carries_both(metadata: Mapping[str, str]) -> bool:
    """Return whether a decoder's metadata says that clicks and a box may be given together."""
    return metadata.get(CLICKS_AND_BOX) == "true"
