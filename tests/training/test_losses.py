"""The training loss: known answers and properties."""

import torch

from zim_plugins.training.losses import LossWeights, gradient_l1, matte_loss, soft_iou


def test_gradient_of_a_step_in_closed_form() -> None:
    target = torch.zeros(1, 4, 4)
    alpha = torch.zeros(1, 4, 4)
    alpha[:, :, 2:] = 1.0  # one vertical edge: 4 differences of 1 over 16 pixels
    assert torch.isclose(gradient_l1(alpha, target, torch.ones(1, 4, 4)), torch.tensor([4 / 16])).all()
    assert gradient_l1(alpha, alpha, torch.ones(1, 4, 4)) == 0


def test_soft_iou_of_halves() -> None:
    a = torch.tensor([[[1.0, 1, 0, 0]]])
    b = torch.tensor([[[1.0, 0, 0, 0]]])
    assert soft_iou(a, b, torch.ones_like(a)) == 0.5
    assert soft_iou(a, a, torch.ones_like(a)) == 1


def test_the_paper_s_loss_is_l1_and_ten_times_the_gradient() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 8, 8), torch.rand(2, 8, 8)
    valid = torch.ones(2, 8, 8)
    weights = LossWeights(candidates=0, iou=0)
    loss, terms = matte_loss(logits, torch.zeros(2, 4), target, valid, torch.ones(2), weights)
    torch.testing.assert_close(loss, terms["l1"] + 10 * terms["grad"])
    torch.testing.assert_close(terms["l1"], (logits[:, 0].sigmoid() - target).abs().mean())


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 4, 16, 16), torch.rand(1, 16, 16)
    valid = torch.zeros(1, 16, 16)
    valid[:, :8] = 1
    weights = LossWeights(bce=1, dice=1, candidates=0, iou=0)
    first, _ = matte_loss(logits, torch.zeros(1, 4), target, valid, torch.ones(1), weights)
    logits[:, :, 9:] = 50.0
    second, _ = matte_loss(logits, torch.zeros(1, 4), target, valid, torch.ones(1), weights)
    torch.testing.assert_close(first, second)


def test_only_the_best_of_the_further_candidates_learns() -> None:
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    logits = torch.zeros(1, 4, 8, 8)
    logits[:, 2] = 8 * (target - 0.5)
    logits.requires_grad_(True)
    weights = LossWeights(l1=0, grad=0, candidates=1, iou=0)
    loss, _ = matte_loss(logits, torch.zeros(1, 4), target, torch.ones(1, 8, 8), torch.ones(1), weights)
    loss.backward()
    moved = logits.grad.abs().sum((0, 2, 3))
    assert moved[2] > 0
    assert moved[[0, 1, 3]].sum() == 0
