import pytest

from zim_plugins.cli import main


def test_two_runs_of_one_step_go_on(library, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zim_plugins.training.library.load_library", lambda root, split: library)
    arguments = [
        "train",
        "zim_tiny_dry_run",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "run"),
        "--max-steps",
        "1",
    ]
    for step in (1, 2):
        assert main([*arguments, "--device", "cpu"]) == 0
        lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        assert len(lines) == step
        assert f'"step": {step},' in lines[-1]
    assert (tmp_path / "run" / "last.pt").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--data", "gone"], 2, "is no folder"),
        ([], 2, "is no folder"),
        (["nonsense", "--data", "."], 2, "known are zim_tiny"),
        (["--data", ".", "--max-steps", "0"], 2, "at least 1"),
        (["--data", "."], 1, "no training pictures"),
    ],
)
def test_faults_are_one_line(tmp_path, monkeypatch, capsys, arguments, code, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == code
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
