"""Scenes: one training image with the mattes of the objects in it, a pure function of (library, seed, index)."""

from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageFilter

from zim_plugins.imaging.geometry import window_of
from zim_plugins.imaging.ranges import unit_values
from zim_plugins.training.samples.library import Cutout, Library
from zim_plugins.training.samples.procedural import random_shape, random_texture

MIN_OBJECT_SHARE = 0.002
"""Objects smaller than this share of the frame are not asked for."""
DRAWN_EDGE, CONVERTED_EDGE = 0.15, 0.5
"""Trust in edges that a hand drew, and in those that a label converter found."""


@dataclass(frozen=True)
class SceneMix:
    """Shares of the kinds of scene; the rest are composites."""

    objects: float = 0.30
    """Photographs with hand-drawn objects."""
    segments: float = 0.15
    """Photographs with regions drawn by several people."""
    zoomed: float = 0.65
    """Scenes framed round one object, as the zoom pass and an attentive photographer do."""
    pasted_object: float = 0.25
    """Of a composite's foregrounds: objects cut from another photograph."""
    procedural: float = 0.25
    """Of a composite's foregrounds: invented shapes."""
    rigid: float = 0.12
    """Of a composite's foregrounds: rigid cut-outs; the rest are soft cut-outs."""


@dataclass(frozen=True, eq=False)
class Scene:
    """An image that fits the frame, and the mattes that may be asked for."""

    rgb: UInt8[np.ndarray, "h w 3"]
    alphas: list[Float32[np.ndarray, "h w"]]
    """Opacity in [0, 1]; at least one."""
    edge: float
    """Trust in the mattes' edges, in [0, 1]."""
    whole: bool = True
    """Whether the mattes are whole objects; a region of a drawing may be part of one, so no click alone can mean it."""


def make_scene(library: Library, frame_px: int, mix: SceneMix, rng: np.random.Generator) -> Scene:
    """Draw a scene whose longest side is `frame_px`."""
    while True:
        kind = rng.random()
        if kind < mix.objects:
            scene = _photo_scene(library, frame_px, mix, rng, use_segments=False)
        elif kind < mix.objects + mix.segments:
            scene = _photo_scene(library, frame_px, mix, rng, use_segments=True)
        else:
            scene = _composite_scene(library, frame_px, mix, rng)
        if scene is not None:
            return replace(scene, rgb=_photographic(scene.rgb, rng))


def _photo_scene(
    library: Library, frame_px: int, mix: SceneMix, rng: np.random.Generator, use_segments: bool
) -> Scene | None:
    photos = [p for p in library.photos if (p.segments if use_segments else p.masks)]
    if not photos:
        return None
    photo = photos[rng.integers(len(photos))]
    if use_segments:
        labels = photo.segments[rng.integers(len(photo.segments))]
        numbers, counts = np.unique(labels, return_counts=True)
        fit = numbers[(counts > 0.01 * labels.size) & (counts < 0.6 * labels.size)]
        if len(fit) == 0:
            return None
        masks = [255 * (labels == n).astype(np.uint8) for n in rng.permutation(fit)[:2]]
    else:
        masks = [photo.masks[i] for i in rng.permutation(len(photo.masks))[:2]]
    window = _window(masks[0] > 127, photo.rgb.shape[:2], rng.random() < mix.zoomed, rng)
    size = _fit(window, frame_px, rng)
    flip = rng.random() < 0.5
    rgb = _crop(photo.rgb, window, size, flip)
    alphas = [unit_values(_crop(m, window, size, flip)) for m in masks]
    alphas = [a for a in alphas if _usable(a)]
    edge = CONVERTED_EDGE if photo.converted and not use_segments else DRAWN_EDGE
    return Scene(rgb, alphas, edge, whole=not use_segments) if alphas else None


def _composite_scene(library: Library, frame_px: int, mix: SceneMix, rng: np.random.Generator) -> Scene | None:
    pool = len(library.backgrounds) + len(library.photos)
    pick = int(rng.integers(pool))
    behind = (
        library.backgrounds[pick]
        if pick < len(library.backgrounds)
        else library.photos[pick - len(library.backgrounds)].rgb
    )
    window = _window(None, behind.shape[:2], False, rng)
    size = _fit(window, frame_px, rng)
    canvas = _crop(behind, window, size, rng.random() < 0.5).astype(np.float32)
    if rng.random() < 0.15:
        canvas = np.asarray(
            Image.fromarray(canvas.astype(np.uint8)).filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 5)))),
            dtype=np.float32,
        )
    elif rng.random() < 0.06:
        canvas = np.broadcast_to(rng.uniform(0, 255, 3), canvas.shape).astype(np.float32)
    alphas: list[np.ndarray] = []
    count = 1 + int(rng.random() < 0.45) + int(rng.random() < 0.15)
    zoomed = rng.random() < mix.zoomed
    for k in range(count):
        share = rng.uniform(0.55, 1.05) if zoomed and k == count - 1 else rng.uniform(0.15, 0.75)
        colours, alpha = _placed(_foreground(library, mix, rng), size, share, rng)
        alphas = [a * (1 - alpha) for a in alphas]
        alphas.append(alpha)
        canvas = canvas * (1 - alpha[..., None]) + colours * alpha[..., None]
    alphas = [a for a in reversed(alphas) if _usable(a)]
    return Scene(canvas.clip(0, 255).astype(np.uint8), alphas[:2], edge=1.0) if alphas else None


def _foreground(library: Library, mix: SceneMix, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 4"]:
    kind = rng.random()
    photos = library.photos
    if kind < mix.pasted_object:
        photo = photos[rng.integers(len(photos))]
        if photo.masks:
            mask = photo.masks[rng.integers(len(photo.masks))]
            part = window_of(mask > 0)
            soft = Image.fromarray(mask[part])
            if not photo.converted:
                soft = soft.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.5))))
            return np.dstack([photo.rgb[part], np.asarray(soft)])
    if kind < mix.pasted_object + mix.procedural:
        side = 192
        photo = photos[rng.integers(len(photos))]
        alpha = random_shape(side, rng)
        return np.dstack([random_texture(side, photo.rgb, rng), (255 * alpha).astype(np.uint8)])
    rigid = rng.random() < mix.rigid / max(1e-6, 1 - mix.pasted_object - mix.procedural)
    kinds: list[Cutout] = [c for c in library.cutouts if c.rigid == rigid] or library.cutouts
    return kinds[rng.integers(len(kinds))].rgba


def _placed(
    rgba: UInt8[np.ndarray, "y x 4"], size: tuple[int, int], share: float, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """Turn, flip, tint and scale a cut-out and put it somewhere on an empty canvas of `size` (H, W)."""
    image = Image.fromarray(rgba)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    height, width = size
    scale = share * min(height / image.height, width / image.width) * rng.uniform(0.9, 1.25)
    stretch = rng.uniform(0.85, 1.18)
    to = (max(4, int(image.width * scale * stretch)), max(4, int(image.height * scale)))
    image = image.resize(to, Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = image.rotate(float(rng.normal(0, 18)), Image.Resampling.BILINEAR, expand=True)
    x = int(rng.uniform(-0.15, 1.15) * (width - image.width))
    y = int(rng.uniform(-0.15, 1.15) * (height - image.height))
    canvas = Image.new("RGBA", (width, height))
    canvas.paste(image, (x, y))
    placed = np.asarray(canvas, dtype=np.float32)
    colours = placed[..., :3]
    if rng.random() < 0.6:
        colours = colours * rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3) + rng.uniform(-25, 25)
    return colours.clip(0, 255).astype(np.float32), placed[..., 3] / np.float32(255)


def _window(
    mask: Bool[np.ndarray, "h w"] | None, size: tuple[int, ...], zoomed: bool, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """The part of an image to look at, X1 Y1 X2 Y2 [px]: round the mask, or a large part of the whole."""
    height, width = size
    if zoomed and mask is not None and mask.any():
        rows, columns = window_of(mask)
        room = rng.uniform(0.05, 0.6, 4) * max(columns.stop - columns.start, rows.stop - rows.start)
        x1, y1 = max(0.0, columns.start - room[0]), max(0.0, rows.start - room[1])
        x2, y2 = min(width, columns.stop + room[2]), min(height, rows.stop + room[3])
        return x1, y1, max(x2, x1 + 8), max(y2, y1 + 8)
    w, h = width * rng.uniform(0.6, 1.0), height * rng.uniform(0.6, 1.0)
    if rng.random() < 0.4:
        w, h = float(width), float(height)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return x, y, x + w, y + h


def _fit(window: tuple[float, float, float, float], frame_px: int, rng: np.random.Generator) -> tuple[int, int]:
    """Size (H, W) of the window in the frame: longest side full, proportions a little off now and then."""
    w, h = window[2] - window[0], window[3] - window[1]
    if rng.random() < 0.3:
        w *= rng.uniform(0.8, 1.25)
    scale = frame_px / max(w, h)
    return max(16, min(frame_px, round(h * scale))), max(16, min(frame_px, round(w * scale)))


def _crop(
    array: UInt8[np.ndarray, "h w *c"], window: tuple[float, float, float, float], size: tuple[int, int], flip: bool
) -> UInt8[np.ndarray, "s t *c"]:
    h, w = array.shape[:2]
    box = (max(0.0, window[0]), max(0.0, window[1]), min(float(w), window[2]), min(float(h), window[3]))
    image = Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image)


def _usable(alpha: Float32[np.ndarray, "h w"]) -> bool:
    return bool((alpha > 0.5).mean() > MIN_OBJECT_SHARE and alpha.mean() < 0.95)


def _photographic(rgb: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Light, colour, blur, noise and compression of an ordinary camera; hides the seams of a composite too."""
    x = rgb.astype(np.float32)
    if rng.random() < 0.5:
        x = x * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
    if rng.random() < 0.3:
        grey = x.mean(2, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0.0, 1.6)
    if rng.random() < 0.3:
        x = x * rng.uniform(0.85, 1.15, 3)
    if rng.random() < 0.25:
        x = x + rng.normal(0, rng.uniform(1, 8), x.shape)
    image = Image.fromarray(x.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.0))))
    if rng.random() < 0.2:
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(45, 95)))
        image = Image.open(buffer)
    return np.asarray(image)
