import json

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main
from zim_plugins.data.check import check_dataset
from zim_plugins.data.faults import DataError
from zim_plugins.data.sample import read_index


@pytest.fixture
def sound(write, tmp_path):
    """Two images with their mattes, nothing wrong."""
    write("rgb", "images/1.png", "images/2.png")
    write("matte", "alphas/1.png", "alphas/2.png")
    return tmp_path


def kinds(root, name="plain", **options) -> dict[str, int]:
    return dict(check_dataset(name, root, **options).faults.counts)


def save(path, array) -> None:
    PIL.Image.fromarray(array).save(path)


def test_nothing_wrong(sound):
    findings = check_dataset("plain", sound)
    assert findings.faults.counts == {}
    assert findings.counts == {"all": {"samples": 2, "images": 2, "mattes": 2}}


def test_unpaired(sound, write):
    write("rgb", "images/3.png")
    write("matte", "alphas/4.png")
    assert kinds(sound) == {"unpaired": 2}


def test_unreadable(sound):
    (sound / "images/1.png").write_bytes((sound / "images/1.png").read_bytes()[:500])
    (sound / "alphas/2.png").write_bytes(b"nothing")
    assert kinds(sound) == {"unreadable image": 1, "unreadable matte": 1}


def test_sizes(sound, write):
    write("matte", "alphas/2.png", size=31)
    findings = check_dataset("plain", sound)
    assert findings.faults.counts == {"size mismatch": 1}
    assert "matte 31x31 px, image 32x32 px" in findings.faults.faults[0].message


@pytest.mark.parametrize(
    ("alpha", "kind"),
    [
        (np.zeros((32, 32), np.uint8), "empty matte"),
        (np.full((32, 32), 255, np.uint8), "full matte"),
        (np.eye(32, dtype=np.uint8) * 255, "binary matte"),
        (np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8), "alpha stored as colour"),
    ],
)
def test_mattes(sound, alpha, kind):
    save(sound / "alphas/1.png", alpha)
    assert kinds(sound) == {kind: 1}
    assert kinds(sound, allow=[kind]) == {}


def test_grey_stored_as_rgb_is_fine(sound):
    grey = np.asarray(PIL.Image.open(sound / "alphas/1.png"))
    save(sound / "alphas/1.png", np.dstack([grey] * 3))
    assert kinds(sound) == {}


def test_duplicates(sound):
    (sound / "images/2.png").write_bytes((sound / "images/1.png").read_bytes())
    assert kinds(sound) == {"duplicate": 1}


def test_image_in_two_splits(write, tmp_path):
    write("rgb", "train/h_1.png", "testval/h_2.png")
    (tmp_path / "testval/h_9.png").write_bytes((tmp_path / "train/h_1.png").read_bytes())
    findings = check_dataset("bg20k", tmp_path)
    assert findings.faults.counts == {"duplicate": 1}
    assert findings.counts["test"] == {"samples": 2, "backgrounds": 2, "images": 2}


def test_same_matte_twice(write, tmp_path):
    write("rgb", "images/natural/x.jpg", "images/comp/y.jpg")
    write("matte", "alphas/natural/x/00.png", "alphas/comp/y/00.png")
    (tmp_path / "alphas/natural/x/01.png").write_bytes((tmp_path / "alphas/natural/x/00.png").read_bytes())
    assert kinds(tmp_path, "him2k") == {"duplicate": 1}


def test_foreground_of_another_size(write, tmp_path):
    write("rgb", "train/original/m_1.jpg")
    write("matte", "train/mask/m_1.png")
    write("rgb", "train/fg/m_1.png", size=20)
    findings = check_dataset("am2k", tmp_path)
    assert findings.faults.counts == {"size mismatch": 1}
    assert list(findings.absent) == ["val"]


def test_broken_rle(tmp_path, sa1b, tar):
    files = sa1b(1, 2, seed=0)
    document = json.loads(files["sa_1.json"])
    document["annotations"][0]["segmentation"]["counts"] = "zz"
    files |= {"sa_1.json": json.dumps(document).encode(), "sa_2.jpg": files["sa_2.jpg"][:200]}
    tar(tmp_path / "sa_000000.tar", files)
    assert kinds(tmp_path, "sa1b") == {"broken RLE": 1, "unreadable image": 1}


def test_masks(write, tmp_path):
    write("rgb", "images/1.png", "images/2.png")
    write("mask", "masks/1.png")
    save(tmp_path / "masks/2.png", np.zeros((32, 32), np.uint8))
    assert kinds(tmp_path) == {"empty matte": 1}


def test_asked_for_split_must_be_there(write, tmp_path):
    write("rgb", "train/h_1.png")
    assert list(check_dataset("bg20k", tmp_path).counts) == ["train"]
    with pytest.raises(DataError, match="expected testval/"):
        check_dataset("bg20k", tmp_path, ["test"])
    with pytest.raises(DataError, match="no split"):
        check_dataset("bg20k", tmp_path, ["all"])


class TestCommand:
    def test_sound(self, sound, capsys):
        assert main(["data", "check", str(sound), "--dataset", "plain"]) == 0
        assert capsys.readouterr().out == "plain all: 2 images, 2 mattes, 2 samples\nnothing wrong\n"

    def test_wrong(self, sound, capsys, write):
        write("rgb", "images/3.png")
        assert main(["data", "check", str(sound)]) == 1
        out = capsys.readouterr().out
        assert "unpaired" in out and "images/3.png: no matte in alphas/" in out
        assert out.endswith("1 x unpaired\n")
        assert main(["data", "check", str(sound), "--allow", "unpaired"]) == 0

    def test_json(self, sound, capsys, write):
        write("rgb", "images/3.png")
        assert main(["data", "check", str(sound), "--json"]) == 1
        report = json.loads(capsys.readouterr().out)
        assert report["fault_counts"] == {"unpaired": 1}
        assert report["splits"] == {"all": {"samples": 2, "images": 2, "mattes": 2}}

    def test_misuse(self, tmp_path, capsys):
        assert main(["data", "check", str(tmp_path), "--dataset", "imagenet"]) == 2
        assert main(["data", "check", str(tmp_path), "--dataset", "am2k", "--split", "test"]) == 2
        assert main(["data", "check", str(tmp_path), "--dataset", "am2k"]) == 1
        assert "expected train/original/" in capsys.readouterr().err

    def test_index(self, sound):
        out = sound / "index.jsonl"
        assert main(["data", "index", str(sound), "--dataset", "plain", "--split", "all", "--out", str(out)]) == 0
        assert [s.image.name for s in read_index(out)] == ["1.png", "2.png"]


def test_a_folder_that_is_not_there_is_misuse(tmp_path, capsys):
    from zim_plugins.cli import main

    for words in (["check"], ["index", "--dataset", "plain", "--split", "all", "--out", "index.jsonl"]):
        assert main(["data", words[0], str(tmp_path / "nosuch"), *words[1:]]) == 2
        assert "nosuch does not exist: name the folder that the data set is in" in capsys.readouterr().err
