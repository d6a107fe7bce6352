"""A click in one view becomes an object in 3D: python examples/09_object_in_3d.py.

Two balls before a wall, eight cameras, zim_tiny for the mattes. The scene is made up, so that nothing is trained; of a
trained NeRF, `nerf_seg.open_scene` answers with such views.
"""

from pathlib import Path

import numpy as np
import torch

from nerf_seg import Domain, MaskGrid, ReferencePrompt, Segmenter, SegmenterConfig, View, ViewSamples
from zim_plugins.core import load_predictor, write_image

BALLS = (((-0.45, 0.1, 0.0), 0.5, (220, 60, 40)), ((0.6, -0.25, 0.3), 0.35, (60, 160, 70)))
DOMAIN, SIZE, FOCAL_PX = Domain.box((-2.5, -2.5, -2.5), (2.5, 2.5, 2.5)), (180, 240), 260


def look(angle: float) -> tuple[View, np.ndarray]:
    """The scene from a camera on an arc, and the red ball's true mask: each ray ends on a ball or on the wall."""
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    back, right = np.array([np.sin(angle), 0, np.cos(angle)]), np.array([np.cos(angle), 0, -np.sin(angle)])
    rays = (xs[..., None] - SIZE[1] / 2) * right - (ys[..., None] - SIZE[0] / 2) * np.array([0, 1, 0]) - FOCAL_PX * back
    rays, eye = rays / np.linalg.norm(rays, axis=-1, keepdims=True), 3.2 * back
    depth, red = (-1.5 - eye[2]) / rays[..., 2], np.zeros(SIZE, bool)
    checks = np.floor((eye + depth[..., None] * rays)[..., :2] / 0.4).sum(-1) % 2
    colour = np.where(checks[..., None] > 0, (205, 200, 170), (150, 160, 190))
    for i, (centre, radius, paint) in enumerate(BALLS):
        along = rays @ (centre - eye)
        inside = radius**2 - np.sum((centre - eye) ** 2) + along**2
        hit = along - np.sqrt(np.maximum(inside, 0))
        front = (inside > 0) & (hit < depth)
        depth, red = np.where(front, hit, depth), np.where(front, i == 0, red)
        light = (eye + hit[..., None] * rays - centre) @ np.array([0.4, 0.8, 0.45]) / radius
        colour = np.where(front[..., None], np.array(paint) * (0.55 + 0.45 * light[..., None].clip(-1, 1)), colour)
    places = DOMAIN.to_unit(torch.from_numpy((eye + depth[..., None] * rays).reshape(-1, 1, 3)).float())
    ones, distance = torch.ones(len(places), 1), torch.from_numpy(depth.ravel()).float()
    return View(f"{angle:+.2f}", colour.astype(np.uint8), ViewSamples(places, ones, ones[:, 0], distance, SIZE)), red


def main() -> None:
    views = [look(angle)[0] for angle in np.linspace(-0.5, 0.5, 8)]
    grid, click = MaskGrid(128, domain=DOMAIN), ReferencePrompt(view=views[0].name, points=((88, 84, 1),))
    segmenter = Segmenter(SegmenterConfig(passes=1), grid, load_predictor("zim_tiny"), click, [v.name for v in views])
    records = [segmenter.visit(views[index]) for index in segmenter.order]
    unseen, truth = look(0.0)
    alpha = grid.render(unseen.samples)
    iou = ((alpha > 0.5) & truth).sum() / ((alpha > 0.5) | truth).sum()
    grey = np.repeat((alpha * 255).astype(np.uint8)[..., None], 3, axis=2)
    path = write_image(Path("outputs/object_in_3d.png"), np.concatenate([views[0].image, unseen.image, grey], axis=1))
    print(
        f"{path}: {sum(r.accepted for r in records)} of {len(views)} views, IoU {iou:.3f} in one that was not visited"
    )


if __name__ == "__main__":
    main()
