"""The page in a real browser: what is pointed at becomes a file whose pixels are right."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.conftest import FakePredictor, soft_disk
from zim_plugins.server import ServerSettings, create_app

from .chromium import Chromium, Page, find_chromium
from .serving import served

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'zim-plugins[serve]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: apt-get install chromium"),
]
SIZE = (300, 400)  # height, width [px]
PLACE_OF_CANVAS = """(() => {
    const box = document.querySelector("#canvas").getBoundingClientRect();
    return [box.x, box.y, box.width, box.height];
})()"""
COLOUR = """(() => {
    const canvas = document.querySelector("#canvas"), box = canvas.getBoundingClientRect();
    const ratio = canvas.width / box.width;
    return [...canvas.getContext("2d").getImageData((%f - box.x) * ratio, (%f - box.y) * ratio, 1, 1).data];
})()"""
LISTEN = """(() => {
    const ask = fetch;
    window.asked = [];
    window.fetch = (path, options) => { asked.push(options?.body); return ask(path, options); };
})()"""
"""Keeps what the page sends."""
SMALL = """[...document.querySelectorAll("button")]
    .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 28).length"""
UNNAMED = """[...document.querySelectorAll("button, input, select")]
    .filter((one) => one.offsetParent && !(one.ariaLabel || one.labels?.length || one.textContent.trim()))
    .map((one) => one.id)"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server with a predictor of soft disks of 20 px, and with `inpaint`."""
    pytest.importorskip("cv2", reason="OpenCV fills what is removed")
    pytest.importorskip("nibabel", reason="nibabel reads volumes")
    from inpaint.server import register as register_inpaint
    from medical.server import register as register_medical

    extensions = [register_inpaint, register_medical]
    app = create_app(FakePredictor(), ServerSettings(max_images=3), extensions=extensions)
    with served(app) as address:
        yield f"{address}/"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def photo(tmp_path) -> Path:
    """Red balls of 20 px on blue at (100, 120) and (300, 200)."""
    alpha = np.maximum(soft_disk(SIZE, (100, 120), 20), soft_disk(SIZE, (300, 200), 20))[..., None]
    path = tmp_path / "balls.png"
    PIL.Image.fromarray((alpha * (220, 30, 20) + (1 - alpha) * (20, 40, 200) + 0.5).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def page(browser, address, photo, tmp_path) -> Iterator[Page]:
    """The page with the photo open."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    page = browser.page(address, downloads)
    page.choose_files("#files", photo)
    page.until("document.querySelector('#canvas').hidden === false && document.querySelector('#busy').hidden")
    page.until("document.querySelector('#file-name').textContent.includes('400 × 300')")
    yield page
    assert page.complaints() == []


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a position of the image lies in the window, the view fitted."""
    left, top, width, height = page.run(PLACE_OF_CANVAS)
    scale = min(width / SIZE[1], height / SIZE[0]) * 0.985
    return left + (width - SIZE[1] * scale) / 2 + x * scale, top + (height - SIZE[0] * scale) / 2 + y * scale


def colour(place: tuple[float, float]) -> str:
    """Script for the colour of the canvas at a place of the window."""
    return COLOUR % place


def click_at(page: Page, x: float, y: float, button: str = "left") -> None:
    place = on_screen(page, x, y)
    page.mouse("mouseMoved", *place)
    page.mouse("mousePressed", *place, button=button)
    page.mouse("mouseReleased", *place, button=button)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse("mousePressed", *on_screen(page, *start), button="left")
    for share in (0.3, 0.7, 1.0):
        place = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
        page.mouse("mouseMoved", *on_screen(page, *place), button="left")
    page.mouse("mouseReleased", *on_screen(page, *end), button="left")


def scores(page: Page, number: int) -> None:
    """Wait until so many objects have their matte."""
    page.until(f"[...document.querySelectorAll('.score')].filter((e) => e.textContent === '0.90').length === {number}")
    page.until("document.querySelector('#busy').hidden")


def saved_alpha(page: Page) -> np.ndarray:
    path = page.download(lambda: page.click("[data-save=alpha]"), "balls*alpha*.png")
    return np.asarray(PIL.Image.open(path)) / 65535


def test_a_click_becomes_a_file_whose_pixels_are_right(page):
    click_at(page, 100, 120)
    scores(page, 1)
    alpha = saved_alpha(page)
    np.testing.assert_allclose(alpha, soft_disk(SIZE, (100, 120), 20), atol=0.15)  # the click is on a tenth of a pixel
    assert alpha[120, 100] == 1 and alpha[200, 300] == 0


def test_the_matte_appears_as_one_moves(page):
    page.run(LISTEN)
    page.mouse("mouseMoved", *on_screen(page, 290, 200))
    page.mouse("mouseMoved", *on_screen(page, 300, 200))
    asked = page.until("asked.length && asked.at(-1)")
    assert json.loads(asked)["quality"] == "draft"
    place = on_screen(page, 306, 206)
    page.until(f"(({colour(place)})[2] > 60)")  # the red ball, tinted blue
    page.mouse("mouseMoved", 3, 3)
    page.until(f"(({colour(place)})[2] < 60)")


def test_several_objects_a_box_undo_and_redo(page):
    click_at(page, 100, 120)
    scores(page, 1)
    page.click("#new-object")
    drag(page, (280, 180), (320, 220))  # with the click tool a drag is a box
    scores(page, 2)
    both = saved_alpha(page)
    assert (both[120, 100], both[200, 300], both[20, 20]) == (1, 1, 0)
    page.key("z", "Control")
    scores(page, 1)
    one = saved_alpha(page)
    assert (one[120, 100], one[200, 300]) == (1, 0)
    page.key("z", "Control", "Shift")
    scores(page, 2)
    coco = page.download(lambda: page.click("[data-save=coco]"), "*.json")
    said = json.loads(coco.read_text())
    assert [one["name"] for one in said["categories"]] == ["object 1", "object 2"]
    np.testing.assert_allclose(said["annotations"][1]["bbox"], [280, 180, 40, 40], atol=1.5)


def test_a_right_click_says_background(page):
    click_at(page, 100, 120, button="right")
    page.until("document.querySelector('#toast').hidden === false")  # nothing is pointed at yet
    click_at(page, 100, 120)
    scores(page, 1)
    click_at(page, 200, 20, button="right")
    page.until("document.querySelector('#busy').hidden")
    page.run(LISTEN)
    saved_alpha(page)
    points = json.loads(page.run("asked.at(-1)"))["objects"][0]["points"]
    assert [point[2] for point in points] == [1, 0]


def test_a_scribble(page):
    page.key("s")
    drag(page, (96, 118), (104, 122))
    scores(page, 1)
    assert saved_alpha(page)[120, 100] == 1


def test_without_a_mouse(page):
    page.run("document.querySelector('#canvas').focus()")
    for _ in range(5):
        page.key("ArrowRight", "Shift")
    page.key("Enter")
    scores(page, 1)
    alpha = saved_alpha(page)
    assert alpha[150, 300] == 1 and alpha[150, 200] == 0
    assert "percent of the image" in page.until("document.querySelector('#live').textContent")


def test_views_and_comparison(page):
    click_at(page, 100, 120)
    scores(page, 1)
    ball, ground = (colour(on_screen(page, *at)) for at in ((100, 120), (300, 20)))
    page.mouse("mouseMoved", 3, 3)
    page.key("2")
    page.until(f"String({ball}) === '255,255,255,255' && String({ground}) === '0,0,0,255'")
    page.key("3")
    page.until("document.querySelector('#busy').hidden")
    page.until(f"({ball})[0] > 200 && ({ball})[2] < 60 && ({ground})[0] > 200")
    page.key("1")
    page.run("(() => { const r = document.querySelector('#compare-at'); r.value = 100; })()")
    page.key("/")  # before, over all of it
    page.until(f"({ball})[0] > 210 && ({ground})[2] > 190")


def test_remove_and_undo(page):
    click_at(page, 100, 120)
    scores(page, 1)
    page.run("document.querySelector('#actions details').open = true")
    page.run("document.querySelector('#actions select').value = 'cv2'")
    page.click("#actions details button")
    page.until("document.querySelector('#save-file').hidden === false")
    page.until("document.querySelector('#busy').hidden")
    path = page.download(lambda: page.click("#save-file"), "balls_result.png")
    result = np.asarray(PIL.Image.open(path)).astype(int)
    assert np.abs(result[120, 100] - (20, 40, 200)).max() < 16
    assert np.abs(result[200, 300] - (220, 30, 20)).max() < 3
    page.click("#undo")
    page.until("document.querySelector('#save-file').hidden")
    scores(page, 1)


def test_on_a_phone_the_result_comes_into_sight(browser, address, photo, tmp_path):
    page = browser.page(address, tmp_path, width=390, height=600)
    page.choose_files("#files", photo)
    page.until("document.querySelector('#file-name').textContent.includes('400 × 300')")
    page.until("document.querySelector('#busy').hidden")
    click_at(page, 100, 120)
    scores(page, 1)
    page.run("document.querySelector('#actions details').open = true")
    page.run("document.querySelector('#actions select').value = 'cv2'")
    top = "document.querySelector('#stage').getBoundingClientRect().top"
    page.run("document.querySelector('#actions details button').scrollIntoView()")
    assert page.run(top) < -100
    page.run("document.querySelector('#actions details button').click()")
    page.until("document.querySelector('#save-file').hidden === false")
    page.until(f"{top} >= 0 && {top} < 300")


def test_a_dropped_folder_and_images_that_the_server_let_go(page, photo, tmp_path):
    folder = tmp_path / "set" / "inner"
    folder.mkdir(parents=True)
    for number in range(5):
        PIL.Image.open(photo).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    page.drop(tmp_path / "set")
    page.until("document.querySelectorAll('#strip button').length === 6")
    for number in (2, 3, 4, 5, 0):  # the server keeps three; the page sends again what it asks for
        page.click(f"#strip button:nth-child({number + 1})")
        page.until(f"document.querySelector('#strip button:nth-child({number + 1})').ariaSelected === 'true'")
        page.until("document.querySelector('#busy').hidden")
    click_at(page, 100, 120)
    scores(page, 1)
    assert saved_alpha(page)[120, 100] == 1


def test_slices_of_a_volume_and_labels_through_them(page, tmp_path):
    import nibabel as nib

    values = np.random.default_rng(0).integers(0, 900, (300, 400, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "head.nii.gz")
    page.choose_files("#files", tmp_path / "head.nii.gz")
    page.until("document.querySelector('#slice-text').textContent === '3 of 5'")
    page.until("document.querySelector('#busy').hidden")
    page.click("#strip button:nth-child(2)")
    page.run("document.activeElement.blur()")
    page.key("PageDown")
    page.until("document.querySelector('#slice-text').textContent === '4 of 5'")
    page.until("document.querySelector('#busy').hidden")
    page.run("document.querySelector('#canvas').focus()")
    page.key("ArrowRight")
    page.key("Enter")
    scores(page, 1)
    page.key("PageUp")  # each slice keeps its own
    page.until("document.querySelector('#slice-text').textContent === '3 of 5'")
    page.until("document.querySelectorAll('#objects li').length === 0")
    page.key("PageDown")
    scores(page, 1)
    path = page.download(lambda: page.run("document.querySelector('#save-volume').click()"), "head_seg.nii.gz")
    labels = np.asarray(nib.load(path).dataobj)
    assert labels.shape == values.shape
    assert (labels.sum(axis=(0, 1)) > 1000).all()  # a disk of 20 px on every slice


def test_two_browsers_at_once(browser, address, photo, tmp_path):
    pages = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        pages.append(browser.page(address, folder))
        pages[-1].choose_files("#files", photo)
    for page in pages:
        page.until("document.querySelector('#file-name').textContent.includes('400 × 300')")
        page.until("document.querySelector('#busy').hidden")
    for page, place in zip(pages, ((100, 120), (300, 200)), strict=True):
        click_at(page, *place)
    for page, inside, outside in zip(pages, ((120, 100), (200, 300)), ((200, 300), (120, 100)), strict=True):
        scores(page, 1)
        alpha = saved_alpha(page)
        assert (alpha[inside], alpha[outside]) == (1, 0)
        assert page.complaints() == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_nothing_hangs_over_the_edge(browser, address, photo, tmp_path, width, height):
    page = browser.page(address, tmp_path, width=width, height=height)
    page.choose_files("#files", photo)
    page.until("document.querySelector('#file-name').textContent.includes('400 × 300')")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(SMALL) == 0
    assert page.run(UNNAMED) == []
