"""Videos: MP4 where ffmpeg is at hand, else an animated GIF."""

import contextlib
import importlib.util
import itertools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from zim_plugins.core import MissingExtra
from zim_plugins.imaging import atomic_path

logger = logging.getLogger(__name__)


def write_video(stem: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], *, fps: int = 24) -> Path:
    """Write frames as `stem`.mp4, or as `stem`.gif where imageio-ffmpeg is not installed; whole or not at all.

    Args:
        stem: path without a suffix.
        frames: RGB, all of one size; taken one at a time.
        fps: frames per second.

    Returns:
        The path that was written.

    Raises:
        MissingExtra: imageio is not installed.
        ValueError: there is no frame.
    """
    try:
        from imageio.v2 import get_writer
    except ImportError as error:
        raise MissingExtra("imageio", "nerf") from error
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise ValueError(f"a video needs at least one frame: {stem} is not written")
    mp4 = importlib.util.find_spec("imageio_ffmpeg") is not None
    suffix = ".mp4" if mp4 else ".gif"
    if not mp4:
        logger.info("%s is written as a GIF: for MP4, pip install imageio-ffmpeg", stem)
    path = stem.with_name(stem.name + suffix)
    options: dict[str, Any] = {"fps": fps, "macro_block_size": 1} if mp4 else {"duration": 1000 / fps, "loop": 0}
    with atomic_path(path) as temporary:
        writer: Any
        # imageio's own context manager leaves ffmpeg running after a fault.
        with contextlib.closing(get_writer(temporary, **options)) as writer:
            for frame in itertools.chain([first], rest):
                # H.264 halves the resolution of colours: sides are even.
                writer.append_data(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] if mp4 else frame)
    return path
