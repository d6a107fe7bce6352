"""Losses on mattes (arXiv 2411.00626: L1 + 10 Grad), with two more terms for a network that starts from nothing."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from zim_plugins.core.modeling.layers import upsample

CANDIDATES_PX = 64
"""Side at which the further candidates and the scores are judged."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; the paper's loss is `l1=1, grad=10` and nothing else."""

    l1: float = 1.0
    grad: float = 10.0
    bce: float = 0.0
    dice: float = 0.0
    candidates: float = 0.1
    """Of the best of the three further candidates."""
    iou: float = 0.1
    """Of the score head's squared error."""


def gradient_l1(
    alpha: Float[Tensor, "b h w"], target: Float[Tensor, "b h w"], weight: Float[Tensor, "b h w"]
) -> Float[Tensor, " b"]:
    """Mean absolute difference of forward differences: |dx M - dx M'| + |dy M - dy M'|, over the weighted pixels."""
    difference = alpha - target
    dx = (difference[..., :, 1:] - difference[..., :, :-1]).abs() * weight[..., :, 1:]
    dy = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weight[..., 1:, :]
    return (dx.flatten(1).sum(1) + dy.flatten(1).sum(1)) / weight.flatten(1).sum(1).clamp(min=1)


def soft_iou(
    alpha: Float[Tensor, "*b h w"], target: Float[Tensor, "*b h w"], weight: Float[Tensor, "*b h w"]
) -> Float[Tensor, "*b"]:
    """Sum of minima over sum of maxima, in [0, 1]."""
    low = (torch.minimum(alpha, target) * weight).flatten(-2).sum(-1)
    high = (torch.maximum(alpha, target) * weight).flatten(-2).sum(-1)
    return low / high.clamp(min=1e-6)


def matte_loss(
    logits: Float[Tensor, "b 4 s t"],
    scores: Float[Tensor, "b 4"],
    target: Float[Tensor, "b h w"],
    valid: Float[Tensor, "b h w"],
    edge: Float[Tensor, " b"],
    weights: LossWeights,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The training loss of one batch, one prompt per row.

    Args:
        logits: four candidates at the target's size or a smaller one; the first is the one that answers alone.
        scores: their estimated IoU.
        target: mattes in [0, 1].
        valid: 1 on the image, 0 on the frame's padding.
        edge: trust in the target's edges in [0, 1]; a hand-drawn segment's gradient counts less than a matte's.

    Returns:
        The loss, and every term's mean for the log.
    """
    logits = logits.float()
    first = upsample(logits[:, :1], (target.shape[-2], target.shape[-1]))[:, 0]
    alpha = first.sigmoid()
    area = valid.flatten(1).sum(1).clamp(min=1)
    l1 = ((alpha - target).abs() * valid).flatten(1).sum(1) / area
    grad = gradient_l1(alpha, target, valid)
    loss = weights.l1 * l1 + weights.grad * edge * grad
    terms = {"l1": l1.mean(), "grad": grad.mean()}
    if weights.bce:
        bce = (F.binary_cross_entropy_with_logits(first, target, reduction="none") * valid).flatten(1).sum(1) / area
        loss = loss + weights.bce * bce
        terms["bce"] = bce.mean()
    if weights.dice:
        overlap = (alpha * target * valid).flatten(1).sum(1)
        total = ((alpha + target) * valid).flatten(1).sum(1)
        dice = 1 - (2 * overlap + 1) / (total + 1)
        loss = loss + weights.dice * dice
        terms["dice"] = dice.mean()
    if weights.candidates or weights.iou:
        small = F.adaptive_avg_pool2d(logits, min(CANDIDATES_PX, logits.shape[-1]))
        size = (small.shape[-2], small.shape[-1])
        small_target = F.interpolate(target[:, None], size=size, mode="area")
        small_valid = F.interpolate(valid[:, None], size=size, mode="area")
        alphas = small.sigmoid()
        iou = soft_iou(alphas, small_target.expand_as(alphas), small_valid.expand_as(alphas))
        bce = F.binary_cross_entropy_with_logits(small, small_target.expand_as(small), reduction="none")
        each = (bce * small_valid).flatten(2).mean(2)[:, 1:] + 1 - iou[:, 1:]
        score_error = F.mse_loss(scores.float(), iou.detach(), reduction="none").mean(1)
        loss = loss + weights.candidates * each.amin(1) + weights.iou * score_error
        terms |= {"candidates": each.amin(1).mean(), "score_error": score_error.mean()}
    return loss.mean(), {k: v.detach() for k, v in terms.items()}
