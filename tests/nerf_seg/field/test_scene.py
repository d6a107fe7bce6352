"""What needs no nerfstudio: the grid's box round the object, and samples in it."""

import numpy as np
import torch

from nerf_seg.field.scene import boxed, domain_around
from nerf_seg.segmentation.mask_grid import Domain
from nerf_seg.segmentation.views import ViewSamples


def samples_at(surface: np.ndarray, size: tuple[int, int]) -> ViewSamples:
    """One opaque sample a ray, at places of contracted space, and a faint one at its middle."""
    places = torch.from_numpy(np.stack([surface, np.zeros_like(surface)], axis=1)).float()
    weights = torch.tensor([0.9, 0.05]).repeat(len(surface), 1)
    return ViewSamples((places + 2) / 4, weights, weights.sum(-1), torch.ones(len(surface)), size)


def test_the_box_holds_thin_parts_and_leaves_rays_past_the_rim_out(rng: np.random.Generator) -> None:
    height, width = 40, 40
    surface = np.zeros((height * width, 3))
    surface[:, :2] = rng.uniform([0.3, -0.5], [0.7, -0.1], size=(height * width, 2))
    surface[:30, 0] = np.linspace(0.7, 0.95, 30)  # a hair
    surface[30:60] = [1.9, 1.9, 1.9]  # rays past the rim, which meet the background
    alpha = np.ones((height, width), np.float32)
    alpha[20:] = 0.2
    surface[20 * width :] = [-1.5, 0.0, 0.0]  # what is not in the matte
    domain = domain_around(samples_at(surface, (height, width)), alpha)
    assert domain.contracted
    assert domain.upper[0] >= 0.95 and domain.lower[0] <= 0.3
    assert domain.lower[0] > -1 and domain.upper[1] < 1.5
    sides = np.subtract(domain.upper, domain.lower)
    assert np.allclose(sides, sides[0])  # a cube, as deep behind the surface as the object is long
    assert domain.lower[2] <= -0.6 and domain.upper[2] >= 0.6


def test_samples_in_a_box_are_where_the_box_says(rng: np.random.Generator) -> None:
    domain = Domain((-0.5, -0.25, 0.0), (0.5, 0.75, 1.0), contracted=True)
    world = torch.from_numpy(rng.normal(size=(50, 3)) * 2).float()
    unit = Domain.contraction().to_unit(world)[:, None]
    flat = torch.ones(50, 1)
    samples = boxed(ViewSamples(unit, flat, flat[:, 0], flat[:, 0], (5, 10)), domain)
    assert torch.allclose(samples.positions[:, 0], domain.to_unit(world), atol=1e-5)
    assert torch.equal(samples.weights, flat)


def test_wall_rays_among_the_matte_do_not_widen_the_box(rng: np.random.Generator) -> None:
    """Four of a hundred rays of the matte end on near and far walls, within what counts as the object's surface."""
    side = 50
    surface = rng.uniform(-0.15, 0.15, (side * side, 3))
    alpha = np.ones((side, side), dtype=np.float32)
    alone = domain_around(samples_at(surface, (side, side)), alpha)
    stray = rng.random(side * side) < 0.04
    surface[stray] = rng.uniform(-0.45, 0.45, (int(stray.sum()), 3))
    with_walls = domain_around(samples_at(surface, (side, side)), alpha)
    widths = [np.subtract(domain.upper, domain.lower)[0] for domain in (alone, with_walls)]
    assert widths[0] >= 0.6  # twice the object's length, as ever
    assert widths[1] < 1.1 * widths[0]


def test_the_box_holds_what_several_views_show() -> None:
    alpha = np.ones((10, 10), dtype=np.float32)
    left, right = (np.tile([x, 0.0, 0.0], (100, 1)) + np.linspace(-0.05, 0.05, 100)[:, None] for x in (-0.3, 0.3))
    domain = domain_around(samples_at(left, (10, 10)), alpha, [(samples_at(right, (10, 10)), alpha)])
    assert domain.lower[0] < -0.35 and domain.upper[0] > 0.35
