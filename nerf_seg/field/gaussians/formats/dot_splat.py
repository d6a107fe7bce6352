"""The .splat format: 32 bytes for each Gaussian, without header and without view-dependent colour."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32

from zim_plugins.imaging import unit_values

from ..model import SH_C0, Gaussians

RECORD = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


@dataclass(frozen=True, eq=False)
class DotSplat:
    """A `SplatFile` of records of 32 bytes."""

    rows: np.ndarray

    format = ".splat"

    def gaussians(self) -> Gaussians:
        """See `SplatFile`."""
        rgba = torch.from_numpy(unit_values(self.rows["rgba"]))
        rotations = torch.from_numpy((self.rows["rotation"].astype(np.float32) - 128) / 128)
        return Gaussians(
            means=torch.from_numpy(self.rows["mean"].astype(np.float32)),
            scales=torch.from_numpy(self.rows["scale"].astype(np.float32)),
            rotations=torch.nn.functional.normalize(rotations, dim=1),
            opacities=rgba[:, 3].contiguous(),
            harmonics=((rgba[:, :3] - 0.5) / SH_C0)[:, None].contiguous(),
        )

    def select(self, kept: Bool[np.ndarray, " n"]) -> "DotSplat":
        """See `SplatFile`."""
        return DotSplat(self.rows[kept])

    def with_membership(self, membership: Float32[np.ndarray, " n"]) -> "DotSplat":
        """See `SplatFile`; only the product is stored, in 8 bits."""
        rows = self.rows.copy()
        rows["rgba"][:, 3] = np.round(rows["rgba"][:, 3] * membership).astype(np.uint8)
        return DotSplat(rows)

    def encode(self) -> bytes:
        """See `SplatFile`."""
        return self.rows.tobytes()


def parse(content: bytes) -> DotSplat:
    """Read the content of a file.

    Raises:
        ValueError: its size is not that of whole records.
    """
    if len(content) % RECORD.itemsize:
        raise ValueError(f"{len(content)} bytes are no whole number of records of {RECORD.itemsize}: it is cut short")
    return DotSplat(np.frombuffer(content, dtype=RECORD))
