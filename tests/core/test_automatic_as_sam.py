"""`zim everything` beside segment-anything's own generator, with the same trained network, zim_tiny, behind both."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zim_plugins.core.automatic import EverythingConfig, matte_everything
from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.load import load_predictor
from zim_plugins.core.modeling.zim import Zim
from zim_plugins.imaging.image import read_image

SAM_OFFSET = 0.2310586
"""One logit, in opacity."""
SIDE = 12
"""Clicks along each side."""
MIN_SCORE, MIN_STABILITY, MAX_BOX_IOU = 0.5, 0.6, 0.7


class Part:
    """A submodule as segment-anything calls it."""

    def __init__(self, call: Callable[..., Any], img_size: int = 0) -> None:
        self.call = call
        self.img_size = img_size

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def get_dense_pe(self) -> None:
        return None


class AsSam:
    """A `Zim` with the face that segment-anything's predictor and generator see of a model."""

    mask_threshold = 0.0
    image_format = "RGB"
    device = torch.device("cpu")

    def __init__(self, zim: Zim, sam: type) -> None:
        self.zim = zim
        self.sam = sam
        self.image_encoder = Part(lambda x: zim.prepare(zim.encode(x)), zim.config.frame_px)
        self.prompt_encoder = Part(self.tokens)
        self.mask_decoder = Part(self.decode)

    def preprocess(self, x: Tensor) -> Tensor:
        return self.zim.normalise(x.float())

    def tokens(self, *, points: tuple[Tensor, Tensor], boxes: None, masks: None) -> tuple[Tensor, Tensor]:
        coords, labels = points
        padding = torch.zeros_like(coords[:, :1]), torch.full_like(labels[:, :1], -1)
        return torch.cat([coords, padding[0]], 1).float(), torch.cat([labels, padding[1]], 1).long()

    def decode(self, **given: Any) -> tuple[Tensor, Tensor]:
        features, coords, labels = (
            given[k] for k in ("image_embeddings", "sparse_prompt_embeddings", "dense_prompt_embeddings")
        )
        return self.zim.decode(features, coords, labels)

    def postprocess_masks(self, *args: Any) -> Tensor:
        return self.sam.postprocess_masks(self, *args)


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("name", ["coins", "astronaut"])
def test_finds_the_objects_that_sams_generator_finds(name: str, segment_anything) -> None:
    """Nine of ten masks are the same; the rest are found too, and lost in suppression alone."""
    image = read_image(f"sample:{name}").rgb
    predictor = load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
    backend = predictor.backend
    assert isinstance(backend, ZimTorchBackend)
    theirs = segment_anything.SamAutomaticMaskGenerator(
        AsSam(backend.zim, segment_anything.modeling.Sam),
        points_per_side=SIDE,
        pred_iou_thresh=MIN_SCORE,
        stability_score_thresh=MIN_STABILITY,
        box_nms_thresh=MAX_BOX_IOU,
    ).generate(image)
    config = EverythingConfig(
        points_per_side=SIDE,
        min_score=MIN_SCORE,
        min_stability=MIN_STABILITY,
        stability_offset=SAM_OFFSET,
        max_box_iou=MAX_BOX_IOU,
    )
    ours = [o.full() > 0.5 for o in matte_everything(predictor, image, config)]
    masks = [record["segmentation"] for record in theirs]
    overlaps = np.array([[mask_iou(a, b) for b in masks] for a in ours])
    assert len(masks) > 20
    assert (overlaps.max(0) > 0.99).mean() > 0.9
    assert (overlaps.max(1) > 0.99).mean() > 0.9
    free = replace(config, max_box_iou=1.0)
    everything = [o.full() > 0.5 for o in matte_everything(predictor, image, free)]
    for missed in np.flatnonzero(overlaps.max(0) <= 0.99):
        assert max(mask_iou(a, masks[missed]) for a in everything) > 0.99
