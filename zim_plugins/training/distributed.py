"""Several processes in one run, started by torchrun: who takes which rows of a batch, DDP, FSDP2, whole checkpoints.

A recipe's batch is that of all processes together. Each takes its rows of the same numbered batch, and every loss is
a mean over rows, so the mean of the processes' gradients is the gradient of one process with the whole batch.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed
from torch import Tensor, nn

log = logging.getLogger(__name__)

Parallel = Literal["ddp", "fsdp"]
"""Weights on every process (DDP), or each process with its part of them (FSDP2)."""


@dataclass(frozen=True)
class Share:
    """One of several processes, and what of a batch is its own."""

    rank: int = 0
    world: int = 1

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch of all processes that this one takes.

        Raises:
            ValueError: the batch does not divide among the processes.
        """
        if batch_size % self.world:
            raise ValueError(f"a batch of {batch_size} images does not divide among {self.world} processes")
        each = batch_size // self.world
        return slice(self.rank * each, (self.rank + 1) * each)


WHOLE = Share()
"""The only process: all rows."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them."""

    share: Share = WHOLE
    parallel: Parallel = "ddp"

    @property
    def leads(self) -> bool:
        """Return whether this process writes the files."""
        return self.share.rank == 0

    @property
    def sharded(self) -> bool:
        """Return whether each process holds a part of the weights only."""
        return self.share.world > 1 and self.parallel == "fsdp"

    def prepared(self, model: nn.Module) -> nn.Module:
        """The model with batch norms over the batches of all processes, which torch has for GPUs only."""
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if self.share.world == 1 or not norms:
            return model
        if next(model.parameters()).device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if self.leads:
            log.warning(
                "%d batch norms see the rows of their own process only, 1 in %d: the losses are not those of one "
                "process with the whole batch (torch has synchronised batch norms for GPUs only)",
                len(norms),
                self.share.world,
            )
        return model

    def wrapped(self, objective: nn.Module) -> nn.Module:
        """The objective with its gradients averaged over the processes; with FSDP2 its weights are split in place.

        Args:
            objective: a module whose forward pass gives the loss.
        """
        if self.share.world == 1:
            return objective
        device = next(objective.parameters()).device
        if self.sharded:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(device.type, (self.share.world,))
            for name, module in list(objective.named_modules()):
                if isinstance(module, nn.ModuleList) and name.endswith("blocks"):
                    for block in module:
                        fully_shard(block, mesh=mesh)
            fully_shard(objective, mesh=mesh)
            return objective
        from torch.nn.parallel import DistributedDataParallel

        # Not every step reaches every weight: a mask prompt's only where there is one.
        device_ids = None if device.index is None else [device.index]
        return DistributedDataParallel(objective, device_ids=device_ids, find_unused_parameters=True)

    def whole(self, values: Any) -> Any:
        """State dicts with every split tensor put together; all processes must call it."""
        if not self.sharded:
            return values
        from zim_plugins.training.sharding import put_together

        return put_together(values)

    def local(self, tensor: Tensor) -> Tensor:
        """The part of a tensor that lies on this process; shares its memory."""
        if not self.sharded:
            return tensor
        from zim_plugins.training.sharding import local_part

        return local_part(tensor)

    def split(self, values: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
        """A whole state dict, split as `own` is; all processes must call it."""
        if not self.sharded:
            return values
        from zim_plugins.training.sharding import split_like

        return split_like(values, own)

    def load(
        self, module: nn.Module, optimizer: torch.optim.Optimizer, weights: dict[str, Tensor], moments: dict[str, Any]
    ) -> None:
        """Load whole state dicts into a model and its optimiser, which may be split; all processes must call it."""
        if self.sharded:
            from zim_plugins.training.sharding import split_moments

            moments = split_moments(moments, optimizer)
        module.load_state_dict(self.split(weights, module.state_dict()))
        optimizer.load_state_dict(moments)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Each value's mean over the processes."""
        stacked = torch.stack([v.detach().float() for v in values.values()])
        if self.share.world > 1:
            torch.distributed.all_reduce(stacked)
            stacked /= self.share.world
        return dict(zip(values, stacked.tolist(), strict=True))


ALONE = Processes()
"""A run of one process."""


@contextmanager
def join_processes(parallel: Parallel | None, device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that torchrun started, and leave them at the end.

    Args:
        parallel: how; None for DDP where there are several processes.
        device: "cpu", "cuda" or "mps".

    Yields:
        The processes, and the device of this one.

    Raises:
        ValueError: there is one process only, though several were asked for; or a device that cannot be shared.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        if parallel is not None:
            raise ValueError(f"{parallel} is for several processes: start them with torchrun --nproc-per-node N")
        yield ALONE, device
        return
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"several processes train on cpu or cuda, not on {device}")
    if kind == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(Share(torch.distributed.get_rank(), world), parallel or "ddp"), device
    finally:
        torch.distributed.destroy_process_group()
