"""A scene of Gaussians whose truth is known for each of them: two blobs that touch, cameras all round."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nerf_seg.field.gaussians.camera import Camera
from nerf_seg.field.gaussians.model import SH_C0, Gaussians
from nerf_seg.field.gaussians.rendering import SplatSamples, view_weights
from nerf_seg.field.gaussians.views import Photograph


def blob(
    count: int, centre: tuple[float, float, float], radius: float, colour: tuple[float, float, float], seed: int
) -> Gaussians:
    """A ball with a bumpy surface: most Gaussians near the surface, flat along it, a fifth of them inside."""
    generator = torch.Generator().manual_seed(seed)
    outward = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    bumps = 1 + 0.12 * torch.sin(5 * outward[:, :1] + 1) * torch.cos(4 * outward[:, 1:2])
    inside = torch.rand(count, 1, generator=generator) < 0.2
    share = torch.where(inside, 0.9 * torch.rand(count, 1, generator=generator) ** (1 / 3), torch.ones(count, 1))
    means = torch.tensor(centre) + outward * bumps * share * radius
    side = radius * (12.6 / count) ** 0.5 * 0.8
    scales = side * torch.exp(0.3 * torch.randn(count, 3, generator=generator)) * torch.tensor([1.0, 1.0, 0.35])
    stripes = 0.25 * torch.sin(9 * outward) + 0.08 * torch.randn(count, 3, generator=generator)
    shades = (torch.tensor(colour) + stripes).clamp(0.02, 0.98)
    return Gaussians(
        means=means,
        scales=scales,
        rotations=_turned_from_z(outward),
        opacities=0.55 + 0.44 * torch.rand(count, generator=generator),
        harmonics=((shades - 0.5) / SH_C0)[:, None],
    )


def merged(*parts: Gaussians) -> Gaussians:
    names = ("means", "scales", "rotations", "opacities", "harmonics")
    return Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def camera_at(name: str, place: np.ndarray, size: tuple[int, int], look_at: np.ndarray | None = None) -> Camera:
    forward = (np.zeros(3) if look_at is None else look_at) - place
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    matrix[:3, 3] = -matrix[:3, :3] @ place
    focal = 1.1 * size[1]
    return Camera(name, size, (focal, focal), (size[1] / 2, size[0] / 2), matrix)


@dataclass(frozen=True, eq=False)
class SplatScene:
    """Two blobs: the object (first) and another one beside it that touches it, and a floor of flat Gaussians."""

    size: tuple[int, int] = (72, 96)
    views: int = 12
    count: int = 1500
    gaussians: Gaussians = field(init=False)
    truth: np.ndarray = field(init=False)
    """Which Gaussians are the object."""

    def __post_init__(self) -> None:
        parts = (
            blob(self.count, (0.0, -0.45, 0.0), 0.485, (0.75, 0.3, 0.2), seed=1),
            blob(self.count, (0.0, 0.5, -0.05), 0.465, (0.2, 0.4, 0.7), seed=2),
        )
        object.__setattr__(self, "gaussians", merged(*parts))
        object.__setattr__(self, "truth", np.repeat([True, False], [self.count, self.count]))

    @property
    def cameras(self) -> list[Camera]:
        cameras = []
        for i in range(self.views):
            angle, height = 2 * np.pi * i / self.views, 0.9 * (-1) ** i * (0.4 + 0.5 * (i % 3) / 2)
            place = np.array([2.6 * np.cos(angle), 2.6 * np.sin(angle), height])
            cameras.append(camera_at(f"view_{i:02d}.png", place, self.size))
        return cameras

    def samples(self, index: int) -> SplatSamples:
        return view_weights(self.gaussians, self.cameras[index])

    def image(self, index: int) -> np.ndarray:
        """The photograph, over white."""
        camera, samples = self.cameras[index], self.samples(index)
        colours = self.gaussians.colours(torch.from_numpy(camera.place).float()).numpy()
        ground = 1 - samples.accumulation.numpy().reshape(*self.size, 1)
        return np.round((samples.blend(colours) + ground).clip(0, 1) * 255).astype(np.uint8)

    def alpha(self, index: int) -> np.ndarray:
        """The object's exact matte."""
        return self.samples(index).blend(self.truth[:, None].astype(np.float32))[..., 0].clip(0, 1)

    def photographs(self) -> list[Photograph]:
        return [Photograph(c.name, self.image(i), c, self.size) for i, c in enumerate(self.cameras)]


def membership_iou(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def inria_rows(gaussians: Gaussians) -> np.ndarray:
    """Records as gaussian-splatting writes them, normals and a property of nobody's included."""
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{i}" for i in range(3))]
    rest = gaussians.harmonics[:, 1:].transpose(1, 2).reshape(len(gaussians), -1)
    names += [f"f_rest_{i}" for i in range(rest.shape[1])]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)), "of_nobody"]
    rows = np.zeros(len(gaussians), dtype=[(name, "<f4") for name in names])

    def put(keys: list[str], values: Tensor) -> None:
        for key, column in zip(keys, values.reshape(len(gaussians), -1).T, strict=True):
            rows[key] = column.numpy()

    put(["x", "y", "z"], gaussians.means)
    put([f"f_dc_{i}" for i in range(3)], gaussians.harmonics[:, 0])
    put([f"f_rest_{i}" for i in range(rest.shape[1])], rest)
    put(["opacity"], torch.logit(gaussians.opacities))
    put([f"scale_{i}" for i in range(3)], gaussians.scales.log())
    put([f"rot_{i}" for i in range(4)], gaussians.rotations)
    rows["of_nobody"] = np.arange(len(gaussians))
    return rows


def _turned_from_z(outward: Tensor) -> Tensor:
    """Quaternions w, x, y, z that turn the z axis outward."""
    x, y, z = outward.unbind(1)
    quaternions = torch.stack([1 + z, -y, x, torch.zeros_like(z)], dim=1)
    return torch.nn.functional.normalize(quaternions + torch.tensor([1e-6, 0, 0, 0]), dim=1)
