"""A hand-drawn label of LLFF's fern in the layout of NVOS, for trials of the protocol; it is not NVOS's own label.

Drawn on a screen over images_8 enlarged to 1270x952 px: the plant with its trunk, frond by frond, as polygons whose
union is taken; the gaps between leaflets are not cut out, and tips are within about 3 px of images_8.
"""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

DRAWN_WIDTH, DRAWN_HEIGHT = 1270, 952
TARGET_VIEW, REFERENCE_VIEW = "image001", "image012"
"""IMG_4027 and IMG_4038 by the order of the file names."""

POLYGONS = {
    "trunk": "612,738 625,690 630,625 625,600 692,598 688,640 676,690 662,735",
    "front": """625,578 585,550 545,566 505,600 478,640 455,690 430,745 410,790 393,860 392,905 402,921 425,880 450,825
        470,780 468,755 495,745 510,705 530,660 550,620 580,592 614,592""",
    "low left": """610,590 560,552 480,542 380,540 320,555 262,590 222,625 192,668 205,718 240,680 270,690 330,672
        400,632 470,602 560,592""",
    "left": """610,545 560,490 510,450 450,432 380,430 310,450 260,478 215,510 190,570 225,540 250,512 300,500 310,520
        380,515 480,535 560,545 610,560""",
    "behind left": "330,480 200,492 150,520 118,575 190,530 300,540 380,545 480,545 520,520",
    "far left": "400,405 300,400 220,402 185,430 178,480 205,470 240,455 300,440 400,430 480,440 440,400",
    "up left": "190,357 240,325 300,310 340,330 400,345 450,335 480,320 430,285 380,275 310,277 250,300",
    "between": "240,398 270,372 340,362 405,370 430,410 330,405",
    "crown": """600,560 560,490 500,440 450,430 405,405 440,350 480,330 530,335 470,280 430,255 345,255 345,245 400,235
        345,212 385,203 430,215 480,245 545,290 580,300 545,240 520,205 480,190 430,192 470,178 510,180 545,205 575,240
        540,170 545,148 575,150 605,180 625,215 610,175 625,162 650,170 675,200 680,235 700,180 715,135 745,100 830,70
        800,95 775,125 810,130 800,150 825,155 800,215 830,165 870,130 910,122 945,152 900,150 870,165 840,220 860,225
        890,190 930,175 965,180 990,210 998,250 970,235 950,215 930,215 880,255 850,290 880,300 905,315 870,345 940,310
        990,295 1050,300 1120,310 1160,330 1187,355 1120,335 1095,335 1115,370 1130,392 1080,370 1050,345 990,355
        955,360 970,380 940,400 900,400 860,425 900,430 960,418 1040,415 1110,435 1160,470 1175,497 1140,480 1140,500
        1165,510 1150,530 1135,560 1110,530 1040,535 1070,555 1120,585 1180,630 1225,680 1242,728 1190,705 1130,660
        1060,620 980,600 900,595 820,580 770,570 730,590 695,610 625,610""",
}
"""Corners x,y in IMG_4027, in px of the enlarged image."""
POSITIVE = (
    "470,270 560,330 620,420 660,520",
    "690,520 700,400 715,250 740,130",
    "730,480 800,300 870,180 930,125",
    "760,510 870,430 980,380 1080,370",
    "660,590 670,640 660,690",
    "600,510 500,430 380,385 280,400",
)
"""Strokes in IMG_4038."""
NEGATIVE = (
    "120,760 300,860 560,820 800,760",
    "1010,800 1100,850 1200,780",
    "520,60 640,80 650,20",
    "1080,150 1200,180 1230,90",
    "60,620 140,640 180,560",
    "780,620 900,600 900,740",
)


def target_mask(width: int, height: int) -> np.ndarray:
    """The plant in IMG_4027: bool (height, width)."""
    canvas = PIL.Image.new("L", (width * 4, height * 4))  # drawn finely, then judged by area
    pen = PIL.ImageDraw.Draw(canvas)
    for corners in POLYGONS.values():
        pen.polygon(_scaled(corners, *canvas.size), fill=255)
    return np.asarray(canvas.resize((width, height), PIL.Image.Resampling.BOX)) > 127


def scribble(strokes: tuple[str, ...], width: int, height: int) -> np.ndarray:
    """Strokes of a brush: bool (height, width)."""
    canvas = PIL.Image.new("L", (width, height))
    for stroke in strokes:
        PIL.ImageDraw.Draw(canvas).line(_scaled(stroke, width, height), fill=255, width=max(3, width // 120))
    return np.asarray(canvas) > 127


def write_tree(root: Path, fern: Path) -> None:
    """Write labels/llff as NVOS has it, with this label, from the capture in `fern` (images_8, transforms.json).

    The mask is written at images_4's size, as are the scribbles; NVOS's masks have the original's.
    """
    labels = root / "labels" / "llff"
    frames = json.loads((fern / "transforms.json").read_text())["frames"]
    originals = {Path(f["file_path"]).stem: Path(f["original_name"]).stem for f in frames}
    size = (1008, 756)
    target, reference = originals[TARGET_VIEW], originals[REFERENCE_VIEW]
    drawn = {
        f"masks/fern/{target}_mask.png": target_mask(*size),
        "scribbles/fern/pos_0_fern.png": scribble(POSITIVE, *size),
        "scribbles/fern/neg_0_fern.png": scribble(NEGATIVE, *size),
    }
    for name, mask in drawn.items():
        (labels / name).parent.mkdir(parents=True, exist_ok=True)
        rgb = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2) if "scribbles" in name else mask * np.uint8(255)
        PIL.Image.fromarray(rgb).save(labels / name)
    for folder, view, name in (("masks", TARGET_VIEW, target), ("reference_image", REFERENCE_VIEW, reference)):
        place = labels / folder / "fern" / f"{name}.JPG"
        place.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.open(fern / "images_8" / f"{view}.png").convert("RGB").resize(size).save(place, quality=95)


def _scaled(text: str, width: int, height: int) -> list[tuple[float, float]]:
    pairs = (corner.split(",") for corner in text.split())
    return [(float(x) * width / DRAWN_WIDTH, float(y) * height / DRAWN_HEIGHT) for x, y in pairs]
