"""A headless Chromium for tests, driven through its own debugging protocol."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


def find_chromium() -> str | None:
    """Give the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """One tab. `errors` holds what went wrong in it: exceptions, and what its policy forbade."""

    def __init__(self, browser: "Browser", session: str, context: str):
        self._browser, self._session, self.context = browser, session, context
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command; give its answer."""
        return self._browser.send(method, self._session, **params)

    def open(self, url: str, width: int = 1280, height: int = 900, scale: float = 1.0) -> None:
        """Open an address in a window of this size, and wait until it has loaded."""
        self.resize(width, height, scale)
        self.run("window.left = true")  # what is asked of the page before is no answer
        self.send("Page.navigate", url=url)
        there = "document.readyState === 'complete' && location.href !== 'about:blank'"
        self.wait(f"!window.left && {there}")

    def resize(self, width: int, height: int, scale: float = 1.0, mobile: bool = False) -> None:
        """Give the window another size, CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )

    def run(self, script: str, patience: float = 60.0) -> Any:
        """Run an expression (a promise is waited for), and give its value."""
        answer = self._browser.send(
            "Runtime.evaluate",
            self._session,
            patience,
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details["text"]
            raise AssertionError(f"{script[:200]}: {text}")
        return answer["result"].get("value")

    def wait(self, condition: str, patience: float = 60.0) -> Any:
        """Wait until an expression is true, looking every 20 ms.

        One that fails is not true yet: what it looks into may come later than a slow page's begin.
        """
        deadline = time.monotonic() + patience
        problem = ""
        while True:
            try:
                if value := self.run(_SOON % condition, 8.0):
                    return value
                problem = ""
            except TimeoutError:  # asked of a page that was left meanwhile
                problem = "no answer"
            except AssertionError as error:  # also from a page that is just being left
                if "SyntaxError" in str(error):
                    raise
                problem = str(error)
            if time.monotonic() > deadline:
                shown = self.run("document.body ? document.body.innerText.slice(0, 1500) : ''")
                raise AssertionError(f"not within {patience:g} s: {condition}\n{problem}\n{shown}")

    def text(self, selector: str) -> str:
        """Give the text of the first element that a selector finds."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def press(self, key: str, **more: object) -> None:
        """Press and let go of a key."""
        typed = {"text": key} if len(key) == 1 else {}
        code = {"windowsVirtualKeyCode": _CODES[key]} if key in _CODES else {}
        for kind in ("keyDown", "keyUp"):
            text = typed if kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, **text, **code, **more)

    def click(self, selector: str, place: int = 0) -> None:
        """Click in the middle of an element with the mouse; nothing may lie over it."""
        # Where it is and what lies there in one look: the page may move its parts in between.
        x, y = self.wait(
            f"(() => {{ const e = [...document.querySelectorAll({json.dumps(selector)})][{place}];"
            f" {_MIDDLE} return e.contains(document.elementFromPoint(x, y)) && [x, y]; }})()",
            30.0,
        )
        self.drag((x, y), (x, y))

    def double_click(self, x: float, y: float) -> None:
        """Click twice at a place; no answer is waited for in between, so that it is fast enough."""
        self.point(x, y)
        numbers = [
            self._browser.ask(
                "Input.dispatchMouseEvent",
                self._session,
                **{"type": kind, "x": x, "y": y, "button": "left", "clickCount": count},
            )
            for count in (1, 2)
            for kind in ("mousePressed", "mouseReleased")
        ]
        self._browser.answer("Input.dispatchMouseEvent", numbers[-1])

    def middle(self, selector: str, place: int = 0) -> tuple[float, float]:
        """Scroll an element into the window; give its middle, CSS pixels."""
        found = self.run(
            f"(() => {{ const e = [...document.querySelectorAll({json.dumps(selector)})][{place}];"
            f" {_MIDDLE} return [x, y]; }})()"
        )
        return found[0], found[1]

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def drag(self, begin: tuple[float, float], end: tuple[float, float], clicks: int = 1) -> None:
        """Press the mouse at one place, and let it go at another."""
        left = {"button": "left", "clickCount": clicks}
        (x, y), (to_x, to_y) = begin, end
        self.point(x, y)
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **left)
        for part in (0.3, 0.6, 1.0) if begin != end else ():
            way = {"x": x + part * (to_x - x), "y": y + part * (to_y - y), "buttons": 1}
            self.send("Input.dispatchMouseEvent", type="mouseMoved", **left, **way)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, **left)

    def save_into(self, folder: Path) -> None:
        """Let what the page downloads go into a folder."""
        self._browser.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            browserContextId=self.context,
            downloadPath=str(folder),
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page, or of the window only."""
        picture = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """Close the tab and forget its profile."""
        self._browser.send("Target.disposeBrowserContext", browserContextId=self.context)

    def heap_mb(self) -> float:
        """Give the size of the page's living objects, MB."""
        self.send("HeapProfiler.collectGarbage")
        return self.send("Runtime.getHeapUsage")["usedSize"] / 1e6


_SOON = """new Promise((done, fail) => {
  const end = performance.now() + 1000;
  const look = () => {
    let found = false, error = null;
    try { found = %s; } catch (problem) { error = problem; }
    if (found) done(found);
    else if (performance.now() < end) setTimeout(look, 20);
    else if (error) fail(error);
    else done(null);
  };
  look();
})"""

_MIDDLE = (
    "e.scrollIntoView({ block: 'center', behavior: 'instant' });"
    " const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;"
)

_CODES = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "Home": 36,
    "End": 35,
}


class Browser:
    """A running Chromium; each page has its own cookies."""

    def __init__(self, connection: ClientConnection):
        self._connection = connection
        self._number = 0
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        """Open a tab in a profile of its own."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, session["sessionId"], context)
        self._pages[session["sessionId"]] = page
        return page

    def send(
        self, method: str, session: str = "", patience: float = 60.0, /, **params: object
    ) -> dict[str, Any]:
        """Send one command; give its answer."""
        return self.answer(method, self.ask(method, session, **params), patience)

    def ask(self, method: str, session: str = "", /, **params: object) -> int:
        """Send one command; give its number."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        self._connection.send(json.dumps(command | ({"sessionId": session} if session else {})))
        return self._number

    def answer(self, method: str, number: int, patience: float = 60.0) -> dict[str, Any]:
        """Wait for the answer to a command; those to commands before it are passed over."""
        deadline = time.monotonic() + patience
        while True:
            message = json.loads(self._connection.recv(max(0.01, deadline - time.monotonic())))
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error'].get('message')}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        page = self._pages.get(message.get("sessionId", ""))
        if page is None:
            return
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            page.errors.append(details.get("exception", {}).get("description") or details["text"])
        if message.get("method") == "Log.entryAdded" and params["entry"]["source"] == "security":
            page.errors.append(params["entry"]["text"])


@contextmanager
def running_chromium(folder: Path) -> Iterator[Browser]:
    """A Chromium with its profile in `folder`; skips the test where there is none."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [program, *_SWITCHES, f"--user-data-dir={folder}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
    )
    try:
        address = _debugging_address(folder, process)
        # A browser that is busy may be late with a pong: each command has its own patience.
        patient = {"open_timeout": 60, "ping_interval": None}
        with connect(address, max_size=None, compression=None, **patient) as line:
            yield Browser(line)
    finally:
        # The whole group: the program may be a script that has started the browser.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _debugging_address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    note, deadline = folder / "DevToolsActivePort", time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        if note.is_file() and len(lines := note.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("chromium did not open its debugging port within 60 s")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests of a module; every page has its own cookies."""
    with running_chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in which nothing may fail, and whose policy may forbid nothing that it does."""
    made = browser.page()
    yield made
    assert made.errors == []
    made.close()


needs_chromium = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium on this machine (apt-get install chromium)"
)
