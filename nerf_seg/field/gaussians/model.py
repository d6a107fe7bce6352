"""Gaussians: what a splat file holds, in the units that rendering needs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SH_C0 = 0.28209479177387814
"""The spherical harmonic of degree 0; a colour is one half plus this times its coefficient."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Activated Gaussians of a scene, in the scene's own coordinates."""

    means: Float[Tensor, "n 3"]
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the three axes, above 0, in the scene's unit of length."""
    rotations: Float[Tensor, "n 4"]
    """Unit quaternions w, x, y, z: from the Gaussian's axes to the scene's."""
    opacities: Float[Tensor, " n"]
    """In [0, 1]."""
    harmonics: Float[Tensor, "n k 3"]
    """Spherical-harmonic coefficients of the colour, k = 1, 4, 9 or 16."""

    def __len__(self) -> int:
        return len(self.means)

    def to(self, device: str | torch.device) -> "Gaussians":
        """Return the same Gaussians on another device."""
        parts = (self.means, self.scales, self.rotations, self.opacities, self.harmonics)
        return Gaussians(*(part.to(device) for part in parts))

    def covariances(self) -> Float[Tensor, "n 3 3"]:
        """Return the covariance of each Gaussian."""
        axes = rotation_matrices(self.rotations) * self.scales[:, None, :]
        return axes @ axes.transpose(1, 2)

    def colours(self, seen_from: Float[Tensor, " 3"]) -> Float[Tensor, "n 3"]:
        """Return sRGB colours, not below 0, as a camera at that place sees them."""
        directions = torch.nn.functional.normalize(self.means - seen_from, dim=1)
        basis = harmonic_basis(directions, self.harmonics.shape[1])
        return (0.5 + (basis[..., None] * self.harmonics).sum(1)).clamp_min(0)


def rotation_matrices(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Return the rotation matrices of quaternions w, x, y, z, which need not be of unit length.

    Example:
        >>> rotation_matrices(torch.tensor([[2.0, 0.0, 0.0, 0.0]]))[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def harmonic_basis(directions: Float[Tensor, "n 3"], count: int) -> Float[Tensor, "n k"]:
    """Return the first `count` real spherical harmonics in the order and with the signs that splat files use.

    Args:
        directions: unit vectors from the camera to the Gaussians.
        count: 1, 4, 9 or 16.
    """
    x, y, z = directions.unbind(1)
    terms = [torch.full_like(x, SH_C0)]
    if count > 1:
        terms += [-0.4886025119 * y, 0.4886025119 * z, -0.4886025119 * x]
    if count > 4:
        terms += [
            1.0925484306 * x * y,
            -1.0925484306 * y * z,
            0.3153915653 * (2 * z * z - x * x - y * y),
            -1.0925484306 * x * z,
            0.5462742153 * (x * x - y * y),
        ]
    if count > 9:
        terms += [
            -0.5900435899 * y * (3 * x * x - y * y),
            2.8906114426 * x * y * z,
            -0.4570457995 * y * (4 * z * z - x * x - y * y),
            0.3731763326 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457995 * x * (4 * z * z - x * x - y * y),
            1.4453057213 * z * (x * x - y * y),
            -0.5900435899 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(terms[:count], dim=1)
