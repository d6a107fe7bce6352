import hashlib
import json
from collections import Counter

import numpy as np
import PIL.Image
import pytest

from zim_plugins.data.conversion.matte_folder import convert_folder
from zim_plugins.data.conversion.shard_job import Selection
from zim_plugins.data.faults import DataError
from zim_plugins.data.readers.registry import read_dataset
from zim_plugins.data.sample import read_index
from zim_plugins.imaging.files import temporary_name


@pytest.fixture
def objects(write, tmp_path):
    """Three images in the layout of the click benchmarks, of two masks each."""
    write("rgb", *(f"in/images/0{k}.jpg" for k in range(3)))
    write("mask", *(f"in/masks/{kind}_{n}_0{k}.png" for n, kind in enumerate(("cat", "cup")) for k in range(3)))
    return tmp_path / "in"


def run(root, out, maker, dataset="objects", **options):
    return convert_folder(dataset, root, out, maker, progress=False, **options)


def grey(path) -> np.ndarray:
    image = PIL.Image.open(path)
    assert image.mode == "L"
    return np.asarray(image)


def test_mattes_are_the_converters_own(objects, tmp_path, blur_maker):
    """Beside each mask's name lies what the converter said of it, in 8 bits, at the image's size."""
    out, convert = tmp_path / "out", blur_maker()(0)
    summary, manifest = run(objects, out, blur_maker())
    assert summary.shards == {"done before": 0, "converted": 3}
    assert manifest["counts"]["mattes"] + manifest["counts"]["equal_to_mask"] == 6
    assert manifest["counts"]["mattes"] > 0 and manifest["counts"]["equal_to_mask"] > 0
    masks = sorted((objects / "masks").iterdir())
    assert [p.name for p in sorted((out / "mattes").iterdir())] == [p.name for p in masks]
    for path in masks:
        mask = grey(path) > 128
        (matte,) = convert(None, [mask])
        expected = np.zeros(mask.shape, np.uint8)
        height, width = matte.alpha.shape
        expected[matte.y : matte.y + height, matte.x : matte.x + width] = np.rint(matte.alpha * 255)
        np.testing.assert_array_equal(grey(out / "mattes" / path.name), expected)


def test_manifest_and_index_say_what_was_made_from_what(objects, tmp_path, blur_maker):
    out, converter = tmp_path / "out", {"name": "blur", "sha256": "0" * 64}
    _, manifest = run(objects, out, blur_maker(), converter=converter)
    assert manifest == json.loads((out / "manifest.json").read_text())
    assert manifest["converter"] == converter and manifest["input"]["pictures"] == 3
    assert {"python", "torch", "zim-plugins"} <= manifest["versions"].keys()
    samples = list(read_index(out / "index.jsonl"))
    assert sorted({s.image.resolve() for s in samples}) == sorted((objects / "images").iterdir())
    digest = hashlib.sha256()
    for sample in samples:
        sha256 = hashlib.sha256(sample.alpha.read_bytes()).hexdigest()
        assert sample.extra["sha256"] == sha256
        assert sample.read_alpha().shape == sample.read_image().shape[:2]
        digest.update(f"{sha256}  mattes/{sample.alpha.name}\n".encode())
    assert manifest["output"]["sha256"] == digest.hexdigest()
    assert manifest["output"]["bytes"] == sum(p.stat().st_size for p in (out / "mattes").iterdir())


def test_copied_images_make_a_data_set(objects, tmp_path, blur_maker):
    run(objects, tmp_path / "out", blur_maker(), copy_images=True)
    samples = list(read_dataset("objects", tmp_path / "out", "all", report=pytest.fail))
    assert [s.kind for s in samples] == ["matte"] * 6
    assert samples[0].image.read_bytes() == (objects / "images" / samples[0].image.name).read_bytes()


def test_again_does_nothing_and_what_is_lost_is_made_again(objects, tmp_path, blur_maker, contents):
    out = tmp_path / "out"
    run(objects, out, blur_maker())
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    summary, manifest = run(objects, out, lambda worker: pytest.fail("no converter is needed"))
    assert summary.shards["done before"] == 3 and manifest is not None
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    undisturbed = contents(out)
    (out / "mattes/cat_0_01.png").unlink()
    (out / "done/02.json").unlink()
    temporary_name(out / "mattes/cat_0_02.png").write_bytes(b"what a killed run left")
    assert run(objects, out, blur_maker())[0].shards["converted"] == 2
    assert contents(out) == undisturbed


def test_changed_masks_are_converted_again(objects, tmp_path, blur_maker, write):
    out = tmp_path / "out"
    run(objects, out, blur_maker())
    (objects / "masks/cat_0_01.png").rename(objects / "masks/dog_0_01.png")
    assert run(objects, out, blur_maker())[0].shards == {"done before": 2, "converted": 1}
    names = {p.name for p in (out / "mattes").iterdir()}
    assert "dog_0_01.png" in names and "cat_0_01.png" not in names


def test_processes_give_the_same_bytes(objects, tmp_path, blur_maker, contents, capfd):
    run(objects, tmp_path / "one", blur_maker())
    convert_folder("objects", objects, tmp_path / "two", blur_maker(), workers=2, progress=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    shown = capfd.readouterr().err
    assert "images/s" in shown and "masks/s" in shown and "100%" in shown


def test_other_settings_are_refused(objects, tmp_path, blur_maker, contents):
    run(objects, tmp_path / "out", blur_maker())
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match="another settings"):
        run(objects, tmp_path / "out", blur_maker(), selection=Selection(min_area_px=5))
    with pytest.raises(DataError, match="another converter"):
        run(objects, tmp_path / "out", blur_maker(), converter={"name": "other"})
    assert contents(tmp_path / "out") == before


def test_faults_are_counted_and_passed_over(objects, tmp_path, blur_maker, write, contents):
    (objects / "images/00.jpg").write_bytes((objects / "images/00.jpg").read_bytes()[:300])
    PIL.Image.fromarray(np.zeros((32, 32), np.uint8)).save(objects / "masks/empty_2_01.png")
    write("mask", "in/masks/large_3_01.png", size=40)
    (objects / "masks/bad_4_02.png").write_bytes(b"PNG")
    out = tmp_path / "out"
    _, manifest = run(objects, out, blur_maker())
    kinds = {"unreadable image": 1, "empty mask": 1, "size mismatch": 1, "unreadable mask": 1}
    assert manifest["counts"]["faults"] == kinds
    assert Counter(fault.split(":")[0] for fault in manifest["faults"]) == kinds
    assert sorted(p.name for p in (out / "mattes").iterdir()) == [
        *(f"{kind}_0{k}.png" for kind in ("cat_0", "cup_1") for k in (1, 2))
    ]
    before = contents(out)
    summary, again = run(objects, out, blur_maker())
    assert summary.shards == {"done before": 1, "converted": 2}  # faulty ones are tried again
    assert again["counts"] == manifest["counts"]
    assert contents(out) == before


def test_failing_image_leaves_no_manifest(objects, tmp_path, blur_maker):
    convert = blur_maker()(0)

    def make(worker: int):
        def fragile(image, masks):
            fragile.calls += 1
            if fragile.calls == 2:
                raise RuntimeError("out of memory")
            return convert(image, masks)

        fragile.calls = 0
        return fragile

    summary, manifest = run(objects, tmp_path / "out", make)
    assert summary.failures == ["01: out of memory"] and manifest is None
    assert not (tmp_path / "out/manifest.json").exists() and not (tmp_path / "out/done/01.json").exists()
    assert run(objects, tmp_path / "out", make)[1]["counts"]["images"] == 3


def test_regions_of_label_maps(write, tmp_path, blur_maker):
    """BSDS500: a matte for each region of each annotator, below its split."""
    write("rgb", "train/images/7.jpg", "val/images/8.jpg")
    labels = np.repeat(np.arange(1, 5, dtype=np.uint8), 8)[:, None].repeat(32, 1)
    labels[0, 0] = 9
    for split, name in (("train", "7_0"), ("train", "7_1"), ("val", "8_0")):
        (tmp_path / split / "segments").mkdir(exist_ok=True, parents=True)
        PIL.Image.fromarray(labels).save(tmp_path / split / "segments" / f"{name}.png")
    _, manifest = run(tmp_path, tmp_path / "out", blur_maker(), "bsds500", selection=Selection(min_area_share=0.01))
    assert manifest["splits"] == ["train", "val"]
    assert manifest["counts"]["left_out"] == {"min_area_share": 3}
    names = sorted(p.stem for p in (tmp_path / "out/train/mattes").iterdir())
    assert names == [f"7_{annotator}_{region}" for annotator in (0, 1) for region in (1, 2, 3, 4)]
    assert len(list((tmp_path / "out/val/mattes").iterdir())) == 4
    _, only = run(tmp_path, tmp_path / "val_only", blur_maker(), "bsds500", splits=["val"])
    assert only["counts"]["images"] == 1 and only["counts"]["annotations"] == 5


def test_names_of_coco_objects(write, tmp_path, blur_maker):
    write("rgb", "val2017/000000000001.jpg")
    square = {"image_id": 1, "category_id": 1, "segmentation": {"size": [32, 32], "counts": [100, 20, 904]}}
    content = {
        "images": [{"id": 1, "width": 32, "height": 32, "file_name": "000000000001.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 5, **square}, {"id": 6, **square}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(content))
    run(tmp_path, tmp_path / "out", blur_maker(), "coco")
    names = sorted(p.name for p in (tmp_path / "out/val/mattes").iterdir())
    assert names == ["000000000001_5.png", "000000000001_6.png"]
    samples = list(read_index(tmp_path / "out/index.jsonl"))
    assert [s.extra["category"] for s in samples] == ["cat", "cat"]


def test_data_stay_as_they_are(objects, write, tmp_path, blur_maker):
    with pytest.raises(DataError, match="choose another output folder"):
        run(objects, objects, blur_maker())
    write("rgb", "mattes/images/1.jpg")
    write("matte", "mattes/alphas/1.png")
    with pytest.raises(DataError, match="holds no masks of plain"):
        run(tmp_path / "mattes", tmp_path / "out", blur_maker(), "plain")
    with pytest.raises(DataError, match="not laid out as objects"):
        run(tmp_path, tmp_path / "out", blur_maker())


def test_real_objects_with_an_untrained_network(test_data, tmp_path, untrained_converter):
    """Three photographs with their masks, through the network: mattes of their size beside the masks' names."""
    source = test_data / "segmentation/objects/coco_mval"
    masks = sorted((source / "masks").iterdir())
    stems = list(dict.fromkeys(p.stem.rsplit("_", 1)[1] for p in masks))[:3]
    for kind, paths in (
        ("images", [source / "images" / f"{stem}.jpg" for stem in stems]),
        ("masks", [p for p in masks if p.stem.rsplit("_", 1)[1] in stems]),
    ):
        (tmp_path / "in" / kind).mkdir(parents=True)
        for path in paths:
            (tmp_path / "in" / kind / path.name).write_bytes(path.read_bytes())
    _, manifest = run(tmp_path / "in", tmp_path / "out", untrained_converter)
    assert manifest["counts"]["images"] == 3 and manifest["counts"]["faults"] == {}
    for path in (tmp_path / "in/masks").iterdir():
        mask, alpha = grey(path), grey(tmp_path / "out/mattes" / path.name)
        assert alpha.shape == mask.shape
        assert (alpha[mask > 0] > 0).any()
