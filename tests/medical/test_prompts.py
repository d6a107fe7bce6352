"""Prompts against the goldens of real masks, and against a plain re-reading of the protocol."""

import json
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from medical.io.images import read_values
from medical.protocol.clickers import MazurowskiClicker, PixelClick, RandomClicker, RitmClicker, make_clicker
from medical.protocol.jitter import jitter_box, rng_of
from medical.protocol.prompt_modes import (
    MODES,
    PixelPrompt,
    PromptRecord,
    encode_record,
    parse_prompts,
    point_at,
    read_prompts,
)
from tests.medical.conftest import blob


def binarise(values: np.ndarray, how: str) -> np.ndarray:
    return values > 127 if how == "L>127" else values == int(how.removeprefix("=="))


def test_every_golden_is_reproduced_exactly(medical_data: Path) -> None:
    pytest.importorskip("cv2")
    goldens = json.loads((medical_data / "GOLDEN.json").read_text())["masks"]
    assert len(goldens) == 132
    exact, chamfer = RitmClicker(), MazurowskiClicker(None)
    for key, golden in goldens.items():
        mask = binarise(read_values(medical_data / key.partition("#")[0]), golden["binarise"])
        depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        ours = {
            "area": int(mask.sum()),
            "mode1_click_cv2": list(point_at(mask, "mode1", chamfer).clicks[0][:2]),
            "mode1_click_exact": list(point_at(mask, "mode1", exact).clicks[0][:2]),
            "whole_click_cv2": list(point_at(mask, "clicks", chamfer).clicks[0][:2]),
            "whole_click_exact": list(point_at(mask, "clicks", exact).clicks[0][:2]),
            "whole_click_exact_radius": round(float(depth.max()), 4),
            "whole_click_exact_ties": int((depth == depth.max()).sum()),
            "mode2_clicks_exact": [list(c[:2]) for c in point_at(mask, "mode2", exact).clicks],
            "mode3_box": inclusive(point_at(mask, "mode3", exact).boxes[0]),
            "mode4_boxes": [inclusive(b) for b in point_at(mask, "mode4", exact).boxes],
            "mode5_box": inclusive(point_at(mask, "mode5", exact).boxes[0]),
        }
        for name, value in ours.items():
            assert value == golden[name], f"{key}: {name}"


def inclusive(box: tuple[int, int, int, int]) -> list[int]:
    """The outermost pixels inside, as the goldens name a box."""
    return [box[0], box[1], box[2] - 1, box[3] - 1]


def flooded(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Components by flooding over eight neighbours, pixels (y, x); the largest first, of equals the later first."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        queue, members = deque([start]), []
        while queue:
            y, x = queue.popleft()
            members.append((y, x))
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    queue.append(near)
        found.append(members)
    return sorted(found[::-1], key=len, reverse=True)


def deepest(pixels: list[tuple[int, int]], size: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """Depth squared and (x, y) of the pixel farthest from all others, by comparing every pair; first in raster."""
    inside = np.zeros((size[0] + 2, size[1] + 2), dtype=bool)
    for y, x in pixels:
        inside[y + 1, x + 1] = True
    outside = np.argwhere(~inside) - 1
    own = np.array(sorted(pixels))
    squared = ((own[:, None] - outside[None]) ** 2).sum(2).min(1)
    y, x = own[int(squared.argmax())]
    return float(squared.max()), (int(x), int(y))


def box_of(pixels: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    ys, xs = [p[0] for p in pixels], [p[1] for p in pixels]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def test_modes_and_click_loop_agree_with_a_plain_rereading_of_the_protocol(rng: np.random.Generator) -> None:
    clicker = RitmClicker()
    for _ in range(1000):
        size = (int(rng.integers(1, 15)), int(rng.integers(1, 15)))
        mask = blob(size, rng) if rng.random() < 0.8 else rng.random(size) > 0.5
        if not mask.any():
            continue
        parts = flooded(mask)[:3]
        everything = [p for part in flooded(mask) for p in part]
        expected = {
            "mode1": PixelPrompt(clicks=(PixelClick(*deepest(parts[0], size)[1], True),)),
            "mode2": PixelPrompt(clicks=tuple(PixelClick(*deepest(p, size)[1], True) for p in parts)),
            "mode3": PixelPrompt(boxes=(box_of(parts[0]),)),
            "mode4": PixelPrompt(boxes=tuple(box_of(p) for p in parts)),
            "mode5": PixelPrompt(boxes=(box_of(everything),)),
        }
        for mode in MODES:
            assert point_at(mask, mode, clicker) == expected[mode]
        prediction, clicks = np.zeros_like(mask), []
        for _ in range(3):
            click = clicker.next_click(mask, prediction, clicks)
            assert click == plain_next_click(mask, prediction, clicks)
            if click is None:
                break
            clicks.append(click)
            y1, x1 = max(0, click.y - 2), max(0, click.x - 2)
            prediction[y1 : click.y + 3, x1 : click.x + 3] = click.positive
            prediction[int(rng.integers(size[0])), int(rng.integers(size[1]))] ^= True


def plain_next_click(mask: np.ndarray, prediction: np.ndarray, clicks: list[PixelClick]) -> PixelClick | None:
    """Per kind of error: each pixel's distance to the nearest pixel that is not of that kind; the deeper kind wins."""
    taken = {(c.x, c.y) for c in clicks}
    best = {}
    for positive, error in ((True, mask & ~prediction), (False, prediction & ~mask)):
        pixels = [(int(y), int(x)) for y, x in np.argwhere(error)]
        inside = set(pixels)
        outside = np.array([(y, x) for y in range(-1, mask.shape[0] + 1) for x in range(-1, mask.shape[1] + 1)
                            if (y, x) not in inside])  # fmt: skip
        depths = [(-int(((outside - p) ** 2).sum(1).min()), p) for p in pixels if (p[1], p[0]) not in taken]
        best[positive] = min(depths, default=(0, (0, 0)))
    if best[True][0] == best[False][0] == 0:
        return None
    positive = best[True][0] < best[False][0]
    y, x = best[positive][1]
    return PixelClick(x, y, positive)


def test_every_clicker_stops_where_nothing_is_wrong(rng: np.random.Generator) -> None:
    mask = blob((12, 12), rng)
    for name in ("ritm", "mazurowski", "random"):
        assert make_clicker(name, rng).next_click(mask, mask, []) is None
    with pytest.raises(ValueError, match="ritm, mazurowski, random"):
        make_clicker("expert", rng)


def test_a_false_positive_gets_a_negative_click_and_no_pixel_is_clicked_twice() -> None:
    reference = np.zeros((20, 20), bool)
    reference[4:8, 4:8] = True
    prediction = reference.copy()
    prediction[12:19, 2:19] = True
    clicks: list[PixelClick] = []
    for _ in range(6):
        click = RitmClicker().next_click(reference, prediction, clicks)
        assert click is not None and not click.positive and 12 <= click.y < 19
        assert click not in clicks
        clicks.append(click)


def test_mazurowskis_clicker_sees_touching_errors_as_one_and_labels_by_the_reference() -> None:
    reference, prediction = np.zeros((9, 20), bool), np.zeros((9, 20), bool)
    reference[:, :10], prediction[:, 10:] = True, True
    click = MazurowskiClicker(None).next_click(reference, prediction, [])
    assert click is not None and click.positive == bool(reference[click.y, click.x])
    assert RitmClicker().next_click(reference, prediction, []) != click


def test_random_clicks_are_the_same_for_the_same_seed_and_lie_in_the_error(rng: np.random.Generator) -> None:
    mask = blob((15, 15), rng)
    first = [RandomClicker(rng_of(3, "case", 1)).next_click(mask, ~mask, []) for _ in range(4)]
    assert len(set(first)) == 1 and first[0] is not None
    assert len({RandomClicker(rng_of(s, "case", 1)).next_click(mask, ~mask, []) for s in range(20)}) > 5


def test_coordinates_are_x_then_y_and_reach_the_models_as_pixel_centres_and_edges() -> None:
    mask = np.zeros((10, 30), bool)
    mask[2:5, 20:27] = True
    click = point_at(mask, "mode1", RitmClicker()).prompts()[0]
    assert click.points is not None and click.points.tolist() == [[21.5, 3.5]]
    box = point_at(mask, "mode5", RitmClicker()).prompts()[0].box
    assert box is not None and box.tolist() == [20, 2, 27, 5]


def test_one_pixel_objects_have_boxes_with_area() -> None:
    mask = np.zeros((5, 5), bool)
    mask[4, 4] = True
    for mode in MODES:
        assert len(point_at(mask, mode, RitmClicker()).prompts()) == 1
    with pytest.raises(ValueError, match="empty"):
        point_at(np.zeros((5, 5), bool), "mode1", RitmClicker())


@pytest.mark.parametrize("outward", [True, False])
def test_jittered_boxes_stay_inside_and_keep_their_bound(outward: bool, rng: np.random.Generator) -> None:
    box, size = (8, 3, 20, 9), (12, 30)
    moved = [jitter_box(box, size, 5, rng, outward=outward) for _ in range(300)]
    for x1, y1, x2, y2 in moved:
        assert 0 <= x1 < x2 <= 30 and 0 <= y1 < y2 <= 12
        assert abs(x1 - 8) <= 5 and abs(x2 - 20) <= 5
        assert not outward or (x1 <= 8 and y1 <= 3 and x2 >= 20 and y2 >= 9)
    assert len(set(moved)) > 100
    assert jitter_box(box, size, 0, rng, outward=outward) == box


def test_prompts_come_back_from_their_file(tmp_path: Path) -> None:
    own = PromptRecord(
        "set", "case_0001", 0, "lung", 0, "clicks", "a", 40, PixelPrompt(clicks=(PixelClick(1, 2, False),))
    )
    box = PromptRecord("set", "case_0001", 0, "lung", 0, "mode5", "", 40, PixelPrompt(boxes=((1, 2, 3, 4),)))
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(encode_record(r) + "\n" for r in (own, box)))
    book = read_prompts(path)
    where = ("set", "case_0001", 0, "lung", 0)
    assert book.find(*where, "clicks", "a", 40) == own.given
    assert book.find(*where, "clicks", "another model", 40) == own.given
    assert book.find(*where, "mode5", "a", 40) == box.given
    assert book.find(*where, "mode1", "a", 40) is None
    with pytest.raises(ValueError, match="40 px"):
        book.find(*where, "mode5", "a", 41)
    old = json.loads(encode_record(box)) | {"clicks": [], "boxes": [[1, 2, 2, 3]]}  # as runs before 0.2 wrote it
    del old["prompts"]
    path.write_text(json.dumps(old) + "\n")
    assert read_prompts(path).find(*where, "mode5", "a", 40) == box.given
    path.write_text('{"clicks": []}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_prompts(path)


def test_names_of_prompts() -> None:
    assert parse_prompts(["point", "box", "mode1"]) == ("mode1", "mode5")
    assert parse_prompts(["modes", "clicks"]) == (*MODES, "clicks")
    with pytest.raises(ValueError, match="mode9"):
        parse_prompts(["mode9"])
