"""Blending weights on disk: equal to computed ones, bounded, never used where they are damaged or of another view."""

import logging
import os
import shutil
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_seg.field.gaussians import weight_cache
from nerf_seg.field.gaussians.camera import Camera
from nerf_seg.field.gaussians.model import Gaussians
from nerf_seg.field.gaussians.rendering import SplatSamples, view_weights
from nerf_seg.field.gaussians.weight_cache import WeightCache
from tests.nerf_seg.splat_scene import SplatScene

SCENE = SplatScene(views=4, count=200, size=(36, 48))
CAMERAS = SCENE.cameras


class Counted:
    """`view_weights`, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, gaussians: Gaussians, camera: Camera) -> SplatSamples:
        self.calls += 1
        return view_weights(gaussians, camera)


def cache_of(folder: Path, gaussians: Gaussians = SCENE.gaussians, limit: float = 1e9, cameras=CAMERAS) -> WeightCache:
    return WeightCache(folder, gaussians, cameras, limit, Counted())


def fill(cache: WeightCache, gaussians: Gaussians = SCENE.gaussians, cameras=CAMERAS) -> int:
    """Ask for all views; returns how many were computed."""
    for camera in cameras:
        cache(gaussians, camera)
    return cache.render.calls  # pyright: ignore[reportFunctionMemberAccess]


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    assert fill(cache_of(tmp_path / "cache")) == len(CAMERAS)
    return tmp_path / "cache"


def test_what_is_read_is_what_was_computed_bit_by_bit(filled: Path) -> None:
    again = cache_of(filled)
    for camera in CAMERAS:
        read, computed = again(SCENE.gaussians, camera), view_weights(SCENE.gaussians, camera)
        for name in ("data", "indices", "indptr"):
            assert np.array_equal(getattr(read.weights, name), getattr(computed.weights, name)), name
        assert torch.equal(read.depth, computed.depth) and torch.equal(read.accumulation, computed.accumulation)
        ones = np.random.default_rng(0).random((len(SCENE.gaussians), 2), dtype=np.float32)
        assert np.array_equal(read.blend(ones), computed.blend(ones))
    assert again.render.calls == 0 and again.read == len(CAMERAS)  # pyright: ignore


def moved(camera: Camera) -> Camera:
    matrix = camera.world_to_camera.copy()
    matrix[0, 3] += 1e-9
    return replace(camera, world_to_camera=matrix)


def changed(name: str) -> Gaussians:
    part = getattr(SCENE.gaussians, name).clone()
    part.view(-1)[7] = torch.nextafter(part.view(-1)[7], torch.tensor(2.0))
    return replace(SCENE.gaussians, **{name: part})


@pytest.mark.parametrize(
    "cameras",
    [
        [moved(camera) for camera in CAMERAS],
        [camera.resized((18, 24)) for camera in CAMERAS],
        [replace(camera, focal=(camera.focal[0] + 1, camera.focal[1])) for camera in CAMERAS],
        [replace(camera, centre=(camera.centre[0], camera.centre[1] - 0.5)) for camera in CAMERAS],
        [replace(camera, distortion=(0.0, 0.0, 1e-3, 0.0)) for camera in CAMERAS],
    ],
    ids=["place", "size", "focal", "centre", "distortion"],
)
def test_other_cameras_are_other_views(filled: Path, cameras: list[Camera]) -> None:
    assert fill(cache_of(filled, cameras=cameras), cameras=cameras) == len(CAMERAS)


@pytest.mark.parametrize("name", ["means", "scales", "rotations", "opacities"])
def test_a_scene_that_differs_by_the_last_bit_is_another(filled: Path, name: str) -> None:
    other = changed(name)
    assert fill(cache_of(filled, other), other) == len(CAMERAS)


def test_names_and_colours_do_not_matter_to_weights(filled: Path) -> None:
    repainted = replace(SCENE.gaussians, harmonics=SCENE.gaussians.harmonics + 1)
    renamed = [replace(camera, name=f"again/{camera.name}") for camera in CAMERAS]
    assert fill(cache_of(filled, repainted, cameras=renamed), repainted, renamed) == 0


def test_another_release_of_the_renderer_computes_anew(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rendering.py"
    source.write_bytes(Path(str(weight_cache.rendering_source.__file__)).read_bytes() + b"\n")
    monkeypatch.setattr(weight_cache.rendering_source, "__file__", str(source))
    assert fill(cache_of(filled)) == len(CAMERAS)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_view(path: Path) -> None:
    other = next(p for p in files(path.parent) if p != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        of_another_view,
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"somebody's own file, which is no view at all and long enough for a digest"),
    ],
    ids=["a bit", "another view", "cut short", "empty", "foreign"],
)
def test_a_damaged_file_is_said_and_computed_anew(filled: Path, damage, caplog: pytest.LogCaptureFixture) -> None:
    path = cache_of(filled).path(CAMERAS[1])
    whole = path.read_bytes()
    damage(path)
    again = cache_of(filled)
    assert fill(again) == 1 and again.read == len(CAMERAS) - 1
    assert "is not usable" in caplog.text and str(path) in caplog.text
    assert path.read_bytes() == whole  # and mended


def test_the_size_is_said_before_anything_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, seen = tmp_path / "cache", []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.getMessage(), len(files(folder))))

    weight_cache.logger.addHandler(watch := Watch())
    try:
        with caplog.at_level(logging.INFO):
            fill(cache_of(folder))
    finally:
        weight_cache.logger.removeHandler(watch)
    ((said, there),) = seen
    assert there == 0 and f"of {len(CAMERAS)} views" in said and str(folder) in said
    assert f"{used_bytes(folder) / 1e9:.2f} GB" in said


def test_no_more_than_the_limit_is_kept(filled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limit = used_bytes(filled) * 0.6
    folder = tmp_path / "small"
    with caplog.at_level(logging.INFO):
        assert fill(cache_of(folder, limit=limit)) == len(CAMERAS)
    assert 0 < used_bytes(folder) <= limit and "are kept" in caplog.text
    assert fill(cache_of(folder, limit=limit)) == len(CAMERAS) - len(files(folder))
    assert fill(cache_of(tmp_path / "none", limit=0)) == len(CAMERAS) and not files(tmp_path / "none")


def test_views_of_another_scene_make_room_the_longest_unused_first(filled: Path) -> None:
    others, now = files(filled), time.time()
    for age, path in enumerate(others):
        os.utime(path, (now - 100 - age, now - 100 - age))
    (filled / "notes.txt").write_text("somebody's own")
    smaller = [camera.resized((18, 24)) for camera in CAMERAS[:1]]
    cache = cache_of(filled, limit=sum(p.stat().st_size for p in others), cameras=smaller)
    fill(cache, cameras=smaller)
    left = files(filled)
    assert cache.path(smaller[0]) in left and filled / "notes.txt" in left
    assert [path for path in others if path not in left] == others[-1:]


def test_a_full_disk_costs_the_cache_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk(10**12, 10**12 - 10**6, 10**6))
    with caplog.at_level(logging.INFO):
        assert fill(cache_of(tmp_path / "cache")) == len(CAMERAS)
    assert not files(tmp_path / "cache") and "at most 0.00 GB are kept" in caplog.text


def test_a_refusal_of_the_disk_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(weight_cache, "atomic_write", refuse)
    assert fill(cache_of(tmp_path / "cache")) == len(CAMERAS)
    assert caplog.text.count("No space left on device") == 1


def test_half_files_of_killed_runs_go_and_those_of_others_stay(filled: Path) -> None:
    name = files(filled)[0].name
    old, new = (filled / f".{name}.{digit * 32}.tmp" for digit in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    cache_of(filled)
    assert not old.exists() and new.exists()


def test_cameras_that_were_not_announced_are_not_kept(tmp_path: Path) -> None:
    cache = cache_of(tmp_path / "cache", cameras=CAMERAS[:1])
    assert fill(cache) == len(CAMERAS) and len(files(tmp_path / "cache")) == 1
