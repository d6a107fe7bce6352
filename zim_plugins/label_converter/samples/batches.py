"""Converter samples by number: the batch of a step follows from library, settings, seed and step alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zim_plugins.label_converter.network import standardised
from zim_plugins.label_converter.samples.augment import CutOut, cut_out
from zim_plugins.label_converter.samples.degrade import Degradation, coarse_label
from zim_plugins.label_converter.samples.selective import selective_pair
from zim_plugins.training.distributed import WHOLE, Share
from zim_plugins.training.samples.compositing import SceneMix, make_scene
from zim_plugins.training.samples.library import Library
from zim_plugins.training.samples.read_ahead import made_ahead


@dataclass(frozen=True)
class ConverterSampling:
    """Samples that the converter is shown; the two switches are the paper's ablation."""

    sga: bool = True
    """Cut the same rectangle out of label and matte now and then."""
    stl: bool = True
    """Show segmentation samples whose label is to come back unchanged."""
    stl_share: float = 0.5
    """Of the samples, from step `stl_from` on."""
    stl_from: int = 0
    """The step at which segmentation samples come in: an untrained network that sees them at once learns to copy."""
    cut_out: CutOut = CutOut()
    degradation: Degradation = Degradation()
    matting_mix: SceneMix = SceneMix(objects=0, segments=0, zoomed=0.8, pasted_object=0.1)
    """Composites, whose mattes are exact."""
    stl_mix: SceneMix = SceneMix(objects=0.45, segments=0.15, zoomed=0.8, pasted_object=0.3, procedural=0, rigid=0.7)
    """Photographs with masks, and composites of rigid things only: else a composite alone would mean "find a matte"."""


@dataclass(frozen=True, eq=False)
class ConverterBatch:
    """Images of one step, with the label of one object each."""

    images: Float[Tensor, "b 3 f f"]
    """Standardised RGB, zero-padded at the right and at the bottom."""
    masks: Float[Tensor, "b 1 f f"]
    """Labels, 0 or 1."""
    targets: Float[Tensor, "b 1 f f"]
    """Mattes in [0, 1]."""
    valid: Float[Tensor, "b 1 f f"]
    """1 on the image, 0 on the padding."""
    selective: Bool[Tensor, " b"]
    """Segmentation samples (STL)."""


@dataclass(frozen=True, eq=False)
class ConverterSource:
    """Batches by number, so that resuming is exact."""

    library: Library
    frame_px: int
    batch_size: int
    seed: int = 0
    sampling: ConverterSampling = ConverterSampling()
    stl_library: Library = field(default_factory=Library)
    """Photographs with plain edges; where it is empty, the library itself."""
    share: Share = WHOLE

    def __post_init__(self) -> None:
        photos = self.stl_library.photos or self.library.photos
        if not photos:
            raise ValueError("the library holds no photographs: composites and STL need some")
        mix = self.sampling.stl_mix
        found = (mix.objects > 0 and any(p.masks for p in photos), mix.segments > 0 and any(p.segments for p in photos))
        soft = 1 - mix.pasted_object - mix.procedural - mix.rigid
        if self.sampling.stl and not (any(found) and (mix.objects + mix.segments >= 1 or soft <= 1e-9)):
            raise ValueError(f"STL needs photographs with masks, and no soft cut-outs: {mix} does not fit this library")

    def batch(self, step: int) -> ConverterBatch:
        """This process's rows of the batch of one step."""
        frame, rows = self.frame_px, range(self.batch_size)[self.share.rows(self.batch_size)]
        images = np.zeros((len(rows), 3, frame, frame), dtype=np.float32)
        masks, targets, valid = (np.zeros((len(rows), 1, frame, frame), dtype=np.float32) for _ in range(3))
        selective = np.zeros(len(rows), dtype=bool)
        for i, row in enumerate(rows):
            rng = np.random.default_rng((self.seed, step, row))
            chosen = bool(rng.random() < self.sampling.stl_share)
            selective[i] = chosen and self.sampling.stl and step >= self.sampling.stl_from
            if selective[i]:
                library = self.stl_library if self.stl_library.photos else self.library
                scene = make_scene(library, frame, self.sampling.stl_mix, rng)
                label, alpha = selective_pair(scene.alphas[0])
            else:
                scene = make_scene(self.library, frame, self.sampling.matting_mix, rng)
                alpha = scene.alphas[0]
                label = coarse_label(alpha, self.sampling.degradation, rng)
            if self.sampling.sga:
                label, alpha = cut_out(label, alpha, self.sampling.cut_out, rng)
            h, w = label.shape
            images[i, :, :h, :w] = standardised(scene.rgb)
            masks[i, 0, :h, :w], targets[i, 0, :h, :w], valid[i, 0, :h, :w] = label, alpha, 1
        return ConverterBatch(
            torch.from_numpy(images).contiguous(memory_format=torch.channels_last),
            torch.from_numpy(masks),
            torch.from_numpy(targets),
            torch.from_numpy(valid),
            torch.from_numpy(selective),
        )

    def batches(self, start: int, stop: int) -> Iterator[ConverterBatch]:
        """Batches of steps `start` to `stop`, made by a thread that works ahead."""
        return made_ahead(self.batch, start, stop)
