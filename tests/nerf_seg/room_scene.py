"""A room with a known object, for both fields: a bumpy ball on a table before textured walls, of Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from nerf_seg.field.gaussians.camera import Camera
from nerf_seg.field.gaussians.model import SH_C0, Gaussians
from nerf_seg.field.gaussians.rendering import SplatSamples, view_weights
from nerf_seg.segmentation.mask_grid import Domain
from nerf_seg.segmentation.views import View, ViewSamples
from tests.nerf_seg.splat_scene import blob, camera_at, merged

GROUND_Z, WALL_Y = -0.42, 1.6


def plate(corner: Sequence[float], along: Sequence[float], across: Sequence[float], count: int, seed: int) -> Gaussians:
    """A flat piece of furniture or wall, with a texture of waves."""
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.rand(2, count, 1, generator=generator)
    a, b = torch.tensor(along), torch.tensor(across)
    normal = torch.linalg.cross(a, b)
    area = float(normal.norm())
    means = torch.tensor(corner) + u * a + v * b
    flat = (normal / area).abs() > 0.5
    side = (area / count) ** 0.5
    scales = torch.where(flat, torch.tensor(0.1 * side), torch.tensor(0.8 * side)).expand(count, 3).clone()
    waves = torch.sin(means @ torch.tensor([[7.0, 3.0, 5.0], [2.0, 9.0, 4.0], [5.0, 6.0, 8.0]]) * 2 + seed)
    colours = (torch.tensor([0.5, 0.5, 0.45]) + 0.2 * waves).clamp(0.02, 0.98)
    return Gaussians(
        means=means,
        scales=scales,
        rotations=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(count, 4).clone(),
        opacities=torch.full((count,), 0.95),
        harmonics=((colours - 0.5) / SH_C0)[:, None],
    )


@dataclass(frozen=True, eq=False)
class RoomScene:
    """A `ViewSource` of splat samples; `as_field` has the same views as samples along rays."""

    size: tuple[int, int] = (54, 72)
    count: int = 9
    gaussians: Gaussians = field(init=False)
    truth: np.ndarray = field(init=False)
    """Which Gaussians are the object."""

    def __post_init__(self) -> None:
        parts = (
            blob(900, (0.0, 0.0, 0.0), 0.42, (0.75, 0.3, 0.2), seed=1),
            plate((-1.1, -1.0, GROUND_Z), (2.2, 0.0, 0.0), (0.0, 2.0, 0.0), 1200, 2),
            plate((-3.0, WALL_Y, -1.5), (6.0, 0.0, 0.0), (0.0, 0.0, 4.0), 1200, 3),
        )
        object.__setattr__(self, "gaussians", merged(*parts))
        object.__setattr__(self, "truth", np.arange(len(self.gaussians)) < 900)

    @property
    def names(self) -> list[str]:
        return [f"view_{i:02d}.png" for i in range(self.count)]

    def camera(self, index: int) -> Camera:
        angle = np.deg2rad(-90 + 110 * (index / (self.count - 1) - 0.5))
        place = np.array([2.0 * np.cos(angle), 2.0 * np.sin(angle), (0.6, 0.9, 0.4)[index % 3]])
        return camera_at(self.names[index], place, self.size)

    @lru_cache(maxsize=16)  # noqa: B019
    def samples(self, index: int) -> SplatSamples:
        return view_weights(self.gaussians, self.camera(index))

    def view(self, index: int) -> View:
        seen, place = self.samples(index), torch.from_numpy(self.camera(index).place).float()
        image = seen.blend(self.gaussians.colours(place).numpy())
        return View(self.names[index], np.round(image.clip(0, 1) * 255).astype(np.uint8), seen)

    def alpha(self, index: int) -> np.ndarray:
        """The object's exact matte."""
        return self.samples(index).blend(self.truth[:, None].astype(np.float32))[..., 0].clip(0, 1)

    def noisy(self, index: int) -> np.ndarray:
        """A matte as 2D models give it: it takes in a rim and the table below, or lacks a bite, or is right."""
        alpha = self.alpha(index)
        rows, columns = np.nonzero(alpha > 0.5)
        if index % 3 == 0:
            spilled = binary_dilation(alpha > 0.5, iterations=1)
            spilled[rows.max() - 2 : rows.max() + 4, columns.min() : columns.max()] = True
            return np.maximum(alpha, spilled.astype(np.float32))
        if index % 3 == 1:
            bitten = alpha.copy()
            bitten[rows.min() : rows.min() + 6, columns.min() : int(columns.mean())] = 0
            return bitten
        return alpha


class AsField:
    """The same views as the heaviest samples along rays, as a radiance field has them."""

    domain = Domain.box((-0.8, -0.8, -0.8), (0.8, 0.8, 0.8))

    def __init__(self, room: RoomScene, k: int = 12) -> None:
        self.room, self.k, self.names = room, k, room.names

    def view(self, index: int) -> View:
        view = self.room.view(index)
        heavy, places = [], []
        for row in range(view.samples.weights.shape[0]):
            start, end = view.samples.weights.indptr[row : row + 2]
            weights = view.samples.weights.data[start:end]
            order = np.argsort(-weights, kind="stable")[: self.k]
            padding = self.k - len(order)
            heavy.append(np.pad(weights[order], (0, padding)))
            which = np.pad(view.samples.weights.indices[start:end][order], (0, padding))
            places.append(self.room.gaussians.means.numpy()[which])
        samples = ViewSamples(
            positions=self.domain.to_unit(torch.from_numpy(np.stack(places))),
            weights=torch.from_numpy(np.stack(heavy).astype(np.float32)),
            accumulation=view.samples.accumulation.float(),
            depth=view.samples.depth.float(),
            size=self.room.size,
        )
        return replace(view, samples=samples)
