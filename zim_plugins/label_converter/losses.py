"""Converter loss: L1 + 10 Grad (arXiv 2411.00626) at each level of the refinement; cross-entropy for short runs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zim_plugins.label_converter.network import Levels, refine
from zim_plugins.training.losses import gradient_l1


@dataclass(frozen=True)
class ConverterLossWeights:
    """Weights of the terms and of the levels."""

    l1: float = 1.0
    grad: float = 10.0
    bce: float = 0.0
    """Cross-entropy: not the paper's; it hurries a network without pretraining where it is sure and wrong."""
    levels: tuple[float, float, float] = (1.0, 1.0, 2.0)
    """At strides 8, 4 and 1; divided by their sum."""


def converter_loss(
    heads: Levels,
    target: Float[Tensor, "b 1 h w"],
    valid: Float[Tensor, "b 1 h w"],
    widths_px: tuple[int, int],
    weights: ConverterLossWeights,
    self_guided: bool = True,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The training loss of one batch.

    Each level is judged as it stands after fusion, over the pixels where its own head spoke.

    Args:
        heads: mattes of the three heads in [0, 1].
        target: mattes in [0, 1].
        valid: 1 on the image, 0 on the frame's padding.
        widths_px: how far uncertainty spreads before strides 4 and 1.
        self_guided: whether a coarser head says where the finer one speaks; otherwise the target's edges do.

    Returns:
        The loss, and the terms' means for the log; `mae` is that of the answer over the whole image.
    """
    fused, guides = refine(heads, widths_px, None if self_guided else target)
    loss = torch.zeros_like(target[:, 0, 0, 0])
    terms: dict[str, Tensor] = {}
    for name, share, alpha, guide in zip(Levels._fields, weights.levels, fused, guides, strict=True):
        weight = (guide * valid)[:, 0]
        area = weight.flatten(1).sum(1).clamp(min=1)
        l1 = ((alpha - target)[:, 0].abs() * weight).flatten(1).sum(1) / area
        grad = gradient_l1(alpha[:, 0], target[:, 0], weight)
        level = weights.l1 * l1 + weights.grad * grad
        if weights.bce:
            sure = alpha.clamp(1e-6, 1 - 1e-6)
            bce = -(target * sure.log() + (1 - target) * (1 - sure).log())[:, 0]
            level = level + weights.bce * (bce * weight).flatten(1).sum(1) / area
        loss = loss + share / sum(weights.levels) * level
        terms |= {f"l1_{name}": l1.mean(), f"grad_{name}": grad.mean()}
    terms["mae"] = ((fused.os1 - target).abs() * valid).sum() / valid.sum().clamp(min=1)
    return loss.mean(), {k: v.detach() for k, v in terms.items()}
