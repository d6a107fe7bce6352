"""MatteConverter: crops that paste back in place, in batches of any make-up, tiled where they are large."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from zim_plugins.label_converter.checkpoint import CONVERTER_TINY, save_converter
from zim_plugins.label_converter.converter import ConvertSettings, CroppedMatte, MatteConverter
from zim_plugins.label_converter.network import ConverterConfig, ConverterNetwork

SMALL_FRAMES = ConvertSettings(frames_px=(64, 128), margin_px=8)


class LocalNetwork:
    """A matte that depends on 5x5 px of mask and image: what a crop or a tile sees does not matter."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def matte(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(mask.shape))
        light = 0.5 + 0.1 * image.mean(1, keepdim=True).tanh()
        return F.avg_pool2d(mask, 5, 1, 2, count_include_pad=False) * light


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def rectangle(height: int, width: int, x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def whole_at_once(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same network on the whole image."""
    big = ConvertSettings(frames_px=(32 * -(-max(mask.shape) // 32),), margin_px=10**6)
    return MatteConverter(LocalNetwork(), settings=big).convert(image, [mask])[0].full(*mask.shape)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (90, 60), (150, 170)])
def test_crops_paste_back_in_place(size: tuple[int, int]) -> None:
    height, width = size
    image = photo(*size)
    corner, quarter = rectangle(*size, 0, 0, 1, 1), rectangle(*size, width // 2, height // 2, width, height)
    masks = [corner, quarter, np.ones(size, bool)]
    mattes = MatteConverter(LocalNetwork(), settings=SMALL_FRAMES).convert(image, masks)
    for mask, matte in zip(masks, mattes, strict=True):
        h, w = matte.alpha.shape
        assert 0 <= matte.x <= width - w
        assert 0 <= matte.y <= height - h
        expected = whole_at_once(image, mask)
        assert expected[mask].all()
        # averages over the image's border see the frame's zeros; inside, crop and whole agree
        inner = np.s_[3:-3, 3:-3] if min(size) > 6 else np.s_[:0]
        np.testing.assert_allclose(matte.full(height, width)[inner], expected[inner], atol=1e-5)


def test_margins_follow_the_object() -> None:
    image = photo(200, 200)
    small, large = rectangle(200, 200, 90, 90, 10, 10), rectangle(200, 200, 40, 50, 100, 80)
    found = MatteConverter(LocalNetwork(), settings=SMALL_FRAMES).convert(image, [small, large])
    assert [(m.x, m.y, *m.alpha.shape) for m in found] == [(82, 82, 26, 26), (25, 35, 110, 130)]


def test_tiles_equal_the_whole() -> None:
    image = photo(300, 330)
    mask = rectangle(300, 330, 20, 30, 290, 240)
    network = LocalNetwork()
    matte = MatteConverter(network, settings=SMALL_FRAMES).convert(image, [mask])[0]
    assert {s[-1] for s in network.shapes} == {128}
    assert sum(s[0] for s in network.shapes) >= 9
    expected = whole_at_once(image, mask)
    # a tile's rim sees zeros beyond it: 2 px, blended away by the ramp
    np.testing.assert_allclose(matte.full(300, 330), expected, atol=0.02)
    assert (np.abs(matte.full(300, 330) - expected) < 1e-5).mean() > 0.8


def test_masks_are_batched_by_size_and_come_back_in_order() -> None:
    image = photo(200, 220)
    masks = [rectangle(200, 220, 5 * i, 10, 12 + 8 * i, 30) for i in range(8)]
    network = LocalNetwork()
    settings = replace(SMALL_FRAMES, batch_px=3 * 64 * 64)
    together = MatteConverter(network, settings=settings).convert(image, masks)
    assert max(s[0] for s in network.shapes) == 3
    assert {s[-1] for s in network.shapes} == {64, 128}
    backwards = MatteConverter(LocalNetwork(), settings=settings).convert(image, masks[::-1])[::-1]
    for mask, a, b in zip(masks, together, backwards, strict=True):
        alone = MatteConverter(LocalNetwork(), settings=settings).convert(image, [mask])[0]
        assert (a.x, a.y) == (b.x, b.y) == (alone.x, alone.y)
        np.testing.assert_allclose(a.alpha, b.alpha, atol=1e-6)
        np.testing.assert_allclose(a.alpha, alone.alpha, atol=1e-6)
    assert MatteConverter(network).convert(image, []) == []


def test_a_real_network_from_a_file(small_config: ConverterConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_converter(ConverterNetwork(small_config), tmp_path / "c.safetensors", {})
    converter = MatteConverter.load(tmp_path / "c.safetensors", settings=SMALL_FRAMES)
    image = photo(100, 90)
    masks = [rectangle(100, 90, 10 + 5 * i, 20, 20, 25) for i in range(3)]
    together = converter.convert(image, masks)
    for mask, matte in zip(masks, together, strict=True):
        assert matte.alpha.dtype == np.float32
        assert 0 <= matte.alpha.min() <= matte.alpha.max() <= 1
        np.testing.assert_allclose(matte.alpha, converter.convert(image, [mask])[0].alpha, atol=1e-5)
    half = MatteConverter(converter.network, dtype=torch.bfloat16, settings=SMALL_FRAMES).convert(image, masks[:1])[0]
    np.testing.assert_allclose(half.alpha, together[0].alpha, atol=0.1)


def test_misuse_names_the_mask() -> None:
    converter = MatteConverter(LocalNetwork())
    with pytest.raises(ValueError, match="mask 1 is empty"):
        converter.convert(photo(9, 9), [np.ones((9, 9), bool), np.zeros((9, 9), bool)])
    with pytest.raises(ValueError, match="mask 0 is 8x9 px, the image 9x9"):
        converter.convert(photo(9, 9), [np.ones((9, 8), bool)])
    with pytest.raises(ValueError, match="frames_px"):
        ConvertSettings(frames_px=(100,))
    with pytest.raises(ValueError, match="overlap"):
        ConvertSettings(overlap_share=0.5)


def test_a_cropped_matte_knows_its_place() -> None:
    full = CroppedMatte(np.ones((2, 3), np.float32), x=4, y=1).full(5, 8)
    assert full.sum() == 6
    assert full[1:3, 4:7].all()


def two_tones(height: int, width: int, mask: np.ndarray) -> np.ndarray:
    """An image whose edges are those of the mask, with a little noise."""
    noise = np.random.default_rng(1).integers(0, 12, (height, width, 3))
    return (np.where(mask[..., None], 190, 40) + noise).astype(np.uint8)


class FaintNetwork(LocalNetwork):
    """Nothing is more than a fifth opaque, so no mask is left alone."""

    def matte(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return super().matte(image, mask) * 0.3


class ObedientNetwork(LocalNetwork):
    """The mask is the matte, but for a little haze."""

    def matte(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        super().matte(image, mask)
        return 0.1 + 0.8 * mask


@pytest.mark.parametrize("corner", [(0, 0), (70, 50), (160, 110)])
def test_a_large_crop_is_reduced_and_comes_back_along_the_image_s_edges(corner: tuple[int, int]) -> None:
    height, width = 240, 320
    mask = rectangle(height, width, *corner, 160, 130)
    image = two_tones(height, width, mask)
    network = FaintNetwork()
    how = replace(SMALL_FRAMES, work_px=64)
    matte = MatteConverter(network, settings=how).convert(image, [mask])[0]
    assert {shape[-1] for shape in network.shapes} == {64}  # one look, not tiles
    unreduced = MatteConverter(LocalNetwork(), settings=SMALL_FRAMES).convert(image, [mask])[0]
    assert (matte.x, matte.y, matte.alpha.shape) == (unreduced.x, unreduced.y, unreduced.alpha.shape)
    expected = 0.3 * whole_at_once(image, mask)
    found = matte.full(height, width)
    assert np.abs(found - expected).mean() < 0.01
    assert ((found > 0.08) == mask).mean() > 0.995  # the edge lies where the image has it, to the pixel
    # a blind enlargement is blurred by three and more pixels
    small = F.interpolate(torch.from_numpy(expected)[None, None], scale_factor=0.3, mode="area")
    blind = F.interpolate(small, (height, width), mode="bilinear")[0, 0].numpy()
    edge = np.abs(np.diff(mask.astype(float), axis=1)) > 0
    assert np.abs(np.diff(found, axis=1))[edge].mean() > 1.5 * np.abs(np.diff(blind, axis=1))[edge].mean()


def test_where_the_network_leaves_a_mask_alone_the_mask_itself_comes_back() -> None:
    mask = rectangle(240, 320, 70, 50, 160, 130) & ~rectangle(240, 320, 150, 50, 1, 130)  # one column is missing
    matte = MatteConverter(ObedientNetwork(), settings=replace(SMALL_FRAMES, work_px=100)).convert(
        photo(240, 320), [mask]
    )[0]
    away = np.ones(240 * 320, bool).reshape(mask.shape)
    away[:, 130:172] = False  # the missing column is lost in the reduction, and so taken for a change
    np.testing.assert_array_equal(matte.full(240, 320)[away], mask[away])


def test_small_crops_are_not_reduced() -> None:
    mask = rectangle(120, 160, 50, 40, 30, 20)
    image = photo(120, 160)
    plain, reducing = (
        MatteConverter(LocalNetwork(), settings=s).convert(image, [mask])[0]
        for s in (SMALL_FRAMES, replace(SMALL_FRAMES, work_px=64))
    )
    np.testing.assert_array_equal(plain.alpha, reducing.alpha)
    with pytest.raises(ValueError, match="work_px"):
        ConvertSettings(work_px=8)


def test_the_shipped_converter_looks_at_its_own_frame() -> None:
    converter = MatteConverter.load(CONVERTER_TINY)
    assert converter.settings.work_px == 256
    mask = rectangle(200, 200, 60, 60, 80, 80)
    alpha = converter.convert(two_tones(200, 200, mask), [mask])[0].full(200, 200)
    assert np.abs(alpha - mask).mean() < 0.01  # a rigid square, exactly drawn: nothing to mend
