"""Objects of COCO: the largest that is whole and of fitting size, with its category."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.evaluation.coco import list_coco
from zim_plugins.data.faults import DataError


def no_fault(kind: str, where: str, message: str) -> None:
    raise AssertionError(f"{kind}: {where}: {message}")


def rectangle(x1: int, y1: int, x2: int, y2: int) -> list[list[int]]:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    pytest.importorskip("pycocotools")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    images = []
    for k in (1, 2, 3):
        name = f"{k:012d}.jpg"
        PIL.Image.new("RGB", (100, 80), (90, 120, 60)).save(tmp_path / "val2017" / name)
        images.append({"id": k, "file_name": name, "width": 100, "height": 80})
    shapes = [
        (1, 1, rectangle(20, 20, 40, 40)),  # 5 %
        (1, 2, rectangle(50, 20, 90, 50)),  # 15 %: the largest that fits
        (1, 1, rectangle(0, 0, 50, 40)),  # cut off by the edge
        (2, 1, rectangle(5, 5, 95, 75)),  # 79 %: too large
        (3, 2, rectangle(40, 40, 42, 42)),  # 0.05 %: too small
    ]
    annotations = [
        {"id": k, "image_id": i, "category_id": c, "iscrowd": 0, "segmentation": s}
        for k, (i, c, s) in enumerate(shapes, 1)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "potted plant"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return tmp_path


def test_the_largest_whole_object_of_each_image_is_taken(coco: Path) -> None:
    (listed,) = list_coco(coco, no_fault)
    assert (listed.key, listed.category) == ("000000000001-2", "potted plant")
    case = listed.read()
    assert case.clean is None
    ys, xs = np.nonzero(case.alpha)
    assert (xs.min(), ys.min()) == (50, 20) and abs(case.alpha.sum() - 1200) < 80
    assert set(np.unique(case.alpha)) == {0, 1}


def test_a_click_set_is_read_with_the_category_of_the_file_name(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    PIL.Image.new("RGB", (60, 50)).save(tmp_path / "images" / "000000000007.jpg")
    mask = np.zeros((50, 60), np.uint8)
    mask[10:30, 20:40] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "masks" / "fire_hydrant_03_000000000007.png")
    (listed,) = list_coco(tmp_path, no_fault)
    assert listed.category == "fire hydrant"
    assert np.array_equal(listed.read().alpha > 0, mask > 0)


def test_a_folder_of_neither_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not laid out as coco"):
        list_coco(tmp_path, no_fault)


def test_the_real_click_set(test_data: Path) -> None:
    listed = list_coco(test_data / "segmentation/objects/coco_mval", no_fault, every=40)
    assert len(listed) >= 4
    case = listed[0].read()
    assert 0.01 <= case.alpha.mean() <= 0.3 and listed[0].category
