"""Fair rivals: none leaves nothing, each against a slow twin, and anybody's predictor beside them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from medical.cli import Args
from medical.protocol.clickers import PixelClick
from medical.protocol.models import load_models, load_rival
from medical.protocol.prompt_modes import PixelPrompt
from medical.protocol.records import Measure, measure
from medical.protocol.rivals import RIVALS, RandomWalker, ellipse_in, walk
from medical.report.aggregate import ALL_DATASETS, KNOWN_DATASETS, contrasts, no_claims, summary_lines, with_pooled
from tests.medical.test_tables import row
from tests.medical.whole_runs import table
from zim_plugins.core import Prompt, UnsupportedPrompt
from zim_plugins.evaluation import baselines

BOX = (30, 20, 90, 80)


@pytest.fixture
def hidden(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A frame of noise (100 x 120) in which a round object is a little brighter, and its mask."""
    ys, xs = np.mgrid[:100, :120]
    mask = np.hypot(xs - 59.5, ys - 49.5) < 30
    grey = np.clip(100 + 12 * mask + rng.normal(0, 25, mask.shape), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), mask


def iou(model, frame: np.ndarray, mask: np.ndarray, given: PixelPrompt) -> float:
    model.show(frame)
    found = model.answer([given])[0].alphas[0] > 0.5
    return np.count_nonzero(found & mask) / np.count_nonzero(found | mask)


def test_no_rival_leaves_nothing_where_the_object_looks_like_its_surroundings(hidden) -> None:
    pytest.importorskip("cv2")
    frame, mask = hidden
    given = PixelPrompt(boxes=(BOX,))
    scores = {name: iou(load_rival(name), frame, mask, given) for name in RIVALS}
    assert scores["box"] == pytest.approx(np.pi / 4, abs=0.02) and scores["ellipse"] > 0.97
    assert scores["grabcut"] > 0.4 and scores["random-walker"] > 0.7
    plain = baselines.GrabCut(256)
    plain.set_image(frame)
    assert plain.predict(given.prompts()[0]).alpha.mean() < 0.5 * mask.mean(), "without a core most of it is lost"


def test_ellipses_fill_their_box_wherever_it_lies() -> None:
    for box in ((0, 0, 1, 1), (3, 4, 4, 10), (0, 0, 40, 30), (10, 5, 31, 26)):
        mask = ellipse_in((30, 40), box)
        ys, xs = np.nonzero(mask)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == box
        assert ellipse_in((30, 40), box, 0.5).sum() <= mask.sum() and ellipse_in((30, 40), box, 0.01).sum() >= 1
    assert ellipse_in((400, 400), (0, 0, 400, 300)).sum() == pytest.approx(np.pi * 200 * 150, rel=0.002)


def test_the_walk_is_that_of_a_direct_solver(rng: np.random.Generator) -> None:
    from skimage.segmentation import random_walker

    image = rng.integers(0, 255, (24, 30, 3)).astype(np.uint8)
    seeds = np.zeros((24, 30), np.int32)
    seeds[10:13, 12:16], seeds[0], seeds[:, -1] = 1, 2, 2
    twin = random_walker(image.mean(axis=2) / 255, seeds, beta=90, mode="bf", return_full_prob=True)[0]
    assert np.abs(walk(image, seeds, 90) - twin).max() < 5e-3


@pytest.mark.parametrize("level", [0, 130])
def test_the_walk_survives_what_has_nothing_to_walk_on(level: int) -> None:
    image = np.full((40, 300, 3), level, np.uint8)
    for seeds in (np.zeros((40, 300), np.int32), np.full((40, 300), 2, np.int32), np.ones((40, 300), np.int32)):
        found = walk(image, seeds, 90)
        assert found.shape == (40, 300) and np.isfinite(found).all() and found.min() >= 0 <= found.max() <= 1
    walker = RandomWalker()
    walker.set_image(image)
    for box in ((0, 0, 300, 40), (5, 5, 6, 6), (299, 39, 300, 40)):
        assert walker.predict(Prompt.from_box(*box)).alphas.shape == (1, 40, 300)


def test_the_walker_takes_the_models_clicks(hidden) -> None:
    _, mask = hidden
    frame = np.repeat((60 + 90 * mask).astype(np.uint8)[..., None], 3, axis=2)
    one = (PixelClick(59, 49, True),)
    more = (
        *one,
        PixelClick(59, 10, False),
        PixelClick(10, 50, False),
        PixelClick(110, 50, False),
        PixelClick(59, 92, False),
    )
    walker = load_rival("random-walker")
    assert iou(walker, frame, mask, PixelPrompt(clicks=more)) >= iou(walker, frame, mask, PixelPrompt(clicks=one)) > 0.9
    walker.show(frame)
    alpha = walker.answer([PixelPrompt(clicks=more)])[0].alphas[0]
    assert alpha[49, 59] > 0.5 > alpha[10, 59], "clicks hold where they are"
    assert walker.effort.prompts == 3 and walker.origin["side_px"] == 128


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_are_predictors_that_say_what_they_do_not_take(name: str, hidden) -> None:
    if name == "grabcut":
        pytest.importorskip("cv2")
    frame, _ = hidden
    model = load_rival(name)
    model.show(frame)
    both = PixelPrompt(boxes=(BOX, (0, 0, 9, 9)))
    parts = [model.answer([PixelPrompt(boxes=(box,))])[0].alpha for box in both.boxes]
    np.testing.assert_array_equal(model.answer([both])[0].alpha, np.maximum(*parts))
    assert (model.effort.encodings, model.effort.frames, model.effort.prompts) == (0, 1, 4)
    with pytest.raises(UnsupportedPrompt, match="one candidate"):
        model.answer([both], multimask=True)
    mixed = Prompt.from_point(40, 40).merged(Prompt.from_box(*BOX))
    for prompt in (mixed, Prompt(alpha=np.ones(frame.shape[:2], np.float32))):
        with pytest.raises(UnsupportedPrompt, match="takes"):
            model.predict(prompt)
    if name != "random-walker":
        with pytest.raises(UnsupportedPrompt, match="takes boxes"):
            model.answer([PixelPrompt(clicks=(PixelClick(5, 5, True),))])
    with pytest.raises(ValueError, match="outside the image"):
        model.predict(Prompt.from_box(500, 500, 600, 600))
    reaching_over = model.predict(Prompt.from_box(-5, -5, 30, 20)).alpha
    np.testing.assert_array_equal(reaching_over, model.predict(Prompt.from_box(0, 0, 30, 20)).alpha)


def test_rivals_are_compared_with_models_and_only_with_models() -> None:
    rows = []
    for i in range(8):
        for model, value in (("zim", 0.8 - i / 100), ("box", 0.5), ("ellipse", 0.6)):
            rows.append(row(value, patient=f"p{i}", case=f"c{i}", model=model))
    found = contrasts(rows, ["zim", "box", "ellipse"], max_clicks=9)
    assert [(c.first, c.second) for c in found] == [("zim", "box"), ("zim", "ellipse")]
    assert all(c.p_holm == pytest.approx(2 * c.outcome.p) for c in found), "over all comparisons of the run"
    assert len(contrasts(rows, ["box", "ellipse"], max_clicks=9)) == 1


def test_failures_do_not_leave_hd95() -> None:
    mask, nothing = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    mask[5:9, 5:9] = True
    lost = measure(nothing, mask, (2.0, 0.5), Measure())
    assert math.isnan(lost["hd95_px"]) and math.isnan(lost["hd95_mm"])
    assert lost["hd95_penalty_px"] == pytest.approx(math.hypot(29, 39))
    assert lost["hd95_penalty_mm"] == pytest.approx(math.hypot(58, 19.5))
    good = measure(mask, mask, (2.0, 0.5), Measure())
    assert good["hd95_penalty_px"] == good["hd95_px"] == 0
    assert math.isnan(measure(mask, mask, None, Measure())["hd95_penalty_mm"])
    assert math.isnan(measure(nothing, mask, (1.0, 1.0), Measure(surfaces=False))["hd95_penalty_px"])
    rows = [
        row(0.0, empty_pred=1, n_pred=0, n_both=0, hd95_penalty_px=48.6),
        row(0.8, hd95_px=3.0, hd95_penalty_px=3.0, patient="patient_0002"),
    ]
    lines = {line["metric"]: line for line in summary_lines(rows) if line["label"] == "all"}
    assert (lines["hd95_px"]["n"], lines["hd95_px"]["mean"]) == (1, 3.0)
    assert (lines["hd95_penalty_px"]["n"], lines["hd95_penalty_px"]["mean"]) == (2, pytest.approx(25.8))


def test_sets_of_known_patients_are_pooled_once_more() -> None:
    rows = [row(0.5, dataset=d, patient=f"p{i}" if d != "u" else "", case=f"c{i}") for d in "abu" for i in range(3)]
    names = {r.dataset for r in with_pooled(rows, {d: d for d in "abu"})}
    assert {ALL_DATASETS, KNOWN_DATASETS} <= names
    known = [r for r in with_pooled(rows, {d: d for d in "abu"}) if r.dataset == KNOWN_DATASETS]
    assert len(known) == 6 and all(r.patient for r in known)
    assert KNOWN_DATASETS not in {r.dataset for r in with_pooled(rows[:6], {d: d for d in "ab"})}


def test_no_claim_is_said_once() -> None:
    rows = [
        row(0.5, dataset=d, patient=f"p{i}" if d != "u" else "", case=f"c{i}", model=m, prompt=p)
        for d in "abu" for i in range(3) for m in ("zim", "sam") for p in ("mode1", "mode5")
    ]  # fmt: skip
    said = no_claims(contrasts(rows, ["zim", "sam"], max_clicks=9))
    assert len(said) == 2 and "a, b: fewer than 6 patients" in said[0] and "u: which cases" in said[1]


FACTORY = """
import numpy as np
from zim_plugins.core import Prediction

class Mine:
    name = "mine"
    def set_image(self, image): self.size = image.shape[:2]
    def predict(self, prompt):
        alpha = np.zeros(self.size, np.float32)
        x1, y1, x2, y2 = (int(v) for v in (prompt.box if prompt.box is not None else (0, 0, 9, 9)))
        alpha[y1:y2, x1:x2] = 1
        return Prediction(alpha[None], np.ones(1, np.float32))
    def predict_many(self, prompts): return [self.predict(p) for p in prompts]

def make(): return Mine()
def nothing(): return 3
"""


def test_anybodys_predictor_is_a_model(folder_set: Path, tmp_path: Path, call, capsys) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "their model.py"
    file.write_text(FACTORY)
    out = tmp_path / "out"
    args = Args(data=str(folder_set), models=f"{file}:make,box,ellipse", prompts="box", out=str(out), save="none",
                groups="cases")  # fmt: skip
    assert call(args) == 0
    rows = table(out / "rows.csv")
    assert {r["model"] for r in rows} == {"mine", "box", "ellipse"}
    assert [r["iou"] for r in rows if r["model"] == "mine"] == [r["iou"] for r in rows if r["model"] == "box"]
    assert {line["second"] for line in table(out / "compare.csv")} == {"box", "ellipse"}
    html = (out / "report.html").read_text()
    assert "failures the diagonal" in html and RIVALS["ellipse"] in html
    assert json.loads((out / "report.json").read_text())["definitions"]["rivals"].startswith("box")
    assert call(Args(data=str(folder_set), models=f"{file}:nothing", out=str(tmp_path / "o2"))) == 1
    assert "made a int without set_image" in capsys.readouterr().err
    assert call(Args(data=str(folder_set), models=f"{file}:absent", out=str(tmp_path / "o3"))) == 1
    assert "cannot take the model" in capsys.readouterr().err
    (tmp_path / "other.py").write_text(FACTORY)
    with pytest.raises(ValueError, match="call themselves mine"):
        load_models([f"{file}:make", f"{tmp_path / 'other.py'}:make"], runtime="auto", device="cpu", zoom=False,
                    refine="none")  # fmt: skip
    with pytest.raises(ValueError, match="empty name"):
        load_models(["box", ""], runtime="auto", device="cpu", zoom=False, refine="none")
