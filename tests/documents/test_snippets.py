"""Every block of README.md and docs/ works: what can run runs, in the page's order, and the rest is parsed for real."""

import argparse
import ast
import contextlib
import csv
import importlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zim_plugins.core.checkpoints.records import is_present

from . import programs
from .inputs import INPUTS
from .pages import PAGES, ROOT, Block, Command, blocks_of, code_in_sentences, commands_of, name_of

NOT_RUN = {
    ("README.md", "pytest"): "these tests themselves",
    ("README.md", "zim-inpaint photo.jpg --point 300,200 --backend http://127.0.0.1:8080"): "needs IOPaint's server",
    ("docs/evaluation.md", "zim evaluate --dataset micromat3k"): "needs MicroMat-3K and the authors' weights",
    ("docs/evaluation.md", "zim ablate attention"): "trains; tests/commands/test_ablate.py runs it in miniature",
    ("docs/evaluation.md", "zim ablate decoder --scale paper"): "needs GPUs",
    ("docs/inpaint.md", "zim-inpaint fill"): "needs a diffusion model's weights",
    ("docs/inpaint_evaluation.md", "zim-inpaint-eval coco"): "needs COCO, LaMa's weights and CLIP's",
    ("docs/models.md", "zim matte photo.jpg --point 210,150 --model hf:"): "needs SAM 2.1's and ViTMatte's weights",
    ("docs/models.md", "zim matte photo.jpg --text"): "needs Grounding DINO's and SAM 2.1's weights",
    ("docs/nerf.md", "zim-nvos --root nvos"): "needs NVOS, trained NeRFs and the authors' weights",
    (
        "docs/sa1b_matte.md",
        "zim convert --from sa1b --data SA1B --out MATTES --converter converter.safetensors --engine",
    ): "needs a Ray cluster with GPUs",
    ("docs/speed.md", "zim bench --suite cpu"): "takes a quarter of an hour",
    ("docs/speed.md", "zim bench tiny"): "measures for minutes",
    ("docs/speed.md", "zim bench --suite gpu"): "needs a GPU",
    ("docs/training.md", "zim convert"): "needs a GPU",
    ("docs/training.md", "zim train"): "needs SA1B-Matte and SAM's weights",
}  # fmt: skip
"""Our own commands that are parsed only, by page and beginning, and why."""
OTHERS = {
    (".", ".venv/bin/activate"): "an environment of its own",
    ("python3", "-m venv"): "an environment of its own",
    ("apt", "install"): "packages of the system",
    ("lama-cleaner", "--model"): "a server in an environment of its own",
    ("iopaint", "start"): "a server in an environment of its own",
    ("open", "medseg/report.html"): "a window",
    ("export", "RAY_AUTH_MODE"): "belongs to Ray",
    ("ray", "start"): "a cluster",
}
"""Commands of others that nothing here reads, by name and beginning, and why."""
OTHERS_OPTIONS = {
    ("docs/inpaint_evaluation.md", "--holes"): "of benchmarks/quality/inpaint_leftovers.py",
    ("docs/migration.md", "--models"): "the former name",
    ("docs/migration.md", "--mattes"): "the former name",
    ("docs/inpaint_evaluation.md", "--part"): "of benchmarks/quality/inpaint_composites.py",
    ("docs/nerf.md", "--timestamp"): "of ns-train",
    ("docs/nerf.md", "--downscale-factor"): "of the data parser llff-data",
    ("docs/nerf.md", "--images-folder"): "of the data parser llff-data",
    ("docs/nerf.md", "--eval-mode"): "of the data parser llff-data",
    ("docs/nerf.md", "--eval-interval"): "of the data parser llff-data",
    ("docs/nerf.md", "--scale-method"): "of the data parser llff-data",
    ("docs/speed.md", "--packs"): "of benchmarks/gpu_day.py",
}
"""Options that stand alone in a sentence and belong to no command of ours, by page, and whose they are."""
PYTHON_NOT_RUN = {
    ("docs/medical_segment.md", "slicer.util"): "runs within 3D Slicer",
    ("docs/medical_segment.md", "napari.run()"): "opens napari; tests/medical/test_hand_over.py runs `to_prompts`",
    ("docs/medical_segment.md", "monai.bundle"): "needs MONAI and a bundle",
    ("docs/models.md", "load_text_detector"): "needs Grounding DINO's weights",
    ("docs/models.md", "push_to_hub"): "needs an account on the hub",
    ("docs/nerf.md", "open_scene"): "needs a trained NeRF",
}
"""Blocks of Python that are read and whose imports from this project are made, by page and a part of them, and why."""
INSTEAD = {
    ("docs/inpaint.md", 'load_inpainter("lama")'): ('load_inpainter("cv2")', "LaMa's weights are not at hand"),
    ("docs/inpaint.md", "--jobs 4"): ("--jobs 2", "a test has two cores"),
    ("docs/matte.md", "--jobs 4"): ("--jobs 2", "a test has two cores"),
    ("docs/matte.md", "1001-1100"): ("1001-1002", "two frames are enough"),
    ("docs/medical_segment.md", "zim-medseg segment "): ("zim-medseg segment --reach 3 ", "few slices are enough"),
    ("docs/sa1b_matte.md", "--device cuda --dtype bf16"): ("", "there is no GPU"),
}
"""What is exchanged before a block runs, by page and text, and why."""
ROOTS = ("zim_plugins", "inpaint", "medical", "nerf_seg")
LANGUAGES = {"python", "bash", "console", "json", "yaml", "toml", "csv", "text", "{toctree}", "{eval-rst}"}

shipped = pytest.mark.skipif(not is_present("zim_tiny"), reason="zim_tiny is not in this checkout")
BLOCKS = {name_of(page): blocks_of(page) for page in PAGES}
COMMANDS = [
    command for blocks in BLOCKS.values() for one in blocks if one.language in ("bash", "console")
    for command in commands_of(one)
]  # fmt: skip


def reason_not_to_run(command: Command) -> str | None:
    """The entry of `NOT_RUN` that a command is under."""
    fits = (why for (page, start), why in NOT_RUN.items() if page == command.page and str(command).startswith(start))
    return next(fits, None)


def exchanged(page: str, text: str) -> str:
    for (where, old), (new, _) in INSTEAD.items():
        text = text.replace(old, new) if where == page else text
    return text


def test_each_block_says_what_it_is() -> None:
    """A block of text holds no command, which would hide from these tests."""
    for page, blocks in BLOCKS.items():
        for block in blocks:
            assert block.language in LANGUAGES, f"{page}:{block.line}: ```{block.language}"
            if block.language == "text":
                first = [line.split(" ", 1)[0] for line in block.text.splitlines() if line]
                assert not set(first) & {*programs.SCRIPTS, "pip", "python", "ns-train"}, f"{page}:{block.line}"


def test_no_exception_is_left_over() -> None:
    """Each reason not to run something still names something."""
    for page, start in NOT_RUN:
        assert any(c.page == page and str(c).startswith(start) for c in COMMANDS), (page, start)
    for name, start in OTHERS:
        assert any(str(c).startswith(f"{name} {start}") for c in COMMANDS), (name, start)
    for page, part in PYTHON_NOT_RUN:
        assert sum(part in b.text for b in BLOCKS[page] if b.language == "python") == 1, (page, part)
    for page, option in OTHERS_OPTIONS:
        assert option in (ROOT / page).read_text(encoding="utf-8"), (page, option)
    for page, old in INSTEAD:
        assert any(old in b.text for b in BLOCKS[page]), (page, old)
    assert INPUTS.keys() <= BLOCKS.keys()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.page}: {c}"[:100])
def test_each_command_is_read_by_its_own_parser(command: Command) -> None:
    words = command.words
    if words[0] in programs.SCRIPTS:
        assert programs.parse(words) == ""
    elif words[0] == "pip":
        check_pip(words)
    elif words[0] == "python" and words[1].endswith(".py"):
        check_program(words)
    elif words[0] == "torchrun":
        check_torchrun(words)
    elif words[0].startswith("ns-"):
        pytest.importorskip("nerfstudio", reason="nerfstudio is not installed: pip install 'zim-plugins[nerf]'")
        assert parse_nerfstudio(words) == ""
    else:
        known = {"pytest", "curl"} | {name for name, start in OTHERS if str(command).startswith(f"{name} {start}")}
        assert words[0] in known, f"{command.page}: nobody reads {command}"


def check_pip(words: tuple[str, ...]) -> None:
    """Every package is this one, with extras that it has."""
    assert words[1] == "install"
    for word in (w for w in words[2:] if not w.startswith("-")):
        found = re.fullmatch(r"(?:\.|zim-plugins)(?:\[([\w,-]+)\])?", word)
        assert found, f"pip install {word}"
        assert set((found[1] or "").split(",")) - {""} <= programs.PROJECT["optional-dependencies"].keys(), word


def check_program(words: tuple[str, ...]) -> None:
    """The file is there, and its parser takes the words; examples take none."""
    path = ROOT / words[1]
    assert path.is_file(), path
    if words[1].startswith("examples/"):
        assert len(words) == 2
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(words[1:]))
        assert isinstance(module.parse(), argparse.Namespace)


def check_torchrun(words: tuple[str, ...]) -> None:
    """torch reads its part, our parser ours; an ellipsis stands for what the page says elsewhere."""
    from torch.distributed.run import get_args_parser

    read = get_args_parser().parse_args(list(words[1:]))
    ours = [read.training_script, *read.training_script_args]
    if "..." in ours:
        check_options(ours)
    else:
        assert programs.parse(ours) == ""


def check_options(words: list[str]) -> None:
    """Options of a command line that is not whole are options of that command."""
    given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    known = programs.options_of(words[0], programs.word_after(words))
    assert given <= known, f"{' '.join(words)}: no {', '.join(given - known)}"


def parse_nerfstudio(words: tuple[str, ...]) -> str:
    """Read a command line as nerfstudio's scripts do; answers with their complaint."""
    import tyro

    module, kind = {
        "ns-train": ("nerfstudio.scripts.train", "AnnotatedBaseConfigUnion"),
        "ns-viewer": ("nerfstudio.scripts.viewer.run_viewer", "RunViewer"),
        "ns-eval": ("nerfstudio.scripts.eval", "ComputePSNR"),
        "ns-render": ("nerfstudio.scripts.render", "Commands"),
        "ns-export": ("nerfstudio.scripts.exporter", "Commands"),
    }[words[0]]
    if words[0] == "ns-train":
        module = "nerfstudio.configs.method_configs"
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
        try:
            tyro.cli(getattr(importlib.import_module(module), kind), args=list(words[1:]))
        except SystemExit:
            return err.getvalue()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_have_their_options(page: Path) -> None:
    """What is named between backticks exists: commands with their options, and options alone."""
    for code in code_in_sentences(page):
        for part in re.split(r"&& |; ", code):
            words = re.sub(r"[\[\]]", "", part).split()
            if words[0] in programs.SCRIPTS:
                check_options(words)
            elif re.fullmatch(r"--[a-z][a-z-]*", words[0]):
                known = programs.all_options() | {option for where, option in OTHERS_OPTIONS if where == name_of(page)}
                assert words[0] in known, f"{name_of(page)}: {code}"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """`zim serve` in a process of its own; answers with its address."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'zim-plugins[serve]'")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [sys.executable, "-m", "zim_plugins.cli", "serve", "--port", address.rpartition(":")[2]]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{address}/api/info", timeout=5).close()
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        assert process.wait(30) in (0, -15)


@shipped
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks])
def test_the_blocks_of_a_page_run_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    INPUTS.get(page, lambda _: None)(tmp_path)
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(server(tmp_path)) if page == "docs/serve.md" else "127.0.0.1:8000"
        for block in BLOCKS[page]:
            text = exchanged(page, block.text).replace("127.0.0.1:8000", address)
            run_block(Block(page, block.line, block.language, text), namespace)


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    where = f"{block.page}:{block.line}"
    if block.language == "python":
        run_python(block, namespace)
    elif block.language in ("bash", "console"):
        for command in commands_of(block):
            run_command(command, where)
    elif block.language == "csv":
        write_list(block)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        programs.tomllib.loads(block.text)
    elif block.language == "yaml":
        pytest.importorskip("yaml").safe_load(block.text)


def write_list(block: Block) -> None:
    """Write the list that the commands of the page name; rows that look for words need a detector's weights."""
    (name,) = {w for c in COMMANDS if c.page == block.page for w in c.words if w.endswith(".csv")}
    rows = list(csv.DictReader(io.StringIO(block.text)))
    with Path(name).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row for row in rows if not row["text"])


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    code = compile(block.text, f"{block.page}:{block.line}", "exec")
    if any(page == block.page and part in block.text for page, part in PYTHON_NOT_RUN):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ROOTS:
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, one.name) for one in node.names), ast.unparse(node)
        return
    exec(code, namespace)


def run_command(command: Command, where: str) -> None:
    if command.words[0] == "curl":
        ran = subprocess.run([*command.words, "--fail-with-body", "--silent"], capture_output=True, check=False)
        assert ran.returncode == 0, f"{where}: {command}: {ran.stdout!r}"
    elif command.words[0] in programs.SCRIPTS and reason_not_to_run(command) is None:
        if command.words[:2] == ("zim", "serve"):
            return  # runs beside the page's blocks
        code, out, err = programs.call(command.words)
        assert code == 0, f"{where}: {command}: exit code {code}: {err}"
        if command.to_file is not None:
            Path(command.to_file).write_text(out)
