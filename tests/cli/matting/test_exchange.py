"""Run lengths, polygons and COCO files, read by pycocotools."""

import json
import sys
import types

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main


@pytest.fixture(autouse=True)
def place(monkeypatch, fake_predictor, tmp_path):
    fake_predictor.name = "soft_disk"
    build = types.ModuleType("zim_plugins.core.load")
    build.load_predictor = lambda name="auto", **options: fake_predictor  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "zim_plugins.core.load", build)
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        PIL.Image.new("RGB", (120, 80), (200, 30, 20)).save(f"{name}.png")


def test_run_lengths_and_polygons_in_records(capsys):
    arguments = ["matte", "a.png", "--box", "20,20,60,60", "--box", "70,20,110,60", "--json", "--outputs", "alpha"]
    assert main([*arguments, "--rle", "--polygons"]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools reads our run lengths")
    union = np.zeros((80, 120), bool)
    for row in record["objects"]:
        mask = coco_mask.decode(row["rle"]).astype(bool)
        x1, y1, x2, y2 = row["box"]
        assert mask[y1:y2, x1:x2].sum() == mask.sum() > 900
        assert len(row["polygons"]) == 1
        union |= mask
    alpha = np.asarray(PIL.Image.open("outputs/a_alpha.png"))
    np.testing.assert_array_equal(union, alpha > 127)


@pytest.mark.parametrize("polygons", [False, True])
def test_a_coco_file_of_a_folder(polygons, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools reads our files")
    with open("bad.png", "wb") as stream:
        stream.write(b"x")
    arguments = ["matte", ".", "--point", "60,40", "--also", "20,20", "--outputs", "alpha", "--coco", "all/coco.json"]
    assert main([*arguments, "--json", *(["--polygons"] if polygons else [])]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not any("coco" in row for row in rows)
    data = coco.COCO("all/coco.json")
    assert sorted(image["file_name"] for image in data.loadImgs(data.getImgIds())) == ["a.png", "b.png"]
    annotations = data.loadAnns(data.getAnnIds())
    assert len(annotations) == 4
    for annotation in annotations:
        assert abs(int(data.annToMask(annotation).sum()) - annotation["area"]) <= 0.05 * annotation["area"]
    assert main([*arguments, "--overwrite"]) == 1
    assert main(arguments) == 2
    assert "is there" in capsys.readouterr().err
