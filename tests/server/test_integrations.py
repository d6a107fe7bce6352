"""Recipes for other tools, against a server that listens; and the client of the documents, word for word."""

import base64
import importlib.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.conftest import FakePredictor, soft_disk
from zim_plugins.server import create_app

from .serving import pixels, png, served

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'zim-plugins[serve]'")
ROOT = Path(__file__).parents[2]
TRUTH = soft_disk((80, 120), (60, 40), 20)


def load(name: str):
    path = ROOT / "examples" / "integrations" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address() -> Iterator[str]:
    with served(create_app(FakePredictor(), extensions=())) as address:
        yield address


def test_comfyui_node(address, ball, monkeypatch):
    import torch

    monkeypatch.setenv("ZIM_SERVE_URL", address)
    node = load("comfyui_zim").NODE_CLASS_MAPPINGS["ZimMatte"]()
    batch = torch.from_numpy(np.stack([ball, ball])).float() / 255
    matte, colours = node.matte(batch, "60,40;5,5,0\n")
    assert matte.shape == (2, 80, 120) and colours.shape == (2, 80, 120, 3)
    np.testing.assert_allclose(matte[1].numpy(), TRUTH, atol=0.6 / 255)
    np.testing.assert_allclose(colours[0, 40, 60].numpy(), np.array([220, 30, 20]) / 255, atol=0.02)
    with pytest.raises(RuntimeError, match="outside"):
        node.matte(batch, "6000,40")
    with pytest.raises(ValueError, match="at most one box"):
        node.matte(batch, "1,2,3,4;1,2,3,4")


def test_label_studio_backend(address, ball, tmp_path):
    (tmp_path / "ball.png").write_bytes(png(ball))
    size = {"original_width": 120, "original_height": 80}
    click = {
        "type": "keypointlabels",
        "is_positive": 1,
        "value": {"x": 50, "y": 50, "keypointlabels": ["Ball"]},
        **size,
    }
    request = {
        "tasks": [{"data": {"image": "/data/upload/1/ball.png"}}],
        "label_config": '<PolygonLabels name="poly" toName="img"><Label value="Ball"/></PolygonLabels>',
        "params": {"context": {"result": [click]}},
    }
    (said,) = load("label_studio_zim").predict(request, tmp_path, address)["results"]
    (region,) = said["result"]
    assert (region["from_name"], region["to_name"], region["type"]) == ("poly", "img", "polygonlabels")
    assert region["value"]["polygonlabels"] == ["Ball"]
    x, y = (np.array(region["value"]["points"]) * [1.2, 0.8]).T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert area == pytest.approx(np.pi * 20**2, rel=0.03)
    request["params"] = {"context": None}
    assert load("label_studio_zim").predict(request, tmp_path, address)["results"] == [{"result": [], "score": 0.0}]


class CvatContext:
    """What Nuclio hands to a handler."""

    class Response:
        def __init__(self, **parts: object) -> None:
            self.__dict__.update(parts)


@pytest.mark.parametrize("box", [[[38, 18], [82, 62]], [38, 18, 82, 62], None], ids=["corners", "numbers", "clicks"])
def test_cvat_interactor(address, ball, monkeypatch, box):
    """Requests have the words that CVAT's lambda manager sends, and the answer those that its interactors give."""
    monkeypatch.setenv("ZIM_SERVE_URL", address)
    request = {"image": base64.b64encode(png(ball)).decode(), "pos_points": [], "neg_points": [], "obj_bbox": box}
    if box is None:
        request |= {"pos_points": [[60, 40]], "neg_points": [[5, 5]]}
    event = type("Event", (), {"body": request})
    answer = load("cvat_zim").handler(CvatContext, event)
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    mask = np.array(json.loads(answer.body)["mask"])
    truth = TRUTH if box is None else soft_disk((80, 120), (60, 40), 22)
    assert mask.shape == (80, 120) and set(np.unique(mask)) == {0, 1}
    assert np.abs(mask - (truth > 0.5)).sum() <= 20  # greys of 8 bits

    request |= {"pos_points": [], "neg_points": [], "obj_bbox": None}
    refused = load("cvat_zim").handler(CvatContext, event)
    assert refused.status_code == 400 and "pointed at" in refused.body
    request |= {"pos_points": [[6000, 40]]}
    assert "outside" in load("cvat_zim").handler(CvatContext, event).body


def test_the_description_of_the_cvat_function_names_the_handler():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    said = yaml.safe_load((ROOT / "examples/integrations/cvat_function.yaml").read_text())
    assert said["metadata"]["annotations"]["type"] == "interactor"
    module, function = said["spec"]["handler"].split(":")
    assert module == "main" and callable(getattr(load("cvat_zim"), function))
    assert {one["name"] for one in said["spec"]["env"]} == {"ZIM_SERVE_URL", "ZIM_SERVE_TOKEN"}


def test_xanylabeling_remote_server(address, ball):
    """Over HTTP, in the words of X-AnyLabeling's remote model: a data URI, marks, polygons that close."""
    bridge = load("xanylabeling_zim").serve(address, 0)
    thread = threading.Thread(target=bridge.serve_forever, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{bridge.server_address[1]}", timeout=60) as client:
            models = client.get("/v1/models").json()["data"]
            assert models["zim"]["display_name"] == "ZIM"
            assert {"name": "button_add_point", "value": None} in models["zim"]["widgets"]
            image = "data:image/png;base64," + base64.b64encode(png(ball)).decode()
            request = {"model": "zim", "image": image, "params": {"conf_threshold": 0.0, "marks": []}}
            assert client.post("/v1/predict", json=request).json()["data"]["shapes"] == []
            for marks, radius in (
                ([{"type": "point", "data": [60, 40], "label": 1}, {"type": "point", "data": [5, 5], "label": 0}], 20),
                ([{"type": "rectangle", "data": [82, 62, 38, 18], "label": 1}], 22),
            ):
                request["params"]["marks"] = marks
                (shape,) = client.post("/v1/predict", json=request).json()["data"]["shapes"]
                assert (shape["shape_type"], shape["label"]) == ("polygon", "AUTOLABEL_OBJECT")
                assert shape["points"][0] == shape["points"][-1]
                x, y = np.array(shape["points"]).T
                area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
                assert area == pytest.approx(np.pi * radius**2, rel=0.04)
            request["params"]["marks"] = [{"type": "point", "data": [6000, 40], "label": 1}]
            said = client.post("/v1/predict", json=request).json()
            assert said["success"] is False and "outside" in said["error"]["message"]
    finally:
        bridge.shutdown()
        thread.join(10)
        bridge.server_close()


def test_labelme_and_polygons(client, image_id):
    body = {"objects": [{"name": "ball", "points": [[60, 40]]}]}
    place = f"/api/images/{image_id}/matte"
    document = client.post(place, json=body | {"output": "labelme"}).json()
    assert (document["imagePath"], document["imageWidth"], document["shapes"][0]["label"]) == ("ball.png", 120, "ball")
    outline = client.post(place, json=body | {"output": "coco", "polygons": True}).json()["annotations"][0]
    assert isinstance(outline["segmentation"], list) and len(outline["segmentation"][0]) >= 6


def test_the_client_of_the_documents_runs(address, ball, tmp_path):
    (client,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL)
    assert len(client.splitlines()) <= 12
    clicks = client.replace("[278, 304]", "[60, 40]").replace("[375, 590]", "[30, 20]")
    (tmp_path / "photo.jpg").write_bytes(png(ball))
    script = clicks.replace("http://127.0.0.1:8000", address)
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(pixels((tmp_path / "upper.png").read_bytes()) / 65535, TRUTH, atol=2e-4)
