"""Shards of SA1B-Matte as training data: every photograph once an epoch, the n-th batch always the same."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.invented import invented_photo
from zim_plugins.data.faults import DataError
from zim_plugins.data.rle import Rle
from zim_plugins.training.distributed import Share
from zim_plugins.training.samples.library import held_out
from zim_plugins.training.samples.shards import ONE_IN, ShardLibrary, ShardSource, load_shards


def write_shard(folder: Path, name: str, keys: list[str]) -> None:
    """A shard with its photographs, as `zim convert --copy-images` leaves it."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for number, key in enumerate(keys):
            photo, image = invented_photo(number), io.BytesIO()
            Image.fromarray(photo.rgb).save(image, "JPEG")
            mask = photo.masks[0] > 127
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [int(v) for v in (columns[0], rows[0], np.ptp(columns), np.ptp(rows))]
            row = {"id": number, "segmentation": Rle.from_mask(mask).to_json(), "bbox": box, "matte": None}
            files = {f"{key}.jpg": image.getvalue(), f"{key}.json": json.dumps({"annotations": [row, row]}).encode()}
            for file, content in files.items():
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    size = (folder / f"{name}.tar").stat().st_size
    manifest = {
        "format": "sa1b-matte/1",
        "output": {"name": f"{name}.tar", "bytes": size},
        "counts": {"images": len(keys)},
    }
    (folder / f"{name}.done.json").write_text(json.dumps(manifest))


def keys_of(split_held_out: bool, count: int, first: int = 0) -> list[str]:
    named = (f"sa_{n}" for n in range(first, first + 10_000))
    return [k for k in named if held_out(k, ONE_IN) == split_held_out][:count]


@pytest.fixture
def mattes(tmp_path: Path) -> Path:
    """Six shards of two photographs each, and of the first a third one that is held out."""
    for n in range(6):
        kept = keys_of(True, 1) if n == 0 else []
        write_shard(tmp_path / "mattes", f"sa_00000{n}", keys_of(False, 2, 1000 * n) + kept)
    return tmp_path / "mattes"


def test_an_epoch_shows_every_photograph_once(mattes: Path) -> None:
    library, _ = load_shards(mattes, None, 2)
    assert library.photographs == (3, 2, 2, 2, 2, 2)
    source = ShardSource(library, 32, 4, seed=3)
    first, second = ([source.place(n) for n in range(start, start + 13)] for start in (0, 13))
    everything = {(shard, k) for shard, count in enumerate(library.photographs) for k in range(count)}
    assert set(first) == set(second) == everything
    assert first != second
    assert len({shard for shard, _ in first[:8]}) <= 4  # few shards are open at one time


def test_a_step_s_batch_is_always_the_same(mattes: Path) -> None:
    library, _ = load_shards(mattes, None, 2)
    source = ShardSource(library, 32, 4, prompts_per_image=3, seed=3, zoomed=0.5)
    streamed = list(source.batches(2, 5))
    assert len(streamed) == 3
    for field in ("images", "targets", "coords", "labels", "edge", "valid"):
        assert torch.equal(getattr(streamed[1], field), getattr(source.batch(3), field))
    assert streamed[0].targets.shape == (4, 3, 32, 32)
    assert (streamed[0].targets > 0.5).flatten(2).any(2).all()
    assert 0 <= streamed[0].targets.min() <= streamed[0].targets.max() <= 1
    assert not torch.equal(streamed[0].images, streamed[1].images)


def test_processes_share_a_batch(mattes: Path) -> None:
    library, _ = load_shards(mattes, None, 2)
    together = ShardSource(library, 32, 4, seed=3).batch(1)
    parts = [ShardSource(library, 32, 4, seed=3, share=Share(rank, 2)).batch(1) for rank in range(2)]
    for field in ("images", "targets", "coords", "labels"):
        assert torch.equal(torch.cat([getattr(p, field) for p in parts]), getattr(together, field))


def test_what_is_held_out_is_not_trained_on(mattes: Path) -> None:
    library, kept = load_shards(mattes, None, 2)
    assert isinstance(kept, ShardLibrary)
    trained = {k for n in range(6) for k in library.open_shard(n).keys}
    assert len(trained) == 12
    assert set(kept.open_shard(0).keys) == set(keys_of(True, 1))
    assert ShardSource(kept, 32, 3).batch(0).images.isfinite().all()  # the shards that hold none are passed over


def test_shards_without_photographs_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path, "sa_000000", [])
    with pytest.raises(DataError, match="no photograph"):
        load_shards(tmp_path, None, 2)
