"""Prompts drawn from mattes on the device, in batches: clicks, boxes, both, none; and the clicks that correct."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zim_plugins.core.tokens import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PAD
from zim_plugins.training.packed.scenes import Scenes, SceneSampler

GRID = 64
"""Side of the grid on which depth is measured."""
MAX_POSITIVE, MAX_NEGATIVE = 3, 2
BOX_SHARE, BOX_AND_CLICKS, BOX_JITTER = 0.45, 0.3, 0.1
DEEPEST = 0.6
NOTHING, WHOLE_FRAME = 0.2, 0.1
"""Of prompts for salient targets: no prompt at all, and a box round the whole image."""


def depth(mask: Bool[Tensor, "b g g"]) -> Float[Tensor, "b g g"]:
    """Exact Euclidean distance [cells] of True cells to the nearest False one; what lies outside is False."""
    g = mask.shape[-1]
    padded = F.pad(mask, (1, 1, 1, 1))
    at = torch.arange(g + 2, device=mask.device).float()
    zero = torch.where(padded, -1e4, at)
    left = at - zero.cummax(2).values
    right = torch.where(padded, 1e4, at).flip(2).cummin(2).values.flip(2) - at
    across = torch.minimum(left, right) ** 2
    away = (at[:, None] - at[None]) ** 2
    square = (away[None, :, :, None] + across[:, None]).amin(2)
    return square.sqrt()[:, 1:-1, 1:-1]


def on_grid(x: Float[Tensor, "b f f"]) -> Float[Tensor, "b g g"]:
    """Mean over the cells of the depth grid."""
    return F.adaptive_avg_pool2d(x[:, None], GRID)[:, 0]


def tight_boxes(mask: Bool[Tensor, "b f f"]) -> Float[Tensor, "b 4"]:
    """Tight boxes X1 Y1 X2 Y2 [px], exclusive at the far edge; zeros for an empty mask."""
    f = mask.shape[-1]
    at = torch.arange(f, device=mask.device)
    columns, rows = mask.any(1), mask.any(2)

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(line, at, f).amin(1), torch.where(line, at + 1, 0).amax(1)

    (x1, x2), (y1, y2) = ends(columns), ends(rows)
    return torch.stack([x1, y1, x2, y2], 1).float() * mask.flatten(1).any(1)[:, None]


def deepest(field: Float[Tensor, "b g g"], frame_px: int) -> Float[Tensor, "b 2"]:
    """Centre XY [px of the frame] of the deepest cell."""
    index = field.flatten(1).argmax(1)
    cell = frame_px / field.shape[-1]
    return torch.stack([index % field.shape[-1] + 0.5, index // field.shape[-1] + 0.5], 1) * cell


def anywhere(sampler: SceneSampler, where: Bool[Tensor, "b f f"]) -> tuple[Float[Tensor, "b 2"], Bool[Tensor, " b"]]:
    """A random True pixel of each row, XY [px], and whether there is one."""
    flat = where.flatten(1)
    noise = torch.rand(flat.shape, generator=sampler.generator, device=flat.device)
    index = (noise + flat.float()).argmax(1)
    f = where.shape[-1]
    return torch.stack([index % f + 0.5, index // f + 0.5], 1), flat.any(1)


def draw_prompts(sampler: SceneSampler, scenes: Scenes) -> tuple[Float[Tensor, "b 7 2"], Int[Tensor, "b 7"]]:
    """One prompt for each scene: clicks, then the box's corners, padded with label -1."""
    target, frame = scenes.targets, scenes.targets.shape[-1]
    b, device = len(target), target.device
    u = sampler.uniform
    solid = (target > 0.5) & (scenes.valid > 0)
    box = tight_boxes(target > 0.5)
    extent = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    jitter = u(b, 4, low=-BOX_JITTER, high=BOX_JITTER) * extent * u(b)[:, None]
    limits = tight_boxes(scenes.inside > 0)[:, 2:].repeat(1, 2)
    drawn = torch.minimum((box + jitter).clamp(min=0), limits)
    drawn = torch.where(((drawn[:, 2:] - drawn[:, :2]) < 2).any(1)[:, None], box, drawn)
    has_box = (u(b) < BOX_SHARE) | scenes.box_only
    clicks = ~has_box | ((u(b) < BOX_AND_CLICKS) & ~scenes.box_only)
    # The object of the whole image: no prompt, or a box round all of it.
    lot = u(b)
    nothing = scenes.salient & (lot < NOTHING)
    whole = scenes.salient & (lot > 1 - WHOLE_FRAME)
    has_box = (has_box & ~nothing) | whole
    clicks = clicks & ~nothing & ~whole
    drawn = torch.where(whole[:, None], torch.cat([torch.zeros_like(limits[:, :2]), limits[:, 2:]], 1), drawn)

    inner = deepest(depth(on_grid(solid.float()) > 0.5), frame)
    hit = (on_grid(solid.float()) > 0.5).flatten(1).any(1)
    at = torch.arange(frame, device=device)
    pad = 0.3 * extent
    wide = torch.cat([box[:, :2] - pad[:, :2], box[:, 2:] + pad[:, 2:]], 1)
    in_x = (at[None] >= wide[:, 0:1]) & (at[None] <= wide[:, 2:3])
    in_y = (at[None] >= wide[:, 1:2]) & (at[None] <= wide[:, 3:4])
    near = in_y[:, :, None] & in_x[:, None, :] & (target < 0.05) & (scenes.valid > 0)
    coords, labels = [], []
    several = 1 + (u(b) < 0.5).long() * (1 + (u(b) < 0.5).long())
    for k in range(MAX_POSITIVE):
        point, found = anywhere(sampler, solid)
        if k == 0:
            deep = (u(b) < DEEPEST) & hit
            point = torch.where(deep[:, None], inner, point)
        use = clicks & found & (several > k)
        coords.append(point)
        labels.append(torch.where(use, FOREGROUND, PAD))
    negatives = (u(b) < 0.4).long() * (1 + (u(b) < 0.5).long())
    for k in range(MAX_NEGATIVE):
        point, found = anywhere(sampler, near)
        coords.append(point)
        labels.append(torch.where(clicks & found & (negatives > k), BACKGROUND, PAD))
    coords += [drawn[:, :2], drawn[:, 2:]]
    labels += [torch.where(has_box, BOX_TOP_LEFT, PAD), torch.where(has_box, BOX_BOTTOM_RIGHT, PAD)]
    return torch.stack(coords, 1), torch.stack(labels, 1)


def correct(
    sampler: SceneSampler,
    scenes: Scenes,
    coords: Float[Tensor, "b n 2"],
    labels: Int[Tensor, "b n"],
    answer: Float[Tensor, "b s s"],
) -> tuple[Float[Tensor, "b k 2"], Int[Tensor, "b k"], Float[Tensor, "b 1 f f"]]:
    """The prompt of a second look: a click where the answer is most wrong, and the answer as an earlier matte.

    `answer` is an alpha in [0, 1] at any resolution. Matte of -1: a row goes without.
    """
    b, frame = len(answer), scenes.targets.shape[-1]
    found = on_grid(F.interpolate(answer[:, None], size=(frame, frame), mode="bilinear")[:, 0]) > 0.5
    wanted, seen = on_grid(scenes.targets) > 0.5, on_grid(scenes.valid) > 0.5
    missing, excess = depth(wanted & ~found & seen), depth(found & ~wanted & seen)
    most_missing, most_excess = missing.flatten(1).amax(1), excess.flatten(1).amax(1)
    positive = most_missing >= most_excess
    point = torch.where(positive[:, None], deepest(missing, frame), deepest(excess, frame))
    use = (torch.maximum(most_missing, most_excess) > 0) & (sampler.uniform(b) < 0.6)
    use = use & ~scenes.box_only
    label = torch.where(use, torch.where(positive, FOREGROUND, BACKGROUND), PAD)
    reduction = (1, 2, 4)[int(3 * sampler.uniform(1))]
    small = F.avg_pool2d(answer[:, None], reduction)
    alpha = F.interpolate(small, size=(frame, frame), mode="bilinear", align_corners=False)
    kept = (sampler.uniform(b) < 0.6)[:, None, None, None]
    alpha = torch.where(kept, alpha, -torch.ones_like(alpha))
    return torch.cat([coords, point[:, None]], 1), torch.cat([labels, label[:, None]], 1), alpha
