"""Labels of series: segmentation objects, structure sets and volumes, laid where they lie, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest

from medical.io.dicom import read_series
from medical.io.dicom_seg import read_segmentation
from medical.io.errors import ScanFault
from medical.io.layouts import find_layout
from medical.io.pairing import find_cases
from medical.io.reading import ReadingConfig, read_scan
from medical.io.remedies import Remedies
from medical.io.rtstruct import read_structures
from medical.segment.command import SegmentArgs, main
from tests.medical.invented_dicom import CENTRE, in_order, make, masks_of
from tests.medical.test_segment import Threshold
from zim_plugins.cli.runtime import run as command

hd = pytest.importorskip("highdicom")
nib = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """The command, with a predictor that needs no weights."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())
    return lambda **options: command(main, SegmentArgs(**options), package="medical")


def test_a_gapped_series_is_measured_without_distances(tmp_path: Path) -> None:
    """Slices count, distances across them do not, and it is said."""
    paths = make(tmp_path / "ct", "straight")
    _segment_by_highdicom(paths, tmp_path / "seg.dcm", {"ball": masks_of(paths)})
    for path in (paths[4], paths[9]):
        path.unlink()
    cases, _ = find_cases(tmp_path, find_layout("dicom"))
    with pytest.raises(ScanFault, match="2 of 14 slices are missing"):
        read_scan(cases[0])
    scan = read_scan(cases[0], ReadingConfig(irregular="keep"))
    kept = masks_of([p for p in paths if p.exists()])
    assert np.array_equal(scan.label_stack("ball"), kept) and not scan.is_regular
    said = " ".join(scan.notes)
    assert "no distances are taken" in said and "frames of the segmentation lie on no slice" in said
    filled = read_scan(cases[0], ReadingConfig(irregular="resample"))
    assert filled.is_regular and filled.frames.shape[0] == 14


def _segment_by_highdicom(paths: list[Path], out: Path, masks: dict[str, np.ndarray], **options: object) -> None:
    """A segmentation as others write it."""
    tissue = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    segments = [
        hd.seg.SegmentDescription(number, name, tissue, tissue, algorithm_type="MANUAL")
        for number, name in enumerate(masks, start=1)
    ]
    pixels = np.stack(list(masks.values()), axis=-1).astype(np.uint8)
    hd.seg.Segmentation(
        [pydicom.dcmread(p) for p in paths], pixels, "BINARY", segments, hd.UID(), 1, hd.UID(), 1,
        "x", "x", "1", "1", **options,
    ).save_as(out)  # fmt: skip


def test_segmentations_without_derivation_are_laid_by_place(tmp_path: Path) -> None:
    paths = make(tmp_path / "ct", "tilted")
    truth = masks_of(paths)
    _segment_by_highdicom(paths, tmp_path / "seg.dcm", {"ball": truth})
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.save_as(tmp_path / "seg.dcm")
    cases, problems = find_cases(tmp_path, find_layout("dicom"))
    assert len(cases) == 1 and not problems
    scan = read_scan(cases[0], ReadingConfig(irregular="keep"))
    order = np.argsort([scan.space.planes.depths.tolist().index(d) for d in scan.space.planes.depths])
    assert np.array_equal(scan.label_stack("ball"), truth[order])
    dataset.FrameOfReferenceUID = "1.2.3.99"
    dataset.save_as(tmp_path / "seg.dcm")
    cases, problems = find_cases(tmp_path, find_layout("dicom"))
    assert not cases and any("no series has its frame of reference" in p.what for p in problems)


def test_two_segmentations_of_one_series(tmp_path: Path) -> None:
    paths = make(tmp_path / "ct", "straight")
    truth = masks_of(paths)
    _segment_by_highdicom(paths, tmp_path / "one.dcm", {"ball": truth})
    _segment_by_highdicom(paths, tmp_path / "two.dcm", {"rest": ~truth})
    cases, _ = find_cases(tmp_path, find_layout("dicom"))
    scan = read_scan(cases[0])
    assert set(scan.labels) == {"ball", "rest"} and any("labels of 2 files" in note for note in scan.notes)
    _segment_by_highdicom(paths, tmp_path / "two.dcm", {"ball": np.roll(truth, 3, axis=1)})
    cases, _ = find_cases(tmp_path, find_layout("dicom"))
    with pytest.raises(ScanFault, match="more than one of them the same label"):
        read_scan(cases[0])


def test_labels_of_a_series_may_be_a_volume_or_a_structure_set(tmp_path: Path, call) -> None:
    paths = make(tmp_path / "scan" / "ct", "oblique-tilted", (6,))
    click = ",".join(f"{v:.6g}" for v in CENTRE)
    assert call(scan=str(tmp_path / "scan"), point=(f"ball={click}",), units="lps", out=str(tmp_path / "out"),
                format="nifti,rtstruct") == 0  # fmt: skip
    series = read_series(paths, irregular="keep")
    truth = masks_of(in_order(paths, series))
    for number, (name, label) in enumerate((("scan_seg.nii.gz", "object"), ("scan_rtstruct.dcm", "ball"))):
        root = tmp_path / f"set{number}"
        for path in paths:
            (root / "ct").mkdir(parents=True, exist_ok=True)
            (root / "ct" / path.name).write_bytes(path.read_bytes())
        (root / name).write_bytes((tmp_path / "out" / name).read_bytes())
        cases, problems = find_cases(root, find_layout("dicom"))
        assert len(cases) == 1 and not problems
        scan = read_scan(cases[0], ReadingConfig(irregular="keep"))
        assert np.array_equal(scan.label_stack(label), truth), name
    image = nib.load(tmp_path / "out" / "scan_seg.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([1, 1, 1.1, 1])), root / "ct_seg.nii.gz")
    (root / "scan_rtstruct.dcm").unlink()
    cases, _ = find_cases(root, find_layout("dicom"))
    with pytest.raises(ScanFault, match="--resample-labels nearest"):
        read_scan(cases[0], ReadingConfig(irregular="keep"))
    nearest = read_scan(cases[0], ReadingConfig(irregular="keep", remedies=Remedies(resample_labels=True)))
    assert any("takes its nearest label" in note for note in nearest.notes) and nearest.label_stack("object").any()


def test_a_structure_set_without_contours_is_said_to_be_one(medical_cases: Path) -> None:
    cases, problems = find_cases(medical_cases / "rtstruct", find_layout("dicom"))
    assert not cases
    assert {p.where: p.what for p in problems}["rs/rs.dcm"] == "is a structure set without its series: it names none"


def test_an_earlier_result_of_a_gapped_series_is_a_mask_for_it(tmp_path: Path, call) -> None:
    paths = make(tmp_path / "ct", "tilted", (6,))
    click = ",".join(f"{v:.6g}" for v in CENTRE)
    assert call(scan=str(tmp_path / "ct"), point=(click,), units="lps", reach=0, out=str(tmp_path / "first")) == 0
    mask = f"ball={tmp_path / 'first' / 'ct_seg.nii.gz'}"
    assert call(scan=str(tmp_path / "ct"), mask=(mask,), out=str(tmp_path / "then")) == 0
    series = read_series(paths, irregular="keep")
    assert series.space is not None
    found = series.space.stack(np.asarray(nib.load(tmp_path / "then" / "ct_seg.nii.gz").dataobj))
    assert np.array_equal(found > 0, masks_of(in_order(paths, series)))
    assert call(scan=str(tmp_path / "ct"), mask=(str(paths[0]),), out=str(tmp_path / "no")) == 1


def test_a_run_measures_kept_and_interpolated_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command: refused by default, slices and volumes otherwise, surfaces of volumes only at right angles."""
    import csv

    from medical.cli import Args
    from medical.cli import main as evaluate

    paths = make(tmp_path / "data" / "ct", "tilted", (6,))
    _segment_by_highdicom(paths, tmp_path / "data" / "seg.dcm", {"ball": masks_of(paths)})
    codes = {}
    for choice in ("refuse", "keep", "resample"):
        args = Args(data=str(tmp_path / "data"), dataset="dicom", models="box", prompts="box", irregular=choice,
                    out=str(tmp_path / choice), dicom_seg=True, save="none")  # fmt: skip
        codes[choice] = command(evaluate, args, package="medical")
    assert codes == {"refuse": 1, "keep": 0, "resample": 0}
    for choice in ("keep", "resample"):
        with (tmp_path / choice / "rows.csv").open() as file:
            rows = list(csv.DictReader(file))
        volumes = [row for row in rows if row["level"] == "volume"]
        assert volumes and all((row["hd95_mm"] != "") == (choice == "resample") for row in volumes)
        assert all(row["hd95_mm"] != "" for row in rows if row["level"] == "slice")


def test_frames_of_an_enhanced_object_may_be_in_any_order(tmp_path: Path, medical_cases: Path, call) -> None:
    """Results name the frames of the file that they are of, whatever the frames' order in it."""
    dataset = pydicom.dcmread(medical_cases / "enhanced" / "ct" / "e.dcm")
    order = np.array([3, 0, 9, 1, 8, 2, 7, 4, 6, 5])
    dataset.PerFrameFunctionalGroupsSequence = [dataset.PerFrameFunctionalGroupsSequence[i] for i in order]
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[order]).tobytes()
    (tmp_path / "ct").mkdir()
    dataset.save_as(tmp_path / "ct" / "shuffled.dcm")
    straight, shuffled = (
        read_series([path]) for path in (medical_cases / "enhanced" / "ct" / "e.dcm", tmp_path / "ct" / "shuffled.dcm")
    )
    assert np.array_equal(straight.values, shuffled.values)
    assert np.array_equal(straight.space.affine, shuffled.space.affine)
    assert call(scan=str(tmp_path / "ct"), box=("20,20,44,44@5",), window="-400,2000", out=str(tmp_path / "out"),
                format="nifti,dicom-seg,rtstruct") == 0  # fmt: skip
    labels = np.asarray(nib.load(tmp_path / "out" / "ct_seg.nii.gz").dataobj).transpose(2, 1, 0) > 0
    assert labels.any()
    theirs = hd.seg.segread(tmp_path / "out" / "ct_seg.dcm").get_pixels_by_source_frame(
        dataset.SOPInstanceUID, list(range(1, 11)), segment_numbers=[1], ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    assert np.array_equal(theirs[..., 0] > 0, labels[order])
    for name in ("ct_seg.dcm", "ct_rtstruct.dcm"):
        reader = read_segmentation if "seg" in name else read_structures
        assert np.array_equal(reader(tmp_path / "out" / name, shuffled)[0][1], labels), name
