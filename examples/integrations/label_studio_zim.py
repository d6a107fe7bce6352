"""A machine-learning backend of Label Studio that asks a running `zim serve`: clicks and rectangles become polygons.

    python label_studio_zim.py --images FOLDER [--server http://127.0.0.1:8000] [--port 9090]

Add http://localhost:9090 as a model of a project whose labelling interface has <KeyPointLabels smart="true">,
<RectangleLabels smart="true"> and <PolygonLabels> over one <Image>. Images are found in FOLDER by the last part of
their address in the task; nothing is fetched for a task.
"""

import argparse
import base64
import http.server
import json
import os
import re
import urllib.request
from pathlib import Path


def predict(request, images, server):
    """Return Label Studio's answer to one request of predictions."""
    results = []
    for task in request["tasks"]:
        marks = (request.get("params") or {}).get("context") or request.get("context") or {}
        results.append(answer(task, marks.get("result") or [], request.get("label_config") or "", images, server))
    return {"results": results, "model_version": "zim"}


def answer(task, marks, label_config, images, server):
    """Return the polygons of what the marks of one task point at."""
    if not marks:
        return {"result": [], "score": 0.0}
    width, height = marks[0]["original_width"], marks[0]["original_height"]
    prompt, label = {"name": "object", "points": []}, ""
    for mark in marks:
        value, kind = mark["value"], mark["type"]
        label = (value.get(kind) or [label])[0]
        x, y = value["x"] * width / 100, value["y"] * height / 100
        if kind == "keypointlabels":
            prompt["points"].append([x, y, int(mark.get("is_positive", 1))])
        elif kind == "rectanglelabels":
            prompt["box"] = [x, y, x + value["width"] * width / 100, y + value["height"] * height / 100]
    address = next(value for value in task["data"].values() if isinstance(value, str))
    file = Path(images, re.split(r"[/\\?=]", address)[-1])
    body = {"image": base64.b64encode(file.read_bytes()).decode(), "objects": [prompt], "output": "labelme"}
    outlines = ask(server, body)["shapes"]
    tag = re.search(r'<PolygonLabels[^>]*\bname="([^"]+)"[^>]*\btoName="([^"]+)"', label_config)
    to_percent = [100 / width, 100 / height]
    result = [
        {
            "type": "polygonlabels", "from_name": tag[1] if tag else "label", "to_name": tag[2] if tag else "image",
            "original_width": width, "original_height": height, "image_rotation": 0,
            "value": {
                "polygonlabels": [label], "closed": True,
                "points": [[x * to_percent[0], y * to_percent[1]] for x, y in outline["points"]],
            },
        }
        for outline in outlines
    ]  # fmt: skip
    return {"result": result, "score": 1.0 if result else 0.0}


def ask(server, body):
    """Return the JSON answer of `zim serve`."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("ZIM_SERVE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"{server.rstrip('/')}/api/matte", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)


def main():
    """Answer Label Studio until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--port", type=int, default=9090)
    options = parser.parse_args()

    class Backend(http.server.BaseHTTPRequestHandler):
        def reply(self, content):
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            self.reply({"status": "UP", "model_class": "zim"})

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = {"/predict": lambda: predict(request, options.images, options.server)}
            self.reply(known.get(self.path, lambda: {"model_version": "zim"})())

    http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Backend).serve_forever()


if __name__ == "__main__":
    main()
