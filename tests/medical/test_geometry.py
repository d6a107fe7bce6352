"""Geometry of series: where every voxel lies by highdicom, what is irregular and said, and results read by others."""

import json
from pathlib import Path

import numpy as np
import pytest

from medical.io.dicom import read_series
from medical.io.dicom_seg import read_segmentation
from medical.io.errors import ScanFault
from medical.io.layouts import find_layout
from medical.io.pairing import find_cases
from medical.io.reading import ReadingConfig, read_scan
from medical.io.rtstruct import fill_polygon, outline_mask, read_structures
from medical.segment.command import SegmentArgs, main
from tests.medical.invented_dicom import (
    CENTRE,
    KINDS,
    PATIENT,
    PROBES,
    RADIUS_MM,
    SIZE,
    in_order,
    make,
    masks_of,
    places,
    voxel_places,
    write_series,
)
from tests.medical.test_segment import Threshold
from zim_plugins.cli.runtime import run as command

hd = pytest.importorskip("highdicom")
nib = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")


@pytest.mark.parametrize("drop", [(), (4, 9, 10)], ids=["whole", "gapped"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_voxel_lies_where_highdicom_has_it(kind: str, drop: tuple[int, ...], tmp_path: Path) -> None:
    paths = make(tmp_path, kind, drop)
    series = read_series(sorted(paths), irregular="keep")
    assert series.space is not None
    grid = series.space.grid
    off = []
    for frame, uid in enumerate(series.instance_uids):
        path = next(p for p in paths if str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID) == uid)
        voxels = np.c_[PROBES, np.full(len(PROBES), grid[frame]), np.ones(len(PROBES))]
        off.append(np.abs((voxels @ series.space.affine.T)[:, :3] - voxel_places([path])[0]).max())
        assert np.array_equal(series.values[frame] > 0, masks_of([path])[0])
        found = series.space.locate(voxel_places([path])[0])
        assert np.allclose(found, np.c_[np.full(len(PROBES), frame), PROBES[:, ::-1]], atol=1e-5)
    assert max(off) < 1e-6, "farthest voxel [mm]"
    assert len(grid) == 14 - len(drop) and grid[-1] == 13
    said = " ".join(series.notes)
    assert ("sideways" in said) == ("tilted" in kind) and ("missing" in said) == bool(drop)
    regular = "tilted" not in kind and not drop
    if regular:
        datasets = [pydicom.dcmread(p) for p in paths]
        theirs = hd.get_volume_from_series(datasets).get_geometry().to_patient_orientation("LPH")
        corners = {tuple(np.round(c, 4)) for c in _corners(theirs.affine, theirs.spatial_shape)}
        ours = {tuple(np.round(c, 4)) for c in _corners(np.diag([-1, -1, 1, 1]) @ series.space.affine, (48, 40, 14))}
        assert corners == ours
        assert read_series(paths).spacing_mm == pytest.approx(series.spacing_mm)
    else:
        with pytest.raises(ScanFault, match=r"--irregular keep .*--irregular resample") as fault:
            read_series(paths)
        assert fault.value.reason == ("missing-slices" if drop else "tilt")


def _corners(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    ends = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    return (ends @ affine.T)[:, :3]


@pytest.mark.parametrize("kind", KINDS)
def test_resampling_keeps_the_ball_where_it_is(kind: str, tmp_path: Path) -> None:
    paths = make(tmp_path, kind, (1, 6, 12))
    series = read_series(paths, irregular="resample")
    assert series.space is not None and series.space.is_resampled
    assert any("interpolated" in note for note in series.notes)
    affine = series.space.affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-6), "at right angles"
    for stack in (series.values > 100, series.fit_labels(masks_of(in_order(paths, series)))):
        voxels = np.argwhere(series.space.restore(stack))
        centre = (np.c_[voxels, np.ones(len(voxels))] @ affine.T)[:, :3].mean(0)
        assert np.linalg.norm(centre - CENTRE * [-1, -1, 1]) < 1.0
        volume = len(voxels) * abs(np.linalg.det(affine[:3, :3]))
        assert volume == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.1)


def test_what_is_irregular_is_said_as_it_is_seen(tmp_path: Path) -> None:
    sizes = [(0.8, 0.7)] * 5 + [(1.0, 1.0)] * 3
    mixed = write_series(tmp_path / "sizes", places(8), pixels=sizes)
    for choice in ("refuse", "keep"):
        with pytest.raises(ScanFault, match=r"2 pixel spacings: 0\.8 x 0\.7 mm \(5\), 1 x 1 mm \(3\)") as fault:
            read_series(mixed, irregular=choice)
        assert "--irregular resample" in str(fault.value) and "keep" not in str(fault.value)
    resampled = read_series(mixed, irregular="resample")
    assert resampled.spacing_mm == pytest.approx((3.0, 0.8, 0.7))
    uneven = places(6)
    uneven[3:, 2] += 1.3
    with pytest.raises(ScanFault, match=r"3 to 4\.3 mm apart, by no common step"):
        read_series(write_series(tmp_path / "uneven", uneven), irregular="keep")
    bent = places(6)
    bent[3, 0] += 4
    with pytest.raises(ScanFault, match="off a straight line"):
        read_series(write_series(tmp_path / "bent", bent), irregular="keep")
    turned = write_series(tmp_path / "turned", places(4))
    one = pydicom.dcmread(turned[2])
    one.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    one.save_as(turned[2])
    with pytest.raises(ScanFault, match="1 of 4 slices are turned against the first, by up to 90 degrees"):
        read_series(turned)
    double = write_series(tmp_path / "double", np.repeat(places(3), 2, axis=0))
    for number, path in enumerate(double):
        one = pydicom.dcmread(path)
        one.EchoTime = 10.0 + number % 2
        one.save_as(path)
    with pytest.raises(ScanFault, match="3 pairs of slices lie at one place, which differ in EchoTime"):
        read_series(double)


def test_small_steps_are_no_tilt_and_no_gap(tmp_path: Path) -> None:
    """Headers round, and couches move unevenly by hundredths of a millimetre."""
    origins = places(12) + np.random.default_rng(0).uniform(-0.01, 0.01, (12, 3))
    assert read_series(write_series(tmp_path / "rounded", origins)).spacing_mm == pytest.approx((3, 0.8, 0.7), abs=0.01)
    origins = places(12, step=(0, 0.2, 3.0))
    with pytest.raises(ScanFault, match=r"sideways by 0\.2 mm each"):
        read_series(write_series(tmp_path / "slightly", origins))


def test_an_enhanced_object_is_rescaled_and_placed_frame_by_frame(tmp_path: Path, medical_cases: Path) -> None:
    series = read_series([medical_cases / "enhanced" / "ct" / "e.dcm"])
    assert series.space is not None and series.spacing_mm == pytest.approx((3.0, 0.8, 0.7))
    raw = pydicom.dcmread(medical_cases / "enhanced" / "ct" / "e.dcm").pixel_array
    assert np.array_equal(series.values, raw.astype(np.float32) - 1024)
    cases, problems = find_cases(medical_cases / "enhanced", find_layout("dicom"))
    assert len(cases) == 1 and not problems
    scan = read_scan(cases[0])
    theirs = hd.seg.segread(medical_cases / "enhanced" / "seg" / "s.dcm")
    for number in theirs.segment_numbers:
        volume = theirs.get_volume(segment_numbers=[number])
        label = str(theirs.get_segment_description(number).segment_label)
        assert int(scan.label_stack(label).sum()) == int((volume.array > 0).sum()) > 0


def test_files_named_by_uid_and_an_empty_one(tmp_path: Path) -> None:
    names = [f"1.2.840.113619.{i}" for i in range(14)]
    write_series(tmp_path / "ct", places(), names=names)
    (tmp_path / "ct" / "IM099.dcm").write_bytes(b"")
    (tmp_path / "ct" / "notes").write_text("no image")
    cases, problems = find_cases(tmp_path, find_layout("dicom"))
    assert not cases and {p.what for p in problems} == {
        "the file is empty (0 bytes)", "no segmentation refers to its series of 14 files",
    }  # fmt: skip
    from medical.io.opening import open_scan

    opened = open_scan(tmp_path / "ct")
    assert opened.scan.frames.shape == (14, *SIZE, 3)
    assert "1 file is left out: the file is empty (0 bytes)" in opened.scan.notes
    (tmp_path / "ct" / names[5]).write_bytes(b"")
    with pytest.raises(ScanFault, match=r"1 of 14 slices are missing .number 5"):
        open_scan(tmp_path / "ct")
    write_series(tmp_path / "ct" / "second", places(3), series=2)
    with pytest.raises(ScanFault, match=r"2 series .* --series"):
        open_scan(tmp_path / "ct")
    assert open_scan(tmp_path / "ct", series=2).scan.frames.shape[0] == 3
    with pytest.raises(ScanFault, match=r"1\.\.2"):
        open_scan(tmp_path / "ct", series=3)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    """The command, with a predictor that needs no weights."""
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())
    return lambda **options: command(main, SegmentArgs(**options), package="medical")


@pytest.mark.parametrize("drop", [(), (6, 11)], ids=["whole", "gapped"])
@pytest.mark.parametrize("kind", KINDS)
def test_results_of_a_series_come_back_in_place(kind: str, drop: tuple[int, ...], call, tmp_path: Path) -> None:
    """One click in mm; NIfTI by nibabel, DICOM-SEG by highdicom, RTSTRUCT by our reader and by OpenCV."""
    paths = make(tmp_path / "ct", kind, drop)
    before = {p: p.read_bytes() for p in paths}
    out = tmp_path / "out"
    click = ",".join(f"{v:.6g}" for v in CENTRE + 0.1)
    assert call(scan=str(tmp_path / "ct"), point=(f"ball={click}",), units="lps", out=str(out),
                format="nifti,dicom-seg,rtstruct") == 0  # fmt: skip
    assert {p: p.read_bytes() for p in paths} == before
    series = read_series(paths, irregular="keep")
    truth = masks_of(in_order(paths, series))
    assert series.space is not None and truth.any()

    labels = nib.load(out / "ct_seg.nii.gz")
    assert labels.get_data_dtype() == np.uint8 and int(labels.header["sform_code"]) == 1
    array = np.asarray(labels.dataobj)
    assert np.array_equal(array, series.space.restore(truth.astype(np.uint8)))
    for frame, path in enumerate(in_order(paths, series)):
        voxels = np.c_[PROBES, np.full(len(PROBES), series.space.grid[frame]), np.ones(len(PROBES))]
        assert np.abs((voxels @ labels.affine.T)[:, :3] - voxel_places([path])[0]).max() < 1e-4

    if "tilted" not in kind:  # SimpleITK refuses NIfTI whose axes are not at right angles
        image = pytest.importorskip("SimpleITK").ReadImage(str(out / "ct_seg.nii.gz"))
        for frame, path in enumerate(in_order(paths, series)):
            for (column, row), place in zip(PROBES.tolist(), voxel_places([path])[0], strict=True):
                theirs = image.TransformIndexToPhysicalPoint((column, row, series.space.grid[frame]))
                assert np.abs(np.array(theirs) - place * [-1, -1, 1]).max() < 1e-4

    segmentation = hd.seg.segread(out / "ct_seg.dcm")
    theirs = segmentation.get_pixels_by_source_instance(
        list(series.instance_uids), segment_numbers=[1], ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    assert np.array_equal(theirs[..., 0] > 0, truth)
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        assert np.abs(series.planes.origins - position).max(axis=1).min() < 1e-6
    assert dict(read_segmentation(out / "ct_seg.dcm", series))["ball"].sum() == truth.sum()

    notes: list[str] = []
    structures = dict(read_structures(out / "ct_rtstruct.dcm", series, notes))
    assert np.array_equal(structures["ball"], truth) and not notes
    assert np.array_equal(_filled_by_opencv(out / "ct_rtstruct.dcm", series), truth)
    for name in ("ct_seg.dcm", "ct_rtstruct.dcm"):
        content = (out / name).read_bytes()
        assert not any(text.encode() in content for text in (*PATIENT, "HOUSE", "20240229"))
        assert pydicom.dcmread(out / name).FrameOfReferenceUID == "1.2.3.4.5"
    record = json.loads((out / "ct_seg.json").read_text())
    expected = truth.sum() * abs(np.linalg.det(series.space.affine[:3, :3])) / 1000
    assert record["structures"][0]["volume_ml"] == pytest.approx(expected, rel=1e-3)


def _filled_by_opencv(path: Path, series) -> np.ndarray:
    """Contours of a structure set drawn by somebody else's polygon filler, on a raster 16 times as fine."""
    cv2 = pytest.importorskip("cv2")
    dataset = pydicom.dcmread(path)
    found = np.zeros((len(series.instance_uids), *SIZE), dtype=bool)
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        frame = series.instance_uids.index(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
        to_pixels = np.linalg.inv(series.planes.frame_affine(frame))
        pixels = (np.c_[points, np.ones(len(points))] @ to_pixels.T)[:, :2]
        fine = np.zeros((SIZE[0] * 16, SIZE[1] * 16), dtype=np.uint8)
        cv2.fillPoly(fine, [np.rint(pixels * 16).astype(np.int32)], 1)
        found[frame] ^= fine[::16, ::16] > 0
    return found


def test_interpolated_results_are_read_by_simpleitk(call, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    make(tmp_path / "ct", "tilted", (6, 11))
    click = ",".join(f"{v:.6g}" for v in CENTRE)
    options = {"scan": str(tmp_path / "ct"), "point": (click,), "units": "lps", "irregular": "resample"}
    assert call(**options, out=str(tmp_path / "out"), format="nifti,rtstruct") == 0
    image = sitk.ReadImage(str(tmp_path / "out" / "ct_seg.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    assert array.dtype == np.uint8
    centre = np.argwhere(array > 0).mean(0)[::-1]
    place = np.array(image.TransformContinuousIndexToPhysicalPoint(centre.tolist()))
    assert np.linalg.norm(place - CENTRE) < 1.0
    assert call(**options, out=str(tmp_path / "seg"), format="dicom-seg") == 2, "no slice of the series is in it"


@pytest.mark.parametrize("seed", range(12))
def test_outlines_hold_exactly_their_pixels(seed: int) -> None:
    """Random masks with holes, islands in holes, corners that touch and edges of the image."""
    rng = np.random.default_rng(seed)
    from scipy.ndimage import gaussian_filter

    mask = gaussian_filter(rng.random((30, 37)), 0.3 + 0.2 * seed) > 0.5
    mask[:4, :4] = True
    found = np.zeros_like(mask)
    for polygon in outline_mask(mask):
        own = fill_polygon(polygon, (30, 37))
        assert not (found & own).any()
        found ^= own
    assert np.array_equal(found, mask)


@pytest.mark.parametrize(("name", "reason"), [("gantry", "tilt"), ("varyps", "pixel-spacing")])
def test_the_faulty_series_are_refused_by_their_reason(name: str, reason: str, medical_cases: Path) -> None:
    cases, _ = find_cases(medical_cases / name, find_layout("dicom"))
    assert len(cases) == 1
    with pytest.raises(ScanFault) as fault:
        read_scan(cases[0])
    assert fault.value.reason == reason
    scan = read_scan(cases[0], ReadingConfig(irregular="resample"))
    assert scan.is_regular and scan.labels
    if name == "gantry":
        kept = read_scan(cases[0], ReadingConfig(irregular="keep"))
        seg = hd.seg.segread(medical_cases / name / "seg" / "seg.dcm")
        total = (
            sum(int(seg.get_volume(segment_numbers=[n]).array.sum()) for n in seg.segment_numbers) if False else None
        )
        assert total is None and kept.space is not None
        last = kept.space.affine @ [63, 63, 9, 1]
        assert np.allclose(last[:3], [-(-100 + 63 * 0.7), -(-80 + 63 * 0.8 + 9), -50 + 27], atol=1e-6)
