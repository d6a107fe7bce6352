"""Scores on whole images that were kept apart from training."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zim_plugins.core.modeling.zim_lite import ZimLite
from zim_plugins.core.tokens import BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND, PAD
from zim_plugins.training.packed.prompts import deepest, depth, on_grid, tight_boxes
from zim_plugins.training.packed.scenes import Pack, SceneSampler


@torch.no_grad()
def validate(model: ZimLite, pack: Pack, frame_px: int, sources: tuple[str, ...], limit: int = 400) -> dict[str, float]:
    """Mean IoU on whole images kept apart: a click at the deepest point, a tight box; nothing for salient objects."""
    device = str(pack.photos.device)
    sampler = SceneSampler(pack, 0)
    chosen = [i for i, n in enumerate(pack.names) if n in sources][:limit]
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(chosen), 32):
        rows = pack.objects[torch.tensor(chosen[start : start + 32], device=device)]
        photo, size = rows[:, 0].long(), pack.sizes[rows[:, 0].long()]
        shown = (size * (frame_px / size.amax(1, keepdim=True))).round()
        at = torch.arange(frame_px, device=device) + 0.5
        x, y = at[None] / shown[:, 0:1] * size[:, 0:1], at[None] / shown[:, 1:2] * size[:, 1:2]
        n = len(rows)
        grid = torch.stack([x[:, None].expand(n, frame_px, frame_px), y[:, :, None].expand(n, frame_px, frame_px)], -1)
        grid = grid * (2 / pack.photos.shape[-1]) - 1
        inside = ((at[None] < shown[:, 0:1])[:, None, :] & (at[None] < shown[:, 1:2])[:, :, None]).float()
        images = sampler._fill(F.grid_sample(pack.photos[photo].float(), grid, align_corners=False), inside)
        index = pack.masks[rows[:, 1].long()]
        planes = torch.stack([index == rows[:, 2][:, None, None], index == 255], 1).float()
        planes = F.grid_sample(planes, grid, align_corners=False)
        target, valid = planes[:, 0] * inside, inside * (planes[:, 1] < 0.25)
        features = model.prepare(model.encode((images - 127) / 128))
        solid = target > 0.5
        click = deepest(depth(on_grid(target) > 0.5), frame_px)
        box = tight_boxes(solid)
        pad = torch.full((n, 1), PAD, device=device)
        prompts = {
            "click": (torch.stack([click, click * 0], 1), torch.cat([pad * 0 + FOREGROUND, pad], 1)),
            "box": (box.view(n, 2, 2), torch.cat([pad * 0 + BOX_TOP_LEFT, pad * 0 + BOX_BOTTOM_RIGHT], 1)),
            "none": (torch.stack([click * 0, click * 0], 1), torch.cat([pad, pad], 1)),
        }
        seen = solid.flatten(1).any(1)
        for kind, (coords, labels) in prompts.items():
            (_, _, logits), scores = model.decode_candidates(features, coords, labels)
            logits = F.interpolate(logits, size=(frame_px, frame_px), mode="bilinear", align_corners=False)
            hard = (logits > 0) & (valid[:, None] > 0)
            wanted = (solid & (valid > 0))[:, None]
            iou = (hard & wanted).flatten(2).sum(2) / (hard | wanted).flatten(2).sum(2).clamp(min=1)
            keep = seen & (rows[:, 7] > 0) if kind == "none" else seen
            found.setdefault(kind, []).append(iou.gather(1, scores.argmax(1)[:, None])[:, 0][keep])
            if kind == "click":
                found.setdefault("click_oracle", []).append(iou.amax(1)[keep])
                found.setdefault("click_first", []).append(iou[:, 0][keep])
    return {k: round(float(torch.cat(v).mean()), 4) for k, v in found.items() if sum(len(x) for x in v)}
