import json

import numpy as np
import pytest

from zim_plugins.data.faults import DataError, FaultLog
from zim_plugins.data.readers.sa1b import find_shards, read_shard
from zim_plugins.errors import ImageError


def read(shard) -> tuple[list, FaultLog]:
    faults = FaultLog()
    return list(read_shard(shard, faults)), faults


def test_tar_and_folder_hold_the_same(tmp_path, sa1b, tar):
    files = sa1b(1, 4, seed=0)
    write_folder(tmp_path / "folder", files)
    from_tar, faults = read(tar(tmp_path / "sa_000000.tar", files))
    from_folder, _ = read(tmp_path / "folder")
    assert not faults.faults
    assert [i.key for i in from_tar] == [i.key for i in from_folder] == ["sa_1", "sa_2", "sa_3", "sa_4"]
    for one, other in zip(from_tar, from_folder, strict=True):
        assert (one.content, one.annotations) == (other.content, other.annotations)
        assert (one.read_image() == other.read_image()).all()
        assert all(a.mask.size == (32, 32) and a.area == a.record["area"] for a in one.annotations)


def test_real_shard(test_data):
    images, faults = read(test_data / "sa1b_format/shard")
    assert not faults.faults
    assert (len(images), sum(len(i.annotations) for i in images)) == (24, 1008)
    covered = sum(a.mask.decode().astype(int) for a in images[0].annotations)
    assert (covered == 1).all()  # its regions divide the image
    assert covered.shape == images[0].read_image().shape[:2]


def write_folder(folder, files) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_find_shards(tmp_path, sa1b, tar):
    files = sa1b(1, 1, seed=0)
    with pytest.raises(DataError, match="expected sa_"):
        find_shards(tmp_path)
    tar(tmp_path / "sa_000001.tar", files)
    tar(tmp_path / "sa_000000.tar", files)
    write_folder(tmp_path / "loose", files)
    found = [p.name for p in find_shards(tmp_path)]
    assert found == ["sa_000000.tar", "sa_000001.tar", "loose"]
    assert find_shards(tmp_path / "loose") == [tmp_path / "loose"]
    assert find_shards(tmp_path / "sa_000000.tar") == [tmp_path / "sa_000000.tar"]


class TestDamage:
    def test_header(self, tmp_path, sa1b, tar):
        """A damaged header costs its member, and the members after it are found again."""
        path = tar(tmp_path / "sa.tar", sa1b(1, 4, seed=0))
        content = bytearray(path.read_bytes())
        at = content.index(b"./sa_2.jpg")
        content[at : at + 200] = b"\xff" * 200
        path.write_bytes(content)
        images, faults = read(path)
        assert [i.key for i in images] == ["sa_1", "sa_3", "sa_4"]
        assert faults.counts == {"corrupt tar": 1, "unpaired": 1}

    def test_zeroed_stretch(self, tmp_path, sa1b, tar):
        """What looks like the end of the tar is not taken for it while members follow."""
        path = tar(tmp_path / "sa.tar", sa1b(1, 4, seed=0))
        content = bytearray(path.read_bytes())
        at, end = content.index(b"./sa_2.jpg"), content.index(b"./sa_3.jpg")
        content[at:end] = bytes(end - at)
        path.write_bytes(content)
        images, faults = read(path)
        assert [i.key for i in images] == ["sa_1", "sa_3", "sa_4"]
        assert faults.counts == {"corrupt tar": 1}

    @pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.77, 0.9])
    def test_truncated(self, tmp_path, sa1b, tar, share):
        path = tar(tmp_path / "sa.tar", sa1b(1, 6, seed=0))
        content = path.read_bytes().rstrip(b"\0")
        path.write_bytes(content[: int(len(content) * share)])
        images, faults = read(path)
        assert len(images) < 6
        assert "corrupt tar" in faults.counts

    def test_cut_between_members(self, tmp_path, sa1b, tar):
        path = tar(tmp_path / "sa.tar", sa1b(1, 3, seed=0))
        path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"./sa_3.jpg")])
        images, faults = read(path)
        assert len(images) == 2
        assert faults.counts == {"corrupt tar": 1}

    @pytest.mark.parametrize("content", [b"", b"no tar at all", bytes(512), b"\xff" * 5000])
    def test_no_tar(self, tmp_path, content):
        (tmp_path / "sa.tar").write_bytes(content)
        images, faults = read(tmp_path / "sa.tar")
        assert images == []
        assert content == bytes(512) or faults.counts == {"corrupt tar": 1}

    def test_noise_anywhere(self, tmp_path, sa1b, tar, rng):
        """Random bytes at random places: never an exception, never an image that was not there."""
        path = tar(tmp_path / "sa.tar", sa1b(1, 5, seed=0))
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for at in rng.integers(0, len(whole) - 64, 3):
                content[at : at + 64] = rng.bytes(64)
            path.write_bytes(content)
            images, _ = read(path)
            assert {i.key for i in images} <= {f"sa_{k}" for k in range(1, 6)}
            for image in images:
                for annotation in image.annotations:
                    assert annotation.mask.decode().shape == (32, 32)

    def test_truncated_jpeg(self, tmp_path, sa1b, tar):
        files = sa1b(1, 2, seed=0)
        files["sa_1.jpg"] = files["sa_1.jpg"][:400]
        images, faults = read(tar(tmp_path / "sa.tar", files))
        assert not faults.faults  # images are decoded when asked for
        with pytest.raises(ImageError, match=r"sa_1\.jpg is (damaged|truncated)"):
            images[0].read_image()

    def test_image_of_another_size(self, tmp_path, sa1b, tar):
        files = sa1b(1, 1, seed=0)
        document = json.loads(files["sa_1.json"])
        document["image"]["width"] = 31
        files["sa_1.json"] = json.dumps(document).encode()
        images, faults = read(tar(tmp_path / "sa.tar", files))
        assert faults.counts == {"broken RLE": 3}
        with pytest.raises(ImageError, match=r"\[32, 32\] pixels, its JSON says \[32, 31\]"):
            images[0].read_image()

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            (lambda row: row["segmentation"].update(counts=row["segmentation"]["counts"][:-2]), "broken RLE"),
            (lambda row: row["segmentation"].update(counts="###"), "broken RLE"),
            (lambda row: row["segmentation"].update(size=[64, 16]), "broken RLE"),
            (lambda row: row.update(area=row["area"] + 1), "broken RLE"),
            (lambda row: row.update(segmentation=None), "broken annotation"),
            (lambda row: row.update(id="x"), "broken annotation"),
            (lambda row: row.update(predicted_iou="high"), "broken annotation"),
            (lambda row: row.update(id=100), "duplicate"),
        ],
    )
    def test_one_annotation(self, tmp_path, sa1b, tar, change, kind):
        files = sa1b(1, 2, seed=0)
        document = json.loads(files["sa_1.json"])
        change(document["annotations"][1])
        files["sa_1.json"] = json.dumps(document).encode()
        images, faults = read(tar(tmp_path / "sa.tar", files))
        assert faults.counts == {kind: 1}
        assert faults.faults[0].where.startswith(f"{tmp_path}/sa.tar:sa_1#")
        assert [len(i.annotations) for i in images] == [2, 3]

    @pytest.mark.parametrize(
        "content", [b"{", b"[]", b"{}", b'{"image": {}, "annotations": []}', b"\xff\xfe", b"[" * 99999]
    )
    def test_json(self, tmp_path, sa1b, tar, content):
        images, faults = read(tar(tmp_path / "sa.tar", sa1b(1, 2, seed=0) | {"sa_1.json": content}))
        assert [i.key for i in images] == ["sa_2"]
        assert faults.counts == {"broken JSON": 1}

    def test_missing_partner(self, tmp_path, sa1b, tar):
        files = sa1b(1, 3, seed=0)
        del files["sa_1.jpg"], files["sa_2.json"]
        images, faults = read(tar(tmp_path / "sa.tar", files))
        assert [i.key for i in images] == ["sa_3"]
        assert faults.counts == {"unpaired": 2}


def test_long_names(tmp_path, sa1b):
    """Paths beyond 100 characters, in both of tar's ways of writing them."""
    import io
    import tarfile

    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "sa.tar", "w", format=kind) as tar:
            for name, content in sa1b(1, 2, seed=0).items():
                info = tarfile.TarInfo("/".join(["folder" * 5] * 8) + f"/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        images, faults = read(tmp_path / "sa.tar")
        assert [i.key for i in images] == ["sa_1", "sa_2"]
        assert not faults.faults
        assert np.array_equal(images[0].read_image().shape, (32, 32, 3))
