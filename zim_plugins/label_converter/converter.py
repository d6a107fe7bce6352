"""MatteConverter: the masks of an image to mattes, each in a crop of its own, in batches of equal size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image
from scipy import ndimage
from torch import Tensor

from zim_plugins.imaging.geometry import grown, paste, tight_box
from zim_plugins.imaging.guided_filter import GuidedFilter, resized
from zim_plugins.imaging.ranges import from_unit, unit_values
from zim_plugins.label_converter.backbone import TinyBackboneConfig
from zim_plugins.label_converter.network import ConverterNetwork, standardised

GUIDED_EPSILON = 1e-4
"""Variance of colour, in [0, 1], below which a window counts as flat."""
UNCHANGED = (0.2, 0.5)
"""Largest changes of opacity nearby: below, a mask counts as left alone; above, as made a matte of."""
TINY_WORK_PX = 256
"""What converters on the small backbone were trained for."""


@runtime_checkable
class MatteNetwork(Protocol):
    """Network that a converter runs: standardised images and masks to mattes of the same size."""

    def matte(self, image: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Mattes in [0, 1]."""
        ...


@dataclass(frozen=True)
class ConvertSettings:
    """Cropping, batching and tiling of masks."""

    frames_px: tuple[int, ...] = (256, 512, 1024)
    """Sides of the network's input, ascending, multiples of 32; a crop takes the first that holds it."""
    margin_share: float = 0.15
    """Room round a mask as a share of its longer side; the matte is 0 beyond."""
    margin_px: int = 16
    """Room at least."""
    overlap_share: float = 0.25
    """Of a tile's side, where a crop is larger than the last frame; blended with a ramp."""
    batch_px: int = 1024 * 1024
    """Pixels in one batch: one crop of the largest frame, sixteen of the smallest."""
    work_px: int | None = None
    """A longer crop is reduced to this side for the network, and its matte enlarged along the image's edges by a
    guided filter: for networks trained at small frames. None: every crop at its own size."""
    guided_radius_px: int = 5
    """Of that filter, on the reduced crop."""

    @classmethod
    def for_network(cls, network: ConverterNetwork) -> "ConvertSettings":
        """Return settings that suit a network: those on the small backbone see large crops reduced."""
        tiny = isinstance(network.config.backbone, TinyBackboneConfig)
        return cls(work_px=TINY_WORK_PX if tiny else None)

    def __post_init__(self) -> None:
        sides = self.frames_px
        if not sides or list(sides) != sorted(set(sides)) or any(s % 32 or s <= 0 for s in sides):
            raise ValueError(f"frames_px are ascending multiples of 32, got {sides}")
        if self.work_px is not None and self.work_px < 32:
            raise ValueError(f"work_px is at least 32 or None, got {self.work_px}")
        if not 0 <= self.overlap_share < 0.5:
            raise ValueError(f"overlap_share lies in [0, 0.5), got {self.overlap_share}")


@dataclass(frozen=True, eq=False)
class CroppedMatte:
    """A matte and where its crop lies in the image; 0 everywhere else."""

    alpha: Float32[np.ndarray, "h w"]
    """Opacity in [0, 1]."""
    x: int
    """Left column of the crop."""
    y: int
    """Top row of the crop."""

    def full(self, height: int, width: int) -> Float32[np.ndarray, "{height} {width}"]:
        """The matte at the size of its image."""
        h, w = self.alpha.shape
        return paste(self.alpha, (self.x, self.y, self.x + w, self.y + h), (height, width))


class _Subject(NamedTuple):
    """A mask as the network sees it: at its image's size, or reduced with its surroundings."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    window: tuple[int, int, int, int]
    """X1 Y1 X2 Y2 [px] in this image."""
    reduced: bool


class _View(NamedTuple):
    """One square input of the network."""

    subject: int
    x: int
    y: int
    side: int


@dataclass(frozen=True, eq=False)
class MatteConverter:
    """Turns segmentation masks into mattes; each mask's result depends on image and mask alone."""

    network: MatteNetwork
    """In evaluation mode, on `device`."""
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    """What the network computes in."""
    settings: ConvertSettings = field(default_factory=ConvertSettings)

    @classmethod
    def load(
        cls,
        path: Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        settings: ConvertSettings | None = None,
    ) -> "MatteConverter":
        """A converter from a checkpoint of this project; where no settings are given, those that suit its backbone.

        Raises:
            CheckpointError: the file is no converter.
        """
        from zim_plugins.label_converter.checkpoint import load_converter

        network, _ = load_converter(path)
        return cls(network.to(device), device, dtype, settings or ConvertSettings.for_network(network))

    def convert(
        self, image: UInt8[np.ndarray, "h w 3"], masks: Sequence[Bool[np.ndarray, "_ _"]]
    ) -> list[CroppedMatte]:
        """The mattes of some objects of an image, in the order of their masks.

        Args:
            image: sRGB.
            masks: one object each, at the image's size, none of them empty.

        Raises:
            ValueError: a mask is empty or has another size than the image.
        """
        size = image.shape[:2]
        for i, mask in enumerate(masks):
            if mask.shape != size:
                raise ValueError(f"mask {i} is {mask.shape[1]}x{mask.shape[0]} px, the image {size[1]}x{size[0]} px")
            if not mask.any():
                raise ValueError(f"mask {i} is empty: leave it out")
        windows = [self._window(mask) for mask in masks]
        subjects = [self._subject(image, mask, window) for mask, window in zip(masks, windows, strict=True)]
        sums = [np.zeros((y2 - y1, x2 - x1), dtype=np.float32) for _, _, (x1, y1, x2, y2), _ in subjects]
        weights = [np.zeros_like(s) for s in sums]
        views = [view for i, subject in enumerate(subjects) for view in self._views(i, subject)]
        for batch in self._batches(views):
            for view, alpha in zip(batch, self._mattes(subjects, batch), strict=True):
                window, i = subjects[view.subject].window, view.subject
                _add(sums[i], weights[i], window, view, alpha, self._ramp(view.side))
        mattes = []
        finished = zip(sums, weights, subjects, masks, windows, strict=True)
        for total, weight, subject, mask, (x1, y1, x2, y2) in finished:
            alpha = total / weight
            if subject.reduced:
                alpha = self._enlarged(alpha, subject, image[y1:y2, x1:x2], mask[y1:y2, x1:x2])
            mattes.append(CroppedMatte(alpha.clip(0, 1), x1, y1))
        return mattes

    def _subject(
        self, image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], window: tuple[int, int, int, int]
    ) -> _Subject:
        """The mask with its image, reduced if it is too large for the network."""
        x1, y1, x2, y2 = window
        longest = max(x2 - x1, y2 - y1)
        if self.settings.work_px is None or longest <= self.settings.work_px:
            return _Subject(image, mask, window, reduced=False)
        scale, room = self.settings.work_px / longest, longest // 2  # a view shows what lies round the window too
        left, top = max(0, x1 - room), max(0, y1 - room)
        around = np.s_[top : y2 + room, left : x2 + room]
        crop, label = Image.fromarray(image[around]), Image.fromarray(from_unit(mask[around]))
        size = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
        corner = round((x1 - left) * scale), round((y1 - top) * scale)
        small = (
            *corner,
            min(size[0], max(corner[0] + 1, round((x2 - left) * scale))),
            min(size[1], max(corner[1] + 1, round((y2 - top) * scale))),
        )
        label = np.asarray(label.resize(size, Image.Resampling.BOX)) > 127
        return _Subject(np.asarray(crop.resize(size, Image.Resampling.BOX)), label, small, reduced=True)

    def _enlarged(
        self,
        alpha: Float32[np.ndarray, "h w"],
        subject: _Subject,
        crop: UInt8[np.ndarray, "s t 3"],
        mask: Bool[np.ndarray, "s t"],
    ) -> Float32[np.ndarray, "s t"]:
        """A reduced crop's matte along the edges of the crop itself; where it equals the mask, the mask itself."""
        x1, y1, x2, y2 = subject.window
        radius = self.settings.guided_radius_px
        small = GuidedFilter(unit_values(subject.image[y1:y2, x1:x2]), radius, GUIDED_EPSILON)
        label, hard = resized(mask.astype(np.float32), alpha.shape), subject.mask[y1:y2, x1:x2]
        change = np.minimum(np.abs(alpha - label), np.abs(alpha - hard))  # an edge may be left soft, or hard
        changed = ndimage.maximum_filter(change, 2 * radius + 1)
        low, high = UNCHANGED
        share = resized(((changed - low) / (high - low)).clip(0, 1).astype(np.float32), mask.shape)
        return share * small.enlarged(alpha, unit_values(crop)) + (1 - share) * mask

    def _window(self, mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
        """The mask's box with room round it, X1 Y1 X2 Y2, inside the image."""
        box = tight_box(mask)
        assert box is not None  # convert refuses empty masks
        room = max(self.settings.margin_px, round(self.settings.margin_share * max(box[2] - box[0], box[3] - box[1])))
        return grown(box, room, (mask.shape[0], mask.shape[1]))

    def _views(self, number: int, subject: _Subject) -> Iterator[_View]:
        """Squares that cover a subject's window, with as much of the image round it as fits."""
        (x1, y1, x2, y2), size = subject.window, subject.mask.shape
        longest = max(x2 - x1, y2 - y1)
        side = next((s for s in self.settings.frames_px if s >= longest), self.settings.frames_px[-1])
        overlap = round(self.settings.overlap_share * side)
        for y in _starts(y1, y2, size[0], side, overlap):
            for x in _starts(x1, x2, size[1], side, overlap):
                yield _View(number, x, y, side)

    def _batches(self, views: list[_View]) -> Iterator[list[_View]]:
        """Views of one side together, in the order of their masks."""
        for side in self.settings.frames_px:
            alike = [v for v in views if v.side == side]
            count = max(1, self.settings.batch_px // side**2)
            for start in range(0, len(alike), count):
                yield alike[start : start + count]

    @torch.inference_mode()
    def _mattes(self, subjects: list[_Subject], views: list[_View]) -> Float32[np.ndarray, "n s s"]:
        side = views[0].side
        images = np.zeros((len(views), 3, side, side), dtype=np.float32)
        labels = np.zeros((len(views), 1, side, side), dtype=np.float32)
        for i, view in enumerate(views):
            part = np.s_[view.y : view.y + side, view.x : view.x + side]
            subject = subjects[view.subject]
            cut = standardised(subject.image[part])
            images[i, :, : cut.shape[1], : cut.shape[2]] = cut
            labels[i, 0, : cut.shape[1], : cut.shape[2]] = subject.mask[part]
        x = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(self.device).type, self.dtype, enabled=self.dtype != torch.float32):
            alpha = self.network.matte(x, torch.from_numpy(labels).to(self.device))
        return alpha[:, 0].float().cpu().numpy()

    def _ramp(self, side: int) -> Float32[np.ndarray, " s"]:
        """Weight of a view's rows or columns in [0, 1]: full in the middle, falling where tiles overlap."""
        inside = np.minimum(np.arange(side), np.arange(side)[::-1]) + np.float32(0.5)
        return np.minimum(1, inside / max(1, self.settings.overlap_share * side)).astype(np.float32)


def _starts(low: int, high: int, length: int, side: int, overlap: int) -> list[int]:
    """Return where views of `side` begin to cover [low, high) of an image `length` long, evenly spread."""
    room = high - low - side
    if room <= 0:
        return [max(0, min(low + room // 2, length - side))]
    count = 1 + -(-room // (side - overlap))
    return [low + round(i * room / (count - 1)) for i in range(count)]


def _add(
    total: Float32[np.ndarray, "h w"],
    weight: Float32[np.ndarray, "h w"],
    window: tuple[int, int, int, int],
    view: _View,
    alpha: Float32[np.ndarray, "s s"],
    ramp: Float32[np.ndarray, " s"],
) -> None:
    """Add a view's share to its window."""
    x1, y1, x2, y2 = window
    left, top = max(x1, view.x), max(y1, view.y)
    right, bottom = min(x2, view.x + view.side), min(y2, view.y + view.side)
    there = np.s_[top - y1 : bottom - y1, left - x1 : right - x1]
    rows, columns = slice(top - view.y, bottom - view.y), slice(left - view.x, right - view.x)
    share = ramp[rows, None] * ramp[None, columns]
    total[there] += share * alpha[rows, columns]
    weight[there] += share
