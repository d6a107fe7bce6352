"""lama-cleaner's own LaMa class as a filler, from the package as it is installed."""

import os
import shutil
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from zim_plugins.core import CheckpointError, MissingPackage, resolve_device
from zim_plugins.imaging import from_unit

from .base import Hole, Rgb, paste, refuse_a_full_hole
from .weights import require_lama

_URL_LOCK = threading.Lock()
"""The package keeps the file's place in a global of its own."""


class MissingLamaCleaner(MissingPackage):
    """lama-cleaner cannot be imported; no extra brings it, for its pins fit no current diffusers."""


class LamaCleanerInpainter:
    """Fill by `lama_cleaner.model.lama.LaMa` (Apache-2.0).

    Its loader deletes a file that it cannot read and ends the process: it is given a link, and what it would do to the
    process is caught.

    Args:
        path: the TorchScript file; by default the one that `weights.lama_file` finds, its digest checked.
        device: auto, cpu or cuda[:N].

    Raises:
        MissingLamaCleaner: the package is not installed.
        CheckpointError: the file is missing, another than expected, or no TorchScript.
    """

    name = "lama-cleaner"
    work_side_px: int | None = 1024

    def __init__(self, path: Path | None = None, *, device: str = "auto") -> None:
        import torch

        lama, schema, logger = _import_package()
        logger.disable("lama_cleaner")  # it reports every step of every image
        # One size for all of the package's strategies: crops are made before.
        self._config = schema.Config(
            ldm_steps=1,
            hd_strategy=schema.HDStrategy.ORIGINAL,
            hd_strategy_crop_margin=0,
            hd_strategy_crop_trigger_size=0,
            hd_strategy_resize_limit=0,
        )
        path = path or require_lama()
        with _URL_LOCK, tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load", category=DeprecationWarning)
            usual = lama.LAMA_MODEL_URL
            lama.LAMA_MODEL_URL = str(_link(path, Path(folder)))
            try:
                self._model = lama.LaMa(torch.device(resolve_device(device)))
            except SystemExit as error:
                raise CheckpointError(f"lama-cleaner could not load {path}: is it a TorchScript file?") from error
            finally:
                lama.LAMA_MODEL_URL = usual

    def fill(self, image: Rgb, hole: Hole) -> Rgb:
        """Repaint the hole; see `Inpainter.fill`."""
        refuse_a_full_hole(hole)
        painted = self._model(image.copy(), from_unit(hole), self._config)  # BGR, float64
        return paste(image, np.rint(painted[..., ::-1]).astype(np.uint8), hole)


def _import_package() -> tuple[Any, Any, Any]:
    """The modules with LaMa and with its configuration, and the log that they write to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package is frozen in 2023
        try:
            from lama_cleaner import schema
            from lama_cleaner.model import lama
            from loguru import logger
        except ImportError as error:
            raise MissingLamaCleaner(
                f"this needs lama-cleaner ({error}): pip install --no-deps lama-cleaner==1.2.5, and pip install loguru "
                "opencv-python-headless pydantic; or run its server, and give the server's address as --backend"
            ) from error
    return lama, schema, logger


def _link(path: Path, folder: Path) -> Path:
    """A second name for the file, which may be deleted in its place."""
    link = folder / path.name
    try:
        os.symlink(path.resolve(), link)
    except OSError:  # Windows lets few users link
        shutil.copy(path, link)
    return link
