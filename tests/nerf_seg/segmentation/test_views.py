from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_seg.segmentation.views import View, ViewCache, ViewSamples, ViewSource
from tests.nerf_seg.analytic import AnalyticScene


class Counting:
    """A `ViewSource` that counts what it renders."""

    def __init__(self, scene: AnalyticScene) -> None:
        self.scene = scene
        self.rendered: list[int] = []

    @property
    def names(self) -> list[str]:
        return list(self.scene.names)

    def view(self, index: int) -> View:
        self.rendered.append(index)
        return self.scene.view(index)


@pytest.fixture
def counting() -> Counting:
    return Counting(AnalyticScene(size=(18, 24), count=3))


def test_cache_renders_each_view_once_and_keeps_it_to_sixteen_bits(counting: Counting, tmp_path: Path) -> None:
    first = ViewCache(counting, tmp_path, "a")
    assert isinstance(first, ViewSource)
    at_first = first.view(1)
    again = ViewCache(counting, tmp_path, "a").view(1)
    assert counting.rendered == [1]
    assert torch.equal(at_first.samples.positions, again.samples.positions), "whether rendered or read: the same"
    assert torch.equal(at_first.samples.weights, again.samples.weights)
    rendered = counting.scene.view(1)
    assert again.name == rendered.name and np.array_equal(again.image, rendered.image)
    inside = rendered.samples.positions.clamp(0, 1)
    torch.testing.assert_close(again.samples.positions, inside, atol=1 / 65535, rtol=0)
    torch.testing.assert_close(again.samples.weights, rendered.samples.weights, atol=1 / 65535, rtol=0)
    torch.testing.assert_close(again.samples.depth, rendered.samples.depth)


def test_cache_of_another_key_is_another(counting: Counting, tmp_path: Path) -> None:
    ViewCache(counting, tmp_path, "checkpoint a, k 12").view(0)
    ViewCache(counting, tmp_path, "checkpoint b, k 12").view(0)
    assert counting.rendered == [0, 0]


@pytest.mark.parametrize("damage", [b"", b"no archive", "half", "renamed"])
def test_cache_renders_a_damaged_file_anew(counting: Counting, tmp_path: Path, damage: bytes | str) -> None:
    cache = ViewCache(counting, tmp_path, "a")
    cache.view(0)
    (path,) = tmp_path.rglob("*.npz")
    if damage == "renamed":  # the data set has changed: the place now belongs to another image
        cache.view(1)
        path.with_name("00001.npz").replace(path)
    else:
        path.write_bytes(path.read_bytes()[:1000] if isinstance(damage, str) else damage)
    rendered = len(counting.rendered)
    assert ViewCache(counting, tmp_path, "a").view(0).name == counting.names[0]
    assert len(counting.rendered) == rendered + 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_samples_fill_the_image() -> None:
    zeros = torch.zeros(6)
    with pytest.raises(ValueError, match="6 rays do not fill"):
        ViewSamples(torch.zeros(6, 2, 3), torch.zeros(6, 2), zeros, zeros, size=(2, 4))
    samples = ViewSamples(torch.zeros(6, 2, 3), torch.zeros(6, 2), zeros, zeros, size=(2, 3))
    with pytest.raises(ValueError, match=r"a\.png is \(3, 2\), its rays are \(2, 3\)"):
        View("a.png", np.zeros((3, 2, 3), np.uint8), samples)


def test_views_beyond_the_limit_are_rendered_at_each_visit(counting: Counting, tmp_path: Path) -> None:
    cache = ViewCache(counting, tmp_path, "key", keep=1)
    for index in (0, 1, 0, 1):
        assert cache.view(index).name == counting.names[index]
    assert counting.rendered == [0, 1, 1]
    assert len(list(cache.folder.iterdir())) == 1
