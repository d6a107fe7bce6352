"""Prompts drawn for an object, and saved."""

import json

import numpy as np
import pytest

from zim_plugins.core.prompt import Prompt
from zim_plugins.data.faults import DataError
from zim_plugins.data.sample import Sample
from zim_plugins.evaluation.prompting import PromptPlan, draw_prompt, object_mask, read_prompts, write_prompts


def sample(tmp_path, **extra) -> Sample:
    return Sample(tmp_path / "a.png", "plain", "all", alpha=tmp_path / "b.png", extra=extra)


@pytest.fixture
def truth() -> np.ndarray:
    matte = np.zeros((50, 80), dtype=np.float32)
    matte[10:31, 20:61] = 1
    return matte


def test_box_and_point(truth, tmp_path) -> None:
    plan = PromptPlan()
    box = draw_prompt(plan, "box", "k", sample(tmp_path), truth).box
    assert box is not None and box.tolist() == [20, 10, 61, 31]
    point = draw_prompt(plan, "point", "k", sample(tmp_path), truth).points
    assert point is not None and point[0, 1] == 20.5


def test_the_data_set_s_own_come_first(truth, tmp_path) -> None:
    own = sample(tmp_path, points=[[30, 15, 1], [1, 1, 0]], box=[18, 9, 62, 33])
    assert draw_prompt(PromptPlan(), "point", "k", own, truth).to_json() == {"points": [[30, 15, 1], [1, 1, 0]]}
    assert draw_prompt(PromptPlan(), "box", "k", own, truth).to_json() == {"box": [18, 9, 62, 33]}
    simulated = PromptPlan(source="simulated")
    assert draw_prompt(simulated, "box", "k", own, truth).to_json() == {"box": [20, 10, 61, 31]}


def test_clicks_hit_what_they_mean_and_depend_on_seed_and_object(truth, tmp_path) -> None:
    plan = PromptPlan(positive=4, negative=3)
    prompt = draw_prompt(plan, "clicks", "k", sample(tmp_path), truth)
    assert prompt.points is not None and prompt.labels is not None
    assert prompt.labels.tolist() == [1, 1, 1, 1, 0, 0, 0]
    hit = truth[prompt.points[:, 1].astype(int), prompt.points[:, 0].astype(int)]
    assert hit.tolist() == prompt.labels.tolist()
    room = prompt.points[4:]
    assert (room[:, 0] >= 20 - 0.3 * 41 - 1).all() and (room[:, 1] <= 31 + 0.3 * 21 + 1).all()
    again = draw_prompt(plan, "clicks", "k", sample(tmp_path), truth)
    assert prompt.to_json() == again.to_json()
    for other in (("clicks", "other"), ("clicks", "k")):
        seeded = plan if other[1] == "other" else PromptPlan(positive=4, negative=3, seed=1)
        assert draw_prompt(seeded, *other, sample(tmp_path), truth).to_json() != prompt.to_json()


def test_no_room_for_background_clicks(tmp_path) -> None:
    full = np.ones((9, 9), dtype=np.float32)
    prompt = draw_prompt(PromptPlan(), "clicks", "k", sample(tmp_path), full)
    assert prompt.labels is not None and prompt.labels.tolist() == [1, 1, 1]


def test_a_transparent_object_is_still_one() -> None:
    matte = np.zeros((8, 8), dtype=np.float32)
    matte[2:5, 2:5] = 0.4
    assert object_mask(matte).sum() == 9
    with pytest.raises(ValueError, match="0 throughout"):
        object_mask(np.zeros((8, 8), dtype=np.float32))


def test_saved_and_read(tmp_path) -> None:
    both = Prompt.from_points([(3, 4), (5, 6, 0)]).merged(Prompt.from_box(1, 2, 9, 9))
    write_prompts(tmp_path / "p.json", "plain", PromptPlan(), {"k": {"point": both.to_json()}})
    row = read_prompts(tmp_path / "p.json")["k"]["point"]
    again = Prompt.from_json(row)
    assert again.points is not None and again.box is not None
    assert again.to_json() == both.to_json()


@pytest.mark.parametrize("text", ["", "[]", '{"prompts": 3}', '{"prompts": {"k": 3}}'])
def test_a_file_of_something_else(tmp_path, text) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DataError, match=r"no prompts\.json"):
        read_prompts(tmp_path / "p.json")


@pytest.mark.parametrize("row", [{}, 3, {"box": [1, 2]}, {"points": [3]}, {"box": [5, 5, 5, 9]}])
def test_what_is_no_prompt(row) -> None:
    with pytest.raises(ValueError):
        Prompt.from_json(json.loads(json.dumps(row)))


def test_plans_that_make_no_sense() -> None:
    for wrong in ({"kinds": ("hint",)}, {"kinds": ()}, {"positive": 0}, {"negative": -1}):
        with pytest.raises(ValueError):
            PromptPlan(**wrong)
