"""Plain folders: pairs by stem, faults told."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.evaluation.folders import list_folders
from zim_plugins.core import ImageError


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path: Path, rng: np.random.Generator) -> Path:
    for stem in ("a", "b"):
        save(tmp_path / "image" / f"{stem}.jpg", rng.integers(0, 255, (20, 30, 3)).astype(np.uint8))
        save(tmp_path / "mask" / f"{stem}.png", rng.integers(0, 255, (20, 30)).astype(np.uint8))
    save(tmp_path / "clean" / "a.png", rng.integers(0, 255, (20, 30, 3)).astype(np.uint8))
    return tmp_path


def test_cases_are_paired_by_stem_and_clean_images_are_optional(root: Path) -> None:
    faults: list[tuple[str, str, str]] = []
    listed = list_folders(root, lambda *fault: faults.append(fault))
    assert [case.key for case in listed] == ["a", "b"] and not faults
    first, second = (case.read() for case in listed)
    assert first.clean is not None and first.clean.shape == (20, 30, 3)
    assert second.clean is None
    assert first.foreground is None and first.alpha.max() <= 1


def test_what_has_no_partner_is_told(root: Path) -> None:
    (root / "mask" / "b.png").unlink()
    save(root / "clean" / "z.png", np.zeros((20, 30, 3), np.uint8))
    faults: list[tuple[str, str, str]] = []
    assert [case.key for case in list_folders(root, lambda *fault: faults.append(fault))] == ["a"]
    assert [kind for kind, _, _ in faults] == ["unpaired", "unpaired"]
    assert "no mask" in faults[0][2] and "clean image has no image" in faults[1][2]


@pytest.mark.parametrize("which", ["mask", "clean"])
def test_another_size_is_refused_when_read(root: Path, which: str) -> None:
    save(root / which / "a.png", np.zeros((20, 31, 3), np.uint8))
    with pytest.raises(ValueError, match=r"\(20, 31\)"):
        list_folders(root, lambda *fault: None)[0].read()


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no folder image/"):
        list_folders(tmp_path, lambda *fault: None)
