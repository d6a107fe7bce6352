"""`zim serve` in a real Chromium: seconds from handing over an image to its first matte, and from a click to its matte.

    python -m benchmarks.serve [--out FILE]

The image is handed to the page's file input, the pointer moves over the object as soon as the image is shown, and a
click follows. Needs Chromium; what else runs on the machine counts, and the record says how much that was.
"""

import argparse
import io
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import uvicorn

from tests.server.chromium import Chromium, Page
from zim_plugins.core import load_predictor, read_image
from zim_plugins.evaluation.provenance import describe_process
from zim_plugins.server import create_app

AIM_SECONDS = 3.0
SIZES = {"2 MP": 1155, "24 MP": 4000}
"""Width of `sample:dogs`, enlarged [px]."""
CLICK = (278 / 682, 304 / 1024)
"""On the upper dog, in shares of the image."""
RUNS = 5
COUNT_DRAFTS = """(() => {
    window.drafts = 0;
    const count = (list) => { drafts += list.getEntries().filter((one) => one.name.endsWith("/matte")).length; };
    new PerformanceObserver(count).observe({ type: "resource" });
})()"""
PLACE_OF_CANVAS = """(() => {
    const box = document.querySelector("#canvas").getBoundingClientRect();
    return [box.x, box.y, box.width, box.height];
})()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    record: dict[str, Any] = {"what": __doc__.splitlines()[0], "model": "zim_tiny", "image": "sample:dogs, enlarged"}
    record |= describe_process(packages=("fastapi", "uvicorn")) | {"aim_seconds": AIM_SECONDS, "runs": RUNS}
    server = uvicorn.Server(
        uvicorn.Config(create_app(load_predictor("zim_tiny", device="cpu"), extensions=()), port=0, log_level="error")
    )
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Chromium(Path(folder, "profile"))
        for name, width in SIZES.items():
            path = Path(folder, f"{width}.jpg")
            path.write_bytes(enlarged(width))
            runs = [measured(browser, address, path) for _ in range(RUNS)]
            record[name] = {key: summary([run[key] for run in runs]) for key in runs[0]}
        browser.close()
    server.should_exit = True
    text = json.dumps(record, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def enlarged(width: int) -> bytes:
    """A JPEG file of the sample at another width."""
    image = PIL.Image.fromarray(np.asarray(read_image("sample:dogs").rgb))
    buffer = io.BytesIO()
    image.resize((width, round(width * image.height / image.width))).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def measured(browser: Chromium, address: str, path: Path) -> dict[str, float]:
    """Seconds of one visit with a fresh page."""
    with tempfile.TemporaryDirectory() as folder:
        page = browser.page(address, Path(folder))
    page.until("document.querySelector('#foot').textContent !== ''")
    start = time.perf_counter()
    page.choose_files("#files", path)
    page.until("document.querySelector('#file-name').textContent.includes('×')")
    shown = time.perf_counter()
    page.run(COUNT_DRAFTS)
    where = place(page, path)
    page.mouse("mouseMoved", where[0] - 2, where[1])
    page.mouse("mouseMoved", *where)
    page.until("window.drafts > 0")
    moved = time.perf_counter()
    page.mouse("mousePressed", *where, button="left")
    page.mouse("mouseReleased", *where, button="left")
    page.until("[...document.querySelectorAll('.score')].some((e) => e.textContent.startsWith('0.'))")
    clicked = time.perf_counter()
    return {"image shown": shown - start, "first matte": moved - start, "click to matte": clicked - moved}


def place(page: Page, path: Path) -> tuple[float, float]:
    """Where the click lies in the window."""
    with PIL.Image.open(path) as image:
        width, height = image.size
    left, top, wide, high = page.run(PLACE_OF_CANVAS)
    scale = min(wide / width, high / height) * 0.985
    x, y = CLICK[0] * width * scale, CLICK[1] * height * scale
    return left + (wide - width * scale) / 2 + x, top + (high - height * scale) / 2 + y


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, least and most [s]."""
    return {
        "median": round(statistics.median(seconds), 2),
        "least": round(min(seconds), 2),
        "most": round(max(seconds), 2),
    }


if __name__ == "__main__":
    main()
