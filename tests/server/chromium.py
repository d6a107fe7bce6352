"""A real Chromium, driven over its own debugging pipe: no package is needed besides the browser."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_SECONDS = 60.0
CENTRE = """(() => {
    const element = document.querySelector(%s);
    element.scrollIntoView({ block: "center" });
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
})()"""
MODIFIERS = {"Control": 2, "Shift": 8}


def find_chromium() -> str | None:
    """Path of a browser; None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Chromium:
    """One browser; `page` opens windows that share nothing with one another.

    Args:
        folder: of its profile.
        more: further options of the program.
    """

    def __init__(self, folder: Path, *more: str) -> None:
        program = find_chromium()
        assert program is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # --no-sandbox: containers run as root; the pages are our own.
        options = (
            f"--headless=new --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe {' '.join(more)} "
            f"--user-data-dir={folder}"
        )
        line = f'exec "{program}" {options} about:blank 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["bash", "-c", line],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._left, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its answer; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            more = os.read(self._read, 1 << 20)
            assert more, "the browser went away"
            self._left += more
        text, _, self._left = self._left.partition(b"\0")
        return json.loads(text)

    def page(self, address: str, downloads: Path, *, width: int = 1280, height: int = 800) -> "Page":
        """Open an address in a window with cookies of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        self.call(
            "Browser.setDownloadBehavior", behavior="allow", browserContextId=context, downloadPath=str(downloads)
        )
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, downloads)
        for domain in ("Page", "Runtime", "DOM", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height)
        page.call("Page.navigate", url=address)
        page.until("document.readyState === 'complete'")
        return page

    def close(self) -> None:
        """End it."""
        os.close(self._write)
        os.close(self._read)
        self.process.kill()
        self.process.wait(10)


class Page:
    """One window."""

    def __init__(self, browser: Chromium, session: str, downloads: Path) -> None:
        self.browser, self.session, self.downloads = browser, session, downloads

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command."""
        return self.browser.call(method, self.session, **parameters)

    def run(self, script: str) -> Any:
        """Value of an expression on the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            shown = self.run("document.querySelector('#toast:not([hidden])')?.textContent")
            assert time.monotonic() < end, f"not within {seconds} s: {script}; the page says {shown!r}"
            time.sleep(0.05)
        return value

    def resize(self, width: int, height: int, *, mobile: bool = False, scale: float = 1) -> None:
        """Set the size of the window [px]."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Give files to an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def drop(self, *paths: Path) -> None:
        """Drop files or folders in the middle of the window."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=400, y=400, data=data)

    def click(self, selector: str) -> None:
        """Click on an element, scrolled into view."""
        script = CENTRE % json.dumps(selector)
        x, y = self.run(script)
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left")
        self.mouse("mouseReleased", x, y, button="left")

    def mouse(self, kind: str, x: float, y: float, button: str = "none") -> None:
        """Send one event of the mouse, in pixels of the window."""
        buttons = 0 if kind == "mouseReleased" else {"none": 0, "left": 1, "right": 2}[button]
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1)

    def key(self, key: str, *modifiers: str) -> None:
        """Press one key."""
        codes = {
            "Enter": 13,
            "Delete": 46,
            "ArrowRight": 39,
            "ArrowDown": 40,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "PageUp": 33,
            "PageDown": 34,
        }
        about = {
            "key": key,
            "windowsVirtualKeyCode": codes.get(key, ord(key.upper()) if len(key) == 1 else 0),
            "modifiers": sum(MODIFIERS[one] for one in modifiers),
        }
        self.call("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def download(self, start: Callable[[], None], pattern: str) -> Path:
        """Let something save a file, and wait for it."""
        for earlier in self.downloads.glob(pattern):
            earlier.unlink()
        start()
        end = time.monotonic() + PATIENCE_SECONDS
        while not (fresh := list(self.downloads.glob(pattern))):
            assert time.monotonic() < end, f"{pattern} was not saved"
            self.run("1")  # lets events come
            time.sleep(0.05)
        (path,) = fresh
        return path

    def screenshot(self, path: Path) -> None:
        """Save what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """Errors that the page's scripts and its policies reported."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]["exceptionDetails"].get("exception", {}).get("description")))
            entry = event["params"].get("entry", {})
            if entry.get("level") == "error" and entry.get("source") != "network":  # refusals are answers
                found.append(f"{entry['text']} {entry.get('url', '')}")
        return found
