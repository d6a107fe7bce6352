"""NIfTI: orientation, spacing, faults, the way back. Windows: bounds and percentiles."""

from pathlib import Path

import numpy as np
import pytest

from medical.io.errors import ScanFault
from medical.io.images import guess_encoding, read_rgb, read_values
from medical.io.nifti import AXES, file_space, read_volume, whole_numbers, write_nifti
from medical.io.pairing import CaseFiles, MaskFile
from medical.io.reading import ReadingConfig, read_scan
from medical.io.remedies import Remedies, mend_labels
from medical.io.windows import Window, parse_window, to_grey
from tests.medical.conftest import save

nib = pytest.importorskip("nibabel")


def affine_of(codes: str, zooms: tuple[float, float, float]) -> np.ndarray:
    """An affine whose array axes point to `codes` (such as LAS) with these voxel sizes."""
    affine = np.zeros((4, 4))
    for i, code in enumerate(codes):
        axis = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}[code]
        affine[axis, i] = zooms[i] * (1 if code in "RAS" else -1)
    affine[:3, 3], affine[3, 3] = (5.0, -7.0, 11.0), 1.0
    return affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "LAS", "SRA"])
@pytest.mark.parametrize("axis", AXES)
def test_orientation_spacing_and_the_way_back(codes: str, axis: str, rng: np.random.Generator) -> None:
    array = rng.integers(0, 99, (4, 5, 6))
    affine = affine_of(codes, (0.5, 2.0, 7.0))
    space = file_space(affine, array.shape, axis)
    stack = space.stack(array)
    assert np.array_equal(space.restore(stack), array)
    # The oracle: canonical array, cut and turned by hand.
    canonical = nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.int32), affine))
    data, zooms = np.asarray(canonical.dataobj), canonical.header.get_zooms()
    across = {"axial": 2, "coronal": 1, "sagittal": 0}[axis]
    shown = np.stack([np.rot90(np.take(data, k, across)) for k in range(data.shape[across])])
    assert np.array_equal(stack, shown)
    rest = [i for i in (0, 1, 2) if i != across]
    assert space.spacing_mm == pytest.approx((zooms[across], zooms[rest[1]], zooms[rest[0]]))


def test_thickest_axis_is_found_whatever_the_orientation() -> None:
    for codes in ("RAS", "PSR", "SLA"):
        space = file_space(affine_of(codes, (0.5, 7.5, 0.5)), (4, 5, 6), "thickest")
        assert space.spacing_mm == pytest.approx((7.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="oblique"):
        file_space(np.eye(4), (1, 1, 1), "oblique")


def test_round_trip_keeps_the_affine_and_drops_the_text(tmp_path: Path, medical_data: Path) -> None:
    source = medical_data / "clean/mri_spinalcord_nifti/t2s/t2s.nii.gz"
    array, affine, _ = read_volume(source)
    space = file_space(affine, array.shape, "axial")
    write_nifti(tmp_path / "out.nii.gz", space.restore(space.stack(array > 100)), affine)
    back = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(back.affine, nib.load(source).affine)
    assert np.array_equal(np.asarray(back.dataobj) > 0, array > 100)
    assert back.header["descrip"].tobytes().strip(b"\0") == b"" and not back.header.extensions
    assert [p.name for p in tmp_path.iterdir()] == ["out.nii.gz"]


def test_real_volumes_of_three_orientations_are_read(medical_data: Path) -> None:
    root = medical_data / "clean/mri_spinalcord_nifti"
    for name, mask in (("t1/t1w", "t1/t1w_seg-manual"), ("t2/t2", "t2/t2_seg-manual"), ("t2s/t2s", "t2s/t2s_seg")):
        masks = (MaskFile(root / f"{mask}.nii.gz", "binary", "cord"),)
        scan = read_scan(CaseFiles(name, name, (root / f"{name}.nii.gz",), masks))
        voxels = int((np.asarray(nib.load(root / f"{mask}.nii.gz").dataobj) > 0).sum())
        assert int(scan.label_stack("cord").sum()) == voxels > 0
        assert scan.is_volume and scan.intensity["kind"] == "percentile"


def test_simpleitk_and_nibabel_answer_alike(tmp_path: Path, medical_data: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    source = medical_data / "clean/mri_spinalcord_nifti/t2/t2.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(source)), str(tmp_path / "t2.mha"))
    one, affine, _ = read_volume(source)
    other, its_affine, _ = read_volume(tmp_path / "t2.mha")
    assert np.array_equal(one, other) and np.allclose(affine, its_affine, atol=1e-4)


def test_faults_of_volumes(tmp_path: Path) -> None:
    def written(array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), tmp_path / "Doe_John.nii.gz")
        return tmp_path / "Doe_John.nii.gz"

    with pytest.raises(ScanFault, match=r"--volume 0\.\.2"):
        read_volume(written(np.zeros((3, 3, 3, 3), np.int16)))
    assert read_volume(tmp_path / "Doe_John.nii.gz", volume=1)[0].shape == (3, 3, 3)
    with pytest.raises(ScanFault, match="no volume 3"):
        read_volume(tmp_path / "Doe_John.nii.gz", volume=3)
    with pytest.raises(ScanFault, match="over 700"):
        read_volume(written(np.zeros((9, 9, 9), np.int16)), max_values=700)
    path = written(np.random.default_rng(0).random((20, 20, 20)).astype(np.float32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ScanFault) as fault:
        read_volume(path)
    assert "Doe" not in str(fault.value) and fault.value.reason == "damaged"
    with pytest.raises(ScanFault, match="apart"):
        mend_labels(np.zeros((2, 2, 2)), np.diag([1.0, 1, 1.1, 1]), np.eye(4), (2, 2, 2), Remedies())
    with pytest.raises(ScanFault, match="fractions"):
        whole_numbers(np.full((1, 1, 1), 0.5))
    with pytest.raises(ScanFault, match="NaN or infinite values: 1"):
        to_grey(np.array([1.0, np.nan]), Window())


def test_windows_by_name_and_by_number() -> None:
    hounsfield = np.array([-1000.0, -160, 40, 240, 3000])
    grey, used = to_grey(hounsfield, parse_window("soft"))
    assert grey.tolist() == [0, 0, 127, 255, 255] and used == {"kind": "soft", "low": -160.0, "high": 240.0}
    assert np.array_equal(to_grey(hounsfield, parse_window("40,400"))[0], grey)
    assert to_grey(hounsfield, parse_window("auto"))[1]["kind"] == "soft", "values below -500 are taken for CT"
    grey, used = to_grey(np.r_[0, np.arange(1, 1001)].astype(np.int16), parse_window("auto"))
    assert used["kind"] == "percentile" and grey[0] == 0 and grey[-1] == 255
    assert used["low"] == pytest.approx(5.995) and used["high"] == pytest.approx(995.005)
    with pytest.raises(ValueError, match="auto, none, soft"):
        parse_window("belly")
    with pytest.raises(ValueError, match="at least 1"):
        parse_window("40,0")


def test_16_bit_images_are_windowed_not_blackened(tmp_path: Path) -> None:
    values = np.linspace(100, 900, 48).reshape(6, 8).astype(np.uint16)
    rgb, used, notes = read_rgb(save(tmp_path / "a.png", values), Window())
    assert used["kind"] == "percentile" and rgb.max() > 250 and "windowed" in notes[0]


def test_faults_of_images(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (60, 60), dtype=np.uint8))
    with pytest.raises(ScanFault, match="60x60 px"):
        read_rgb(path, Window(), max_pixels=100)
    path.write_bytes(path.read_bytes()[:900])
    for read in (lambda: read_rgb(path, Window()), lambda: read_values(path)):
        with pytest.raises(ScanFault):
            read()
    with pytest.raises(ScanFault, match="colour"):
        read_values(save(tmp_path / "c.png", np.dstack([np.eye(4, dtype=np.uint8)] * 2 + [np.ones((4, 4), np.uint8)])))
    with pytest.raises(ScanFault, match="not an image"):
        read_values(Path(__file__))


def test_palettes_and_one_bit_masks(tmp_path: Path) -> None:
    import PIL.Image

    mask = np.eye(4, dtype=np.uint8) * 255
    PIL.Image.fromarray(mask).save(tmp_path / "a.gif")
    assert np.array_equal(read_values(tmp_path / "a.gif"), mask)
    PIL.Image.fromarray(mask).convert("1").save(tmp_path / "b.png")
    assert np.array_equal(read_values(tmp_path / "b.png"), mask)
    assert guess_encoding(np.array([[0, 1, 2]], np.int32), lossy=False) == "map"
    assert guess_encoding(np.array([[0, 3, 250]], np.int32), lossy=True) == "binary"


def test_a_window_of_the_command_line_reaches_the_volume(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 3), np.int16)
    array[1], array[2] = -600, 40
    for name, stored in (("i", array), ("m", (array != 0).astype(np.uint8))):
        nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / f"{name}.nii")
    case = CaseFiles("k", "k", (tmp_path / "i.nii",), (MaskFile(tmp_path / "m.nii", "binary", "x"),))
    lung = read_scan(case, ReadingConfig(window=parse_window("lung"))).frames
    soft = read_scan(case, ReadingConfig(window=parse_window("soft"))).frames
    assert set(np.unique(lung)) == {127, 229, 236} and set(np.unique(soft)) == {0, 102, 127}
