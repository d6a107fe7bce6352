"""Two obstacles that nerfstudio 1.1.5 puts in the way of its own users, removed when its plug-ins are loaded.

Every ns-* command imports `nerf_seg.config`, and that calls `clear`. Both changes only matter where the command would
otherwise stop with a traceback, for any method, and `restore` takes them back.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch

from .numpy_scalars import scalar_globals

_undo: list[Any] = []


def clear() -> None:
    """Let checkpoints load under torch >= 2.6, and models be built where AlexNet cannot be downloaded; idempotent."""
    if _undo:
        return
    for remove in (_allow_numpy_scalars, _let_lpips_be_absent):
        _undo.append(remove())


def restore() -> None:
    """Take both changes back."""
    while _undo:
        _undo.pop()()


@contextlib.contextmanager
def cleared() -> Iterator[None]:
    """Both changes, for the length of a block; what was changed before it stays so."""
    was_clear = bool(_undo)
    clear()
    try:
        yield
    finally:
        if not was_clear:
            restore()


def _allow_numpy_scalars() -> Any:
    """Allow the numpy numbers that learning-rate schedules leave in nerfstudio's checkpoints.

    From torch 2.6 on `torch.load` refuses what is not on its list, and nerfstudio's four calls do not say otherwise
    (nerfstudio issue 3683). The check itself stays switched on: other pickled code is refused as before.
    """
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(scalar_globals())

    def undo() -> None:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)

    return undo


def _let_lpips_be_absent() -> Any:
    """Report LPIPS as NaN where its network cannot be fetched, and let checkpoints pass between such machines.

    Models build torchmetrics' LPIPS when they start, which downloads AlexNet, and would end in `URLError`. Checkpoints
    hold the network's weights where there were some: those are ignored where there is none, and not missed where a
    checkpoint has none.
    """
    from torchmetrics.image import lpip

    original = lpip.LearnedPerceptualImagePatchSimilarity

    class AbsentLpips(torch.nn.Module):
        """Stands where LPIPS would, without weights: NaN for every pair of images."""

        def forward(self, *_: torch.Tensor) -> torch.Tensor:
            return torch.tensor(math.nan)

        def _load_from_state_dict(self, *_: Any) -> None:
            """Take nothing from a checkpoint, and refuse nothing."""

    def build(*args: Any, **options: Any) -> torch.nn.Module:
        try:
            metric = original(*args, **options)
        except OSError as problem:  # urllib's URLError, a time-out, a folder that cannot be written
            from nerfstudio.utils.rich_utils import CONSOLE

            CONSOLE.log(f"LPIPS is reported as nan: its AlexNet cannot be had here ({problem})")
            return AbsentLpips()
        metric.register_load_state_dict_post_hook(_miss_no_lpips)
        return metric

    lpip.LearnedPerceptualImagePatchSimilarity = build  # pyright: ignore[reportAttributeAccessIssue]

    def undo() -> None:
        lpip.LearnedPerceptualImagePatchSimilarity = original  # pyright: ignore[reportAttributeAccessIssue]

    return undo


def _miss_no_lpips(_: torch.nn.Module, incompatible: Any) -> None:
    incompatible.missing_keys[:] = [key for key in incompatible.missing_keys if "lpips.net." not in key]
