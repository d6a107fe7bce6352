"""Official SAM weights (`sam_vit_b_01ec64.pth` and its like) in our own modules: hard masks, no matte."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zim_plugins.core.checkpoints.damage import MAX_CONFIG_NUMBER, UNREADABLE, why_unreadable
from zim_plugins.errors import CheckpointError

if TYPE_CHECKING:
    from zim_plugins.core.modeling.image_encoder import ViTConfig
    from zim_plugins.core.modeling.zim import Zim


def load_sam(path: Path) -> "Zim":
    """Build the SAM that a `.pth` file holds, whatever its size, and load it strictly.

    Raises:
        CheckpointError: the file is missing, damaged, or holds no SAM.
    """
    import torch

    from zim_plugins.core.modeling.zim import Zim, sam_config

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except UNREADABLE:  # their words advise to unpickle what may not be trusted
        raise CheckpointError(f"{path} holds no weights: {why_unreadable(path)}") from None
    encoder = encoder_config(state, path)
    try:
        config = replace(
            sam_config("vit_b"),
            encoder=encoder,
            frame_px=encoder.frame_px,
            mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        )
        return Zim.from_sam(state, config)
    except CheckpointError as error:
        raise CheckpointError(f"{path} holds no SAM: {error}") from None
    except UNREADABLE as error:
        raise CheckpointError(f"{path} holds no SAM: its shapes do not fit together ({type(error).__name__})") from None


def encoder_config(state: Any, path: Path) -> "ViTConfig":
    """Read the shape of SAM's image encoder off its state dict.

    Raises:
        CheckpointError: it is not SAM's.
    """
    from zim_plugins.core.modeling.image_encoder import ViTConfig

    try:
        _, grid, _, dim = state["image_encoder.pos_embed"].shape
        patch_px = state["image_encoder.patch_embed.proj.weight"].shape[-1]
        out_channels = state["image_encoder.neck.0.weight"].shape[0]
        tables = []
        while (key := f"image_encoder.blocks.{len(tables)}.attn.rel_pos_h") in state:
            tables.append(tuple(state[key].shape))
        head_dim = tables[0][1]
        state["mask_decoder.transformer.layers.0.mlp.lin1.weight"]
        heads = dim // head_dim
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f"{path} holds no SAM: {error!r} in its state dict") from error
    if max(dim, len(tables), grid, patch_px, out_channels) > MAX_CONFIG_NUMBER or grid * patch_px > MAX_CONFIG_NUMBER:
        raise CheckpointError(f"{path} holds no SAM: its shapes are those of no image encoder")
    global_blocks = tuple(i for i, (rows, _) in enumerate(tables) if rows == 2 * grid - 1)
    windows = {(rows + 1) // 2 for rows, _ in tables if rows != 2 * grid - 1}
    if len(windows) > 1:
        raise CheckpointError(f"{path} holds no SAM: its windows differ in size, {sorted(windows)}")
    return ViTConfig(
        dim=dim,
        depth=len(tables),
        heads=heads,
        global_blocks=global_blocks,
        frame_px=grid * patch_px,
        patch_px=patch_px,
        window=windows.pop() if windows else grid,
        out_channels=out_channels,
    )
