"""A copy of NVOS's tree from the analytic scene, with exact labels, and the scene as `open_scene` would answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from nerf_seg.field.scene import grid_around
from nerf_seg.segmentation.estimators import Estimator
from nerf_seg.segmentation.mask_grid import Domain, MaskGrid
from nerf_seg.segmentation.object_field import ObjectInScene
from nerf_seg.segmentation.views import View
from tests.nerf_seg.analytic import AnalyticScene

SCENE = AnalyticScene(count=7)
TARGET, REFERENCE = 2, 3
"""Places of IMG_4027 and IMG_4038, fern's target and reference, among the views."""
ORIGINALS = ("IMG_4025", "IMG_4026", "IMG_4027", "IMG_4038", "IMG_4039", "IMG_4040", "IMG_4041")


class Cubed:
    """Views of the analytic scene with samples in the contracted cube, some of them hidden."""

    def __init__(self, scene: AnalyticScene, hidden: Sequence[str] = ()) -> None:
        self.scene = scene
        self.names = [name for name in scene.names if name not in hidden]

    def view(self, index: int) -> View:
        view = self.scene.view(list(self.scene.names).index(self.names[index]))
        world = self.scene.domain.to_world(view.samples.positions)
        return replace(view, samples=replace(view.samples, positions=Domain.contraction().to_unit(world)))


@dataclass
class AnalyticOpenScene:
    """What zim-nvos asks of a scene."""

    hidden: tuple[str, ...] = ()
    """Views that the NeRF was not trained on."""

    @property
    def kind(self) -> str:
        return "NeRF"

    @property
    def source(self) -> Cubed:
        return Cubed(SCENE, self.hidden)

    @property
    def names(self) -> list[str]:
        return list(SCENE.names)

    def view_of(self, name: str) -> View:
        return Cubed(SCENE).view(self.names.index(name))

    def new_object(self, estimator: Estimator, view: View, alpha: np.ndarray) -> ObjectInScene:
        return grid_around(self.source, lambda domain: MaskGrid(64, estimator, domain), view, alpha)


def write_labels(labels: Path) -> None:
    """masks/fern and scribbles/fern as NVOS has them: the mask at four times the views' size, scribbles at twice."""
    height, width = SCENE.size
    fine = AnalyticScene(size=(4 * height, 4 * width), count=SCENE.count)
    save(labels / "masks" / "fern" / "IMG_4027_mask.png", fine.alpha(TARGET) > 0.5)
    mask = np.asarray(PIL.Image.fromarray(SCENE.alpha(REFERENCE) > 0.8).resize((2 * width, 2 * height)))
    ys, xs = np.nonzero(mask)
    middle = (float(xs.mean()), float(ys.mean()))
    for name, line in (
        ("pos", [(middle[0] - 12, middle[1]), (middle[0] + 12, middle[1] + 4)]),
        ("neg", [(4, 4), (2 * width - 4, 6)]),
    ):
        canvas = PIL.Image.new("L", (2 * width, 2 * height))
        PIL.ImageDraw.Draw(canvas).line(line, fill=255, width=4)
        save(labels / "scribbles" / "fern" / f"{name}_0_fern.png", np.asarray(canvas) > 0)


def write_capture(root: Path) -> None:
    """What tells the images' names: transforms.json with the original ones."""
    (root / "images_8").mkdir(parents=True)
    pairs = zip(SCENE.names, ORIGINALS, strict=True)
    frames = [{"file_path": f"images_8/{name}", "original_name": f"{original}.JPG"} for name, original in pairs]
    (root / "transforms.json").write_text(json.dumps({"frames": frames}))


def write_nerf(folder: Path) -> Path:
    """A run folder that is found; what it holds is the analytic scene's business."""
    config = folder / "nerfacto" / "2026-01-01_000000" / "config.yml"
    config.parent.mkdir(parents=True)
    config.write_text("analytic")
    (config.parent / "step-000000001.ckpt").write_bytes(b"")
    return config


def save(path: Path, mask: np.ndarray) -> None:
    """A black and white image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(mask * np.uint8(255)).save(path)


def oracle():
    """A predictor that knows the ball's matte in every view."""
    from nerf_seg.segmentation.matting import OraclePredictor

    return OraclePredictor(lambda name: SCENE.alpha(list(SCENE.names).index(name)))
