"""Remove, replace and fill over HTTP."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'zim-plugins[serve]'")
pytest.importorskip("httpx", reason="httpx, which fastapi's test client asks for, is not installed")

from fastapi.testclient import TestClient

from inpaint.server import register
from tests.conftest import FakePredictor, soft_disk
from tests.server.serving import pixels, png
from zim_plugins.server import create_app

CLICK = {"objects": [{"points": [[60, 40]]}]}
TRUTH = soft_disk((80, 120), (60, 40), 20)


@pytest.fixture
def client():
    app = create_app(FakePredictor(), extensions=[register])
    with TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def ball() -> np.ndarray:
    """A red ball on blue."""
    return (TRUTH[..., None] * (220, 30, 20) + (1 - TRUTH[..., None]) * (20, 40, 200) + 0.5).astype(np.uint8)


@pytest.fixture
def place(client, ball) -> str:
    return "/api/images/" + client.post("/api/images", files={"image": png(ball)}).json()["id"]


def test_remove_takes_the_object_out_and_leaves_the_rest(client, place, ball):
    pytest.importorskip("cv2", reason="OpenCV fills")
    answer = client.post(f"{place}/remove", json=CLICK | {"backend": "cv2"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    result = pixels(answer.content).astype(int)
    assert np.abs(result - (20, 40, 200)).max() < 12
    far = TRUTH == 0
    far[12:68, 32:88] = False
    np.testing.assert_array_equal(result[far], ball[far])


def test_remove_keeps_the_image_s_depth(client, ball):
    pytest.importorskip("cv2", reason="OpenCV fills")
    deep = np.where(TRUTH > 0.5, 60_000, 9_001).astype(np.uint16)
    image_id = client.post("/api/images", files={"image": png(deep)}).json()["id"]
    result = pixels(client.post(f"/api/images/{image_id}/remove", json=CLICK | {"backend": "cv2"}).content)
    assert result[2, 2] == 9_001
    assert abs(int(result[40, 60]) - 9_001) < 1500


def test_a_kept_result_is_an_image_of_the_session(client, place):
    pytest.importorskip("cv2", reason="OpenCV fills")
    info = client.post(f"{place}/remove", json=CLICK | {"backend": "cv2", "keep": True}).json()
    assert (info["width"], info["height"], info["name"]) == (120, 80, "upload_removed.png")
    file = client.get(f"/api/images/{info['id']}/file")
    assert pixels(file.content)[40, 60, 2] > 180


def test_replace_by_a_colour_and_by_an_image(client, place):
    by_colour = pixels(client.post(f"{place}/replace", json=CLICK | {"colour": "#00ff00"}).content).astype(int)
    assert by_colour[2, 2].tolist() == [0, 255, 0]
    assert np.abs(by_colour[40, 60] - (220, 30, 20)).max() < 8
    fringe = (TRUTH > 0.3) & (TRUTH < 0.7)
    expected = TRUTH[..., None] * (220, 30, 20) + (1 - TRUTH[..., None]) * (0, 255, 0)
    assert np.abs(by_colour - expected)[fringe].mean() < 12
    grey = png(np.full((10, 30, 3), 99, np.uint8))
    by_image = client.post(f"{place}/replace", data={"point": "60,40"}, files={"background": grey})
    assert pixels(by_image.content)[2, 2].tolist() == [99, 99, 99]


@pytest.mark.parametrize(
    ("task", "body", "said"),
    [
        ("replace", CLICK, "background"),
        ("replace", CLICK | {"colour": "/etc/passwd"}, "no colour"),
        ("replace", CLICK | {"colour": "sample:dogs"}, "no colour"),
        ("remove", CLICK | {"backend": "http://127.0.0.1:9"}, "backend"),
        ("remove", CLICK | {"backend": "/tmp"}, "backend"),
        ("fill", CLICK | {"backend": "/tmp", "prompt": "a cat"}, "backend"),
        ("fill", CLICK, "prompt"),
        ("fill", CLICK | {"prompt": "a cat", "steps": 9999}, "steps"),
        ("remove", {"objects": [{"points": [[600, 40]]}]}, "outside"),
    ],
)
def test_what_a_server_must_not_do_is_refused(client, place, task, body, said):
    answer = client.post(f"{place}/{task}", json=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text


@pytest.mark.slow
def test_fill_without_its_model_says_what_is_missing(client, place, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    answer = client.post(f"{place}/fill", json=CLICK | {"prompt": "a cat", "backend": "sd2"})
    assert answer.status_code == 501
    assert "zim-inpaint" in answer.json()["detail"] or "pip install" in answer.json()["detail"]


def test_another_browser_cannot_change_an_image(client, place):
    with TestClient(client.app, base_url="http://localhost:8000") as other:
        assert other.post(f"{place}/remove", json=CLICK).status_code == 404


def test_the_page_is_told_of_the_actions(client):
    actions = client.get("/api/info").json()["actions"]
    assert [one["name"] for one in actions] == ["remove", "replace", "fill"]
    paths = client.get("/api/openapi.json").json()["paths"]
    assert {one["path"] for one in actions} <= set(paths)
