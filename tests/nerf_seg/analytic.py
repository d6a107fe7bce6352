"""A scene in closed form: a soft ball with hairs before a wall, a pole in front of both, cameras on an arc.

All matter but the wall is a sum of Gaussian densities, whose integral along any stretch of any ray is a difference of
two error functions. Rendering weights, mattes and images are therefore exact, and the scene needs no training.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nerf_seg.segmentation.mask_grid import Domain, MaskGrid
from nerf_seg.segmentation.views import View, ViewSamples

WALL_Z = -1.3
HALF_SIDE = 1.6
"""The scene lies in [-HALF_SIDE, HALF_SIDE]^3; cameras are outside."""
DISTANCE = 2.6


@dataclass(frozen=True, eq=False)
class Blobs:
    """Gaussian densities."""

    centres: Tensor  # (n, 3)
    sigmas: Tensor  # (n,)
    depths: Tensor  # (n,), optical depth through each centre
    colour: tuple[float, float, float]

    def optical_depth(self, origin: Tensor, directions: Tensor, edges: Tensor) -> Tensor:
        """Integral of the density from the camera to each edge, (r, edges)."""
        to_centre = self.centres - origin
        nearest = directions @ to_centre.T  # (r, n)
        offset = (to_centre.square().sum(-1) - nearest.square()).clamp_min(0)
        through = self.depths * torch.exp(-offset / (2 * self.sigmas.square()))
        result = torch.zeros(len(directions), len(edges))
        for i in range(len(self.sigmas)):
            rays = through[:, i] > 1e-6
            z = (edges[None] - nearest[rays, i : i + 1]) / (self.sigmas[i] * 2**0.5)
            result[rays] += through[rays, i : i + 1] * (0.5 + 0.5 * torch.erf(z))
        return result


def ball_with_hairs(hairs: int) -> Blobs:
    """A ball of radius 0.45 or so, and hairs on its upper half, thinner towards their ends."""
    centres, sigmas, depths = [torch.zeros(3)], [0.1], [4e4]
    turn = torch.linspace(0.2, torch.pi - 0.2, hairs)
    for i, angle in enumerate(turn.tolist()):
        outward = torch.tensor([np.cos(angle), np.sin(angle), 0.35 * (-1) ** i], dtype=torch.float32)
        for step in range(9):
            centres.append(outward * (0.42 + 0.04 * step))
            sigmas.append(0.026 - 0.0012 * step)
            depths.append(1.2 - 0.08 * step)
    return Blobs(torch.stack(centres), torch.tensor(sigmas), torch.tensor(depths), (0.75, 0.3, 0.2))


def pole() -> Blobs:
    """An upright occluder in front of the ball's left part."""
    heights = torch.linspace(-1.4, 1.4, 36)
    centres = torch.stack([torch.full_like(heights, -0.42), heights, torch.full_like(heights, 0.9)], dim=1)
    return Blobs(centres, torch.full_like(heights, 0.05), torch.full_like(heights, 5.0), (0.2, 0.35, 0.3))


@dataclass(frozen=True)
class AnalyticScene:
    """A `ViewSource`.

    Args:
        size: (H, W) of the images.
        count: cameras on the arc.
        arc_degrees: from the first camera to the last.
        occluder: whether the pole stands there.
        hairs: on the ball.
        k: samples kept of each ray.
    """

    size: tuple[int, int] = (54, 72)
    count: int = 9
    arc_degrees: float = 70.0
    occluder: bool = False
    hairs: int = 9
    k: int = 12
    bins: int = 96
    names: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(f"view_{i:02d}.png" for i in range(self.count)))

    @property
    def domain(self) -> Domain:
        """The scene's box."""
        return Domain.box((-HALF_SIDE, -HALF_SIDE, -HALF_SIDE), (HALF_SIDE, HALF_SIDE, HALF_SIDE))

    def view(self, index: int) -> View:
        """What that camera sees."""
        return self._render(index)[0]

    def alpha(self, index: int) -> np.ndarray:
        """The ball's exact matte as that camera sees it, float32 (h, w) in [0, 1]."""
        return self._render(index)[1]

    def camera(self, index: int) -> tuple[Tensor, Tensor]:
        """Its place, and the unit direction of each pixel's ray, (r, 3)."""
        height, width = self.size
        share = index / max(self.count - 1, 1) - 0.5
        angle = np.deg2rad(self.arc_degrees) * share
        origin = torch.tensor([np.sin(angle), 0.12, np.cos(angle)], dtype=torch.float32) * DISTANCE
        backward = origin / origin.norm()
        right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), backward)
        right = right / right.norm()
        up = torch.linalg.cross(backward, right)
        focal_px = 1.15 * width
        ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        x, y = (xs.flatten() - width / 2) / focal_px, (ys.flatten() - height / 2) / focal_px
        directions = x[:, None] * right - y[:, None] * up - backward
        return origin, directions / directions.norm(dim=-1, keepdim=True)

    @lru_cache(maxsize=64)  # noqa: B019
    def _render(self, index: int) -> tuple[View, np.ndarray]:
        origin, directions = self.camera(index)
        edges = torch.linspace(1.2, 3.6, self.bins + 1)
        ball, matter = ball_with_hairs(self.hairs), [pole()] if self.occluder else []
        depths = [blobs.optical_depth(origin, directions, edges) for blobs in (ball, *matter)]
        transmittance = torch.exp(-torch.stack(depths).sum(0))
        weights = transmittance[:, :-1] - transmittance[:, 1:]
        gained = torch.stack([d[:, 1:] - d[:, :-1] for d in depths])  # (kinds, r, bins)
        shares = gained / gained.sum(0, keepdim=True).clamp_min(1e-12)
        of_kind = (shares * weights).sum(-1)  # (kinds, r)
        middles = ((edges[1:] + edges[:-1]) / 2).expand(len(directions), -1)
        to_wall = (WALL_Z - origin[2]) / directions[:, 2]
        ts = torch.cat([middles, to_wall[:, None]], dim=1)
        all_weights = torch.cat([weights, transmittance[:, -1:]], dim=1)
        heaviest, chosen = all_weights.topk(self.k, dim=1)
        positions = origin + ts.gather(1, chosen)[..., None] * directions[:, None]
        samples = ViewSamples(
            positions=self.domain.to_unit(positions),
            weights=heaviest,
            accumulation=all_weights.sum(1).clamp_max(1.0),
            depth=(all_weights * ts).sum(1),
            size=self.size,
        )
        on_wall = origin + to_wall[:, None] * directions
        checks = ((on_wall[:, :2] / 0.35).floor().sum(1) % 2)[:, None]
        wall = checks * torch.tensor([0.85, 0.83, 0.7]) + (1 - checks) * torch.tensor([0.45, 0.5, 0.65])
        photo = transmittance[:, -1:] * wall
        for amount, blobs in zip(of_kind, (ball, *matter), strict=True):
            photo = photo + amount[:, None] * torch.tensor(blobs.colour)
        image = (photo * 255).round().clamp(0, 255).to(torch.uint8).reshape(*self.size, 3).numpy()
        alpha = of_kind[0].reshape(self.size).clamp(0, 1).numpy()
        return View(self.names[index], image, samples), alpha


def fill(grid: MaskGrid, scene: AnalyticScene, alphas: Sequence[np.ndarray] | None = None) -> MaskGrid:
    """The grid with all views' mattes accumulated, the exact ones by default."""
    for index in range(scene.count):
        alpha = scene.alpha(index) if alphas is None else alphas[index]
        values = grid.estimator.ray_values(grid.flat(alpha), 1.0)
        grid.estimator.fold(grid.sums, grid.scattered(scene.view(index).samples, values))
    return grid


def mean_error(grid: MaskGrid, scene: AnalyticScene) -> float:
    """Mean absolute error of the rendered mattes against the exact ones, over all views."""
    errors = [np.abs(grid.render(scene.view(i).samples) - scene.alpha(i)).mean() for i in range(scene.count)]
    return float(np.mean(errors))


def ball_density(places: Tensor) -> Tensor:
    """Density of the bald ball at places of the world, per unit of length."""
    ball = ball_with_hairs(0)
    peak = ball.depths[0] / (ball.sigmas[0] * (2 * np.pi) ** 0.5)
    return peak * torch.exp(-places.square().sum(-1) / (2 * ball.sigmas[0].square()))
