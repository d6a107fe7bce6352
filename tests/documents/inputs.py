"""The files that the documents name, made small in the folder where a page's blocks run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.Image
import pytest

from tests.conftest import soft_disk
from tests.data.conftest import sa1b_files, write_tar
from zim_plugins.core import read_image

from .pages import ROOT


def photo(folder: Path) -> None:
    """photo.jpg, 682 x 1024: two dogs, one click of the pages on each."""
    shutil.copy(ROOT / "zim_plugins/imaging/samples/dogs.jpg", folder / "photo.jpg")


def save(path: Path, pixels: np.ndarray) -> None:
    """Write one image, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def small_photo(size: tuple[int, int] = (80, 120)) -> np.ndarray:
    """A red ball on blue grain, uint8 (h, w, 3)."""
    alpha = disk(size)[..., None]
    grain = np.random.default_rng(0).normal(0, 5, (*size, 3))
    return np.clip(alpha * (220, 30, 20) + (1 - alpha) * (20, 40, 200) + grain, 0, 255).astype(np.uint8)


def disk(size: tuple[int, int] = (80, 120)) -> np.ndarray:
    """The ball's opacity, float32 (h, w) in [0, 1]."""
    return soft_disk(size, (size[1] / 2, size[0] / 2), min(size) / 4)


def hard(alpha: np.ndarray) -> np.ndarray:
    """0 and 255."""
    return np.uint8(alpha > 0.5) * np.uint8(255)


def for_matte(folder: Path) -> None:
    """Photographs, rough masks, a list, and two frames."""
    openexr = pytest.importorskip("OpenEXR", reason="OpenEXR needs the extra vfx")
    dogs = read_image("sample:dogs").rgb[104:584, :640]
    save(folder / "photo.jpg", dogs)
    for name in ("one", "below/two"):
        save(folder / f"shots/{name}.png", small_photo())
        save(folder / f"roughs/{name}.png", hard(disk()))
    rows = ("image,points,box", 'shots/one.png,"60,40",', 'shots/below/two.png,,"38,18,82,62"')
    (folder / "prompts.csv").write_text("\n".join(rows))
    linear = (dogs / np.float32(255)) ** np.float32(2.2)
    for number in (1001, 1002):
        header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        openexr.File(header, {"RGB": linear}).write(str(folder / f"plate.{number}.exr"))


def for_inpaint(folder: Path) -> None:
    """A photograph, a background, and what the list of the page names."""
    save(folder / "beach.jpg", small_photo((60, 90)))
    dogs = read_image("sample:dogs").rgb
    save(folder / "photo.jpg", dogs[104:594, :620])
    for name in "abcd":
        save(folder / f"{name}.png", dogs[104:504, :440])
    save(folder / "c_matte.png", (soft_disk((400, 440), (300, 200), 30) * 255).astype(np.uint8))


def for_inpaint_evaluation(folder: Path) -> None:
    """A cut-out and a photograph of the half that is reported; folders of a case, and another tool's result."""
    from tests.inpaint.evaluation.conftest import names_of_half, write_cutout, write_photo

    rng = np.random.default_rng(0)
    for name in ("CUTOUTS", "PHOTOS"):
        (folder / name).mkdir()
    write_cutout(folder / f"CUTOUTS/{names_of_half('report', 'c', 1)[0]}.png", rng)
    write_photo(folder / f"PHOTOS/{names_of_half('report', 'p', 1)[0]}.png", rng)
    save(folder / "DIR/image/a.png", small_photo())
    save(folder / "DIR/mask/a.png", (disk() * 255).astype(np.uint8))
    save(folder / "DIR_OF_RESULTS/a.png", np.full((80, 120, 3), (20, 40, 200), np.uint8))


def plain_folder(folder: Path) -> None:
    """FOLDER/images and masks."""
    save(folder / "FOLDER/images/x.jpg", small_photo())
    save(folder / "FOLDER/masks/x.png", hard(disk()))


def for_conversion(folder: Path) -> None:
    """A shard of SA-1B, three other layouts, and a converter."""
    write_tar(folder / "SA1B/sa_000000.tar", sa1b_files(1, 2, seed=0))
    shutil.copy(
        ROOT / "zim_plugins/label_converter/weights/converter_tiny.safetensors", folder / "converter.safetensors"
    )
    plain_folder(folder)
    save(folder / "coco_mval/images/7.jpg", small_photo())
    save(folder / "coco_mval/masks/ball_7.png", hard(disk()))
    for split in ("train", "val"):
        save(folder / f"bsds500/{split}/images/{split}1.jpg", small_photo())
        save(folder / f"bsds500/{split}/segments/{split}1_0.png", np.where(disk() > 0.5, np.uint8(2), np.uint8(1)))


def for_medical(folder: Path) -> None:
    """Two data sets below the home folder."""
    for i in range(2):
        save(folder / f"data/Kvasir-SEG/images/c{i}.jpg", small_photo())
        save(folder / f"data/Kvasir-SEG/masks/c{i}.jpg", hard(disk()))
        save(folder / f"data/Dataset_BUSI_with_GT/benign/benign ({i + 1}).png", small_photo())
        save(folder / f"data/Dataset_BUSI_with_GT/benign/benign ({i + 1})_mask.png", hard(disk()))


def for_scans(folder: Path) -> None:
    """A volume with a bright cord along its third axis, a CT series with a ball, and a folder of scans with a table."""
    from tests.medical import invented_dicom

    nibabel = pytest.importorskip("nibabel", reason="nibabel needs the extra medical")
    i, j = np.mgrid[:64, :64]
    cord = (np.hypot(i - 32, j - 25.5) < 4.5)[..., None] & (np.arange(42) >= 22)
    scan = nibabel.Nifti1Image(np.where(cord, 900, 100).astype(np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
    for name in ("t2.nii.gz", "scans/one.nii.gz", "scans/two.nii.gz"):
        (folder / name).parent.mkdir(exist_ok=True)
        nibabel.save(scan, folder / name)
    marks = '{0},cord,,"27,20,37,31@25"\n'
    table = "scan,structure,point,box\n" + marks.format("one.nii.gz") + marks.format("two.nii.gz")
    (folder / "prompts.csv").write_text(table)
    with mock.patch.object(invented_dicom, "SIZE", (200, 224)), mock.patch.object(invented_dicom, "RADIUS_MM", 40.0):
        invented_dicom.write_series(folder / "ct_series", invented_dicom.places(26))


def for_splats(folder: Path) -> None:
    """The tests' scene of two blobs, in photographs of 1280 x 960, called as on the page."""
    from nerf_seg.field.gaussians.formats.ply import PlyFile
    from tests.nerf_seg.field.gaussians.test_camera_files import transforms
    from tests.nerf_seg.splat_scene import SplatScene, inria_rows

    scene = SplatScene(views=6, count=400)
    transforms(folder, scene.cameras)
    for i in range(scene.views):
        small = PIL.Image.fromarray(scene.image(i))
        (folder / "images").mkdir(exist_ok=True)
        small.resize((1280, 960), PIL.Image.Resampling.BICUBIC).save(folder / f"images/IMG_{4 * i:04d}.jpg")
    table = json.loads((folder / "transforms.json").read_text())
    for i, frame in enumerate(table["frames"]):
        frame["file_path"] = f"images/IMG_{4 * i:04d}.jpg"
    (folder / "transforms.json").write_text(json.dumps(table))
    (folder / "scene.ply").write_bytes(PlyFile({"vertex": inria_rows(scene.gaussians)}).encode())


INPUTS: dict[str, Callable[[Path], None]] = {
    "README.md": photo,
    "docs/core.md": photo,
    "docs/inpaint.md": for_inpaint,
    "docs/inpaint_evaluation.md": for_inpaint_evaluation,
    "docs/label_converter.md": plain_folder,
    "docs/matte.md": for_matte,
    "docs/medical.md": for_medical,
    "docs/medical_segment.md": for_scans,
    "docs/models.md": photo,
    "docs/sa1b_matte.md": for_conversion,
    "docs/serve.md": photo,
    "docs/splats.md": for_splats,
}
"""By page; a page without files of its own needs none."""
