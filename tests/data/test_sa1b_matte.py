import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from zim_plugins.core.prompt import Prompt
from zim_plugins.data.conversion.engine import convert_dataset
from zim_plugins.data.faults import DataError, FaultLog
from zim_plugins.data.readers.sa1b import read_shard
from zim_plugins.data.sa1b_matte import MatteShards, done_shards


@pytest.fixture
def mattes(shards, tmp_path, blur_maker):
    convert_dataset(shards, tmp_path / "mattes", blur_maker(), progress=False)
    return tmp_path / "mattes"


def test_what_was_converted_comes_back(shards, mattes, blur_maker):
    convert = blur_maker()(0)
    matted = {m.key: m for m in MatteShards(mattes, shards, report=pytest.fail)}
    assert len(matted) == 12
    for image in read_shard(shards / "sa_000001.tar", pytest.fail):
        back = matted[image.key]
        rgb = image.read_image()
        assert (back.image == rgb).all()
        assert back.ids == tuple(a.id for a in image.annotations)
        for alpha, annotation, prompt in zip(back.alphas, image.annotations, back.prompts, strict=True):
            mask = annotation.mask.decode()
            (matte,) = convert(rgb, [mask])
            expected = np.zeros(mask.shape, np.float32)
            expected[matte.y : matte.y + matte.alpha.shape[0], matte.x : matte.x + matte.alpha.shape[1]] = matte.alpha
            assert np.abs(alpha - expected).max() <= 1 / 255 + 1e-6
            ys, xs = np.nonzero(mask)  # SA-1B's box is one short on either side: ours is the mask's own
            assert prompt.box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            x, y = prompt.points[0]
            assert mask[int(y), int(x)]


def test_copied_photographs_need_no_source(shards, tmp_path, mattes, blur_maker):
    with pytest.raises(DataError, match="holds no photographs"):
        next(iter(MatteShards(mattes)))
    convert_dataset(shards, tmp_path / "with_images", blur_maker(), copy_images=True, progress=False)
    ours = {m.key: m.image for m in MatteShards(tmp_path / "with_images")}
    assert all((ours[m.key] == m.image).all() for m in MatteShards(mattes, shards))


def test_order_is_shuffled_by_seed_and_epoch(shards, mattes):
    def keys(**options) -> list[str]:
        epoch = options.pop("epoch", 0)
        dataset = MatteShards(mattes, shards, **options)
        dataset.set_epoch(epoch)
        return [m.key for m in dataset]

    plain = keys(shuffle=False)
    assert plain[:4] == ["sa_1", "sa_2", "sa_3", "sa_4"]
    assert keys() == keys()
    assert len({tuple(o) for o in (plain, keys(), keys(seed=1), keys(epoch=1))}) == 4
    assert sorted(keys(epoch=1)) == sorted(plain)


def test_some_masks_of_each(shards, mattes):
    chosen = list(MatteShards(mattes, shards, masks_per_image=2))
    assert {len(m.ids) for m in chosen} == {2}
    again = list(MatteShards(mattes, shards, masks_per_image=2))
    other = list(MatteShards(mattes, shards, masks_per_image=2, seed=5))
    assert [m.ids for m in chosen] == [m.ids for m in again]
    assert sorted(m.ids for m in chosen) != sorted(m.ids for m in other)


def test_drawn_prompts(shards, mattes):
    def draw(alpha, rng) -> Prompt:
        ys, xs = np.nonzero(alpha > 0.5)
        k = rng.integers(len(xs))
        return Prompt.from_point(xs[k] + 0.5, ys[k] + 0.5)

    for matted in MatteShards(mattes, shards, draw_prompt=draw):
        for alpha, prompt in zip(matted.alphas, matted.prompts, strict=True):
            x, y = prompt.points[0]
            assert prompt.box is None and alpha[int(y), int(x)] > 0.5


@pytest.mark.parametrize("world", [2, 3, 5])
def test_readers_divide_the_photographs(shards, mattes, world, monkeypatch):
    """Whether there are more shards than readers or fewer: each photograph once."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
    seen = []
    for rank in range(world):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        seen += [m.key for m in MatteShards(mattes, shards)]
    assert len(seen) == 12 == len(set(seen))


def test_endless(shards, mattes):
    stream = iter(MatteShards(mattes, shards, endless=True))
    keys = [next(stream).key for _ in range(30)]
    assert len(set(keys[:12])) == len(set(keys[12:24])) == 12
    assert keys[:12] != keys[12:24]


def test_under_a_loader(shards, mattes):
    loader = DataLoader(MatteShards(mattes, shards), batch_size=None)
    assert len({m.key for m in loader}) == 12


def test_only_whole_shards_are_read(shards, mattes, tmp_path):
    (mattes / "sa_000001.done.json").unlink()
    assert [p.name for p in done_shards(mattes)] == ["sa_000000.tar", "sa_000002.tar"]
    with (mattes / "sa_000002.tar").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(DataError, match=r"sa_000002\.tar is not what"):
        MatteShards(mattes)
    with pytest.raises(DataError, match="no shard of mattes"):
        MatteShards(tmp_path)


def test_damaged_photograph_is_told_and_passed_over(tmp_path, sa1b, tar, blur_maker):
    files = sa1b(1, 3, seed=0)
    source = tar(tmp_path / "in/sa.tar", files)
    convert_dataset(source, tmp_path / "out", blur_maker(), progress=False)
    content = source.read_bytes().replace(
        files["sa_2.jpg"], files["sa_2.jpg"][:200] + bytes(len(files["sa_2.jpg"]) - 200)
    )
    source.write_bytes(content)
    faults = FaultLog()
    assert {m.key for m in MatteShards(tmp_path / "out", source, report=faults)} == {"sa_1", "sa_3"}
    assert faults.counts == {"broken sample": 1}


def test_alphas_are_json_free_arrays(shards, mattes):
    matted = next(iter(MatteShards(mattes, shards)))
    assert matted.alphas.dtype == np.float32 and matted.alphas.shape[1:] == matted.image.shape[:2]
    assert 0 <= matted.alphas.min() and matted.alphas.max() <= 1
    json.dumps(matted.ids)
