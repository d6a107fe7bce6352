"""Prompts drawn as maps: what lets a small network learn its prompts within minutes.

SAM's prompt encoder has the path for it: its mask input becomes a dense embedding that is added to the image
embedding. Here clicks, box and coarse matte are all drawn and take that path, and the pixel decoder sees them too.
The image is still encoded once.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from zim_plugins.core.tokens import BACKGROUND, BOX_BOTTOM_RIGHT, BOX_TOP_LEFT, FOREGROUND

MAP_CHANNELS = 6
"""Foreground clicks sharp and wide, background clicks sharp and wide, box, coarse matte."""
CLICK_SIGMAS = (1 / 64, 1 / 10)
"""Standard deviations of a drawn click, as shares of the frame."""


def draw_prompts(
    coords: Float[Tensor, "b n 2"],
    labels: Int[Tensor, "b n"],
    alpha: Float[Tensor, "b 1 f f"] | None,
    frame_px: int,
    stride: int = 2,
) -> Float[Tensor, "b 6 m m"]:
    """Draw prompts at `stride`: clicks as Gaussians of peak 1, box as 1 in and -1 out, matte as 2 alpha - 1.

    Args:
        coords: XY in frame pixels.
        labels: as in `PromptEncoder`; -1 is padding.
        alpha: coarse mattes in [0, 1] over the frame, or None; a negative value says "not given".
        frame_px: side of the frame [px].
        stride: frame pixels per map pixel.
    """
    m = frame_px // stride
    at = (torch.arange(m, device=coords.device, dtype=torch.float32) + 0.5) * stride
    coords = coords.float()
    dx2 = (at[None, None] - coords[..., 0:1]) ** 2
    dy2 = (at[None, None] - coords[..., 1:2]) ** 2
    maps = []
    for kind in (FOREGROUND, BACKGROUND):
        chosen = (labels == kind)[..., None, None].float()
        for sigma in CLICK_SIGMAS:
            scale = -1 / (2 * (sigma * frame_px) ** 2)
            gaussians = torch.exp(scale * dy2)[..., :, None] * torch.exp(scale * dx2)[..., None, :]
            maps.append((gaussians * chosen).amax(1))
    is_first, is_last = (labels == BOX_TOP_LEFT).float(), (labels == BOX_BOTTOM_RIGHT).float()
    first, last = (coords * is_first[..., None]).sum(1), (coords * is_last[..., None]).sum(1)
    covered = [
        ((at[None] - first[:, i : i + 1]) / stride + 0.5).clamp(0, 1)
        * ((last[:, i : i + 1] - at[None]) / stride + 0.5).clamp(0, 1)
        for i in (0, 1)
    ]
    boxed = is_first.amax(1)[:, None, None]
    maps.append(boxed * (2 * covered[1][:, :, None] * covered[0][:, None, :] - 1))
    if alpha is None:
        maps.append(torch.zeros_like(maps[0]))
    else:
        given = (alpha[:, :, :1, :1] >= 0).float()
        small = F.avg_pool2d(alpha.float(), stride) if stride > 1 else alpha.float()
        maps.append((given * (2 * small - 1))[:, 0])
    return torch.stack(maps, dim=1)


class DensePromptEncoder(nn.Module):
    """Drawn prompts at stride 2 to features at stride 4 and a dense embedding at stride 16."""

    features = 32
    """Channels at stride 4."""

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(MAP_CHANNELS, self.features, 3, 2, 1), nn.ReLU())
        self.layers = nn.Sequential(
            nn.Conv2d(self.features, 64, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(96, dim, 1),
        )

    def forward(
        self, prompt_map: Float[Tensor, "b 6 m m"]
    ) -> tuple[Float[Tensor, "b 32 _ _"], Float[Tensor, "b c g g"]]:
        drawn = self.stem(prompt_map)
        return drawn, self.layers(drawn)
