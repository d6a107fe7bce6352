import json
from pathlib import Path

import numpy as np
import pytest

from nerf_seg.segmentation.reference_prompt import ReferencePrompt, is_list, reference_prompt, reference_prompts
from tests.conftest import soft_disk
from zim_plugins.core import write_image

SIZE = (60, 80)


def test_clicks_with_negatives_and_box() -> None:
    prompt = reference_prompt(points="45,30;48.5,50", negative_points="5,5", box="20,10,70,55").prompt(SIZE)
    assert prompt.points is not None and prompt.labels is not None and prompt.box is not None
    assert prompt.points.tolist() == [[45, 30], [48.5, 50], [5, 5]] and prompt.labels.tolist() == [1, 1, 0]
    assert prompt.box.tolist() == [20, 10, 70, 55]


def test_shares_of_the_image() -> None:
    prompt = reference_prompt(points="0.5,0.5", box="0.25,0.1,1,1").prompt(SIZE)
    assert prompt.points is not None and prompt.points.tolist() == [[40, 30]]
    assert prompt.box is not None and prompt.box.tolist() == [20, 6, 80, 60]


def test_scribbles(tmp_path: Path) -> None:
    drawn, away = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    drawn[28:32, 20:60], away[2:5, 2:70] = 1, 1
    paths = [write_image(tmp_path / name, image) for name, image in (("pos.png", drawn), ("neg.png", away))]
    prompt = reference_prompt(positive_scribble=paths[0], negative_scribble=paths[1]).prompt(SIZE)
    assert prompt.points is not None and prompt.labels is not None
    x, y = prompt.points.astype(int).T
    assert (drawn[y, x][prompt.labels == 1] == 1).all() and (away[y, x][prompt.labels == 0] == 1).all()
    assert (prompt.labels == 1).sum() > 3 and (prompt.labels == 0).sum() > 3
    with pytest.raises(ValueError, match=r"the scribble is \(60, 80\), the reference view \(60, 81\)"):
        reference_prompt(positive_scribble=paths[0]).prompt((60, 81))
    empty = write_image(tmp_path / "empty.png", np.zeros(SIZE, np.float32))
    with pytest.raises(ValueError, match="the scribble is empty"):
        reference_prompt(positive_scribble=empty).check(SIZE)


def test_mask_is_taken_as_it_is(tmp_path: Path) -> None:
    alpha = soft_disk(SIZE, (40, 30), 15)
    reference = reference_prompt(mask=write_image(tmp_path / "mask.png", alpha))
    reference.check(SIZE)
    assert reference.matte is not None
    np.testing.assert_allclose(reference.matte, alpha, atol=1 / 255)
    with pytest.raises(ValueError, match=r"the mask is \(60, 80\), the reference view \(30, 40\)"):
        reference.check((30, 40))
    with pytest.raises(ValueError, match=r"the reference matte is empty: its highest opacity is 0\.00"):
        reference_prompt(mask=write_image(tmp_path / "black.png", np.zeros(SIZE, np.float32)))
    with pytest.raises(ValueError, match="give it alone"):
        reference_prompt(mask=tmp_path / "mask.png", points="1,2")


@pytest.mark.parametrize(
    ("fields", "points", "labels", "box"),
    [
        ({"points": [[10, 20], [30, 40, 0]]}, [[10, 20], [30, 40]], [1, 0], None),
        ({"points": [[10, 20], [30, 40]], "labels": [1, 0]}, [[10, 20], [30, 40]], [1, 0], None),
        ({"prompt_points": [[10, 20]], "box": [5, 5, 50, 50]}, [[10, 20]], [1], [5, 5, 50, 50]),
        ({"box": [0.5, 0, 1, 1]}, None, None, [40, 0, 80, 60]),
    ],
)
def test_prompt_file(tmp_path: Path, fields: dict, points: list, labels: list, box: list) -> None:
    path = tmp_path / "prompt.json"
    path.write_text(json.dumps({"view": "b.png", **fields}))
    reference = reference_prompt(prompt_file=path)
    prompt = reference.prompt(SIZE)
    assert reference.index(["a.png", "b.png"]) == 1
    assert (None if prompt.points is None else prompt.points.tolist()) == points
    assert (None if prompt.labels is None else prompt.labels.tolist()) == labels
    assert (None if prompt.box is None else prompt.box.tolist()) == box
    with pytest.raises(ValueError, match=r"the reference view is 'a\.png', but .* names b\.png|names 'b\.png'"):
        reference_prompt(prompt_file=path, view="a.png")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"point": [[1, 2]]}',
        '{"points": [[1, 2]], "labels": [1, 0]}',
        '{"points": [["a", 2]]}',
        '{"points": [[1]]}',
        '{"points": 3}',
        '{"box": [1, 2, 3]}',
    ],
)
def test_a_malformed_prompt_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompt.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"prompt\.json"):
        reference_prompt(prompt_file=path)
    with pytest.raises(ValueError, match=r"gone\.json cannot be read"):
        reference_prompt(prompt_file=tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no prompt: give clicks"),
        ({"points": "45"}, "for example"),
        ({"points": "a,b"}, "for example"),
        ({"box": "1,2,3"}, "for example"),
        ({"points": "200,30"}, "the click 200,30 is outside the image, which is 80x60 px"),
        ({"negative_points": "20,30"}, "background clicks alone"),
        ({"box": "90,90,100,100"}, "outside the image"),
        ({"box": "10,10,10,40"}, "has no area"),
    ],
)
def test_unusable_prompts_say_so(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference_prompt(**options).check(SIZE)


def test_views_are_found_by_name_or_stem() -> None:
    names = ["IMG_4026.JPG", "IMG_4027.JPG", "IMG_4038.JPG"]
    assert ReferencePrompt(points=((1, 2, 1),)).index(names) == 0
    assert ReferencePrompt(view="IMG_4038.JPG", points=((1, 2, 1),)).index(names) == 2
    assert ReferencePrompt(view="IMG_4027", points=((1, 2, 1),)).index(names) == 1
    with pytest.raises(ValueError, match=r"no view is called 'IMG_4037'; of 3 views, near are: .*IMG_4027\.JPG"):
        ReferencePrompt(view="IMG_4037", points=((1, 2, 1),)).index(names)


def test_a_file_may_prompt_several_views(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('[{"view": "a.png", "points": [[3, 4], [5, 6, 0]]}, {"view": "b.png", "box": [1, 2, 30, 40]}]')
    first, second = reference_prompts(path)
    assert is_list(path) and first.view == "a.png" and first.points == ((3, 4, 1), (5, 6, 0))
    assert second.view == "b.png" and second.box == (1, 2, 30, 40)
    path.write_text('{"points": [[3, 4]]}')
    assert not is_list(path) and len(reference_prompts(path)) == 1 and not is_list(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "at least one"),
        ('[{"points": [[1, 2]]}]', "names its view"),
        ('[{"view": "a", "points": [[1, 2]]}, {"view": "a", "points": [[1, 2]]}]', "each view once"),
        ('[{"view": "a", "colour": 1}]', "unknown key 'colour'"),
        ('[{"view": "a", "points": ["x"]}]', "malformed"),
        ("[1]", "holds an object"),
        ("[", "cannot be read"),
    ],
)
def test_a_malformed_list_of_prompts_is_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "prompts.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        reference_prompts(tmp_path / "prompts.json")
