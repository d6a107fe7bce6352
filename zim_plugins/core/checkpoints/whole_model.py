"""A model of transformers from a folder on this machine, with every one of its weights or not at all."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zim_plugins.errors import CheckpointError, MissingExtra


def transformers_class(name: str, *, also_needs: str | None = None) -> Any:
    """Return a class of transformers.

    Args:
        also_needs: a package that the class needs beside it.

    Raises:
        MissingExtra: transformers is absent or too old for it, or the other package is absent.
    """
    try:
        import transformers

        if also_needs is not None:
            __import__(also_needs)
        return getattr(transformers, name)
    except ImportError as error:
        raise MissingExtra(f"transformers{f' and {also_needs}' if also_needs else ''}", "models") from error
    except AttributeError as error:
        raise MissingExtra(f"a transformers that has {name}", "models") from error


def model_type_of(folder: Path) -> str:
    """Return the `model_type` of a model's configuration, "model of no kind" where it has none.

    Raises:
        CheckpointError: the configuration is missing or damaged.
    """
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") or "model of no kind"
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} is missing or damaged: fetch the model again") from error


def load_whole(model_class: Any, folder: Path) -> Any:
    """Load a model in float32, ready to answer; transformers alone would make up weights that a file lacks.

    Raises:
        CheckpointError: files are damaged, or weights are missing or of another shape.
    """
    import torch
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            model, report = model_class.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{folder} cannot be loaded as {model_class.__name__} ({reason}): fetch it again"
        ) from error
    absent = sorted(report["missing_keys"]) + sorted(str(one) for one in report.get("mismatched_keys", ()))
    if absent:
        raise CheckpointError(
            f"{folder} lacks {len(absent)} weights of {model_class.__name__}, first {absent[0]}: fetch it again"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars and advice away while a model loads; what matters is checked and raised."""
    from transformers.utils import logging as their_logging

    level, bars = their_logging.get_verbosity(), their_logging.is_progress_bar_enabled()
    their_logging.set_verbosity(logging.CRITICAL)
    their_logging.disable_progress_bar()
    try:
        yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()
