"""Propagation: it follows what moves, stops where it drifts, and its naive rival stands beside it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from medical.protocol.models import PromptedModel
from medical.protocol.propagation import choose_keys, copy_keys, drift, propagate
from medical.report.aggregate import beside_the_copy, summary_lines
from medical.run import run
from tests.conftest import FakePredictor
from tests.medical.test_tables import row
from tests.medical.whole_runs import config_of


def tube(slices: int = 12, shift: float = 1.0, radius: float = 6.0, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A tube (s, h, w) that moves along x by `shift` px per slice."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    return np.stack([np.hypot(xs - 12 - shift * i, ys - 20) < radius for i in range(slices)])


def ask_of(volume: np.ndarray):
    """A model that answers with the object inside the box grown by 3 px."""

    def ask(number: int, box: tuple[int, int, int, int]) -> np.ndarray:
        x1, y1, x2, y2 = box
        mask = np.zeros(volume.shape[1:], bool)
        view = slice(max(0, y1 - 3), y2 + 4), slice(max(0, x1 - 3), x2 + 4)
        mask[view] = volume[number][view]
        return mask

    return ask


def test_it_follows_what_moves_where_a_copy_cannot() -> None:
    volume = tube()
    found = propagate(ask_of(volume), {2: volume[2]}, len(volume))
    assert not found.ends and all(np.array_equal(found.masks[i], volume[i]) for i in range(12))
    copied = copy_keys({2: volume[2]}, np.arange(12))
    assert sum(np.count_nonzero(copied[i] & volume[i]) for i in copied) < 0.7 * volume.sum()


def test_it_stops_where_the_mask_drifts_and_says_where() -> None:
    volume = tube(shift=0.0)
    volume[8:] = True  # runs out into everything
    volume[3] = False
    found = propagate(ask_of(volume), {5: volume[5]}, len(volume))
    assert sorted(found.masks) == [4, 5, 6, 7]
    assert found.ends[0] == "from slice 5 down: slice 3 shows nothing where its neighbour's mask was"
    assert found.ends[1].startswith("from slice 5 up: slice 8 would be ")
    assert sorted(propagate(ask_of(volume), {5: volume[5]}, len(volume), reach=1).masks) == [4, 5, 6]


def test_slow_growth_is_bounded_by_the_key_slice() -> None:
    volume = np.stack([tube(1, radius=6 * 1.2**i, size=(90, 140))[0] for i in range(8)])
    found = propagate(ask_of(volume), {0: volume[0]}, 8)
    assert max(found.masks) == 3 and "as large as its key slice" in found.ends[0], "1.2 ** 8 = 4.3 times"
    assert max(propagate(ask_of(volume), {0: volume[0]}, 8, max_growth=50).masks) > 3


def test_a_second_key_slice_reaches_what_the_first_lost() -> None:
    volume = tube(shift=0.0)
    volume[6] = False
    one = propagate(ask_of(volume), {2: volume[2]}, 12)
    two = propagate(ask_of(volume), {2: volume[2], 9: volume[9]}, 12)
    assert sorted(one.masks) == [0, 1, 2, 3, 4, 5] and sorted(two.masks) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    nothing = propagate(ask_of(volume), {6: volume[6]}, 12)
    assert not nothing.masks and not nothing.ends


def test_between_two_key_slices_the_other_takes_over_where_the_nearer_is_lost() -> None:
    volume = tube(shift=0.0)
    broken = ask_of(volume)

    def ask(number: int, box: tuple[int, int, int, int]) -> np.ndarray:
        empty = number == 7 and np.array_equal(volume[0], volume[number]) and box[0] > 8
        return np.zeros(volume.shape[1:], bool) if empty else broken(number, box)

    moved = np.roll(volume[8], 3, axis=1)
    found = propagate(ask, {1: volume[1], 8: moved}, 12)
    assert {5, 6, 7} <= set(found.masks) and any("slice 7" in end for end in found.ends)


def test_drift_just_inside_and_just_outside() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    assert drift(mask, np.roll(mask, 5, axis=1), 100) == "" and "40%" in drift(mask, np.roll(mask, 6, axis=1), 100)
    wide = np.zeros((20, 40), bool)
    wide[5:15, 5:15] = True
    larger = wide.copy()
    larger[5:15, 5:30] = True
    assert drift(wide, larger, 100) == "" and drift(larger, wide, 100) == "", "ends may shrink"
    larger[4, 5] = True
    assert drift(wide, larger, 100) == "would be 2.5 times as large as its neighbour"
    assert "its key slice" in drift(larger, larger, 62) and drift(larger, larger, 63) == "", "251 px"
    assert choose_keys(np.array([0, 1, 9, 1, 1, 1]), 3) == [1, 3, 5] and choose_keys(np.array([0, 3]), 5) == [1]


@pytest.mark.parametrize("keys", [1, 2])
def test_the_copy_stands_beside_it_in_every_report(keys: int, tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    pytest.importorskip("scipy")
    volume = tube(10, shift=0.0)
    for name, array in (("images", 40 + 100 * volume), ("masks", volume)):
        (tmp_path / "set" / name).mkdir(parents=True)
        array = array.transpose(2, 1, 0).astype(np.int16)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "set" / name / "a.nii.gz")
    config = config_of(tmp_path / "set", tmp_path / "out", prompts=("mode5",))
    trial = dataclasses.replace(config.trial, volumes="propagated", key_slices=keys)
    run(dataclasses.replace(config, trial=trial), [PromptedModel(FakePredictor(9.0), name="fake")])
    part = json.loads((tmp_path / "out/rows/plain/case_0001.json").read_text())
    rows = {r["prompt"]: r for r in part["rows"]}
    assert set(rows) == {"mode5+propagated", "mode5+copied"}
    assert rows["mode5+copied"]["n_pred"] % 10 == 0 and isinstance(part["drifts"], list)
    assert (tmp_path / "out/volumes/plain/case_0001/fake_mode5_copied.nii.gz").exists()


def test_the_report_says_where_propagation_is_below_the_copy() -> None:
    given = {"mode5+propagated": 0.56, "mode5+copied": 0.79, "mode1+propagated": 0.9}
    rows = [
        row(iou, level="volume", frame=-1, prompt=prompt, patient=f"p{i}", case=f"c{i}")
        for i in range(2) for prompt, iou in given.items()
    ]  # fmt: skip
    (said,) = beside_the_copy(summary_lines(rows))
    assert "propagation 0.718, BELOW the copy of its own key slices 0.883" in said and "n = 2 patients" in said
