"""Images grouped with their objects, under names that last."""

import numpy as np
import PIL.Image
import pytest

from zim_plugins.data.faults import DataError
from zim_plugins.evaluation.matting.datasets import dataset_names, default_split, find_trimap, load_evaluation_set


def save(path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


def test_objects_of_one_image_are_asked_together(micromat) -> None:
    found = load_evaluation_set("micromat3k", micromat)
    assert found.split == "test"
    assert [p.key for p in found.images] == ["img/0001.png", "img/0002.png"]
    assert [p.object_keys for p in found.images] == [
        ("matte/fine/0001_0", "matte/coarse/0001_1"),
        ("matte/fine/0002_2",),
    ]
    assert len({p.slug for p in found.images}) == 2
    assert len(found.images[0].files) == 3
    assert [p.key for p in load_evaluation_set("micromat3k", micromat, every=2).images] == ["img/0001.png"]


@pytest.mark.parametrize("folders", [("image", "alpha"), ("input_training_lowres", "gt_training_lowres")])
def test_alphamatting(tmp_path, folders) -> None:
    save(tmp_path / folders[0] / "GT01.png", np.zeros((8, 9, 3), np.uint8))
    save(tmp_path / folders[1] / "GT01.png", np.full((8, 9, 3), 90, np.uint8))
    found = load_evaluation_set("alphamatting", tmp_path)
    assert found.images[0].object_keys == (f"{folders[1]}/GT01",)
    assert found.images[0].samples[0].dataset == "alphamatting"


def test_masks_have_names_of_their_own(tmp_path) -> None:
    save(tmp_path / "images/a.png", np.zeros((8, 9, 3), np.uint8))
    for name in ("cat_a", "dog_a"):
        save(tmp_path / f"masks/{name}.png", np.full((8, 9), 255, np.uint8))
    found = load_evaluation_set("objects", tmp_path)
    assert len(set(found.images[0].object_keys)) == 2


def test_a_change_of_the_files_shows_in_the_fingerprint(disks) -> None:
    before = load_evaluation_set("plain", disks).fingerprint()
    assert load_evaluation_set("plain", disks).fingerprint() == before
    (disks / "alphas/p2.png").write_bytes(b"changed")
    assert load_evaluation_set("plain", disks).fingerprint() != before


def test_faults_are_kept(disks) -> None:
    (disks / "images/p1.png").unlink()
    found = load_evaluation_set("plain", disks)
    assert [f.kind for f in found.faults.faults] == ["unpaired"]
    assert len(found.images) == 3


def test_splits(disks) -> None:
    assert {"micromat3k", "am2k", "aim500", "p3m10k", "alphamatting", "plain"} <= set(dataset_names())
    assert default_split("am2k") == "val"
    for name, split in (("nothing", None), ("refmatte", None), ("alphamatting", "test")):
        with pytest.raises(DataError):
            load_evaluation_set(name, disks, split)


def test_trimaps_are_named_as_mattes_are(disks) -> None:
    save(disks / "trimaps/p2.png", np.full((8, 9), 128, np.uint8))
    images = load_evaluation_set("plain", disks).images
    assert find_trimap(disks / "trimaps", images[2].samples[0]) == disks / "trimaps/p2.png"
    assert find_trimap(disks / "trimaps", images[1].samples[0]) is None
