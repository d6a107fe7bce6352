"""Camera files of three kinds say the same cameras."""

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nerf_seg.field.gaussians.camera import Camera
from nerf_seg.field.gaussians.camera_files import CameraFileError, read_cameras, read_transform
from tests.nerf_seg.splat_scene import SplatScene

CAMERAS = SplatScene(views=5).cameras
GL = np.diag([1.0, -1.0, -1.0, 1.0])


def transforms(folder: Path, cameras: list[Camera] = CAMERAS, **extra: object) -> Path:
    frames = [
        {"file_path": f"images/{c.name}", "transform_matrix": (np.linalg.inv(c.world_to_camera) @ GL).tolist()}
        for c in cameras
    ]
    height, width = cameras[0].size
    lens = {"w": width, "h": height, "fl_x": cameras[0].focal[0], "fl_y": cameras[0].focal[1], **extra}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder / "transforms.json"


def inria(folder: Path, cameras: list[Camera] = CAMERAS) -> Path:
    rows = []
    for i, c in enumerate(cameras):
        to_world = np.linalg.inv(c.world_to_camera)
        row = {"id": i, "img_name": Path(c.name).stem, "width": c.size[1], "height": c.size[0]}
        row |= {"position": to_world[:3, 3].tolist(), "rotation": to_world[:3, :3].tolist()}
        rows.append(row | {"fx": c.focal[0], "fy": c.focal[1]})
    (folder / "cameras.json").write_text(json.dumps(rows))
    return folder / "cameras.json"


def quaternion(matrix: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3):  # no rotation: as it is
        return np.full(4, matrix[0, 0])
    return np.roll(Rotation.from_matrix(matrix).as_quat(), 1)


def colmap(folder: Path, *, binary: bool, cameras: list[Camera] = CAMERAS) -> Path:
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    height, width = cameras[0].size
    lens = (*cameras[0].focal, *cameras[0].centre)
    poses = [(*quaternion(c.world_to_camera[:3, :3]), *c.world_to_camera[:3, 3]) for c in cameras]
    if not binary:
        (model / "cameras.txt").write_text(f"# c\n1 PINHOLE {width} {height} {' '.join(map(str, lens))}\n")
        lines = ["# comment"]
        for i, (c, pose) in enumerate(zip(cameras, poses, strict=True)):
            lines += [f"{i + 1} {' '.join(map(str, pose))} 1 {c.name}", "1.0 2.0 -1" if i % 2 else ""]
        (model / "images.txt").write_text("\n".join(lines) + "\n")
        return folder
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, width, height, *lens))
    content = struct.pack("<Q", len(cameras))
    for i, (c, pose) in enumerate(zip(cameras, poses, strict=True)):
        content += struct.pack("<i7di", i + 1, *pose, 1) + c.name.encode() + b"\0"
        content += struct.pack("<Q", i) + bytes(24 * i)
    (model / "images.bin").write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["transforms", "inria", "text", "binary", "folder of transforms"])
def test_every_kind_says_the_same_cameras(tmp_path: Path, kind: str) -> None:
    if kind in ("text", "binary"):
        path = colmap(tmp_path, binary=kind == "binary")
    else:
        path = inria(tmp_path) if kind == "inria" else transforms(tmp_path)
    cameras = read_cameras(tmp_path if kind.startswith("folder") else path)
    assert [Path(c.name).stem for c in cameras] == [Path(c.name).stem for c in CAMERAS]
    for found, expected in zip(cameras, CAMERAS, strict=True):
        assert (found.size, found.focal, found.centre) == (expected.size, expected.focal, expected.centre)
        assert np.allclose(found.world_to_camera, expected.world_to_camera, atol=1e-9)


def test_blenders_angle_and_the_photographs_size(tmp_path: Path) -> None:
    import PIL.Image

    path = transforms(tmp_path)
    content = json.loads(path.read_text())
    angle = 2 * np.arctan(0.5 * 96 / content["fl_x"])
    frames = [{**frame, "file_path": f"./{Path(frame['file_path']).stem}"} for frame in content["frames"]]
    path.write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    with pytest.raises(CameraFileError, match="size of"):
        read_cameras(path)
    for camera in CAMERAS:
        PIL.Image.new("RGB", (96, 72)).save(tmp_path / camera.name)
    assert np.allclose([c.focal for c in read_cameras(path)], [c.focal for c in CAMERAS])


def test_distortion_is_read_and_what_is_not_known_is_refused(tmp_path: Path) -> None:
    bent = read_cameras(transforms(tmp_path, k1=0.1, p2=0.01))
    assert bent[0].distortion == (0.1, 0.0, 0.0, 0.01)
    for extra in ({"camera_model": "OPENCV_FISHEYE"}, {"k3": 0.1}):
        with pytest.raises(CameraFileError, match="undistort"):
            read_cameras(transforms(tmp_path, **extra))


def test_nerfstudios_transform_moves_cameras_with_the_scene(tmp_path: Path) -> None:
    angle = 0.4
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.hstack([rotation, [[1.0], [2.0], [-0.5]]])
    (tmp_path / "t.json").write_text(json.dumps({"transform": matrix.tolist(), "scale": 0.25}))
    moved = CAMERAS[1].moved(*read_transform(tmp_path / "t.json"))
    place = np.array([0.2, -0.3, 0.1])
    there = 0.25 * (rotation @ place + matrix[:, 3])
    before = CAMERAS[1].world_to_camera @ np.append(place, 1)
    after = moved.world_to_camera @ np.append(there, 1)
    assert np.allclose(after[:3], 0.25 * before[:3])
    (tmp_path / "t.json").write_text(json.dumps({"transform": (2 * matrix).tolist(), "scale": 1}))
    with pytest.raises(CameraFileError, match="no rotation"):
        read_transform(tmp_path / "t.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no"),
        ("{", "cannot be read"),
        ("{}", "no frames"),
        ("[]", "holds no camera"),
        ('[{"img_name": "a"}]', "it has no"),
        (
            '{"frames": [{"file_path": "a.png", "transform_matrix": [[1]]}], "w": 4, "h": 4, "fl_x": 4}',
            "cannot be read",
        ),
        ('"text"', "cannot be read"),
    ],
)
def test_what_is_no_camera_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(CameraFileError, match=message):
        read_cameras(tmp_path / "a.json")


def test_a_folder_without_cameras_and_a_model_cut_short(tmp_path: Path) -> None:
    with pytest.raises(CameraFileError, match="holds no COLMAP model"):
        read_cameras(tmp_path)
    colmap(tmp_path, binary=True)
    images = tmp_path / "sparse" / "0" / "images.bin"
    images.write_bytes(images.read_bytes()[:-200])
    with pytest.raises(CameraFileError, match="cut short"):
        read_cameras(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": 0}, "the camera of images/view_00.png is none: 0x72 px"),
        ({"fl_x": 0}, "focal length 0"),
        ({"fl_x": float("nan")}, "focal length nan"),
        ({"fl_x": -9}, "focal length -9"),
        ({"camera_model": "OPENCV_FISHEYE"}, "undistort"),
        ({"frames": "text"}, "laid out like no camera file"),
        ({"frames": [{"transform_matrix": []}]}, "frame 0 names no photograph"),
        ({"frames": [{"file_path": None, "transform_matrix": []}]}, "frame 0 names no photograph"),
        ({"frames": [{"file_path": "a.png", "transform_matrix": [[1, 2], [3]]}]}, "matrix of a.png is not of"),
    ],
)
def test_impossible_cameras_are_named_with_their_file(tmp_path: Path, change: dict, message: str) -> None:
    path = transforms(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CameraFileError, match=message) as raised:
        read_cameras(path)
    assert str(path) in str(raised.value)


def test_a_mark_of_the_byte_order_is_read_over(tmp_path: Path) -> None:
    path = transforms(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_cameras(path)) == len(CAMERAS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images.bin", b"", "cut short"),
        ("images.bin", struct.pack("<Q", 1 << 62), "cut short"),
        ("images.bin", None, "cut short"),
        ("cameras.bin", struct.pack("<Q", 0), "has no camera 1"),
        ("cameras.bin", struct.pack("<QiiQQ8d", 1, 1, 5, 9, 9, *[1.0] * 8), "camera model 5"),
    ],
)
def test_damaged_models_of_colmap(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    folder = colmap(tmp_path, binary=True)
    path = folder / "sparse" / "0" / name
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    with pytest.raises(CameraFileError, match=message):
        read_cameras(folder)


def test_a_text_model_without_lines_of_points_is_refused_and_not_read_by_halves(tmp_path: Path) -> None:
    """Models made by hand often lack them: every second image would be taken for points."""
    path = colmap(tmp_path, binary=False) / "sparse" / "0" / "images.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *lines[1::2]]) + "\n")
    with pytest.raises(CameraFileError, match="no line of points"):
        read_cameras(tmp_path)
    path.write_text("\n".join(lines).rstrip("\n"))  # without the last, empty line nothing is lost
    assert len(read_cameras(tmp_path)) == len(CAMERAS)


def test_names_with_spaces_and_numbers_at_their_end(tmp_path: Path) -> None:
    spaced = [replace(camera, name=f"my photo 12 {i}") for i, camera in enumerate(CAMERAS)]
    for binary in (True, False):
        folder = tmp_path / str(binary)
        assert [c.name for c in read_cameras(colmap(folder, binary=binary, cameras=spaced))] == [c.name for c in spaced]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("pose", [np.zeros((4, 4)), np.full((4, 4), np.nan)], ids=["zero", "nan"])
def test_a_pose_that_is_none_is_refused(tmp_path: Path, binary: bool, pose: np.ndarray) -> None:
    broken = replace(CAMERAS[2])
    object.__setattr__(broken, "world_to_camera", pose)  # which no camera could be made with
    with pytest.raises(CameraFileError, match="pose of view_02"):
        read_cameras(colmap(tmp_path, binary=binary, cameras=[*CAMERAS[:2], broken]))


def test_a_camera_without_a_place_cannot_be_made() -> None:
    for matrix in (2 * np.eye(4), np.full((4, 4), np.inf)):
        with pytest.raises(ValueError, match="no place"):
            replace(CAMERAS[0], world_to_camera=matrix)


def test_other_models_of_the_capture_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    colmap(tmp_path, binary=True)
    read_cameras(tmp_path)
    assert not caplog.text
    shutil.copytree(tmp_path / "sparse" / "0", tmp_path / "sparse" / "1")
    read_cameras(tmp_path)
    assert "other models of the capture: 1" in caplog.text
