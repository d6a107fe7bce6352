"""What a prompt accepts and what it refuses."""

import numpy as np
import pytest

from zim_plugins.core.coordinates import Coordinate, parse_box, parse_point
from zim_plugins.core.prompt import Prompt
from zim_plugins.core.prompt_text import PromptText, parse_object, parse_objects, parse_prompt
from zim_plugins.core.tokens import prompt_tokens


def test_texts_become_prompts() -> None:
    assert parse_point("3,4") == (Coordinate(3.0), Coordinate(4.0), 1)
    assert parse_point("3.5,40%,0") == (Coordinate(3.5), Coordinate(0.4, is_share=True), 0)
    assert parse_box("1,2,3,4") == tuple(map(Coordinate, (1, 2, 3, 4)))
    prompt = parse_prompt(["1,2", "3,4,0"], "0,0,9,9")
    np.testing.assert_array_equal(prompt.labels, [1, 0])
    np.testing.assert_array_equal(prompt.box, [0, 0, 9, 9])


def test_shares_become_pixels_of_the_image_they_are_asked_on() -> None:
    text = parse_object("40%,50%;10%,99,0;25%,0%,75%,100%")
    assert text.to_json() == {"points": [["40%", "50%", 1], ["10%", 99.0, 0]], "box": ["25%", "0%", "75%", "100%"]}
    prompt = text.on((100, 200))
    np.testing.assert_allclose(prompt.points, [[80, 50], [20, 99]])
    np.testing.assert_allclose(prompt.box, [50, 0, 150, 100])
    np.testing.assert_allclose(parse_prompt(["40%,50%"], size=(10, 20)).points, [[8, 5]])
    with pytest.raises(ValueError, match="the image: give its size"):
        parse_prompt(["40%,50%"])
    with pytest.raises(ValueError, match="outside"):
        parse_object("101%,50%").on((100, 200))


@pytest.mark.parametrize(
    ("text", "told"), [("0.4,0.5", True), ("0.1,0.2,0.8,0.9", True), ("0,1", False), ("3,0.5", False)]
)
def test_what_looks_like_shares_is_told(text: str, told: bool, caplog) -> None:
    parse_object(text)
    assert ("40%,50%" in caplog.text) == told


def test_each_box_names_an_object() -> None:
    objects = parse_objects([], ["1,2,3,4", "5,6,7,8"], ["9,9;1,1,0"])
    assert [str(one) for one in objects] == ["1,2,3,4", "5,6,7,8", "9,9;1,1,0"]
    with pytest.raises(ValueError, match="--also"):
        parse_objects(["2,3"], ["1,2,3,4", "5,6,7,8"])
    assert len(parse_objects(["2,3", "1,1,0"], ["1,2,3,4"])) == 1


@pytest.mark.parametrize("text", ["", "3", "a,b", "1,2,3,4", "1,2,7", "4%%,5", "%,5", "5%,5,50%"])
def test_malformed_clicks_are_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="click") as caught:
        parse_point(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "1,2,3,4%x"])
def test_malformed_boxes_are_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="x1,y1,x2,y2") as caught:
        parse_box(text)
    assert repr(text) in str(caught.value)


def test_corners_are_put_in_order() -> None:
    np.testing.assert_array_equal(Prompt.from_box(9, 8, 1, 2).box, [1, 2, 9, 8])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "at least one"),
        ({"points": np.zeros((1, 2))}, "together"),
        ({"points": np.zeros((2, 2)), "labels": np.array([1])}, "do not match"),
        ({"points": np.zeros((1, 2)), "labels": np.array([2])}, "labels are 1"),
        ({"points": np.full((1, 2), np.nan), "labels": np.array([1])}, "finite"),
        ({"box": np.array([1.0, 1, 1, 5])}, "no area"),
    ],
)
def test_unusable_prompts_say_why(fields: dict[str, np.ndarray], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Prompt(**fields)


def test_no_prompt_at_all_names_the_flags() -> None:
    with pytest.raises(ValueError, match="--point"):
        parse_prompt()


def test_a_scribble_becomes_clicks_at_even_distances() -> None:
    stroke = np.stack([np.r_[np.linspace(0, 10, 200), np.linspace(10, 100, 50)], np.zeros(250)], axis=1)
    prompt = Prompt.from_scribble(stroke, max_points=11)
    assert prompt.points is not None
    np.testing.assert_allclose(np.diff(prompt.points[:, 0]), 10, rtol=1e-6)


def test_painted_pixels_become_clicks_on_them() -> None:
    drawn = np.zeros((60, 80), bool)
    drawn[20:26, 10:70] = True
    prompt = Prompt.from_scribble_mask(drawn, label=0)
    assert prompt.points is not None
    assert 5 <= len(prompt.points) <= 24
    x, y = prompt.points.astype(int).T
    assert drawn[y, x].all()
    with pytest.raises(ValueError, match="empty"):
        Prompt.from_scribble_mask(np.zeros((5, 5), bool))


def test_merging_joins_clicks_and_refuses_two_boxes() -> None:
    merged = Prompt.from_point(1, 2).merged(Prompt.from_box(0, 0, 9, 9)).merged(Prompt.from_points([(3, 4, 1)]))
    assert merged.points is not None
    assert len(merged.points) == 2
    assert merged.box is not None
    with pytest.raises(ValueError, match="two prompts"):
        merged.merged(Prompt.from_box(0, 0, 5, 5))


def test_outside_the_image() -> None:
    Prompt.from_point(64, 48).check_inside((48, 64))
    with pytest.raises(ValueError, match="background clicks alone"):
        Prompt.from_point(1, 1, label=0).check_inside((48, 64))
    for bad in (Prompt.from_point(64.5, 1), Prompt.from_point(-1, 1), Prompt.from_box(70, 1, 90, 9)):
        with pytest.raises(ValueError, match="64x48"):
            bad.check_inside((48, 64))


def test_tokens_follow_sam() -> None:
    coords, labels = prompt_tokens(Prompt.from_point(3, 4))
    np.testing.assert_array_equal(labels, [1, -1])
    np.testing.assert_array_equal(coords, [[3, 4], [0, 0]])
    coords, labels = prompt_tokens(parse_prompt(["3,4", "5,6,0"], "1,2,7,8"))
    np.testing.assert_array_equal(labels, [1, 0, 2, 3])
    np.testing.assert_array_equal(coords[2:], [[1, 2], [7, 8]])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("10,20;30,40,0;1,2,90,95", {"points": [[10, 20, 1], [30, 40, 0]], "box": [1, 2, 90, 95]}),
        ({"points": [[10, 20], [30, 40, 0]]}, {"points": [[10, 20, 1], [30, 40, 0]]}),
        ({"points": "10,20;30,40,0"}, {"points": [[10, 20, 1], [30, 40, 0]]}),
        ({"points": ["10,20", [30.5, 40, 0]], "box": ""}, {"points": [[10, 20, 1], [30.5, 40, 0]]}),
        ({"points": [[10, 20], [30, 40]], "labels": [1, 0]}, {"points": [[10, 20, 1], [30, 40, 0]]}),
        (
            {"points": [["10%", "20%"]], "box": [0, "0%", "100%", 100]},
            {"points": [[20, 20, 1]], "box": [0, 0, 200, 100]},
        ),
        ({"box": "5%,10%,50%,90%", "points": None}, {"box": [10, 10, 100, 90]}),
        ({"salient": True}, {"salient": True}),
    ],
)
def test_one_grammar_of_json(row, expected) -> None:
    prompt = Prompt.from_json(row, size=(100, 200))
    assert prompt.to_json() == expected
    assert Prompt.from_json(prompt.to_json()).to_json() == expected
    if not prompt.is_salient:
        assert PromptText.from_json(row).on((100, 200)).to_json() == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no prompt: give points"),
        (3, "an object is"),
        ([[1, 2]], "an object is"),
        ({"boxes": [1, 2, 3, 4]}, "unknown key 'boxes': an object has points, labels, box, salient"),
        ({"point": [[1, 2]]}, "unknown key 'point'"),
        ({"points": [3]}, r"points\[0\]: a click is .* \[\[x, y\]\]; got 3"),
        ({"points": [[1, 2], [1]]}, r"points\[1\]: a click is x,y .*got \[1\]"),
        ({"points": [[1, 2, 2]]}, r"points\[0\]: a click's label is 1"),
        ({"points": [[1, 2, True]]}, r"points\[0\]"),
        ({"points": [[1, None]]}, r"points\[0\]"),
        ({"points": [[1, float("nan")]]}, r"points\[0\]"),
        ({"points": [["1e999", 2]]}, r"points\[0\]"),
        ({"points": {"x": 1}}, "points: points are"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "labels: 2 of them do not match 1 points"),
        ({"points": [[1, 2, 0]], "labels": [1]}, "leave one of the two out"),
        ({"points": "1,2,0", "labels": [1]}, "leave one of the two out"),
        ({"points": [[1, 2]], "labels": [3]}, "labels: a click's label"),
        ({"box": [1, 2, 3]}, r"box: a box is x1,y1,x2,y2 .*got \[1, 2, 3\]"),
        ({"box": 5}, "box: a box is"),
        ({"box": [5, 5, 5, 9]}, "has no area"),
        ({"salient": True, "box": [1, 2, 3, 4]}, "stands alone"),
        ({"points": [[500, 2]]}, "outside"),
    ],
)
def test_json_that_is_no_prompt_names_its_key(row, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Prompt.from_json(row, size=(100, 200))


def test_shares_need_a_size() -> None:
    for read in (Prompt.from_json, Prompt.from_text):
        with pytest.raises(ValueError, match=r"40%,50% is in shares of the image: give its size"):
            read("40%,50%")
    assert Prompt.from_text("40%,50%", size=(10, 20)).to_json() == {"points": [[8, 5, 1]]}


def test_union_of_many_names_one_object() -> None:
    whole = Prompt.union(Prompt.from_point(1, 2), Prompt.from_box(0, 0, 9, 9), Prompt.from_point(3, 4, label=0))
    assert whole.to_json() == {"points": [[1, 2, 1], [3, 4, 0]], "box": [0, 0, 9, 9]}
    with pytest.raises(ValueError, match="two boxes"):
        Prompt.union(whole, Prompt.from_box(1, 1, 2, 2))
    with pytest.raises(ValueError, match="at least one"):
        Prompt.union()
