"""Register of the fillers that are at hand, by name."""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from .base import AdjustableInpainter, FillSettings, Inpainter, as_guided, refuse_settings

_log = logging.getLogger(__name__)


def _lama(device: str, settings: FillSettings) -> Inpainter:
    from .lama import LamaInpainter

    return LamaInpainter(device=device)


def _lama_cleaner(device: str, settings: FillSettings) -> Inpainter:
    from .lama_cleaner_package import LamaCleanerInpainter

    return LamaCleanerInpainter(device=device)


def _patchmatch(device: str, settings: FillSettings) -> Inpainter:
    from .patchmatch import PatchMatchInpainter

    return PatchMatchInpainter(seed=settings.seed)


def _telea(device: str, settings: FillSettings) -> Inpainter:
    from .opencv import TeleaInpainter

    return TeleaInpainter()


_LOCAL: dict[str, Callable[[str, FillSettings], Inpainter]] = {
    "lama": _lama,
    "lama-cleaner": _lama_cleaner,
    "patchmatch": _patchmatch,
    "cv2": _telea,
}
"""Makers of the fillers without a text, best first; each imports what it needs. A filler is added here."""
LOCAL_NAMES = tuple(_LOCAL)
SERVER_PREFIXES = ("http://", "https://")
TORCHSCRIPT_SUFFIXES = (".pt", ".pth", ".jit", ".ts")
"""Of files that `lama`'s loader reads."""


def inpainter_names() -> tuple[str, ...]:
    """The fixed names that `load_inpainter` knows, besides `auto`."""
    from .weights import DIFFUSION_MODELS

    return (*LOCAL_NAMES, *DIFFUSION_MODELS)


def load_inpainter(name: str = "auto", *, device: str = "auto", settings: FillSettings | None = None) -> Inpainter:
    """Make a filler by name; `auto` takes the best that is at hand, and the log says which and why.

    Nothing is fetched from a network, but for a server's answers.

    Args:
        name: auto; lama, lama-cleaner, patchmatch or cv2; FILE.pt, TorchScript of LaMa's kind; the address of a
            lama-cleaner or IOPaint server (http://host:port); sd15, sd2, sdxl, flux-fill, or a folder that holds a
            diffusers pipeline; or a filler without a text and one of these, as in lama+sdxl: a first fill, repainted
            at low strength.
        device: auto, cpu or cuda[:N], for fillers that run a network here.
        settings: seed, steps and the like.

    Raises:
        ValueError: no filler has this name, or the device is not here.
        MissingExtra: its package is not installed.
        CheckpointError: its weights are not here, or are not the right ones.
        ServerError: no server answers.
        UnsupportedPrompt: settings for a diffusion model were given to another filler.
    """
    chosen, reason = choose_backend(name)
    inpainter = _make(chosen, device, settings or FillSettings())
    if settings is not None and not isinstance(inpainter, AdjustableInpainter):
        refuse_settings(inpainter, settings)
    _log.info("filling with %s: %s", chosen, reason)
    return inpainter


def choose_backend(name: str = "auto") -> tuple[str, str]:
    """Resolve `auto` to a filler's name, and tell why in a few words; nothing is loaded.

    Raises:
        ValueError: no filler has this name.
    """
    if name == "auto":
        return _best_at_hand()
    if name.startswith(SERVER_PREFIXES) and not _names_a_host(name):
        raise ValueError(f"{name} names no server: give http://HOST:PORT, such as http://localhost:8080")
    if name in LOCAL_NAMES or is_torchscript_name(name) or _follows_text(name) or _two_of(name):
        return name, "as asked"
    if Path(name).suffix.lower() in TORCHSCRIPT_SUFFIXES:
        raise ValueError(f"there is no file {name}")
    raise ValueError(
        f"no filler is called {name!r}: take one of auto, {', '.join(inpainter_names())}, http://HOST:PORT of a "
        "lama-cleaner or IOPaint server, FILE.pt of LaMa's kind, a folder that holds a diffusers pipeline, or two as "
        "in lama+sdxl"
    )


def _names_a_host(url: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def is_torchscript_name(name: str) -> bool:
    """Return whether a name is a TorchScript file."""
    return Path(name).suffix.lower() in TORCHSCRIPT_SUFFIXES and Path(name).is_file()


def _two_of(name: str) -> tuple[str, str] | None:
    """The two fillers that a name joins by a plus sign, which may also be part of a path."""
    for at in (place for place, sign in enumerate(name) if sign == "+"):
        first, second = name[:at], name[at + 1 :]
        if (first in LOCAL_NAMES or is_torchscript_name(first)) and _follows_text(second):
            return first, second
    return None


def _follows_text(name: str) -> bool:
    from .pretrained import is_diffusion_name

    return name.startswith(SERVER_PREFIXES) or is_diffusion_name(name)


def _best_at_hand() -> tuple[str, str]:
    from .weights import lama_file

    if (path := lama_file().path).is_file():
        return "lama", f"its weights are at {path}"
    if find_spec("patchmatch") is None and find_spec("cv2") is not None:
        return "cv2", "PyPatchMatch is missing (pip install 'zim-plugins[inpaint]'); expect smears"
    return "patchmatch", "the best that needs no weights (LaMa's are fetched by `zim-inpaint --download lama`)"


def _make(name: str, device: str, settings: FillSettings) -> Inpainter:
    """Make the filler of a valid name."""
    if name in _LOCAL:
        return _LOCAL[name](device, settings)
    if name.startswith(SERVER_PREFIXES):
        from .server import ServerInpainter

        return ServerInpainter(name, settings=settings)
    if is_torchscript_name(name):
        from .lama import LamaInpainter

        return LamaInpainter(Path(name), device=device)
    if two := _two_of(name):
        from .prefill import PrefilledInpainter, gently

        first, second = two
        followed = as_guided(_make(second, device, gently(settings)))
        return PrefilledInpainter(_make(first, device, settings), followed)
    from .diffusion import DiffusionInpainter

    return DiffusionInpainter.from_pretrained(name, device=device, settings=settings)
