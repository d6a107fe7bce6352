import json

import numpy as np
import pytest

from zim_plugins.data.faults import DataError
from zim_plugins.data.rle import Rle, rle_of_polygons


def some_masks(rng) -> list[np.ndarray]:
    masks = [np.zeros((5, 7), bool), np.ones((5, 7), bool), np.ones((1, 1), bool), np.zeros((1, 1), bool)]
    masks += [rng.random(size) < p for size, p in (((1, 13), 0.5), ((9, 1), 0.2), ((40, 30), 0.9), ((3, 300), 0.02))]
    large = np.zeros((700, 900), bool)
    large[10:650, 3:880] = True
    large[300:310, 300:320] = False
    return [*masks, large]


def test_round_trip(rng):
    for mask in some_masks(rng):
        assert (Rle.from_mask(mask).decode() == mask).all()
        assert Rle.from_mask(mask).area == mask.sum()


def test_text_is_pycocotools_own(rng):
    coco_mask = pytest.importorskip("pycocotools.mask")
    for mask in some_masks(rng):
        theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert Rle.from_mask(mask).counts == theirs
        assert (Rle(mask.shape, theirs).decode() == mask).all()


def test_real_sa1b_annotation(test_data):
    document = json.loads((test_data / "sa1b_format/real_rle/sa_3032002_one_annotation.json").read_text())
    row = document["annotations"][0]
    mask = Rle.from_json(row["segmentation"]).decode()
    assert mask.shape == (1500, 2000)
    assert mask.sum() == row["area"] == 2381
    ys, xs = np.nonzero(mask)
    assert [xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)] == row["bbox"]
    assert Rle.from_mask(mask).counts == row["segmentation"]["counts"]


def test_real_masklets(test_data):
    """SA-V's own RLE: decoded and encoded again to the same text."""
    document = json.loads((test_data / "sa1b_format/real_rle/sav_000001_manual.json").read_text())
    seen = 0
    for frame in document["masklet"][::10]:
        for segmentation in frame:
            if segmentation is not None:
                rle = Rle.from_json(segmentation)
                assert Rle.from_mask(rle.decode()).counts == segmentation["counts"]
                seen += 1
    assert seen > 40


def test_damaged_text_never_decodes_wrongly(rng):
    """Whatever is done to the text: it raises, or gives a mask of the right size."""
    mask = some_masks(rng)[6]
    text = Rle.from_mask(mask).counts
    refused = 0
    for _ in range(300):
        letters = list(text)
        for _ in range(int(rng.integers(1, 4))):
            letters[rng.integers(len(letters))] = chr(rng.integers(32, 127))
        try:
            assert Rle(mask.shape, "".join(letters)).decode().shape == mask.shape
        except DataError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("counts", ["", "hello", "0" * 1000, "P" * 50, "~", "\x7f", "é", "oooooooooooooo0"])
def test_no_run_length_text(counts):
    with pytest.raises(DataError, match="broken RLE"):
        Rle((30, 40), counts).decode()


@pytest.mark.parametrize(
    "segmentation",
    [
        *(None, [], {"counts": "0"}, {"size": [5], "counts": "0"}, {"size": [-1, 5], "counts": "0"}, {"size": [2, 2]}),
        *({"size": [2, 2], "counts": [1, 2]}, {"size": [2, 2], "counts": [5, -1]}),
        {"size": [10**6, 10**6], "counts": "0"},
    ],
)
def test_no_mask(segmentation):
    with pytest.raises(DataError):
        Rle.from_json(segmentation)


def test_list_of_runs():
    mask = Rle.from_json({"size": [2, 3], "counts": [1, 2, 3]}).decode()
    assert mask.tolist() == [[False, True, False], [True, False, False]]


def test_polygons():
    pytest.importorskip("pycocotools")
    mask = rle_of_polygons([[2, 1, 8, 1, 8, 5, 2, 5]], (10, 12)).decode()
    assert mask[1:5, 2:8].all() and mask.sum() == 24
    with pytest.raises(DataError, match="three corners"):
        rle_of_polygons([[1, 2, 3, 4]], (10, 12))
