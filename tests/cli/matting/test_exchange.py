"""Ways out of `zim matte`: run lengths, polygons, COCO files read by pycocotools, labelme's JSON, all objects."""

import functools
import io
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main
from zim_plugins.core import automatic


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


def labelme_loader():
    """labelme's own reader of its documents."""
    return pytest.importorskip("labelme.label_file", reason="labelme reads our files", exc_type=ImportError).LabelFile


def check_labelme(path: str, image: str, size: tuple[int, int], label: str) -> list[dict]:
    """Hold a document against what labelme's loader asks of one, and return its shapes."""
    document = json.loads(Path(path).read_text())
    assert {"version", "imageData", "imagePath", "shapes", "flags", "imageHeight", "imageWidth"} == set(document)
    assert (document["imageHeight"], document["imageWidth"]) == size
    # labelme joins the document's folder and imagePath where there is no imageData.
    assert os.path.samefile(os.path.join(os.path.dirname(path), document["imagePath"]), image)
    for shape in document["shapes"]:
        assert shape["shape_type"] == "polygon" and len(shape["points"]) >= 3 and shape["label"] == label
    return document["shapes"]


def test_labelme_documents_name_their_images(capsys):
    Path("in/deep").mkdir(parents=True)
    os.rename("a.png", "in/deep/ä b.png")
    arguments = ["matte", "in", "b.png", "--box", "20,20,60,60", "--also", "70,20,110,60", "--outputs", "labelme"]
    assert main([*arguments, "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        record = json.loads(line)
        (written,) = record["files"].values()
        shapes = check_labelme(written, record["image"], (80, 120), "object")
        assert [shape["group_id"] for shape in shapes] == [0, 1]
        for shape, x in zip(shapes, (40, 90), strict=True):
            np.testing.assert_allclose(np.mean(shape["points"], axis=0), (x, 40), atol=1)
    assert main([*arguments, "--no-overwrite", "--json"]) == 0
    assert all(json.loads(line)["skipped"] for line in capsys.readouterr().out.splitlines())


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_labelme_itself_reads_them():
    assert main(["matte", "a.png", "--box", "20,20,60,60", "--outputs", "labelme,alpha", "-o", "far/away"]) == 0
    file = labelme_loader()("far/away/a_labelme.json")
    assert file.imageData is not None and len(file.shapes) == 1


@pytest.mark.parametrize("more", [[], ["--outputs", "labelme"]])
def test_one_labelme_document_has_a_file_of_its_own(more):
    assert main(["matte", "a.png", "--box", "20,20,60,60", "-o", "far/x.json", *more]) == 0
    assert len(check_labelme("far/x.json", "a.png", (80, 120), "object")) == 1


@pytest.mark.parametrize("arguments", [["x.png", "labelme"], ["x.json", "alpha"], ["x.json", "labelme,alpha"]])
def test_no_image_is_called_json_and_no_json_an_image(arguments, capsys):
    out, outputs = arguments
    assert main(["matte", "a.png", "--box", "20,20,60,60", "-o", out, "--outputs", outputs]) == 2
    assert out in capsys.readouterr().err
    assert not Path(out).exists()


def test_labelme_shows_first_pages_alone(capsys):
    first, *others = [PIL.Image.new("RGB", (120, 80), (200, number, 20)) for number in range(3)]
    first.save("pages.tif", save_all=True, append_images=others)
    assert (
        main(["matte", "pages.tif", "--frames", "0,2", "--box", "20,20,60,60", "--outputs", "labelme", "--json"]) == 0
    )
    notes = [json.loads(line)["notes"] for line in capsys.readouterr().out.splitlines()]
    assert [any("knows no pages" in note for note in one) for one in notes] == [False, True]


def test_labelme_knows_no_standard_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(Path("a.png").read_bytes())))
    assert main(["matte", "-", "--box", "20,20,60,60", "--outputs", "alpha,labelme"]) == 1
    assert "standard input has none" in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_all_objects(monkeypatch, capsys):
    """Names, records and outlines of --all; the fake finds a disk wherever it is asked."""
    monkeypatch.setattr(automatic, "EverythingConfig", functools.partial(automatic.EverythingConfig, points_per_side=6))
    arguments = ["matte", "a.png", "--all", "--json", "--outputs", "alpha,rgba,overlay,trimap,labelme"]
    assert main([*arguments, "--polygons", "--coco", "coco.json"]) == 0
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert record["prompt"] == "all" and len(record["objects"]) > 3
    assert all({"box", "score", "polygons"} <= set(one) for one in record["objects"])
    assert set(record["files"]) == {"alpha", "rgba", "overlay", "trimap", "labelme"}
    shapes = check_labelme(record["files"]["labelme"], "a.png", (80, 120), "object")
    assert len({shape["group_id"] for shape in shapes}) == len(record["objects"])
    assert len(json.loads(Path("coco.json").read_text())["annotations"]) == len(record["objects"])
    alpha = np.asarray(PIL.Image.open("outputs/a_alpha.png"))
    x1, y1, x2, y2 = record["objects"][0]["box"]
    assert alpha[(y1 + y2) // 2, (x1 + x2) // 2] == 255
    assert main([*arguments, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"]


def test_mattes_united_in_their_crops_are_those_of_the_whole_image(rng):
    from zim_plugins.cli.matting.whole import WholeMattes, unite_cropped
    from zim_plugins.core.automatic import ObjectMatte
    from zim_plugins.core.prediction import unite

    boxes = [(0, 0, 9, 7), (3, 2, 12, 10), (5, 5, 6, 6)]
    mattes = [rng.random((y2 - y1, x2 - x1)).astype(np.float32) for x1, y1, x2, y2 in boxes]
    objects = [ObjectMatte(m, box, (10, 12), 0.9, 1.0, (1, 1)) for m, box in zip(mattes, boxes, strict=True)]
    whole = unite([*WholeMattes(objects)])
    np.testing.assert_allclose(unite_cropped(objects, (10, 12)), whole, atol=1e-6)
    assert not unite_cropped([], (3, 4)).any()
