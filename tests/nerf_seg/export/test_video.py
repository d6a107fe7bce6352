import importlib.util
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from nerf_seg.export.video import write_video
from zim_plugins.core import MissingExtra

FRAMES = [np.full((31, 40, 3), 40 * i, np.uint8) for i in range(5)]


def test_gif_without_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    imageio = pytest.importorskip("imageio.v3")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "imageio_ffmpeg" else found(name))
    with caplog.at_level(logging.INFO):
        path = write_video(tmp_path / "new" / "object_only", iter(FRAMES), fps=10)
    assert path.name == "object_only.gif" and "pip install imageio-ffmpeg" in caplog.text
    assert [p.name for p in path.parent.iterdir()] == ["object_only.gif"]
    np.testing.assert_allclose(imageio.imread(path), FRAMES, atol=4)


def test_mp4_with_ffmpeg(tmp_path: Path) -> None:
    pytest.importorskip("imageio")
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = write_video(tmp_path / "object_only", FRAMES, fps=10)
    assert path.name == "object_only.mp4" and [p.name for p in tmp_path.iterdir()] == ["object_only.mp4"]
    assert ffmpeg.count_frames_and_secs(str(path)) == (5, pytest.approx(0.5))


def test_a_fault_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("imageio")

    def failing() -> object:
        yield FRAMES[0]
        raise RuntimeError("the field is gone")

    with pytest.raises(RuntimeError, match="the field is gone"):
        write_video(tmp_path / "video", failing())
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "video", [])
    assert list(tmp_path.iterdir()) == []


def test_without_imageio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("imageio", "imageio.v2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"pip install 'zim-plugins\[nerf\]'"):
        write_video(tmp_path / "video", FRAMES)
