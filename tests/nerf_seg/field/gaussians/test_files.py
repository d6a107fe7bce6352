"""The four formats, against packers written from their descriptions."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_seg.field.gaussians.files import SplatError, SplatFile, drawable, read_scene
from nerf_seg.field.gaussians.formats.ply import InriaPly, PlyFile
from nerf_seg.field.gaussians.model import SH_C0, Gaussians
from nerf_seg.field.gaussians.rendering import view_weights
from tests.nerf_seg.splat_scene import SplatScene, inria_rows

SCENE = SplatScene(count=350)
COUNT = len(SCENE.gaussians)


def with_harmonics(gaussians: Gaussians = SCENE.gaussians) -> Gaussians:
    further = 0.2 * torch.randn(len(gaussians), 15, 3, generator=torch.Generator().manual_seed(5))
    harmonics = torch.cat([gaussians.harmonics, further], dim=1)
    return Gaussians(gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, harmonics)


def inria(folder: Path, *, big_endian: bool = False) -> Path:
    rows = inria_rows(with_harmonics())
    if big_endian:
        rows = rows.astype([(name, ">f4") for name in rows.dtype.names])
    (folder / "scene.ply").write_bytes(PlyFile({"vertex": rows}, ("made by a test",), big_endian).encode())
    return folder / "scene.ply"


def compressed(folder: Path, *, colour_bounds: bool = True, harmonics: bool = True) -> Path:
    """Pack number by number, as the viewer's own page describes it."""
    g = with_harmonics()
    colours = (0.5 + SH_C0 * g.harmonics[:, 0]).numpy().astype(np.float64)
    position, scale = g.means.numpy().astype(np.float64), g.scales.log().numpy().astype(np.float64)
    chunks, vertices = b"", b""
    for start in range(0, COUNT, 256):
        part = slice(start, min(start + 256, COUNT))
        bounds = []
        for values in (position[part], scale[part], *([colours[part]] if colour_bounds else [])):
            bounds += [values.min(0), values.max(0)]
        chunks += struct.pack(f"<{3 * len(bounds)}f", *np.concatenate(bounds))
        for i in range(part.start, part.stop):
            p = (position[i] - bounds[0]) / (bounds[1] - bounds[0])
            s = (scale[i] - bounds[2]) / (bounds[3] - bounds[2])
            c = (colours[i] - bounds[4]) / (bounds[5] - bounds[4]) if colour_bounds else colours[i].clip(0, 1)
            q = g.rotations[i].numpy().astype(np.float64)
            largest = int(np.abs(q).argmax())
            q = q * np.sign(q[largest])
            rotation = largest
            for k in range(4):
                if k != largest:
                    rotation = (rotation << 10) | round((q[k] * np.sqrt(2) * 0.5 + 0.5) * 1023)
            opacity = round(float(g.opacities[i]) * 255)
            vertices += struct.pack(
                "<4I",
                round(p[0] * 2047) << 21 | round(p[1] * 1023) << 11 | round(p[2] * 2047),
                rotation,
                round(s[0] * 2047) << 21 | round(s[1] * 1023) << 11 | round(s[2] * 2047),
                round(c[0] * 255) << 24 | round(c[1] * 255) << 16 | round(c[2] * 255) << 8 | opacity,
            )
    names = [f"{end}_{a}" for kind in ("", "scale_") for end in ("min", "max") for a in (f"{kind}{x}" for x in "xyz")]
    names += [f"{end}_{a}" for end in ("min", "max") for a in "rgb"] if colour_bounds else []
    header = f"ply\nformat binary_little_endian 1.0\nelement chunk {-(-COUNT // 256)}\n"
    header += "".join(f"property float {name}\n" for name in names) + f"element vertex {COUNT}\n"
    header += "".join(f"property uint packed_{name}\n" for name in ("position", "rotation", "scale", "color"))
    rest = b""
    if harmonics:
        header += f"element sh {COUNT}\n" + "".join(f"property uchar f_rest_{k}\n" for k in range(45))
        values = g.harmonics[:, 1:].transpose(1, 2).reshape(COUNT, 45).numpy()
        rest = np.round((values + 4) * 255 / 8).clip(0, 255).astype(np.uint8).tobytes()
    path = folder / "scene.compressed.ply"
    path.write_bytes((header + "end_header\n").encode() + chunks + vertices + rest)
    return path


def dot_splat(folder: Path) -> Path:
    g, content = SCENE.gaussians, b""
    for i in range(COUNT):
        colour = (0.5 + SH_C0 * g.harmonics[i, 0]) * 255
        rgba = [int(v) for v in torch.cat([colour, g.opacities[i : i + 1] * 255]).round().clamp(0, 255)]
        rotation = [int(v) for v in (g.rotations[i] * 128 + 128).round().clamp(0, 255)]
        content += struct.pack("<6f8B", *g.means[i].tolist(), *g.scales[i].tolist(), *rgba, *rotation)
    (folder / "scene.splat").write_bytes(content)
    return folder / "scene.splat"


def spz(folder: Path, version: int) -> Path:
    g = with_harmonics()
    columns = [b"", b"", b"", b"", b"", b""]
    for i in range(COUNT):
        for value in g.means[i].tolist():
            columns[0] += (round(value * 4096) & 0xFFFFFF).to_bytes(3, "little")
        columns[1] += bytes([round(float(g.opacities[i]) * 255)])
        columns[2] += bytes(int(v) for v in ((g.harmonics[i, 0] * 0.15 + 0.5) * 255).round().clamp(0, 255))
        columns[3] += bytes(int(v) for v in ((g.scales[i].log() + 10) * 16).round().clamp(0, 255))
        w, x, y, z = g.rotations[i].tolist()
        if version == 2:
            sign = 1 if w >= 0 else -1
            columns[4] += bytes(round((sign * v + 1) * 127.5) for v in (x, y, z))
        else:
            q = [x, y, z, w]
            largest = int(np.abs(q).argmax())
            packed = largest
            for k in range(4):
                if k != largest:
                    negative = (q[k] < 0) != (q[largest] < 0)
                    packed = (packed << 10) | (negative << 9) | round(511 * abs(q[k]) / np.sqrt(0.5))
            columns[4] += struct.pack("<I", packed)
        columns[5] += bytes(int(v) for v in (g.harmonics[i, 1:] * 128 + 128).round().clamp(0, 255).flatten())
    header = struct.pack("<4sIIBBBB", b"NGSP", version, COUNT, 3, 12, 0, 0)
    (folder / "scene.spz").write_bytes(gzip.compress(header + b"".join(columns)))
    return folder / "scene.spz"


LISTS = b"ply\nformat binary_little_endian 1.0\nelement face 1\nproperty list uchar int v\nend_header\n"
MAKERS = {
    "inria": inria,
    "big endian": lambda folder: inria(folder, big_endian=True),
    "compressed": compressed,
    "compressed, old": lambda folder: compressed(folder, colour_bounds=False, harmonics=False),
    "splat": dot_splat,
    "spz 2": lambda folder: spz(folder, 2),
    "spz 3": lambda folder: spz(folder, 3),
}


@pytest.fixture(params=MAKERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return MAKERS[request.param](tmp_path)


def written(file: SplatFile, path: Path) -> SplatFile:
    path.write_bytes(file.encode())
    return read_scene(path)


def difference(found: Gaussians, expected: Gaussians) -> float:
    """Of the images of both from one camera."""
    camera = SCENE.cameras[1]
    place = torch.from_numpy(camera.place).float()
    images = [view_weights(g, camera).blend(g.colours(place).numpy()) for g in (found, expected)]
    return float(np.abs(images[0] - images[1]).mean())


def test_a_scene_is_what_was_packed(path: Path) -> None:
    found, expected = read_scene(path).gaussians(), with_harmonics()
    if found.harmonics.shape[1] == 1:
        expected = SCENE.gaussians
    assert (found.means - expected.means).abs().max() < 2e-3
    assert (found.scales / expected.scales).log().abs().max() < 0.04
    assert (found.opacities - expected.opacities).abs().max() < 0.003
    turned = (found.rotations * expected.rotations).sum(1).abs()
    assert turned.min() > 0.999
    assert (found.harmonics - expected.harmonics).abs().max() < 0.06
    assert difference(found, expected) < 0.01


def test_a_selection_keeps_the_chosen_ones_as_they_are(path: Path, tmp_path: Path) -> None:
    file, kept = read_scene(path), np.random.default_rng(1).random(COUNT) < 0.4
    before = file.gaussians()
    after = written(file.select(kept), tmp_path / path.name).gaussians()
    chosen = torch.from_numpy(kept)
    exact = "compressed" not in file.format
    for name in ("means", "scales", "rotations", "opacities", "harmonics"):
        was, now = getattr(before, name)[chosen], getattr(after, name)
        if exact or name in ("rotations", "opacities"):
            assert torch.allclose(was, now, rtol=0, atol=1e-6), name  # exp differs by its place in the vector
        else:
            assert (was - now).abs().max() < (0.003 if name != "harmonics" else 0.02), name


def test_membership_multiplies_the_opacity(path: Path, tmp_path: Path) -> None:
    file, membership = read_scene(path), np.random.default_rng(2).random(COUNT).astype(np.float32)
    before = file.gaussians()
    after_file = written(file.with_membership(membership), tmp_path / path.name)
    after = after_file.gaussians()
    assert torch.allclose(after.opacities, before.opacities * torch.from_numpy(membership), atol=0.003)
    assert torch.equal(after.means, before.means) and torch.equal(after.harmonics, before.harmonics)
    if isinstance(after_file, InriaPly):
        assert np.array_equal(after_file.rows["membership"].astype(np.float32), membership)
        again = after_file.with_membership(membership)  # not a second property of the name
        assert (again.rows.dtype.names or ()).count("membership") == 1


def test_unknown_properties_comments_and_whole_selections_stay_bit_by_bit(tmp_path: Path) -> None:
    path = inria(tmp_path)
    file = read_scene(path)
    assert file.select(np.ones(COUNT, dtype=bool)).encode() == path.read_bytes()
    half = file.select(np.arange(COUNT) % 2 == 0)
    assert isinstance(half, InriaPly) and half.rows["of_nobody"].tolist() == list(range(0, COUNT, 2))
    assert half.file.comments == ("made by a test",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.ply", None, "there is no file"),
        ("a.ply", b"ply\nformat ascii 1.0\nend_header\n", "only binary files"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\n", "does not end"),
        (
            "a.ply",
            b"ply\nformat binary_little_endian 1.0\nelement face 1\nproperty list uchar int v\nend_header\n",
            "is not",
        ),
        (
            "a.ply",
            b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\nend_header\n0000",
            "points, not Gaussians",
        ),
        (
            "a.ply",
            b"ply\nformat binary_little_endian 1.0\nelement vertex 9\nproperty float x\nend_header\n0000",
            "cut short",
        ),
        ("a.splat", b"0" * 33, "cut short"),
        ("a.splat", b"", "no Gaussians"),
        ("a.spz", gzip.compress(b"NGSP"), "cut short"),
        ("a.spz", gzip.compress(b"NGSP" + bytes(20)), "version"),
        ("a.spz", b"\x1f\x8b\x08broken", "cannot be read"),
        ("a.spz", gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 2, 0, 0, 12, 0, 0)), "holds no Gaussians"),
        ("a.spz", b"NGSP" + bytes(100), "version 4 or later"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex\nend_header\n", "header is damaged"),
        ("a.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex -4\nend_header\n", "header is damaged"),
        ("a.png", b"\x89PNG", "no scene of Gaussians"),
    ],
)
def test_what_is_no_scene_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SplatError, match=message):
        read_scene(tmp_path / name)


def test_files_cut_anywhere_are_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    for share in (0.001, 0.01, 0.3, 0.9):
        cut = tmp_path / f"cut{path.suffix}"
        end = int(len(content) * share)
        cut.write_bytes(content[: end + (end % 32 == 0)])
        with pytest.raises(SplatError):
            read_scene(cut)


def test_gaussians_of_impossible_numbers_are_not_drawn(tmp_path: Path) -> None:
    rows = inria_rows(SCENE.gaussians)
    rows["x"][3] = np.nan
    path = tmp_path / "a.ply"
    path.write_bytes(PlyFile({"vertex": rows}).encode())
    gaussians, sound = drawable(read_scene(path).gaussians(), path)
    assert np.flatnonzero(~sound).tolist() == [3] and gaussians.opacities[3] == 0
    assert bool(gaussians.means.isfinite().all()) and len(gaussians) == len(rows)
    rows["x"] = np.nan
    path.write_bytes(PlyFile({"vertex": rows}).encode())
    with pytest.raises(SplatError, match="none of its"):
        read_scene(path)
