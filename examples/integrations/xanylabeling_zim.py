"""A remote server of X-AnyLabeling that asks a running `zim serve`: points and rectangles become polygons.

    python xanylabeling_zim.py [--server http://127.0.0.1:8000] [--port 8001]

Start X-AnyLabeling with XANYLABELING_SERVER_URL=http://127.0.0.1:8001 and choose the model *Remote-Server*, then *ZIM*.
The token of `zim serve` is taken from ZIM_SERVE_TOKEN.
"""

import argparse
import http.server
import json
import os
import urllib.error
import urllib.request

WIDGETS = ("button_add_point", "button_remove_point", "button_add_rect", "button_clear", "button_finish_object")
MODELS = {
    "zim": {
        "display_name": "ZIM",
        "widgets": [{"name": name, "value": None} for name in WIDGETS],
        "params": {},
        "batch_processing_mode": None,  # a prompt belongs to one image
    }
}


def predict(request, server):
    """Return X-AnyLabeling's answer to one request: `image` in base64, `params` with the `marks` of one object."""
    prompt = {"name": "AUTOLABEL_OBJECT", "points": []}
    for mark in (request.get("params") or {}).get("marks") or []:
        place = [float(number) for number in mark["data"]]
        if mark["type"] == "point":
            prompt["points"].append([*place, int(mark.get("label", 1))])
        elif mark["type"] == "rectangle":
            xs, ys = sorted(place[::2]), sorted(place[1::2])
            prompt["box"] = [xs[0], ys[0], xs[-1], ys[-1]]
    if not prompt["points"] and "box" not in prompt:
        return {"success": True, "data": {"shapes": [], "description": ""}}
    body = {"image": request["image"].rpartition(",")[2], "objects": [prompt], "output": "labelme"}
    try:
        outlines = ask(server, body)["shapes"]
    except urllib.error.HTTPError as error:
        message = f"zim serve: {json.load(error).get('detail', error.reason)}"
        return {"success": False, "error": {"code": "INFERENCE_ERROR", "message": message}}
    shapes = [
        {"label": one["label"], "shape_type": "polygon", "points": [*one["points"], one["points"][0]]}
        for one in outlines
    ]
    return {"success": True, "data": {"shapes": shapes, "description": ""}}


def ask(server, body):
    """Return the JSON answer of `zim serve`."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("ZIM_SERVE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"{server.rstrip('/')}/api/matte", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=300) as reply:
        return json.load(reply)


def serve(server, port):
    """Return a server that answers X-AnyLabeling on loopback."""

    class Bridge(http.server.BaseHTTPRequestHandler):
        def reply(self, content):
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            known = {"/v1/models": {"success": True, "data": MODELS}, "/health": {"status": "healthy"}}
            self.reply(known.get(self.path, {"success": False}))

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(predict(request, server) if self.path == "/v1/predict" else {"success": False})

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Bridge)


def main():
    """Answer X-AnyLabeling until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--port", type=int, default=8001)
    options = parser.parse_args()
    serve(options.server, options.port).serve_forever()


if __name__ == "__main__":
    main()
