"""Every layout on a small copy of itself, and on real folders where they are at hand."""

import itertools
import json

import numpy as np
import PIL.Image
import pytest

from zim_plugins.data.faults import DataError, FaultLog
from zim_plugins.data.readers.registry import DATASETS, read_dataset


def read(name, root, split) -> list:
    """All samples of a folder in which nothing is wrong."""
    faults = FaultLog()
    samples = list(read_dataset(name, root, split, report=faults))
    assert faults.faults == []
    for sample in samples:
        assert (sample.dataset, sample.split) == (name, split)
        size = sample.read_image().shape[:2]
        if sample.kind != "background":
            assert sample.read_alpha().shape == size
    return samples


def names(samples) -> list:
    return [(s.image.name, None if s.alpha is None else s.alpha.name, s.subset) for s in samples]


def test_am2k(write, tmp_path):
    write("rgb", "train/original/m_1.jpg", "train/fg/m_1.png", "train/bg/m_1.jpg", "validation/original/m_2.jpg")
    write("matte", "train/mask/m_1.png", "validation/mask/m_2.png", "validation/trimap/m_2.png")
    (sample,) = read("am2k", tmp_path, "train")
    assert sample.foreground == tmp_path / "train/fg/m_1.png"
    assert sample.background == tmp_path / "train/bg/m_1.jpg"
    assert "MIT" in sample.licence
    assert names(read("am2k", tmp_path, "val")) == [("m_2.jpg", "m_2.png", "")]


def test_folder_above_the_root(write, tmp_path):
    write("rgb", "AIM-500/original/o_1.jpg", "AIM-500/original/o_2.jpg")
    write("matte", "AIM-500/mask/o_1.png", "AIM-500/mask/o_2.png", "AIM-500/trimap/o_1.png")
    assert read("aim500", tmp_path, "test") == read("aim500", tmp_path / "AIM-500", "test")
    assert len(read("aim500", tmp_path, "test")) == 2


def test_p3m10k(write, tmp_path):
    p, non_p = "validation/P3M-500-P/", "validation/P3M-500-NP/"
    write("rgb", "train/blurred_image/p_1.jpg", p + "blurred_image/p_2.jpg", non_p + "original_image/p_3.jpg")
    write("matte", "train/mask/p_1.png", p + "mask/p_2.png", non_p + "mask/p_3.png", non_p + "trimap/p_3.png")
    assert names(read("p3m10k", tmp_path, "train")) == [("p_1.jpg", "p_1.png", "")]
    found = names(read("p3m10k", tmp_path, "val"))
    assert found == [("p_2.jpg", "p_2.png", "P3M-500-P"), ("p_3.jpg", "p_3.png", "P3M-500-NP")]


def test_rwp636(write, tmp_path):
    write("rgb", "RealWorldPortrait-636/image/7.jpg")
    write("matte", "RealWorldPortrait-636/alpha/7.png", "RealWorldPortrait-636/detailmap/7_cloud_trimap.jpg")
    assert names(read("rwp636", tmp_path, "test")) == [("7.jpg", "7.png", "")]


def test_him2k(write, tmp_path):
    write("rgb", "images/natural/x.jpg", "images/comp/y.jpg")
    write("matte", "alphas/natural/x/00.png", "alphas/natural/x/01.png", "alphas/comp/y/00.png")
    found = names(read("him2k", tmp_path, "test"))
    assert found == [("x.jpg", "00.png", "natural"), ("x.jpg", "01.png", "natural"), ("y.jpg", "00.png", "comp")]


def test_refmatte(write, tmp_path):
    write("rgb", "RefMatte/train/img/c_1.jpg", "RefMatte_RW_100/image/p_9.jpg")
    write("matte", "RefMatte/train/mask/c_1_0.png", "RefMatte/train/mask/c_1_1.png", "RefMatte_RW_100/mask/p_9.png")
    found = names(read("refmatte", tmp_path, "train"))
    assert found == [("c_1.jpg", "c_1_0.png", ""), ("c_1.jpg", "c_1_1.png", "")]
    assert names(read("refmatte", tmp_path, "test")) == [("p_9.jpg", "p_9.png", "RW100")]


@pytest.mark.parametrize("folder", ["Train", "Train_ori"])
def test_distinctions646(write, tmp_path, folder):
    write("rgb", f"{folder}/FG/a.png")
    write("matte", f"{folder}/GT/a.png")
    (sample,) = read("distinctions646", tmp_path, "train")
    assert sample.image == sample.foreground == tmp_path / folder / "FG/a.png"


def test_composition1k_as_published(write, tmp_path):
    for part in ("Training_set/Adobe-licensed images", "Training_set/Other", "Test_set/Adobe-licensed images"):
        write("rgb", f"Combined_Dataset/{part}/fg/dog.jpg")
        write("matte", f"Combined_Dataset/{part}/alpha/dog.jpg", f"Combined_Dataset/{part}/trimaps/dog_0.png")
    found = names(read("composition1k", tmp_path, "train"))
    assert found == [("dog.jpg", "dog.jpg", "Adobe-licensed images"), ("dog.jpg", "dog.jpg", "Other")]
    (sample,) = read("composition1k", tmp_path, "test")
    assert sample.foreground == sample.image


def test_composition1k_composited(write, tmp_path):
    """1000 test images: 50 foregrounds over 20 backgrounds share their mattes."""
    write("rgb", "Test_set/merged/dog_0.png", "Test_set/merged/dog_1.png", "Test_set/fg/dog.png")
    write("matte", "Test_set/alpha/dog.png")
    samples = read("composition1k", tmp_path, "test")
    assert names(samples) == [("dog_0.png", "dog.png", ""), ("dog_1.png", "dog.png", "")]
    assert {s.foreground for s in samples} == {tmp_path / "Test_set/fg/dog.png"}


def test_bg20k(write, tmp_path):
    write("rgb", "BG-20k/train/h_1.jpg", "BG-20k/testval/h_2.jpg")
    (sample,) = read("bg20k", tmp_path, "train")
    assert sample.kind == "background"
    assert len(read("bg20k", tmp_path, "test")) == 1


class TestMicroMat:
    def files(self, write, tmp_path, prompts: str, segmentations: str) -> None:
        write("rgb", "img/0017.png")
        for subset in ("fine", "coarse"):
            write("matte", f"matte/{subset}/0017_3.png")
            write("mask", f"{segmentations}/{subset}/0017_3.png")
            path = tmp_path / prompts / subset / "0017_3.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"point": [[3, 4, 1], [9, 9, 0], [-1, -1, -1]], "bbox": [1, 2, 20, 30]}')

    def check(self, samples) -> None:
        assert names(samples) == [("0017.png", "0017_3.png", "fine"), ("0017.png", "0017_3.png", "coarse")]
        for sample in samples:
            assert sample.extra["points"] == [[3, 4, 1], [9, 9, 0]]
            assert sample.extra["box"] == [1, 2, 20, 30]
            assert sample.extra["segmentation"].endswith("0017_3.png")

    @pytest.mark.parametrize("swapped", [False, True])
    def test_listed(self, write, tmp_path, swapped):
        prompts, segmentations = ("seg", "prompt") if swapped else ("prompt", "seg")
        self.files(write, tmp_path, prompts, segmentations)
        lines = []
        for s in ("fine", "coarse"):
            others = [f"{prompts}/{s}/0017_3.json", f"{segmentations}/{s}/0017_3.png"]
            lines.append(" ".join(["img/0017.png", f"matte/{s}/0017_3.png", *others]))
        (tmp_path / "data_list.txt").write_text("\n".join(lines) + "\n")
        self.check(read("micromat3k", tmp_path, "test"))

    @pytest.mark.parametrize("swapped", [False, True])
    def test_without_a_list(self, write, tmp_path, swapped):
        self.files(write, tmp_path, *(("seg", "prompt") if swapped else ("prompt", "seg")))
        self.check(read("micromat3k", tmp_path, "test"))

    def test_damaged_list(self, write, tmp_path):
        self.files(write, tmp_path, "prompt", "seg")
        (tmp_path / "prompt/fine/0017_3.json").write_text("{")
        good = "img/0017.png matte/fine/0017_3.png prompt/fine/0017_3.json seg/fine/0017_3.png"
        (tmp_path / "data_list.txt").write_text(f"{good}\nimg/0017.png\n{good.replace('img/0017', 'img/0018')}\n")
        faults = FaultLog()
        assert len(list(read_dataset("micromat3k", tmp_path, "test", report=faults))) == 1
        assert faults.counts == {"broken prompt": 1, "bad line": 1, "unpaired": 1}


class TestAde20k:
    def test_instances(self, write, tmp_path):
        write("rgb", "ADEChallengeData2016/images/training/ADE_train_1.jpg")
        instances = np.zeros((32, 32, 3), np.uint8)
        instances[2:10, 2:10], instances[12:20, 2:10], instances[:, 20:] = (5, 1, 0), (5, 2, 0), (9, 1, 0)
        self.save(tmp_path / "ADEChallengeData2016/annotations_instance/training/ADE_train_1.png", instances)
        samples = read("ade20k", tmp_path, "train")
        assert [(s.extra["class"], s.extra["instance"], s.mask.area) for s in samples] == [
            (5, 1, 64),
            (5, 2, 64),
            (9, 1, 384),
        ]

    def test_semantic_map_in_connected_parts(self, write, tmp_path):
        write("rgb", "images/validation/ADE_val_1.jpg")
        labels = np.zeros((32, 32), np.uint8)
        labels[2:12, 2:12], labels[16:26, 2:12], labels[30, 30] = 7, 7, 7  # two objects and a speck
        self.save(tmp_path / "annotations/validation/ADE_val_1.png", labels)
        samples = read("ade20k", tmp_path, "val")
        assert [(s.extra["class"], s.mask.area) for s in samples] == [(7, 100), (7, 100)]
        assert samples[0].mask.decode()[2:12, 2:12].all()

    @staticmethod
    def save(path, array) -> None:
        path.parent.mkdir(parents=True)
        PIL.Image.fromarray(array).save(path)


class TestCoco:
    def write_json(self, path, images, annotations) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "cup:handle", "supercategory": "PART"}]
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))

    def test_coco(self, write, tmp_path):
        pytest.importorskip("pycocotools")
        write("rgb", "val2017/000000000009.jpg")
        square = [[4, 4, 12, 4, 12, 12, 4, 12]]
        self.write_json(
            tmp_path / "annotations/instances_val2017.json",
            [{"id": 9, "file_name": "000000000009.jpg", "height": 32, "width": 32}],
            [
                {"id": 2, "image_id": 9, "category_id": 1, "segmentation": square, "iscrowd": 0},
                {
                    "id": 1,
                    "image_id": 9,
                    "category_id": 1,
                    "iscrowd": 1,
                    "segmentation": {"size": [32, 32], "counts": [1024]},
                },
                {"id": 3, "image_id": 9, "category_id": 1, "segmentation": {"size": [32, 32], "counts": [4, 20, 1000]}},
            ],
        )
        samples = read("coco", tmp_path, "val")
        assert [(s.extra["annotation"], s.extra["category"], s.mask.area) for s in samples] == [
            (2, "cup", 64),
            (3, "cup", 20),
        ]

    def test_lvis_names_images_by_url(self, write, tmp_path):
        write("rgb", "train2017/000000000009.jpg")
        rle = {"size": [32, 32], "counts": [4, 20, 1000]}
        self.write_json(
            tmp_path / "lvis_v1_val.json",
            [
                {
                    "id": 9,
                    "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg",
                    "height": 32,
                    "width": 32,
                }
            ],
            [{"id": 1, "image_id": 9, "category_id": 1, "segmentation": rle}],
        )
        assert len(read("lvis", tmp_path, "val")) == 1

    def test_paco_parts_and_faults(self, write, tmp_path):
        write("rgb", "images/train2017/9.jpg")
        rle = {"size": [32, 32], "counts": [4, 20, 1000]}
        rows = [
            {"id": 1, "image_id": 9, "category_id": 1, "segmentation": rle},
            {"id": 2, "image_id": 9, "category_id": 2, "segmentation": rle},
            {"id": 3, "image_id": 9, "category_id": 2, "segmentation": {"size": [32, 32], "counts": "zz"}},
            {"id": 4, "image_id": 8, "category_id": 2, "segmentation": rle},
            {"id": 5, "image_id": 7, "category_id": 2, "segmentation": rle},
        ]
        images = [{"id": k, "file_name": f"train2017/{k}.jpg", "height": 32, "width": 32} for k in (9, 8)]
        self.write_json(tmp_path / "paco_lvis_v1_train.json", images, rows)
        faults = FaultLog()
        samples = list(read_dataset("paco", tmp_path, "train", report=faults))
        assert [s.subset for s in samples] == ["object", "part"]
        assert faults.counts == {"broken RLE": 1, "unpaired": 2}

    def test_no_coco_file(self, tmp_path):
        (tmp_path / "instances_val2017.json").write_text("[]")
        with pytest.raises(DataError, match="not a COCO file"):
            list(read_dataset("coco", tmp_path, "val"))


class TestBsds500:
    def test_as_published(self, write, tmp_path):
        from scipy.io import savemat

        write("rgb", "BSDS500/data/images/train/8049.jpg")
        halves = np.ones((32, 32), np.uint16)
        halves[:, 16:] = 2
        cells = np.empty((1, 2), dtype=object)
        cells[0, 0] = {"Segmentation": halves, "Boundaries": np.zeros((32, 32), np.uint8)}
        cells[0, 1] = {"Segmentation": np.ones((32, 32), np.uint16), "Boundaries": np.zeros((32, 32), np.uint8)}
        (tmp_path / "BSDS500/data/groundTruth/train").mkdir(parents=True)
        savemat(tmp_path / "BSDS500/data/groundTruth/train/8049.mat", {"groundTruth": cells})
        samples = read("bsds500", tmp_path, "train")
        assert [(s.extra["annotator"], s.extra["region"], s.mask.area) for s in samples] == [
            (0, 1, 512),
            (0, 2, 512),
            (1, 1, 1024),
        ]

    def test_damaged_ground_truth(self, write, tmp_path):
        write("rgb", "images/val/1.jpg")
        (tmp_path / "groundTruth/val").mkdir(parents=True)
        (tmp_path / "groundTruth/val/1.mat").write_bytes(b"MATLAB")
        faults = FaultLog()
        assert list(read_dataset("bsds500", tmp_path, "val", report=faults)) == []
        assert faults.counts == {"unreadable mask": 1}

    def test_real(self, test_data):
        root = test_data / "segmentation/bsds500"
        listed = json.loads((root / "index.json").read_text())["val"]
        samples = list(itertools.islice(read_dataset("bsds500", root, "val"), 400))
        by_image = itertools.groupby(samples, key=lambda s: s.image.stem)
        stem, first = next(by_image)
        first = list(first)
        assert len(first) == sum(listed[stem]["regions"]) if "regions" in listed[stem] else len(first) > 10
        covered = sum(s.read_alpha() for s in first if s.extra["annotator"] == 0)
        assert (covered == 1).all()  # an annotator's regions divide the image
        assert covered.shape == first[0].read_image().shape[:2]


class TestPlain:
    @pytest.mark.parametrize("folders", [("images", "alphas"), ("image", "matte")])
    def test_mattes(self, write, tmp_path, folders):
        write("rgb", f"{folders[0]}/1.jpg")
        write("matte", f"{folders[1]}/1.png")
        assert names(read("plain", tmp_path, "all")) == [("1.jpg", "1.png", "")]

    def test_masks(self, write, tmp_path):
        write("rgb", "images/1.jpg")
        write("mask", "masks/1.png")
        (sample,) = read("plain", tmp_path, "all")
        assert sample.kind == "mask"
        assert set(np.unique(sample.read_alpha())) == {0, 1}

    def test_cutouts(self, write, tmp_path):
        write("rgba", "1.png", "2.png")
        samples = read("plain", tmp_path, "all")
        assert [s.foreground for s in samples] == [s.alpha for s in samples] == [tmp_path / "1.png", tmp_path / "2.png"]
        assert 0 < samples[0].read_alpha().mean() < 1

    def test_unpaired_are_told(self, write, tmp_path):
        write("rgb", "images/1.jpg", "images/2.jpg")
        write("matte", "alphas/1.png", "alphas/3.png")
        (tmp_path / "alphas/notes.txt").write_text("not an image")
        faults = FaultLog()
        assert len(list(read_dataset("plain", tmp_path, "all", report=faults))) == 1
        assert sorted(f.where.rsplit("/", 1)[1] for f in faults.faults) == ["2.jpg", "3.png"]
        assert faults.counts == {"unpaired": 2}

    def test_real_cutouts(self, test_data):
        samples = list(read_dataset("plain", test_data / "matting/cutouts", "all"))
        assert len(samples) == 38
        alpha = samples[0].read_alpha()
        assert 0.005 < ((alpha > 0) & (alpha < 1)).mean() < 0.5

    def test_real_objects(self, test_data):
        root = test_data / "segmentation/objects/coco_mval"
        rows = [line.split("\t") for line in (root / "index.tsv").read_text().splitlines()[1:]]
        areas = {row[0]: int(row[5]) for row in rows}
        samples = list(itertools.islice(read_dataset("objects", root, "all"), 20))
        for sample in samples:
            assert sample.mask.area == areas[sample.extra["mask"].removesuffix(".png")]
            assert sample.extra["mask"].endswith(f"_{sample.image.stem}.png")


def test_sa1b(shards):
    samples = read("sa1b", shards, "train")
    assert len(samples) == 3 * 4 * 3
    assert samples[0].extra["key"] == "sa_1" and samples[0].subset == "sa_000000"
    assert samples[0].image_bytes is not None


def test_real_sa1b_shard(test_data):
    assert sum(1 for _ in read_dataset("sa1b", test_data / "sa1b_format/shard", "train")) == 1008


def test_unknown_names_are_listed():
    with pytest.raises(DataError, match=r"am2k.*sa1b"):
        read_dataset("imagenet", ".", "train")
    with pytest.raises(DataError, match="train, val"):
        read_dataset("am2k", ".", "test")
    with pytest.raises(DataError, match="no folder"):
        read_dataset("am2k", "/does/not/exist", "train")


@pytest.mark.parametrize(("name", "split"), [(n, s) for n, d in DATASETS.items() for s in d.splits])
def test_folder_that_does_not_fit(tmp_path, name, split):
    (tmp_path / "something").mkdir()
    with pytest.raises(DataError, match=r"expected|there is none"):
        list(read_dataset(name, tmp_path, split))
