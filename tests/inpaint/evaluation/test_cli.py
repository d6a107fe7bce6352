"""The command as a whole: reports, resume, exit codes, missing weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from inpaint.evaluation.cli import entrypoint


def command(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        entrypoint([str(word) for word in words])
    return int(left.value.code or 0)


def composites(sources: Path, out: Path, filler: str, *more: object) -> int:
    """Run on the small set; options in `more` take the place of the usual ones."""
    options = {"--per-cutout": 1, "--model": "truth", "--fillers": filler, "--out": out}
    options |= dict(zip(more[::2], more[1::2], strict=True))
    words = [word for option in options.items() for word in option]
    return command("composites", "--cutouts", sources / "cutouts", "--backgrounds", sources / "photos", *words)


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def mean(report: dict, model: str, score: str) -> float:
    (entry,) = [e for e in report["means"] if e["model"] == model and e["subset"] == "all"]
    return entry["scores"][score]["mean"]


@pytest.fixture
def done(sources: Path, filler: str) -> Path:
    out = sources / "out"
    assert composites(sources, out, filler) == 0
    return out


def test_a_run_writes_the_whole_report(done: Path) -> None:
    report = report_of(done)
    assert report["counts"] == {"rows": 35, "scored": 35, "failures": 0}
    assert mean(report, "ours", "ring_psnr") > mean(report, "alpha", "ring_psnr") + 3
    assert mean(report, "ours", "leftover") < 0.1 < mean(report, "alpha", "leftover")
    assert mean(report, "hard", "leftover") == pytest.approx(1, abs=0.05)
    assert report["means"][0]["scores"]["hole_psnr"]["n"] == 7
    tested = {(t["first"], t["second"], t["score"]): t for t in report["paired"]}
    found = tested["ours", "alpha", "ring_psnr"]
    assert found["pictures"] == 7 and found["least"] > 0 and found["p"] <= found["p_holm"]
    assert set(report["missing"]) >= {"CLIP", "FID"}
    provenance = report["provenance"]
    assert provenance["settings"]["fills"] == "shared" and provenance["dataset"]["cases"] == 7
    page = (done / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 35 and "un-mixed" in page
    assert "support, un-mixed" in (done / "tables.md").read_text()
    assert len((done / "rows.csv").read_text().splitlines()) == 36


def test_a_second_run_does_only_what_is_missing_and_its_report_is_byte_identical(
    done: Path, sources: Path, filler: str
) -> None:
    before = {name: (done / name).read_bytes() for name in ("report.json", "report.html", "rows.csv", "tables.md")}
    rows = sorted((done / "rows" / "truth").iterdir())
    times = {path: path.stat().st_mtime_ns for path in rows}
    rows[2].unlink()
    assert composites(sources, done, filler) == 0
    assert {name: (done / name).read_bytes() for name in before} == before
    assert [p for p in rows if p.stat().st_mtime_ns != times[p]] == [rows[2]]


def test_rows_of_other_options_or_code_are_not_mixed_in(
    done: Path, sources: Path, filler: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    before = {path: path.read_bytes() for path in done.rglob("*.*")}
    assert composites(sources, done, filler, "--methods", "ours,hard") == 1
    assert "methods: ['ours'" in capsys.readouterr().err
    monkeypatch.setattr("inpaint.evaluation.run.code_sha256", lambda: "another version")
    assert composites(sources, done, filler) == 1
    assert "code: " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in done.rglob("*.*")} == before


def test_below_six_cases_nothing_is_tested(sources: Path, filler: str) -> None:
    assert composites(sources, sources / "few", filler, "--every", 2, "--methods", "ours,hard") == 0
    report = report_of(sources / "few")
    assert report["counts"]["rows"] == 8
    assert report["paired"] == []


def test_a_damaged_cutout_is_a_row_and_exit_code_1_and_is_tried_again(sources: Path, filler: str) -> None:
    target = sorted((sources / "cutouts").iterdir())[0]
    kept = target.read_bytes()
    target.write_bytes(b"no picture")
    out = sources / "out"
    assert composites(sources, out, filler, "--methods", "ours,hard") == 1
    report = report_of(out)
    assert report["failure_counts"] == {"unreadable case": 2} and report["counts"]["scored"] == 12
    assert target.name in report["failures"][0]["message"]
    target.write_bytes(kept)
    assert composites(sources, out, filler, "--methods", "ours,hard") == 0


MODEL = """
import numpy as np
from zim_plugins.core import Prediction


class Model:
    def set_image(self, image):
        self.size = image.shape[:2]

    def predict(self, prompt):
        x1, y1, x2, y2 = (int(v) for v in prompt.box)
        alpha = np.zeros(self.size, np.float32)
        ANSWER
        return Prediction(alpha[None], np.ones(1, np.float32))

    def predict_many(self, prompts):
        return [self.predict(prompt) for prompt in prompts]
"""


@pytest.mark.parametrize(
    ("answer", "failure", "says"),
    [
        ("alpha[y1:y2, x1:x2] = 1", None, ""),
        ("pass", "removal failed", "the matte is empty"),
        ("alpha[:] = 1", "removal failed", "whole image"),
        ("raise ValueError('no luck')", "model failed", "no luck"),
        ("alpha = np.zeros((4, 4), np.float32)", "model failed", "(4, 4)"),
    ],
)
def test_anybodys_model_is_asked_with_the_tight_box_and_its_failures_are_rows(
    sources: Path, filler: str, answer: str, failure: str | None, says: str
) -> None:
    place = sources / "model.py"
    place.write_text(MODEL.replace("ANSWER", answer))
    out = sources / "out"
    code = composites(sources, out, filler, "--model", f"{place}:Model", "--methods", "ours,hard", "--every", 4)
    report = report_of(out)
    assert code == (0 if failure is None else 1)
    if failure is None:
        assert mean(report, "hard", "iou") > 0.6 and mean(report, "hard", "uncovered") == 0
        assert report["provenance"]["models"][0]["sha256"]
    else:
        assert report["failure_counts"] == {failure: 4} and report["counts"]["scored"] == 0
        assert says in report["failures"][0]["message"]


@pytest.mark.parametrize(
    "words",
    [
        ("--methods", "ours,theirs"),
        ("--model", "truth,truth"),
        ("--fillers", "nobody"),
        ("--every", "0"),
        ("--half", "choose"),
        ("--clip", "nowhere"),
        ("--inception", "nowhere.pt"),
    ],
)
def test_misuse_is_exit_code_2_and_writes_nothing(sources: Path, filler: str, words: tuple[str, str]) -> None:
    assert composites(sources, sources / "out", filler, *words) == 2
    assert not (sources / "out").exists()


def test_no_sources_is_misuse() -> None:
    assert command("composites") == 2


def test_folders_without_a_clean_image_have_the_scores_that_need_none(sources: Path, filler: str) -> None:
    data = sources / "data"
    for folder in ("image", "mask"):
        (data / folder).mkdir(parents=True)
    photo = next((sources / "photos").iterdir())
    shutil.copy(photo, data / "image" / "a.png")
    shutil.copy(photo, data / "image" / "lonely.png")
    mask = np.zeros((90, 120), np.uint8)
    mask[30:50, 40:70] = 255
    PIL.Image.fromarray(mask).save(data / "mask" / "a.png")
    arguments = ("folders", "--data", data, "--model", "truth", "--fillers", filler, "--out", sources / "out")
    assert command(*arguments) == 1  # `lonely` has no mask
    report = report_of(sources / "out")
    assert report["failure_counts"] == {"unpaired": 1}
    scores = report["means"][0]["scores"]
    assert "seam" in scores and "hole_psnr" not in scores
    assert scores["uncovered"]["mean"] == 0


def coco_set(root: Path, rng: np.random.Generator) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for k, category in enumerate(["cat", "dog", "boat", "cup", "car", "bird"]):
        image = rng.integers(90, 110, (64, 64, 3)).astype(np.uint8)
        image[20:40, 22:42] = rng.integers(0, 255, 3)
        PIL.Image.fromarray(image).save(root / "images" / f"{k:012d}.jpg", quality=95)
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 22:42] = 255
        PIL.Image.fromarray(mask).save(root / "masks" / f"{category}_00_{k:012d}.png")
    return root


def test_the_papers_experiment_with_clip_and_fid(
    tmp_path: Path, rng: np.random.Generator, filler: str, tiny_clip: Path, tiny_network: Path
) -> None:
    data, out = coco_set(tmp_path / "coco", rng), tmp_path / "out"
    arguments = ("coco", "--data", data, "--model", "truth,grabcut", "--fillers", filler, "--out", out)
    assert command(*arguments, "--clip", tiny_clip, "--inception", tiny_network) == 0
    report = report_of(out)
    assert {"CLIP", "FID"}.isdisjoint(report["missing"])
    assert {e["model"] for e in report["means"]} == {"truth", "grabcut"}
    scores = report["means"][0]["scores"]
    assert scores["clip_gone_1"]["n"] == 6 and scores["clip_gone_1"]["mean"] >= scores["clip_gone_5"]["mean"]
    assert 0 <= scores["clip_distance"]["mean"] <= 2
    assert len(report["fid"]) == 2
    first = report["fid"][0]
    assert first["n"] == 6 and first["fid"] > 0 and not first["of_full_rank"]
    assert "FID" in (out / "tables.md").read_text() and "CLIP@1" in (out / "tables.md").read_text()


def test_without_weights_the_papers_experiment_says_what_is_missing(
    tmp_path: Path, rng: np.random.Generator, filler: str
) -> None:
    data, out = coco_set(tmp_path / "coco", rng), tmp_path / "out"
    assert command("coco", "--data", data, "--model", "truth", "--fillers", filler, "--out", out) == 0
    report = report_of(out)
    assert {"CLIP", "FID"} <= set(report["missing"]) and report["fid"] == []
    assert "clip_distance" not in report["means"][0]["scores"]
    assert "CLIP" in (out / "report.html").read_text()


def test_a_segmenter_of_transformers_makes_the_mattes(sources: Path, filler: str, tmp_path: Path) -> None:
    from tests.core.backends.transformers import tiny_models

    tiny_models.save("sam", tmp_path / "tiny")
    out = tmp_path / "out"
    code = composites(sources, out, filler, "--model", f"hf:{tmp_path / 'tiny'}")
    report = report_of(out)
    assert code in (0, 1) and report["counts"]["rows"] > 0  # random weights may find nothing, which is a failure told
    assert code == 0 or all("tiny" in str(one) or "matte" in str(one) for one in report["failures"])
