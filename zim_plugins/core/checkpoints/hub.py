"""Models of the Hugging Face hub: a folder on this machine for `hf:NAME_OR_FOLDER`, or one line with the next step."""

import logging
from pathlib import Path

from zim_plugins.core.checkpoints.cache import is_offline
from zim_plugins.errors import CheckpointError

logger = logging.getLogger(__name__)

PREFIX = "hf:"
"""What a hub name or a folder in transformers' layout begins with, wherever a model is named."""
PAGE = "https://huggingface.co"
CONFIG = "config.json"
SMALL_FILES = ["*.json", "*.txt", "*.model", "README.md"]
"""Configuration, tokenizer and card."""
WEIGHTS = (["*.safetensors"], ["pytorch_model*.bin"])
"""Patterns of weights, the preferred kind first; others (TensorFlow's, the authors' own) are never fetched."""


def is_hub_name(name: object) -> bool:
    """Return whether a model's name asks for transformers' layout.

    >>> is_hub_name("hf:facebook/sam2.1-hiera-small"), is_hub_name("zim_tiny")
    (True, False)
    """
    return str(name).startswith(PREFIX)


def hub_folder(name: str) -> Path:
    """Return the folder that holds a model: one on this machine, the hub's cache, or fetched into that cache.

    Transfers are those of huggingface_hub: resumed, with HF_TOKEN or `hf auth login` for private and gated models.

    Args:
        name: a folder, or ORG/NAME on the hub, ORG/NAME@REVISION; `hf:` in front is dropped.

    Raises:
        CheckpointError: there is no such model, it is not on this machine while the network is forbidden or out of
            reach, or its authors must first grant access; the message names the next step.
    """
    name = name.removeprefix(PREFIX)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder)
    if folder.is_file():
        raise CheckpointError(f"{name} is a file: name the folder that save_pretrained wrote, with its {CONFIG}")
    repo, _, revision = name.partition("@")
    if name.startswith((".", "/", "~")) or repo.count("/") != 1 or not all(repo.split("/")):
        raise CheckpointError(f"there is no folder {name!r}; a model of the hub is named {PREFIX}ORGANISATION/NAME")
    return _cached(repo, revision or None) or _fetched(repo, revision or None)


def find_hub(name: str) -> Path | None:
    """Return where a model named by `hf:` lies on this machine, or None; nothing is fetched and nothing raised."""
    name = name.removeprefix(PREFIX)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    repo, _, revision = name.partition("@")
    try:
        return _cached(repo, revision or None)
    except CheckpointError:
        return None


def _checked(folder: Path) -> Path:
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} holds no {CONFIG}: name the folder that save_pretrained wrote")
    if not _has_weights(folder):
        raise CheckpointError(f"{folder} holds no weights (model.safetensors): the copy is incomplete, fetch it again")
    return folder


def _has_weights(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for patterns in WEIGHTS for pattern in patterns)


def _cached(repo: str, revision: str | None) -> Path | None:
    """The snapshot in the hub's cache, where it is whole as far as can be seen."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(huggingface_hub.snapshot_download(repo, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise CheckpointError(f"{repo!r} is no name on the hub ({_first_line(error)})") from error
    except LocalEntryNotFoundError:
        return None
    return folder if (folder / CONFIG).is_file() and _has_weights(folder) else None


def _fetched(repo: str, revision: str | None) -> Path:
    """Fetch a model into the hub's cache."""
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    elsewhere = (
        f"on a machine with a network run `hf download {repo} --local-dir FOLDER` and name {PREFIX}FOLDER here; "
        "zim_tiny needs no network"
    )
    if is_offline():
        raise CheckpointError(
            f"{repo} is not on this machine and the network is switched off by the environment (HF_HUB_OFFLINE or "
            f"ZIM_PLUGINS_OFFLINE): {elsewhere}"
        )
    logger.warning("fetching %s from the hub; its licence is on %s/%s", repo, PAGE, repo)
    try:
        for weights in WEIGHTS:
            folder = Path(
                huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=SMALL_FILES + weights)
            )
            if _has_weights(folder):
                return _checked(folder)
        return _checked(folder)
    except GatedRepoError as error:
        raise CheckpointError(
            f"{repo} is gated: accept its licence on {PAGE}/{repo}, then run `hf auth login` or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repo} has no revision {revision!r}: see {PAGE}/{repo}/tree/main") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"there is no {repo} on the hub, or it is private: check the name on {PAGE}, for a private model run "
            "`hf auth login` or set HF_TOKEN"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError, *_transport_errors()) as error:
        raise CheckpointError(f"{repo} could not be fetched ({_first_line(error)}): {elsewhere}") from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """Return what the hub's HTTP library raises where no connection comes about; older releases stand on OSError."""
    from huggingface_hub import utils

    library = getattr(utils, "httpx", None)
    return () if library is None else (library.HTTPError,)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
