"""Whole runs with a predictor that needs no weights: tables, resume, the encoder's count, and no patient anywhere."""

import csv
import dataclasses
import gzip
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medical.cli import Args, CheckArgs, check, main
from medical.models import FilledBox, GrabCut, PromptedModel
from medical.prompts import MODES, Pointing
from medical.rows import Measure
from medical.run import DatasetSpec, RunConfig, parse_spec, run
from medical.trial import TrialConfig
from tests.conftest import FakePredictor
from tests.medical.conftest import save
from zim_plugins.commands.session import run as command
from zim_plugins.core import ImagePredictor, Prediction, Prompt

SQUARE = np.array([-6, -6, 6, 6])
OVERLAP_ONLY = Measure(surfaces=False)


class CountingBackend:
    """A backend that answers with the box, or a square round the first click, and counts."""

    name, frame_px, activation = "counted", 64, "step"
    supports_clicks_and_box = supports_alpha = False

    def __init__(self) -> None:
        self.encoded = self.decoded = 0

    def encode(self, image: np.ndarray) -> int:
        self.encoded += 1
        return self.encoded

    def decode(self, embedding: int, prompts: list, *, multimask: bool) -> tuple[np.ndarray, np.ndarray]:
        assert embedding == self.encoded, "the frame's own embedding"
        self.decoded += len(prompts)
        logits = np.full((len(prompts), 3 if multimask else 1, 64, 64), -5, np.float32)
        for i, prompt in enumerate(prompts):
            x1, y1, x2, y2 = prompt.box if prompt.box is not None else np.tile(prompt.points[0], 2) + SQUARE
            logits[i, :, max(0, int(y1)) : int(y2), max(0, int(x1)) : int(x2)] = 5
        if multimask:
            logits[:, 1] = -5
        return logits, np.tile(np.array([[0.2, 0.9, 0.5][: logits.shape[1]]], np.float32), (len(prompts), 1))


def config_of(data: Path, out: Path, *, prompts: tuple[str, ...] = (*MODES, "clicks"), **changes: object) -> RunConfig:
    trial = TrialConfig(prompts=prompts, max_clicks=4, measure=OVERLAP_ONLY)
    base = RunConfig(data, out, (DatasetSpec("plain", "folder", ""),), trial)
    return dataclasses.replace(base, **changes)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """`zim-medseg` with a fake predictor in place of every checkpoint."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: FakePredictor(9.0))
    return lambda args: command(main, args, package="medical")


def test_the_encoder_runs_once_for_each_picture(folder_set: Path, tmp_path: Path) -> None:
    backend = CountingBackend()
    model = PromptedModel(ImagePredictor(backend), name="counted")
    tally = run(config_of(folder_set, tmp_path / "out"), [model])
    assert tally.done == 7 and tally.faults == 0
    assert backend.encoded == 7 == model.effort.encodings
    assert backend.decoded == model.effort.prompts == 7 * (1 + 1 + 3), (
        "of one component: a click (mode1, mode2, the first of clicks), a box (mode3 to 5), three further clicks"
    )
    rows = json.loads((tmp_path / "out/parts/plain/case_0001.json").read_text())["rows"]
    assert len(rows) == 5 + 4, "equal prompts are answered once, and all of them told"


def test_a_whole_run_writes_its_report(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("cv2")
    out = tmp_path / "out"
    args = Args(data=str(folder_set), models="m,box,grabcut", prompts="modes,clicks", out=str(out), no_surfaces=True,
                max_clicks=3)  # fmt: skip
    assert call(args) == 0
    names = {p.name for p in out.iterdir()}
    tables = {"cases.csv", "summary.csv", "compare.csv", "curves.csv", "noc.csv", "timing.csv", "summary.json"}
    assert names >= tables | {"prompts.jsonl", "report.json", "report.html", "figures", "overlays", "masks", "mattes"}
    rows = table(out / "cases.csv")
    counts = {m: sum(r["model"] == m for r in rows) for m in ("fake", "box", "grabcut")}
    assert counts == {"fake": 7 * (5 + 3), "box": 7 * 3, "grabcut": 7 * 3}, "baselines take boxes only"
    for row in rows:
        both, predicted, reference = (int(row[n]) for n in ("n_both", "n_pred", "n_ref"))
        assert float(row["dice"]) == pytest.approx(2 * both / (predicted + reference), abs=1e-6)
    # What is kept is what was measured.
    row = next(r for r in rows if r["model"] == "box" and r["prompt"] == "mode5")
    mask = np.asarray(PIL.Image.open(out / "masks/folder" / row["case"] / "0000_object_box_mode5.png"))
    assert int((mask > 0).sum()) == int(row["n_pred"])
    matte = np.asarray(PIL.Image.open(out / "mattes/folder" / row["case"] / "0000_object_fake_mode5.png"))
    assert len(np.unique(matte)) > 2, "mattes stay soft"
    summary = {(r["model"], r["prompt"]): r for r in table(out / "summary.csv") if r["metric"] == "iou"}
    iou = [float(r["iou"]) for r in rows if r["model"] == "grabcut" and r["prompt"] == "mode5"]
    line = summary["grabcut", "mode5"]
    assert int(line["n"]) == 7 and float(line["mean"]) == pytest.approx(np.mean(iou), abs=1e-5)
    assert float(line["ci_low"]) <= float(line["mean"]) <= float(line["ci_high"])
    nnunet = json.loads((out / "summary.json").read_text())
    assert len(nnunet["metric_per_case"]) == 7
    metrics = nnunet["metric_per_case"][0]["metrics"]["object"]
    assert set(metrics) == {"Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"}
    assert metrics["TP"] + metrics["FP"] + metrics["FN"] + metrics["TN"] == 40 * 56
    assert set(nnunet) >= {"mean", "foreground_mean"}
    html = (out / "report.html").read_text()
    assert "Research only" in html and "src='http" not in html
    assert html.count("data:image/png") == 3 and html.count("data:image/jpeg") == 6, "figures, and two prompts' ranks"
    assert "Holm" in capsys.readouterr().err


def test_nobodys_name_is_written_or_logged(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    (folder_set / "images" / "Doe_Jane_9.png").write_bytes(b"no picture")
    (folder_set / "masks" / "Doe_Jane_9.png").write_bytes((folder_set / "masks" / "Doe_Jane_1.png").read_bytes())
    out, map_file = tmp_path / "out", tmp_path / "map.tsv"
    args = Args(data=str(folder_set), models="m", out=str(out), no_surfaces=True, write_id_map=str(map_file))
    assert call(args) == 1, "a case could not be read"
    streams = capsys.readouterr()
    assert "case_0008" in streams.err
    for path in out.rglob("*"):
        text = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        assert b"Doe" not in text and b"Jane" not in text and str(folder_set).encode() not in text, path
    assert "Doe" not in streams.err + streams.out
    assert map_file.stat().st_mode & 0o777 == 0o600 and "Doe_Jane_3" in map_file.read_text()
    faults = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [f["reason"] for f in faults] == ["damaged"]


def test_a_run_that_was_killed_goes_on_and_ends_alike(folder_set: Path, tmp_path: Path, call, monkeypatch) -> None:
    pytest.importorskip("matplotlib")
    args = Args(
        data=str(folder_set), models="m", prompts="modes,clicks", no_surfaces=True, max_clicks=3, clicker="random"
    )
    assert call(dataclasses.replace(args, out=str(tmp_path / "whole"))) == 0
    broken = dataclasses.replace(args, out=str(tmp_path / "broken"))
    shown = []

    class Dying(FakePredictor):
        def set_image(self, image: np.ndarray) -> None:
            shown.append(1)
            if len(shown) == 4:
                raise KeyboardInterrupt
            super().set_image(image)

    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Dying(9.0))
    assert call(broken) == 130
    assert call(broken) == 1, "the folder is not empty"
    assert call(dataclasses.replace(broken, resume=True, seed=1)) == 1, "another seed is another run"
    assert call(dataclasses.replace(broken, resume=True)) == 0
    assert len(shown) == 3 + 1 + 4, "three cases were done before, and not again"
    for name in ("cases.csv", "summary.csv", "prompts.jsonl", "curves.csv"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_saved_prompts_make_another_run_the_same(folder_set: Path, tmp_path: Path, call) -> None:
    pytest.importorskip("matplotlib")
    first = Args(data=str(folder_set), models="m", prompts="modes,clicks", out=str(tmp_path / "a"), no_surfaces=True,
                 max_clicks=3, clicker="random", box_jitter=3, save="none")  # fmt: skip
    assert call(first) == 0
    again = dataclasses.replace(first, out=str(tmp_path / "b"), seed=5, prompts_from=str(tmp_path / "a/prompts.jsonl"))
    other = dataclasses.replace(first, out=str(tmp_path / "c"), seed=5)
    assert call(again) == 0 and call(other) == 0
    cases = [(tmp_path / name / "cases.csv").read_text() for name in "abc"]
    assert cases[0] == cases[1] != cases[2]


def test_oracle_rows_are_marked_and_never_worse(folder_set: Path, tmp_path: Path) -> None:
    model = PromptedModel(ImagePredictor(CountingBackend()), name="counted")
    config = config_of(folder_set, tmp_path / "out", prompts=("mode5",))
    trial = dataclasses.replace(config.trial, candidates=("single", "best-score", "oracle"))
    run(dataclasses.replace(config, trial=trial), [model, FilledBox()])
    parts = [json.loads(p.read_text()) for p in sorted((tmp_path / "out/parts/plain").glob("*.json"))]
    for part in parts:
        iou = {(r["model"], r["candidate"]): r["iou"] for r in part["rows"]}
        assert set(iou) == {("counted", c) for c in ("single", "best-score", "oracle")} | {("box", "single")}
        assert iou["counted", "oracle"] >= iou["counted", "single"] > 0
        assert iou["counted", "best-score"] == 0, "its best-scored candidate is empty"


def test_baselines(rng: np.random.Generator) -> None:
    frame = np.full((40, 40, 3), 30, np.uint8)
    frame[10:30, 10:30] = 200
    frame = np.clip(frame + rng.normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
    box = FilledBox()
    box.show(frame)
    filled = box.answer([Pointing(boxes=((5, 6, 34, 30), (0, 0, 1, 0)))])[0].alphas[0]
    assert filled.sum() == 30 * 25 + 2
    pytest.importorskip("cv2")
    cut = GrabCut()
    cut.show(frame)
    found = cut.answer([Pointing(boxes=((6, 6, 33, 33),))])[0].alphas[0]
    assert 0.9 < found[10:30, 10:30].mean() and found.sum() < 450
    whole = cut.answer([Pointing(boxes=((0, 0, 39, 39),))])[0].alphas[0]
    assert 0.9 < whole[10:30, 10:30].mean(), "of a box round everything the rim is taken for background"
    tiny = cut.answer([Pointing(boxes=((3, 3, 3, 3),))])[0].alphas[0]
    assert tiny.shape == frame.shape[:2] and tiny.sum() <= 1


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    """A volume with a bright ball, stored as PSR with slices 2 mm apart, and its labels."""
    nib = pytest.importorskip("nibabel")
    from tests.medical.test_volumes_and_windows import affine_of

    ks, js, is_ = np.mgrid[:12, :40, :36]
    inside = (ks - 6) ** 2 * 4 + (js - 22) ** 2 + (is_ - 15) ** 2 < 81
    for name, array in (("images", 40 + 100 * inside), ("masks", inside)):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        header = nib.Nifti1Header()
        header["descrip"] = b"Doe^John;Time=172102"
        array = np.ascontiguousarray(array.transpose(2, 0, 1)).astype(np.int16)
        nib.save(nib.Nifti1Image(array, affine_of("PSR", (1.0, 2.0, 1.0)), header), folder / "a.nii.gz")
    return tmp_path / "set"


@pytest.mark.parametrize("how", ["slices", "propagated", "both"])
def test_volumes_come_back_in_their_own_space(ball: Path, tmp_path: Path, how: str) -> None:
    nib = pytest.importorskip("nibabel")
    config = config_of(ball, tmp_path / "out", prompts=("mode1", "mode5", "clicks"))
    trial = dataclasses.replace(config.trial, volumes=how)
    model = PromptedModel(FakePredictor(9.0), name="fake")
    tally = run(dataclasses.replace(config, trial=trial), [model])
    assert tally.done == 1
    part = json.loads((tmp_path / "out/parts/plain/case_0001.json").read_text())
    volumes = {r["prompt"]: r for r in part["rows"] if r["level"] == "volume"}
    wanted = {"mode1", "mode5", "clicks"} if how != "propagated" else set()
    wanted |= {"mode1+propagated", "mode5+propagated"} if how != "slices" else set()
    assert set(volumes) == wanted
    reference = nib.load(ball / "masks" / "a.nii.gz")
    for prompt, row in volumes.items():
        path = tmp_path / "out/volumes/plain/case_0001" / f"fake_{prompt.replace('+', '_')}.nii.gz"
        back = nib.load(path)
        mask = np.asarray(back.dataobj) > 0
        assert np.array_equal(back.affine, reference.affine) and back.header["descrip"].tobytes().strip(b"\0") == b""
        assert int((mask & (np.asarray(reference.dataobj) > 0)).sum()) == row["n_both"]
        assert row["dice"] > (0.75 if prompt == "mode5" else 0.25)
    if "mode5+propagated" in volumes:
        assert volumes["mode5+propagated"]["n_pred"] > 1.3 * np.pi * 81, "more frames than the prompted one"


@pytest.mark.parametrize("how", ["propagated", "both"])
def test_propagation_encodes_each_frame_once(ball: Path, tmp_path: Path, how: str) -> None:
    class AnyOrder(CountingBackend):
        def decode(self, embedding: int, prompts: list, *, multimask: bool) -> tuple[np.ndarray, np.ndarray]:
            self.encoded, kept = embedding, self.encoded
            answer = super().decode(embedding, prompts, multimask=multimask)
            self.encoded = kept
            return answer

    shown = []

    class Watched(PromptedModel):
        def show(self, frame: np.ndarray, key: int | None = None) -> None:
            shown.append(key)
            super().show(frame, key)

    backend = AnyOrder()
    config = config_of(ball, tmp_path / "out", prompts=MODES)
    trial = dataclasses.replace(config.trial, volumes=how)
    run(dataclasses.replace(config, trial=trial), [Watched(ImagePredictor(backend), name="counted")])
    assert None not in shown and 9 <= backend.encoded == len(set(shown)) < len(shown)


def test_propagation_follows_an_object_from_one_slice_to_its_ends(ball: Path, tmp_path: Path) -> None:
    class Bright(FakePredictor):
        """What is bright inside the box, or all of it for a click."""

        def set_image(self, image: np.ndarray) -> None:
            super().set_image(image)
            self.bright = image[..., 0] > 128

        def predict(self, prompt: Prompt) -> Prediction:
            alpha = np.zeros(self.bright.shape, np.float32)
            x1, y1, x2, y2 = (0, 0, *alpha.shape[::-1]) if prompt.box is None else map(int, prompt.box)
            alpha[y1:y2, x1:x2] = self.bright[y1:y2, x1:x2]
            return Prediction(alpha[None], np.ones(1, np.float32))

    config = config_of(ball, tmp_path / "out", prompts=("mode1", "mode5"))
    trial = dataclasses.replace(config.trial, volumes="propagated")
    run(dataclasses.replace(config, trial=trial), [PromptedModel(Bright(), name="bright")])
    rows = json.loads((tmp_path / "out/parts/plain/case_0001.json").read_text())["rows"]
    assert [(r["prompt"], r["dice"]) for r in rows] == [("mode1+propagated", 1.0), ("mode5+propagated", 1.0)]


def content(path: Path) -> bytes:
    """What a file holds once it is unpacked."""
    data = path.read_bytes()
    if path.suffix == ".png":
        with PIL.Image.open(path) as picture:
            assert set(picture.info) <= {"dpi"}, "no text chunks"
    if path.suffix == ".html":
        return re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", data)  # its pictures are looked at as files
    return gzip.decompress(data) if path.suffix == ".gz" else data


def said_of_the_patient(path: Path) -> set[str]:
    """Every name, number, date, text and own UID in a DICOM file's header."""
    pydicom = pytest.importorskip("pydicom")
    found: set[str] = set()
    for element in pydicom.dcmread(path, stop_before_pixels=True).iterall():
        if element.VR in ("PN", "LO", "SH", "DA", "TM", "ST", "LT", "UT", "UI"):
            found |= {part.strip() for part in str(element.value).replace("[", "").replace("]", "").split("^")}
    return {text for text in found if len(text) >= 4 and not text.startswith("1.2.840.10008.")}


@pytest.fixture
def hospital(medical_data: Path, tmp_path: Path) -> Path:
    """Two CT series with segmentations, as they come from a scanner; the second is cut off in its pixels."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    from medical.dicom import read_series
    from medical.dicom_seg import write_segmentation

    root = tmp_path / "in"
    root.mkdir()
    for name in ("ct_image.dcm", "seg_image_ct_binary_single_frame.dcm"):
        (root / name).write_bytes((medical_data / "clean/dicom" / name).read_bytes())
    second = pydicom.dcmread(root / "ct_image.dcm")
    second.SeriesInstanceUID, second.SOPInstanceUID = "1.3.6.1.4.1.5962.99.1", "1.3.6.1.4.1.5962.99.2"
    second.file_meta.MediaStorageSOPInstanceUID = second.SOPInstanceUID
    second.PatientName = "Halved^Jane"
    path = root / "second.dcm"
    second.save_as(path)
    space = read_series([path]).space
    assert space is not None
    mask = np.zeros((1, 128, 128), bool)
    mask[0, 40:60, 50:90] = True
    write_segmentation(root / "second_seg.dcm", [("liver", mask)], space, model="somebody", case_id="x", salt=b"s",
                       keep_patient=True)  # fmt: skip
    path.write_bytes(path.read_bytes()[:-9000])
    return root


def test_a_cut_off_series_is_told_and_skipped_and_the_others_are_done(hospital, tmp_path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    args = Args(data=str(hospital), dataset="dicom", models="m", out=str(tmp_path / "out"), no_surfaces=True)
    assert call(args) == 1
    (fault,) = [json.loads(line) for line in (tmp_path / "out/errors.jsonl").read_text().splitlines()]
    assert fault["reason"] == "truncated" and "truncated" in capsys.readouterr().err
    assert {row["label"] for row in table(tmp_path / "out/cases.csv")} == {"first segment"}
    assert call(dataclasses.replace(args, out=str(tmp_path / "more"), skip_bad=True)) == 0
    (hospital / "second_seg.dcm").unlink()
    (hospital / "second.dcm").unlink()
    assert call(dataclasses.replace(args, out=str(tmp_path / "whole"))) == 0, "nothing is wrong with the other"


def test_nothing_of_a_header_is_found_in_what_is_written_or_logged(hospital, tmp_path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    secrets = said_of_the_patient(hospital / "ct_image.dcm") | said_of_the_patient(hospital / "second.dcm")
    assert {"CompressedSamples", "1CT1", "20040119", "Halved", "Jane"} <= secrets and len(secrets) > 20
    out = tmp_path / "out"
    call(Args(data=str(hospital), dataset="dicom", models="m,box", out=str(out), no_surfaces=True, dicom_seg=True))
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {".dcm", ".gz", ".png", ".jpg", ".html", ".csv", ".json", ".jsonl"} <= {path.suffix for path in written}
    streams = capsys.readouterr()
    for path in written:
        found = [text for text in secrets if text.encode() in content(path) or text in path.as_posix()]
        assert not found, (path, found)
    assert not [text for text in secrets if text in streams.err + streams.out]


def test_check_names_what_is_wrong(folder_set: Path, capsys) -> None:
    assert command(check, CheckArgs(str(folder_set)), package="medical") == 0
    assert "7 of 7 cases" in capsys.readouterr().out
    (folder_set / "masks" / "Doe_Jane_2.png").unlink()
    (folder_set / "images" / "Doe_Jane_3.png").write_bytes(b"x")
    assert command(check, CheckArgs(str(folder_set), layout="folder"), package="medical") == 1
    said = capsys.readouterr().out
    assert "images/Doe_Jane_2.png: has no mask" in said and "images/Doe_Jane_3.png: not a picture" in said
    assert "5 of 6 cases can be used, files that make no case: 1" in said
    assert command(check, CheckArgs(list=True), package="medical") == 0
    assert "kvasir-seg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ""}, "--data"),
        ({"dataset": "kvasir"}, "kvasir-seg"),
        ({"prompts": "clik"}, "clik"),
        ({"slices": "every:0"}, "every:N"),
        ({"candidates": "best"}, "oracle"),
        ({"window": "belly"}, "soft"),
        ({"spacing": "1"}, "ROW,COLUMN"),
        ({"save": "all"}, "mattes"),
        ({"max_clicks": 0}, "at least 1"),
    ],
)
def test_misuse_is_told_before_anything_is_loaded(folder_set, tmp_path, change, message, capsys) -> None:
    args = dataclasses.replace(Args(data=str(folder_set), out=str(tmp_path / "out")), **change)
    assert command(main, args, package="medical") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_specs_of_data_sets_stay_inside(folder_set: Path, tmp_path: Path, call) -> None:
    assert parse_spec("Left=btcv:RawData/Training#spleen") == DatasetSpec("Left", "btcv", "RawData/Training", "spleen")
    assert parse_spec("kvasir-seg") == DatasetSpec("kvasir-seg", "kvasir-seg", "")
    args = Args(data=str(folder_set), dataset="folder:../..", models="m", out=str(tmp_path / "o"))
    assert call(args) == 1


def test_the_preset_says_that_the_choice_is_ours_and_what_it_lacks(tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    args = Args(data=str(tmp_path), preset="zim5", models="m", out=str(tmp_path / "o"), no_surfaces=True)
    (tmp_path / "us_muscle").mkdir()
    assert call(args) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("hip_xray", "Dataset_BUSI_with_GT", "Task09_Spleen", "choice of data sets"))
    assert "us_muscle" not in said


def test_a_preset_s_report_repeats_it(tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from medical.presets import ZIM5

    monkeypatch.setattr("medical.presets.ZIM5", ZIM5[:1])
    for i in range(2):
        ids = np.zeros((20, 24), np.uint8)
        ids[3:9, 4 + i : 12], ids[12:17, 10:20] = 1, 2
        save(tmp_path / "hip_xray/images" / f"{i}.png", ids * 90)
        save(tmp_path / "hip_xray/labels" / f"{i}.png", ids)
    out = tmp_path / "o"
    assert call(Args(data=str(tmp_path), preset="zim5", models="m", out=str(out), no_surfaces=True)) == 0
    assert "is not known" in (out / "report.html").read_text() and "is not known" in (out / "report.json").read_text()
    assert {row["label"] for row in table(out / "cases.csv")} == {"ilium"}


def test_help_takes_little_and_says_what_this_is_for() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    said = subprocess.run(
        [sys.executable, "-c", "from medical.cli import entrypoint; entrypoint()", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Research only" in said.stdout and "zim-medseg check" in said.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5, "seconds of processor time"
    light = "import sys, medical, medical.cli; assert not {'torch', 'scipy', 'nibabel', 'pydicom'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", light], check=True)
