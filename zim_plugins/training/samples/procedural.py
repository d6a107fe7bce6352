"""Objects that never were: random shapes with exact mattes, dressed in a piece of some photograph."""

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFilter

from zim_plugins.imaging.ranges import unit_values


def random_shape(size: int, rng: np.random.Generator) -> Float32[np.ndarray, "s s"]:
    """A matte in [0, 1]: a blob, a polygon, a tuft of hair, a ring or a lattice, with soft or crisp edges."""
    kind = rng.choice(["blob", "polygon", "tuft", "ring", "lattice"], p=[0.35, 0.2, 0.3, 0.08, 0.07])
    scale = 2  # drawn larger, then reduced: antialiased edges
    canvas = Image.new("L", (size * scale, size * scale))
    draw = ImageDraw.Draw(canvas)
    s = size * scale
    if kind in ("blob", "tuft"):
        outline = _wobbly_outline(s, rng)
        draw.polygon(outline, fill=255)
        if kind == "tuft":
            _draw_hair(draw, outline, s, rng)
    elif kind == "polygon":
        n = int(rng.integers(3, 9))
        angles = np.sort(rng.uniform(0, 2 * np.pi, n))
        radius = rng.uniform(0.2, 0.5, n) * s
        draw.polygon(
            [(s / 2 + r * np.cos(a), s / 2 + r * np.sin(a)) for a, r in zip(angles, radius, strict=True)], fill=255
        )
    elif kind == "ring":
        r, width = rng.uniform(0.25, 0.48) * s, rng.uniform(0.04, 0.15) * s
        draw.ellipse([s / 2 - r, s / 2 - r, s / 2 + r, s / 2 + r], outline=255, width=int(width))
    else:
        step, width = rng.uniform(0.06, 0.15) * s, max(2, int(rng.uniform(0.008, 0.03) * s))
        for at in np.arange(0.1 * s, 0.9 * s, step):
            draw.line([at, 0.1 * s, at + rng.normal(0, 0.02 * s), 0.9 * s], fill=255, width=width)
            draw.line([0.1 * s, at, 0.9 * s, at + rng.normal(0, 0.02 * s)], fill=255, width=width)
    if rng.random() < 0.3:
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 0.02 * s))))
    alpha = unit_values(np.asarray(canvas.resize((size, size), Image.Resampling.BOX)))
    if rng.random() < 0.08:
        alpha = alpha * np.float32(rng.uniform(0.4, 0.9))  # glass, smoke
    return alpha


def _wobbly_outline(s: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    radius = np.full_like(angles, rng.uniform(0.22, 0.38))
    for k in range(2, 7):
        radius += rng.normal(0, 0.06 / k) * np.cos(k * angles + rng.uniform(0, 6.28))
    stretch = rng.uniform(0.6, 1.0)
    turn = rng.uniform(0, np.pi)
    xs, ys = radius * np.cos(angles), radius * np.sin(angles) * stretch
    return [
        (s * (0.5 + x * np.cos(turn) - y * np.sin(turn)), s * (0.5 + x * np.sin(turn) + y * np.cos(turn)))
        for x, y in zip(xs, ys, strict=True)
    ]


def _draw_hair(draw: ImageDraw.ImageDraw, outline: list[tuple[float, float]], s: int, rng: np.random.Generator) -> None:
    points = np.array(outline)
    centre = points.mean(0)
    length, curl = rng.uniform(0.03, 0.14) * s, rng.normal(0, 0.6)
    start = rng.uniform(0, 1)
    share = rng.uniform(0.3, 1.0)
    for _ in range(int(rng.integers(80, 350))):
        i = int((start + share * rng.random()) * len(points)) % len(points)
        at = points[i] + rng.normal(0, 0.01 * s, 2)
        heading = np.arctan2(*(at - centre)[::-1]) + curl + rng.normal(0, 0.25)
        bend = rng.normal(0, 0.15)
        strand = [tuple(at)]
        for _ in range(5):
            at = at + length / 5 * rng.uniform(0.6, 1.3) * np.array([np.cos(heading), np.sin(heading)])
            heading += bend
            strand.append(tuple(at))
        draw.line(strand, fill=int(rng.integers(120, 256)), width=int(rng.integers(1, 4)))


def random_texture(
    size: int, photo: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "s s 3"]:
    """Colours for a shape: a piece of a photograph, tinted, or a gradient."""
    if rng.random() < 0.2:
        a, b = rng.uniform(0, 255, (2, 3))
        ramp = np.linspace(0, 1, size)[None, :, None]
        ramp = ramp if rng.random() < 0.5 else ramp.transpose(1, 0, 2)
        return (
            np.broadcast_to(a + (b - a) * ramp + rng.normal(0, 4, (size, size, 1)), (size, size, 3))
            .clip(0, 255)
            .astype(np.uint8)
        )
    h, w = photo.shape[:2]
    side = int(rng.uniform(0.15, 0.7) * min(h, w))
    y, x = int(rng.integers(0, h - side + 1)), int(rng.integers(0, w - side + 1))
    piece = Image.fromarray(photo[y : y + side, x : x + side]).resize((size, size), Image.Resampling.BILINEAR)
    tinted = np.asarray(piece, dtype=np.float32) * rng.uniform(0.6, 1.3, 3) + rng.uniform(-30, 30)
    return tinted.clip(0, 255).astype(np.uint8)
