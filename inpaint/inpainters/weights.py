"""Weights of the fillers: where they lie, whether they are the right ones, how they come here when asked for."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from zim_plugins.core import CheckpointError, MissingExtra

logger = logging.getLogger(__name__)

BIG_LAMA_URL = "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt"
"""big-lama as TorchScript (205 MB). LaMa's code is Apache-2.0; these weights come without a licence of their own."""
BIG_LAMA_MD5 = "e3aa4aaa15225a33ec84f9f4bc47e500"


@dataclass(frozen=True)
class DiffusionModel:
    """A diffusion model that a short name stands for."""

    repo: str
    """On the Hugging Face hub."""
    licence: str
    """As its card states it."""


DIFFUSION_MODELS = {
    "sd15": DiffusionModel("stable-diffusion-v1-5/stable-diffusion-inpainting", "creativeml-openrail-m"),
    "sd2": DiffusionModel("sd2-community/stable-diffusion-2-inpainting", "openrail++"),
    "sdxl": DiffusionModel("diffusers/stable-diffusion-xl-1.0-inpainting-0.1", "openrail++"),
    "flux-fill": DiffusionModel(
        "black-forest-labs/FLUX.1-Fill-dev", "FLUX.1 [dev] Non-Commercial License, to be accepted on its page"
    ),
}


@dataclass(frozen=True)
class LamaFile:
    """The TorchScript file of LaMa that the environment means."""

    path: Path
    """Where it lies, or would lie."""
    url: str | None
    """Where it can be fetched; None for a file of the user's."""
    md5: str | None
    """Its digest in hexadecimal digits; None where none is known, and none is checked."""


def lama_file() -> LamaFile:
    """Find LaMa's file by the variables that lama-cleaner and its kin obey.

    LAMA_MODEL is a path. LAMA_MODEL_URL is a path too, or an address, whose file lies in torch.hub's folder of
    checkpoints (TORCH_HOME). LAMA_MODEL_MD5 is the digest of either. With none of them it is big-lama.
    """
    path, url = os.environ.get("LAMA_MODEL"), os.environ.get("LAMA_MODEL_URL")
    md5 = os.environ.get("LAMA_MODEL_MD5") or None
    if path:
        return LamaFile(Path(path).expanduser(), None, md5)
    if url and not urlparse(url).scheme.startswith("http"):
        return LamaFile(Path(url.removeprefix("file://")).expanduser(), None, md5)
    if not url or url == BIG_LAMA_URL:
        url, md5 = BIG_LAMA_URL, md5 or BIG_LAMA_MD5

    import torch

    return LamaFile(Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name), url, md5)


def require_lama() -> Path:
    """Answer with LaMa's file once it has been seen to be the right one. Nothing is fetched or deleted.

    Raises:
        CheckpointError: the file is missing, or its digest is another.
    """
    wanted = lama_file()
    if not wanted.path.is_file():
        if wanted.url is None:
            raise CheckpointError(f"there is no file {wanted.path}, which LAMA_MODEL or LAMA_MODEL_URL names")
        raise CheckpointError(
            f"LaMa's weights are not at {wanted.path}: fetch them (`zim-inpaint --download lama`, from {wanted.url}), "
            "or set LAMA_MODEL to a copy"
        )
    check_md5(wanted.path, wanted.md5)
    return wanted.path


def check_md5(path: Path, expected: str | None) -> None:
    """Compare a file with its digest, if one is known.

    Raises:
        CheckpointError: they differ; both are named.
    """
    if expected is None:
        logger.info("%s is taken as it is: set LAMA_MODEL_MD5 to have it checked", path)
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    if found != expected.lower():
        raise CheckpointError(
            f"{path} has the MD5 {found}, expected is {expected.lower()}: it is damaged or another model. Move it away "
            f"and fetch it again, or set LAMA_MODEL_MD5={found} if it is the one that you mean"
        )


def download_model(name: str) -> Path:
    """Fetch a filler's weights, and tell where they are. What is here already is not fetched again.

    Args:
        name: lama, or a key of `DIFFUSION_MODELS`.

    Raises:
        ValueError: nothing is to be fetched under this name.
        CheckpointError: it could not be fetched, or is not what was expected.
        MissingExtra: diffusers is not installed.
    """
    if name == "lama":
        return _download_lama()
    if name in DIFFUSION_MODELS:
        return _download_pipeline(DIFFUSION_MODELS[name])
    raise ValueError(f"no weights are called {name!r}: take one of lama, {', '.join(DIFFUSION_MODELS)}")


def _download_lama() -> Path:
    wanted = lama_file()
    if wanted.url is None or wanted.path.is_file():
        return require_lama()

    import torch

    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    arriving = wanted.path.with_name(wanted.path.name + ".part")
    try:
        torch.hub.download_url_to_file(wanted.url, str(arriving))
        check_md5(arriving, wanted.md5)
        arriving.replace(wanted.path)
    except OSError as error:
        raise CheckpointError(f"{wanted.url} could not be fetched: {error}") from error
    finally:
        arriving.unlink(missing_ok=True)
    return wanted.path


def _download_pipeline(model: DiffusionModel) -> Path:
    try:
        from diffusers import DiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]
    except ImportError as error:
        raise MissingExtra("diffusers", "diffusion") from error
    logger.info("fetching %s; its licence: %s", model.repo, model.licence)
    try:
        return Path(DiffusionPipeline.download(model.repo))
    except OSError as error:
        raise CheckpointError(f"{model.repo} could not be fetched: {error}") from error
