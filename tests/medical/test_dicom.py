"""DICOM: order, rescaling, inversion, frames, faults, segmentations; and that nobody's name comes out."""

from pathlib import Path

import numpy as np
import pytest

from medical.check import guess_layout
from medical.io.dicom import read_series
from medical.io.dicom_pixels import read_header
from medical.io.dicom_seg import read_segmentation, write_segmentation
from medical.io.errors import ScanFault
from medical.io.layouts import find_layout
from medical.io.pairing import find_cases
from medical.io.reading import read_dicom_images, read_scan

pydicom = pytest.importorskip("pydicom")
NAMES = (b"CompressedSamples", b"1CT1", b"20040119", b"1.3.6.1.4.1.5962")


@pytest.fixture
def bundle(medical_data: Path) -> Path:
    return medical_data / "clean" / "dicom"


@pytest.fixture
def series(bundle: Path, tmp_path: Path) -> list[Path]:
    """Five slices, 3 mm apart, in files whose names and instance numbers lie about their order."""
    source = pydicom.dcmread(bundle / "ct_image.dcm")
    values = source.pixel_array
    paths = []
    for place, name in enumerate("dbaec"):
        one = pydicom.dcmread(bundle / "ct_image.dcm")
        one.ImagePositionPatient = [1.0, 2.0, 3.0 * place]
        one.InstanceNumber = (place * 7) % 5
        one.SOPInstanceUID = f"{source.SOPInstanceUID}.{place}"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.PixelData = np.roll(values, place * 5, axis=0).tobytes()
        one.save_as(tmp_path / f"{name}.dcm")
        paths.append(tmp_path / f"{name}.dcm")
    return paths


def test_a_shuffled_series_is_ordered_by_place(series: list[Path]) -> None:
    read = read_series(sorted(series))
    plain = pydicom.dcmread(series[0])
    hounsfield = plain.pixel_array * float(plain.RescaleSlope) + float(plain.RescaleIntercept)
    expected = np.stack([np.roll(hounsfield, place * 5, axis=0) for place in range(5)])
    assert np.array_equal(read.values, expected) and read.values.min() == -896 and read.values.max() == 1167
    assert read.spacing_mm == pytest.approx((3.0, 0.661468, 0.661468)) and read.space is not None
    # (column, row, frame) to RAS: left-right and front-back are turned against DICOM's.
    assert (read.space.affine @ [10, 0, 2, 1])[:3] == pytest.approx([-(1 + 6.61468), -2.0, 6.0])
    restored = read.space.restore(read.values)
    assert restored.shape == (128, 128, 5) and restored[3, 7, 2] == read.values[2, 7, 3]


def test_gaps_doubles_and_mixed_series_are_told(series: list[Path]) -> None:
    with pytest.raises(ScanFault, match="2 of 5 slices are missing") as fault:
        read_series([series[0], series[1], series[4]])
    assert fault.value.reason == "missing-slices" and "--irregular" in str(fault.value)
    copy = series[0].with_name("copy.dcm")
    copy.write_bytes(series[0].read_bytes())
    assert any("copies" in note for note in read_series([*series, copy]).notes)
    other = pydicom.dcmread(series[0])
    other.SOPInstanceUID = "1.2.3"
    other.save_as(copy)
    with pytest.raises(ScanFault, match="at one place"):
        read_series([*series, copy])
    other = pydicom.dcmread(series[1])
    other.SeriesInstanceUID = "1.2.3"
    other.save_as(series[1])
    with pytest.raises(ScanFault, match="2 series"):
        read_series(series)


def test_monochrome1_is_shown_inverted(bundle: Path) -> None:
    scan, _ = read_dicom_images((bundle / "dx_image.dcm",))
    raw = pydicom.dcmread(bundle / "dx_image.dcm").pixel_array
    shown = scan.frames[0, ..., 0]
    assert shown[np.unravel_index(raw.argmin(), raw.shape)] == shown.max() > 240
    assert shown[np.unravel_index(raw.argmax(), raw.shape)] == shown.min() < 15
    assert scan.space is None and scan.spacing_mm is not None and scan.spacing_mm[1:] == pytest.approx((1.2, 1.2012))


def test_frames_and_colours(bundle: Path) -> None:
    scan, _ = read_dicom_images((bundle / "pydicom_SC_rgb_rle_2frame.dcm",))
    assert scan.frames.shape == (2, 100, 100, 3) and scan.frames.std() > 10
    same = read_dicom_images((bundle / "pydicom_MR_small.dcm",))[0].frames
    assert np.array_equal(read_dicom_images((bundle / "pydicom_MR_small_RLE.dcm",))[0].frames, same)


@pytest.mark.parametrize(
    ("name", "reason"), [("pydicom_MR_truncated.dcm", "truncated"), ("pydicom_no_meta.dcm", "not-dicom")]
)
def test_damaged_files_are_faults_without_names(bundle: Path, name: str, reason: str) -> None:
    with pytest.raises(ScanFault) as fault:
        read_dicom_images((bundle / name,))
    assert fault.value.reason == reason
    assert not any(n.decode() in str(fault.value) for n in (*NAMES, b"4MR1", b"pydicom_MR"))


def test_size_is_bounded_before_pixels_are_read(series: list[Path]) -> None:
    with pytest.raises(ScanFault, match=r"8\.19e"):
        read_series(series, max_values=1000)


def test_a_segmentation_lies_on_its_series(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    for name in ("ct_image.dcm", "seg_image_ct_binary_single_frame.dcm", "pydicom_MR_truncated.dcm"):
        (tmp_path / name).write_bytes((bundle / name).read_bytes())
    cases, problems = find_cases(tmp_path, find_layout("dicom"))
    assert len(cases) == 1 and len(problems) == 1
    assert guess_layout(bundle).name == "dicom", "also where most files are of no use"
    target = next(read_scan(cases[0]).targets(0))
    raw = pydicom.dcmread(tmp_path / "seg_image_ct_binary_single_frame.dcm").pixel_array
    assert target.label == "first segment" and np.array_equal(target.mask, raw.reshape(128, 128) > 0)
    with pytest.raises(ScanFault, match="other slices"):
        read_segmentation(bundle / "seg_image_ct_binary.dcm", read_series([bundle / "ct_image.dcm"]))


@pytest.mark.parametrize("keep_patient", [False, True])
def test_segmentations_are_written_without_the_patient(series: list[Path], tmp_path: Path, keep_patient: bool) -> None:
    hd = pytest.importorskip("highdicom")
    read = read_series(series)
    assert read.space is not None
    mask = np.zeros((5, 128, 128), bool)
    mask[1:4, 30:60, 20:90] = True
    out = tmp_path / "out" / "seg.dcm"
    write_segmentation(out, [("spleen", mask), ("liver", ~mask)], read.space, model="zim_tiny", case_id="case_0001",
                       salt=b"pepper", kept="patient" if keep_patient else "nothing")  # fmt: skip
    found = [name for name in NAMES if name in out.read_bytes()]
    assert bool(found) == keep_patient, found
    segmentation = hd.seg.segread(out)
    volume = segmentation.get_volume(segment_numbers=[1])
    assert np.array_equal(volume.array[..., 0] > 0, mask) or np.array_equal(volume.array[::-1, ..., 0] > 0, mask)
    placed = {tuple(np.round(p, 3)) for p in (volume.affine @ [[0, 0, 0, 1], [2, 0, 0, 1]][i] for i in (0, 1))}
    assert {(1.0, 2.0)} == {p[:2] for p in placed}
    if keep_patient:
        back = dict(read_segmentation(out, read))
        assert np.array_equal(back["spleen"], mask) and np.array_equal(back["liver"], ~mask)
    else:
        assert read_header(out).PatientID == "case_0001"


@pytest.mark.parametrize(("syntax", "reason"), [("1.2.840.10008.1.2.5", "truncated"), ("1.2.3", "compression")])
def test_a_damaged_stream_is_not_a_missing_decoder(syntax: str, reason: str, tmp_path: Path):
    """RLE, which pydicom itself decodes, with bytes that are none; and a compression that nobody has."""
    source = pydicom.examples.get_path("mr")
    dataset = pydicom.dcmread(source)
    dataset.PixelData = pydicom.encaps.encapsulate([b"no stream of any codec at all, and of even length"])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "slice.dcm", implicit_vr=False, little_endian=True, enforce_file_format=False)
    with pytest.raises(ScanFault) as fault:
        read_series([tmp_path / "slice.dcm"])
    assert fault.value.reason == reason
