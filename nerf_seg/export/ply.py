"""Points and triangles as .ply or .obj files, binary little-endian, whole or not at all."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from zim_plugins.imaging import atomic_write


def write_geometry(
    path: Path,
    points: Float[np.ndarray, "n 3"],
    *,
    normals: Float[np.ndarray, "n 3"] | None = None,
    colours: UInt8[np.ndarray, "n 3"] | None = None,
    faces: Int[np.ndarray, "f 3"] | None = None,
) -> Path:
    """Write points, or the triangles between them, by the path's suffix.

    Args:
        path: ends in .ply or .obj; missing folders are made.
        normals: unit vectors.
        colours: sRGB in [0, 255].
        faces: indices of points, counter-clockwise from outside.

    Raises:
        ValueError: the suffix is neither.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".ply", ".obj"):
        raise ValueError(f"geometry is written as .ply or .obj, got {str(path)!r}")
    encode = _ply if suffix == ".ply" else _obj
    with atomic_write(Path(path)) as stream:
        stream.write(encode(points, normals, colours, faces))
    return Path(path)


def _ply(points: np.ndarray, normals: np.ndarray | None, colours: np.ndarray | None, faces: np.ndarray | None) -> bytes:
    columns = [(name, "<f8", "double", points[:, i]) for i, name in enumerate("xyz")]
    if normals is not None:
        columns += [(f"n{name}", "<f4", "float", normals[:, i]) for i, name in enumerate("xyz")]
    if colours is not None:
        columns += [(name, "u1", "uchar", colours[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    rows = np.zeros(len(points), dtype=[(name, kind) for name, kind, _, _ in columns])
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    for name, _, word, values in columns:
        rows[name] = values
        lines.append(f"property {word} {name}")
    content = rows.tobytes()
    if faces is not None:
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        triangles = np.zeros(len(faces), dtype=[("count", "u1"), ("indices", "<i4", 3)])
        triangles["count"], triangles["indices"] = 3, faces
        content += triangles.tobytes()
    return ("\n".join([*lines, "end_header"]) + "\n").encode() + content


def _obj(points: np.ndarray, normals: np.ndarray | None, colours: np.ndarray | None, faces: np.ndarray | None) -> bytes:
    shades = np.zeros((len(points), 0)) if colours is None else colours / 255
    lines = ["v " + " ".join(f"{v:.7g}" for v in row) for row in np.concatenate([points, shades], axis=1)]
    if normals is not None:
        lines += ["vn " + " ".join(f"{v:.5g}" for v in row) for row in normals]
    for a, b, c in (np.zeros((0, 3), dtype=int) if faces is None else faces) + 1:
        lines.append(f"f {a} {b} {c}" if normals is None else f"f {a}//{a} {b}//{b} {c}//{c}")
    return ("\n".join(lines) + "\n").encode()
