"""Fine-tuning hooks: freeze parts, LoRA, layer-wise learning rates, moving averages, callbacks round a step."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zim_plugins.core.modeling.zim import Zim, build_network
from zim_plugins.core.modeling.zim_lite import ZimLite
from zim_plugins.errors import MissingExtra


@runtime_checkable
class TrainingHook(Protocol):
    """Called round every optimiser step."""

    def before_step(self, model: nn.Module, step: int) -> None:
        """Before the batch is shown; `step` counts from 0."""
        ...

    def after_step(self, model: nn.Module, step: int, terms: dict[str, float]) -> None:
        """After the weights moved; `terms` holds the loss and its parts."""
        ...


def set_frozen(model: nn.Module, parts: Iterable[str], frozen: bool = True) -> None:
    """Freeze or unfreeze submodules by name, for example "image_encoder" or "mask_decoder.transformer".

    A frozen part gets no gradient and runs in evaluation mode, so its running statistics stay as they are too
    (see `keep_frozen_in_eval`).

    Raises:
        ValueError: the model has no such part.
    """
    for name in parts:
        try:
            part = model.get_submodule(name)
        except AttributeError:
            known = ", ".join(n for n, _ in model.named_children())
            raise ValueError(f"no part {name!r} to freeze; the model has {known}") from None
        for parameter in part.parameters():
            parameter.requires_grad_(not frozen)


def keep_frozen_in_eval(model: nn.Module) -> None:
    """Put every module whose own parameters are all frozen into evaluation mode; call it after `model.train()`."""
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            module.eval()


ATTENTION = r".*blocks\.\d+\.(attn\.)?qkv"
"""Names of the layers that take adapters."""


def add_lora(model: Zim | ZimLite, rank: int = 16) -> int:
    """Add low-rank adapters (Hu et al. 2021) to the encoder's attention and freeze the rest of the encoder.

    Returns:
        The number of trainable parameters that the adapters brought.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtra("peft", "train") from error
    set_frozen(model, ["image_encoder"])
    others = {n for n, p in model.named_parameters() if p.requires_grad}
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION), model)
    count = 0
    for name, parameter in model.named_parameters():
        is_adapter = "lora_" in name
        parameter.requires_grad_(is_adapter or name in others)
        count += parameter.numel() if is_adapter else 0
    return count


def parameter_groups(
    model: Zim | ZimLite, lr: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Optimiser groups: no decay on biases, norms and embeddings; encoder blocks slower the earlier they are.

    Args:
        model: what is trained; frozen parameters are left out.
        lr: learning rate of everything after the encoder.
        weight_decay: of matrices and kernels.
        layer_decay: factor on the learning rate from one encoder block to the one before it; 1 for none.
    """
    depth = len(model.image_encoder.blocks)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        below = 0
        if name.startswith("image_encoder.blocks."):
            below = depth - int(name.split(".")[2])
        elif name.startswith("image_encoder.") and not name.startswith("image_encoder.neck"):
            below = depth + 1
        plain = parameter.ndim < 2 or "embed" in name or "token" in name
        key = (lr * layer_decay**below, 0.0 if plain else weight_decay)
        groups.setdefault(key, []).append(parameter)
    return [{"params": p, "lr": a, "base_lr": a, "weight_decay": d} for (a, d), p in groups.items()]


def without_lora(model: Zim | ZimLite) -> Zim | ZimLite:
    """The network itself where it has no adapters; else a plain copy whose weights have them added."""
    names = [n for n, _ in model.named_parameters() if "lora_" in n]
    if not names:
        return model
    from peft.tuners.lora import Linear

    state = {k.replace(".base_layer.", "."): v for k, v in model.state_dict().items() if "lora_" not in k}
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            state[f"{name}.weight"] = state[f"{name}.weight"] + module.get_delta_weight("default")
    plain = build_network(model.config)
    plain.load_state_dict(state)
    return plain


class MovingAverage:
    """Exponential moving average of weights and running statistics; what is evaluated and shipped.

    Args:
        model: what is averaged.
        decay: what stays of the average at each step.
        local: the part of a tensor on this process, where weights are split over several.
    """

    def __init__(
        self, model: nn.Module, decay: float, local: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> None:
        self.decay = decay
        self.local = local
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model; the average is short at first."""
        decay = min(self.decay, (1 + step) / (10 + step))
        current = model.state_dict()
        moving = [k for k, v in current.items() if v.is_floating_point()]
        averages = [self.local(self.state[k]) for k in moving]
        weights = [self.local(current[k]) for k in moving]
        torch._foreach_lerp_(averages, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for key in current.keys() - set(moving):
            self.state[key].copy_(current[key])

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged state dict."""
        return self.state
