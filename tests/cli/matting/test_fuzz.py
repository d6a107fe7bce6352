"""Hostile command lines and damaged images: an exit code and a line, never a traceback, a hang or half a file."""

import io
import os
import random
import sys
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from zim_plugins.cli import main

FULL = os.environ.get("ZIM_FUZZ") == "full"
"""ZIM_FUZZ=full tries as many as are promised (1,001 images, 400 argument lists), else a sample of seconds."""
ARGUMENT_LISTS = 400 if FULL else 120
MUTANTS_PER_FORMAT = 77 if FULL else 6
VALUES = (
    *("", "-", "--", "0", "-1", "1e9", "nan", "inf", "1,1", "60,40", "60,40,0", "1,2,3,4", "50%,50%", "a,b", ",", ";"),
    *("x.png", "gone.png", ".", "in", "in/*.png", "*", "[", "**", "~", "~/x", "/dev/null", "sample:none", "stdin"),
    *("l.csv", "l.json", "m.png", "bad.png", "out", "x.png/deep", "out.png", "out.jpg", "out.exr", "a\nb", "ünï", "\0"),
    *("png", "tiff", "exr", "webp", "8", "16", "32", "alpha", "rgba,alpha", "alpha,,", "beta", "all", "0-3", "9-1"),
    *("%s", "{}", "-1,-1", "1,1;2,2,0", "30,15,90,65", "x.png[0]", "x.png[7]", "-9999999999999999999", "1" * 400),
)
OPTIONS = (
    *("--point", "--box", "--also", "--mask", "--scribble", "--list", "--frames", "--outputs", "--format", "--depth"),
    *("--premultiplied", "--straight", "--json", "--resume", "--no-overwrite", "--overwrite", "--flat"),
    *("--range", "--out", "-o", "--no-zoom", "--model", "--text-best", "--debugg", "--jobs", "--version"),
)
FLAGS = {"--premultiplied", "--straight", "--json", "--resume", "--no-overwrite", "--overwrite", "--flat", "--no-zoom"}


@pytest.fixture(autouse=True)
def place(monkeypatch, fake_predictor, tmp_path) -> Path:
    fake_predictor.name = "soft_disk"
    predict = fake_predictor.predict
    fake_predictor.predict = lambda prompt: predict(
        prompt if prompt.points is not None or prompt.box is not None else type(prompt).from_point(1, 1)
    )
    build = types.ModuleType("zim_plugins.core.load")
    build.load_predictor = lambda name="auto", **options: fake_predictor  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "zim_plugins.core.load", build)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def image(size: tuple[int, int] = (32, 24)) -> PIL.Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return PIL.Image.fromarray(noise)


def run(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1


def whole_files(folder: Path) -> None:
    """Every file below a folder is whole: no temporary name is left, and every image can be read."""
    for path in folder.rglob("*"):
        assert not path.name.endswith(".tmp"), path
        if path.suffix in (".png", ".webp", ".tif") and path.is_file() and "_" in path.name:
            with PIL.Image.open(path) as written:
                written.load()


def test_argument_lists(place, capsys):
    image().save("x.png")
    Path("in").mkdir()
    image().save("in/y.png")
    PIL.Image.new("L", (32, 24), 255).save("m.png")
    Path("bad.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    Path("l.csv").write_text("image,points\nx.png,3,4\n")
    Path("l.json").write_text('[{"image": "x.png", "box": [1, 2, 30, 20]}]')
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    chance = random.Random(7)
    codes: dict[int, int] = {}
    for _ in range(ARGUMENT_LISTS):
        arguments = ["matte", *(["x.png"] if chance.random() < 0.6 else [])]
        for _ in range(chance.randrange(5)):
            option = chance.choice(OPTIONS)
            arguments.append(option)
            if option not in FLAGS and chance.random() < 0.9:
                arguments.append(chance.choice(VALUES))
        if chance.random() < 0.4:
            arguments.append(chance.choice(VALUES))
        if "-" in arguments or any(one.endswith("=-") for one in arguments):
            continue  # standard input has tests of its own
        arguments = [one if one != "--jobs" else "--flat" for one in arguments]  # processes have a test of their own
        code = run(arguments)
        captured = capsys.readouterr()
        codes[code] = codes.get(code, 0) + 1
        assert code in (0, 1, 2), arguments
        assert "Traceback" not in captured.err + captured.out, arguments
        assert code == 0 or captured.err.strip(), arguments
    assert min(codes.get(code, 0) for code in (0, 1, 2)) >= (5 if FULL else 1), codes
    for path, content in before.items():
        assert path.read_bytes() == content, path  # no input was written over
    whole_files(place)


FORMATS = {
    **{one: one.upper() for one in ("png", "webp", "gif", "bmp", "tga", "ppm", "qoi")},
    **{"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"},
}
"""In Pillow's words, by suffix."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", [*FORMATS, "16.png", "16.tif", "exr"])
def test_mutated_images(suffix, place, capfd):
    chance = random.Random(suffix)
    whole = encoded(suffix)
    name = f"x.{suffix.rpartition('.')[2]}"
    for number in range(MUTANTS_PER_FORMAT):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            kind = chance.random()
            at = chance.randrange(min(len(content), 200) if chance.random() < 0.6 else len(content))
            if kind < 0.6:
                content[at] = chance.randrange(256)
            elif kind < 0.8:
                del content[at : at + chance.randrange(1, 40)]
            else:
                content[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 20)))
            content = content or bytearray(b"x")
        Path(name).write_bytes(content)
        code = run(["matte", name, "--point", "1,1", "-o", f"o{number}", "--outputs", "alpha,rgba,overlay,trimap"])
        shown = capfd.readouterr().err
        assert code in (0, 1, 2)
        assert "Traceback" not in shown
        assert code == 0 or shown.strip()
        written = [path for path in Path(f"o{number}").rglob("x_*")] if Path(f"o{number}").exists() else []
        assert len(written) == (4 if code == 0 else 0)
    whole_files(place)


def encoded(suffix: str) -> bytes:
    buffer = io.BytesIO()
    if suffix == "exr":
        openexr = pytest.importorskip("OpenEXR", reason="OpenEXR needs the extra vfx")
        about = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
        with openexr.File(about, {"RGB": np.asarray(image()).astype(np.float32) / 255}) as file:
            file.write("whole.exr")
        return Path("whole.exr").read_bytes()
    if suffix == "16.png":
        from zim_plugins.imaging.codecs.png16 import write_png

        write_png(buffer, np.asarray(image()).astype(np.uint16) * 257)
    elif suffix == "16.tif":
        import tifffile

        tifffile.imwrite(buffer, np.asarray(image()).astype(np.uint16) * 257, photometric="rgb")
    else:
        image().save(buffer, format=FORMATS[suffix])
    return buffer.getvalue()
