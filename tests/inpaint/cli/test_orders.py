"""Lists and objects: what is read, and what is refused with its row."""

import json
from pathlib import Path

import pytest

from inpaint.cli.orders import Order, parse_object, read_list, read_objects
from zim_plugins.cli.lists import read_json_list


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4,5", {"points": [[4, 5, 1]]}),
        ("4,5;6,7,0", {"points": [[4, 5, 1], [6, 7, 0]]}),
        ("1,2,30,40", {"box": [1, 2, 30, 40]}),
        ("1,2,30,40; 4,5", {"points": [[4, 5, 1]], "box": [1, 2, 30, 40]}),
    ],
)
def test_objects_from_text(text, expected) -> None:
    assert parse_object(text).to_json() == expected


@pytest.mark.parametrize("text", ["", "4", "a,b", "1,2,3,4;5,6,7,8", "1,2,3,4,5"])
def test_text_that_names_no_object(text) -> None:
    with pytest.raises(ValueError, match=r"no prompt|a click is|one box"):
        parse_object(text)


ROWS = [
    {"image": "a.png", "points": [[4, 5], [6, 7, 0]]},
    {"image": "b.png", "box": [1, 2, 30, 40], "also": ["8,9"], "prompt": "a cat, asleep"},
    {"image": "sub/c.png", "mask": "m.png", "background": "navy"},
]
EXPECTED = [
    {"points": [[4, 5, 1], [6, 7, 0]]},
    {"objects": [{"box": [1, 2, 30, 40]}, {"points": [[8, 9, 1]]}]},
    {"mask": "{folder}/m.png"},
]
CSV = """image,points,box,mask,also,prompt,background
a.png,"4,5;6,7,0",,,,,
b.png,,"1,2,30,40",,"8,9","a cat, asleep",
sub/c.png,,,m.png,,,navy
"""


def write(path: Path) -> Path:
    content = {
        ".csv": CSV,
        ".json": json.dumps(ROWS),
        ".jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n",
    }[path.suffix]
    path.write_text(content, encoding="utf-8-sig" if path.suffix == ".csv" else "utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_three_kinds_of_list_say_the_same(kind, tmp_path) -> None:
    orders = read_list(write(tmp_path / f"list.{kind}"))
    assert [image for image, _ in orders] == [str(tmp_path / name) for name in ("a.png", "b.png", "sub/c.png")]
    expected = json.loads(json.dumps(EXPECTED).replace("{folder}", str(tmp_path)))
    assert [order.to_json() for _, order in orders] == expected
    assert [order.prompt for _, order in orders] == [None, "a cat, asleep", None]
    assert orders[2][1].background == "navy"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png"}, "row 2: no object"),
        ({"points": [[1, 2]]}, "row 2: the key image is missing"),
        ({"image": "a.png", "point": [[1, 2]]}, "row 2: unknown key 'point'"),
        ({"image": "a.png", "points": [[1]]}, "row 2: a click is"),
        ({"image": "a.png", "points": 7}, "row 2: points are a list"),
        ({"image": "a.png", "box": [1, 2, 3]}, "row 2: a box is"),
        ({"image": "a.png", "box": 7}, "row 2: expected a list"),
        ({"image": "a.png", "mask": "m.png", "box": "1,2,3,4"}, "row 2: mask is the matte itself"),
        ({"image": "a.png", "also": [{"point": 1}]}, "row 2: an object is"),
        ([1, 2], "row 2: a row is an object"),
    ],
)
def test_a_bad_row_is_named(row, message, tmp_path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps([ROWS[0], row]))
    with pytest.raises(ValueError, match=message):
        read_list(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", "a.png", r"\.csv, \.json or \.jsonl"),
        ("list.json", "{", "cannot read"),
        ("list.json", "[]", "no rows"),
        ("list.csv", "image,points\na.png,4,5\n", "a column without a name"),
    ],
)
def test_a_bad_list_is_refused(name, content, message, tmp_path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_list(tmp_path / name)


def test_a_missing_list_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*gone\.csv"):
        read_list(tmp_path / "gone.csv")


def test_objects_of_a_file(tmp_path) -> None:
    path = tmp_path / "objects.json"
    path.write_text(json.dumps([{"points": [[4, 5]]}, {"box": [1, 2, 3, 4], "points": [[2, 3, 0]]}]))
    assert Order(read_objects(path)).to_json() == {
        "objects": [{"points": [[4, 5, 1]]}, {"points": [[2, 3, 0]], "box": [1, 2, 3, 4]}]
    }
    path.write_text("[]")
    with pytest.raises(ValueError, match="no object"):
        read_objects(path)


def test_a_list_that_is_nested_too_deeply_is_one_line(tmp_path) -> None:
    path = tmp_path / "list.json"
    path.write_text("[" * 200_000)
    with pytest.raises(ValueError, match="cannot read"):
        read_json_list(path, lines=False)
