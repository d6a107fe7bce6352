import hashlib
import io
import json
import tarfile
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from zim_plugins.data.conversion.shard_job import Selection, ShardJob, convert_shard, is_done
from zim_plugins.data.faults import DataError
from zim_plugins.data.readers.sa1b import read_shard
from zim_plugins.data.rle import Rle
from zim_plugins.imaging.files import file_digest


@pytest.fixture
def job(shards, tmp_path) -> ShardJob:
    return ShardJob(shards / "sa_000000.tar", tmp_path / "out", converter={"name": "blur", "sha256": "0" * 64})


@pytest.fixture
def convert(blur_maker):
    return blur_maker()(0)


def members(path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def test_mattes_are_the_converters_own(job, convert):
    """Every stored matte, put back in place, is what the converter said, rounded to 8 bits; null is the mask itself."""
    manifest = convert_shard(job, convert)
    files = members(job.tar)
    stored = same = 0
    for image in read_shard(job.shard, pytest.fail):
        document = json.loads(files[f"{image.key}.json"])
        assert document["image"] == image.record
        for annotation, row in zip(image.annotations, document["annotations"], strict=True):
            assert {k: v for k, v in row.items() if k != "matte"} == annotation.record
            mask = annotation.mask.decode()
            (matte,) = convert(image.read_image(), [mask])
            expected = np.zeros(mask.shape, np.float32)
            expected[matte.y : matte.y + matte.alpha.shape[0], matte.x : matte.x + matte.alpha.shape[1]] = matte.alpha
            if row["matte"] is None:
                same += 1
                assert np.abs(expected - mask).max() <= 1 / 255
                continue
            stored += 1
            crop = PIL.Image.open(io.BytesIO(files[row["matte"]["file"]]))
            assert (crop.mode, crop.size) == ("L", (row["matte"]["width"], row["matte"]["height"]))
            restored = np.zeros(mask.shape, np.float32)
            top, left = row["matte"]["y"], row["matte"]["x"]
            restored[top : top + crop.height, left : left + crop.width] = np.asarray(crop) / np.float32(255)
            assert np.abs(restored - expected).max() <= 0.5 / 255 + 1e-6
            edges = np.asarray(crop)
            assert edges[0].any() and edges[-1].any() and edges[:, 0].any() and edges[:, -1].any()  # cropped tightly
    assert stored > 2 and same > 2
    counts = manifest["counts"]
    assert (counts["mattes"], counts["equal_to_mask"], counts["images"], counts["annotations"]) == (stored, same, 4, 12)


@pytest.mark.parametrize(("levels", "null"), [(0, True), (1, True), (2, False), (9, False)])
def test_null_is_a_matte_within_one_level_of_the_mask(job, levels, null):
    """The format's promise, just inside and just outside: one pixel is off by that many of 255 levels."""

    def nearly_the_mask(rgb, masks):
        alphas = [mask.astype(np.float32) for mask in masks]
        for alpha in alphas:
            row, column = np.argwhere(alpha > 0)[0]
            alpha[row, column] = 1 - levels / 255
        return [SimpleNamespace(alpha=alpha, x=0, y=0) for alpha in alphas]

    convert_shard(job, nearly_the_mask)
    rows = [row for n, b in members(job.tar).items() if n.endswith(".json") for row in json.loads(b)["annotations"]]
    assert len(rows) == 12
    assert all((row["matte"] is None) == null for row in rows)


def test_members_of_a_photograph_stand_together(job, convert):
    convert_shard(replace(job, copy_images=True), convert)
    names = list(members(job.tar))
    keys = [n.split(".")[0] for n in names]
    assert keys == sorted(keys)
    assert [n for n in names if n.startswith("sa_1.")][:2] == ["sa_1.jpg", "sa_1.json"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the file open
def test_webdataset_reads_it(job, convert):
    webdataset = pytest.importorskip("webdataset")
    convert_shard(replace(job, copy_images=True), convert)
    dataset = webdataset.WebDataset(str(job.tar), shardshuffle=False, empty_check=False)
    samples = list(dataset)
    assert [s["__key__"] for s in samples] == ["sa_1", "sa_2", "sa_3", "sa_4"]
    first = json.loads(samples[0]["json"])
    for row in first["annotations"]:
        assert (row["matte"] is None) != (f"{row['id']}.png" in samples[0])
    assert samples[0]["jpg"] == next(read_shard(job.shard, pytest.fail)).content


def test_manifest(job, convert, tmp_path):
    manifest = convert_shard(job, convert)
    assert json.loads(job.manifest.read_text()) == manifest
    for what, path in (("input", job.shard), ("output", job.tar)):
        assert manifest[what]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == file_digest(path)
        assert manifest[what]["bytes"] == path.stat().st_size
    assert manifest["converter"] == {"name": "blur", "sha256": "0" * 64}
    assert manifest["settings"]["selection"]["min_area_px"] == 0


def test_same_bytes_wherever_and_whenever(job, convert, tmp_path):
    convert_shard(job, convert)
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    (elsewhere / job.shard.name).write_bytes(job.shard.read_bytes())
    again = replace(job, shard=elsewhere / job.shard.name, out=tmp_path / "again")
    convert_shard(again, convert)
    assert job.tar.read_bytes() == again.tar.read_bytes()
    assert job.manifest.read_bytes() == again.manifest.read_bytes()


def test_done_or_absent(job, convert):
    assert not is_done(job)
    convert_shard(job, convert)
    assert is_done(job)
    job.tar.write_bytes(job.tar.read_bytes()[:-512])
    assert not is_done(job)
    job.tar.unlink()
    assert not is_done(job)


def test_results_of_other_settings_are_not_overwritten(job, convert):
    convert_shard(job, convert)
    with pytest.raises(DataError, match="another settings"):
        is_done(replace(job, selection=Selection(min_area_px=5)))
    with pytest.raises(DataError, match="another converter"):
        is_done(replace(job, converter={"name": "other"}))
    with job.shard.open("ab") as stream:
        stream.write(bytes(512))
    with pytest.raises(DataError, match="another size"):
        is_done(job)
    job.manifest.write_text("{}")
    with pytest.raises(DataError, match="no manifest"):
        is_done(job)


def test_failure_leaves_nothing(job, convert):
    def fails_late(image, masks):
        if fails_late.calls == 3:
            raise RuntimeError("out of memory")
        fails_late.calls += 1
        return convert(image, masks)

    fails_late.calls = 0
    with pytest.raises(RuntimeError, match="out of memory"):
        convert_shard(job, fails_late)
    assert list(job.out.iterdir()) == []


@pytest.mark.parametrize("fault", ["too few", "outside"])
def test_converter_that_breaks_its_promise(job, convert, fault):
    def wrong(image, masks):
        mattes = convert(image, masks)
        return mattes[1:] if fault == "too few" else [m._replace(x=31) for m in mattes]

    with pytest.raises(ValueError, match="the converter"):
        convert_shard(job, wrong)
    assert not job.tar.exists()


def test_many_masks_go_in_portions(job, convert, tmp_path, monkeypatch):
    convert_shard(job, convert)
    calls = []

    def counting(image, masks):
        calls.append(len(masks))
        return convert(image, masks)

    monkeypatch.setattr("zim_plugins.data.conversion.shard_job.MASKS_AT_ONCE", 2)
    portions = replace(job, out=tmp_path / "portions")
    convert_shard(portions, counting)
    assert calls == [2, 1] * 4
    assert portions.tar.read_bytes() == job.tar.read_bytes()


def test_empty_mattes_are_counted_and_left_out(job, convert):
    def vanishing(image, masks):
        return [m._replace(alpha=m.alpha * 0) for m in convert(image, masks)]

    counts = convert_shard(job, vanishing)["counts"]
    assert (counts["empty_mattes"], counts["mattes"]) == (12, 0)
    assert all(json.loads(c)["annotations"] == [] for n, c in members(job.tar).items() if n.endswith(".json"))


def test_matte_smaller_than_its_mask_is_no_null(job, convert):
    """A crop that leaves part of the mask out is another matte, though it equals the mask inside."""

    def cropped(image, masks):
        return [m._replace(alpha=np.ones((1, 1), np.float32), x=m.x + 6, y=m.y + 10) for m in convert(image, masks)]

    assert convert_shard(job, cropped)["counts"]["equal_to_mask"] == 0


class TestSelection:
    @pytest.fixture
    def annotations(self, job):
        return [a for image in read_shard(job.shard, pytest.fail) for a in image.annotations]

    def test_thresholds(self, annotations):
        left_out = Counter()
        median = sorted(a.area for a in annotations)[6]
        kept = Selection(median, 0.9, 0.93).select(annotations, left_out)
        expected = [a for a in annotations if a.area >= median and a.predicted_iou >= 0.9 and a.stability_score >= 0.93]
        assert kept == expected
        assert left_out.total() == 12 - len(kept) and 0 < len(kept) < 6

    def test_share_of_the_image(self, annotations):
        left_out = Counter()
        share = sorted(a.area for a in annotations)[6] / 32**2
        kept = Selection(min_area_share=share).select(annotations, left_out)
        assert kept == [a for a in annotations if a.area / 32**2 >= share]
        assert left_out == {"min_area_share": 12 - len(kept)} and len(kept) >= 6
        with pytest.raises(ValueError, match=r"got 1.5"):
            Selection(min_area_share=1.5)

    def test_missing_score(self, annotations):
        unscored = replace(annotations[0], predicted_iou=None)
        assert Selection(min_predicted_iou=0.1).select([unscored], Counter()) == []
        assert Selection(min_stability_score=0.1).select([unscored], Counter()) == [unscored]

    @pytest.mark.parametrize("most", [1, 3, 11, 12, 50])
    def test_cap_spreads_over_areas(self, annotations, most):
        left_out = Counter()
        kept = Selection(max_per_image=most).select(annotations, left_out)
        assert len({a.id for a in kept}) == len(kept) == min(most, 12)
        assert [a.id for a in kept] == sorted(a.id for a in kept)
        assert left_out["max_per_image"] == 12 - len(kept)
        if most == 3:
            ranks = sorted(sorted(a.area for a in annotations).index(a.area) for a in kept)
            assert ranks[0] < 4 <= ranks[1] < 8 <= ranks[2]

    def test_recorded(self, job, convert):
        counts = convert_shard(replace(job, selection=Selection(max_per_image=1)), convert)["counts"]
        assert counts["left_out"] == {"max_per_image": 8}
        assert counts["mattes"] + counts["equal_to_mask"] == 4

    def test_nothing_selected(self, job, convert):
        counts = convert_shard(replace(job, selection=Selection(min_area_px=5000)), convert)["counts"]
        assert (counts["images"], counts["images_left_out"]) == (0, 4)
        assert members(job.tar) == {}

    def test_nonsense(self):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            Selection(max_per_image=0)


def test_damaged_input_is_counted_and_skipped(tmp_path, sa1b, tar, convert):
    files = sa1b(1, 5, seed=3)
    good = ShardJob(tar(tmp_path / "good/sa.tar", {k: v for k, v in files.items() if "_3" in k or "_5" in k}), tmp_path)
    files["sa_1.jpg"] = files["sa_1.jpg"][:300]
    files["sa_2.json"] = b"{"
    document = json.loads(files["sa_4.json"])
    document["annotations"][1]["segmentation"]["counts"] = "oooo"
    files["sa_4.json"] = json.dumps(document).encode()
    job = ShardJob(tar(tmp_path / "bad/sa.tar", files), tmp_path / "out")
    manifest = convert_shard(job, convert)
    assert manifest["counts"]["faults"] == {"broken JSON": 1, "broken RLE": 1, "unreadable image": 1}
    assert sorted(f.split(": ")[1] for f in manifest["faults"]) == ["sa.tar:sa_1.jpg", "sa.tar:sa_2", "sa.tar:sa_4#401"]
    assert str(tmp_path) not in json.dumps(manifest)
    found = members(job.tar)
    assert {n.split(".")[0] for n in found} == {"sa_3", "sa_4", "sa_5"}
    assert len(json.loads(found["sa_4.json"])["annotations"]) == 2
    convert_shard(good, convert)
    for name, content in members(good.tar).items():
        assert found[name] == content


def test_folder_as_shard(job, convert, tmp_path, sa1b):
    folder = tmp_path / "sa_000000"
    folder.mkdir()
    for name, content in sa1b(1, 4, seed=0).items():
        (folder / name).write_bytes(content)
    convert_shard(job, convert)
    from_folder = replace(job, shard=folder, out=tmp_path / "from_folder")
    convert_shard(from_folder, convert)
    assert from_folder.tar.read_bytes() == job.tar.read_bytes()
    assert is_done(from_folder)


def test_real_shard(test_data, tmp_path, convert):
    """Photographs in SA-1B's format: every region comes out, as a matte or as its mask."""
    job = ShardJob(test_data / "sa1b_format/shard", tmp_path, Selection(min_area_px=400, max_per_image=3))
    counts = convert_shard(job, convert)["counts"]
    assert counts["images"] == 24 and counts["faults"] == {}
    kept = counts["mattes"] + counts["equal_to_mask"]
    assert counts["annotations"] == 1008 == kept + sum(counts["left_out"].values())
    for content in (c for n, c in members(job.tar).items() if n.endswith(".json")):
        for row in json.loads(content)["annotations"]:
            assert Rle.from_json(row["segmentation"]).area == row["area"] >= 400
