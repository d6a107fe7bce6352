"""Weights that FSDP2 split over the processes: put together for a checkpoint, split again when it is loaded."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def local_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this process; shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def put_together(values: Any) -> Any:
    """State dicts with every split tensor whole; all processes must call it."""
    if isinstance(values, DTensor):
        return values.full_tensor()
    if isinstance(values, dict):
        return {k: put_together(v) for k, v in values.items()}
    return values


def split_like(values: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """A whole state dict, split as `own` is; all processes must call it."""
    return {k: _split(v, own[k]) if k in own else v for k, v in values.items()}


def split_moments(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's whole state dict, split as its parameters are; all processes must call it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {n: {k: _split(v, parameters[n]) for k, v in kept.items()} for n, kept in state["state"].items()}
    return {"state": moments, "param_groups": state["param_groups"]}


def _split(value: Tensor, own: Tensor) -> Tensor:
    if not isinstance(own, DTensor) or value.shape != own.shape:
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
