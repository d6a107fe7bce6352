"""Whole runs on a hospital's files: a series that was cut off, and nothing of a header anywhere."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medical.cli import Args
from tests.medical.whole_runs import table


def content(path: Path) -> bytes:
    """What a file holds once it is unpacked."""
    data = path.read_bytes()
    if path.suffix == ".png":
        with PIL.Image.open(path) as image:
            assert set(image.info) <= {"dpi"}, "no text chunks"
    if path.suffix == ".html":
        return re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", data)  # its images are looked at as files
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
    from medical.io.dicom import read_series
    from medical.io.dicom_seg import write_segmentation

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
                       kept="patient")  # fmt: skip
    path.write_bytes(path.read_bytes()[:-9000])
    return root


def test_a_cut_off_series_is_told_and_skipped_and_the_others_are_done(hospital, tmp_path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    args = Args(data=str(hospital), dataset="dicom", models="m", out=str(tmp_path / "out"), no_surfaces=True)
    assert call(args) == 1
    (fault,) = [json.loads(line) for line in (tmp_path / "out/errors.jsonl").read_text().splitlines()]
    assert fault["reason"] == "truncated" and "truncated" in capsys.readouterr().err
    assert {row["label"] for row in table(tmp_path / "out/rows.csv")} == {"first segment"}
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


def test_what_somebody_typed_into_a_segment_stays_where_it_is(tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    from tests.medical.scanner import block, ct_series, segmentation

    root, map_file = tmp_path / "in", tmp_path / "map.tsv"
    files = ct_series(root / "ct")
    masks = {"Liver": block((8, 32, 40)), "Planted Jane MRN-1 tumour": np.roll(block((8, 32, 40)), -10, axis=2)}
    segmentation(root / "seg.dcm", files, masks)
    args = Args(data=str(root), dataset="dicom", models="m", prompts="box", out=str(tmp_path / "out"), dicom_seg=True,
                no_surfaces=True, write_id_map=str(map_file))  # fmt: skip
    assert call(args) == 0
    said = capsys.readouterr()
    for path in (tmp_path / "out").rglob("*"):
        held = path.name.encode() + (content(path) if path.is_file() else b"")
        assert b"Planted" not in held and b"MRN" not in held and b"Jane" not in held, path
    assert "Planted" not in said.err + said.out and "called by numbers: 1" in said.err
    assert {r["label"] for r in table(tmp_path / "out/rows.csv")} == {"Liver", "segment_001"}
    assert "segment_001\t(label)\tPlanted Jane MRN-1 tumour" in map_file.read_text()
    pydicom = pytest.importorskip("pydicom")
    (written,) = (tmp_path / "out").rglob("*.dcm")
    assert {s.SegmentLabel for s in pydicom.dcmread(written).SegmentSequence} == {"Liver", "segment_001"}
    kept = dataclasses.replace(args, out=str(tmp_path / "kept"), keep_names=True, save="none", write_id_map=None)
    assert call(kept) == 0
    assert "Planted Jane MRN-1 tumour" in {r["label"] for r in table(tmp_path / "kept/cases.csv")}


def test_words_of_anatomy_stay_and_names_do_not() -> None:
    pytest.importorskip("pydicom")
    from medical.deidentify import public_labels

    kept = [
        "Liver",
        "left kidney",
        "Kidney_Right",
        "spinal_cord",
        "SpinalCord",
        "lungs",
        "lesion 12",
        "tumor",
        "GallBladder",
    ]
    lost = ["Doe", "liver of Jane Doe", "Brown", "lesion 1970", "19700101", "", "x", "Möller"]
    names = public_labels([*kept, *lost])
    assert [name for name in kept if names[name] != name] == []
    assert sorted(names[name] for name in lost) == [f"segment_{i:03d}" for i in range(1, len(lost) + 1)]
