"""Mattes in other tools' formats, read by these tools."""

import json

import numpy as np
import pytest

from tests.conftest import soft_disk
from zim_plugins.core import (
    CocoImage,
    ObjectMatte,
    Prediction,
    coco_annotation,
    coco_dataset,
    labelme_document,
    object_record,
    to_supervision,
)

SIZE = (60, 80)
ALPHAS = [soft_disk(SIZE, (20, 30), 12), soft_disk(SIZE, (60, 25), 9)]


def test_pycocotools_reads_a_folders_annotations(tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    from pycocotools.coco import COCO

    empty = np.zeros(SIZE, np.float32)
    images = [
        CocoImage("a/x.jpg", SIZE, [coco_annotation(a, score=0.5, polygons=i == 1) for i, a in enumerate(ALPHAS)]),
        CocoImage("b/x.jpg", SIZE, [coco_annotation(empty, polygons=True)]),
        CocoImage("c.jpg", (4, 5)),
    ]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco_dataset(images)))
    coco = COCO(path)
    assert [row["file_name"] for row in coco.loadImgs(coco.getImgIds())] == ["a/x.jpg", "b/x.jpg", "c.jpg"]
    first, second, nothing = coco.loadAnns(coco.getAnnIds())
    np.testing.assert_array_equal(coco.annToMask(first).astype(bool), ALPHAS[0] > 0.5)
    assert (coco.annToMask(second).astype(bool) != (ALPHAS[1] > 0.5)).mean() < 0.01
    assert coco.annToMask(nothing).sum() == 0
    assert first["area"] == (ALPHAS[0] > 0.5).sum()
    assert [a["image_id"] for a in (first, second, nothing)] == [1, 1, 2]
    results = coco.loadRes([{k: first[k] for k in ("image_id", "category_id", "segmentation", "score")}])
    assert list(results.loadAnns(1)[0]["bbox"]) == first["bbox"]


def test_a_data_set_refuses_what_would_not_fit():
    with pytest.raises(ValueError, match="category_id is 1 to 1, got 2"):
        coco_dataset([CocoImage("a.jpg", SIZE, [coco_annotation(ALPHAS[0], category_id=2)])])
    with pytest.raises(ValueError, match=r"a.jpg is \[4, 4\]"):
        coco_dataset([CocoImage("a.jpg", (4, 4), [coco_annotation(ALPHAS[0])])])
    with pytest.raises(ValueError, match="threshold"):
        coco_annotation(ALPHAS[0], threshold=1.0)


def test_predictions_and_objects_say_the_same():
    prediction = Prediction(np.stack(ALPHAS), np.array([0.3, 0.8], np.float32))
    expected = coco_annotation(ALPHAS[1], score=prediction.score, image_id=7)
    assert prediction.to_coco(image_id=7) == expected
    found = ObjectMatte(ALPHAS[1][10:50, 40:], (40, 10, 80, 50), SIZE, prediction.score, 1.0, (60.0, 25.0))
    assert found.to_coco(image_id=7) == expected


def test_a_record_holds_what_was_asked_for():
    record = object_record(ALPHAS[0], score=0.25)
    assert set(record) == {"box", "area_px", "score"}
    assert record["box"] == [8, 18, 32, 42]
    full = object_record(ALPHAS[0], rle=True, polygons=True)
    assert set(full) == {"box", "area_px", "rle", "polygons"}
    assert json.loads(json.dumps(full)) == full


def test_supervision_takes_mattes():
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    found = to_supervision(ALPHAS, [0.5, 0.75])
    assert isinstance(found, sv.Detections)
    np.testing.assert_array_equal(found.mask, np.stack(ALPHAS) > 0.5)
    np.testing.assert_array_equal(
        found.xyxy, sv.mask_to_xyxy(found.mask) + np.array([0, 0, 1, 1])
    )  # its far edge is inclusive
    assert len(to_supervision([], [])) == 0
    assert len(Prediction(np.stack(ALPHAS), np.ones(2, np.float32)).to_supervision()) == 1
    with pytest.raises(ValueError, match="2 mattes do not match 1 scores"):
        to_supervision(ALPHAS, [0.5])


def test_labelme_gets_polygons_that_draw_the_mask():
    from PIL import Image, ImageDraw

    document = json.loads(json.dumps(labelme_document("x.jpg", SIZE, ALPHAS, labels=["cat", "dog"])))
    assert [(s["label"], s["group_id"]) for s in document["shapes"]] == [("cat", 0), ("dog", 1)]
    assert (document["imageHeight"], document["imageWidth"], document["imagePath"]) == (*SIZE, "x.jpg")
    for shape, alpha in zip(document["shapes"], ALPHAS, strict=True):
        canvas = Image.new("1", SIZE[::-1])  # as labelme's own shape_to_mask draws
        ImageDraw.Draw(canvas).polygon(xy=[tuple(p) for p in shape["points"]], outline=1, fill=1)
        mask = alpha > 0.5
        drawn = np.asarray(canvas)
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.85
    with pytest.raises(ValueError, match="1 labels do not match 2 mattes"):
        labelme_document("x.jpg", SIZE, ALPHAS, labels=["cat"])
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        labelme_document("x.jpg", (4, 4), ALPHAS)
