"""Lists and objects: what is read, and what is refused with its row."""

import json
from pathlib import Path

import pytest

from inpaint.cli.orders import Order, read_list, read_objects
from zim_plugins.cli.lists import read_json_list
from zim_plugins.core import PromptText


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
    assert PromptText.from_text(text).to_json() == expected


@pytest.mark.parametrize("text", ["", "4", "a,b", "1,2,3,4;5,6,7,8", "1,2,3,4,5"])
def test_text_that_names_no_object(text) -> None:
    with pytest.raises(ValueError, match=r"no prompt|a click is|one box"):
        PromptText.from_text(text)


ROWS = [
    {"image": "a.png", "points": [[4, 5], [6, 7, 0]]},
    {
        "image": "b.png",
        "box": [1, 2, 30, 40],
        "text": ["the dog", "the red car"],
        "also": ["8,9"],
        "prompt": "a cat, asleep",
    },
    {"image": "sub/c.png", "mask": "m.png", "background": "navy"},
]
EXPECTED = [
    {"points": [[4, 5, 1], [6, 7, 0]]},
    {"objects": [{"box": [1, 2, 30, 40]}, {"points": [[8, 9, 1]]}]},
    {"mask": "{folder}/m.png"},
]
CSV = """image,points,box,mask,text,also,prompt,background
a.png,"4,5;6,7,0",,,,,,
b.png,,"1,2,30,40",,the dog|the red car,"8,9","a cat, asleep",
sub/c.png,,,m.png,,,,navy
"""


def write(path: Path) -> Path:
    content = {".csv": CSV, ".json": json.dumps(ROWS), ".jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n"}[path.suffix]
    path.write_text(content, encoding="utf-8-sig" if path.suffix == ".csv" else "utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_three_kinds_of_list_say_the_same(kind, tmp_path) -> None:
    orders = read_list(write(tmp_path / f"list.{kind}"))
    assert list(orders) == [str(tmp_path / name) for name in ("a.png", "b.png", "sub/c.png")]
    expected = json.loads(json.dumps(EXPECTED).replace("{folder}", str(tmp_path)))
    assert [order.to_json() for order in orders.values()] == expected
    assert [order.prompt for order in orders.values()] == [None, "a cat, asleep", None]
    assert [order.words for order in orders.values()] == [(), ("the dog", "the red car"), ()]
    assert orders[str(tmp_path / "sub/c.png")].background == "navy"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "a.png"}, "row 2: no object"),
        ({"points": [[1, 2]]}, "row 2: the key image is missing"),
        ({"image": "a.png", "point": [[1, 2]]}, "row 2: unknown key 'point'"),
        ({"image": "a.png", "points": [[1]]}, r"row 2: column points\[0\]: a click is"),
        ({"image": "a.png", "points": 7}, "row 2: column points: points are"),
        ({"image": "a.png", "box": [1, 2, 3]}, "row 2: column box: a box is"),
        ({"image": "a.png", "box": 7}, "row 2: column box: a box is"),
        ({"image": "a.png", "mask": "m.png", "box": "1,2,3,4"}, "row 2: column mask: a mask is the matte itself"),
        ({"image": "a.png", "mask": 7}, "row 2: column mask: expected a list"),
        ({"image": "a.png", "mask": ["m.png", 7]}, "row 2: column mask: expected texts"),
        ({"image": "a.png", "also": [{"point": 1}]}, "row 2: column also: unknown key 'point': an object has"),
        ({"image": "a.png", "objects": ["1"]}, "row 2: column objects: a click is"),
        ({"image": "a.png", "text": ["a dog", " "]}, "row 2: column text: expected texts"),
        ({"image": "a.png", "text": 7}, "row 2: column text: expected a list"),
        ({"image": 7, "points": "1,2"}, "row 2: column image: expected a text"),
        ({"image": "a.png", "points": "1,2", "prompt": ["x"]}, "row 2: column prompt: expected a text"),
        ([1, 2], "row 2: a row is an object"),
    ],
)
def test_a_bad_row_is_named(row, message, tmp_path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps([ROWS[0], row]))
    with pytest.raises(ValueError, match=message):
        read_list(path)


def test_rows_of_one_image_name_several_objects(tmp_path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('image,points,text,mask,background\na.png,"1,2",,,\na.png,,a dog,,navy\n./a.png,,,m.png,navy\n')
    (order,) = read_list(path).values()
    assert order.to_json() == {"objects": [{"mask": str(tmp_path / "m.png")}, {"points": [[1, 2, 1]]}]}
    assert order.words == ("a dog",) and order.background == "navy"
    path.write_text('image,points,background\na.png,"1,2",red\na.png,"3,4",navy\n')
    with pytest.raises(ValueError, match="row 2: column background: 'navy', where an earlier row"):
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


@pytest.mark.parametrize(
    "content",
    [
        b'Image ; Points\na.png;"1,2;3,4,0"\n',
        "image\tpoints\na.png\t1,2;3,4,0\n".encode("utf-16"),
        'image,points,\r\na.png,"1,2;3,4,0",\r\n'.encode("utf-8-sig"),
    ],
)
def test_lists_as_spreadsheets_write_them(content: bytes, tmp_path) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    (order,) = read_list(tmp_path / "list.csv").values()
    assert order.to_json() == {"points": [[1, 2, 1], [3, 4, 0]]}


def test_a_column_that_is_there_twice_is_refused(tmp_path) -> None:
    (tmp_path / "list.csv").write_text("image,mask,mask\na.png,m.png,n.png\n")
    with pytest.raises(ValueError, match="the column mask twice"):
        read_list(tmp_path / "list.csv")
