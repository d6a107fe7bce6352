"""Scenes drawn on the device: windows of photographs with an object, and cut-outs composited over photographs.

Everything is a batch of tensors from the start: images are sampled by one bilinear look-up each, twice as fine as the
frame where the frame is small, so that reduction does not alias.
"""

import io
import json
import math
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from zim_plugins.imaging.geometry import tight_box
from zim_plugins.training.packed.pack import CUTOUT_PX, IGNORE, PHOTO_PX

SHARES = {
    "voc2012": 0.36,
    "coco_minis": 0.18,
    "coco_mval": 0.16,
    "dali_pixabay": 0.06,
    "pets": 0.05,
    "horses": 0.03,
    "portraits": 0.02,
    "humans": 0.02,
    "pennfudan": 0.01,
    "clothing_ccp": 0.02,
    "car_parts": 0.02,
    "bsds_sod": 0.03,
    "bsds_regions": 0.04,
}
"""How often an object of each source is drawn; people together stay below 8 % of all scenes."""
COARSE = frozenset({"coco_minis", "bsds_regions", "bsds_sod", "humans", "clothing_ccp"})
"""Sources whose outlines are coarse: no loss near their edges."""
SUPERSAMPLED_UP_TO_PX = 256
MIN_VISIBLE, MAX_VISIBLE = 0.0008, 0.95
"""Share of the frame that a target covers, else the row is not trained on."""


class Scenes(NamedTuple):
    """A batch of training scenes over their square frames."""

    images: Float[Tensor, "b 3 f f"]
    """RGB in [0, 255]; the frame's padding holds 127."""
    targets: Float[Tensor, "b f f"]
    """Mattes in [0, 1]."""
    valid: Float[Tensor, "b f f"]
    """1 where the target is known, 0 on padding, ignored pixels and coarse edges."""
    inside: Float[Tensor, "b f f"]
    """1 on the image, 0 on the frame's padding."""
    edge: Float[Tensor, " b"]
    """Trust in the target's edges: 1 for true mattes, 0 for drawn masks."""
    salient: Bool[Tensor, " b"]
    """Whether the target is the object of the whole image."""
    box_only: Bool[Tensor, " b"]
    """Regions that a click cannot mean."""
    usable: Float[Tensor, " b"]


@dataclass
class Pack:
    """All packed data on one device."""

    photos: UInt8[Tensor, "n 3 s s"]
    sizes: Float[Tensor, "n 2"]
    """Width and height of each photograph [px]."""
    masks: UInt8[Tensor, "m s s"]
    cutouts: UInt8[Tensor, "c 4 t t"]
    cutout_sizes: Float[Tensor, "c 2"]
    soft: Bool[Tensor, " c"]
    objects: Float[Tensor, "o 9"]
    """Photograph, mask, value, X1, Y1, X2, Y2 [px], salient, coarse."""
    weights: Float[Tensor, " o"]
    regions: Bool[Tensor, " o"]
    names: list[str]
    """Source of each object."""


def read_packs(paths: list[Path], held_out: bool, device: str) -> Pack:
    """Decode packs into tensors: what is trained on, or what is kept apart."""
    photos, sizes, masks, rows, names = [], [], [], [], []
    cutouts, cutout_sizes, soft = [], [], []
    for path in paths:
        archive = zipfile.ZipFile(path)
        index = json.loads(archive.read("index.json"))
        members: dict[str, int] = {}
        wanted = [p for p in index["photos"] if p["held_out"] == held_out]
        files = sorted({p["image"] for p in wanted})
        raw = {name: archive.read(name) for name in files}
        raw |= {p["mask"]: archive.read(p["mask"]) for p in wanted if p["mask"]}
        with ThreadPoolExecutor() as pool:
            for name, rgb in zip(files, pool.map(_rgb, [raw[n] for n in files]), strict=True):
                members[name] = len(photos)
                photos.append(_padded(rgb.transpose(2, 0, 1), PHOTO_PX))
                sizes.append((rgb.shape[1], rgb.shape[0]))
            for p, mask in zip(wanted, pool.map(_mask, [raw.get(p["mask"]) for p in wanted]), strict=True):
                if mask is None:
                    continue
                for value, area in zip(p["objects"], p["areas"], strict=True):
                    box = tight_box(mask == value)
                    if area > 0.9 or box is None:
                        continue
                    flags = (p["salient"] == value, p["source"] in COARSE)
                    rows.append((members[p["image"]], len(masks), value, *box, *flags))
                    names.append(p["source"])
                masks.append(_padded(mask[None], PHOTO_PX)[0])
            chosen = [c for c in index["cutouts"] if c["held_out"] == held_out]
            blobs = [archive.read(c["image"]) for c in chosen]
            for c, rgba in zip(chosen, pool.map(lambda b: _decode(b, "RGBA"), blobs), strict=True):
                cutouts.append(_padded(rgba.transpose(2, 0, 1), CUTOUT_PX))
                cutout_sizes.append((rgba.shape[1], rgba.shape[0]))
                soft.append(not c["rigid"])
    counts = {n: names.count(n) for n in set(names)}
    objects = torch.tensor(np.array(rows, dtype=np.float32))
    share = torch.tensor([SHARES[n] / counts[n] for n in names])
    area = (objects[:, 5] - objects[:, 3]) * (objects[:, 6] - objects[:, 4]) / PHOTO_PX**2
    weights = share * area.sqrt().clamp(0.1, 0.5)
    return Pack(
        torch.from_numpy(np.stack(photos)).to(device),
        torch.tensor(sizes, dtype=torch.float32, device=device),
        torch.from_numpy(np.stack(masks)).to(device),
        torch.from_numpy(np.stack(cutouts)).to(device),
        torch.tensor(cutout_sizes, dtype=torch.float32, device=device),
        torch.tensor(soft, device=device),
        objects.to(device),
        weights.to(device),
        torch.tensor([n == "bsds_regions" for n in names], device=device),
        names,
    )


def _rgb(data: bytes) -> np.ndarray:
    return _decode(data, "RGB")


def _mask(data: bytes | None) -> np.ndarray | None:
    return None if data is None else _decode(data, "L")


def _decode(data: bytes, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def _padded(array: np.ndarray, side: int) -> np.ndarray:
    out = np.zeros((array.shape[0], side, side), dtype=np.uint8)
    out[:, : array.shape[1], : array.shape[2]] = array
    return out


class SceneSampler:
    """Draws batches of scenes from a pack; a seeded generator makes them repeatable."""

    def __init__(self, pack: Pack, seed: int, composites: float = 0.36) -> None:
        self.pack = pack
        self.composites = composites
        self.device = pack.photos.device
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform random numbers."""
        return torch.rand(*shape, generator=self.generator, device=self.device) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Standard normal random numbers."""
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def sample(self, batch: int, frame_px: int) -> Scenes:
        """Draw a batch: the first rows are composites, the others photographs with an object."""
        n = round(batch * self.composites)
        drawn = ((self._composites, n), (self._objects, batch - n))
        parts = [draw(count, frame_px) for draw, count in drawn if count]
        fields = [torch.cat(pair) for pair in zip(*parts, strict=True)]
        scenes = Scenes(*fields)
        return scenes._replace(images=self._photographic(scenes.images, scenes.inside))

    def _objects(self, n: int, frame_px: int) -> Scenes:
        pack = self.pack
        chosen = torch.multinomial(pack.weights, n, replacement=True, generator=self.generator)
        rows = pack.objects[chosen]
        photo, mask = rows[:, 0].long(), rows[:, 1].long()
        size, box = pack.sizes[photo], rows[:, 3:7]
        window, whole = self._window(size, box, zoomed=self.uniform(n) < 0.5)
        grid, inside = self._grid(window, frame_px)
        index = pack.masks[mask]
        values = rows[:, 2][:, None, None]
        planes = torch.stack([index == values, index == IGNORE], 1).float()
        images = self._look_up(pack.photos[photo].float(), grid, frame_px)
        planes = self._look_up(planes, grid, frame_px)
        target, valid = planes[:, 0] * inside, inside * (planes[:, 1] < 0.25)
        band = F.max_pool2d(target[:, None], 5, 1, 2) + F.max_pool2d(-target[:, None], 5, 1, 2)
        coarse = rows[:, 8][:, None, None] > 0
        valid = valid * ~(coarse & (band[:, 0] > 0.5))
        visible = (target > 0.5).float().mean((1, 2))
        usable = ((visible > MIN_VISIBLE) & (visible < MAX_VISIBLE)).float()
        # An object counts as salient only where much of its image is seen.
        salient = (rows[:, 7] > 0) & whole
        nothing = torch.zeros(n, device=self.device)
        images = self._fill(images, inside)
        return Scenes(images, target, valid, inside, nothing, salient, pack.regions[chosen], usable)

    def _composites(self, n: int, frame_px: int) -> Scenes:
        pack = self.pack
        photo = torch.randint(len(pack.photos), (n,), generator=self.generator, device=self.device)
        size = pack.sizes[photo]
        everything = torch.cat([torch.zeros_like(size), size], 1)
        window, _ = self._window(size, everything, zoomed=torch.zeros(n, device=self.device, dtype=torch.bool))
        grid, inside = self._grid(window, frame_px)
        canvas = self._look_up(pack.photos[photo].float(), grid, frame_px)
        count = 1 + (self.uniform(n) < 0.45).long() + (self.uniform(n) < 0.2).long()
        alphas = []
        for k in range(3):
            colours, alpha = self._placed(n, frame_px)
            alpha = alpha * (count > k)[:, None, None] * inside
            canvas = canvas * (1 - alpha[:, None]) + colours * (alpha[:, None] > 0) * (count > k)[:, None, None, None]
            alphas = [a * (1 - alpha) for a in alphas] + [alpha]
        stack = torch.stack(alphas, 1)
        pick = (self.uniform(n) * count).long().clamp(max=2)
        target = stack.gather(1, pick[:, None, None, None].expand(-1, 1, frame_px, frame_px))[:, 0]
        visible = (target > 0.5).float().mean((1, 2))
        usable = ((visible > MIN_VISIBLE) & (visible < MAX_VISIBLE)).float()
        salient = (count == 1) & (visible > 0.05)
        ones = torch.ones(n, device=self.device)
        images = self._fill(canvas, inside)
        return Scenes(images, target, inside, inside, ones, salient, torch.zeros_like(salient), usable)

    def _placed(self, n: int, frame_px: int) -> tuple[Tensor, Tensor]:
        """Cut-outs turned, flipped, tinted, scaled and put somewhere: premultiplied colours and opacity."""
        pack = self.pack
        likelihood = torch.where(pack.soft, 0.6 / pack.soft.sum(), 0.4 / (~pack.soft).sum())
        chosen = torch.multinomial(likelihood, n, replacement=True, generator=self.generator)
        size = pack.cutout_sizes[chosen]
        share = torch.where(
            self.uniform(n) < 0.25, self.uniform(n, low=0.1, high=0.35), self.uniform(n, low=0.3, high=1.25)
        )
        scale = share * frame_px / size.amax(1)
        scale = torch.minimum(scale, 2.5 * torch.ones_like(scale) * frame_px / 256)
        stretch = self.uniform(n, low=0.85, high=1.18)
        angle = self.normal(n) * math.radians(18) * (self.uniform(n) < 0.5)
        flip = torch.where(self.uniform(n) < 0.5, -1.0, 1.0)
        half = size * scale[:, None] / 2
        centre = torch.stack([self.uniform(n), self.uniform(n)], 1)
        low, high = half * 0.7, frame_px - half * 0.7
        centre = torch.where(high > low, low + centre * (high - low), frame_px * centre)
        steps = self._steps(frame_px)
        dx, dy = steps[None, None, :] - centre[:, 0, None, None], steps[None, :, None] - centre[:, 1, None, None]
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        u = (cos * dx + sin * dy) / (scale * stretch)[:, None, None] * flip[:, None, None]
        v = (-sin * dx + cos * dy) / scale[:, None, None]
        u, v = u + size[:, 0, None, None] / 2, v + size[:, 1, None, None] / 2
        grid = torch.stack([u, v], -1) * (2 / CUTOUT_PX) - 1
        rgba = pack.cutouts[chosen].float()
        alpha = rgba[:, 3:] / 255
        colours = rgba[:, :3]
        tint = (self.uniform(n, low=0.7, high=1.3)[:, None] * self.uniform(n, 3, low=0.9, high=1.1))[:, :, None, None]
        shift = self.uniform(n, low=-25, high=25)[:, None, None, None]
        changed = (self.uniform(n) < 0.6)[:, None, None, None]
        colours = torch.where(changed, colours * tint + shift, colours).clamp(0, 255)
        sampled = self._look_up(torch.cat([colours * alpha, alpha], 1), grid, frame_px)
        return sampled[:, :3], sampled[:, 3].clamp(0, 1)

    def _window(self, size: Tensor, box: Tensor, zoomed: Tensor) -> tuple[Tensor, Tensor]:
        """Windows X1 Y1 X2 Y2 [px] round the box or of a large part, and whether most of the image is in them."""
        n = len(size)
        extent = (box[:, 2:] - box[:, :2]).amax(1)
        room = self.uniform(n, 4, low=0.03, high=0.8) * extent[:, None]
        near = torch.cat(
            [
                torch.maximum(box[:, :2] - room[:, :2], torch.zeros_like(size)),
                torch.minimum(box[:, 2:] + room[:, 2:], size),
            ],
            1,
        )
        share = torch.where(
            (self.uniform(n) < 0.5)[:, None], torch.ones_like(size), self.uniform(n, 2, low=0.55, high=1)
        )
        part = size * share
        centre = (box[:, :2] + box[:, 2:]) / 2
        low = torch.maximum(centre - part, torch.zeros_like(size))
        high = torch.minimum(centre, size - part)
        start = low + self.uniform(n, 2) * (high - low).clamp(min=0)
        far = torch.cat([start, start + part], 1)
        return torch.where(zoomed[:, None], near, far), ~zoomed & (share.amin(1) > 0.8)

    def _steps(self, frame_px: int) -> Tensor:
        fine = 2 if frame_px <= SUPERSAMPLED_UP_TO_PX else 1
        return (torch.arange(frame_px * fine, device=self.device) + 0.5) / fine

    def _grid(self, window: Tensor, frame_px: int) -> tuple[Tensor, Tensor]:
        """Look-up coordinates of every frame pixel in the padded photograph, and which pixels show the image."""
        n = len(window)
        size = (window[:, 2:] - window[:, :2]).clamp(min=4)
        stretched = size.clone()
        stretched[:, 0] *= torch.where(self.uniform(n) < 0.3, self.uniform(n, low=0.8, high=1.25), 1.0)
        shown = (stretched * (frame_px / stretched.amax(1, keepdim=True))).round().clamp(16, frame_px)
        steps = self._steps(frame_px)
        share = steps[None, :, None] / shown[:, None, :]
        flipped = (self.uniform(n) < 0.5)[:, None]
        x = torch.where(flipped, 1 - share[..., 0], share[..., 0])
        px = window[:, 0:1] + x * size[:, 0:1]
        py = window[:, 1:2] + share[..., 1] * size[:, 1:2]
        m = len(steps)
        grid = torch.stack([px[:, None, :].expand(n, m, m), py[:, :, None].expand(n, m, m)], -1) * (2 / PHOTO_PX) - 1
        at = torch.arange(frame_px, device=self.device) + 0.5
        seen = at[None, :, None] < shown[:, None, :]
        inside = (seen[:, None, :, 0] & seen[:, :, None, 1]).float()
        return grid, inside

    def _look_up(self, planes: Tensor, grid: Tensor, frame_px: int) -> Tensor:
        sampled = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return sampled if sampled.shape[-1] == frame_px else F.avg_pool2d(sampled, sampled.shape[-1] // frame_px)

    def _fill(self, images: Tensor, inside: Tensor) -> Tensor:
        return images * inside[:, None] + 127 * (1 - inside[:, None])

    def _photographic(self, x: Tensor, inside: Tensor) -> Tensor:
        """Light, colour, blur and noise of an ordinary camera."""
        n = len(x)

        def some(p: float) -> Tensor:
            return (self.uniform(n) < p)[:, None, None, None]

        lit = (
            x * self.uniform(n, low=0.65, high=1.35)[:, None, None, None]
            + self.uniform(n, low=-25, high=25)[:, None, None, None]
        )
        x = torch.where(some(0.5), lit, x)
        grey = x.mean(1, keepdim=True)
        x = torch.where(some(0.3), grey + (x - grey) * self.uniform(n, high=1.6)[:, None, None, None], x)
        x = torch.where(some(0.3), x * self.uniform(n, 3, low=0.82, high=1.18)[:, :, None, None], x)
        kernel = torch.tensor([1.0, 2.0, 1.0], device=x.device)
        kernel = (kernel[:, None] * kernel[None] / 16).expand(3, 1, 3, 3).contiguous()
        blurred = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
        x = torch.where(some(0.25), blurred, x)
        x = torch.where(some(0.25), x + self.normal(*x.shape) * self.uniform(n, low=1, high=8)[:, None, None, None], x)
        x = x.clamp(0, 255)
        return self._fill(x, inside)
