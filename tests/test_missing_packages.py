"""What is asked for and not installed: every command says how it is installed, and exits with 2."""

import importlib
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli.options import parse_arguments
from zim_plugins.cli.runtime import MISUSED, CommandArgs, run
from zim_plugins.errors import ImageError, MissingExtra, MissingImagePlugin, MissingPackage

ROOT = Path(__file__).parents[1]
PACKAGES = ("zim_plugins", "inpaint", "medical", "nerf_seg")
COMMANDS = [
    ("zim serve", "fastapi uvicorn", "serve"),
    ("zim matte photo.exr --point 4,4", "OpenEXR", "vfx"),
    ("zim matte photo.png --point 4,4 --out cut.exr", "OpenEXR", "vfx"),
    ("zim matte photo.png --point 4,4 --model hf:some/sam", "transformers", "models"),
    ("zim matte photo.png --text ball", "transformers", "models"),
    ("zim matte photo.png --point 4,4 --refine vitmatte", "transformers", "models"),
    ("zim everything photo.exr", "OpenEXR", "vfx"),
    ("zim export --model zim_tiny --out onnx", "onnx", "onnx"),
    ("zim-inpaint photo.png --mask m.png --backend cv2", "cv2", "evaluate"),
    ("zim-inpaint photo.png --mask m.png --backend patchmatch", "patchmatch", "inpaint"),
    ("zim-inpaint photo.png --mask m.png --backend lama-cleaner", "lama_cleaner", "lama-cleaner==1.2.5"),
    ("zim-inpaint fill photo.png --mask m.png --prompt cat --backend sd15", "diffusers transformers", "diffusion"),
    ("zim-inpaint replace photo.exr --mask m.png --background red", "OpenEXR", "vfx"),
    ("zim-inpaint --download sd15", "diffusers", "diffusion"),
    ("zim-inpaint-eval folders --data pairs --fillers cv2 --out scores", "cv2", "evaluate"),
    ("zim-medseg segment scan.nii --box 2,2,9,9 --out labels", "nibabel", "medical"),
    ("zim-medseg segment scan.mha --box 2,2,9,9 --out labels", "SimpleITK", "medical"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A photograph, a mask, pairs for an evaluation, and files of formats that packages read; the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 4:9] = 255
    for place in ("photo.png", "pairs/image/a.png"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(place)
    for place in ("m.png", "pairs/mask/a.png"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(mask).save(place)
    Path("photo.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(99))
    for name in ("scan.nii", "scan.mha"):
        Path(name).write_bytes(bytes(400))
    return tmp_path


def call(words: list[str], monkeypatch) -> int:
    """Run a command by its console script, as if typed."""
    place = {
        "zim": "zim_plugins.cli",
        "zim-inpaint": "inpaint.cli",
        "zim-inpaint-eval": "inpaint.evaluation.cli",
        "zim-medseg": "medical.cli",
    }
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        importlib.import_module(place[words[0]]).entrypoint()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize(("command", "absent", "remedy"), COMMANDS, ids=[words for words, *_ in COMMANDS])
def test_every_command_names_the_remedy_and_exits_with_2(command, absent, remedy, monkeypatch, capsys):
    for package in absent.split():
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
    code = call(command.split(), monkeypatch)
    told = capsys.readouterr().err
    assert "pip install" in told
    assert remedy in told
    assert "Traceback" not in told
    assert code == MISUSED, told


@pytest.mark.parametrize(
    "fault", [MissingExtra("peft", "train"), MissingImagePlugin("x.heic needs pillow-heif"), MissingPackage("lama")]
)
def test_one_place_decides(fault, capsys):
    def main(args: CommandArgs) -> int:
        raise fault

    assert run(main, parse_arguments(CommandArgs, [], prog="zim")) == MISUSED
    assert str(fault) in capsys.readouterr().err


def test_the_extra_that_is_named_brings_the_package():
    brings = extras()
    found = {}
    for file in [
        path for top in ("zim_plugins", "inpaint", "medical", "nerf_seg") for path in (ROOT / top).rglob("*.py")
    ]:
        for package, extra in re.findall(r'MissingExtra\(f?"([^"]+)", "([^"]+)"\)', file.read_text("utf8")):
            found[package, extra] = file.name
    assert len(found) > 15, "the pattern finds them no more"
    elsewhere = {"opencv": "opencv-python-headless", "gsplat": "nerfstudio", "onnx runtime": "onnxruntime-gpu"}
    for (package, extra), file in found.items():
        said = package.lower()
        named = {name for name in brings[extra] if name in said}
        named |= {name for word, name in elsewhere.items() if word in said and name in brings[extra]}
        assert named or "processor" in said, f"{file}: the extra {extra} brings no {package}"


def extras() -> dict[str, set[str]]:
    """Names of the packages that each extra brings, in small letters."""
    section = (ROOT / "pyproject.toml").read_text("utf8").split("[project.optional-dependencies]")[1].split("\n[")[0]
    lists = re.findall(r"^([\w-]+) = \[(.*?)\]$", section, flags=re.MULTILINE | re.DOTALL)
    return {
        extra: {re.split(r"[<>=;\[ ]", one)[0].lower() for one in re.findall(r'"([^"]+)"', packages)}
        for extra, packages in lists
    }


def test_it_passes_from_one_process_to_another():
    there = pickle.loads(pickle.dumps(MissingExtra("nibabel", "medical")))
    assert (type(there), str(there)) == (MissingExtra, "this needs nibabel: pip install 'zim-plugins[medical]'")
    assert (there.package, there.extra) == ("nibabel", "medical")
    assert isinstance(MissingImagePlugin(""), ImageError), "who catches images that cannot be read catches this too"
