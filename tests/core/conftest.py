"""The public packages that serve as oracles here, importable also where torchvision is not."""

import enum
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from zim_plugins.core.modeling.image_encoder import ViTConfig


class _InterpolationMode(enum.Enum):
    NEAREST = 0
    BILINEAR = 2


def _resize(image, size, interpolation=_InterpolationMode.BILINEAR):
    return image.resize((size[1], size[0]), interpolation.value)


def _to_pil_image(image):
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image))


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy suppression, best first: the definition, unhurried."""
    kept: list[int] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in scores.argsort(descending=True, stable=True).tolist():
        if kept:
            low = torch.maximum(boxes[i, :2], boxes[kept, :2])
            high = torch.minimum(boxes[i, 2:], boxes[kept, 2:])
            shared = (high - low).clamp(min=0).prod(1)
            if (shared / (area[i] + area[kept] - shared) > iou_threshold).any():
                continue
        kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


def _batched_nms(boxes, scores, categories, iou_threshold):
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.long)
    return _nms(boxes + categories[:, None] * (boxes.max() + 1), scores, iou_threshold)


def _box_area(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@contextmanager
def _torchvision_at_hand() -> Iterator[None]:
    """While the public packages are imported: the few functions that they take from torchvision, where it is unusable.

    Afterwards it is absent again, because transformers asks whether it is there.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: its CUDA build beside a CPU build of torch
        functional = types.ModuleType("torchvision.transforms.functional")
        vars(functional).update(resize=_resize, to_pil_image=_to_pil_image, InterpolationMode=_InterpolationMode)
        boxes = types.ModuleType("torchvision.ops.boxes")
        vars(boxes).update(batched_nms=_batched_nms, box_area=_box_area)
        standing_in = {
            name: types.ModuleType(name) for name in ("torchvision", "torchvision.transforms", "torchvision.ops")
        }
        standing_in |= {"torchvision.transforms.functional": functional, "torchvision.ops.boxes": boxes}
        sys.modules.update(standing_in)
        try:
            yield
        finally:
            for name in standing_in:
                del sys.modules[name]
    else:
        yield


@pytest.fixture(scope="session")
def segment_anything() -> ModuleType:
    """PyPI's segment-anything."""
    if "segment_anything" not in sys.modules:  # what an import that failed, for want of torchvision, left behind
        for name in [name for name in sys.modules if name.startswith("segment_anything.")]:
            del sys.modules[name]
    with _torchvision_at_hand():
        return pytest.importorskip("segment_anything")


@pytest.fixture(scope="session")
def public_sam(segment_anything: ModuleType) -> Callable[..., nn.Module]:
    """Builds segment-anything's `Sam` at any size, with its own initial weights."""

    def build(config: ViTConfig, mlp_dim: int = 2048) -> nn.Module:
        grid = config.frame_px // config.patch_px
        modeling = segment_anything.modeling
        transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=mlp_dim, num_heads=8)
        encoder = modeling.ImageEncoderViT(
            img_size=config.frame_px,
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            qkv_bias=True,
            use_rel_pos=True,
            window_size=config.window,
            global_attn_indexes=config.global_blocks,
            out_chans=256,
        )
        return modeling.Sam(
            image_encoder=encoder,
            prompt_encoder=modeling.PromptEncoder(256, (grid, grid), (config.frame_px, config.frame_px), 16),
            mask_decoder=modeling.MaskDecoder(transformer_dim=256, transformer=transformer),
        ).eval()

    return build


@pytest.fixture(scope="session")
def zim_anything() -> ModuleType:
    """PyPI's zim_anything (`pip install --no-deps zim_anything easydict`)."""
    pytest.importorskip("onnxruntime")
    with _torchvision_at_hand():
        return pytest.importorskip("zim_anything")
