"""ZIM and SAM in torch: our own modules, on a CPU, CUDA or Apple GPU."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from zim_plugins.core.modeling.zim import Zim
from zim_plugins.core.modeling.zim_features import ImageFeatures
from zim_plugins.core.modeling.zim_lite import ZimLite
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.tokens import prompt_tokens

BATCH_PIXELS = {"cpu": 4 * 1024**2}
"""Frame pixels of the prompts decoded at once: on a CPU what its cache holds of them, elsewhere bounded by memory."""
OTHER_BATCH_PIXELS = 32 * 1024**2
LITE_BATCH_PIXELS = {"cpu": 1024**2}
"""Of a `ZimLite`, whose maps are wider."""


class ZimTorchBackend:
    """A `Zim` ready for images.

    Args:
        zim: the network; it is moved, cast and put into evaluation mode.
        name: checkpoint name, for records and messages.
        device: where it runs, a torch device.
        dtype: what encoder and decoder compute in; positions stay in float32.
        compiled: run encoder and decoder through `torch.compile` (the first call of each shape takes minutes).
    """

    supports_clicks_and_box = True
    supports_alpha = True

    def __init__(
        self,
        zim: Zim | ZimLite,
        *,
        name: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        self.zim = zim.eval().requires_grad_(False).to(device)
        for part, module in self.zim.named_children():
            if part != "prompt_encoder":
                module.to(dtype)
        if isinstance(zim, ZimLite):  # convolutions throughout, which are faster with the channels last
            self.zim.to(memory_format=torch.channels_last)  # pyright: ignore
        self.name = name
        self.supports_salient = isinstance(zim, ZimLite)
        """Whether no prompt at all is one, too: the embedded model is trained to find the salient object."""
        self.frame_px = zim.config.frame_px
        self.activation: Literal["sigmoid", "step"] = "step" if zim.config.pixel_decoder == "sam" else "sigmoid"
        self.device = torch.device(device)
        self._is_compiled = compiled
        self._larger: dict[int, ZimTorchBackend] = {}
        self._bind()

    def _bind(self) -> None:
        """Take encoder and decoder from the network, compiled where that was asked for."""
        self._encode = torch.compile(self.zim.encode) if self._is_compiled else self.zim.encode
        self._decode = torch.compile(self.zim.decode, dynamic=True) if self._is_compiled else self.zim.decode

    def at_frame(self, frame_px: int) -> "ZimTorchBackend":
        """Return the same network, sharing its weights, in a frame of another side [px], a multiple of 32.

        Raises:
            ValueError: the network is bound to its own frame, as all but `ZimLite` are.
        """
        if frame_px == self.frame_px:
            return self
        if not isinstance(self.zim, ZimLite) or frame_px % 32:
            raise ValueError(f"{self.name} runs at {self.frame_px} px, not at {frame_px}")
        if frame_px not in self._larger:
            other = copy.copy(self)
            other.zim = copy.copy(self.zim)
            other.zim.config = replace(self.zim.config, frame_px=frame_px)
            other.frame_px, other._larger = frame_px, {}
            other._bind()
            self._larger[frame_px] = other
        return self._larger[frame_px]

    def move(self, device: str) -> None:
        """Move the network to another device.

        Raises:
            ValueError: it is compiled for the one it is on.
        """
        if self._is_compiled:
            raise ValueError(f"a compiled model stays on {self.device}: load it again on {device}")
        self.zim.to(device)
        for backend in (self, *self._larger.values()):
            backend.device = torch.device(device)

    @torch.inference_mode()
    def encode(self, image: UInt8[np.ndarray, "h w 3"]) -> ImageFeatures:
        """Encode an RGB image whose longest side is the frame's; the features stay on the device."""
        pixels = torch.from_numpy(image.copy()).to(self.device).permute(2, 0, 1)[None].float()
        return self.zim.prepare(self._encode(self.zim.normalise(pixels)))

    @torch.inference_mode()
    def decode(
        self, embedding: ImageFeatures, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Float32[np.ndarray, "b c s s"], Float32[np.ndarray, "b c"]]:
        """Decode prompts in frame coordinates [px].

        Prompts of equally many tokens share a batch, so that an answer does not depend on its neighbours. One
        candidate comes back where `multimask` is False; else SAM's three, or all four of ZIM.
        """
        tokens = [prompt_tokens(p) for p in prompts]
        groups: dict[tuple[int, bool], list[int]] = {}
        for i, (prompt, (_, labels)) in enumerate(zip(prompts, tokens, strict=True)):
            groups.setdefault((len(labels), prompt.alpha is not None), []).append(i)
        kept = slice(0, 1) if not multimask else slice(1 if self.activation == "step" else 0, None)
        answers: list[tuple[np.ndarray, np.ndarray]] = [(np.empty(0), np.empty(0))] * len(prompts)
        pixels = LITE_BATCH_PIXELS if isinstance(self.zim, ZimLite) else BATCH_PIXELS
        step = max(1, pixels.get(self.device.type, OTHER_BATCH_PIXELS) // self.frame_px**2)
        for (_, has_alpha), members in groups.items():
            for start in range(0, len(members), step):
                batch = members[start : start + step]
                coords = torch.from_numpy(np.stack([tokens[i][0] for i in batch])).to(self.device)
                labels = torch.from_numpy(np.stack([tokens[i][1] for i in batch])).to(self.device)
                alpha = self._coarse([prompts[i] for i in batch]) if has_alpha else None
                logits, scores = self._decode(embedding, coords, labels, alpha)
                logits, scores = logits[:, kept].float().cpu().numpy(), scores[:, kept].float().cpu().numpy()
                for row, i in enumerate(batch):
                    answers[i] = logits[row], scores[row]
        return np.stack([a[0] for a in answers]), np.stack([a[1] for a in answers])

    def _coarse(self, prompts: Sequence[Prompt]) -> Float[Tensor, "b 1 f f"]:
        alphas = np.stack([p.alpha for p in prompts if p.alpha is not None])
        return torch.from_numpy(alphas)[:, None].to(self.device)
