"""The same weights through gsplat on CUDA, without writing them down.

Values are blended by its rasterisation and gathered by the gradient of that. Written against gsplat 1.4; it has not
been run on a GPU yet.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from zim_plugins.core import MissingExtra, ZimError

from .camera import Camera
from .model import Gaussians
from .rendering import LOW_PASS_PX2, NEAR


@dataclass(frozen=True, eq=False)
class GsplatSamples:
    """A view as gsplat renders it; as `SplatSamples` to those who blend and gather."""

    gaussians: Gaussians
    camera: Camera
    depth: Float[Tensor, " r"]
    accumulation: Float[Tensor, " r"]
    memory: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) [px]."""
        return self.camera.size

    def blend(self, values: Float32[np.ndarray, "n c"]) -> Float32[np.ndarray, "h w c"]:
        """See `SplatSamples`."""
        with torch.no_grad():
            return _rasterise(self.gaussians, self.camera, torch.from_numpy(values).cuda())[0].cpu().numpy()

    def gather(self, values: Float32[np.ndarray, "r c"]) -> Float32[np.ndarray, "n c"]:
        """See `SplatSamples`: blending is linear, and its gradient by the blended values is the transposed sum."""
        features = torch.zeros(len(self.gaussians), values.shape[1], device="cuda", requires_grad=True)
        image, _ = _rasterise(self.gaussians, self.camera, features)
        image.backward(torch.from_numpy(values).cuda().reshape(image.shape))
        assert features.grad is not None
        return features.grad.cpu().numpy()


def gsplat_works() -> bool:
    """Return whether gsplat is installed and there is a CUDA device."""
    import importlib.util

    return torch.cuda.is_available() and importlib.util.find_spec("gsplat") is not None


def gsplat_weights(gaussians: Gaussians, camera: Camera) -> GsplatSamples:
    """Return a view that gsplat renders.

    Raises:
        MissingExtra: gsplat is not installed.
        ZimError: there is no CUDA device, or the camera has distortion.
    """
    if not torch.cuda.is_available():
        raise ZimError("gsplat needs a CUDA device: give --renderer cpu")
    if any(camera.distortion):
        raise ZimError("gsplat is used here for cameras without distortion only: give --renderer cpu")
    depth = _depths(gaussians, camera)
    with torch.no_grad():
        blended, opacity = _rasterise(gaussians, camera, depth[:, None])
    accumulation = opacity.reshape(-1).cpu()
    return GsplatSamples(gaussians, camera, blended.reshape(-1).cpu() / accumulation.clamp_min(1e-6), accumulation)


def _depths(gaussians: Gaussians, camera: Camera) -> Float[Tensor, " n"]:
    matrix = torch.from_numpy(camera.world_to_camera).to(gaussians.means)
    return gaussians.means @ matrix[2, :3] + matrix[2, 3]


def _rasterise(gaussians: Gaussians, camera: Camera, values: Float[Tensor, "n c"]) -> tuple[Any, Any]:
    """Image (h, w, c) and opacity (h, w, 1)."""
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise MissingExtra("gsplat", "nerf") from error
    depths = _depths(gaussians, camera)
    lens = torch.eye(3, device="cuda")
    lens[0, 0], lens[1, 1] = camera.focal
    lens[0, 2], lens[1, 2] = camera.centre
    images, opacities, _ = rasterization(
        means=gaussians.means,
        quats=gaussians.rotations,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=values,
        viewmats=torch.from_numpy(camera.world_to_camera).float().cuda()[None],
        Ks=lens[None],
        width=camera.size[1],
        height=camera.size[0],
        near_plane=NEAR * float(depths[depths > 0].median()) if bool((depths > 0).any()) else 0.01,
        eps2d=LOW_PASS_PX2,
        packed=False,
    )
    return images[0], opacities[0]
