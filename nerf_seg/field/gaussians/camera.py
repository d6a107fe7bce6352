"""Camera: a pinhole with the usual distortion, in the axes of COLMAP and of OpenCV (x right, y down, z forward)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

MAX_SLANT = 1.3
"""Beyond this many times the image's own slant the projection is continued as a plane, and distortion with it."""


@dataclass(frozen=True, eq=False)
class Camera:
    """One photograph's camera."""

    name: str
    """File name of the photograph as the camera file has it, with folders and suffix where it gives them."""
    size: tuple[int, int]
    """(H, W) [px]."""
    focal: tuple[float, float]
    """Horizontal and vertical focal length [px]."""
    centre: tuple[float, float]
    """Principal point x, y [px]; the middle of the first pixel is (0.5, 0.5)."""
    world_to_camera: Float64[np.ndarray, "4 4"]
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """k1, k2 (radial), p1, p2 (tangential) as OpenCV has them."""

    def __post_init__(self) -> None:
        numbers = (*self.focal, *self.centre, *self.distortion)
        if min(self.size) < 1 or not np.isfinite(numbers).all() or min(self.focal) <= 0:
            raise ValueError(
                f"the camera of {self.name} is none: {self.size[1]}x{self.size[0]} px, focal length "
                f"{self.focal[0]:g}, {self.focal[1]:g} px"
            )
        axes = self.world_to_camera[:3, :3]
        if not np.isfinite(self.world_to_camera).all() or not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
            raise ValueError(f"the camera of {self.name} has no place: its matrix is not finite, or no rotation")

    @property
    def place(self) -> Float64[np.ndarray, " 3"]:
        """Return the camera's place in the world."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -rotation.T @ translation

    def resized(self, size: tuple[int, int]) -> "Camera":
        """Return the camera of the same photograph at another size (H, W) [px]."""
        down, across = size[0] / self.size[0], size[1] / self.size[1]
        focal, centre = (self.focal[0] * across, self.focal[1] * down), (self.centre[0] * across, self.centre[1] * down)
        return replace(self, size=size, focal=focal, centre=centre)

    def moved(
        self, rotation: Float64[np.ndarray, "3 3"], translation: Float64[np.ndarray, " 3"], scale: float
    ) -> "Camera":
        """Return the camera in a world whose places are `scale * (rotation @ place + translation)`."""
        turned = self.world_to_camera[:3, :3] @ rotation.T
        place = scale * (rotation @ self.place + translation)
        moved = np.eye(4)
        moved[:3, :3], moved[:3, 3] = turned, -turned @ place
        return replace(self, world_to_camera=moved)

    def project(self, at: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 3"]]:
        """Return where places before the camera fall in the image [px], and how that changes with the place.

        Args:
            at: in the camera's axes, z above 0.

        Returns:
            x, y [px], and the Jacobian of x, y by the place [px per unit of length].
        """
        x, y = at[:, 0] / at[:, 2], at[:, 1] / at[:, 2]
        far = [
            max(c, size - c) / f * MAX_SLANT
            for c, size, f in zip(self.centre, self.size[::-1], self.focal, strict=True)
        ]
        u, v = x.clamp(-far[0], far[0]), y.clamp(-far[1], far[1])
        k1, k2, p1, p2 = self.distortion
        r2 = u * u + v * v
        radial, slope = 1 + r2 * (k1 + r2 * k2), k1 + 2 * k2 * r2
        along_x = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
        along_y = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
        xx = radial + 2 * u * u * slope + 2 * p1 * v + 6 * p2 * u
        xy = 2 * u * v * slope + 2 * p1 * u + 2 * p2 * v
        yy = radial + 2 * v * v * slope + 6 * p1 * v + 2 * p2 * u
        # Outside the clamp the image is continued linearly.
        along_x, along_y = along_x + xx * (x - u) + xy * (y - v), along_y + xy * (x - u) + yy * (y - v)
        pixels = torch.stack([self.focal[0] * along_x + self.centre[0], self.focal[1] * along_y + self.centre[1]], 1)
        inverse_z = 1 / at[:, 2]
        to_plane = torch.zeros(len(at), 2, 3, dtype=at.dtype, device=at.device)
        to_plane[:, 0, 0] = to_plane[:, 1, 1] = inverse_z
        to_plane[:, 0, 2], to_plane[:, 1, 2] = -u * inverse_z, -v * inverse_z
        distort = torch.stack([torch.stack([xx, xy], 1), torch.stack([xy, yy], 1)], 1)
        distort = distort * torch.tensor(self.focal, dtype=at.dtype, device=at.device)[None, :, None]
        return pixels, distort @ to_plane
