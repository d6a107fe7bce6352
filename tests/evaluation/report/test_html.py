"""The HTML page, in a real browser where there is one."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from zim_plugins.evaluation.report.html import build_page
from zim_plugins.evaluation.report.sections import comparison_sections
from zim_plugins.evaluation.report.tables import Table
from zim_plugins.imaging.image import write_image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def page(folder: Path) -> str:
    rows = []
    for k in range(5):
        write_image(folder / f"pictures/{k}.jpg", np.full((40, 90, 3), (230, 30 * k, 20), dtype=np.uint8))
        for model in ("a", "b<script>"):
            row = {"object": f"o{k}", "prompt": "box", "model": model, "drawn": f"pictures/{k}.jpg"}
            rows.append(row | {"zim_mse": float(k), "iou": 0.5, "failure": None})
    worst = [
        {"prompt": "box", "model": m, "by": "zim_mse", "cases": [{"object": "o4"}, {"object": "o3"}]}
        for m in ("a", "b<script>")
    ]
    failure = {"kind": "empty matte", "picture": "x.png", "object": "x", "model": "a", "prompt": "box", "message": "0"}
    report = {
        "provenance": {"dataset": {"name": "plain", "split": "all"}},
        "counts": {"rows": 11, "scored": 10, "failures": 1},
        "failures": [failure],
        "paired": [],
        "worst": worst,
    }
    table = Table(
        "plain all",
        ("Method", "Prompt", "IoU ↑"),
        (("a", "box", "1"), ("ZIM (published)", "box", "")),
        (False, True),
        "n",
    )
    return build_page("Evaluation on plain all", comparison_sections(report, [table], rows, folder))


def test_it_needs_no_other_file(tmp_path) -> None:
    text = page(tmp_path)
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) == 2 * (2 + 5)
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "@import" not in text and "http" not in text
    assert "b<script>" not in text  # names are text
    assert '<tr class="published">' in text


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_a_browser_shows_its_images(tmp_path) -> None:
    """Chromium opens the file from disk, decodes every image, and the chooser shows one section at a time."""
    counting = """<script>addEventListener('load', () => {
        const shown = s => [...document.querySelectorAll(s)].filter(i => i.checkVisibility()).length;
        const decoded = [...document.images].filter(i => i.complete && i.naturalWidth === 90).length;
        const before = shown('section.results img');
        choice.value = 'results-1'; choice.dispatchEvent(new Event('change'));
        const after = shown('#results-1 img');
        document.title = [decoded, before, after, shown('#results-0 img')].join(' ');
    });</script>"""
    path = tmp_path / "report.html"
    path.write_text(page(tmp_path).replace("</body>", counting + "</body>"))
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    ran = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=240, check=False
    )
    title = re.search(r"<title>(.*?)</title>", ran.stdout)
    assert title is not None, ran.stderr[-2000:]
    assert title[1] == "14 7 7 0"
