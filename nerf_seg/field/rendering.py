"""Rays of a frozen nerfacto: the samples that matter, and images of the object with and without the rest."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..segmentation.mask_grid import Domain, MaskGrid
from ..segmentation.views import ViewSamples

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.cameras.rays import RayBundle, RaySamples
    from nerfstudio.models.nerfacto import NerfactoModel

Kept = Literal["object", "rest"]


@torch.no_grad()
def view_samples(nerf: "NerfactoModel", camera: "Cameras", k: int) -> ViewSamples:
    """The k heaviest samples of every ray of a camera, in the contracted cube.

    Samples are those of the last proposal round in evaluation mode: no jitter, the last annealing step, no pose
    refinement, so that they are the same at each call.
    """
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for rays in _chunks(nerf, camera):
        samples, _, _ = nerf.proposal_sampler(rays, density_fns=nerf.density_fns)
        density, _ = nerf.field.get_density(samples)
        weights = samples.get_weights(density)[..., 0]
        heaviest, places = weights.topk(min(k, weights.shape[-1]), dim=-1)
        at = samples.frustums.get_positions().gather(1, places[..., None].expand(-1, -1, 3))
        parts.append((Domain.contraction().to_unit(at), heaviest, weights.sum(-1), expected_depth(samples, weights)))
    positions, weights, accumulation, depth = (torch.cat(part) for part in zip(*parts, strict=True))
    return ViewSamples(positions, weights, accumulation.clamp(0, 1), depth, size=image_size(camera))


@torch.no_grad()
def edited_image(
    nerf: "NerfactoModel", grid: MaskGrid, camera: "Cameras", keep: Kept
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """The object alone, or everything but the object: the density is multiplied by the grid's opacity or its rest.

    The proposal networks see the edited density, too, so that rays sample what the object hid.

    Returns:
        Colours (sRGB, 8 bits; straight, not premultiplied) and opacity in [0, 1].
    """
    share = share_function(grid, keep)
    density_fns = [_edited(density_fn, share) for density_fn in nerf.density_fns]
    colours, opacities = [], []
    for rays in _chunks(nerf, camera):
        samples, _, _ = nerf.proposal_sampler(rays, density_fns=density_fns)
        density, colour = density_and_colour(nerf, samples)
        weights = samples.get_weights(density * share(samples.frustums.get_positions())[..., None])
        opacity = weights.sum(-2)
        colours.append((weights * colour).sum(-2) / opacity.clamp_min(1e-4))
        opacities.append(opacity[..., 0])
    height, width = image_size(camera)
    image = (torch.cat(colours).clamp(0, 1) * 255).round().to(torch.uint8).reshape(height, width, 3)
    return image.cpu().numpy(), torch.cat(opacities).clamp(0, 1).reshape(height, width).cpu().numpy()


def density_and_colour(nerf: "NerfactoModel", samples: "RaySamples") -> tuple[Tensor, Tensor]:
    """Density (rays, samples, 1) and colour (rays, samples, 3) of the field."""
    from nerfstudio.field_components.field_heads import FieldHeadNames

    density, embedding = nerf.field.get_density(samples)
    heads = nerf.field.get_outputs(samples, density_embedding=embedding)
    return density, heads[FieldHeadNames.RGB]


def share_function(grid: MaskGrid, keep: Kept) -> Callable[[Tensor], Tensor]:
    """Return the share of the density at world positions (..., 3) that belongs to the object, or to the rest."""

    def share(positions: Tensor) -> Tensor:
        opacity = grid.query(grid.domain.to_unit(positions))[0]
        return opacity if keep == "object" else 1 - opacity

    return share


def expected_depth(samples: "RaySamples", weights: Float[Tensor, "r s"]) -> Float[Tensor, " r"]:
    """Mean distance along each ray, by weight."""
    middles = (samples.frustums.starts + samples.frustums.ends)[..., 0] / 2
    total = weights.sum(-1)
    return (weights * middles).sum(-1) / total.clamp_min(1e-6)


def image_size(camera: "Cameras") -> tuple[int, int]:
    """(H, W) of the first camera [px]."""
    return int(camera.height.reshape(-1)[0]), int(camera.width.reshape(-1)[0])


def _edited(density_fn: Callable[[Tensor], Tensor], share: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda positions: density_fn(positions) * share(positions)[..., None]


def _chunks(nerf: "NerfactoModel", camera: "Cameras") -> Iterator["RayBundle"]:
    if nerf.training:
        raise ValueError("the field must be in evaluation mode: call .eval() on it")
    bundle = camera.to(nerf.device).generate_rays(camera_indices=0, keep_shape=True)
    count = nerf.config.eval_num_rays_per_chunk
    for start in range(0, len(bundle), count):
        rays = bundle.get_row_major_sliced_ray_bundle(start, min(start + count, len(bundle)))
        yield rays if nerf.collider is None else nerf.collider(rays)
