"""Numbers of numpy that learning-rate schedules leave in nerfstudio's checkpoints, allowed while these are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def scalar_globals() -> list[Any]:
    """Return what `torch.load` must allow for them; other pickled code stays refused."""
    scalar = np.float64(0).__reduce__()[0]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (np.dtype, "numpy.dtype"),
        *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)),
    ]


@contextmanager
def allowed_scalars() -> Iterator[None]:
    """Allow them for the length of a block."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(scalar_globals())
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
