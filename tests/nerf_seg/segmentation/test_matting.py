from pathlib import Path

import numpy as np
import pytest

from nerf_seg.segmentation.matting import OraclePredictor, candidate_alphas, matte_through_gate, without_residue
from nerf_seg.segmentation.views import View
from tests.conftest import FakePredictor, soft_disk
from tests.nerf_seg.analytic import AnalyticScene
from zim_plugins.core import Prediction, Predictor, Prompt, UnsupportedPrompt, write_image

SCENE = AnalyticScene(size=(36, 48), count=3)
NAME = SCENE.names[1]


def oracle(**corrupted: str) -> OraclePredictor:
    return OraclePredictor(
        lambda name: SCENE.alpha(SCENE.names.index(name)), {f"{k}.png": v for k, v in corrupted.items()}
    )


class Choosy(FakePredictor):
    """Several candidates, and no coarse mattes."""

    def __init__(self) -> None:
        super().__init__(10.0)
        self.asked: list[Prompt] = []

    def predict(self, prompt: Prompt) -> Prediction:
        self.asked.append(prompt)
        if prompt.alpha is not None:
            raise UnsupportedPrompt("no coarse matte")
        first = super().predict(prompt).alpha
        return Prediction(np.stack([first * 0.2, first]), np.array([0.3, 0.8], np.float32))


def test_residue_is_removed() -> None:
    alphas = np.array([[0.0, 0.009, 0.02, 0.5, 0.985, 0.995, 1.0]], np.float32)
    assert without_residue(alphas)[0].tolist() == pytest.approx([0, 0, 0.02, 0.5, 0.985, 1, 1])


def test_candidates_come_best_first() -> None:
    alphas = candidate_alphas(Choosy(), SCENE.view(1), Prompt.from_point(24, 18))
    assert alphas.shape == (2, 36, 48) and alphas[0].max() == 1 and alphas[1].max() == pytest.approx(0.2)


def test_oracle_answers_with_what_is_pointed_at() -> None:
    predictor, view, truth = oracle(), SCENE.view(1), SCENE.alpha(1)
    assert isinstance(predictor, Predictor)
    inside, outside = Prompt.from_point(24, 18), Prompt.from_point(2, 2)
    np.testing.assert_allclose(candidate_alphas(predictor, view, inside)[0], without_residue(truth))
    np.testing.assert_allclose(candidate_alphas(predictor, view, outside)[0], without_residue(1 - truth))
    around, beside = Prompt.from_box(8, 2, 40, 34), Prompt.from_box(0, 0, 10, 10)
    np.testing.assert_allclose(candidate_alphas(predictor, view, around)[0], without_residue(truth))
    np.testing.assert_allclose(candidate_alphas(predictor, view, beside)[0], without_residue(1 - truth))


@pytest.mark.parametrize(("corruption", "mean"), [("everything", 1.0), ("nothing", 0.0), ("inverse", None)])
def test_oracle_is_corrupted_on_demand(corruption: str, mean: float | None) -> None:
    predictor, prompt = oracle(view_01=corruption), Prompt.from_point(24, 18)
    answer = candidate_alphas(predictor, SCENE.view(1), prompt)[0]
    expected = 1 - SCENE.alpha(1).mean() if mean is None else mean
    assert answer.mean() == pytest.approx(expected, abs=1e-3)
    spared = candidate_alphas(predictor, SCENE.view(0), prompt)[0]
    assert spared.mean() == pytest.approx(SCENE.alpha(0).mean(), abs=1e-3)


def test_oracle_reads_a_folder_and_reduces(tmp_path: Path) -> None:
    large = soft_disk((72, 96), (48, 36), 20)
    write_image(tmp_path / "view_01.png", large)
    predictor = OraclePredictor.from_folder(tmp_path)
    answer = candidate_alphas(predictor, SCENE.view(1), Prompt.from_point(24, 18))[0]
    assert answer.shape == (36, 48) and answer.mean() == pytest.approx(large.mean(), abs=2e-3)
    with pytest.raises(ValueError, match=r"holds no matte for the view view_02\.png"):
        candidate_alphas(predictor, SCENE.view(2), Prompt.from_point(24, 18))
    with pytest.raises(ValueError, match="holds no mattes"):
        OraclePredictor.from_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="call name_view"):
        OraclePredictor.from_folder(tmp_path).set_image(SCENE.view(1).image)


def test_the_gate_keeps_the_neighbourhood_of_the_3d_matte() -> None:
    view = SCENE.view(1)
    coarse = soft_disk((36, 48), (24, 18), 6)
    predictor = Choosy()  # its disk of 10 px reaches beyond the gate of 6 + 2 px
    alpha = matte_through_gate(predictor, view, coarse, Prompt.from_point(24, 18))
    assert [p.alpha is not None for p in predictor.asked] == [True, False]
    ys, xs = np.mgrid[:36, :48] + 0.5
    distance = np.maximum(np.abs(xs - 24), np.abs(ys - 18))
    assert alpha[18, 24] == 1 and (alpha[distance > 10] == 0).all()
    assert (matte_through_gate(predictor, view, np.zeros_like(coarse), Prompt.from_point(24, 18)) == 0).all()


def test_a_model_that_takes_a_coarse_matte_is_given_one() -> None:
    seen: list[Prompt] = []

    class Taking(FakePredictor):
        def predict(self, prompt: Prompt) -> Prediction:
            seen.append(prompt)
            return super().predict(prompt)

    coarse = soft_disk((36, 48), (24, 18), 12)
    view = View(NAME, SCENE.view(1).image, SCENE.view(1).samples)
    matte_through_gate(Taking(), view, coarse, Prompt.from_point(24, 18))
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0].alpha, coarse)
