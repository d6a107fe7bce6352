"""Finished runs on the page, in a real browser: views are looked at, and the object's .ply is saved."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nerf_seg.server import register
from tests.conftest import FakePredictor
from zim_plugins.server import ServerSettings, create_app

from .chromium import Chromium, Page, find_chromium
from .finished_runs import PLY, write_nerf_run
from .serving import served

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'zim-plugins[serve]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium"),
]
COLOUR = """(() => {
    const image = document.querySelector("#run-image");
    if (!image.complete || !image.naturalWidth) return null;
    const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    pen.drawImage(image, 0, 0);
    return [...pen.getImageData(%d, %d, 1, 1).data];
})()"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    write_nerf_run(root / "lego" / "sa3d-zim" / "a")
    return root


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    app = create_app(FakePredictor(), ServerSettings(folders=(folder,)), extensions=[register])
    with served(app) as address:
        yield f"{address}/"


@pytest.fixture
def page(address, tmp_path) -> Iterator[Page]:
    browser = Chromium(tmp_path / "profile")
    (tmp_path / "downloads").mkdir()
    page = browser.page(address, tmp_path / "downloads")
    yield page
    assert page.complaints() == []
    browser.close()


def test_views_layers_and_the_object_s_file(page):
    page.until("!document.querySelector('#runs-open').hidden")
    page.click("#runs-open")
    page.until("document.querySelector('#runs').open")
    assert page.run("document.querySelector('#run-choice').value") == "lego/sa3d-zim/a"
    assert "2 of 2 views agree" in page.run("document.querySelector('#run-about').textContent")
    page.until(f"String({COLOUR % (20, 30)}) === '20,40,200,255'")  # the overlay
    page.click("#run-layers input[value=alpha]")
    page.until(f"String({COLOUR % (20, 30)}) === '255,255,255,255' && String({COLOUR % (50, 30)}) === '0,0,0,255'")
    page.run("document.querySelector('#run-view').focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    page.until(f"String({COLOUR % (50, 30)}) === '255,255,255,255'")
    assert page.run("document.querySelector('#run-view-text').textContent") == "r_2 (3 of 3)"
    assert page.run("document.querySelector('#run-image').alt") == "Alpha of r_2"
    page.click("#run-layers input[value=rgba]")  # the last view was held out: it has no cut-out
    page.until("!document.querySelector('#run-missing').hidden && document.querySelector('#run-image').hidden")
    assert "Held-out views" in page.run("document.querySelector('#run-missing').textContent")
    page.run("document.querySelector('#run-view').value = 0; document.querySelector('#run-view').oninput()")
    page.until(f"document.querySelector('#run-missing').hidden && {COLOUR % (20, 30)} !== null")
    link = "[...document.querySelectorAll('#run-files a')].find((a) => a.textContent === 'object_pointcloud.ply')"
    saved = page.download(lambda: page.run(f"{link}.click()"), "*object_pointcloud.ply")
    assert saved.read_bytes() == PLY
    page.click(".runs-close")
    page.until("!document.querySelector('#runs').open")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_the_dialog_fits_and_all_is_named(page, width, height):
    page.resize(width, height)
    page.until("!document.querySelector('#runs-open').hidden")
    page.click("#runs-open")
    page.until("document.querySelector('#runs').open")
    page.until(f"{COLOUR % (1, 1)} !== null")
    assert page.run("document.documentElement.scrollWidth") <= width
    box = page.run(
        "(() => { const b = document.querySelector('#runs').getBoundingClientRect(); return [b.left, b.right]; })()"
    )
    assert box[0] >= 0 and box[1] <= width
    unnamed = """[...document.querySelectorAll("#runs button, #runs input, #runs select")]
        .filter((one) => !(one.ariaLabel || one.labels?.length || one.textContent.trim())).map((one) => one.id)"""
    assert page.run(unnamed) == []


def test_without_folders_there_is_no_button(tmp_path):
    app = create_app(FakePredictor(), ServerSettings(), extensions=[register])
    with served(app) as address:
        browser = Chromium(tmp_path / "profile")
        page = browser.page(f"{address}/", tmp_path)
        page.until("document.querySelector('#foot').textContent")
        assert page.run("document.querySelector('#runs-open').hidden")
        browser.close()
