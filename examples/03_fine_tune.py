"""Fine-tuning in a loop of one's own: freeze the encoder, step on a loss on the matte, use the result.

python examples/03_fine_tune.py
"""

import torch

from zim_plugins.core.backends.zim_torch import ZimTorchBackend
from zim_plugins.core.checkpoints.records import require
from zim_plugins.core.modeling.zim import load_weights
from zim_plugins.training.hooks import keep_frozen_in_eval, parameter_groups, set_frozen
from zim_plugins.training.losses import LossWeights, matte_loss


def main() -> None:
    torch.manual_seed(0)
    zim, _ = load_weights(require("zim_tiny"))
    set_frozen(zim, ["image_encoder"])
    optimizer = torch.optim.AdamW(parameter_groups(zim, lr=1e-4, weight_decay=0.01), lr=1e-4)
    frame = 128
    image = torch.randn(2, 3, frame, frame)  # standardised RGB, zero-padded
    target = torch.zeros(2, frame, frame)
    target[:, 32:96, 32:96] = 1.0
    image[:, :, 32:96, 32:96] += 1.5
    coords, labels = torch.tensor([[[32.0, 32], [96, 96]]] * 2), torch.tensor([[2, 3]] * 2)
    for step in range(5):
        zim.train()
        keep_frozen_in_eval(zim)
        logits, scores = zim(image, coords, labels)
        valid, edge = torch.ones_like(target), torch.ones(2)
        loss, _ = matte_loss(logits, scores, target, valid, edge, LossWeights())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}: loss {loss.item():.4f}")
    ZimTorchBackend(zim, name="my_zim_tiny")  # ready for ImagePredictor


if __name__ == "__main__":
    main()
