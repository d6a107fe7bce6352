import json
from pathlib import Path

import numpy as np
import pytest

from zim_plugins.data.faults import DataError
from zim_plugins.data.rle import Rle
from zim_plugins.data.sample import Sample, read_index, write_index
from zim_plugins.errors import ImageError


def test_round_trip(tmp_path, write):
    write("rgb", "a/1.png")
    write("matte", "a/1_alpha.png")
    mask = np.eye(32, dtype=bool)
    samples = [
        Sample(tmp_path / "a/1.png", "plain", "all", alpha=tmp_path / "a/1_alpha.png", licence="CC0", extra={"k": [1]}),
        Sample(tmp_path / "a/1.png", "plain", "all", mask=Rle.from_mask(mask), subset="x"),
        Sample(Path("/elsewhere/b.tar"), "sa1b", "train", image_bytes=(512, 99)),
    ]
    assert write_index(tmp_path / "index.jsonl", iter(samples)) == 3
    assert list(read_index(tmp_path / "index.jsonl")) == samples
    first = json.loads((tmp_path / "index.jsonl").read_text().splitlines()[0])
    assert first["image"] == "a/1.png"  # the folder may move
    (tmp_path / "moved").mkdir()
    (tmp_path / "a").rename(tmp_path / "moved" / "a")
    (tmp_path / "index.jsonl").rename(tmp_path / "moved" / "index.jsonl")
    matte, masked, _ = read_index(tmp_path / "moved" / "index.jsonl")
    assert (matte.kind, masked.kind) == ("matte", "mask")
    assert matte.read_image().shape == (32, 32, 3)
    assert matte.read_alpha().max() == 1
    assert (masked.read_alpha() == mask).all()


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    sample = Sample(tmp_path / "absent.jpg", "plain", "all")
    with pytest.raises(ImageError, match="does not exist"):
        sample.read_image()
    with pytest.raises(DataError, match="background"):
        sample.read_alpha()


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"image": "a"}', '{"image": "a", "dataset": "x", "split": "y", "colour": 1}']
)
def test_bad_line_is_named(tmp_path, line):
    (tmp_path / "index.jsonl").write_text('{"image": "a", "dataset": "x", "split": "y"}\n' + line + "\n")
    with pytest.raises(DataError, match="line 2"):
        list(read_index(tmp_path / "index.jsonl"))


def test_index_is_whole_or_not_there(tmp_path):
    def failing():
        yield Sample(tmp_path / "a.jpg", "plain", "all")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_index(tmp_path / "index.jsonl", failing())
    assert list(tmp_path.iterdir()) == []
