"""Networks of a few kilobytes with the interfaces of the real ones; their weights are random, their pictures noise."""

import warnings
from pathlib import Path

import torch
from torch import nn


class TinyLama(nn.Module):
    """LaMa's signature: (1, 3, h, w) in [0, 1] and (1, 1, h, w) in {0, 1} -> (1, 3, h, w), the known pixels kept."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        painted = self.layers(torch.cat([image * (1 - mask), mask], dim=1))
        return mask * painted + (1 - mask) * image


def save_lama(path: Path) -> Path:
    """Write a TorchScript file that LaMa's loaders read, traced as the published one is."""
    torch.manual_seed(0)
    network = TinyLama().eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
        torch.jit.trace(network, (torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))).save(str(path))
    return path
