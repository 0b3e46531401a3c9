"""Opens a page in a real browser: Debian's chromium in headless mode, controlled through a pipe.

with browser.opened(path, width=390, dark=True) as page:
    assert page.evaluate("document.images.length") == 3
    page.press("2")
    page.screenshot(tmp_path / "page.png")
assert page.errors == [] and page.requests == [path.as_uri()]
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_PATIENCE = 120  # seconds for one answer; a busy machine starts a browser slowly

# The browser talks on its descriptors 3 and 4; the shell gives them those numbers.
_WITH_PIPES = 'r=$1; w=$2; shift 2; exec "$@" 3<"/dev/fd/$r" 4>"/dev/fd/$w"'


def chromium() -> str:
    """The browser's path; without one the test that asks is skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine (Debian: apt install chromium)")
    return path


def screenshot(html: Path, png: Path, width: int, height: int, *, dark: bool = False) -> None:
    """The top `width x height` CSS pixels of a page as a PNG file."""
    with opened(html, width=width, height=height, dark=dark) as page:
        page.screenshot(png)


def dump_dom(html: Path) -> str:
    """The page's source after its scripts have run."""
    with opened(html) as page:
        return page.evaluate("document.documentElement.outerHTML")


@dataclass
class Page:
    """An open page.

    Attributes:
        errors: what its scripts and its console complained of so far.
        requests: every address asked for so far but `data:` ones, the page's own first.
    """

    _pipe: "_Pipe"
    _session: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key on what has the focus: `"1"`, `"Enter"`, `"Escape"`."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Escape": 27}.get(key, ord(key.upper()[0]))
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, png: Path, *, whole: bool = False) -> None:
        """What the window shows, or the whole length of the page, as a PNG file."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        png.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """The page as it would be printed on A4."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(answer["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; what the page reports meanwhile is kept."""
        number = self._pipe.send(method, parameters, self._session)
        return self._pipe.receive(lambda message: message.get("id") == number, self._note)["result"]

    def load(self, address: str) -> None:
        """Go to an address and wait until all is loaded."""
        self.call("Page.navigate", url=address)
        self._pipe.receive(
            lambda message: message.get("method") == "Page.loadEventFired", self._note
        )

    def _note(self, message: dict[str, Any]) -> None:
        """Keep a message that tells of an error or of a request."""
        content = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(content["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if content["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(content["args"]))
            case "Log.entryAdded" if content["entry"]["level"] in ("error", "warning"):
                self.errors.append(content["entry"]["text"])
            case "Network.requestWillBeSent" if not content["request"]["url"].startswith("data:"):
                self.requests.append(content["request"]["url"])


@contextmanager
def opened(
    html: Path, *, width: int = 1280, height: int = 800, dark: bool = False, fragment: str = ""
) -> Iterator[Page]:
    """A page loaded from its file in a browser of its own, which ends with the block."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        _started(profile) as pipe,
    ):
        target = pipe.ask("Target.createTarget", url="about:blank")["targetId"]
        session = pipe.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(pipe, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.load(html.resolve().as_uri() + (f"#{fragment}" if fragment else ""))
        yield page


@contextmanager
def _started(profile: str) -> Iterator["_Pipe"]:
    """A browser that listens on a pipe."""
    command = [chromium(), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    shell = ["sh", "-c", _WITH_PIPES, "sh", str(their_in), str(their_out), *command]
    process = subprocess.Popen(
        shell,
        pass_fds=(their_in, their_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    pipe = _Pipe(our_in, our_out)
    try:
        yield pipe
        pipe.send("Browser.close", {})
        process.wait(_PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(our_in)
        os.close(our_out)


class _Pipe:
    """Messages of the DevTools protocol, each JSON and a zero byte."""

    def __init__(self, our_in: int, our_out: int) -> None:
        self._in, self._out = our_in, our_out
        self._number = 0
        self._received = b""

    def send(self, method: str, parameters: dict[str, Any], session: str | None = None) -> int:
        """Send a command; its number, which the answer bears, comes back."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._out, rest) :]
        return self._number

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to the browser itself and its result."""
        number = self.send(method, parameters)
        return self.receive(lambda message: message.get("id") == number, lambda _: None)["result"]

    def receive(self, wanted: Any, note: Any) -> dict[str, Any]:
        """The first message that is wanted; the others are noted."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            while b"\0" not in self._received:
                ready, _, _ = select.select([self._in], [], [], max(0, deadline - time.monotonic()))
                assert ready, f"the browser was silent for {_PATIENCE} s"
                chunk = os.read(self._in, 1 << 20)
                assert chunk, "the browser ended"
                self._received += chunk
            line, self._received = self._received.split(b"\0", 1)
            message = json.loads(line)
            assert "error" not in message, message
            if wanted(message):
                return message
            note(message)
