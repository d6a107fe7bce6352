"""LLFF's file format, and what can be wrong with a capture."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nerf_seg.field.poses_bounds import POSES_FILE, find_folder, list_images, read_capture, read_poses_bounds

COUNT, HEIGHT, WIDTH, FOCAL = 5, 48, 64, 51.2


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def rows_of(rotations: list[np.ndarray], centres: np.ndarray) -> np.ndarray:
    """LLFF's rows from OpenGL cameras: columns down, right, backwards, centre, (h, w, f)."""
    rows = []
    for axes, centre in zip(rotations, centres, strict=True):
        right, up, back = axes.T
        matrix = np.stack([-up, right, back, centre, [HEIGHT, WIDTH, FOCAL]], axis=1)
        rows.append([*matrix.ravel(), 1.5, 9.0])
    return np.array(rows)


def write_capture(root: Path, folders: dict[str, int], names: list[str] | None = None) -> list[np.ndarray]:
    """A capture whose image i is grey of value 10 i; answers with its OpenGL rotations."""
    rotations = [rotation(seed) for seed in range(COUNT)]
    np.save(root / POSES_FILE, rows_of(rotations, np.arange(COUNT * 3.0).reshape(-1, 3)))
    for folder, factor in folders.items():
        (root / folder).mkdir(parents=True)
        for i, name in enumerate(names or [f"IMG_{i}.png" for i in range(COUNT)]):
            PIL.Image.new("RGB", (WIDTH // factor, HEIGHT // factor), (10 * i,) * 3).save(root / folder / name)
    return rotations


def test_axes_become_opengl(tmp_path):
    rotations = write_capture(tmp_path, {"images": 1})
    poses = read_poses_bounds(tmp_path / POSES_FILE)
    np.testing.assert_allclose(poses.c2w[:, :, :3], rotations, atol=1e-12)
    np.testing.assert_array_equal(poses.c2w[:, :, 3], np.arange(COUNT * 3.0).reshape(-1, 3))
    np.testing.assert_array_equal(poses.bounds[0], [1.5, 9.0])


def test_focal_length_follows_the_images(tmp_path):
    write_capture(tmp_path, {"images_4": 4})
    capture = read_capture(tmp_path)
    assert capture.size == (12, 16)
    np.testing.assert_allclose(capture.focal, FOCAL / 4)


def test_images_pair_by_name_and_other_files_are_left(tmp_path):
    names = ["b.png", "B.PNG", "a10.png", "a2.png", "_c.jpeg"]
    write_capture(tmp_path, {"images": 1}, names)
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "images" / ".hidden.png").write_bytes(b"x")
    assert [path.name for path in read_capture(tmp_path).files] == sorted(names)  # as LLFF's sorted(os.listdir())


def test_folders_by_factor(tmp_path):
    write_capture(tmp_path, {"images": 1, "images_2": 2, "images_8": 8})
    small, large = np.array([600, 800, 1.0]), np.array([3024, 4032, 1.0])
    assert find_folder(tmp_path, None, small).name == "images"
    assert find_folder(tmp_path, None, large).name == "images_8"  # of 1, 2 and 8 only this is at most 1600 px
    assert find_folder(tmp_path, 2, large).name == "images_2"
    with pytest.raises(ValueError, match="images_4 is not there; there are images, images_2, images_8"):
        read_capture(tmp_path, downscale_factor=4)


def test_a_plain_folder_of_any_scale(tmp_path):
    write_capture(tmp_path, {"small": 2})
    np.testing.assert_allclose(read_capture(tmp_path, folder="small").focal, FOCAL / 2)
    with pytest.raises(ValueError, match="no folder images or images_N"):
        read_capture(tmp_path)
    with pytest.raises(ValueError, match="elsewhere is no folder"):
        read_capture(tmp_path, folder="elsewhere")


def test_a_missing_image_is_told_with_both_counts(tmp_path):
    write_capture(tmp_path, {"images": 1})
    (tmp_path / "images" / "IMG_2.png").unlink()
    with pytest.raises(ValueError, match=r"4 images \(IMG_0.png to IMG_4.png\).* 5 cameras"):
        read_capture(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    write_capture(tmp_path, {"images": 1}, [f"{i}.{suffix}" for i in range(COUNT)])
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / "images" / f"3.{suffix}"
    PIL.Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match=rf"3\.{suffix} cannot be read as an image"):
        read_capture(tmp_path)


def test_images_of_other_sizes(tmp_path):
    write_capture(tmp_path, {"images_2": 4})
    with pytest.raises(ValueError, match="16x12 px, which is not 64x48 px of the poses scaled by 1/2"):
        read_capture(tmp_path)
    PIL.Image.new("RGB", (32, 24)).save(tmp_path / "images_2" / "IMG_0.png")
    with pytest.raises(ValueError, match=r"have one size; found IMG_0\.png 32x24, IMG_1\.png 16x12"):
        read_capture(tmp_path)


def test_stretched_images(tmp_path):
    write_capture(tmp_path, {})
    (tmp_path / "odd").mkdir()
    for i in range(COUNT):
        PIL.Image.new("RGB", (64, 24)).save(tmp_path / "odd" / f"{i}.png")
    with pytest.raises(ValueError, match="scaled evenly"):
        read_capture(tmp_path, folder="odd")


class TestBrokenPoses:
    def write(self, root: Path, array: np.ndarray) -> Path:
        np.save(root / POSES_FILE, array)
        return root / POSES_FILE

    def good(self) -> np.ndarray:
        return rows_of([rotation(i) for i in range(COUNT)], np.zeros((COUNT, 3)))

    def test_missing(self, tmp_path):
        with pytest.raises(ValueError, match="is not there: an LLFF capture needs it"):
            read_poses_bounds(tmp_path / POSES_FILE)

    @pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00v\x00"])
    def test_no_array(self, tmp_path, content):
        (tmp_path / POSES_FILE).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read as a NumPy array"):
            read_poses_bounds(tmp_path / POSES_FILE)

    def test_nothing_is_unpickled(self, tmp_path):
        path = tmp_path / POSES_FILE
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match="cannot be read"):
            read_poses_bounds(path)

    @pytest.mark.parametrize("shape", [(5, 15), (17,), (0, 17)])
    def test_shape(self, tmp_path, shape):
        with pytest.raises(ValueError, match=r"LLFF's is \(images, 17\)"):
            read_poses_bounds(self.write(tmp_path, np.ones(shape)))

    def test_not_finite(self, tmp_path):
        rows = self.good()
        rows[2, 3] = np.nan
        with pytest.raises(ValueError, match="no finite numbers"):
            read_poses_bounds(self.write(tmp_path, rows))

    def test_no_rotation(self, tmp_path):
        rows = self.good()
        rows[3, 0:15:5] *= 1.5
        with pytest.raises(ValueError, match="axes of camera 3 are no rotation"):
            read_poses_bounds(self.write(tmp_path, rows))
        rows = self.good()
        rows[:, 0:15:5] *= -1  # a mirrored camera, as of other axes
        with pytest.raises(ValueError, match="are no rotation"):
            read_poses_bounds(self.write(tmp_path, rows))

    def test_bounds(self, tmp_path):
        rows = self.good()
        rows[1, 15:] = 5, 4
        with pytest.raises(ValueError, match="far is not nearer than near"):
            read_poses_bounds(self.write(tmp_path, rows))


def test_fern(test_data):
    """The capture's own transforms.json was made by another converter; both have the same cameras."""
    root = test_data / "nerf" / "fern"
    if not root.is_dir():
        pytest.skip(f"{root} is not here")
    capture = read_capture(root)
    told = json.loads((root / "transforms.json").read_text())
    theirs = np.array([frame["transform_matrix"] for frame in told["frames"]])
    np.testing.assert_allclose(capture.poses.c2w, theirs[:, :3], atol=1e-12)
    np.testing.assert_allclose(capture.focal, told["fl_x"])
    assert [f"images_8/{path.name}" for path in capture.files] == [frame["file_path"] for frame in told["frames"]]
    np.testing.assert_allclose(capture.poses.bounds, [[f["near"], f["far"]] for f in told["frames"]])
    assert len(list_images(root / "images_8")) == 20
