"""Hand-over: predictors from MONAI-style callables, and prompts as 3D Slicer and napari have them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medical.segment.callables import CallablePredictor, guidance
from medical.segment.command import SegmentArgs, main
from medical.segment.marks import marks_from_json
from medical.segment.slicer import marks_from_markups
from tests.medical.test_segment import Threshold, ball
from zim_plugins.cli.runtime import run as command
from zim_plugins.core import Predictor, Prompt, UnsupportedPrompt

nib = pytest.importorskip("nibabel")
torch = pytest.importorskip("torch")
DOCS = Path(__file__).parents[2] / "docs" / "medical_segment.md"


def test_a_monai_network_with_guidance_channels(rng: np.random.Generator) -> None:
    """What a MONAI network gives through the predictor is what it gives by hand."""
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install monai")
    inferers = pytest.importorskip("monai.inferers")
    torch.manual_seed(0)
    network = nets.BasicUNet(spatial_dims=2, in_channels=3, out_channels=2, features=(4, 4, 4, 4, 4, 4)).eval()
    inferer = inferers.SlidingWindowInferer(roi_size=(32, 32), overlap=0.25)
    predictor = CallablePredictor(lambda image: inferer(image, network), activation="softmax", channel=1)
    assert isinstance(predictor, Predictor)
    image = rng.integers(0, 256, (40, 56, 3)).astype(np.uint8)
    predictor.set_image(image)
    prompt = Prompt.from_points([(20, 12, 1), (30, 30, 0)])
    alpha = predictor.predict(prompt).alpha
    grey = image.astype(np.float32).mean(axis=2) / 255
    guides = [guidance(np.array([p]), (40, 56), 3.0) for p in ((20.0, 12.0), (30.0, 30.0))]
    with torch.inference_mode():
        theirs = inferer(torch.from_numpy(np.stack([grey, *guides]))[None], network).softmax(1)[0, 1].numpy()
    assert alpha.shape == (40, 56) and np.abs(alpha - theirs).max() < 1e-5
    assert np.abs(alpha - predictor.predict(Prompt.from_point(5, 5)).alpha).max() > 1e-4, "clicks matter"
    assert guides[0][12, 20] == pytest.approx(np.exp(-0.5 / 18)) and guides[0][30, 30] < 1e-6


def test_callables_with_points_and_boxes() -> None:
    seen = {}

    def network(image, **prompts):
        seen.update({name: value.tolist() for name, value in prompts.items()}, image=tuple(image.shape))
        return image[:, :1] * 0 + 20.0

    by_points = CallablePredictor(network, takes="points", grey=False)
    by_points.set_image(np.zeros((8, 9, 3), np.uint8))
    assert by_points.predict(Prompt.from_points([(1, 2, 1), (3, 4, 0)])).alpha.min() > 0.99
    assert seen == {"image": (1, 3, 8, 9), "points": [[[1, 2], [3, 4]]], "point_labels": [[1, 0]]}
    with pytest.raises(UnsupportedPrompt, match="clicks only"):
        by_points.predict(Prompt.from_box(1, 1, 4, 4))
    by_box = CallablePredictor(network, takes="box")
    by_box.set_image(np.zeros((8, 9, 3), np.uint8))
    by_box.predict(Prompt.from_box(1, 2, 5, 6))
    assert seen["box"] == [[1, 2, 5, 6]] and seen["image"] == (1, 1, 8, 9)
    with pytest.raises(UnsupportedPrompt, match="boxes only"):
        by_box.predict(Prompt.from_point(1, 1))
    small = CallablePredictor(lambda image: image[..., ::2], takes="guidance")
    small.set_image(np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(ValueError, match="inferer"):
        small.predict(Prompt.from_point(1, 1))


def markups(kind: str, points: list[tuple[str, list[float]]], system: str = "LPS") -> dict:
    """A markup as 3D Slicer 5 writes it."""
    controls = [{"id": str(i), "label": label, "position": place, "positionStatus": "defined", "description": ""}
                for i, (label, place) in enumerate(points)]  # fmt: skip
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema"
    markup = {"type": kind, "coordinateSystem": system, "coordinateUnits": "mm", "controlPoints": controls}
    return {"@schema": f"{schema}/markups-schema-v1.0.3.json#", "markups": [markup]}


def test_markups_of_slicer_are_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ball((40, 44, 30), (15, 25, 12), 9)
    affine = np.diag([-1.5, 2.0, 2.2, 1])
    affine[:3, 3] = 40, -7, 30
    nib.save(nib.Nifti1Image(np.where(truth, 200, 20).astype(np.int16), affine), tmp_path / "scan.nii.gz")
    x, y, z = (affine @ [15, 25, 12, 1])[:3]
    monkeypatch.setattr("zim_plugins.core.load_predictor", lambda *a, **k: Threshold())
    roi = markups("ROI", [])
    low, high = affine @ [6, 16, 12, 1], affine @ [24, 34, 12, 1]
    centre, size = (low + high)[:3] / 2, np.abs(high - low)[:3] + np.array([1.5, 2.0, 2.0])
    roi["markups"][0] |= {"center": (centre * [-1, -1, 1]).tolist(), "size": size.tolist(),
                          "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}  # fmt: skip
    files = {
        "lps": markups("Fiducial", [("F-1", [-x, -y, z])]),
        "ras": markups("Fiducial", [("F-1", [x, y, z]), ("-out", [x - 30, y, z])], "RAS"),
        "roi": roi,
    }
    for name, table in files.items():
        (tmp_path / f"{name}.mrk.json").write_text(json.dumps(table))
        args = SegmentArgs(
            scan=str(tmp_path / "scan.nii.gz"), prompts=str(tmp_path / f"{name}.mrk.json"), out=str(tmp_path / name)
        )
        assert command(main, args, package="medical") == 0
        found = nib.load(tmp_path / name / "scan_seg.nii.gz")
        assert np.array_equal(np.asarray(found.dataobj) > 0, truth), name
        assert json.loads((tmp_path / name / "scan_seg.json").read_text())["labels"] == {name: 1}
    with pytest.raises(ValueError, match="Curve"):
        marks_from_markups(markups("Curve", [("a", [0, 0, 0])]), "x")
    turned = markups("ROI", [])
    turned["markups"][0] |= {
        "center": [0, 0, 0],
        "size": [1, 1, 1],
        "orientation": [0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1],
    }
    with pytest.raises(ValueError, match="turned"):
        marks_from_markups(turned, "x")


class Layer:
    """A layer as napari has them: `data`, `name`, `features`, `shape_type`."""

    def __init__(self, name: str, data: object, **more: object) -> None:
        self.name, self.data = name, data
        self.__dict__.update(more)


class Points(Layer):
    pass


class Shapes(Layer):
    pass


def test_the_recipe_for_napari_sends_prompts_back() -> None:
    """The document's own code, on layers of the shape that napari gives them."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    code = next(block for block in blocks if "def to_prompts" in block)
    scope: dict = {}
    exec(code[code.index("def to_prompts") : code.index("viewer = ")], scope)
    viewer = type("Viewer", (), {})()
    viewer.layers = [
        Layer("scan", np.zeros((9, 9, 9))),
        Points("cord", np.array([[1.2, 2.0, 3.0], [4.0, 5.0, 6.0]])),
        Points("cord outside", np.array([[7.0, 8.0, 6.0]])),
        Shapes("liver", [np.array([[1, 2, 5], [1, 8, 5], [6, 8, 5], [6, 2, 5]])], shape_type=["rectangle"]),
    ]
    read = {one.name: one for one in marks_from_json(scope["to_prompts"](viewer))}
    assert [c.at for c in read["cord"].clicks] == [(1.2, 2, 3), (4, 5, 6), (7, 8, 6)]
    assert [c.is_inside for c in read["cord"].clicks] == [True, True, False]
    assert (read["liver"].boxes[0].low, read["liver"].boxes[0].high) == ((1, 2, 5), (7, 9, 6))
